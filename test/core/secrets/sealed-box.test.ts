import { describe, expect, it } from 'vitest';
import { openBox, sealBox } from '../../../src/core/secrets/sealed-box.ts';
import { tokenKeysOf } from '../../../src/core/workspace/token-keys.ts';

const keyOf = (fill: number) => new Uint8Array(32).fill(fill);
const keys = tokenKeysOf([keyOf(1)]);
const nonce = new Uint8Array(12).fill(7);
const TEXT = '{"token":"xoxb-secret"}';
const BOUND = ['123.456', 'T0ACME'];
const box = sealBox(keys, TEXT, BOUND, nonce);

describe('a box for tokens', () => {
  it('opens with its key, for what it belongs to', () => {
    expect(openBox(keys, box, BOUND)).toMatchObject({ ok: true, text: TEXT });
    expect(box).not.toContain('secret');
  });

  it('does not open for another workspace, another app, or the same texts divided otherwise', () => {
    for (const bound of [
      ['123.456', 'T0GLOBEX'],
      ['999.456', 'T0ACME'],
      ['123.456T0ACME'],
      ['123.456', 'T0ACME', ''],
      [],
    ]) {
      expect(openBox(keys, box, bound)).toEqual({ ok: false, why: 'not_genuine' });
    }
  });

  it('does not open with another key, also one that claims to be the right one', () => {
    const other = tokenKeysOf([keyOf(2)]);
    expect(openBox(other, box, BOUND)).toEqual({ ok: false, why: 'unknown_key' });
    const [version, , ...rest] = box.split('.');
    const claimed = [version, other.sealing.id, ...rest].join('.');
    expect(openBox(other, claimed, BOUND)).toEqual({ ok: false, why: 'not_genuine' });
  });

  it('does not open where a single character was changed, or anything cut off', () => {
    for (let at = 0; at < box.length; at += 1) {
      const changed = `${box.slice(0, at)}${box[at] === 'A' ? 'B' : 'A'}${box.slice(at + 1)}`;
      const opened = openBox(keys, changed, BOUND);
      // The last letters of base64url can carry bits that are not there.
      if (opened.ok) expect(opened.text).toBe(TEXT);
      expect(openBox(keys, box.slice(0, at), BOUND).ok, `cut at ${at}`).toBe(false);
    }
    for (const text of ['', 'v1', 'v1....', TEXT, `v2${box.slice(2)}`, `${box}=`, `${box} `, `${box}\n`]) {
      expect(openBox(keys, text, BOUND).ok, text).toBe(false);
    }
  });

  it('opens with an old key beside the new one, which seals', () => {
    const both = tokenKeysOf([keyOf(2), keyOf(1)]);
    expect(openBox(both, box, BOUND)).toMatchObject({ ok: true, text: TEXT });
    expect(openBox(tokenKeysOf([keyOf(2)]), sealBox(both, TEXT, BOUND, nonce), BOUND).ok).toBe(true);
  });

  it('takes keys of 32 bytes alone, and at least one', () => {
    expect(() => tokenKeysOf([])).toThrow('at least one');
    expect(() => tokenKeysOf([new Uint8Array(31)])).toThrow('32 bytes');
    expect(() => sealBox(keys, TEXT, BOUND, new Uint8Array(11))).toThrow('12 bytes');
  });
});
