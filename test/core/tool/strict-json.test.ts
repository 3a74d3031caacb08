import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../src/core/tool/canonical-json.ts';
import {
  ARGUMENT_LIMITS,
  fromHostValue,
  JsonLimitsWidened,
  type JsonValue,
  type MalformedReason,
  narrowLimits,
  parseStrictJson,
} from '../../../src/core/tool/strict-json.ts';

/** Lone surrogates included. fast-check's own 'binary' unit takes seconds to build its tables. */
const anyCharacter = fc.integer({ min: 0, max: 0x10ffff }).map((point) => String.fromCodePoint(point));
const PROPERTY = { interruptAfterTimeLimit: 1_500, numRuns: 400 };
const utf8 = (text: string) => new TextEncoder().encode(text);
const reasonOf = (parse: { ok: boolean; refusal?: MalformedReason }) =>
  parse.ok ? 'accepted' : parse.refusal;

describe('a text that two parsers could read differently', () => {
  const attacks: [what: string, text: string | Uint8Array, reason: MalformedReason][] = [
    ['a key twice', '{"id":1,"id":2}', 'duplicate_key'],
    ['a key twice, once escaped', '{"id":1,"\\u0069d":2}', 'duplicate_key'],
    ['a key twice, deep inside', '{"a":[{"b":{"c":1,"d":2,"c":1}}]}', 'duplicate_key'],
    ['__proto__', '{"__proto__":{"admin":true}}', 'forbidden_key'],
    ['__proto__, escaped', '{"\\u005f_proto__":1}', 'forbidden_key'],
    ['constructor', '{"a":{"constructor":1}}', 'forbidden_key'],
    ['prototype', '{"prototype":1}', 'forbidden_key'],
    ['a number too large for a double', '1e999', 'inexact_number'],
    ['a number too small for a double', '1e-400', 'inexact_number'],
    ['2^53', '9007199254740992', 'inexact_number'],
    ['2^53+1', '9007199254740993', 'inexact_number'],
    ['2^53+1 as a decimal', '9007199254740993.0', 'inexact_number'],
    ['-2^53', '-9007199254740992', 'inexact_number'],
    ['a long integer that a double hits', '1000000000000000000000000', 'inexact_number'],
    ['an integer in exponent form that canonically is a long integer', '1e20', 'inexact_number'],
    ['a decimal with more digits than a double', '0.10000000000000000001', 'inexact_number'],
    ['a decimal that a double rounds', '333333333.33333329', 'inexact_number'],
    ['minus zero', '-0', 'inexact_number'],
    ['minus zero as a decimal', '[-0.00]', 'inexact_number'],
    ['minus zero with an exponent', '-0e5', 'inexact_number'],
    ['NaN', 'NaN', 'syntax'],
    ['Infinity', '[Infinity]', 'syntax'],
    ['a leading zero', '007', 'syntax'],
    ['a plus sign', '+1', 'syntax'],
    ['a number that ends in a point', '1.', 'syntax'],
    ['hexadecimal', '0x10', 'syntax'],
    ['a high surrogate alone, escaped', '"\\ud83d"', 'lone_surrogate'],
    ['a low surrogate alone, escaped', '"\\ude00 \\ud83d"', 'lone_surrogate'],
    ['a lone surrogate in a key', '{"\\ud83d":1}', 'lone_surrogate'],
    ['a raw lone surrogate', '"\ud83d"', 'lone_surrogate'],
    ['a raw lone surrogate that an escape completes', '"\ud83d\\ude00"', 'lone_surrogate'],
    ['a byte order mark', '\ufeff{}', 'byte_order_mark'],
    ['a byte order mark in bytes', new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d]), 'byte_order_mark'],
    ['overlong UTF-8', new Uint8Array([0x22, 0xc0, 0xaf, 0x22]), 'invalid_utf8'],
    ['a surrogate in UTF-8', new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]), 'invalid_utf8'],
    ['UTF-8 that breaks off', new Uint8Array([0x22, 0xf0, 0x9f, 0x98]), 'invalid_utf8'],
    ['a raw newline in a string', '"a\nb"', 'control_character'],
    ['a NUL between tokens', '{\u0000}', 'control_character'],
    ['a control character in a key', '{"a\\u0007":1}', 'control_character'],
    ['a trailing comma', '[1,]', 'syntax'],
    ['a comment', '{/*x*/}', 'syntax'],
    ['single quotes', "{'a':1}", 'syntax'],
    ['a bare key', '{a:1}', 'syntax'],
    ['two documents', '{} {}', 'syntax'],
    ['an unknown escape', '"\\x41"', 'syntax'],
    ['an escape that breaks off', '"\\u00', 'syntax'],
    ['a string that never ends', '"abc', 'syntax'],
    ['a no-break space between tokens', '{\u00a0}', 'syntax'],
    ['nothing', '', 'syntax'],
  ];

  for (const [what, text, reason] of attacks) {
    it(`[args:strict-json] refuses ${what}`, () => {
      expect(reasonOf(parseStrictJson(text))).toBe(reason);
      if (typeof text === 'string' && reason !== 'lone_surrogate') {
        expect(reasonOf(parseStrictJson(utf8(text)))).toBe(reason);
      }
    });
  }

  const twins: [what: string, text: string, value: JsonValue][] = [
    ['the same key in two objects', '[{"id":1},{"id":2}]', [{ id: 1 }, { id: 2 }]],
    ['a key that resembles a prototype name', '{"proto":1,"Constructor":2}', { proto: 1, Constructor: 2 }],
    ['2^53-1', '9007199254740991', 9007199254740991],
    ['trailing zeros', '1.50', 1.5],
    ['a decimal that no double equals but one is shown as', '0.1', 0.1],
    ['exponents', '[1e3,2.5E-3,1E+2,1e21,1.5e300]', [1000, 0.0025, 100, 1e21, 1.5e300]],
    ['zero in other spellings', '[0,0.0,0e5]', [0, 0, 0]],
    ['the smallest double', '5e-324', 5e-324],
    ['an escaped pair', '"\\ud83d\\ude00"', '😀'],
    ['a raw pair', '"😀"', '😀'],
    ['a zero-width no-break space inside a text', '"a\ufeffb"', 'a\ufeffb'],
    ['escaped controls in a value', '"a\\n\\t\\u0000"', 'a\n\t\u0000'],
    ['white space', ' {\r\n\t"a" : [ ] } ', { a: [] }],
    ['a scalar', 'null', null],
  ];

  for (const [what, text, value] of twins) {
    it(`[args:strict-json] accepts ${what}`, () => {
      expect(parseStrictJson(text)).toEqual({ ok: true, value });
      expect(parseStrictJson(utf8(text))).toEqual({ ok: true, value });
    });
  }

  it('says where a text is broken, and with what', () => {
    expect(parseStrictJson('{"a": 1, "b\u202e": x}')).toEqual({
      ok: false,
      refusal: 'syntax',
      at: 15,
      detail: 'found "x" where a value should start',
    });
    const twice = parseStrictJson('{"a\u202e":1,"a\u202e":2}');
    expect(twice).toMatchObject({ refusal: 'duplicate_key', detail: 'the key "a\\u{202E}" appears twice' });
  });
});

