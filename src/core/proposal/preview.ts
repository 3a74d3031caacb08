import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../tool/canonical-json.ts';
import { type Digest, digestOf } from '../tool/digest.ts';
import { type JsonLimits, parseStrictJson } from '../tool/strict-json.ts';
import { ProposalId } from './proposal-id.ts';
import { isSealed, type ProposalKey, type SealedTerms } from './seal.ts';

/** Characters of a tool's preview; what is longer is cut, and the card says so. */
export const PREVIEW_CHARACTERS = 8_000;

/** What a tool said that it would do, or that it could not say: for people, beside the arguments, never in their place. */
export type ShownPreview =
  /** `cut`: how many more characters the tool said, which were not kept. */
  { readonly kind: 'text'; readonly text: string; readonly cut: number } | { readonly kind: 'failed' };

/** As it stands in the store, where anybody may have put it. */
export interface SealedPreview {
  readonly text: string;
  readonly seal: string;
}

const Statement = z.strictObject({
  v: z.literal(1),
  proposal: ProposalId,
  termsDigest: z.string().regex(/^[0-9a-f]{64}$/),
  preview: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('text'),
      text: z.string().max(2 * PREVIEW_CHARACTERS),
      cut: z.int().nonnegative(),
    }),
    z.strictObject({ kind: z.literal('failed') }),
  ]),
});

/** A domain of its own: no preview is ever a proposal, and no proposal a preview. */
const DOMAIN = 'countersign/preview/v1\n';
const LIMITS: JsonLimits = {
  bytes: 128 * 1024,
  depth: 4,
  keys: 16,
  keyLength: 32,
  stringLength: 2 * PREVIEW_CHARACTERS,
};

/** Bound to one proposal and to everything in its terms, so that it can stand beside no other. */
export function sealPreview(key: ProposalKey, sealed: SealedTerms, preview: ShownPreview): SealedPreview {
  const { terms, termsDigest } = sealed;
  const text = canonicalJson({ v: 1, proposal: terms.id, termsDigest, preview: { ...preview } });
  return { text, seal: sealOf(key, text) };
}

/** Undefined: not sealed by us, or for another proposal, or for other terms. It is then not shown. */
export function openPreview(
  keys: readonly ProposalKey[],
  sealed: Pick<SealedTerms, 'terms' | 'termsDigest'>,
  stored: SealedPreview,
): ShownPreview | undefined {
  if (!isSealed(keys, stored.seal, (key) => sealOf(key, stored.text))) return undefined;
  const json = parseStrictJson(stored.text, LIMITS);
  const statement = json.ok ? Statement.safeParse(json.value) : undefined;
  if (!statement?.success) return undefined;
  const { proposal, termsDigest, preview } = statement.data;
  return proposal === sealed.terms.id && termsDigest === sealed.termsDigest ? preview : undefined;
}

/** What the audit keeps of it. */
export function previewDigest(preview: SealedPreview): Digest {
  return digestOf('preview', preview.text);
}

function sealOf(key: ProposalKey, text: string): string {
  return createHmac('sha256', key).update(DOMAIN).update(text, 'utf8').digest('hex');
}

/** A proposal that an executor has taken in hand to preview. */
export interface PreviewTask {
  readonly id: ProposalId;
  /** Counts the claims, from 1: more than a few, and whoever claimed it before did not live to say. */
  readonly claims: number;
}

/**
 * Which pending proposals nobody has tried to preview. Each transition to `pending` puts the proposal in, each one away
 * from it takes it out, in the same atomic step.
 */
export interface PreviewTasks {
  /** Takes up to `limit` for `leaseMs`; nobody else is given them meanwhile. */
  claim(limit: number, leaseMs: number): Promise<PreviewTask[]>;
  /** Once, while it is pending and has none. The card is drawn anew. False: it was too late. */
  keep(id: ProposalId, termsDigest: Digest, preview: SealedPreview, failed: boolean): Promise<boolean>;
  /** There is nothing to preview. */
  drop(id: ProposalId): Promise<void>;
}
