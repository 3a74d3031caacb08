import { type BoxKeys, boxKeysOf } from '../secrets/sealed-box.ts';

export const TOKEN_KEY_BYTES = 32;

/** Keys for the tokens of installed workspaces at rest. @throws RangeError where there is none, or one has not 32 bytes. */
export function tokenKeysOf(keys: readonly Uint8Array[]): BoxKeys {
  if (keys.some(({ length }) => length !== TOKEN_KEY_BYTES)) {
    throw new RangeError(`a token key has ${TOKEN_KEY_BYTES} bytes`);
  }
  return boxKeysOf('installation', keys);
}
