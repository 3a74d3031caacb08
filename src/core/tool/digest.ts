import { createHash } from 'node:crypto';
import { z } from 'zod';

/** SHA-256, 64 lower-case hex digits. */
export const Digest = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'a digest is 64 lower-case hex digits')
  .brand('Digest');
export type Digest = z.infer<typeof Digest>;

export class NotDigestible extends Error {
  override readonly name = 'NotDigestible';
  readonly code = 'not_digestible';
}

/**
 * SHA-256 of `countersign/<domain>/v1\n` and the text, so that a digest of one kind never passes for another kind.
 * @throws NotDigestible for a text that UTF-8 cannot carry: its lone surrogates would all digest alike.
 */
export function digestOf(domain: string, text: string): Digest {
  if (!/^[a-z][a-z0-9-]*$/.test(domain)) {
    throw new NotDigestible(`"${domain}" is no digest domain; use lower-case letters, digits and hyphens`);
  }
  if (/[\ud800-\udfff]/u.test(text)) throw new NotDigestible('the text holds half of a surrogate pair');
  const hex = createHash('sha256').update(`countersign/${domain}/v1\n`).update(text, 'utf8').digest('hex');
  return Digest.parse(hex);
}

/** For people to compare by eye: `a1b2 c3d4 e5f6`. 48 bits, so never for a decision. */
export function shortDigest(digest: Digest): string {
  return `${digest.slice(0, 4)} ${digest.slice(4, 8)} ${digest.slice(8, 12)}`;
}
