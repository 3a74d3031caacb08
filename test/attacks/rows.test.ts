import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { attackRow } from './attack-row.ts';
import { ATTACKS_AT_LEAST, ROWS, TWINS_AT_LEAST } from './rows.ts';

/**
 * Each row has one file, and that file registers its cases by `attackRow`, which counts them itself. So what is
 * counted is what runs, and no file has to be collected twice for it.
 */

const folder = import.meta.dirname;
const files = readdirSync(folder).filter((name) => /^row-/.test(name));

const nameOf = (row: number) => `row-${String(row).padStart(2, '0')}-`;

describe('the table of attacks', () => {
  it('has 26 rows, which make 300 attacks at least', () => {
    expect(ROWS.map(({ row }) => row)).toEqual(Array.from({ length: 26 }, (_, i) => i + 1));
    expect(ROWS.length * ATTACKS_AT_LEAST).toBeGreaterThanOrEqual(300);
    expect(TWINS_AT_LEAST).toBeGreaterThanOrEqual(1);
  });

  it('has no file that belongs to no row', () => {
    const known = ROWS.map(({ row }) => nameOf(row));
    expect(files.filter((file) => !known.some((start) => file.startsWith(start)))).toEqual([]);
  });

  it.each(ROWS)(
    'row $row has one file, which registers its cases and nothing that is left out',
    ({ row }) => {
      const own = files.filter((file) => file.startsWith(nameOf(row)));
      if (own.length === 0) {
        console.log(`pending: row ${row}`);
        return;
      }
      expect(own).toEqual([expect.stringMatching(/\.test\.ts$/)]);
      // Only comments that begin a line: further on it may be a string, such as `https://*.example.com`.
      const source = readFileSync(join(folder, String(own[0])), 'utf8').replaceAll(
        /^\s*\/\*[\s\S]*?\*\//gm,
        '',
      );
      // At the start of a line: not in a comment, and within no `describe` that could be left out.
      expect([...source.matchAll(/^attackRow\((\d+),/gm)].map(([, number]) => Number(number))).toEqual([row]);
      expect(source).not.toMatch(/\b(it|test|describe)\.(only|skip|todo|skipIf|runIf|fails)\b/);
    },
  );
});

describe('a row', () => {
  const cases = (count: number) => Array.from({ length: count }, (_, i) => [`case ${i}`, () => {}] as const);

  it('with too few attacks is an error', () => {
    const attacks = cases(ATTACKS_AT_LEAST - 1);
    expect(() => attackRow(1, { attacks, twins: cases(TWINS_AT_LEAST) })).toThrow(/11 attacks, and needs 12/);
  });

  it('with no twin is an error', () => {
    expect(() => attackRow(1, { attacks: cases(ATTACKS_AT_LEAST), twins: [] })).toThrow(/0 benign twins/);
  });

  it('with one case under one title twice is an error', () => {
    const attacks = [...cases(ATTACKS_AT_LEAST), ['case 0', () => {}] as const];
    expect(() => attackRow(1, { attacks, twins: cases(TWINS_AT_LEAST) })).toThrow(/two attacks of one title/);
  });
});
