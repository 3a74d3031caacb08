import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Queue, QueueEvents } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import type { ToolDefinition } from '../../src/core/tool/tool.ts';
import type { ExecutionParts } from '../../src/queue/execution.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { RunningParts, SECRET, SHARDS, until } from './running-parts.ts';
import { APPROVAL_PUBLIC_KEY, closeTicketWith } from './sealed-call.ts';

const server = redisForTests();
let parts: RunningParts;
let closing: (() => Promise<unknown>)[];
let ran: string[];

const tool = (then: (ticket: string) => unknown = () => 'closed') =>
  closeTicketWith((args) => {
    const { ticket } = args as { ticket: string };
    ran.push(ticket);
    return then(ticket);
  });

async function worker(definition: ToolDefinition = tool(), changes: Partial<ExecutionParts> = {}) {
  const started = new ExecutionWorker({
    ...parts.executionParts(definition, changes),
    dispatch: parts.dispatch,
    connection: parts.redis,
    shards: SHARDS,
  });
  started.start();
  await started.ready();
  closing.push(() => started.stop({ graceMs: 200 }));
  return started;
}

function queueOf(id: ProposalId): Queue {
  const queue = new Queue(QUEUE_NAME, {
    connection: server.connectionOptions,
    prefix: queuePrefix(shardOfProposal(id)),
  });
  queue.on('error', () => {});
  closing.push(() => queue.close());
  return queue;
}

const is = (id: ProposalId, status: string) =>
  until(`${id} is ${status}`, async () => (await parts.statusOf(id)) === status);

beforeEach(async () => {
  ran = [];
  closing = [];
  parts = new RunningParts(server.connectionOptions);
  await parts.armWrites();
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
  await parts.close();
});

