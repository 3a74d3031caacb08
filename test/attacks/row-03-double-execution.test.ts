import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { z } from 'zod';
import type { Admission } from '../../src/core/execution/admission.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { QUEUE_NAME, queuePrefix } from '../../src/queue/proposal-queue.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { SHARDS } from '../queue/running-parts.ts';
import { APPROVAL_PUBLIC_KEY, approvalOf, BEN, PROPOSAL_KEY } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const redis = redisForTests({ emptied: 'once' });
const parts = attackedParts(redis);
const SOON = { timeout: 15_000 };

const approved = () => parts.approvedCall({ args: parts.ticket() });
const schema = z.strictObject({ ticket: z.string(), note: z.string().optional() });

/** The tool as people approved it, doing this. */
function doing(execute: () => unknown, more: { timeout?: number } = {}) {
  const tool = parts.tool('ticket.close', schema, {
    ...more,
    execute: (args, run) => {
      parts.ran.push({ tool: 'ticket.close', args, run });
      return execute();
    },
  });
  return { registry: new ToolRegistry([tool]) };
}

/** Runs until the test lets it end. */
function slowTool() {
  let end: (value: unknown) => void = () => {};
  const ended = new Promise((resolve) => {
    end = resolve;
  });
  return { tool: doing(() => ended), end: () => end({ done: true }) };
}

async function admittedElsewhere({ terms, termsDigest }: SealedTerms, leaseMs = 60_000): Promise<Admission> {
  const ask = { id: terms.id, termsDigest, executor: 'other:1', leaseMs };
  const admission = crypto.randomUUID().replaceAll('-', '');
  const admitted = await parts.store.admit({ ...ask, admission });
  if (!admitted.ok) throw new Error(admitted.refusal);
  return admitted.admission;
}

const lapse = ({ terms }: SealedTerms) => parts.tamper(terms.id, { leaseUntil: '1' });

async function withWorkers(count: number, work: () => Promise<void>): Promise<void> {
  const workers = Array.from(
    { length: count },
    (_, i) =>
      new ExecutionWorker({
        ...parts.executorParts({ executorId: `test:${i}` }),
        dispatch: parts.dispatch,
        connection: parts.redis,
        shards: SHARDS,
      }),
  );
  for (const worker of workers) worker.start();
  try {
    await Promise.all(workers.map((worker) => worker.ready()));
    await work();
  } finally {
    await Promise.all(workers.map((worker) => worker.stop({ graceMs: 5_000 })));
  }
}

/** Redis does it, and this process never hears of it. */
class Deaf extends ProposalStoreRedis {
  deaf = false;
  override async admit(ask: Parameters<ProposalStoreRedis['admit']>[0]) {
    const admitted = await super.admit(ask);
    if (this.deaf) throw new StoreUnavailable('no answer');
    return admitted;
  }
}

const races: AttackCase[] = [
  [
    '[execution:at-most-once] twenty attempts at once, in five executors',
    async () => {
      const { terms } = await approved();
      const executors = Array.from({ length: 5 }, () => parts.executor());
      await Promise.all(executors.flatMap((one) => [1, 2, 3, 4].map(() => one.attempt(terms.id))));
      expect(parts.ran).toHaveLength(1);
      expect(await parts.entries(terms.id, 'admission.granted')).toHaveLength(1);
    },
  ],
  [
    '[execution:at-most-once] ten attempts at once, in the executor that runs it',
    async () => {
      const { terms } = await approved();
      const executor = parts.executor();
      await Promise.all(Array.from({ length: 10 }, () => executor.attempt(terms.id)));
      expect(parts.ran).toHaveLength(1);
    },
  ],
  [
    '[execution:at-most-once] three workers, a sweeper, and everybody wakes the job',
    () =>
      withWorkers(3, async () => {
        const { store, dispatch, logger } = parts;
        const sweeper = new Sweeper({ store, dispatch, logger, intervalMs: 5 });
        sweeper.start();
        const { terms } = await approved();
        await Promise.all(Array.from({ length: 20 }, () => dispatch.wake(terms.id)));
        await expect.poll(() => parts.statusOf(terms.id), SOON).toBe('succeeded');
        await sweeper.stop();
        expect(parts.ran).toHaveLength(1);
        expect(await parts.entries(terms.id, 'admission.granted')).toHaveLength(1);
      }),
  ],
  [
    '[execution:at-most-once] its job goes back to the queue while it runs, as BullMQ does with a stalled one',
    async () => {
      const { tool, end } = slowTool();
      const sealed = await approved();
      const { id } = sealed.terms;
      const running = parts.attempt(id, tool);
      await expect.poll(() => parts.ran.length, SOON).toBe(1);
      await withWorkers(2, async () => {
        const key = `${queuePrefix(shardOfProposal(id))}:${QUEUE_NAME}`;
        await parts.dispatch.wake(id);
        await expect.poll(() => parts.redis.zscore(`${key}:delayed`, id), SOON).not.toBeNull();
        await parts.dispatch.wake(id);
        await expect.poll(() => parts.redis.zscore(`${key}:delayed`, id), SOON).not.toBeNull();
      });
      end();
      expect(await running).toMatchObject({ status: 'succeeded' });
      expect(parts.ran).toHaveLength(1);
    },
  ],
  [
    '[execution:at-most-once] the record is set back to approved while it runs',
    async () => {
      const { tool, end } = slowTool();
      const sealed = await approved();
      const { id } = sealed.terms;
      const putBack = await parts.copyOf(sealed);
      const running = parts.attempt(id, tool);
      await expect.poll(() => parts.ran.length, SOON).toBe(1);
      await putBack();
      expect(await parts.attempt(id)).toMatchObject({ status: 'halted' });
      end();
      await running;
      expect(parts.ran).toHaveLength(1);
      expect(await parts.alarms(id)).toEqual(['put_back']);
    },
  ],
  [
    '[execution:at-most-once] the record is set back to pending while it runs, and approved once more',
    async () => {
      const { tool, end } = slowTool();
      const sealed = await approved();
      const { id } = sealed.terms;
      const running = parts.attempt(id, tool);
      await expect.poll(() => parts.ran.length, SOON).toBe(1);
      await parts.tamper(id, { status: 'pending' });
      const at = await parts.store.now();
      expect(await parts.store.decide(approvalOf(sealed, BEN, { at }))).toMatchObject({ ok: false });
      await parts.attempt(id);
      end();
      await running;
      expect(parts.ran).toHaveLength(1);
      expect(await parts.alarms(id)).toEqual(['put_back']);
    },
  ],
];

