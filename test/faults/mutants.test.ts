import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { MUTANTS } from './mutants.ts';

/** `npm run faults` breaks them; here it is seen at once that a line was written anew and the list was not. */

const ROOT = join(import.meta.dirname, '..', '..');

it.each(MUTANTS.map(({ breaks, file, line }) => [breaks, file, line]))(
  'the line stands there once that is broken for: %s',
  (_, file, line) => {
    expect(readFileSync(join(ROOT, file), 'utf8').split(line)).toHaveLength(2);
  },
);

it.each([
  ...new Map(MUTANTS.map(({ checks: [file, title] }) => [`${file}: ${title}`, [file, title]] as const)),
])('its check is there: %s', (_, [file, title]) => {
  const source = readFileSync(join(ROOT, file), 'utf8');
  // The stores' promises are in the contracts that their tests run.
  const contracts = ['proposal-store', 'write-switch'].map((name) =>
    readFileSync(join(ROOT, 'test', 'contracts', `${name}.contract.ts`), 'utf8'),
  );
  expect([source, ...contracts].some((text) => new RegExp(title).test(text))).toBe(true);
});
