import { Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { DispatchUnavailable } from '../../src/queue/dispatch-bullmq.ts';
import { Execution } from '../../src/queue/execution.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { JOB_NAME, QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { RunningParts, SECRET, SHARDS, until } from '../queue/running-parts.ts';
import { closeTicketWith } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';

/** Jobs that others made, tools that misbehave, and a Redis that goes away at the worst time. */

const server = redisForTests();
let parts: RunningParts;
let workers: ExecutionWorker[];
let queues: Queue[];
let ran: string[];

const closing = closeTicketWith((args) => {
  ran.push((args as { ticket: string }).ticket);
  return null;
});

beforeEach(async () => {
  workers = [];
  queues = [];
  ran = [];
  parts = new RunningParts(server.connectionOptions);
  await parts.armWrites();
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop({ graceMs: 0 })));
  await Promise.all(queues.map((queue) => queue.close()));
  await parts.close();
});

async function worker(): Promise<ExecutionWorker> {
  const started = new ExecutionWorker({
    ...parts.executionParts(closing),
    dispatch: parts.dispatch,
    connection: parts.redis,
    shards: SHARDS,
  });
  workers.push(started);
  started.start();
  await started.ready();
  return started;
}

function queueOf(shard: number): Queue {
  const queue = new Queue(QUEUE_NAME, {
    connection: { path: server.connectionOptions.path },
    prefix: queuePrefix(shard),
  });
  queues.push(queue);
  return queue;
}

describe('a job that somebody made by hand', () => {
  const poison: [string, unknown][] = [
    ['no data', undefined],
    ['no object', 'prop_00'],
    ['an id of another form', { id: '../../etc/passwd' }],
    ['more than an id', { id: `prop_00${'0'.repeat(24)}`, approved: true }],
    ['five megabytes', { id: 'x'.repeat(5_000_000) }],
    ['a prototype', JSON.parse('{"__proto__":{"id":"prop_00"},"id":1}')],
  ];
  it.each(poison)('with %s fails once, however many attempts it asks for', async (_, data) => {
    await worker();
    const queue = queueOf(0);
    const job = await queue.add(JOB_NAME, data, { attempts: 1_000_000, backoff: 0 });
    await until('it failed', () => job.isFailed());
    const failed = await queue.getJob(job.id ?? '');
    expect(failed?.attemptsMade).toBe(1);
    expect(failed?.failedReason?.length).toBeLessThan(200);
    expect(ran).toEqual([]);
  });

  it('under the id of one proposal and naming another keeps neither from running', async () => {
    const one = await parts.approvedCall({ args: { ticket: 'T-1' } });
    const two = await parts.propose({ args: { ticket: 'T-2' } });
    const queue = queueOf(shardOfProposal(one.terms.id));
    await (await queue.getJob(one.terms.id))?.remove();
    await queue.add(JOB_NAME, { id: two.terms.id }, { jobId: one.terms.id, delay: 3_600_000 });
    await worker();
    await parts.dispatch.wake(one.terms.id);
    await until('it ran', () => ran.length === 1);
    expect(ran).toEqual(['T-1']);
    expect(await parts.statusOf(two.terms.id)).toBe('pending');
  });

  it('a thousand times for one approved call runs it once', async () => {
    const sealed = await parts.approvedCall();
    const data = { id: sealed.terms.id };
    for (let shard = 0; shard < SHARDS; shard += 1) {
      await queueOf(shard).addBulk(Array.from({ length: 500 }, () => ({ name: 'x', data })));
    }
    await worker();
    await worker();
    await until('it is settled', async () => (await parts.statusOf(sealed.terms.id)) === 'succeeded');
    await parts.dispatch.wake(sealed.terms.id);
    expect(ran).toEqual(['T-1']);
  });
});

describe('a tool that throws what cannot be read', () => {
  const thrown: [string, () => unknown][] = [
    ['an object without a prototype', () => Object.create(null)],
    ['a symbol', () => Symbol('x')],
    [
      'an error whose message throws',
      () =>
        Object.defineProperty(new Error('x'), 'message', {
          get: () => {
            throw new Error('no');
          },
        }),
    ],
    ['an error whose message is no text', () => Object.assign(new Error('x'), { message: Symbol('x') })],
    [
      'a proxy that refuses to be looked at',
      () =>
        new Proxy(
          {},
          {
            getPrototypeOf: () => {
              throw new Error('no');
            },
          },
        ),
    ],
    ['nothing', () => undefined],
  ];
  it.each(thrown)('%s: it is unknown at once, and not when its lease lapses', async (_, make) => {
    const tool = closeTicketWith(async () => {
      throw make();
    });
    const sealed = await parts.approvedCall();
    const attempt = await new Execution(parts.executionParts(tool)).attempt(sealed.terms.id);
    expect(attempt).toMatchObject({ next: 'done', status: 'unknown' });
  });
});

