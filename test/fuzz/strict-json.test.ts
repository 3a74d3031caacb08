import fc from 'fast-check';
import { expect } from 'vitest';
import { canonicalJson } from '../../src/core/tool/canonical-json.ts';
import { ARGUMENT_LIMITS, type MalformedReason, parseStrictJson } from '../../src/core/tool/strict-json.ts';
import { bentText, fuzz } from './fuzz.ts';

/** JSON.parse is the oracle: what it refuses is refused, and what both accept is the same value. */

const PIECES = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\\u0000',
    '\\ud800',
    '\\u0041',
    '"a":1,',
    '"__proto__":',
    '\ufeff',
  ],
  ...[
    '-0',
    '1e999',
    '1e-400',
    '9007199254740993',
    '0.1',
    '01',
    '1.',
    'NaN',
    'null',
    'true',
    ' ',
    '\t',
    '\n',
    '\u2028',
  ],
];
const text = fc.oneof(
  bentText(fc.json({ maxDepth: 5 }), PIECES),
  bentText(
    fc.constant('{"ticket":"T-1","tags":["a","b"],"n":12.5e3,"deep":{"a":{"b":[null,true]}}}'),
    PIECES,
  ),
  fc.array(fc.constantFrom(...PIECES), { maxLength: 40 }).map((pieces) => pieces.join('')),
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.nat({ max: 3_000 }).map((deep) => '['.repeat(deep) + ']'.repeat(deep)),
);

/** Why a text that JSON.parse takes may be refused: always by a rule, never because the reader did not understand it. */
const STRICTER: readonly MalformedReason[] = [
  'too_large',
  'too_deep',
  'too_many_keys',
  'key_too_long',
  'string_too_long',
  'duplicate_key',
  'forbidden_key',
  'lone_surrogate',
  'inexact_number',
];

function oracle(json: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(json) };
  } catch {
    return undefined;
  }
}

fuzz(
  'the strict JSON reader',
  fc.property(text, (json) => {
    const parsed = parseStrictJson(json, ARGUMENT_LIMITS);
    const theirs = oracle(json);
    if (!parsed.ok) {
      if (theirs !== undefined) expect(STRICTER).toContain(parsed.refusal);
      expect(parsed.detail.length).toBeLessThan(400);
      return;
    }
    expect(theirs).toBeDefined();
    expect(JSON.stringify(parsed.value)).toBe(JSON.stringify(theirs?.value));
    const canonical = canonicalJson(parsed.value);
    const again = parseStrictJson(canonical, { ...ARGUMENT_LIMITS, bytes: 1_000_000 });
    if (!again.ok) throw new Error(`the canonical form is refused: ${again.detail}`);
    expect(canonicalJson(again.value)).toBe(canonical);
  }),
  { atLeast: 300 },
);
