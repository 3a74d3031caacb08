#!/usr/bin/env node
// `npm run faults -- [file…] [--seconds n] [--points n] [--seed n] [--only text]`: the fault files of test/faults, and one table at the end:
// fault, times injected, acknowledged decisions lost, executions doubled, stuck, audit verified. Ends with 0 where all
// are zero, every test passed and, where no file was named, at least 1,000 faults were injected.
// --seconds and --points bound the sweep over fault points (8 minutes without them), --seconds also for how long growth is
// watched; --seed chooses in which order points are swept; --only aims the sweep: nothing but faults whose name holds the
// text, as 'SIGKILL executor after tool execute'.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './build.mjs';
import { install } from './setup.mjs';

const { values, positionals } = asked();
if (!install('faults')) process.exit(1);
// Only now is there what reads TypeScript.
const { tsImport } = await import('tsx/esm/api');
const { faultTable } = await tsImport('../test/faults/fault-table.ts', import.meta.url);

if (positionals.length === 0) {
  console.log(
    'Every fault file, two at a time: about half an hour on two idle cores. The table comes at the end.',
  );
}
const directory = mkdtempSync(join(tmpdir(), 'countersign-faults-'));
const file = join(directory, 'tally.jsonl');
writeFileSync(file, '');
try {
  const status = runVitest();
  const { table, problems } = faultTable(readFileSync(file, 'utf8'), { whole: positionals.length === 0 });
  if (status !== 0) problems.unshift('not every test passed: see above');
  console.log(`\n${table}\n`);
  for (const problem of problems) console.log(`  ${problem}`);
  console.log(problems.length === 0 ? 'Nothing lost, nothing twice, nothing stuck.' : 'NOT as promised.');
  process.exitCode = problems.length === 0 ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function asked() {
  const bounds = ['seconds', 'points', 'seed'];
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: Object.fromEntries([...bounds, 'only'].map((name) => [name, { type: 'string' }])),
    });
  } catch (error) {
    refuse(error.message);
  }
  for (const name of bounds) {
    const value = parsed.values[name];
    if (value !== undefined && !/^[0-9]{1,9}$/.test(value)) refuse(`--${name} must be a whole number`);
  }
  return parsed;
}

function refuse(why) {
  console.error(`${why}. Type: npm run faults -- test/faults/kill-sweep.faults.ts --seconds 600`);
  process.exit(2);
}

function runVitest() {
  const bounds = Object.entries(values).map(([name, value]) => [
    `COUNTERSIGN_FAULTS_${name.toUpperCase()}`,
    value,
  ]);
  const done = spawnSync(
    process.execPath,
    [
      join(root, 'node_modules', 'vitest/vitest.mjs'),
      'run',
      '--config',
      'vitest.faults.config.ts',
      ...positionals,
    ],
    {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...Object.fromEntries(bounds), COUNTERSIGN_FAULTS_TALLY: file },
    },
  );
  return done.status ?? done.signal ?? 'no exit code';
}
