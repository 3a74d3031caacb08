import fc from 'fast-check';
import { ARGUMENT_LIMITS, type JsonValue } from '../../src/core/tool/strict-json.ts';

const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 400 }),
  fc.string({ unit: 'grapheme', maxLength: 400 }),
  fc
    .constantFrom('\n', '\u202E', '\u200B', '文', '"', '\\', '⟨×', ' ', 'a\n', '\u{1F469}\u200D')
    .chain((piece) => fc.integer({ min: 1, max: 2600 }).map((times) => piece.repeat(times))),
);
/** What a person can hand in through a modal. */
export const reasons = nasty.map((text) => text.slice(0, 3_000).toWellFormed() || '-');
/** Any name that a guard lets through: the strict parser refuses these before there is a proposal. */
const argumentName = fc
  .string({ minLength: 1, maxLength: 64 })
  .filter((name) => !['__proto__', 'constructor', 'prototype'].includes(name));
const { value: anyJson } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 6 },
    nasty,
    fc.integer(),
    fc.constantFrom(null, true, false),
    fc.array(tie('value'), { maxLength: 30 }),
    fc.dictionary(argumentName, tie('value'), { maxKeys: 30 }),
  ),
}));
/** From nothing to the largest that a guard lets through. */
export const argumentsOfAnySize = fc
  .dictionary(argumentName, anyJson, { maxKeys: 60 })
  .map((value) => JSON.parse(JSON.stringify(value).toWellFormed()) as JsonValue)
  .filter((value) => {
    const bytes = Buffer.byteLength(JSON.stringify(value));
    return bytes <= ARGUMENT_LIMITS.bytes;
  });
