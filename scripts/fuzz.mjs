#!/usr/bin/env node
// `npm run fuzz -- [seconds a target] [seed] [name of a target]`: the targets of test/fuzz for as long as asked, 60
// seconds each by default. It prints the runs of each and its seed; a failure says how to see it again.
import { randomInt } from 'node:crypto';
import { startVitest } from 'vitest/node';
import { root } from './build.mjs';

const [seconds = '60', seed = String(randomInt(2 ** 30)), target = ''] = process.argv.slice(2);
for (const [name, value] of Object.entries({ seconds, seed })) {
  if (/^[1-9][0-9]{0,9}$|^0$/.test(value)) continue;
  console.error(`${name} is ${value}; it must be a whole number. Type: npm run fuzz -- 60 12345 card`);
  process.exit(2);
}
const vitest = await startVitest('test', [`test/fuzz/${target}`], {
  root,
  watch: false,
  // None of them needs the compiled package.
  globalSetup: [],
  // One after the other: each has the machine for its time.
  fileParallelism: false,
  // One that brings its process down leaves the others theirs.
  isolate: true,
  provide: { fuzz: { seconds: Number(seconds), seed: Number(seed) } },
});
const failed = vitest.state.getFiles().filter(({ result }) => result?.state === 'fail').length;
const ran = vitest.state.getFiles().length;
console.log(`${ran} files of targets, ${failed} failed; seed ${seed}`);
await vitest.close();
process.exit(failed === 0 && ran > 0 ? (process.exitCode ?? 0) : 1);