const lost: AttackCase[] = [
  [
    '[execution:at-most-once] the executor dies between admission and start',
    async () => {
      const sealed = await approved();
      await admittedElsewhere(sealed);
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'again', status: 'executing' });
      await lapse(sealed);
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'done', status: 'unknown' });
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'done', status: 'unknown' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[execution:at-most-once] the answer to the admission is lost',
    async () => {
      const sealed = await approved();
      const { id } = sealed.terms;
      const store = new Deaf({ redis: parts.redis, shards: SHARDS, keys: [PROPOSAL_KEY] });
      store.deaf = true;
      await expect(parts.attempt(id, { store })).rejects.toBeInstanceOf(StoreUnavailable);
      store.deaf = false;
      expect(await parts.attempt(id, { store })).toMatchObject({ next: 'again', status: 'executing' });
      await lapse(sealed);
      expect(await parts.attempt(id)).toMatchObject({ status: 'unknown' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[execution:at-most-once] the executor is killed while the tool writes',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'cs-attack-'));
      const file = join(folder, 'ran');
      const key = APPROVAL_PUBLIC_KEY.export({ type: 'spki', format: 'pem' }).toString();
      const start = () => {
        const program = join(import.meta.dirname, '..', 'queue', 'executor-process.ts');
        const { path } = redis.connectionOptions;
        const given = [program, path, file, key, '500', String(SHARDS)];
        return spawn(process.execPath, ['--import', 'tsx', ...given], {
          stdio: ['pipe', 'pipe', 'inherit'],
        });
      };
      const [first, second] = [start(), start()];
      try {
        await Promise.all([once(first.stdout, 'data'), once(second.stdout, 'data')]);
        const sealed = await parts.approvedCall({ args: { ticket: 'hang-1' } });
        await parts.dispatch.wake(sealed.terms.id);
        const lines = () => {
          try {
            return readFileSync(file, 'utf8').split('\n').filter(Boolean);
          } catch {
            return [];
          }
        };
        await expect.poll(lines, SOON).toHaveLength(1);
        const pid = Number(lines()[0]?.split(' ')[1]);
        process.kill(pid, 'SIGKILL');
        await expect.poll(() => parts.statusOf(sealed.terms.id), SOON).toBe('unknown');
        await parts.dispatch.wake(sealed.terms.id);
        expect(lines()).toHaveLength(1);
      } finally {
        first.kill('SIGKILL');
        second.kill('SIGKILL');
        rmSync(folder, { recursive: true });
      }
    },
  ],
  [
    '[execution:at-most-once] the tool does not answer in time',
    async () => {
      const { terms } = await approved();
      const tool = doing(() => new Promise(() => {}), { timeout: 30 });
      expect(await parts.attempt(terms.id, tool)).toMatchObject({ status: 'unknown' });
      expect(await parts.attempt(terms.id)).toMatchObject({ next: 'done', status: 'unknown' });
      expect(parts.ran).toHaveLength(1);
      expect(parts.ran[0]?.run.signal.aborted).toBe(true);
    },
  ],
  [
    '[execution:at-most-once] the tool breaks after it wrote',
    async () => {
      const { terms } = await approved();
      const tool = doing(() => {
        throw new Error('ECONNRESET');
      });
      expect(await parts.attempt(terms.id, tool)).toMatchObject({ status: 'unknown' });
      await parts.dispatch.wake(terms.id);
      expect(await parts.attempt(terms.id)).toMatchObject({ next: 'done', status: 'unknown' });
      expect(parts.ran).toHaveLength(1);
    },
  ],
  [
    '[execution:at-most-once] the lease lapses while the tool still runs: it is told to stop, and nobody else starts',
    async () => {
      const { tool, end } = slowTool();
      const sealed = await approved();
      const { id } = sealed.terms;
      const running = parts.attempt(id, { ...tool, leaseMs: 300 });
      await expect.poll(() => parts.ran.length, SOON).toBe(1);
      // Between the extensions: again and again, until the lapse is seen before the next of them.
      await expect
        .poll(async () => {
          await lapse(sealed);
          return parts.store.declareUnknown(id, 'no word');
        }, SOON)
        .toBe('settled');
      expect(await parts.attempt(id)).toMatchObject({ next: 'done', status: 'unknown' });
      await expect.poll(() => parts.ran[0]?.run.signal.aborted, SOON).toBe(true);
      end();
      expect(await running).toMatchObject({ status: 'unknown' });
      expect(parts.ran).toHaveLength(1);
    },
  ],
];

