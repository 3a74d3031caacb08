import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ProposalRecord, TERMINAL_STATUSES } from '../../src/core/proposal/proposal.ts';
import { newProposalId } from '../../src/core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { ProposalNotFound, Waiter } from '../../src/queue/waiter.ts';
import { ProposalNewsRedis } from '../../src/redis/proposal-news-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { RunningParts, SHARDS, until } from './running-parts.ts';

const server = redisForTests();
let parts: RunningParts;
let waiter: Waiter;
const settled = (record: ProposalRecord) => TERMINAL_STATUSES.has(record.state.status);
const withdraw = { agent: 'support-bot', principal: 'slack:T0ACME/U0REQ' } as Parameters<
  RunningParts['store']['withdraw']
>[1];
/** Long enough that only word can have ended the wait. */
const NEVER = { min: 600_000, max: 600_000 };

beforeEach(async () => {
  parts = new RunningParts(server.connectionOptions);
  waiter = new Waiter({
    store: parts.store,
    news: new ProposalNewsRedis({ subscriber: parts.subscriber, shards: SHARDS }),
  });
  await parts.armWrites();
});
afterEach(() => parts.close());

async function subscribed(id: string): Promise<number> {
  const channels = (await server.client.pubsub('CHANNELS', '*')) as string[];
  return channels.filter((channel) => channel.includes(id)).length;
}

async function dropSubscriber(): Promise<void> {
  await server.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
}

describe('waiting for a proposal', () => {
  it('ends at once where it already is as wanted', async () => {
    const { id } = (await parts.propose()).terms;
    await parts.store.withdraw(id, withdraw);
    expect((await waiter.waitFor(id, settled, { pollMs: NEVER })).state.status).toBe('withdrawn');
  });

  it('ends with the word of the change', async () => {
    const { id } = (await parts.propose()).terms;
    const waiting = waiter.waitFor(id, settled, { pollMs: NEVER });
    await until('it listens', async () => (await subscribed(id)) === 1);
    await parts.store.withdraw(id, withdraw);
    expect((await waiting).state.status).toBe('withdrawn');
  });

  it('goes on over changes that are not yet what is wanted', async () => {
    const sealed = await parts.propose();
    const { id } = sealed.terms;
    const seen: string[] = [];
    const waiting = waiter.waitFor(id, (record) => seen.push(record.state.status) > 0 && settled(record), {
      pollMs: NEVER,
    });
    await until('it listens', async () => (await subscribed(id)) === 1);
    await parts.decide(sealed);
    await until('it saw that', () => seen.includes('approved'));
    await parts.store.refuse(id, { refusal: 'test', message: 'test', alarm: false });
    expect((await waiting).state.status).toBe('halted');
  });

  it('finds what changed while its subscriber was cut off', async () => {
    const { id } = (await parts.propose()).terms;
    const waiting = waiter.waitFor(id, settled, { pollMs: NEVER });
    await until('it listens', async () => (await subscribed(id)) === 1);
    // Sent together, so that the change falls into the gap.
    await Promise.all([dropSubscriber(), parts.store.withdraw(id, withdraw)]);
    expect((await waiting).state.status).toBe('withdrawn');
  });

  it('listens again after its subscriber was cut off', async () => {
    const { id } = (await parts.propose()).terms;
    const waiting = waiter.waitFor(id, settled, { pollMs: NEVER });
    await until('it listens', async () => (await subscribed(id)) === 1);
    await dropSubscriber();
    await until('it listens again', async () => (await subscribed(id)) === 1);
    await parts.store.withdraw(id, withdraw);
    expect((await waiting).state.status).toBe('withdrawn');
  });

  it('finds what changed after its first look and before it listened', async () => {
    const { id } = (await parts.propose()).terms;
    const slow = new Waiter({
      store: parts.store,
      news: {
        follow: async () => {
          await parts.store.withdraw(id, withdraw);
          return async () => {};
        },
      },
    });
    expect((await slow.waitFor(id, settled, { pollMs: NEVER })).state.status).toBe('withdrawn');
  });

  it('finds by polling what no word ever told', async () => {
    const { id } = (await parts.propose()).terms;
    const deaf = new Waiter({
      store: parts.store,
      news: { follow: async () => async () => {} },
    });
    const waiting = deaf.waitFor(id, settled, { pollMs: { min: 20, max: 40 } });
    await parts.store.withdraw(id, withdraw);
    expect((await waiting).state.status).toBe('withdrawn');
  });

  it('[redis:down-means-no] waits through an outage, and no longer than its signal allows', async () => {
    const { id } = (await parts.propose()).terms;
    const giveUp = new AbortController();
    const waiting = waiter.waitFor(id, settled, { pollMs: NEVER });
    const impatient = waiter.waitFor(id, settled, { pollMs: NEVER, signal: giveUp.signal });
    await until('they listen', async () => (await subscribed(id)) === 1);
    await server.server.stop();
    giveUp.abort();
    await expect(impatient).rejects.toMatchObject({ name: 'AbortError' });
    await server.server.restart();
    await until('the store answers', () =>
      parts.store.withdraw(id, withdraw).then(
        () => true,
        () => false,
      ),
    );
    expect((await waiting).state.status).toBe('withdrawn');
  });

  it('keeps asking a store that does not answer', async () => {
    const { id } = (await parts.propose()).terms;
    let away = 2;
    const store = {
      read: async (which: typeof id) => {
        if (away-- > 0) throw new StoreUnavailable('away');
        return parts.store.read(which);
      },
      readHeld: (which: typeof id) => parts.store.readHeld(which),
    };
    const patient = new Waiter({
      store,
      news: { follow: () => Promise.reject(new StoreUnavailable('away')) },
    });
    await parts.store.withdraw(id, withdraw);
    expect((await patient.waitFor(id, settled, { pollMs: NEVER })).state.status).toBe('withdrawn');
  });

  it('rejects with the reason of its signal, before and during', async () => {
    const { id } = (await parts.propose()).terms;
    await expect(waiter.waitFor(id, settled, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: 'AbortError',
    });
    await expect(waiter.waitFor(id, settled, { signal: AbortSignal.timeout(30) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
  });

  it('says that a proposal is unknown instead of waiting for it', async () => {
    await expect(waiter.waitFor(newProposalId(0, randomBytes(24)), settled)).rejects.toThrow(
      ProposalNotFound,
    );
  });

  it('leaves nothing behind: no subscription, no listener on the signal', async () => {
    const { id } = (await parts.propose()).terms;
    const giveUp = new AbortController();
    let listeners = 0;
    const { signal } = giveUp;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = ((...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    }) as typeof signal.addEventListener;
    signal.removeEventListener = ((...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    }) as typeof signal.removeEventListener;
    const waits = Array.from({ length: 20 }, () => waiter.waitFor(id, settled, { pollMs: NEVER, signal }));
    await until('they listen', async () => (await subscribed(id)) === 1);
    await parts.store.withdraw(id, withdraw);
    await Promise.all(waits);
    expect(listeners).toBe(0);
    await until('the subscription ends', async () => (await subscribed(id)) === 0);
    const clients = String(await server.client.call('CLIENT', 'LIST', 'TYPE', 'pubsub'));
    expect(clients.trim().split('\n').length).toBeLessThanOrEqual(1);
  });
});
