#!/usr/bin/env node
// `npm run soak -- [seconds] [--kind deciding|starting|crashing|queued] [--seed n] [--path …]`: random sequences of clicks, flips,
// starts and crashes against the model of test/model, for as long as asked (60 seconds by default), from a new seed. All kinds
// share the time, two at a time.
// A failure prints the shortest sequence that was found for it, and the line that shows it again.
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startVitest } from 'vitest/node';
import { root } from './build.mjs';

const kinds = readdirSync(join(root, 'test', 'model')).flatMap(
  (file) => /^(.+)\.test\.ts$/.exec(file)?.[1] ?? [],
);
const { seconds, kind, seed, path } = asked();
const WORKERS = 2;
const each = kind === undefined ? Math.ceil((seconds * WORKERS) / kinds.length) : seconds;

const vitest = await startVitest(
  'test',
  kind === undefined ? ['test/model/'] : [`test/model/${kind}.test.ts`],
  {
    root,
    watch: false,
    maxWorkers: WORKERS,
    // Nothing in it needs the compiled package.
    globalSetup: [],
    // What one kind leaves in the memory of a process is not another one's load.
    isolate: true,
    provide: { soak: { seconds: each, seed, path } },
  },
);
const files = vitest.state.getFiles();
const failed = files.filter(({ result }) => result?.state !== 'pass').length;
console.log(`${files.length} kinds of sequences, ${failed} failed; seed ${seed}`);
await vitest.close();
process.exit(failed === 0 && files.length > 0 ? (process.exitCode ?? 0) : 1);

function asked() {
  let given;
  try {
    given = parseArgs({
      allowPositionals: true,
      options: { kind: { type: 'string' }, seed: { type: 'string' }, path: { type: 'string' } },
    });
  } catch (error) {
    refuse(error.message);
  }
  const [seconds = '60', ...more] = given.positionals;
  const { kind, seed = String(randomInt(2 ** 30)), path } = given.values;
  if (more.length > 0) refuse(`${more[0]} is not known`);
  for (const [name, value] of Object.entries({ seconds, seed })) {
    if (!/^[0-9]{1,10}$/.test(value)) refuse(`${name} is ${value}; it must be a whole number`);
  }
  if (kind !== undefined && !kinds.includes(kind))
    refuse(`${kind} is no kind of sequence: ${kinds.join(', ')}`);
  if (path !== undefined && (kind === undefined || given.values.seed === undefined)) {
    refuse('a path belongs to a kind and a seed');
  }
  return { seconds: Number(seconds), kind, seed: Number(seed), path };
}

function refuse(why) {
  console.error(`${why}. Type: npm run soak -- 600 --kind starting --seed 12345`);
  process.exit(2);
}
