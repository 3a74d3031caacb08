import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import type { PartProcess } from '../../src/demo/installation.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import type { ExecutorHealthReport, HealthReport } from '../../src/health.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { REASON_INPUT } from '../../src/slack/modals.ts';
import { loadTools } from '../../src/tools-module.ts';
import {
  CHANNEL,
  CONTEXT,
  type LedgerInstallation,
  startLedgerInstallation,
} from '../scenarios/ledger-installation.ts';
import { health, readiness } from './part-health.ts';
import { RedisProxy } from './redis-proxy.ts';
import { sealedLines } from './sealed-lines.ts';
import { type Tally, tally } from './tally.ts';

/**
 * The installation as it runs in production, each part a process that reaches Redis over a network of the test's. What
 * /health and /ready of both parts say, what an agent is told, and what still works, in each state that Redis can be in.
 */

const WAIT = { timeout: 60_000, interval: 100 };
/** Whoever asks hears something within this, whatever Redis does. */
const ANSWER_MS = 15_000;

let world: LedgerInstallation;
let proxy: RedisProxy;
let guard: OpenGuard;
/** Straight to Redis. */
let direct: Redis;
let entries = 0;

beforeAll(async () => {
  world = await startLedgerInstallation('http');
  world.letGo();
  proxy = await RedisProxy.start(world.redis.socketPath);
  for (const part of [world.approvals, world.executor]) {
    await part.stop();
    appendFileSync(part.envPath, `REDIS_URL=${proxy.path}\nPORT=0\n`);
    await startAgain(part);
  }
  direct = new Redis(world.redis.connectionOptions);
  direct.on('error', () => {});
  guard = createGuard({
    policy: readFileSync(world.policyPath, 'utf8'),
    tools: await loadTools(world.toolsPath),
    redis: { path: proxy.path },
    proposalKey: world.keys.COUNTERSIGN_PROPOSAL_KEY,
    logger: pino({ level: 'silent' }),
  });
}, 120_000);
afterAll(async () => {
  await guard?.close();
  direct?.disconnect();
  await world?.stop();
  await proxy?.close();
});
beforeEach(() => bothSay('ok'));

interface Trouble {
  readonly name: string;
  readonly begin: () => unknown;
  readonly end: () => unknown;
  readonly times: number;
}

const GONE: readonly Trouble[] = [
  {
    name: 'Redis dead, then back',
    times: 3,
    begin: () => world.redis.kill9(),
    end: () => world.redis.restart(),
  },
  {
    name: 'Redis frozen, then thawed',
    times: 2,
    begin: () => void process.kill(world.redis.pid, 'SIGSTOP'),
    end: () => void process.kill(world.redis.pid, 'SIGCONT'),
  },
  {
    name: 'every connection silent, new ones too',
    times: 2,
    begin: () => proxy.silence({ newOnes: true }),
    end: () => proxy.heal(),
  },
];

describe('Redis does not answer', () => {
  it.each(GONE)(
    '$name: both parts say so, agents are refused in time, and all comes back by itself',
    async (trouble) => {
      const row = tally(`real processes: ${trouble.name}`);
      for (let turn = 0; turn < trouble.times; turn++) {
        const waiting = await propose();
        await world.card(waiting.id);
        await trouble.begin();
        row.injected();
        try {
          await bothSay('failing');
          expect(await bothReady()).toEqual([503, 503]);
          await expect(inTime(propose())).rejects.toMatchObject({ code: 'unavailable' });
        } finally {
          await trouble.end();
        }
        await bothSay('ok');
        expect(await bothReady()).toEqual([200, 200]);
        // Who waited through it hears the result; the click is made as soon as Slack and Redis take it.
        await approve(waiting);
        await resultOf(waiting, row);
      }
      row.audit((await verified()) === 'intact');
    },
  );

  it('slow beyond the start deadline: nothing starts late, and what was approved runs when it is over', async () => {
    const row = tally('real processes: slow Redis');
    const waiting = await propose();
    await world.card(waiting.id);
    proxy.slow(150);
    row.injected();
    const before = world.ledger().length;
    await approve(waiting);
    // Each answer takes 300 ms, and a call may start 50 ms after it was asked for: it is given back each time.
    await expect.poll(async () => await givenBack(waiting), WAIT).toBeGreaterThan(0);
    expect(world.ledger().length).toBe(before);
    // People can decide, and the executor says why nothing runs.
    await expect
      .poll(async () => await health<ExecutorHealthReport>(world.executor), WAIT)
      .toMatchObject({ status: 'warning', starts: { ok: false } });
    expect(await bothReady()).toEqual([200, 200]);
    proxy.heal();
    await resultOf(waiting, row);
    row.audit((await verified()) === 'intact');
  });
});

