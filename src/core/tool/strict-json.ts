import { canonicalJson } from './canonical-json.ts';
import { brief } from './visible-text.ts';

/** Objects made here have no prototype and are frozen, so that a lookup finds what was written and nothing else. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** `bytes` of UTF-8, `depth` of nested containers, `keys` in the whole document, lengths in code points. */
export interface JsonLimits {
  readonly bytes: number;
  readonly depth: number;
  readonly keys: number;
  readonly keyLength: number;
  readonly stringLength: number;
}

export const ARGUMENT_LIMITS: JsonLimits = Object.freeze({
  bytes: 16 * 1024,
  depth: 16,
  keys: 200,
  keyLength: 64,
  stringLength: 8_000,
});

/** The reader recurses. Whatever limits it is given, it never goes deeper than this. */
const DEEPEST = 64;

export class JsonLimitsWidened extends Error {
  override readonly name = 'JsonLimitsWidened';
  readonly code = 'json_limits_widened';
}

/** @throws JsonLimitsWidened where one of `wanted` is above `from`, or not a whole number above zero. */
export function narrowLimits(wanted: Partial<JsonLimits>, from: JsonLimits = ARGUMENT_LIMITS): JsonLimits {
  const narrowed = { ...from };
  for (const limit of ['bytes', 'depth', 'keys', 'keyLength', 'stringLength'] as const) {
    const value = wanted[limit];
    if (value === undefined) continue;
    if (!Number.isSafeInteger(value) || value < 1 || value > from[limit]) {
      throw new JsonLimitsWidened(
        `the limit ${limit} is ${String(value)}; it must be a whole number from 1 to ${from[limit]} (limits can only be narrowed)`,
      );
    }
    narrowed[limit] = value;
  }
  return Object.freeze(narrowed);
}

export type MalformedReason =
  | 'too_large'
  | 'too_deep'
  | 'too_many_keys'
  | 'key_too_long'
  | 'string_too_long'
  | 'invalid_utf8'
  | 'byte_order_mark'
  | 'control_character'
  | 'syntax'
  | 'duplicate_key'
  | 'forbidden_key'
  | 'lone_surrogate'
  | 'inexact_number'
  | 'not_json'
  | 'cyclic'
  | 'unreadable';

/** `at` is an offset into the text, in UTF-16 code units; 0 for host values, whose `detail` names the path. */
export type JsonParse =
  | { readonly ok: true; readonly value: JsonValue }
  | { readonly ok: false; readonly refusal: MalformedReason; readonly at: number; readonly detail: string };

/**
 * JSON as RFC 8259 has it, minus everything that two parsers read differently: duplicate keys, prototype keys, lone
 * surrogates, a byte order mark, and numbers that change when a double carries them. Never throws.
 */
export function parseStrictJson(text: string | Uint8Array, limits: JsonLimits = ARGUMENT_LIMITS): JsonParse {
  return refusalAsValue(() => {
    const source = typeof text === 'string' ? text : decodeUtf8(text, limits);
    // Every UTF-16 code unit is at least one byte: a 10 MB text is refused before anything walks over it.
    if (source.length > limits.bytes || Buffer.byteLength(source) > limits.bytes) throw tooLarge(limits);
    if (source.charCodeAt(0) === 0xfeff) {
      throw new Malformed(
        'byte_order_mark',
        0,
        'the text starts with a byte order mark; send it without one',
      );
    }
    return new JsonReader(source, limits).document();
  });
}

/**
 * One deep copy of a value that the host program holds, after which nobody can change it. Each property is looked at
 * once, as a descriptor: getters, `toJSON` and iterators never run, and nothing that a Proxy's trap throws gets out.
 */
export function fromHostValue(
  value: unknown,
  limits: JsonLimits = ARGUMENT_LIMITS,
  options: { readonly undefinedProperties?: 'refuse' | 'drop' } = {},
): JsonParse {
  return refusalAsValue(() => {
    const copy = new HostCopy(limits, options.undefinedProperties === 'drop').of(value);
    refuseProxies(value);
    if (Buffer.byteLength(canonicalJson(copy)) > limits.bytes) throw tooLarge(limits);
    return copy;
  });
}

class Malformed extends Error {
  readonly refusal: MalformedReason;
  readonly at: number;

  constructor(refusal: MalformedReason, at: number, detail: string) {
    super(detail);
    this.refusal = refusal;
    this.at = at;
  }
}

