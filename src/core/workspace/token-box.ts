import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';

/** Keys for tokens at rest: the first seals, all of them open, so that a key can be changed without losing anything. */
export interface TokenKeys {
  readonly sealing: TokenKey;
  readonly opening: ReadonlyMap<string, TokenKey>;
}

interface TokenKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

export const TOKEN_KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';
const BOX = /^v1\.([0-9a-f]{16})\.([\w-]{16})\.([\w-]+)\.([\w-]{22})$/;

/** @throws RangeError where there is none, or one does not have its 32 bytes. */
export function tokenKeysOf(keys: readonly Uint8Array[]): TokenKeys {
  const known = keys.map((bytes) => {
    if (bytes.length !== TOKEN_KEY_BYTES) throw new RangeError(`a token key has ${TOKEN_KEY_BYTES} bytes`);
    return { id: keyId(bytes), bytes };
  });
  const [sealing] = known;
  if (sealing === undefined) throw new RangeError('at least one token key is needed');
  return { sealing, opening: new Map(known.map((key) => [key.id, key])) };
}

/** `bound` is what the box belongs to: with anything else it does not open. A nonce is for one box. */
export function sealBox(keys: TokenKeys, text: string, bound: readonly string[], nonce: Uint8Array): string {
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`a nonce has ${NONCE_BYTES} bytes`);
  const { id, bytes } = keys.sealing;
  const cipher = createCipheriv(ALGORITHM, bytes, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundBytes(id, bound));
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  const parts = [Buffer.from(nonce), sealed, cipher.getAuthTag()];
  return ['v1', id, ...parts.map((part) => part.toString('base64url'))].join('.');
}

export type OpenedBox =
  | { readonly ok: true; readonly text: string; readonly keyId: string }
  | { readonly ok: false; readonly why: 'form' | 'unknown_key' | 'not_genuine' };

export function openBox(keys: TokenKeys, box: string, bound: readonly string[]): OpenedBox {
  const [, id, nonce, sealed, tag] = BOX.exec(box) ?? [];
  if (id === undefined || nonce === undefined || sealed === undefined || tag === undefined) {
    return { ok: false, why: 'form' };
  }
  const key = keys.opening.get(id);
  if (key === undefined) return { ok: false, why: 'unknown_key' };
  try {
    const from = (text: string) => Buffer.from(text, 'base64url');
    // A shorter tag would be easier to guess; Node takes one unless it is told the length.
    const decipher = createDecipheriv(ALGORITHM, key.bytes, from(nonce), { authTagLength: TAG_BYTES });
    decipher.setAAD(boundBytes(id, bound));
    decipher.setAuthTag(from(tag));
    const text = Buffer.concat([decipher.update(from(sealed)), decipher.final()]).toString('utf8');
    return { ok: true, text, keyId: id };
  } catch {
    return { ok: false, why: 'not_genuine' };
  }
}

/** Tells keys apart and says nothing about them. */
function keyId(bytes: Uint8Array): string {
  return createHash('sha256')
    .update('countersign token key id v1\n')
    .update(bytes)
    .digest('hex')
    .slice(0, 16);
}

/** JSON, so that no two lists of texts give the same bytes. */
function boundBytes(id: string, bound: readonly string[]): Buffer {
  return Buffer.from(JSON.stringify(['countersign installation v1', id, ...bound]), 'utf8');
}
