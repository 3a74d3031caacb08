import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Change, SHORTER } from './sweep-installation.ts';
import { SWEEP_MUTANTS } from './sweep-mutants.ts';

/** `npm run faults` makes them in what is built; here it is seen at once that a line was written anew. */

const SRC = join(import.meta.dirname, '..', '..', 'src');

it.each<[string, Change]>([
  ...SHORTER.map((change): [string, Change] => ['it does not last so long', change]),
  ...SWEEP_MUTANTS.flatMap(({ breaks, changes }) =>
    changes.map((change): [string, Change] => [breaks, change]),
  ),
])('the line stands there once that is changed so that %s', (_, { file, line }) => {
  expect(readFileSync(join(SRC, file), 'utf8').split(line)).toHaveLength(2);
});