describe('Redis answers, and is not as it should be', () => {
  it('full: what is new is refused, and deny, off and the end of a call work', async () => {
    const row = tally('Redis out of memory');
    rmSync(join(world.directory, 'let-go'));
    const running = await propose();
    await approve(running);
    await expect.poll(() => running.status(), WAIT).toBe('executing');
    const toDeny = await propose();
    const card = await world.card(toDeny.id);
    await direct.config('SET', 'maxmemory', '1');
    row.injected();
    try {
      await bothSay('failing');
      await expect(inTime(propose())).rejects.toMatchObject({
        code: expect.stringMatching(/unavailable|writes_disabled/),
      });
      await world.ana.click(card, ACTIONS.deny);
      await world.ana.submit(await world.ana.waitForView(), { [REASON_INPUT.block]: 'not now' });
      await expect.poll(() => toDeny.status(), WAIT).toBe('denied');
      await world.chen.command('/agent-writes off Redis is full', CHANNEL);
      await expect.poll(async () => (await world.writeSwitch.status()).off.length, WAIT).toBe(1);
      world.letGo();
      await resultOf(running, row);
    } finally {
      world.letGo();
      await direct.config('SET', 'maxmemory', '0');
    }
    await arm();
    await bothSay('ok');
    const next = await propose();
    await approve(next);
    await resultOf(next, row);
    expect(await toDeny.status()).toBe('denied');
    row.audit((await verified()) === 'intact');
  });

  it('set to evict: both parts say so, and none starts', async () => {
    const row = tally('wrong eviction policy');
    await direct.config('SET', 'maxmemory-policy', 'allkeys-lru');
    row.injected();
    try {
      await bothSay('failing');
      for (const part of [world.approvals, world.executor]) {
        await part.stop();
        await expect(part.start()).rejects.toThrow('CONFIG SET maxmemory-policy noeviction');
      }
    } finally {
      await direct.config('SET', 'maxmemory-policy', 'noeviction');
    }
    for (const part of [world.approvals, world.executor]) await startAgain(part);
    row.audit((await verified()) === 'intact');
  });

  it('set to write once a second: a warning in the log and in /health of both', async () => {
    const row = tally('appendfsync everysec');
    await direct.config('SET', 'appendfsync', 'everysec');
    row.injected();
    try {
      await bothSay('warning');
      await world.executor.stop();
      await startAgain(world.executor);
      expect(readFileSync(world.executor.logPath, 'utf8')).toContain('appendfsync everysec');
    } finally {
      await direct.config('SET', 'appendfsync', 'always');
    }
    row.audit((await verified()) === 'intact');
  });

  it('emptied: everything is closed and said aloud, and the audit goes on with the gap shown', async () => {
    const row = tally('FLUSHALL');
    const pending = await propose();
    await world.card(pending.id);
    const ran = world.ledger().length;
    const heardOfLoss = pending.result({ timeout: 60_000 }).catch((error: unknown) => error);
    await direct.flushall('SYNC');
    row.injected();
    await expect
      .poll(async () => (await health<HealthReport>(world.approvals)).switch, WAIT)
      .toEqual({ ok: false });
    // People have to reach it, to turn writes on again.
    expect(await readiness(world.approvals)).toBe(200);
    expect(readFileSync(world.approvals.logPath, 'utf8')).toContain('switch_forgotten');
    await expect(inTime(propose())).rejects.toMatchObject({ code: 'writes_disabled' });
    expect(world.ledger().length).toBe(ran);
    // Who waits for what is gone hears that, and does not wait for ever.
    await expect(inTime(heardOfLoss)).resolves.toMatchObject({ code: expect.any(String) });
    await arm();
    await bothSay('ok');
    const next = await propose();
    await approve(next);
    await resultOf(next, row);
    await auditNamesWhatIsGone(row);
    await startAgain(world.approvals);
  });
});

