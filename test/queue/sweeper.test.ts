import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import type { ProposalTerms } from '../../src/core/proposal/proposal-terms.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { RunningParts, until } from './running-parts.ts';

const server = redisForTests();
let parts: RunningParts;
let woken: ProposalId[];
let clock: number;

beforeEach(async () => {
  woken = [];
  clock = 0;
  parts = new RunningParts(server.connectionOptions);
  await parts.armWrites();
});
afterEach(() => parts.close());

const sweeper = (changes: Partial<ConstructorParameters<typeof Sweeper>[0]> = {}) =>
  new Sweeper({
    store: parts.store,
    dispatch: {
      wake: async (id) => {
        woken.push(id);
      },
    },
    logger: parts.logger,
    clock: () => clock,
    ...changes,
  });

describe('the sweeper', () => {
  it('settles what nobody decided by its deadline, once, however many sweep', async () => {
    const sealed = await parts.propose({ change: (terms) => ({ ...terms, deadline: terms.createdAt + 20 }) });
    await new Promise((resolve) => setTimeout(resolve, 40));
    const sweeps = await Promise.all([sweeper().sweep(), sweeper().sweep(), sweeper().sweep()]);
    expect(await parts.statusOf(sealed.terms.id)).toBe('expired');
    expect(sweeps.reduce((sum, { expired }) => sum + expired, 0)).toBe(1);
  });

  it('settles what was approved and not started in time', async () => {
    const sealed = await parts.approvedCall({ change: (terms) => ({ ...terms, startWithinMs: 20 }) });
    await new Promise((resolve) => setTimeout(resolve, 40));
    await sweeper().sweep();
    expect((await parts.store.read(sealed.terms.id))?.state).toMatchObject({
      status: 'expired',
      stage: 'starting',
    });
  });

  it('[execution:at-most-once] says unknown of a call whose executor went silent', async () => {
    const sealed = await parts.approvedCall();
    const ask = {
      id: sealed.terms.id,
      termsDigest: sealed.termsDigest,
      admission: 'a'.repeat(32),
      executor: 'gone:1',
    };
    const admitted = await parts.store.admit({ ...ask, leaseMs: 60_000 });
    if (!admitted.ok) throw new Error(admitted.refusal);
    await sweeper().sweep();
    expect(await parts.statusOf(sealed.terms.id)).toBe('executing');
    await parts.store.extendLease(admitted.admission, 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await sweeper().sweep()).toMatchObject({ declaredUnknown: 1 });
    expect(await parts.statusOf(sealed.terms.id)).toBe('unknown');
  });

  it('leaves what was approved just now to its own waking, then wakes it, less and less often', async () => {
    const { id } = (await parts.approvedCall()).terms;
    const sweeping = sweeper();
    const wokenAt: number[] = [];
    for (; clock <= 20_000; clock += 1_000) {
      if ((await sweeping.sweep()).woken > 0) wokenAt.push(clock / 1_000);
    }
    expect(wokenAt).toEqual([1, 3, 7, 15]);
    expect(woken).toEqual([id, id, id, id]);
  });

  it('forgets what is no longer ready', async () => {
    const sealed = await parts.approvedCall();
    const sweeping = sweeper();
    await sweeping.sweep();
    await parts.store.refuse(sealed.terms.id, { refusal: 'test', message: 'test', alarm: false });
    clock = 60_000;
    await sweeping.sweep();
    expect(woken).toEqual([]);
  });

  it('does the rest although one of them fails', async () => {
    const calls = await Promise.all([parts.approvedCall(), parts.approvedCall(), parts.approvedCall()]);
    const failing = calls[1]?.terms.id;
    const sweeping = sweeper({
      dispatch: {
        wake: async (id) => {
          if (id === failing) throw new Error('queue away');
          woken.push(id);
        },
      },
    });
    await sweeping.sweep();
    clock = 1_000;
    expect(await sweeping.sweep()).toMatchObject({ woken: 2 });
  });

  it('says once of a record that somebody wrote to that it cannot be settled, tries less and less often, and does the rest', async () => {
    const lapsing = { change: (terms: ProposalTerms) => ({ ...terms, deadline: terms.createdAt + 20 }) };
    const damaged = proposalKey((await parts.propose(lapsing)).terms.id);
    await server.client.rename(damaged, `${damaged}:aside`);
    await server.client.set(damaged, 'no record of ours');
    await new Promise((resolve) => setTimeout(resolve, 40));
    let tried = 0;
    const store = {
      due: (limit: number) => parts.store.due(limit),
      expire: (id: ProposalId) => {
        tried += 1;
        return parts.store.expire(id);
      },
      declareUnknown: (id: ProposalId, why: string) => parts.store.declareUnknown(id, why),
      fireTimers: (id: ProposalId) => parts.store.fireTimers(id),
    };
    const sweeping = sweeper({ store });
    for (; clock < 20_000; clock += 1_000) await sweeping.sweep();
    expect(tried).toBe(4);
    expect(parts.logged.filter((line) => line.includes('could not expire'))).toHaveLength(1);
    const other = await parts.propose({ ...lapsing, args: { ticket: 'T-2' } });
    await new Promise((resolve) => setTimeout(resolve, 40));
    await sweeping.sweep();
    expect(await parts.statusOf(other.terms.id)).toBe('expired');
    await server.client.rename(`${damaged}:aside`, damaged);
    clock += 30_000;
    expect(await sweeping.sweep()).toMatchObject({ expired: 1 });
  });

  it('goes on through an outage, and says so once', async () => {
    let asked = 0;
    const store = {
      ...parts.store,
      due: async (limit: number) => {
        asked += 1;
        if (asked <= 3) throw new StoreUnavailable('away');
        return parts.store.due(limit);
      },
      expire: (id: ProposalId) => parts.store.expire(id),
      declareUnknown: (id: ProposalId, why: string) => parts.store.declareUnknown(id, why),
      fireTimers: (id: ProposalId) => parts.store.fireTimers(id),
    };
    const sweeping = sweeper({ store, intervalMs: 10 });
    sweeping.start();
    await until('it sweeps again', () => asked > 4);
    await sweeping.stop();
    const stoppedAt = asked;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(asked).toBe(stoppedAt);
    expect(parts.logged.filter((line) => line.includes('does not answer'))).toHaveLength(1);
    expect(parts.logged.filter((line) => line.includes('answers again'))).toHaveLength(1);
  });
});
