import { describe, it } from 'vitest';
import { ATTACKS_AT_LEAST, ROWS, TWINS_AT_LEAST } from './rows.ts';

/** Cite a requirement at the head of the title, `[switch:fails-closed] …`, where the case verifies one. */
export type AttackCase = readonly [title: string, run: () => unknown];

/**
 * Registers the tests of one row, in the file of that row, at the top level: `rows.test.ts` finds the call there. A
 * file with too few cases fails here, before any of them runs, by counting what is really run.
 */
export function attackRow(
  number: number,
  cases: { readonly attacks: readonly AttackCase[]; readonly twins: readonly AttackCase[] },
): void {
  const row = ROWS.find((one) => one.row === number);
  if (row === undefined) throw new Error(`There is no row ${number}.`);
  const { attacks, twins } = cases;
  atLeast(number, 'attacks', attacks, ATTACKS_AT_LEAST);
  atLeast(number, 'benign twins', twins, TWINS_AT_LEAST);
  const name = String(number).padStart(2, '0');
  describe(`row ${name}: ${row.attack} ${row.required}`, () => {
    for (const [title, run] of attacks) it(`attack ${name}: ${title}`, async () => void (await run()));
    for (const [title, run] of twins) it(`benign twin ${name}: ${title}`, async () => void (await run()));
  });
}

function atLeast(row: number, what: string, cases: readonly AttackCase[], least: number): void {
  const titles = new Set(cases.map(([title]) => title));
  if (titles.size !== cases.length) throw new Error(`Row ${row} has two ${what} of one title.`);
  if (titles.size < least) {
    throw new Error(`Row ${row} has ${titles.size} ${what}, and needs ${least}.`);
  }
}
