import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { z } from 'zod';
import { parseStrictJson } from '../../src/core/tool/strict-json.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { freezeArguments } from '../../src/core/tool/tool-call.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedGuard } from './attacked-guard.ts';

/** An agent that writes arguments which one parser reads as this and another one as that. */

let ran = 0;
const save = defineTool({
  name: 'note.save',
  description: 'Saves a note, with anything in it.',
  input: z.strictObject({
    id: z.unknown().optional(),
    amount: z.unknown().optional(),
    note: z.unknown().optional(),
    data: z.unknown().optional(),
  }),
  execute: () => {
    ran += 1;
  },
});

const attacked = attackedGuard({
  tools: [save],
  policy: `
tools: { allow: [note.save] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production]
    limits: { pending_per_agent: 1000 }
`,
});

/** Refused by the guard as malformed, in the audit, with nothing made of it; and by the parser for this reason. */
const refused = async (args: unknown) => {
  const { error, entry } = await attacked.refuses(
    { tool: 'note.save', args },
    { code: 'invalid_arguments', reason: 'malformed', kind: 'call.malformed' },
  );
  expect(error.message.length).toBeLessThan(600);
  expect(JSON.stringify(entry.detail).length).toBeLessThan(2_000);
  expect(ran).toBe(0);
};

