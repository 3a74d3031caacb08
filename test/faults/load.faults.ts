import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { unseal } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { createGuard } from '../../src/create-guard.ts';
import { ApprovalDenied } from '../../src/guard/call-errors.ts';
import type { HealthReport } from '../../src/health.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { Waiter } from '../../src/queue/waiter.ts';
import { ProposalNewsRedis } from '../../src/redis/proposal-news-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { collectGarbage } from '../collect-garbage.ts';
import { RunningParts, SHARDS, until } from '../queue/running-parts.ts';
import { closeTicketWith } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import {
  CHANNEL,
  type LedgerInstallation,
  startLedgerInstallation,
} from '../scenarios/ledger-installation.ts';
import { sealedTerms, signedDecision, testKeys } from '../sealed-terms.ts';
import { expectWell, health, readiness } from './part-health.ts';
import { tally } from './tally.ts';

/**
 * Many agents, many proposals, many cycles. What takes how long is printed; asserted is only what no busy machine can
 * change: how many connections, keys, timers and bytes there are in the end.
 */

const WAIT = { timeout: 600_000, interval: 200 };
const redis = redisForTests();

const POLICY = `
version: 1
tools: { allow: [ledger.write] }
write_tools: { enabled: true }
approvals:
  required_for: [ledger.write]
  defaults: { approvers: ["user:U0ANA"], expires_in: 1h }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production]
    limits: { pending_per_agent: 10000, pending_per_tenant: 10000 }
`;

const print = (line: string) => process.stdout.write(`  load: ${line}\n`);
const connections = async () =>
  String(await redis.client.client('LIST'))
    .trim()
    .split('\n').length;
const channels = async () => ((await redis.client.pubsub('CHANNELS', '*')) as string[]).length;
const resources = () => process.getActiveResourcesInfo().length;

async function heap(): Promise<number> {
  await collectGarbage();
  await collectGarbage();
  return process.memoryUsage().heapUsed;
}

const MIB = 1024 * 1024;
const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;

