import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

/** `message` goes on from the key's name: "is neither PEM nor base64 DER". */
export class Ed25519KeyInvalid extends Error {
  override readonly name = 'Ed25519KeyInvalid';
  readonly code = 'ed25519_key_invalid';
}

/**
 * @param material PEM, or base64 of PKCS#8 DER (private) or SPKI DER (public).
 * @throws Ed25519KeyInvalid
 */
export function ed25519KeyOf(material: string, kind: 'private' | 'public'): KeyObject {
  const create = kind === 'private' ? createPrivateKey : createPublicKey;
  let key: KeyObject;
  try {
    key = material.includes('-----BEGIN')
      ? create(material)
      : create({
          key: Buffer.from(material, 'base64'),
          format: 'der',
          type: kind === 'private' ? 'pkcs8' : 'spki',
        } as Parameters<typeof createPrivateKey>[0] & Parameters<typeof createPublicKey>[0]);
  } catch (cause) {
    throw new Ed25519KeyInvalid('is neither PEM nor base64 DER', { cause });
  }
  // createPublicKey also accepts a private key: a holder of the "public" key could then sign.
  if (
    key.asymmetricKeyType !== 'ed25519' ||
    key.type !== kind ||
    (kind === 'public' && material.includes('PRIVATE KEY'))
  ) {
    throw new Ed25519KeyInvalid(`must be an Ed25519 ${kind} key`);
  }
  return key;
}
