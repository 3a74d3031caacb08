import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto';

/**
 * Keys for what lies at rest where it must not be read: the first seals, all of them open, so that a key can be changed
 * without losing anything. Of one use each: what was sealed for another one does not open.
 */
export interface BoxKeys {
  readonly use: string;
  readonly sealing: BoxKey;
  readonly opening: ReadonlyMap<string, BoxKey>;
}

interface BoxKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

const KEY_BYTES = 32;
export const BOX_NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';
const BOX = /^v1\.([0-9a-f]{16})\.([\w-]{16})\.([\w-]+)\.([\w-]{22})$/;

/**
 * Derived from each secret for this one use (HKDF-SHA256), so that no two uses of a secret share the bytes of a key.
 * @throws RangeError where there is none.
 */
export function boxKeysOf(use: string, secrets: readonly Uint8Array[]): BoxKeys {
  const known = secrets.map((secret) => {
    const bytes = new Uint8Array(hkdfSync('sha256', secret, '', `countersign/box/v1\n${use}`, KEY_BYTES));
    return { id: keyId(bytes), bytes };
  });
  const [sealing] = known;
  if (sealing === undefined) throw new RangeError('at least one key is needed to seal boxes with');
  return { use, sealing, opening: new Map(known.map((key) => [key.id, key])) };
}

/** `bound` is what the box belongs to: with anything else it does not open. A nonce is for one box. */
export function sealBox(keys: BoxKeys, text: string, bound: readonly string[], nonce: Uint8Array): string {
  if (nonce.length !== BOX_NONCE_BYTES) throw new RangeError(`a nonce has ${BOX_NONCE_BYTES} bytes`);
  const { id, bytes } = keys.sealing;
  const cipher = createCipheriv(ALGORITHM, bytes, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundBytes(keys.use, id, bound));
  const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  const parts = [Buffer.from(nonce), sealed, cipher.getAuthTag()];
  return ['v1', id, ...parts.map((part) => part.toString('base64url'))].join('.');
}

export type OpenedBox =
  | { readonly ok: true; readonly text: string; readonly keyId: string }
  | { readonly ok: false; readonly why: 'form' | 'unknown_key' | 'not_genuine' };

export function openBox(keys: BoxKeys, box: string, bound: readonly string[]): OpenedBox {
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
    decipher.setAAD(boundBytes(keys.use, id, bound));
    decipher.setAuthTag(from(tag));
    const text = Buffer.concat([decipher.update(from(sealed)), decipher.final()]).toString('utf8');
    return { ok: true, text, keyId: id };
  } catch {
    return { ok: false, why: 'not_genuine' };
  }
}

/** By which key a box was sealed: to be read without any key. Undefined: it is no box. */
export function boxKeyId(box: string): string | undefined {
  return BOX.exec(box)?.[1];
}

/** Tells keys apart and says nothing about them. */
function keyId(bytes: Uint8Array): string {
  return createHash('sha256').update('countersign/box-key-id/v1\n').update(bytes).digest('hex').slice(0, 16);
}

/** JSON, so that no two lists of texts give the same bytes. */
function boundBytes(use: string, id: string, bound: readonly string[]): Buffer {
  return Buffer.from(JSON.stringify(['countersign box v1', use, id, ...bound]), 'utf8');
}