describe('a replica takes over that was cut off before the last flip', () => {
  let replica: EmbeddedRedis | undefined;
  const directory = mkdtempSync(join(tmpdir(), 'cs-replica-'));
  afterAll(async () => {
    await replica?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it('is not believed: starts end within the life of its permit, until somebody turns writes on again', async () => {
    const row = tally('stale replica promoted');
    replica = await replicaOf(direct, directory);
    const waiting = await propose();
    await world.card(waiting.id);
    const promoted = new Redis(replica.connectionOptions);
    onTestFinished(() => promoted.disconnect());
    await expect.poll(async () => await promoted.exists(proposalKey(waiting.id)), WAIT).toBe(1);
    await promoted.replicaof('NO', 'ONE');
    await world.chen.command('/agent-writes off an incident', CHANNEL);
    await expect.poll(() => waiting.status(), WAIT).toBe('halted');
    await expect.poll(() => sealedOf(waiting), WAIT).toContain('"proposal.halted"');
    const gaps = gapsNamed();

    proxy.leadTo(replica.socketPath);
    proxy.cut();
    row.injected();
    const ran = world.ledger().length;
    // There it is pending as before, and writes are on: what was answered to the operator is not known.
    await expect.poll(() => waiting.status().catch(() => 'away'), WAIT).toBe('pending');
    expect(await promoted.hget('{s0}:switch', 'state')).toBe('on');
    await expect
      .poll(async () => (await health<HealthReport>(world.approvals)).switch, WAIT)
      .toEqual({ ok: false });
    await expect.poll(() => promoted.exists('{s0}:armed'), WAIT).toBe(0);
    await expect(inTime(propose())).rejects.toMatchObject({ code: 'writes_disabled' });
    expect(world.ledger().length).toBe(ran);

    await world.lea.command('/agent-writes on the replica is the master now', CHANNEL);
    await bothSay('ok');
    const next = await propose();
    await approve(next);
    await resultOf(next, row);
    // The files keep what this Redis never heard of.
    await auditNamesWhatIsGone(row);
    expect(gapsNamed()).toBeGreaterThan(gaps);
    expect(sealedOf(waiting)).toContain('"proposal.halted"');
    expect(sealedOf(next)).toContain('"proposal.approved"');
  });
});

/** In step with its master. */
async function replicaOf(master: Redis, directory: string): Promise<EmbeddedRedis> {
  const [first, second] = [await freePort(), await freePort()];
  await master.config('SET', 'bind', '127.0.0.1');
  await master.config('SET', 'port', String(first));
  await master.config('SET', 'repl-diskless-sync-delay', '0');
  const extraArgs = ['--port', String(second), '--bind', '127.0.0.1', '--replicaof', `127.0.0.1 ${first}`];
  const replica = await startEmbeddedRedis({ directory, appendOnly: 'always', extraArgs });
  await expect.poll(() => master.info('replication'), WAIT).toMatch(/state=online/);
  return replica;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((done) => server.close(() => done()));
  return port;
}

/* ---- what agents and people do ---- */

async function propose(): Promise<ProposalHandle> {
  entries += 1;
  return await guard.propose({ tool: 'ledger.write', args: { entry: `entry-${entries}` } }, CONTEXT);
}

/** Clicks until it counts, as people do when a click was answered with an error. */
async function approve(handle: ProposalHandle): Promise<void> {
  const decided = async () => {
    const status = await handle.status().catch(() => 'pending');
    if (status === 'pending') {
      await world.ana.click(await world.card(handle.id), ACTIONS.approve).catch(() => {});
    }
    return status;
  };
  await expect.poll(decided, { timeout: 60_000, interval: 500 }).not.toBe('pending');
}

async function resultOf(handle: ProposalHandle, row: Tally): Promise<void> {
  const result = await handle.result({ timeout: 60_000 }).catch((error: unknown) => error);
  const written = (result as { written?: string }).written;
  row.stuck(written === undefined ? 1 : 0);
  row.doubled(world.ledger().filter((line) => line === written).length - 1);
  expect(result).toMatchObject({ written: expect.any(String) });
  expect(new Set(world.ledger()).size).toBe(world.ledger().length);
}

async function arm(): Promise<void> {
  const { epoch } = await world.writeSwitch.status();
  await world.writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'mended', expectedEpoch: epoch });
}

async function givenBack(handle: ProposalHandle): Promise<number> {
  const entriesOf = await world.audit.read({ limit: 1_000 });
  return entriesOf.filter(({ proposal, kind }) => proposal === handle.id && kind === 'admission.returned')
    .length;
}

/* ---- what the parts say ---- */

async function bothSay(status: HealthReport['status']): Promise<void> {
  for (const part of [world.approvals, world.executor]) {
    await expect.poll(async () => await health(part), WAIT).toMatchObject({ status });
  }
}

async function bothReady(): Promise<(number | 'gone')[]> {
  return await Promise.all([world.approvals, world.executor].map((part) => readiness(part)));
}

/** On a port of its own, so Slack has to be told. */
async function startAgain(part: PartProcess): Promise<void> {
  await part.start();
  if (part === world.approvals) {
    world.slack.deliverTo({ mode: 'http', url: `http://127.0.0.1:${part.port}/slack/events` });
  }
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error('nobody answered')), ANSWER_MS).unref();
  });
  return await Promise.race([work, late]);
}

/* ---- the audit ---- */

function auditReport() {
  const key = auditPublicKeyOf(world.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
  return verifyAudit(world.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
}

/** Once the approval service has stopped: what was sealed stands, and where Redis lost entries nothing else is wrong. */
async function auditNamesWhatIsGone(row: Tally): Promise<void> {
  await world.approvals.stop();
  const report = auditReport();
  const named = report.findings.length === 0 && report.chains.some(({ gapCount }) => gapCount > 0);
  const fit = report.chains.every(({ verdict }) => ['intact', 'missing'].includes(verdict));
  row.audit(named && fit);
  expect(report).toMatchObject({ verdict: 'missing', findings: [] });
  expect(report.chains.map(({ verdict, gapCount }) => [verdict, gapCount > 0])).toContainEqual([
    'missing',
    true,
  ]);
  expect(fit).toBe(true);
}

function gapsNamed(): number {
  return auditReport().chains.reduce((sum, { gapCount }) => sum + gapCount, 0);
}

/** What the files tell of a proposal. */
function sealedOf({ id }: ProposalHandle): string {
  return sealedLines(world.auditDirectory)
    .filter((line) => line.includes(id))
    .join('\n');
}

/** With the last entries sealed and signed. */
async function verified(): Promise<string> {
  await world.approvals.stop();
  const { verdict } = auditReport();
  await startAgain(world.approvals);
  return verdict;
}