describe('limits', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  const keys = (count: number) =>
    JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 0])));

  const edges: [what: string, within: string, beyond: string, reason: MalformedReason][] = [
    ['depth', nested(16), nested(17), 'too_deep'],
    ['keys', keys(200), keys(201), 'too_many_keys'],
    ['key length in code points', `{"${'😀'.repeat(64)}":1}`, `{"${'😀'.repeat(65)}":1}`, 'key_too_long'],
    ['string length in code points', `"${'é'.repeat(8_000)}"`, `"${'é'.repeat(8_001)}"`, 'string_too_long'],
    [
      'bytes, not characters',
      `["${'é'.repeat(8_000)}","${'a'.repeat(377)}"]`,
      `["${'é'.repeat(8_000)}","${'a'.repeat(378)}"]`,
      'too_large',
    ],
  ];

  for (const [what, within, beyond, reason] of edges) {
    it(`[args:strict-json] holds the limit on ${what}, in texts and in host values`, () => {
      expect(reasonOf(parseStrictJson(within))).toBe('accepted');
      expect(reasonOf(parseStrictJson(beyond))).toBe(reason);
      expect(reasonOf(fromHostValue(JSON.parse(within)))).toBe('accepted');
      expect(reasonOf(fromHostValue(JSON.parse(beyond)))).toBe(reason);
    });
  }

  it('[args:strict-json] refuses 10,000 levels without overflowing, whatever the limits say', () => {
    const boundless = { bytes: 1e9, depth: 1e9, keys: 1e9, keyLength: 1e9, stringLength: 1e9 };
    let host: unknown = 1;
    for (let level = 0; level < 10_000; level += 1) host = { host };
    expect(reasonOf(parseStrictJson(nested(10_000), boundless))).toBe('too_deep');
    expect(reasonOf(parseStrictJson('{"a":'.repeat(10_000), boundless))).toBe('too_deep');
    expect(reasonOf(fromHostValue(host, boundless))).toBe('too_deep');
  });

  it('[args:strict-json] refuses 10 MB at once', () => {
    const large = `"${'a'.repeat(10_000_000)}"`;
    const started = process.cpuUsage();
    expect(reasonOf(parseStrictJson(large))).toBe('too_large');
    expect(reasonOf(parseStrictJson(utf8(large)))).toBe('too_large');
    expect(process.cpuUsage(started).user).toBeLessThan(1_000_000);
  });

  it('refuses a few shared arrays that would unfold into gigabytes', () => {
    let bomb: unknown[] = ['x'];
    for (let level = 0; level < 14; level += 1) bomb = Array.from({ length: 100 }, () => bomb);
    expect(reasonOf(fromHostValue(bomb))).toBe('too_large');
  });

  it('lets limits be narrowed and never widened', () => {
    expect(narrowLimits({ bytes: 100 })).toEqual({ ...ARGUMENT_LIMITS, bytes: 100 });
    expect(reasonOf(parseStrictJson('[[1]]', narrowLimits({ depth: 1 })))).toBe('too_deep');
    for (const wanted of [{ bytes: 16 * 1024 + 1 }, { depth: 0 }, { keys: 1.5 }, { keyLength: Number.NaN }]) {
      expect(() => narrowLimits(wanted)).toThrow(JsonLimitsWidened);
    }
  });
});

