import { randomBytes } from 'node:crypto';
import {
  BOX_NONCE_BYTES,
  type BoxKeys,
  type OpenedBox,
  openBox,
  sealBox,
} from '../core/secrets/sealed-box.ts';

/** Seals what is written to Redis and may not be read there, each text under a nonce of its own. */
export class Boxes {
  readonly #keys: BoxKeys;

  constructor(keys: BoxKeys) {
    this.#keys = keys;
  }

  /** Of the key that seals. */
  get keyId(): string {
    return this.#keys.sealing.id;
  }

  seal(text: string, ...bound: readonly string[]): string {
    return sealBox(this.#keys, text, bound, randomBytes(BOX_NONCE_BYTES));
  }

  open(box: string, ...bound: readonly string[]): OpenedBox {
    return openBox(this.#keys, box, bound);
  }
}
