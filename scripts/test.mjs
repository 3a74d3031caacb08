#!/usr/bin/env node
// `npm test`: the set-up, format, lint, types and every test. Ends with the line `N passed, N failed`.
// `npm test -- test/core -t 'one winner'` hands its arguments to vitest and runs nothing else.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { root } from './build.mjs';
import { buildWhereNeeded, install } from './setup.mjs';

const chosen = process.argv.slice(2);
const failures = [];
let passed = 0;

if (!install('test')) finish(['set-up: see above']);
if (!buildWhereNeeded()) failures.push('build: see above');
if (chosen.length === 0) {
  check('format', ['@biomejs/biome/bin/biome', 'ci', '--linter-enabled=false', '.']);
  check('lint', [
    '@biomejs/biome/bin/biome',
    'ci',
    '--formatter-enabled=false',
    '--assist-enabled=false',
    '.',
  ]);
  check('types', ['typescript/bin/tsc', '--noEmit']);
}
runTests();

finish(failures);

function finish(failed) {
  if (failed.length > 0) console.log(`\nFailed:\n${failed.map((failure) => `  ${failure}`).join('\n')}`);
  console.log(`\n${passed} passed, ${failed.length} failed`);
  process.exit(failed.length === 0 && passed > 0 ? 0 : 1);
}

function check(name, command) {
  console.log(`• ${name} …`);
  if (run(command) === 0) passed += 1;
  else failures.push(`${name}: see above`);
}

function runTests() {
  console.log('• tests …');
  const directory = mkdtempSync(join(tmpdir(), 'countersign-test-'));
  const results = join(directory, 'results.json');
  try {
    const status = run([
      'vitest/vitest.mjs',
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${results}`,
      ...chosen,
    ]);
    const failedBefore = failures.length;
    count(results);
    // An error outside of any test, a worker that died, a process that could not start.
    if (status !== 0 && failures.length === failedBefore)
      failures.push(`vitest ended with ${status}: see above`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function count(path) {
  let results;
  try {
    results = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    failures.push('vitest wrote no results: see above');
    return;
  }
  // With -t the rest of a file is left out because it was asked to be.
  const byName = chosen.some((word) => /^(-t|--testNamePattern|--test-name-pattern)(=|$)/.test(word));
  let ran = 0;
  for (const file of results.testResults) {
    const name = relative(root, file.name);
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) {
      failures.push(`${name}: ${firstLine(file.message) || 'the file could not be run'}`);
    }
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed += 1;
      else if (test.status === 'failed') failures.push(`${name}: ${test.fullName}`);
      else if (!byName)
        failures.push(`${name}: ${test.fullName} (${test.status}: no test is left out silently)`);
      if (test.status === 'passed' || test.status === 'failed') ran += 1;
    }
  }
  if (ran === 0) failures.push('no test ran');
}

function firstLine(text) {
  return (text ?? '').split('\n')[0].trim();
}

function run([program, ...arguments_]) {
  const done = spawnSync(process.execPath, [join(root, 'node_modules', program), ...arguments_], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return done.status ?? done.signal ?? 'no exit code';
}