const texts: readonly (readonly [string, string, string])[] = [
  ['one key twice', '{"id":1,"id":2}', 'duplicate_key'],
  ['one key twice, once by an escape', '{"id":1,"\\u0069d":2}', 'duplicate_key'],
  ['one key twice, both by escapes of other case', '{"n\\u006Fte":1,"n\\u006fte":2}', 'duplicate_key'],
  ['one key twice, by a surrogate pair', '{"data":{"😀":1,"\\ud83d\\ude00":2}}', 'duplicate_key'],
  ['one key twice, far below', '{"data":[{"a":{"b":{"c":1,"d":2,"c":1}}}]}', 'duplicate_key'],
  ['the same key and value twice', '{"id":1,"id":1}', 'duplicate_key'],
  ['the empty key twice', '{"data":{"":1,"":2}}', 'duplicate_key'],
  ['__proto__', '{"__proto__":{"id":7}}', 'forbidden_key'],
  ['__proto__ by escapes', '{"\\u005f_proto_\\u005f":{"id":7}}', 'forbidden_key'],
  ['__proto__ far below', '{"data":[[{"x":{"__proto__":{"admin":true}}}]]}', 'forbidden_key'],
  ['constructor', '{"constructor":{"prototype":{"id":7}}}', 'forbidden_key'],
  ['prototype in a list', '{"data":[{"prototype":1}]}', 'forbidden_key'],
  ['a number beyond every double', '{"amount":1e999}', 'inexact_number'],
  ['a negative one', '{"amount":-1e999}', 'inexact_number'],
  ['a number that a double makes zero', '{"amount":1e-400}', 'inexact_number'],
  ['minus zero', '{"amount":-0}', 'inexact_number'],
  ['minus zero with decimals', '{"amount":-0.0e5}', 'inexact_number'],
  ['2^53 + 1', '{"amount":9007199254740993}', 'inexact_number'],
  ['2^53, whose neighbour reads the same', '{"amount":9007199254740992}', 'inexact_number'],
  ['an id of twenty digits', '{"id":12345678901234567890}', 'inexact_number'],
  ['more digits than a double has', '{"amount":0.1000000000000000055}', 'inexact_number'],
  ['NaN', '{"amount":NaN}', 'syntax'],
  ['Infinity', '{"amount":-Infinity}', 'syntax'],
  ['hex', '{"amount":0x10}', 'syntax'],
  ['octal', '{"amount":010}', 'syntax'],
  ['a plus sign', '{"amount":+1}', 'syntax'],
  ['a bare decimal point', '{"amount":.5}', 'syntax'],
  ['a digit separator', '{"amount":1_000}', 'syntax'],
  ['full-width digits', '{"amount":１００}', 'syntax'],
  ['half a surrogate pair by escape', '{"note":"\\ud800"}', 'lone_surrogate'],
  ['surrogates in the wrong order', '{"note":"\\ude00\\ud83d"}', 'lone_surrogate'],
  ['half a surrogate pair in a key', '{"data":{"\\udc00":1}}', 'lone_surrogate'],
  ['half a surrogate pair as it is', '{"note":"\ud800"}', 'lone_surrogate'],
  ['a byte order mark', '\ufeff{"id":1}', 'byte_order_mark'],
  ['a byte order mark later on', '{"id":1}\ufeff', 'syntax'],
  ['a no-break space between the parts', '{"id":\u00a01}', 'syntax'],
  ['a line separator between the parts', '{"id":\u20281}', 'syntax'],
  ['a comment', '{"id":1/*,"id":2*/}', 'syntax'],
  ['a comment to the end of the line', '{"id":1//\n,"note":2}', 'syntax'],
  ['a trailing comma', '{"id":1,}', 'syntax'],
  ['single quotes', "{'id':1}", 'syntax'],
  ['a key without quotes', '{id:1}', 'syntax'],
  ['a second document', '{"id":1}{"id":2}', 'syntax'],
  ['something after the end', '{"id":1}]', 'syntax'],
  ['nothing', '', 'syntax'],
  ['a key that never ends', '{"id', 'syntax'],
  ['an escape that JSON lacks', '{"note":"\\x41"}', 'syntax'],
  ['an escape cut short', '{"note":"\\u00"}', 'syntax'],
  ['a raw newline in a text', '{"note":"a\nb"}', 'control_character'],
  ['a raw NUL in a text', '{"note":"a\0b"}', 'control_character'],
  ['an escaped NUL in a key', '{"data":{"a\\u0000b":1}}', 'control_character'],
  ['an escaped C1 control in a key', '{"data":{"a\\u009bb":1}}', 'control_character'],
  ['a vertical tab between the parts', '{"id":\u000b1}', 'control_character'],
  ['depth 17', `{"data":${'['.repeat(16)}${']'.repeat(16)}}`, 'too_deep'],
  ['lists nested 10,000 deep', `{"data":${'['.repeat(8_000)}${']'.repeat(8_000)}}`, 'too_deep'],
  ['objects nested 2,000 deep', `${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`, 'too_deep'],
  ['10 MB of text', `{"note":"${'x'.repeat(10_000_000)}"}`, 'too_large'],
  ['10 MB of brackets', '['.repeat(10_000_000), 'too_large'],
  ['16 KiB and one byte of spaces', `{"id":1}${' '.repeat(16 * 1024 - 7)}`, 'too_large'],
  ['6,000 letters of three bytes', `{"note":"${'文'.repeat(6_000)}"}`, 'too_large'],
  ['8,001 characters', `{"note":"${'x'.repeat(8_001)}"}`, 'string_too_long'],
  ['a key of 65 characters', `{"data":{"${'k'.repeat(65)}":1}}`, 'key_too_long'],
  [
    '201 keys',
    JSON.stringify({ data: Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, i])) }),
    'too_many_keys',
  ],
];

/** What no agent's text can be, but a program that calls the guard with an object can. */
class Money {
  readonly amount = 5;
}
function cyclic(): unknown {
  const data: Record<string, unknown> = {};
  data.self = [data];
  return { data };
}
function deep(levels: number): unknown {
  let data: unknown = 1;
  for (let i = 0; i < levels; i += 1) data = { a: data };
  return { data };
}
const throwing = (): never => {
  throw new Error('a trap that was sprung');
};
let getterRuns = 0;