/** Whoever was replaced comes back, with the admission that it once had. */
const late: [string, (was: Admission, sealed: SealedTerms) => Promise<unknown>, unknown, string][] = [
  [
    'finishes a call that another one runs now',
    async (was, sealed) => {
      await parts.store.giveBack(was, 'too slow');
      await admittedElsewhere(sealed);
      return parts.store.finish(was, { outcome: 'succeeded', result: '{}' });
    },
    'lost_race',
    'executing',
  ],
  [
    'gives back a call that another one runs now',
    async (was, sealed) => {
      await parts.store.giveBack(was, 'too slow');
      await admittedElsewhere(sealed);
      return parts.store.giveBack(was, 'too slow');
    },
    'lost_race',
    'executing',
  ],
  [
    'extends a lease that is another one’s now',
    async (was, sealed) => {
      await parts.store.giveBack(was, 'too slow');
      await admittedElsewhere(sealed);
      return parts.store.extendLease(was, 60_000);
    },
    false,
    'executing',
  ],
  [
    'is admitted by the admission that it gave back',
    async (was, { terms: { id }, termsDigest }) => {
      await parts.store.giveBack(was, 'too slow');
      const ask = { id, termsDigest, admission: was.id, executor: was.executor, leaseMs: 1_000 };
      return parts.store.admit(ask);
    },
    expect.objectContaining({ ok: false, refusal: 'already_admitted' }),
    'approved',
  ],
  [
    'finishes a call that was settled as unknown',
    async (was, sealed) => {
      await lapse(sealed);
      await parts.store.declareUnknown(sealed.terms.id, 'lost');
      const finished = await parts.store.finish(was, { outcome: 'succeeded', result: '{}' });
      expect(await parts.entries(sealed.terms.id, 'outcome.late')).toHaveLength(1);
      return finished;
    },
    'lost_race',
    'unknown',
  ],
  [
    'gives back a call that was settled as unknown',
    async (was, sealed) => {
      await lapse(sealed);
      await parts.store.declareUnknown(sealed.terms.id, 'lost');
      return parts.store.giveBack(was, 'did not start');
    },
    'lost_race',
    'unknown',
  ],
  [
    'finishes twice, the second time otherwise',
    async (was) => {
      await parts.store.finish(was, { outcome: 'failed', code: 'x', message: 'x' });
      return parts.store.finish(was, { outcome: 'succeeded', result: '{}' });
    },
    'lost_race',
    'failed',
  ],
  [
    'is declared lost while its lease holds',
    async (_, { terms }) => parts.store.declareUnknown(terms.id, 'lost'),
    'not_due',
    'executing',
  ],
];
const replaced: AttackCase[] = late.map(([title, act, answer, status]) => [
  `[execution:at-most-once] an executor ${title}`,
  async () => {
    const sealed = await approved();
    expect(await act(await admittedElsewhere(sealed), sealed)).toEqual(answer);
    expect(await parts.statusOf(sealed.terms.id)).toBe(status);
    expect(parts.ran).toEqual([]);
  },
]);

attackRow(3, {
  attacks: [...races, ...lost, ...replaced],
  twins: [
    [
      'one attempt runs it once, and its tool gets the admission as its idempotency key',
      async () => {
        const { terms } = await approved();
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
        const granted = await parts.entries(terms.id, 'admission.granted');
        expect(parts.ran.map(({ run }) => run.idempotencyKey)).toEqual(
          granted.map(({ admission }) => admission),
        );
      },
    ],
    [
      'an admission that was given back is followed by another one, which runs',
      async () => {
        const sealed = await approved();
        await parts.store.giveBack(await admittedElsewhere(sealed), 'too slow');
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
        expect(parts.ran).toHaveLength(1);
      },
    ],
    [
      'a tool that certainly did nothing says so, and that is no doubt',
      async () => {
        const { terms } = await approved();
        const tool = doing(() => {
          throw new ToolRejected('not_there', 'no such ticket');
        });
        expect(await parts.attempt(terms.id, tool)).toMatchObject({ status: 'failed' });
      },
    ],
    [
      'two calls of one kind run side by side, each once',
      async () => {
        const both = [await approved(), await approved()];
        await Promise.all(both.map(({ terms }) => parts.attempt(terms.id)));
        expect(parts.ran).toHaveLength(2);
      },
    ],
  ],
});
