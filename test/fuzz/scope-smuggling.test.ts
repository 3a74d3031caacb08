import fc from 'fast-check';
import { expect } from 'vitest';
import { findScopeKey } from '../../src/core/tool/scope-smuggling.ts';
import { fromHostValue, type JsonValue } from '../../src/core/tool/strict-json.ts';
import { fuzz } from './fuzz.ts';

/** A scope key put anywhere into honest arguments, in any of its spellings, is found; without it nothing is. */

const NONE: ReadonlySet<string> = new Set();
const HONEST = ['ticket', 'title', 'queue', 'labels', 'customer', 'count', 'a', 'items', 'note'];
const { honest } = fc.letrec<{ honest: JsonValue }>((tie) => ({
  honest: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom('T-1', 'duplicate', 'please close it', '', 'Ünïcödé', '12:30'),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('honest'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...HONEST), tie('honest'), { maxKeys: 4 }),
  ) as fc.Arbitrary<JsonValue>,
}));

const word = fc.constantFrom('tenant', 'environment', 'organization', 'workspace', 'principal');
const LOOKALIKES: Readonly<Record<string, readonly string[]>> = {
  a: ['а', 'ａ', '𝐚', 'á', 'Α'],
  e: ['е', 'ｅ', '𝐞', 'é', 'Ε'],
  i: ['і', 'ｉ', '𝐢', 'Ι'],
  o: ['о', 'ｏ', '𝐨', 'Ο', '0'],
  n: ['ｎ', '𝐧', 'ñ', 'Ν'],
  t: ['ｔ', '𝐭', 'Τ'],
  c: ['с', 'ｃ', '𝐜', 'ç'],
  p: ['р', 'ｐ', '𝐩', 'Ρ'],
};
const spelled = fc
  .tuple(
    word,
    fc.array(fc.nat({ max: 7 }), { minLength: 14, maxLength: 14 }),
    fc.constantFrom('', '_id', 'Id', '-ID', '_ids', ' id', '.id'),
    fc.constantFrom('', 'x_', 'target_', 'X-', '_', ' '),
  )
  .map(([name, bends, end, start]) => {
    const letters = [...name].map((letter, i) => {
      const bend = bends[i] ?? 0;
      if (bend === 1) return letter.toUpperCase();
      if (bend === 2) return `${letter}\u200b`;
      return bend > 4 ? (LOOKALIKES[letter]?.[bend % (LOOKALIKES[letter]?.length ?? 1)] ?? letter) : letter;
    });
    return `${start}${letters.join('')}${end}`;
  });

/** Where it is put: as a key beside the others, deeper, or inside a text that is read as JSON, a query or a form. */
const place: fc.Arbitrary<(key: string, honest: JsonValue) => JsonValue> = fc.constantFrom(
  (key, rest) => ({ [key]: 'globex', rest }),
  (key, rest) => ({ rest, [key]: null }),
  (key, rest) => ({ deep: [{ rest }, { and: { [key]: 1 } }] }),
  (key, rest) => ({ note: JSON.stringify({ rest, [key]: 'globex' }) }),
  (key, rest) => ({ note: JSON.stringify({ inner: JSON.stringify([{ [key]: rest }]) }) }),
  (key, rest) => ({ rest, url: `https://api.example.com/x?limit=5&${encodeURIComponent(key)}=globex` }),
  (key, rest) => ({ rest, form: new URLSearchParams({ a: '1', [key]: 'globex' }).toString() }),
  (key, rest) => ({ rest, headers: { [key]: 'globex' } }),
  (key, rest) => ({ rest, _meta: { [key]: 'globex' } }),
);

fuzz(
  'the reader of smuggled scope',
  fc.property(
    honest,
    spelled,
    place,
    fc.string({ unit: 'binary', maxLength: 200 }),
    (rest, key, put, noise) => {
      expect(findScopeKey(rest, NONE)).toBeUndefined();
      const found = findScopeKey(put(key, rest), NONE);
      expect(
        found,
        `${JSON.stringify(key)} was not found in ${JSON.stringify(put(key, rest))}`,
      ).toBeDefined();
      // And whatever else is written, it answers.
      const value = fromHostValue(
        { noise, rest },
        { bytes: 100_000, depth: 32, keys: 1_000, keyLength: 500, stringLength: 50_000 },
      );
      if (value.ok) findScopeKey(value.value, NONE);
    },
  ),
  { atLeast: 200 },
);