/** Runs `each` for every item, so many at a time. */
async function inParallel<T>(items: readonly T[], atOnce: number, each: (item: T) => Promise<unknown>) {
  const left = items.values();
  const lane = async () => {
    for (const item of left) await each(item);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}

const AGENTS = 1_000;
const PROCESSES = 4;

describe('a thousand agents wait', () => {
  let directory: string;
  let parts: { store: ProposalStoreRedis; writeSwitch: WriteSwitchRedis };
  let renewal: NodeJS.Timeout;
  const agents: ChildProcess[] = [];

  beforeEach(async () => {
    const root = join(import.meta.dirname, '..', '..', '.countersign');
    mkdirSync(root, { recursive: true });
    directory = mkdtempSync(join(root, 'load-'));
    writeFileSync(join(directory, 'policy.yaml'), POLICY);
    writeFileSync(join(directory, 'tools.mjs'), TOOLS);
    const shared = { redis: redis.client, shards: 1 };
    parts = {
      store: new ProposalStoreRedis({ ...shared, keys: [testKeys.proposal] }),
      writeSwitch: new WriteSwitchRedis(shared),
    };
    const { epoch } = await parts.writeSwitch.status();
    await parts.writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'x', expectedEpoch: epoch });
    renewal = setInterval(() => void parts.writeSwitch.renewPermits().catch(() => {}), 1_000);
  });
  afterEach(async () => {
    clearInterval(renewal);
    for (const agent of agents.splice(0)) {
      if (agent.exitCode !== null || agent.signalCode !== null) continue;
      const gone = once(agent, 'exit');
      agent.kill('SIGKILL');
      await gone;
    }
    await parts.writeSwitch.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  async function deny(id: ProposalId): Promise<void> {
    const record = await parts.store.read(id);
    const opened = record && unseal([testKeys.proposal], record.termsText, record.seal);
    if (!opened?.ok) throw new Error(`${id} is not sealed`);
    const at = await parts.store.now();
    const decided = await parts.store.decide(signedDecision(opened.sealed, 'deny', undefined, { at }));
    expect(decided).toMatchObject({ ok: true, settled: true });
  }

  it('in one process: over the same few connections, each is told, and nothing is left of them', async () => {
    const guard = createGuard({
      policy: POLICY,
      tools: (await import(join(directory, 'tools.mjs'))).tools,
      redis: redis.connectionOptions,
      proposalKey: Buffer.from(testKeys.proposal).toString('base64'),
      logger: pino({ level: 'silent' }),
    });
    // One round before, so that what is made once is made.
    const warm = await guard.propose(
      { tool: 'ledger.write', args: { entry: 'warm' } },
      contextOf('agent-warm'),
    );
    await deny(warm.id);
    await expect(warm.result()).rejects.toBeInstanceOf(ApprovalDenied);
    const before = { connections: await connections(), resources: resources(), heap: await heap() };

    const began = performance.now();
    const ids: ProposalId[] = [];
    const waits: Promise<unknown>[] = [];
    await inParallel(
      Array.from({ length: AGENTS }, (_, i) => i),
      50,
      async (i) => {
        const handle = await guard.propose(
          { tool: 'ledger.write', args: { entry: `e${i}` } },
          contextOf(`agent-${i}`),
        );
        ids.push(handle.id);
        waits.push(handle.result().catch((error: unknown) => error));
      },
    );
    await expect.poll(channels, WAIT).toBeGreaterThanOrEqual(AGENTS);
    const during = { connections: await connections(), heap: await heap() };
    print(
      `${AGENTS} agents in one process propose and wait after ${Math.round(performance.now() - began)} ms: ` +
        `${during.connections} connections, ${mib((during.heap - before.heap) / AGENTS)} of heap each`,
    );
    expect(during.connections).toBe(before.connections);

    const decidingFrom = performance.now();
    await inParallel(ids, 50, deny);
    const ended = await Promise.all(waits);
    print(`all of them decided and told after ${Math.round(performance.now() - decidingFrom)} ms`);
    expect(ended.filter((error) => error instanceof ApprovalDenied)).toHaveLength(AGENTS);
    const row = tally('a thousand agents wait, in one process');
    row.injected();
    row.stuck(AGENTS - ended.length);

    await expect.poll(channels, WAIT).toBe(0);
    await expect.poll(resources, WAIT).toBeLessThanOrEqual(before.resources + 5);
    waits.length = 0;
    ended.length = 0;
    expect(await heap()).toBeLessThan(before.heap + 30 * MIB);
    expect(await connections()).toBe(before.connections);
    await guard.close();
  });

  it('in four processes: each over a few connections of its own, and each agent is told', async () => {
    const before = await connections();
    const heard = startAgents(agents, {
      policyPath: join(directory, 'policy.yaml'),
      toolsPath: join(directory, 'tools.mjs'),
      redis: redis.connectionOptions,
      proposalKey: Buffer.from(testKeys.proposal).toString('base64'),
    });
    const proposed = () => heard.flatMap((line) => line.proposed ?? []);
    await expect.poll(() => proposed().length, WAIT).toBe(AGENTS);
    await expect.poll(channels, WAIT).toBe(AGENTS);
    const during = await connections();
    print(`${AGENTS} agents in ${PROCESSES} processes: ${during - before} connections for all of them`);
    expect(during - before).toBeLessThanOrEqual(PROCESSES * 4);
    await inParallel(proposed(), 50, deny);
    const told = () => heard.filter(({ error }) => error === 'approval_denied').length;
    await expect.poll(told, WAIT).toBe(AGENTS);
    const row = tally('a thousand agents wait, in four processes');
    row.injected();
    row.stuck(AGENTS - told());
    expect(await connections()).toBe(during);
  });
});

describe('a thousand agents wait at a running installation', () => {
  let world: LedgerInstallation;
  const agents: ChildProcess[] = [];
  beforeAll(async () => {
    const policy = POLICY.replace('C0ACME', CHANNEL);
    world = await startLedgerInstallation('socket', policy, { answering: true });
  });
  afterAll(async () => {
    for (const agent of agents) agent.kill('SIGKILL');
    await world?.stop();
  });

  it('both parts are ready throughout, and off is told to each of them', async () => {
    const row = tally('a thousand agents wait at a running installation');
    const looking = new AbortController();
    const looked = whatIsSaid(world, looking.signal);
    const heard = startAgents(agents, {
      policyPath: world.policyPath,
      toolsPath: world.toolsPath,
      redis: world.redis.connectionOptions,
      proposalKey: world.keys.COUNTERSIGN_PROPOSAL_KEY,
    });
    await expect.poll(() => heard.filter(({ proposed }) => proposed).length, WAIT).toBe(AGENTS);
    row.injected();
    await expectWell(world.approvals, world.executor);
    expect(await world.writeSwitch.status()).toMatchObject({ pending: AGENTS });
    const off = await world.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'too many' });
    expect(off).toMatchObject({ confirmed: true });
    const told = () => heard.filter(({ error }) => error === 'halted').length;
    await expect.poll(told, WAIT).toBe(AGENTS);
    row.stuck(AGENTS - told());
    await expectWell(world.approvals, world.executor);
    looking.abort();
    const { times, away } = await looked;
    print(`${AGENTS} agents at an installation: ready each of ${times} times`);
    expect(away).toEqual([]);
    expect(world.ledger()).toEqual([]);
  });
});