describe('the worker', () => {
  it('runs a call when its decision wakes the job, and the job completes with the outcome', async () => {
    await worker();
    const sealed = await parts.propose();
    const { id } = sealed.terms;
    const events = new QueueEvents(QUEUE_NAME, {
      connection: server.connectionOptions,
      prefix: queuePrefix(shardOfProposal(id)),
    });
    closing.push(() => events.close());
    await events.waitUntilReady();
    const completed = new Promise((resolve) => events.once('completed', resolve));
    await parts.decide(sealed);
    await parts.dispatch.wake(id);
    expect(await completed).toMatchObject({
      jobId: id,
      returnvalue: { status: 'succeeded' },
    });
    expect(ran).toEqual(['T-1']);
  });

  it('says whether it takes jobs: not before it started, not while Redis is away, not once it stops', async () => {
    const idle = new ExecutionWorker({
      ...parts.executionParts(tool()),
      dispatch: parts.dispatch,
      connection: parts.redis,
      shards: SHARDS,
    });
    expect(await idle.takesJobs()).toBe(false);
    const started = await worker();
    await expect.poll(() => started.takesJobs()).toBe(true);
    await server.server.stop();
    await expect.poll(() => started.takesJobs(), { timeout: 10_000 }).toBe(false);
    await server.server.restart();
    await expect.poll(() => started.takesJobs(), { timeout: 10_000 }).toBe(true);
    await started.stop();
    expect(await started.takesJobs()).toBe(false);
  });

  it('settles what nobody decided, when the deadline comes', async () => {
    await worker();
    const sealed = await parts.propose({
      change: (terms) => ({ ...terms, deadline: terms.createdAt + 300 }),
    });
    await is(sealed.terms.id, 'expired');
    expect(ran).toEqual([]);
  });

  it('[approval:single-use] does nothing for a job that somebody made by hand', async () => {
    await worker();
    const pending = await parts.propose();
    const { id } = pending.terms;
    const queue = queueOf(id);
    const approvedElsewhere = { id, approved: true, args: { ticket: 'T-9' } };
    const jobs = [
      await queue.add('proposal', { id }, { jobId: 'made-up' }),
      await queue.add('execute', approvedElsewhere, { jobId: 'with-more' }),
      await queue.add('proposal', { id: 'prop_00' }, { jobId: 'no-id' }),
      await queue.add('proposal', 'prop', { jobId: 'no-object' }),
    ];
    await until('all were looked at', async () => {
      const states = await Promise.all(jobs.map((job) => job.getState()));
      return states.every((state) => state !== 'waiting' && state !== 'active');
    });
    expect(ran).toEqual([]);
    expect(await parts.statusOf(id)).toBe('pending');
  });

  it('[approval:single-use] never executes what is pending, whatever is done to its job', async () => {
    await worker();
    const { id } = (await parts.propose()).terms;
    const queue = queueOf(id);
    const job = await queue.getJob(id);
    const asleep = () =>
      until('it sleeps until the deadline', async () => {
        const delay = (await queue.getJob(id))?.delay ?? 0;
        return delay > 60_000 && (await job?.getState()) === 'delayed';
      });
    for (let i = 0; i < 5; i++) {
      await job?.promote();
      await asleep();
      await job?.changeDelay(1);
      await asleep();
    }
    await job?.updateData({ id, approved: true });
    await job?.promote();
    await until('it was refused', async () => (await job?.getState()) === 'failed');
    await job?.retry();
    await until('it was refused again', async () => (await job?.getState()) === 'failed');
    await job?.remove();
    await queue.drain(true);
    await queue.obliterate({ force: true });
    expect(ran).toEqual([]);
    expect(await parts.statusOf(id)).toBe('pending');
  });

  it('runs what is approved although its job was removed, drained or lost, once the sweeper finds it', async () => {
    await worker();
    const sweeper = new Sweeper({ ...parts, intervalMs: 100, logger: parts.logger });
    sweeper.start();
    closing.push(() => sweeper.stop());
    const sealed = await parts.propose();
    await queueOf(sealed.terms.id).obliterate({ force: true });
    await parts.decide(sealed);
    await is(sealed.terms.id, 'succeeded');
    expect(ran).toEqual(['T-1']);
  });

  it('[execution:at-most-once] does not run again when its job is retried or replayed after success', async () => {
    await worker();
    const sealed = await parts.approvedCall();
    const { id } = sealed.terms;
    await parts.dispatch.wake(id);
    await is(id, 'succeeded');
    const queue = queueOf(id);
    const job = await queue.getJob(id);
    await until('the job ended', async () => (await job?.getState()) === 'completed');
    await job?.retry('completed');
    await queue.add('proposal', { id }, { jobId: 'replayed' });
    await parts.dispatch.wake(id);
    const all = async () => (await queue.getJobs(['completed'])).map((done) => done.returnvalue?.status);
    await until('all were looked at', async () => (await all()).length === 3);
    expect(await all()).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(ran).toEqual(['T-1']);
  });

  it('wakes a call whose decision came while its job was looked at', async () => {
    const sealed = await parts.propose();
    const { id } = sealed.terms;
    const store = new Proxy(parts.store, {
      get: (own, name) => {
        if (name === 'expire') {
          return async (which: ProposalId) => {
            const settled = await own.expire(which);
            if ((await own.read(which))?.state.status === 'pending') {
              await parts.decide(sealed);
              await parts.dispatch.wake(which);
            }
            return settled;
          };
        }
        const method: unknown = Reflect.get(own, name);
        return typeof method === 'function' ? method.bind(own) : method;
      },
    });
    await worker(tool(), { store });
    await (await queueOf(id).getJob(id))?.promote();
    await is(id, 'succeeded');
    expect(ran).toEqual(['T-1']);
  });

  it('goes on after Redis was away', async () => {
    await worker();
    await server.server.stop();
    await until('it is noticed', () =>
      parts.store.now().then(
        () => false,
        () => true,
      ),
    );
    await server.server.restart();
    await until('the store answers', () =>
      parts.writeSwitch.renewPermits().then(
        ({ renewed }) => renewed === SHARDS,
        () => false,
      ),
    );
    const sealed = await parts.approvedCall();
    await parts.dispatch.wake(sealed.terms.id);
    await is(sealed.terms.id, 'succeeded');
    expect(ran).toEqual(['T-1']);
  });

  it('[execution:credentials-at-the-boundary] leaves no credential in the queue', async () => {
    await worker(tool(() => ({ echoed: SECRET })));
    const sealed = await parts.approvedCall();
    await parts.dispatch.wake(sealed.terms.id);
    await is(sealed.terms.id, 'succeeded');
    const job = await queueOf(sealed.terms.id).getJob(sealed.terms.id);
    await until('the job ended', async () => (await job?.getState()) === 'completed');
    const keys = await parts.redis.keys('*');
    for (const key of keys) {
      const value = (await parts.redis.dumpBuffer(key)).toString('latin1');
      expect(value.includes(SECRET), key).toBe(false);
    }
    expect(JSON.stringify(job?.data)).toBe(JSON.stringify({ id: sealed.terms.id }));
    expect(parts.logged.join('')).not.toContain(SECRET);
  });

  it('stops when what runs has ended, and takes nothing more', async () => {
    const started = await worker(
      tool(() => new Promise((resolve) => setTimeout(() => resolve('late'), 150))),
    );
    const first = await parts.approvedCall();
    await parts.dispatch.wake(first.terms.id);
    await until('it runs', () => ran.length === 1);
    const stopped = started.stop({ graceMs: 5_000 });
    const second = await parts.approvedCall();
    await parts.dispatch.wake(second.terms.id);
    expect(await stopped).toEqual([]);
    expect(await parts.statusOf(first.terms.id)).toBe('succeeded');
    expect(await parts.statusOf(second.terms.id)).toBe('approved');
    expect(ran).toHaveLength(1);
  });

  it('past its grace tells what runs to stop, and records that its outcome is unknown', async () => {
    const started = await worker(tool(() => new Promise(() => {})));
    const sealed = await parts.approvedCall();
    await parts.dispatch.wake(sealed.terms.id);
    await until('it runs', () => ran.length === 1);
    expect(await started.stop({ graceMs: 50 })).toEqual([]);
    expect((await parts.store.read(sealed.terms.id))?.state).toMatchObject({
      status: 'unknown',
      outcome: { why: 'the executor is stopping' },
    });
  });
});

