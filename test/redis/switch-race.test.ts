import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { OPERATOR, ROOMY } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { sealedTerms, testContext, testKeys } from '../sealed-terms.ts';

const FLIPS = 200;
const EXECUTORS = 4;
/** How long nothing may start after each answer before it is turned on again. */
const WATCHED_MS = 10;
const D_MS = 50;

const redis = redisForTests();
const executors: ChildProcess[] = [];
const directory = mkdtempSync(join(tmpdir(), 'cs-test-race-'));
afterEach(async () => {
  for (const executor of executors.splice(0)) {
    if (executor.exitCode !== null || executor.signalCode !== null) continue;
    const gone = once(executor, 'exit');
    executor.kill('SIGCONT');
    executor.kill('SIGKILL');
    await gone;
  }
  rmSync(directory, { recursive: true, force: true });
});

it(`[switch:off-means-no-start] nothing starts after any of ${FLIPS} answers of off, on ${EXECUTORS} executors, one frozen across flips`, async () => {
  const startsFile = join(directory, 'starts');
  writeFileSync(startsFile, '');
  for (let i = 0; i < EXECUTORS; i += 1) {
    const file = join(import.meta.dirname, 'racing-executor.ts');
    const args = [
      '--import',
      'tsx',
      file,
      redis.server.socketPath,
      startsFile,
      `executor-${i}`,
      String(D_MS),
      Buffer.from(testKeys.proposal).toString('base64'),
    ];
    const executor = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    executors.push(executor);
    await once(executor, 'message');
  }
  const frozen = executors[0] as ChildProcess;

  const connections = { redis: redis.client, shards: 1 };
  const store = new ProposalStoreRedis({ ...connections, keys: [testKeys.proposal] });
  const writeSwitch = new WriteSwitchRedis({ ...connections, startDeadlineMs: D_MS });
  const closed: { from: bigint; until: bigint }[] = [];
  let epoch = 0;
  const feed = async () => {
    const { now } = await writeSwitch.read(testContext(), 'ticket.close');
    await Promise.all(
      Array.from({ length: 30 }, () => store.create(sealedTerms({ now, epoch, automatic: {} }), ROOMY)),
    );
  };

  for (let flip = 0; flip < FLIPS; flip += 1) {
    const until = process.hrtime.bigint();
    const previous = closed.at(-1);
    if (previous) previous.until = until;
    const on = await writeSwitch.on({ scope: {}, by: OPERATOR, why: 'again', expectedEpoch: epoch });
    if (!on.ok) throw new Error(on.refusal);
    epoch = on.epoch;
    await feed();
    await sleep(Math.random() * 20);

    const freeze = flip % 5 === 0;
    if (freeze) frozen.kill('SIGSTOP');
    const off = await writeSwitch.off({ scope: {}, by: OPERATOR });
    const answered = process.hrtime.bigint();
    expect(off.confirmed).toBe(true);
    epoch = off.epoch;
    closed.push({ from: answered, until: 0n });
    if (freeze) frozen.kill('SIGCONT');
    await sleep(WATCHED_MS);
  }
  const last = closed.at(-1);
  if (last) last.until = process.hrtime.bigint();

  const starts = readFileSync(startsFile, 'utf8')
    .trim()
    .split('\n')
    .map((line) => ({ at: BigInt(line.split(' ')[0] ?? ''), id: line.split(' ')[1] }));
  const late = starts.filter(({ at }) => closed.some(({ from, until }) => at > from && at < until));
  expect(late).toEqual([]);
  expect(new Set(starts.map(({ id }) => id)).size).toBe(starts.length);
  // That the race was one: much started, and much was stopped on its way.
  expect(starts.length).toBeGreaterThan(FLIPS);
  const returned = (await redis.client.xrange('{s0}:audit', '-', '+')).filter(([, fields]) =>
    fields.includes('admission.returned'),
  );
  expect(returned.length).toBeGreaterThan(FLIPS / 10);
}, 180_000);
