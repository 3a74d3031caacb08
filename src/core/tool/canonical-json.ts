import type { JsonValue } from './strict-json.ts';

export class NotCanonicalizable extends Error {
  override readonly name = 'NotCanonicalizable';
  readonly code = 'not_canonicalizable';
}

const LONE_SURROGATE = /[\ud800-\udfff]/u;
/** Far above what the strict parser lets through; here so that a cyclic value ends in a clear error. */
const DEEPEST = 256;

/**
 * RFC 8785: keys by UTF-16 code units, numbers as ECMAScript writes them, no white space. Two texts are equal exactly
 * when the values are.
 * @throws NotCanonicalizable for what has no single form: non-finite numbers, minus zero (which would read back as
 * zero), lone surrogates, and anything that is not plain JSON.
 */
export function canonicalJson(value: JsonValue): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  if (depth > DEEPEST) throw new NotCanonicalizable('the value is nested too deep, or contains itself');
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return writeNumber(value);
  if (typeof value === 'string') return writeString(value);
  if (Array.isArray(value)) return writeArray(value, depth);
  if (typeof value === 'object') return writeObject(value, depth);
  throw new NotCanonicalizable(`JSON has no ${typeof value}; copy the value with fromHostValue first`);
}

function writeNumber(value: number): string {
  if (!Number.isFinite(value)) throw new NotCanonicalizable(`${value} is not a finite number`);
  if (Object.is(value, -0)) throw new NotCanonicalizable('minus zero would read back as zero; use 0');
  return String(value);
}

function writeString(text: string): string {
  if (LONE_SURROGATE.test(text)) throw new NotCanonicalizable('a string holds half of a surrogate pair');
  // JSON.stringify escapes exactly what RFC 8785 section 3.2.2.2 does, once lone surrogates are excluded.
  return JSON.stringify(text);
}

function writeArray(items: readonly unknown[], depth: number): string {
  const parts: string[] = [];
  for (let index = 0; index < items.length; index += 1) parts.push(write(items[index], depth + 1));
  return `[${parts.join(',')}]`;
}

function writeObject(object: object, depth: number): string {
  const prototype = Object.getPrototypeOf(object);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new NotCanonicalizable(
      'an instance of a class has no JSON form of its own; copy it to a plain object',
    );
  }
  const parts = Object.entries(object)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${writeString(key)}:${write(value, depth + 1)}`);
  return `{${parts.join(',')}}`;
}