describe('a result', () => {
  const inside: [string, (secret: string) => unknown][] = [
    ['whole', (secret) => ({ header: `Bearer ${secret}` })],
    ['cut in the middle by the limit', (secret) => 'x'.repeat(65_400) + secret.repeat(30)],
    ['cut within an object', (secret) => ({ a: 'x'.repeat(65_390), b: Array(50).fill(secret) })],
    [
      'escaped twice by the cut',
      (secret) => ({ a: 'x'.repeat(60_000), b: Array(400).fill(`"\\${secret}"`) }),
    ],
    ['in base64', (secret) => Buffer.from(`u:${secret}`).toString('base64')],
    ['as a key', (secret) => ({ [secret]: secret })],
  ];
  it.each(inside)(
    '[execution:credentials-at-the-boundary] with the credential in it, %s, is kept without it',
    async (_, answer) => {
      const tool = closeTicketWith((_args, run) => answer(run.credentials.get('token')));
      const sealed = await parts.approvedCall();
      const attempt = await new Execution(parts.executionParts(tool)).attempt(sealed.terms.id);
      const { outcome } = attempt as { outcome: { result: string } };
      expect(() => JSON.parse(outcome.result)).not.toThrow();
      for (let from = 0; from + 10 <= SECRET.length; from += 1) {
        expect(outcome.result).not.toContain(SECRET.slice(from, from + 10));
      }
      expect(outcome.result).not.toContain(Buffer.from(SECRET).toString('base64').slice(4, 20));
      expect(Buffer.byteLength(outcome.result)).toBeLessThanOrEqual(64 * 1024);
    },
  );
});

describe('[redis:down-means-no] with Redis gone', () => {
  afterEach(() => server.server.restart());

  it('an executor stops within its limits', async () => {
    const started = await worker();
    await server.server.kill9();
    // Redis is gone: this ends, or never does.
    expect(await started.stop({ graceMs: 500 })).toEqual([]);
  });

  it('an executor that runs a call stops within its limits, and says what it leaves', async () => {
    let begun = false;
    const tool = closeTicketWith(() => {
      begun = true;
      return new Promise(() => {});
    });
    const started = new ExecutionWorker({
      ...parts.executionParts(tool),
      dispatch: parts.dispatch,
      connection: parts.redis,
      shards: SHARDS,
    });
    started.start();
    await started.ready();
    const sealed = await parts.approvedCall();
    await parts.dispatch.wake(sealed.terms.id);
    await until('it runs', () => begun);
    await server.server.kill9();
    expect(await started.stop({ graceMs: 200 })).toEqual([expect.stringContaining(sealed.terms.id)]);
  });

  it('comes and goes five times, and what is approved then still runs once', async () => {
    await worker();
    const sealed = await parts.approvedCall();
    for (let i = 0; i < 5; i += 1) {
      await server.server.kill9();
      const gone = await parts.dispatch.wake(sealed.terms.id).catch((error: unknown) => error);
      expect(gone).toBeInstanceOf(DispatchUnavailable);
      await server.server.restart();
    }
    await until('Redis answers', async () => (await parts.store.now().catch(() => 0)) > 0);
    const { epoch, state } = await parts.writeSwitch.status();
    if (state !== 'on') {
      await parts.writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'x', expectedEpoch: epoch });
    }
    const fresh = await parts.approvedCall({ args: { ticket: 'T-9' } });
    const sweeper = new Sweeper({
      store: parts.store,
      dispatch: parts.dispatch,
      logger: parts.logger,
      intervalMs: 100,
    });
    sweeper.start();
    const done = async () => (await parts.statusOf(fresh.terms.id)) === 'succeeded';
    await until('it ran', done, 20_000);
    await sweeper.stop();
    expect(ran.filter((ticket) => ticket === 'T-9')).toHaveLength(1);
  }, 60_000);
});

it('[redis:down-means-no] a sweep that is stopped, or whose store went away, does not try the rest one by one', async () => {
  const ids = Array.from({ length: 300 }, (_, i) => `prop_00${String(i).padStart(24, '0')}`) as never[];
  let tried = 0;
  const slow = async () => {
    tried += 1;
    await new Promise((resolve) => setTimeout(resolve, 50));
    throw new StoreUnavailable('away');
  };
  const sweeper = new Sweeper({
    store: {
      due: async () => ({ ready: [], expired: ids, lapsed: ids, timers: ids }),
      expire: slow,
      declareUnknown: slow,
      fireTimers: slow,
    },
    dispatch: { wake: slow },
    logger: parts.logger,
    intervalMs: 1,
  });
  sweeper.start();
  await until('it sweeps', () => tried > 0);
  await sweeper.stop();
  expect(tried).toBeLessThan(ids.length);
});