describe('a value that the host holds', () => {
  const sparse = () => {
    const items = [1, 2, 3];
    delete items[1];
    return items;
  };
  const refused: [what: string, make: () => unknown, reason: MalformedReason][] = [
    ['a class instance', () => new (class Box {})(), 'not_json'],
    ['a Date', () => ({ at: new Date(0) }), 'not_json'],
    ['a Map', () => new Map([['a', 1]]), 'not_json'],
    ['a boxed string', () => Object('text'), 'not_json'],
    ['a function', () => ({ run() {} }), 'not_json'],
    ['toJSON', () => ({ id: 1, toJSON: () => ({ id: 2 }) }), 'not_json'],
    ['a symbol', () => [Symbol('a')], 'not_json'],
    ['a symbol as a key', () => ({ [Symbol('a')]: 1 }), 'not_json'],
    ['undefined', () => undefined, 'not_json'],
    ['an undefined property', () => ({ a: undefined }), 'not_json'],
    ['a bigint', () => ({ a: 1n }), 'not_json'],
    ['an array with a hole', () => sparse(), 'not_json'],
    ['a long array of holes', () => new Array(10_000), 'not_json'],
    ['an array with a property', () => Object.assign([1], { extra: 1 }), 'not_json'],
    ['an array with a hole and a property', () => Object.assign(sparse(), { extra: 1 }), 'not_json'],
    ['a subclass of Array', () => new (class List extends Array {})(), 'not_json'],
    ['a hidden property', () => Object.defineProperty({}, 'a', { value: 1 }), 'not_json'],
    ['a Proxy', () => new Proxy({ a: 1 }, {}), 'not_json'],
    ['a Proxy inside', () => ({ a: [new Proxy([], {})] }), 'not_json'],
    [
      'a revoked Proxy',
      () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return { proxy };
      },
      'unreadable',
    ],
    ['NaN', () => [Number.NaN], 'inexact_number'],
    ['Infinity', () => Number.POSITIVE_INFINITY, 'inexact_number'],
    ['minus zero', () => ({ a: -0 }), 'inexact_number'],
    ['2^53', () => 2 ** 53, 'inexact_number'],
    ['a lone surrogate', () => ['\ud800'], 'lone_surrogate'],
    ['a lone surrogate in a key', () => ({ '\udc00': 1 }), 'lone_surrogate'],
    ['an own __proto__', () => JSON.parse('{"__proto__":1}'), 'forbidden_key'],
    ['a constructor', () => ({ constructor: 1 }), 'forbidden_key'],
    [
      'a cycle',
      () => {
        const cycle: { inner: unknown[] } = { inner: [] };
        cycle.inner.push(cycle);
        return cycle;
      },
      'cyclic',
    ],
  ];

  for (const [what, make, reason] of refused) {
    it(`[args:strict-json] refuses ${what}`, () => {
      expect(reasonOf(fromHostValue(make()))).toBe(reason);
    });
  }

  it('accepts plain values, objects without a prototype, frozen ones, and one object in two places', () => {
    const shared = Object.freeze({ id: 7 });
    const bare = Object.assign(Object.create(null), { a: [1.5, 'x', null, true] });
    expect(fromHostValue({ first: shared, second: shared, bare, empty: {}, none: [] })).toEqual({
      ok: true,
      value: {
        first: { id: 7 },
        second: { id: 7 },
        bare: { a: [1.5, 'x', null, true] },
        empty: {},
        none: [],
      },
    });
  });

  it('[proposal:frozen] never runs a getter, not even once', () => {
    let runs = 0;
    const trap = {
      get id() {
        runs += 1;
        return runs === 1 ? 'ticket-1' : 'ticket-2';
      },
    };
    expect(reasonOf(fromHostValue({ list: [trap] }))).toBe('not_json');
    expect(runs).toBe(0);
  });

  it('[proposal:frozen] reads each property of a Proxy at most once, and lets nothing that it throws out', () => {
    const reads: string[] = [];
    const spy = new Proxy(
      { a: 1, b: 2 },
      {
        get: () => expect.unreachable('a copy looks at descriptors only'),
        getOwnPropertyDescriptor(target, key) {
          reads.push(String(key));
          return Reflect.getOwnPropertyDescriptor(target, key);
        },
      },
    );
    expect(reasonOf(fromHostValue(spy))).toBe('not_json');
    expect(reads).toEqual(['a', 'b']);
    const hostile = new Proxy(
      {},
      {
        ownKeys() {
          throw new Error('boo');
        },
      },
    );
    expect(reasonOf(fromHostValue([hostile]))).toBe('unreadable');
  });

  it('[proposal:frozen] copies: what the host changes later, or the reader tries to change, changes nothing', () => {
    const host = { ids: ['a'], inner: { deep: 1 } };
    const copy = fromHostValue(host);
    host.ids.push('b');
    host.inner.deep = 2;
    expect(copy).toEqual({ ok: true, value: { ids: ['a'], inner: { deep: 1 } } });
    const text = parseStrictJson('{"ids":["a"]}');
    for (const parse of [copy, text]) {
      const { ids } = (parse.ok && parse.value) as { ids: string[] };
      expect(() => ids.push('c')).toThrow(TypeError);
      expect(Object.isFrozen(parse.ok && parse.value)).toBe(true);
    }
  });

  it('finds no inherited property in what it read', () => {
    for (const parse of [parseStrictJson('{"a":1}'), fromHostValue({ a: 1 })]) {
      expect(parse.ok && Object.getPrototypeOf(parse.value)).toBeNull();
    }
  });

  it('drops undefined properties only when asked to', () => {
    const value = { a: 1, b: undefined };
    expect(fromHostValue(value, ARGUMENT_LIMITS, { undefinedProperties: 'drop' })).toEqual({
      ok: true,
      value: { a: 1 },
    });
    expect(reasonOf(fromHostValue([undefined], ARGUMENT_LIMITS, { undefinedProperties: 'drop' }))).toBe(
      'not_json',
    );
  });
});