function refusalAsValue(read: () => JsonValue): JsonParse {
  try {
    return { ok: true, value: read() };
  } catch (error) {
    if (error instanceof Malformed) {
      return { ok: false, refusal: error.refusal, at: error.at, detail: error.message };
    }
    return { ok: false, refusal: 'unreadable', at: 0, detail: 'the value threw while it was read' };
  }
}

const tooLarge = (limits: JsonLimits) =>
  new Malformed('too_large', 0, `larger than ${limits.bytes} bytes of JSON`);

function decodeUtf8(bytes: Uint8Array, limits: JsonLimits): string {
  if (!(bytes instanceof Uint8Array)) throw new Malformed('not_json', 0, 'neither a text nor bytes');
  if (bytes.byteLength > limits.bytes) throw tooLarge(limits);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Malformed('invalid_utf8', 0, 'the bytes are not valid UTF-8');
  }
}

/** With the u flag a surrogate class matches only those that are not half of a pair. */
const LONE_SURROGATE = /[\ud800-\udfff]/u;
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/** What both readers refuse, wherever the value came from. */
class Rules {
  readonly #limits: JsonLimits;
  #keys = 0;

  constructor(limits: JsonLimits) {
    this.#limits = limits;
  }

  depth(depth: number, at: number): void {
    const deepest = Math.min(this.#limits.depth, DEEPEST);
    if (depth > deepest) throw new Malformed('too_deep', at, `nested deeper than ${deepest} levels`);
  }

  key(key: string, at: number): void {
    this.#keys += 1;
    if (this.#keys > this.#limits.keys) {
      throw new Malformed('too_many_keys', at, `more than ${this.#limits.keys} keys`);
    }
    this.#wellFormed(key, at);
    if (longerThan(key, this.#limits.keyLength)) {
      throw new Malformed(
        'key_too_long',
        at,
        `the key "${brief(key)}" is longer than ${this.#limits.keyLength} characters`,
      );
    }
    if (FORBIDDEN_KEYS.has(key))
      throw new Malformed('forbidden_key', at, `the key "${key}" is never accepted`);
    if (CONTROL.test(key)) {
      throw new Malformed('control_character', at, `a control character in the key "${brief(key)}"`);
    }
  }

  text(text: string, at: number): string {
    this.#wellFormed(text, at);
    if (longerThan(text, this.#limits.stringLength)) {
      throw new Malformed(
        'string_too_long',
        at,
        `a string is longer than ${this.#limits.stringLength} characters`,
      );
    }
    return text;
  }

  /**
   * Integers from 2^53 on are refused even where a double hits them exactly: their neighbours read the same. From
   * 1e21 on the canonical form has an exponent, as the writer's did, and nobody takes it for an exact count.
   */
  number(value: number, written: string, at: number): number {
    const shown = brief(written);
    if (!Number.isFinite(value)) throw new Malformed('inexact_number', at, `${shown} is not a finite number`);
    if (Object.is(value, -0))
      throw new Malformed('inexact_number', at, 'minus zero is not accepted; write 0');
    const size = Math.abs(value);
    const integerLiteral = /^-?[0-9]+$/.test(written);
    if (size > Number.MAX_SAFE_INTEGER && (size < 1e21 || integerLiteral)) {
      throw new Malformed(
        'inexact_number',
        at,
        `${shown} is beyond the integers that a number carries exactly; send it as a string`,
      );
    }
    if (decimalOf(written) !== decimalOf(String(value))) {
      throw new Malformed(
        'inexact_number',
        at,
        `${shown} would be read as ${String(value)}; send fewer digits or a string`,
      );
    }
    return value;
  }

  #wellFormed(text: string, at: number): void {
    if (LONE_SURROGATE.test(text)) {
      throw new Malformed('lone_surrogate', at, 'half of a surrogate pair, which is not a character');
    }
  }
}

function longerThan(text: string, codePoints: number): boolean {
  if (text.length <= codePoints) return false;
  let count = 0;
  for (const _ of text) {
    count += 1;
    if (count > codePoints) return true;
  }
  return false;
}

/** One spelling for each decimal value, compared as text: no arithmetic that could round. */
function decimalOf(literal: string): string {
  const [mantissa = '', exponent = '0'] = literal.toLowerCase().split('e');
  const negative = mantissa.startsWith('-');
  const [whole = '', fraction = ''] = mantissa.slice(negative ? 1 : 0).split('.');
  const digits = whole + fraction;
  let start = 0;
  while (start < digits.length && digits[start] === '0') start += 1;
  if (start === digits.length) return '0';
  let end = digits.length;
  while (digits[end - 1] === '0') end -= 1;
  const power = Number(exponent) - fraction.length + (digits.length - end);
  return `${negative ? '-' : ''}${digits.slice(start, end)}e${power}`;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

class JsonReader {
  readonly #text: string;
  readonly #rules: Rules;
  #at = 0;

  constructor(text: string, limits: JsonLimits) {
    this.#text = text;
    this.#rules = new Rules(limits);
  }

  document(): JsonValue {
    const raw = LONE_SURROGATE.exec(this.#text);
    if (raw) {
      throw new Malformed('lone_surrogate', raw.index, 'half of a surrogate pair, which UTF-8 cannot carry');
    }
    const value = this.#value(1);
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#unexpected('after the end of the value');
    return value;
  }

  #value(depth: number): JsonValue {
    this.#skipSpace();
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"': {
        const at = this.#at;
        return this.#rules.text(this.#string(), at);
      }
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default:
        return this.#number();
    }
  }

  #object(depth: number): JsonValue {
    this.#rules.depth(depth, this.#at);
    const object: Record<string, JsonValue> = Object.create(null);
    this.#at += 1;
    if (this.#takes('}')) return Object.freeze(object);
    do {
      this.#skipSpace();
      const at = this.#at;
      if (this.#text[at] !== '"') throw this.#unexpected('where a key should start');
      const key = this.#string();
      this.#rules.key(key, at);
      if (key in object) throw new Malformed('duplicate_key', at, `the key "${brief(key)}" appears twice`);
      if (!this.#takes(':')) throw this.#unexpected('where a colon should be');
      object[key] = this.#value(depth + 1);
    } while (this.#takes(','));
    if (!this.#takes('}')) throw this.#unexpected('where an object should go on or end');
    return Object.freeze(object);
  }

  #array(depth: number): JsonValue {
    this.#rules.depth(depth, this.#at);
    const items: JsonValue[] = [];
    this.#at += 1;
    if (this.#takes(']')) return Object.freeze(items);
    do items.push(this.#value(depth + 1));
    while (this.#takes(','));
    if (!this.#takes(']')) throw this.#unexpected('where an array should go on or end');
    return Object.freeze(items);
  }

  #string(): string {
    const opened = this.#at;
    let result = '';
    let plainFrom = opened + 1;
    for (let at = plainFrom; at < this.#text.length; at += 1) {
      const unit = this.#text.charCodeAt(at);
      if (unit === 0x22) {
        this.#at = at + 1;
        return result + this.#text.slice(plainFrom, at);
      }
      if (unit < 0x20) {
        throw new Malformed(
          'control_character',
          at,
          'a raw control character in a string; it must be escaped',
        );
      }
      if (unit !== 0x5c) continue;
      const { text, length } = this.#escape(at);
      result += this.#text.slice(plainFrom, at) + text;
      at += length - 1;
      plainFrom = at + 1;
    }
    throw new Malformed('syntax', opened, 'a string that never ends');
  }

  #escape(at: number): { text: string; length: number } {
    const letter = this.#text[at + 1] ?? '';
    const simple = ESCAPES.get(letter);
    if (simple !== undefined) return { text: simple, length: 2 };
    const hex = this.#text.slice(at + 2, at + 6);
    if (letter !== 'u' || !/^[0-9a-fA-F]{4}$/.test(hex)) {
      throw new Malformed('syntax', at, 'an escape that JSON does not have');
    }
    return { text: String.fromCharCode(Number.parseInt(hex, 16)), length: 6 };
  }

  #number(): number {
    NUMBER.lastIndex = this.#at;
    const written = NUMBER.exec(this.#text)?.[0];
    if (written === undefined) throw this.#unexpected('where a value should start');
    const at = this.#at;
    this.#at += written.length;
    return this.#rules.number(Number(written), written, at);
  }

  #word<T extends JsonValue>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#unexpected('where a value should start');
    this.#at += word.length;
    return value;
  }

  #takes(mark: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== mark) return false;
    this.#at += 1;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const unit = this.#text.charCodeAt(this.#at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      this.#at += 1;
    }
  }

  #unexpected(where: string): Malformed {
    const point = this.#text.codePointAt(this.#at);
    if (point === undefined) return new Malformed('syntax', this.#at, `the text ends ${where}`);
    const found = String.fromCodePoint(point);
    const refusal = CONTROL.test(found) ? 'control_character' : 'syntax';
    return new Malformed(refusal, this.#at, `found "${brief(found)}" ${where}`);
  }
}

class HostCopy {
  readonly #limits: JsonLimits;
  readonly #rules: Rules;
  readonly #dropUndefined: boolean;
  readonly #ancestors = new Set<object>();
  #spent = 0;

  constructor(limits: JsonLimits, dropUndefined: boolean) {
    this.#limits = limits;
    this.#rules = new Rules(limits);
    this.#dropUndefined = dropUndefined;
  }

  of(value: unknown): JsonValue {
    return this.#copy(value, '', 1);
  }

  #copy(value: unknown, path: string, depth: number): JsonValue {
    // A lower bound of what the copy will take, so that a few shared arrays cannot unfold into gigabytes.
    this.#spend(1);
    if (value === null || typeof value === 'boolean') return value;
    if (typeof value === 'number') return this.#located(path, () => this.#number(value));
    if (typeof value === 'string') {
      this.#spend(value.length);
      return this.#located(path, () => this.#rules.text(value, 0));
    }
    if (typeof value !== 'object') throw notJson(path, named(value));
    if (this.#ancestors.has(value)) {
      throw new Malformed('cyclic', 0, `${where(path)} contains itself`);
    }
    this.#located(path, () => this.#rules.depth(depth, 0));
    this.#ancestors.add(value);
    const copy = Array.isArray(value) ? this.#array(value, path, depth) : this.#object(value, path, depth);
    this.#ancestors.delete(value);
    return Object.freeze(copy);
  }

  #number(value: number): number {
    return this.#rules.number(value, String(value), 0);
  }

  #array(array: object, path: string, depth: number): JsonValue {
    if (Reflect.getPrototypeOf(array) !== Array.prototype) throw notJson(path, 'an instance of a class');
    const length: unknown = Reflect.getOwnPropertyDescriptor(array, 'length')?.value;
    if (typeof length !== 'number' || length > this.#limits.bytes) throw tooLarge(this.#limits);
    if (Reflect.ownKeys(array).length !== length + 1) {
      throw notJson(path, 'an array with holes or with properties of its own');
    }
    const items: JsonValue[] = [];
    for (let index = 0; index < length; index += 1) {
      const at = `${path}[${index}]`;
      items.push(this.#copy(readOnce(array, String(index), at), at, depth + 1));
    }
    return items;
  }

  #object(object: object, path: string, depth: number): JsonValue {
    const prototype = Reflect.getPrototypeOf(object);
    if (prototype !== Object.prototype && prototype !== null) throw notJson(path, 'an instance of a class');
    const copy: Record<string, JsonValue> = Object.create(null);
    for (const key of Reflect.ownKeys(object)) {
      if (typeof key === 'symbol') throw notJson(path, 'an object with a symbol as a key');
      this.#located(path, () => this.#rules.key(key, 0));
      this.#spend(key.length);
      const at = path === '' ? key : `${path}.${key}`;
      const value = readOnce(object, key, at);
      if (value === undefined && this.#dropUndefined) continue;
      copy[key] = this.#copy(value, at, depth + 1);
    }
    return copy;
  }

  #spend(bytes: number): void {
    this.#spent += bytes;
    if (this.#spent > this.#limits.bytes) throw tooLarge(this.#limits);
  }

  #located<T>(path: string, check: () => T): T {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof Malformed) || path === '') throw error;
      throw new Malformed(error.refusal, 0, `${where(path)}: ${error.message}`);
    }
  }
}

function readOnce(holder: object, key: string, path: string): unknown {
  const property = Reflect.getOwnPropertyDescriptor(holder, key);
  if (property === undefined) throw notJson(path, 'a property that was gone when it was read');
  if (!('value' in property)) throw notJson(path, 'a getter or a setter');
  if (property.enumerable !== true) throw notJson(path, 'a hidden property');
  return property.value;
}

/**
 * A Proxy answers every question as it likes, and JavaScript has no test for one; but the structured clone algorithm
 * refuses it, without calling its traps. By now all else that it refuses is refused, and getters are known to be absent.
 */
function refuseProxies(value: unknown): void {
  try {
    structuredClone(value);
  } catch {
    throw new Malformed('not_json', 0, 'contains a Proxy');
  }
}

const where = (path: string) => (path === '' ? 'the value' : `"${brief(path)}"`);
const named = (value: unknown) => (value === undefined ? 'undefined' : `a ${typeof value}`);
const notJson = (path: string, what: string) =>
  new Malformed('not_json', 0, `${where(path)} is or holds ${what}, which JSON does not have`);
