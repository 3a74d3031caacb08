import { sign, verify } from 'node:crypto';
import { z } from 'zod';
import { AgentId, PersonId, TenantId } from '../identity/ids.ts';
import { ProposalId } from '../proposal/proposal-id.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import { Digest, digestOf } from '../tool/digest.ts';
import type { ApprovalPrivateKey, ApprovalPublicKey } from './decision.ts';

/** More than this on one list nobody reads with care; and its ids fit into what a modal remembers. */
export const LIST_MAX = 10;

/**
 * Which calls one person was shown together. It travels through Slack and back under our signature, so that what is
 * decided is what was shown: an id that is put in, or left out, on the way breaks it. It gives no right to anything.
 */
export const ShownList = z.strictObject({
  v: z.literal(1),
  /** To pick from, or to confirm a decision about all of them. */
  for: z.enum(['pick', 'approve', 'deny']),
  tenant: TenantId,
  agent: AgentId,
  /** Who was shown it: with another's list nobody decides. */
  person: PersonId,
  ids: z.array(ProposalId).max(LIST_MAX),
  /** `listDigest` over the calls as they were drawn, in the order of `ids`. */
  shown: Digest,
  page: z.int().min(0).optional(),
});
export type ShownList = z.infer<typeof ShownList>;

const SignedList = z.strictObject({ list: ShownList, signature: z.string().max(128) });

/** SHA-256 over the digests of the calls, each as it was drawn. */
export function listDigest(items: readonly string[]): Digest {
  return digestOf('list', items.join('\n'));
}

export function sealList(key: ApprovalPrivateKey, list: ShownList): string {
  const signature = sign(null, signedBytes(list), key).toString('base64url');
  return JSON.stringify({ list, signature });
}

/** Undefined: it is none of ours, or somebody changed it. */
export function openList(keys: readonly ApprovalPublicKey[], text: string): ShownList | undefined {
  const parsed = SignedList.safeParse(jsonOrNothing(text));
  if (!parsed.success) return undefined;
  const { list, signature } = parsed.data;
  const given = Buffer.from(signature, 'base64url');
  return keys.some((key) => verify(null, signedBytes(list), key, given)) ? list : undefined;
}

function signedBytes({ page, ...list }: ShownList): Buffer {
  const text = canonicalJson(page === undefined ? list : { ...list, page });
  return Buffer.from(`countersign/shown-list/v1\n${text}`, 'utf8');
}

function jsonOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
