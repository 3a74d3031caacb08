import { randomBytes } from 'node:crypto';
import { type Job, Queue, Worker } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newProposalId, type ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { DispatchBullMQ, DispatchUnavailable } from '../../src/queue/dispatch-bullmq.ts';
import { QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { until } from './running-parts.ts';

const server = redisForTests();
let connections: ReturnType<typeof openRedis>;
let dispatch: DispatchBullMQ;
let queue: Queue;
let id: ProposalId;
let workers: Worker[];

beforeEach(() => {
  connections = openRedis({ connection: server.connectionOptions });
  dispatch = new DispatchBullMQ({ connection: connections.redis, shards: 4 });
  id = newProposalId(3, randomBytes(24));
  queue = new Queue(QUEUE_NAME, { connection: connections.redis, prefix: queuePrefix(3) });
  workers = [];
});
afterEach(async () => {
  for (const worker of workers) await worker.close(true);
  await queue.close();
  await dispatch.close();
  connections.close();
});

const states = async () => {
  const jobs = await queue.getJobs();
  const named = await Promise.all(jobs.map(async (job) => [job.id, await job.getState()] as const));
  return Object.fromEntries(named);
};

function work(how: (job: Job) => Promise<unknown>): void {
  const connection = server.connect();
  workers.push(new Worker(QUEUE_NAME, how, { connection, prefix: queuePrefix(3) }));
}

describe('the dispatch', () => {
  it('schedules one sleeping job that names the proposal and nothing else', async () => {
    await dispatch.schedule(id, 60_000);
    await dispatch.schedule(id, 60_000);
    expect(await states()).toEqual({ [id]: 'delayed' });
    const job = await queue.getJob(id);
    expect(job?.data).toEqual({ id });
    expect(job?.delay).toBe(60_000);
  });

  it("keeps all keys of a shard under that shard's hash tag", async () => {
    await dispatch.schedule(id, 60_000);
    const keys = await connections.redis.keys('*');
    expect(keys.filter((key) => key.includes(id))).not.toEqual([]);
    expect(keys.filter((key) => !/^\{s[0-3]\}:bull:/.test(key))).toEqual([]);
  });

  it('wakes a sleeping job, and once more changes nothing', async () => {
    await dispatch.schedule(id, 60_000);
    await dispatch.wake(id);
    await dispatch.wake(id);
    expect(await states()).toEqual({ [id]: 'waiting' });
  });

  it('adds a job that is missing', async () => {
    await dispatch.wake(id);
    expect(await states()).toEqual({ [id]: 'waiting' });
  });

  it('leaves an active job alone', async () => {
    await dispatch.wake(id);
    work(() => new Promise(() => {}));
    await until('it is active', async () => (await states())[id] === 'active');
    await dispatch.wake(id);
    expect(await states()).toEqual({ [id]: 'active' });
  });

  const endings: [state: string, how: () => Promise<unknown>][] = [
    ['completed', async () => 'done'],
    ['failed', () => Promise.reject(new Error('no'))],
  ];
  it.each(endings)('adds another job beside one that is %s', async (state, how) => {
    await dispatch.wake(id);
    work(how);
    await until(`it is ${state}`, async () => (await states())[id] === state);
    for (const worker of workers) await worker.pause();
    await dispatch.wake(id);
    await dispatch.wake(id);
    expect(await states()).toEqual({ [id]: state, [`${id}.1`]: 'waiting' });
  });

  it('wakes at last however many finished jobs stand in the way, and their number stays bounded', async () => {
    let done = 0;
    work(async () => {
      done += 1;
    });
    for (let i = 1; i <= 25; i++) {
      await dispatch.wake(id);
      await until('it was done', async () => done === i && !Object.values(await states()).includes('active'));
    }
    expect(Object.keys(await states()).length).toBeLessThanOrEqual(21);
  });

  it('[redis:down-means-no] says that the queue is away while it is, and does not wait for it', async () => {
    await dispatch.schedule(id, 60_000);
    const pid = server.server.pid;
    process.kill(pid, 'SIGSTOP');
    try {
      await expect(dispatch.wake(id)).rejects.toThrow(DispatchUnavailable);
      await expect(dispatch.schedule(id, 1)).rejects.toThrow(DispatchUnavailable);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await until('it answers again', () =>
      dispatch.wake(id).then(
        () => true,
        () => false,
      ),
    );
  });

  it('names a proposal of a shard that is not there', async () => {
    await expect(dispatch.wake(newProposalId(9, randomBytes(24)))).rejects.toThrow('shard 9');
  });
});