/** How often both were ready, and what they said where one was not; but for permits, which lapse where a machine stands still. */
async function whatIsSaid(
  { approvals, executor }: LedgerInstallation,
  signal: AbortSignal,
): Promise<{ times: number; away: unknown[] }> {
  const away: unknown[] = [];
  let times = 0;
  while (!signal.aborted) {
    for (const part of [approvals, executor]) {
      if ((await readiness(part)) === 200) continue;
      const report: object = await health(part);
      if (!('permits' in report) || (report as HealthReport).permits.ok) away.push(report);
    }
    times += 1;
    await sleep(100);
  }
  return { times, away };
}

describe('pending proposals', () => {
  it.each([10_000, 100_000])(
    '%i of them: off answers, each of them is halted, and no index keeps one',
    async (count) => {
      const shared = { redis: redis.client, shards: 1 };
      const store = new ProposalStoreRedis({ ...shared, keys: [testKeys.proposal] });
      const writeSwitch = new WriteSwitchRedis(shared);
      const { epoch } = await writeSwitch.status();
      await writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'x', expectedEpoch: epoch });
      const renewal = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), 500);
      try {
        const emptyBytes = await memory();
        const began = performance.now();
        const standing = await writeSwitch.status();
        await inParallel(
          Array.from({ length: count }, (_, i) => i),
          100,
          async (i) => {
            const now = Math.round(Date.now());
            const sealed = sealedTerms({
              now,
              epoch: standing.epoch,
              context: { agent: `agent-${i % 100}` },
              arguments: { ticket: `T-${i}` },
              rule: { expiresInMs: 3_600_000 },
            });
            const limits = {
              pendingPerAgent: 200_000,
              pendingPerTenant: 200_000,
              auditBacklogMax: 10_000_000,
            };
            let created: string;
            // On a machine that is busy enough the permits lapse for a moment: then an agent asks again.
            for (let tries = 0; ; tries += 1) {
              ({ created } = await store.create(sealed, limits));
              if (created !== 'writes_off' || tries === 20) break;
              await sleep(500);
            }
            if (created !== 'new') throw new Error(`not created: ${created}`);
          },
        );
        const perSecond = Math.round((count / (performance.now() - began)) * 1_000);
        print(
          `${count} pending: ${perSecond} proposed a second, ${((await memory()) - emptyBytes) / count} bytes each`,
        );

        // With so many, everything that people and sweepers ask for still answers.
        const asked = performance.now();
        expect(await writeSwitch.status()).toMatchObject({ pending: count });
        const sweeper = new Sweeper({
          store,
          dispatch: { wake: async () => {} },
          logger: pino({ level: 'silent' }),
        });
        expect(await sweeper.sweep()).toMatchObject({ expired: 0 });
        print(`${count} pending: status and a sweep in ${Math.round(performance.now() - asked)} ms`);

        const from = performance.now();
        const off = await writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'too many' });
        print(`${count} pending: off answered in ${Math.round(performance.now() - from)} ms`);
        const row = tally(`off with ${count} pending`);
        row.injected();
        expect(off).toMatchObject({ confirmed: true });
        const { halted } = (await off.halting) ?? off;
        print(`${count} pending: all of them halted after ${Math.round(performance.now() - from)} ms`);
        expect(halted).toHaveLength(count);
        const status = await writeSwitch.status();
        row.stuck(status.pending);
        expect(status).toMatchObject({ state: 'off', pending: 0, approved: 0, executing: 0 });
        for (const index of [
          'pending',
          'timers',
          'previews',
          'tenant:acme:pending',
          'agent:acme:agent-1:pending',
        ]) {
          expect(await redis.client.zcard(`{s0}:${index}`), index).toBe(0);
        }
      } finally {
        clearInterval(renewal);
        await writeSwitch.stop();
      }
    },
  );
});