const values: readonly (readonly [string, () => unknown])[] = [
  [
    'a getter',
    () => ({
      get id() {
        getterRuns += 1;
        return getterRuns;
      },
    }),
  ],
  ['a getter below', () => ({ data: [Object.defineProperty({}, 'x', { get: throwing, enumerable: true })] })],
  ['a hidden property', () => Object.defineProperty({ id: 1 }, 'note', { value: 2, enumerable: false })],
  ['a Proxy', () => new Proxy({ id: 1 }, {})],
  ['a Proxy below', () => ({ data: { x: new Proxy([1], {}) } })],
  ['a Proxy that throws', () => new Proxy({ id: 1 }, { ownKeys: throwing })],
  [
    'a Proxy that was revoked',
    () => {
      const { proxy, revoke } = Proxy.revocable({ id: 1 }, {});
      revoke();
      return proxy;
    },
  ],
  ['an object that contains itself', cyclic],
  ['a BigInt', () => ({ amount: 10n ** 20n })],
  ['a Date', () => ({ note: new Date(0) })],
  ['a Map', () => ({ data: new Map([['id', 1]]) })],
  ['a Set', () => ({ data: new Set([1]) })],
  ['bytes', () => ({ data: Buffer.from('{"id":1}') })],
  ['bytes in place of the text', () => ({ json: Buffer.from('{"id":1}') })],
  ['an instance of a class', () => ({ data: new Money() })],
  ['a String object', () => ({ note: new String('x') })],
  ['a RegExp', () => ({ data: /x/ })],
  ['a function', () => ({ data: () => 1 })],
  ['a symbol', () => ({ data: Symbol('x') })],
  ['a symbol as a key', () => ({ id: 1, [Symbol('x')]: 2 })],
  ['toJSON', () => ({ id: 1, toJSON: () => ({ id: 2 }) })],
  ['toJSON below', () => ({ data: { id: 1, toJSON: () => ({ id: 2 }) } })],
  ['an inherited argument', () => Object.create({ id: 7 })],
  ['an own __proto__', () => JSON.parse('{"__proto__":{"id":7}}')],
  ['an own constructor below', () => ({ data: { constructor: 1 } })],
  ['a list with a hole', () => ({ data: Object.assign(new Array(3), { 0: 1, 2: 3 }) })],
  ['a list as long as four billion', () => ({ data: Object.assign([], { length: 4_294_967_295 }) })],
  ['a list with a name of its own', () => ({ data: Object.assign([1], { id: 2 }) })],
  ['a subclass of Array', () => ({ data: class extends Array {}.from([1]) })],
  ['undefined', () => ({ id: undefined })],
  ['no arguments at all', () => undefined],
  ['NaN', () => ({ amount: Number.NaN })],
  ['minus zero', () => ({ amount: -0 })],
  ['2^53', () => ({ amount: 2 ** 53 })],
  ['half a surrogate pair', () => ({ note: '\udfff' })],
  ['half a surrogate pair in a key', () => ({ data: { '\ud800': 1 } })],
  ['10,000 levels', () => deep(10_000)],
  ['10 MB', () => ({ note: 'x'.repeat(10_000_000) })],
  [
    'shared lists that unfold into gigabytes',
    () => {
      let data: unknown[] = [];
      for (let i = 0; i < 14; i += 1) data = Array.from({ length: 10 }, () => data);
      return { data };
    },
  ],
];

const bytes: readonly (readonly [string, readonly number[], string])[] = [
  ['a byte that starts nothing', [0x22, 0xff, 0x22], 'invalid_utf8'],
  ['a slash that is too long', [0x22, 0xc0, 0xaf, 0x22], 'invalid_utf8'],
  ['a surrogate in UTF-8', [0x22, 0xed, 0xa0, 0x80, 0x22], 'invalid_utf8'],
  ['a character cut short', [0x22, 0xe6, 0x96, 0x22], 'invalid_utf8'],
  ['a code point beyond Unicode', [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], 'invalid_utf8'],
  ['UTF-16', [0xff, 0xfe, 0x31, 0x00], 'invalid_utf8'],
  ['a byte order mark in bytes', [0xef, 0xbb, 0xbf, 0x31], 'byte_order_mark'],
];

/** The reason and the key of a call are the agent's as well. */
const beside: readonly (readonly [string, Record<string, unknown>])[] = [
  ['a reason with half a surrogate pair', { reason: 'because \ud800' }],
  ['a reason of 10 MB', { reason: 'x'.repeat(10_000_000) }],
  ['a reason that is no text', { reason: { toString: () => 'because' } }],
  ['an idempotency key with a newline', { idempotencyKey: 'a\nb' }],
  ['an idempotency key of 201 characters', { idempotencyKey: 'x'.repeat(201) }],
  ['an idempotency key that is empty', { idempotencyKey: '' }],
];