describe('executor processes', () => {
  let directory: string;
  let children: ChildProcess[];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cs-executors-'));
    children = [];
  });
  afterEach(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  async function executor(options: { leaseMs?: number } = {}): Promise<ChildProcess> {
    const publicKey = APPROVAL_PUBLIC_KEY.export({ type: 'spki', format: 'pem' }).toString();
    const child = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        join(import.meta.dirname, 'executor-process.ts'),
        server.connectionOptions.path,
        join(directory, 'ran'),
        publicKey,
        String(options.leaseMs ?? 10_000),
        String(SHARDS),
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    children.push(child);
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the executor ended with ${code}`)));
      createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).once('line', () =>
        resolve(),
      );
    });
    return child;
  }

  function started(): string[] {
    const file = join(directory, 'ran');
    if (!existsSync(file)) return [];
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(' ')[0] ?? '');
  }

  it('[execution:at-most-once] four of them run fifty approved calls once each', async () => {
    await Promise.all([executor(), executor(), executor(), executor()]);
    const sealed: SealedTerms[] = [];
    for (let i = 0; i < 50; i += 1) {
      const context = i % 2 ? {} : { tenant: 'acme' };
      sealed.push(await parts.approvedCall({ args: { ticket: `T-${i}` }, context }));
    }
    // Several jobs for each proposal, as after crashes, retries and sweeps.
    const queues = new Map<number, Queue>();
    for (const { id } of sealed.map(({ terms }) => terms)) {
      const shard = shardOfProposal(id);
      const queue = queues.get(shard) ?? queueOf(id);
      queues.set(shard, queue);
      await Promise.all([
        parts.dispatch.wake(id),
        queue.add('proposal', { id }, { jobId: `${id}.x` }),
        queue.add('proposal', { id }, { jobId: `${id}.y` }),
      ]);
    }
    for (const { terms } of sealed) await is(terms.id, 'succeeded');
    expect(started().sort()).toEqual(sealed.map((_, i) => `T-${i}`).sort());
  }, 60_000);

  it('[execution:at-most-once] killed during a call leaves it unknown, and nobody runs it again', async () => {
    const victim = await executor({ leaseMs: 1_000 });
    const sealed = await parts.approvedCall({ args: { ticket: 'hang-1' } });
    await parts.dispatch.wake(sealed.terms.id);
    await until('it runs', () => started().length === 1);
    victim.kill('SIGKILL');
    await executor();
    await is(sealed.terms.id, 'unknown');
    await parts.dispatch.wake(sealed.terms.id);
    const next = await parts.approvedCall({ args: { ticket: 'T-2' } });
    await parts.dispatch.wake(next.terms.id);
    await is(next.terms.id, 'succeeded');
    expect(started()).toEqual(['hang-1', 'T-2']);
  }, 60_000);

  it('[execution:at-most-once] frozen past its lease and thawed changes nothing that was settled', async () => {
    const frozen = await executor({ leaseMs: 2_000 });
    const sealed = await parts.approvedCall({ args: { ticket: 'hang-1' } });
    await parts.dispatch.wake(sealed.terms.id);
    await until('it runs', () => started().length === 1);
    frozen.kill('SIGSTOP');
    const sweeper = new Sweeper({ ...parts, intervalMs: 100, logger: parts.logger });
    sweeper.start();
    closing.push(() => sweeper.stop());
    await is(sealed.terms.id, 'unknown');
    frozen.kill('SIGCONT');
    const next = await parts.approvedCall({ args: { ticket: 'T-2' } });
    await parts.dispatch.wake(next.terms.id);
    await is(next.terms.id, 'succeeded');
    expect(await parts.statusOf(sealed.terms.id)).toBe('unknown');
    expect(started()).toEqual(['hang-1', 'T-2']);
  }, 60_000);
});
