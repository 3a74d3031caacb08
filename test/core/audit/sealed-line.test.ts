import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuditEntry } from '../../../src/core/audit/audit-entry.ts';
import {
  ChainName,
  chainOf,
  genesisOf,
  parseSealedLine,
  sealLine,
  tenantOfChain,
} from '../../../src/core/audit/sealed-line.ts';

const acme = ChainName.parse('acme');
const entry = (detail: Record<string, unknown> = { b: 1, a: ['x'] }): AuditEntry => ({
  place: 's0/1-0',
  seq: 1,
  at: 1_700_000_000_000,
  kind: 'call.forbidden',
  tenant: 'acme',
  detail,
});
const first = (of: AuditEntry) => sealLine({ n: 1, prev: genesisOf(acme) }, { entry: of });

describe('a chain', () => {
  it('is named after its tenant, or after the shard for what belongs to none', () => {
    expect(chainOf('acme', 3)).toBe('acme');
    expect(chainOf('-', 3)).toBe('_s3');
    expect([tenantOfChain(acme), tenantOfChain(chainOf('-', 3))]).toEqual(['acme', '-']);
  });

  it('has a name that can be no other path and no other chain', () => {
    const names = [
      '',
      '.',
      '..',
      'a/b',
      'Acme',
      '_s',
      '_s01',
      '_sx',
      '_s-1',
      'a\n',
      'acme ',
      '-',
      '_t1',
      'é',
    ];
    for (const name of names) expect(ChainName.safeParse(name).success, name).toBe(false);
  });

  it('begins differently from every other', () => {
    expect(genesisOf(acme)).toBe(createHash('sha256').update('countersign/audit/1\nacme').digest('hex'));
    expect(genesisOf(acme)).not.toBe(genesisOf(ChainName.parse('acme2')));
  });
});

describe('[audit:tamper-evident] a sealed line', () => {
  it('is canonical, on one line, with the hash of itself without the hash', () => {
    const { hash, line } = first(entry());
    const body =
      '"entry":{"at":1700000000000,"detail":{"a":["x"],"b":1},"kind":"call.forbidden","place":"s0/1-0","seq":1,"tenant":"acme"}}';
    const chain = `"n":1,"prev":"${genesisOf(acme)}"}`;
    expect(hash).toBe(createHash('sha256').update(`{"chain":{${chain},${body}`).digest('hex'));
    expect(line).toBe(`{"chain":{"hash":"${hash}",${chain},${body}\n`);
  });

  it('does not depend on the order in which the detail was written', () => {
    expect(first(entry({ a: ['x'], b: 1 })).line).toBe(first(entry({ b: 1, a: ['x'] })).line);
  });

  it('reads back as what was sealed, notes too', () => {
    const sealed = first(entry());
    expect(parseSealedLine(sealed.line.slice(0, -1))).toEqual({
      chain: { n: 1, prev: genesisOf(acme), hash: sealed.hash },
      entry: entry(),
    });
    const note = { kind: 'gap', expected: 2, found: 5, place: 's0/9-0' } as const;
    const second = sealLine({ n: 2, prev: sealed.hash }, { note });
    expect(parseSealedLine(second.line.slice(0, -1))).toMatchObject({ chain: { n: 2 }, note });
  });

  it('carries any text on one line, and spells out half of a surrogate pair', () => {
    const { line } = first(
      entry({ text: 'a\nb\r\u0000\u001b[31m\u2028\u{1f980}\ud800 "q" \\', '\udfff': 1 }),
    );
    expect(line.indexOf('\n')).toBe(line.length - 1);
    expect(parseSealedLine(line.slice(0, -1))).toMatchObject({
      entry: { detail: { text: 'a\nb\r\u0000\u001b[31m\u2028\u{1f980}\\u{D800} "q" \\', '\\u{DFFF}': 1 } },
    });
  });

  it('is none when any character differs, or when it is written in another way', () => {
    const line = first(entry()).line.slice(0, -1);
    for (let i = 0; i < line.length; i += 1) {
      const other = line[i] === '0' ? '1' : '0';
      expect(() => parseSealedLine(line.slice(0, i) + other + line.slice(i + 1)), `at ${i}`).toThrow();
    }
    for (const again of [
      `${line} `,
      ` ${line}`,
      `\ufeff${line}`,
      line.replace('"n":1', '"n": 1'),
      '',
      '[]',
    ]) {
      expect(() => parseSealedLine(again), again.slice(0, 20)).toThrow();
    }
  });

  it('refuses what has no single form', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -0, undefined, () => 1]) {
      expect(() => first(entry({ value }))).toThrow(expect.objectContaining({ code: 'not_canonicalizable' }));
    }
  });

  it('keeps a key that JavaScript has another use for', () => {
    const { line } = first(entry(JSON.parse('{"__proto__":{"a":1},"constructor":2}')));
    expect(line).toContain('"detail":{"__proto__":{"a":1},"constructor":2}');
    expect(parseSealedLine(line.slice(0, -1))).toMatchObject({ chain: { n: 1 } });
  });

  it('seals and reads back any detail', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), (detail) => {
        const plain = JSON.parse(JSON.stringify(detail)) as Record<string, unknown>;
        const line = first(entry(plain)).line.slice(0, -1);
        expect(parseSealedLine(line)).toMatchObject({ chain: { n: 1 } });
      }),
      { numRuns: 200 },
    );
  });
});