const attacks: AttackCase[] = [
  ...texts.map(
    ([what, json, reason]): AttackCase => [
      `[args:strict-json] ${what}, as text`,
      async () => {
        expect(parseStrictJson(json)).toMatchObject({ ok: false, refusal: reason });
        await refused({ json });
      },
    ],
  ),
  ...values.map(
    ([what, value]): AttackCase => [
      `[args:strict-json] ${what}, as a value`,
      async () => {
        await refused(value());
        expect(getterRuns).toBe(0);
      },
    ],
  ),
  ...bytes.map(
    ([what, octets, reason]): AttackCase => [
      `[args:strict-json] ${what}`,
      () => expect(parseStrictJson(Uint8Array.from(octets))).toMatchObject({ ok: false, refusal: reason }),
    ],
  ),
  ...beside.map(
    ([what, extra]): AttackCase => [
      `[args:strict-json] ${what}, beside the arguments`,
      async () => {
        await attacked.refuses(
          { tool: 'note.save', args: { id: 1 }, ...extra },
          { code: 'invalid_arguments', reason: 'malformed', kind: 'call.malformed' },
        );
        expect(ran).toBe(0);
      },
    ],
  ),
];

/** Accepted, and read as this. */
const read =
  (json: string, canonical: string): (() => Promise<void>) =>
  async () => {
    expect(freezeArguments(save, { json })).toMatchObject({ ok: true, canonical });
    await (await attacked.accepts({ tool: 'note.save', args: { json } })).withdraw();
  };

const twins: AttackCase[] = [
  ['one key in two places', read('{"data":{"id":1},"id":1}', '{"data":{"id":1},"id":1}')],
  ['keys that differ in case', read('{"data":{"A":1,"a":2}}', '{"data":{"A":1,"a":2}}')],
  ['an escape for a plain letter', read('{"n\\u006fte":"\\u0041"}', '{"note":"A"}')],
  ['a word about prototypes', read('{"note":"__proto__"}', '{"note":"__proto__"}')],
  [
    'keys that begin like one',
    read('{"data":{"constructors":1,"_proto_":2}}', '{"data":{"_proto_":2,"constructors":1}}'),
  ],
  ['the largest exact integer', read('{"amount":9007199254740991}', '{"amount":9007199254740991}')],
  ['a number with an exponent', read('{"amount":1.5e3}', '{"amount":1500}')],
  ['zero', read('{"amount":0}', '{"amount":0}')],
  ['a whole surrogate pair by escapes', read('{"note":"\\ud83d\\ude00"}', '{"note":"😀"}')],
  ['an escaped newline', read('{"note":"a\\nb"}', '{"note":"a\\nb"}')],
  ['blanks around everything', read(' \t{ "id" :\r\n1 } ', '{"id":1}')],
  [
    'depth 16',
    read(`{"data":${'['.repeat(15)}${']'.repeat(15)}}`, `{"data":${'['.repeat(15)}${']'.repeat(15)}}`),
  ],
  ['8,000 characters', read(`{"note":"${'x'.repeat(8_000)}"}`, `{"note":"${'x'.repeat(8_000)}"}`)],
  [
    'a plain value of the host, frozen, without a prototype, the same object twice',
    async () => {
      const shared = Object.freeze([1]);
      const args = Object.assign(Object.create(null), { data: { a: shared, b: shared } });
      expect(freezeArguments(save, args)).toMatchObject({ canonical: '{"data":{"a":[1],"b":[1]}}' });
      await (await attacked.accepts({ tool: 'note.save', args })).withdraw();
    },
  ],
  [
    'a random note, an ordinary reason and an ordinary key',
    async () => {
      const note = randomBytes(8).toString('hex');
      const call = {
        tool: 'note.save',
        args: { note },
        reason: 'They asked for it.\nTwice 😀',
        idempotencyKey: note,
      };
      await (await attacked.accepts(call)).withdraw();
    },
  ],
];

attackRow(9, { attacks, twins });
