import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { digestOf } from '../../../src/core/tool/digest.ts';
import { JsonLimitsWidened } from '../../../src/core/tool/strict-json.ts';
import { defineTool } from '../../../src/core/tool/tool.ts';
import { type FrozenArguments, freezeArguments } from '../../../src/core/tool/tool-call.ts';

const toolWith = (input: z.ZodObject, scopeKeys: string[] = []) =>
  defineTool({
    name: 'ticket.close',
    description: 'Closes a ticket.',
    input,
    scopeKeys,
    execute: () => null,
  });

const close = toolWith(
  z.strictObject({
    id: z.int(),
    note: z.string().max(7_900).optional(),
    tags: z.array(z.string()).optional(),
  }),
);
const issuesOf = (frozen: FrozenArguments) => (frozen.ok ? [] : frozen.issues);

describe('arguments, frozen', () => {
  it('[proposal:frozen] are one value, one text and one digest, however they were sent', () => {
    const canonical = '{"id":7,"note":"é"}';
    const expected = {
      ok: true,
      value: { id: 7, note: 'é' },
      canonical,
      digest: digestOf('arguments', canonical),
    };
    expect(freezeArguments(close, { note: 'é', id: 7 })).toEqual(expected);
    expect(freezeArguments(close, { json: ' {"note":"\\u00e9", "id": 7.0}' })).toEqual(expected);
    expect(freezeArguments(close, { json: canonical })).toEqual(expected);
  });

  it('[proposal:frozen] have another digest after any change', () => {
    const digests = [
      '{"id":7}',
      '{"id":8}',
      '{"id":7,"note":""}',
      '{"id":7,"note":" "}',
      '{"id":7,"tags":[]}',
    ].map((json) => {
      const frozen = freezeArguments(close, { json });
      return frozen.ok && frozen.digest;
    });
    expect(new Set(digests).size).toBe(digests.length);
  });

  it('[proposal:frozen] do not follow the host when it changes its object, and cannot be changed', () => {
    const args = { id: 7, tags: ['a'] };
    const frozen = freezeArguments(close, args);
    args.id = 8;
    args.tags.push('b');
    expect(frozen).toMatchObject({ value: { id: 7, tags: ['a'] }, canonical: '{"id":7,"tags":["a"]}' });
    if (!frozen.ok) return expect.unreachable();
    const { tags } = frozen.value as { tags: string[] };
    expect(() => tags.push('c')).toThrow(TypeError);
  });

  it('[args:strict-json] are refused as malformed before any schema runs', () => {
    let judged = 0;
    const watched = toolWith(
      z.strictObject({
        id: z.any().refine(() => {
          judged += 1;
          return true;
        }),
      }),
    );
    const cycle: Record<string, unknown> = {};
    cycle.id = cycle;
    for (const args of [
      { json: '{"id":1,"id":2}' },
      { json: '{"id":9007199254740993}' },
      { json: '{"id":{"__proto__":1}}' },
      { json: '{"id":"\\ud800"}' },
      { json: `{"id":"${'a'.repeat(17_000)}"}` },
      { json: '' },
      { id: -0 },
      { id: new Date(0) },
      { id: () => 1 },
      cycle,
      undefined,
      { json: new Proxy([], {}) },
    ]) {
      expect(freezeArguments(watched, args)).toMatchObject({ ok: false, refusal: 'malformed' });
    }
    expect(judged).toBe(0);
  });

  it('[scope:identity-comes-from-the-context] are refused where they carry scope, even where the schema takes it', () => {
    const open = toolWith(
      z.strictObject({ id: z.int(), tenant_id: z.string().optional(), body: z.string().optional() }),
    );
    for (const args of [
      { id: 1, tenant_id: 'acme' },
      { id: 1, body: '{"tenantId":"globex"}' },
      { id: 1, Tenant: 1 },
    ]) {
      expect(freezeArguments(open, args)).toMatchObject({ ok: false, refusal: 'scope_key' });
    }
    expect(issuesOf(freezeArguments(open, { id: 1, 'tеnant\u200b': 1 }))[0]).toMatch(
      /^"tеnant\\u\{200B\}" .* authenticated context .* leave it out$/,
    );
  });

  it('may carry what the tool declares as business data', () => {
    const billing = toolWith(z.strictObject({ account_id: z.string() }), ['account_id']);
    expect(freezeArguments(billing, { account_id: 'c-1' }).ok).toBe(true);
    expect(
      freezeArguments(toolWith(z.strictObject({ account_id: z.string() })), { account_id: 'c-1' }).ok,
    ).toBe(false);
  });

  it('are refused where the schema says no, with every reason', () => {
    const frozen = freezeArguments(close, { id: '7', tags: [1], extra: true });
    expect(frozen).toMatchObject({ ok: false, refusal: 'schema' });
    expect(issuesOf(frozen)).toEqual([
      expect.stringMatching(/^"id": /),
      expect.stringMatching(/^"tags\.0": /),
      'the arguments: the tool has no argument "extra"',
    ]);
    expect(freezeArguments(close, [1])).toMatchObject({ ok: false, refusal: 'schema' });
    expect(freezeArguments(close, null)).toMatchObject({ ok: false, refusal: 'schema' });
  });

  it('[proposal:frozen] are refused where the schema would change them', () => {
    const changing: [input: z.ZodObject, args: unknown][] = [
      [z.strictObject({ id: z.int(), force: z.boolean().default(false) }), { id: 1 }],
      [z.strictObject({ id: z.coerce.number() }), { id: '1' }],
      [z.strictObject({ id: z.string().trim() }), { id: ' 1' }],
      [z.strictObject({ id: z.string().transform((text) => text.length) }), { id: 'abc' }],
      [z.strictObject({ id: z.string().toLowerCase() }), { id: 'A' }],
      [z.strictObject({ id: z.int().catch(0) }), { id: 'x' }],
      [z.strictObject({ inner: z.object({ a: z.int() }) }), { inner: { a: 1, b: 2 } }],
      [z.strictObject({ at: z.string().transform((text) => new Date(text)) }), { at: '2020-01-01' }],
    ];
    for (const [input, args] of changing) {
      const frozen = freezeArguments(toolWith(input), args);
      expect(frozen).toMatchObject({ ok: false, refusal: 'schema' });
      expect(issuesOf(frozen)[0]).toMatch(/changes arguments .*spell every argument out/);
    }
  });

  it('pass such a schema where it has nothing to change', () => {
    const trimmed = toolWith(z.strictObject({ id: z.string().trim(), force: z.boolean().default(false) }));
    expect(freezeArguments(trimmed, { id: '1', force: false }).ok).toBe(true);
    const nested = toolWith(z.object({ inner: z.object({ a: z.int().optional() }), any: z.unknown() }));
    expect(freezeArguments(nested, { inner: {}, any: [{ deep: null }] }).ok).toBe(true);
  });

  it('are refused where the schema itself throws or is asynchronous', () => {
    const throwing = z.strictObject({
      id: z.int().refine(() => {
        throw new Error('boo');
      }),
    });
    const asynchronous = z.strictObject({ id: z.int().refine(async () => true) });
    for (const input of [throwing, asynchronous]) {
      expect(freezeArguments(toolWith(input), { id: 1 })).toMatchObject({ ok: false, refusal: 'schema' });
    }
  });

  it('ignore properties that another library put on every object', () => {
    const polluted = { value: 'injected', configurable: true, enumerable: true, writable: true };
    Object.defineProperty(Object.prototype, 'note', polluted);
    let frozen: FrozenArguments;
    try {
      frozen = freezeArguments(close, { json: '{"id":7}' });
    } finally {
      Reflect.deleteProperty(Object.prototype, 'note');
    }
    expect(frozen).toMatchObject({ ok: true, canonical: '{"id":7}' });
  });

  it('take narrower limits, never wider ones', () => {
    expect(freezeArguments(close, { id: 1, note: 'abc' }, { stringLength: 2 })).toMatchObject({
      refusal: 'malformed',
    });
    expect(() => freezeArguments(close, { id: 1 }, { bytes: 1e6 })).toThrow(JsonLimitsWidened);
  });

  it('are readable again under the same limits, always', () => {
    const numbers = toolWith(z.strictObject({ list: z.array(z.number()) }));
    const json = `{"list":[${'1e-6,'.repeat(3_000)}1]}`;
    expect(freezeArguments(numbers, { json })).toMatchObject({ ok: false, refusal: 'malformed' });
  });

  it('[display:agent-text-is-data] never put more than 60 characters of a value, or anything unseen, into an issue', () => {
    const secret = `${'s'.repeat(30)}\u202e${'e'.repeat(2_000)}`;
    const quoting = toolWith(
      z.strictObject({
        id: z.string().refine(() => false, { error: ({ input }) => `"${String(input)}" is not an id` }),
      }),
    );
    const all = [
      ...issuesOf(freezeArguments(quoting, { id: secret })),
      ...issuesOf(freezeArguments(close, { id: 1, ['k\u200b'.repeat(20)]: secret })),
      ...issuesOf(freezeArguments(close, { json: `{"id": ${'9'.repeat(400)}}` })),
      ...issuesOf(freezeArguments(close, { json: `{"id":1,"${'x'.repeat(300)}":1}` })),
      ...issuesOf(freezeArguments(close, { id: 1, [`x${'.tenant_id'.repeat(6)}`]: 1 })),
    ];
    expect(all).toHaveLength(5);
    for (const issue of all) {
      expect(issue).not.toMatch(/\p{Cf}/u);
      expect(issue).not.toMatch(/(.)\1{60}|(?:\.tenant_id){6}\.|(?:k\\u\{200B\}){8}/u);
      expect([...issue].length).toBeLessThan(330);
    }
  });
});
