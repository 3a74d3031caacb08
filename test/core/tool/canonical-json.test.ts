import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, NotCanonicalizable } from '../../../src/core/tool/canonical-json.ts';
import { Digest, digestOf, NotDigestible, shortDigest } from '../../../src/core/tool/digest.ts';
import type { JsonValue } from '../../../src/core/tool/strict-json.ts';

describe('the canonical form', () => {
  it('is that of RFC 8785, section 3.2.2', () => {
    const sample = {
      numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27],
      string: '€$\u000f\nA\'B"\\\\"/',
      literals: [null, true, false],
    };
    expect(canonicalJson(sample)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  it('sorts keys by UTF-16 code units, as RFC 8785, section 3.2.3, has it', () => {
    const keys = ['€', '\r', '\ufb33', '1', '😀', '\u0080', 'ö'];
    const sorted = ['\r', '1', '\u0080', 'ö', '€', '😀', '\ufb33'];
    const text = canonicalJson(Object.fromEntries(keys.map((key) => [key, 0])));
    expect(Object.keys(JSON.parse(text)).filter((key) => key !== '1')).toEqual(
      sorted.filter((key) => key !== '1'),
    );
    expect(text.indexOf('"\\r"')).toBeLessThan(text.indexOf('"1"'));
  });

  it('does not depend on the order in which keys were written', () => {
    expect(canonicalJson({ b: 1, a: { d: 2, c: 3 } })).toBe(canonicalJson({ a: { c: 3, d: 2 }, b: 1 }));
  });

  it('is idempotent', () => {
    // Not fast-check's own 'binary' unit: its tables take seconds to build.
    const character = fc
      .oneof(fc.integer({ min: 0, max: 0xd7ff }), fc.integer({ min: 0xe000, max: 0x10ffff }))
      .map((point) => String.fromCodePoint(point));
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: character, maxDepth: 4 }), (value) => {
        const plain = JSON.parse(JSON.stringify(value)) as JsonValue;
        const once = canonicalJson(plain);
        expect(canonicalJson(JSON.parse(once))).toBe(once);
      }),
      { interruptAfterTimeLimit: 1_500, numRuns: 100 },
    );
  });

  const cyclic: { [key: string]: JsonValue } = {};
  cyclic.self = cyclic;
  const refused: [what: string, value: unknown][] = [
    ['NaN', [Number.NaN]],
    ['Infinity', { a: Number.NEGATIVE_INFINITY }],
    ['minus zero', -0],
    ['a lone surrogate', ['\ud800']],
    ['a lone surrogate in a key', { '\udfff': 1 }],
    ['undefined', [undefined]],
    ['a hole', new Array(1)],
    ['a bigint', 1n],
    ['a function', () => 1],
    ['a Date', new Date(0)],
    ['a Map', new Map()],
    ['a cycle', cyclic],
  ];
  for (const [what, value] of refused) {
    it(`does not exist for ${what}`, () => {
      expect(() => canonicalJson(value as JsonValue)).toThrow(NotCanonicalizable);
    });
  }
});

describe('a digest', () => {
  it('is SHA-256 over its domain and the text', () => {
    // printf 'countersign/arguments/v1\n{"id":1}' | sha256sum
    expect(digestOf('arguments', '{"id":1}')).toBe(
      '5296753775d3e1c16886d23a81a31be7c4daf663d09929085b1a2837b42477e6',
    );
  });

  it('of one kind never equals that of another kind', () => {
    expect(digestOf('arguments', '{}')).not.toBe(digestOf('terms', '{}'));
  });

  it('is not made of a text that UTF-8 would change, nor in a domain that could hold a line break', () => {
    expect(() => digestOf('arguments', '\ud800')).toThrow(NotDigestible);
    expect(() => digestOf('arguments/v1\nx', '')).toThrow(NotDigestible);
  });

  it('is parsed strictly, and shown to people in groups', () => {
    const digest = digestOf('arguments', '');
    expect(Digest.safeParse(digest.toUpperCase()).success).toBe(false);
    expect(Digest.safeParse(`${digest}\n`).success).toBe(false);
    expect(shortDigest(Digest.parse('0123456789ab'.padEnd(64, 'f')))).toBe('0123 4567 89ab');
  });
});