describe('cycle after cycle', () => {
  const CYCLES = 1_200;
  const WARM = 300;

  it('neither connections, nor timers, nor the heap, nor what Redis keeps for ever grows', async () => {
    const parts = new RunningParts(redis.connectionOptions);
    await parts.armWrites();
    const ran: string[] = [];
    const tool = closeTicketWith((args) => {
      ran.push((args as { ticket: string }).ticket);
      return 'closed';
    });
    const worker = new ExecutionWorker({
      ...parts.executionParts(tool, { logger: pino({ level: 'silent' }) }),
      dispatch: parts.dispatch,
      connection: parts.redis,
      shards: SHARDS,
    });
    worker.start();
    await worker.ready();
    const news = new ProposalNewsRedis({ subscriber: parts.subscriber, shards: SHARDS });
    const waiter = new Waiter({ store: parts.store, news });
    const cycle = async (i: number) => {
      const sealed = await parts.propose({ tool, args: { ticket: `T-${i}` } });
      const done = waiter.waitFor(sealed.terms.id, ({ state }) => state.status === 'succeeded');
      await parts.decide(sealed);
      await parts.dispatch.wake(sealed.terms.id);
      await done;
    };
    const look = async () => {
      // What a finished job leaves behind for a moment.
      await until('nothing is in hand', async () => (await channels()) === 0, 60_000);
      parts.logged.length = 0;
      return {
        connections: await connections(),
        resources: resources(),
        heap: await heap(),
        forEver: await keptForEver(),
      };
    };
    try {
      const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
      await inParallel(numbers(0, WARM), 10, cycle);
      const before = await look();
      const began = performance.now();
      await inParallel(numbers(WARM, CYCLES), 10, cycle);
      const after = await look();
      print(
        `${CYCLES - WARM} cycles in ${Math.round(performance.now() - began)} ms: ${after.connections} connections, ` +
          `heap ${mib(before.heap)} → ${mib(after.heap)}, keys for ever ${before.forEver} → ${after.forEver}`,
      );
      const row = tally('cycle after cycle');
      row.injected();
      row.doubled(ran.length - new Set(ran).size);
      expect(ran).toHaveLength(CYCLES);
      expect(new Set(ran).size).toBe(CYCLES);
      expect(after.connections).toBe(before.connections);
      expect(after.resources).toBeLessThanOrEqual(before.resources + 5);
      expect(after.forEver).toBeLessThanOrEqual(before.forEver + 5);
      expect(after.heap).toBeLessThan(before.heap + 30 * MIB);
    } finally {
      await worker.stop();
      await parts.close();
    }
  });
});

interface Heard {
  readonly proposed?: ProposalId;
  readonly error?: string;
}

/** A quarter of them in each process. @returns what they say, as it comes. */
function startAgents(agents: ChildProcess[], guard: Readonly<Record<string, unknown>>): Heard[] {
  const heard: Heard[] = [];
  for (let i = 0; i < PROCESSES; i += 1) {
    const settings = {
      createGuardFrom: new URL('../../src/create-guard.ts', import.meta.url).href,
      ...guard,
      context: contextOf(`agent-${i}`),
    };
    const agent = spawn(
      process.execPath,
      ['--import', 'tsx', join(import.meta.dirname, 'line-agent.mjs'), JSON.stringify(settings)],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    agents.push(agent);
    createInterface({ input: agent.stdout }).on('line', (line) => heard.push(JSON.parse(line)));
    for (let call = 0; call < AGENTS / PROCESSES; call += 1) agent.stdin.write(`p${i}-${call}\n`);
  }
  return heard;
}

function contextOf(agent: string): CallContextInput {
  return { tenant: 'acme', environment: 'production', agent, principal: 'slack:T0ACME/U0RITA', run: 'run-1' };
}

async function memory(): Promise<number> {
  const info = await redis.client.info('memory');
  return Number(/used_memory:(\d+)/.exec(info)?.[1]);
}

/** Keys without an end, but for the jobs that BullMQ keeps so many of. */
async function keptForEver(): Promise<number> {
  let kept = 0;
  for (let cursor = '0'; ; ) {
    const [next, keys] = await redis.client.scan(cursor, 'COUNT', 1_000);
    for (const key of keys) {
      if (!key.includes(':prop_') || key.includes(':proposal:'))
        kept += (await redis.client.pttl(key)) < 0 ? 1 : 0;
    }
    cursor = next;
    if (cursor === '0') return kept;
  }
}

const TOOLS = `
import { z } from 'zod';
import { defineTool } from ${JSON.stringify(new URL('../../src/core/tool/tool.ts', import.meta.url).href)};
export const tools = [
  defineTool({
    name: 'ledger.write',
    description: 'Writes a line.',
    effect: 'write',
    input: z.strictObject({ entry: z.string() }),
    execute: async () => ({}),
  }),
];
`;
