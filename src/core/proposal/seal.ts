import { createHmac, timingSafeEqual } from 'node:crypto';
import { type BoxKeys, boxKeysOf } from '../secrets/sealed-box.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import { type Digest, digestOf } from '../tool/digest.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import { parseStrictJson } from '../tool/strict-json.ts';
import { ProposalTerms } from './proposal-terms.ts';

/**
 * The proposal key is held by guards, executors and the approval service, never by Redis: whoever can write Redis can
 * delete a proposal but can neither make one nor change one.
 */
export type ProposalKey = Uint8Array & { readonly __brand: 'ProposalKey' };

export const PROPOSAL_KEY_MIN_BYTES = 32;

export class ProposalKeyTooShort extends Error {
  override readonly name = 'ProposalKeyTooShort';
  readonly code = 'proposal_key_too_short';
}

export function proposalKeyOf(bytes: Uint8Array): ProposalKey {
  if (bytes.length < PROPOSAL_KEY_MIN_BYTES) {
    throw new ProposalKeyTooShort(
      `the proposal key has ${bytes.length} bytes; it needs at least ${PROPOSAL_KEY_MIN_BYTES} random ones`,
    );
  }
  return bytes as ProposalKey;
}

/**
 * As a variable or an option has them: base64, commas between them.
 * @throws ProposalKeyTooShort also for what is no base64: Buffer skips it, so that a password would become a short key.
 */
export function proposalKeysIn(text: string): ProposalKeys {
  const [sealing, ...older] = text.split(',').map((key) => {
    const base64 = /^[A-Za-z0-9+/_-]+={0,2}$/.test(key.trim()) ? key.trim() : '';
    return proposalKeyOf(new Uint8Array(Buffer.from(base64, 'base64')));
  });
  if (sealing === undefined) throw new ProposalKeyTooShort('there is no proposal key');
  return [sealing, ...older];
}

/** The first seals and encrypts, each of them opens: so that a key is changed while what the old one sealed lives on. */
export type ProposalKeys = readonly [ProposalKey, ...ProposalKey[]];

/** For what lies in Redis: derived, so that the key of the seals encrypts nothing. */
export function recordBoxKeys(keys: ProposalKeys): BoxKeys {
  return boxKeysOf('record', keys);
}

/** Terms with the text that is sealed. `termsDigest` is what approvals and admissions name. */
export interface SealedTerms {
  readonly terms: ProposalTerms;
  readonly text: string;
  readonly seal: string;
  readonly termsDigest: Digest;
}

const DOMAIN = 'countersign/proposal/v1\n';
/** Above anything that the guard can make (16 KiB of arguments and their frame); below what would hurt to parse. */
const TERMS_LIMITS = { bytes: 256 * 1024, depth: 16, keys: 1_000, keyLength: 200, stringLength: 128 * 1024 };

export function sealTerms(key: ProposalKey, terms: ProposalTerms): SealedTerms {
  const text = canonicalJson(JSON.parse(JSON.stringify(terms)) as JsonValue);
  return { terms, text, seal: sealOf(key, text), termsDigest: termsDigestOf(text) };
}

export type Unsealed =
  | { ok: true; sealed: SealedTerms }
  | { ok: false; refusal: 'seal_broken' | 'malformed' };

/** Checks the seal before it looks at what the text says. */
export function unseal(keys: readonly ProposalKey[], text: string, seal: string): Unsealed {
  if (!isSealed(keys, seal, (key) => sealOf(key, text))) return { ok: false, refusal: 'seal_broken' };
  const terms = parseTerms(text);
  if (terms === undefined) return { ok: false, refusal: 'malformed' };
  return { ok: true, sealed: { terms, text, seal, termsDigest: termsDigestOf(text) } };
}

/** Reads terms without believing them: for a view of a proposal whose seal somebody else checks. */
export function parseTerms(text: string): ProposalTerms | undefined {
  const json = parseStrictJson(text, TERMS_LIMITS);
  if (!json.ok) return undefined;
  const terms = ProposalTerms.safeParse(json.value);
  return terms.success ? terms.data : undefined;
}

export function termsDigestOf(text: string): Digest {
  return digestOf('terms', text);
}

/** Whether `seal` is what one of the keys gives. */
export function isSealed(
  keys: readonly ProposalKey[],
  seal: string,
  sealWith: (key: ProposalKey) => string,
): boolean {
  const given = Buffer.from(seal);
  return keys.some((key) => {
    const expected = Buffer.from(sealWith(key));
    return expected.length === given.length && timingSafeEqual(expected, given);
  });
}

function sealOf(key: ProposalKey, text: string): string {
  return createHmac('sha256', key).update(DOMAIN).update(text, 'utf8').digest('hex');
}