describe('for any input', () => {
  /** Values inside all limits: what is left to differ is the reading itself. */
  const key = fc
    .string({ unit: anyCharacter, maxLength: 12 })
    .filter((name) => reasonOf(fromHostValue({ [name]: 0 })) === 'accepted' && name !== '__proto__');
  const leaf = fc.oneof(
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger().map((number) => number + 0),
    fc.double().filter((number) => reasonOf(fromHostValue(number)) === 'accepted'),
    fc.string({ unit: anyCharacter, maxLength: 40 }),
  );
  const { value } = fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', maxDepth: 6 },
      leaf,
      fc.array(tie('value'), { maxLength: 5 }),
      fc.dictionary(key, tie('value'), { maxKeys: 5, noNullPrototype: false }),
    ),
  }));

  it('[args:strict-json] what is written canonically is read back as the same value', () => {
    fc.assert(
      fc.property(value, (original) => {
        const copy = fromHostValue(original);
        fc.pre(copy.ok);
        const text = canonicalJson(copy.ok ? copy.value : null);
        expect(parseStrictJson(text)).toEqual(copy);
        expect(parseStrictJson(utf8(text))).toEqual(copy);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
      PROPERTY,
    );
  });

  it('[args:strict-json] what is accepted means what JSON.parse says, and nothing throws', () => {
    const jsonish = fc
      .array(
        fc.constantFrom(
          ...'{}[],:"\\ \n-+.0159eE'.split(''),
          ...[
            '"a"',
            '"b":',
            'true',
            'null',
            '\\u00e9',
            '\\ud83d',
            '\\ude00',
            '1e5',
            '0.1',
            '{"a":',
            '[1',
            '\ud800',
            '😀',
          ],
        ),
        { maxLength: 12 },
      )
      .map((tokens) => tokens.join(''));
    let accepted = 0;
    fc.assert(
      fc.property(fc.oneof(jsonish, fc.json(), fc.string({ unit: anyCharacter })), (text) => {
        const parse = parseStrictJson(text);
        if (!parse.ok) return;
        accepted += 1;
        expect(parse.value).toEqual(JSON.parse(text));
      }),
      { ...PROPERTY, numRuns: 2_000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  it('[args:strict-json] a number is read as written or refused, digit for digit', () => {
    const digits = fc.stringMatching(/^[0-9]{1,22}$/);
    fc.assert(
      fc.property(
        digits,
        fc.option(digits),
        fc.option(fc.integer({ min: -30, max: 30 })),
        (whole, rest, power) => {
          const integer = whole.replace(/^0+(?=\d)/, '');
          const literal = `${integer}${rest === null ? '' : `.${rest}`}${power === null ? '' : `e${power}`}`;
          const parse = parseStrictJson(literal);
          if (!parse.ok) return;
          expect(exactly(canonicalJson(parse.value))).toEqual(exactly(literal));
        },
      ),
      { ...PROPERTY, numRuns: 2_000 },
    );
  });

  it('never throws, whatever the host hands over', () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withDate: true, withMap: true, withSparseArray: true }),
        (any) => {
          expect(typeof fromHostValue(any).ok).toBe('boolean');
        },
      ),
      PROPERTY,
    );
  });
});

/** The value as a fraction of whole numbers, reduced to one form: another way to compare than the parser's own. */
function exactly(literal: string): { mantissa: bigint; power: number } {
  const [, whole = '', rest = '', power = '0'] = /^(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/.exec(literal) ?? [];
  let mantissa = BigInt(whole + rest);
  let exponent = Number(power) - rest.length;
  if (mantissa === 0n) return { mantissa, power: 0 };
  while (mantissa % 10n === 0n) {
    mantissa /= 10n;
    exponent += 1;
  }
  return { mantissa, power: exponent };
}
