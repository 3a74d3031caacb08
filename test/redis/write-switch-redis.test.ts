import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { scopeKeysCovering } from '../../src/core/switch/scope.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import {
  admitted,
  approved,
  armed,
  askFor,
  freshTerms,
  OPERATOR,
  proposed,
  ROOMY,
  type Stores,
} from '../contracts/proposal-store.contract.ts';
import { writeSwitchContract } from '../contracts/write-switch.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { signedDecision, testContext, testKeys } from '../sealed-terms.ts';

const TOOL = 'ticket.close';
const port = await freePort();
const redis = redisForTests({
  extraArgs: ['--port', String(port), '--bind', '127.0.0.1', '--repl-diskless-sync-delay', '0'],
});

const switches: WriteSwitchRedis[] = [];
afterEach(async () => {
  await Promise.all(switches.splice(0).map((writeSwitch) => writeSwitch.stop()));
});

function storesOn(
  shards: number,
  client = redis.client,
  more: { haltedWithinMs?: number; beforeBatch?: () => Promise<void> } = {},
): Stores & { writeSwitch: WriteSwitchRedis } {
  const connections = { redis: client, subscriber: redis.client, shards };
  const writeSwitch = new WriteSwitchRedis({
    ...connections,
    ...more,
    startDeadlineMs: 5,
  });
  switches.push(writeSwitch);
  return {
    shards,
    store: new ProposalStoreRedis({ ...connections, keys: [testKeys.proposal] }),
    outbox: new CardOutboxRedis(connections),
    writeSwitch,
    audit: new AuditLogRedis(connections),
  };
}

describe('on one shard', () => writeSwitchContract(async () => storesOn(1)));
describe('on four shards', () => writeSwitchContract(async () => storesOn(4)));

/** Everything as it stands now, to be put back: what a crash leaves that loses the last second. */
async function snapshot(): Promise<() => Promise<void>> {
  const keys = await redis.client.keys('*');
  const dumps = await Promise.all(keys.map((key) => redis.client.dumpBuffer(key)));
  return async () => {
    await redis.flush();
    for (const [i, key] of keys.entries()) {
      const dump = dumps[i];
      if (dump) await redis.client.restore(key, key === '{s0}:armed' ? '5000' : '0', dump);
    }
  };
}

describe('when Redis is not what it was', () => {
  const stateOf = async ({ writeSwitch }: Stores) => (await writeSwitch.read(testContext(), TOOL)).writes;
  const nothingStarts = async (stores: Stores) => {
    const ready = await approved(stores);
    return async (why: string) => {
      expect(await stateOf(stores)).toEqual({ state: 'closed', why });
      expect((await stores.store.create(await freshTerms(stores), ROOMY)).created).toBe('writes_off');
      expect(await stores.store.admit(askFor(ready))).toMatchObject({ ok: false, refusal: 'writes_off' });
      expect((await stores.store.read(ready.terms.id))?.state.status).toBe('approved');
    };
  };

  it.each<[string, string, () => Promise<unknown>]>([
    ['its permit is gone', 'permit_lapsed', () => redis.client.del('{s0}:armed')],
    ['its permit is of another epoch', 'unreadable', () => redis.client.set('{s0}:armed', '1')],
    ['its permit is garbage', 'unreadable', () => redis.client.set('{s0}:armed', 'on')],
    [
      'its permit is of another kind',
      'unreadable',
      async () => {
        await redis.client.del('{s0}:armed');
        await redis.client.rpush('{s0}:armed', 'x');
      },
    ],
    ['its state is garbage', 'unreadable', () => redis.client.hset('{s0}:switch', 'state', 'ON')],
    ['its state is gone', 'never_armed', () => redis.client.hdel('{s0}:switch', 'state')],
    ['its epoch is gone', 'unreadable', () => redis.client.hdel('{s0}:switch', 'epoch')],
    ['its epoch is garbage', 'unreadable', () => redis.client.hset('{s0}:switch', 'epoch', '1e99')],
    ['its epoch is negative', 'unreadable', () => redis.client.hset('{s0}:switch', 'epoch', '-1')],
  ])('[switch:fails-closed] is closed where %s', async (_, why, harm) => {
    const stores = storesOn(1);
    await armed(stores);
    const check = await nothingStarts(stores);
    await harm();
    await check(why);
  });

  it('[switch:fails-closed] is closed where the whole switch is of another kind, and an operator can mend it', async () => {
    const stores = storesOn(1);
    await armed(stores);
    await redis.client.del('{s0}:switch');
    await redis.client.set('{s0}:switch', 'on');
    expect(await stateOf(stores)).toMatchObject({ state: 'closed' });
    expect(await stores.writeSwitch.renewPermits()).toEqual({ renewed: 0, off: 0, forgotten: 0, failed: 1 });
    expect((await stores.writeSwitch.off({ scope: {}, by: OPERATOR })).confirmed).toBe(true);
    await armed(stores);
    expect(await stateOf(stores)).toEqual({ state: 'on' });
  });

  it('[switch:fails-closed] a garbage entry for a scope stops that scope', async () => {
    const stores = storesOn(1);
    await armed(stores);
    await redis.client.hset('{s0}:switch', 'off:tenant=acme', 'garbage');
    expect(await stateOf(stores)).toEqual({ state: 'closed', why: 'unreadable' });
    expect(await stores.store.create(await freshTerms(stores), ROOMY)).toEqual({
      created: 'writes_off',
      entry: undefined,
    });
  });

  it('[switch:fails-closed] a flushed Redis is closed, nothing renews it, and the next epoch is above all before', async () => {
    const stores = storesOn(4);
    await armed(stores);
    const { epoch } = await stores.writeSwitch.status();
    await redis.flush();
    const others = storesOn(4);
    expect(await stateOf(others)).toEqual({ state: 'closed', why: 'never_armed' });
    expect(await others.writeSwitch.renewPermits()).toEqual({ renewed: 0, off: 4, forgotten: 0, failed: 0 });
    const known = await stores.writeSwitch.renewPermits();
    expect(known).toEqual({ renewed: 0, off: 0, forgotten: 4, failed: 0 });
    expect(await stateOf(stores)).toMatchObject({ state: 'closed' });
    await armed(others);
    expect((await others.writeSwitch.status()).epoch).toBeGreaterThan(epoch);
    expect(await stateOf(stores)).toEqual({ state: 'on' });
  });

  it('[switch:fails-closed] a Redis that lost the last flip is not believed by whoever saw it', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const ready = await approved(stores);
    const putBack = await snapshot();
    const executor = storesOn(1);
    const renewing = storesOn(1);
    await stores.writeSwitch.off({ scope: {}, by: OPERATOR, why: 'incident' });
    expect((await renewing.writeSwitch.renewPermits()).off).toBe(1);
    await executor.store.create(await freshTerms(executor), ROOMY);
    await putBack();

    // It turned nothing off itself: it has renewed meanwhile, and that told it.
    expect((await renewing.writeSwitch.renewPermits()).forgotten).toBe(1);
    expect(await stores.writeSwitch.renewPermits()).toEqual({ renewed: 0, off: 0, forgotten: 1, failed: 0 });
    expect(await stateOf(stores)).toEqual({ state: 'closed', why: 'unreadable' });
    expect(await executor.store.admit(askFor(ready))).toMatchObject({ ok: false, refusal: 'writes_off' });
    await armed(stores);
    expect(await stateOf(stores)).toEqual({ state: 'on' });
  });

  it('an executor that was admitted at a later epoch refuses an earlier one', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const old = await approved(stores);
    const before = await redis.client.dumpBuffer('{s0}:switch');
    await stores.writeSwitch.off({
      scope: { tenant: testContext({ tenant: 'globex' }).tenant },
      by: OPERATOR,
    });
    expect((await stores.store.admit(askFor(await approved(stores)))).ok).toBe(true);
    const { epoch } = await stores.writeSwitch.status();
    if (!before) throw new Error('no dump');
    await redis.client.restore('{s0}:switch', '0', before, 'REPLACE');
    await redis.client.set(
      '{s0}:armed',
      String((await redis.client.hget('{s0}:switch', 'epoch')) ?? ''),
      'PX',
      5_000,
    );
    expect(Number(await redis.client.get('{s0}:armed'))).toBeLessThan(epoch);
    expect(await stores.store.admit(askFor(old))).toMatchObject({ ok: false, refusal: 'writes_off' });
    // One that never heard of it cannot know.
    expect((await storesOn(1).store.admit(askFor(old))).ok).toBe(true);
  });

  it('[switch:dead-man] with nobody left to renew it, the permit ends by itself, and comes back with whoever renews', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const life = await redis.client.pttl('{s0}:armed');
    expect(life).toBeGreaterThan(0);
    expect(life).toBeLessThanOrEqual(5_000);
    const check = await nothingStarts(stores);
    // What the rest of its life would do, without waiting for it.
    await redis.client.pexpire('{s0}:armed', 1);
    await expect.poll(() => redis.client.exists('{s0}:armed')).toBe(0);
    await check('permit_lapsed');
    expect((await stores.writeSwitch.status()).state).toBe('closed');
    await stores.writeSwitch.renewPermits();
    expect(await stateOf(stores)).toEqual({ state: 'on' });
    expect(await redis.client.pttl('{s0}:armed')).toBeGreaterThan(4_000);
  });

  it('a flip of one scope does not lengthen the life of the permit', async () => {
    const stores = storesOn(1);
    await armed(stores);
    await redis.client.pexpire('{s0}:armed', 3_000);
    await stores.writeSwitch.off({ scope: { tenant: testContext().tenant }, by: OPERATOR });
    expect(await redis.client.pttl('{s0}:armed')).toBeLessThanOrEqual(3_000);
    expect(await stores.writeSwitch.read(testContext({ tenant: 'globex' }), TOOL)).toMatchObject({
      writes: { state: 'on' },
    });
  });

  it('names the same scopes in Lua as the core does', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const context = testContext({ agent: 'a.b-c_d', environment: 'staging-2' });
    for (const key of scopeKeysCovering(context, TOOL)) {
      await redis.client.hset('{s0}:switch', `off:${key}`, 'x');
      expect((await stores.writeSwitch.read(context, TOOL)).writes).toEqual({
        state: 'closed',
        why: 'unreadable',
      });
      await redis.client.hdel('{s0}:switch', `off:${key}`);
    }
    expect((await stores.writeSwitch.read(context, TOOL)).writes).toEqual({ state: 'on' });
  });
});

describe('an off that is not confirmed', () => {
  it('stops what it reaches, says so, and goes on until every shard confirms', async () => {
    const stores = storesOn(4);
    await armed(stores);
    await redis.client.rename('{s2}:audit', 'aside');
    await redis.client.set('{s2}:audit', 'garbage');
    const answer = await stores.writeSwitch.off({ scope: {}, by: OPERATOR, why: 'incident' });
    expect(answer).toMatchObject({ confirmed: false, confirmedShards: 3, shards: 4 });
    // Stopping does not wait for recording.
    expect(await redis.client.exists('{s2}:armed')).toBe(0);
    await redis.client.rename('aside', '{s2}:audit');
    expect(await answer.confirming).toMatchObject({
      confirmed: true,
      confirmedShards: 4,
      since: answer.since,
    });
    const [everything] = (await stores.writeSwitch.status()).off;
    expect(everything).toMatchObject({ by: OPERATOR, why: 'incident' });
    const flips = (await stores.audit.read({ limit: 100 })).filter(({ kind }) => kind === 'switch.off');
    expect(flips).toHaveLength(4);
  });

  it('is heard also where Redis is gone when it is typed, and is done when Redis is back', async () => {
    const stores = storesOn(1);
    await armed(stores);
    await redis.server.stop();
    const answer = await stores.writeSwitch
      .off({ scope: {}, by: OPERATOR })
      .finally(() => redis.server.restart());
    expect(answer).toMatchObject({ confirmed: false, confirmedShards: 0 });
    expect(await answer.confirming).toMatchObject({ confirmed: true });
    expect(await stores.writeSwitch.read(testContext(), TOOL)).toMatchObject({ writes: { state: 'off' } });
  });

  it('gives way to an operator who turned it on since', async () => {
    const stores = storesOn(4);
    await armed(stores);
    await redis.client.rename('{s2}:audit', 'aside');
    await redis.client.set('{s2}:audit', 'garbage');
    const answer = await stores.writeSwitch.off({ scope: {}, by: OPERATOR });
    await redis.client.rename('aside', '{s2}:audit');
    await armed(storesOn(4));
    expect(await answer.confirming).toBe(undefined);
    expect((await stores.writeSwitch.status()).state).toBe('on');
  });

  it('two of them do not take turns', async () => {
    const [one, two] = [storesOn(4), storesOn(4)];
    await armed(one);
    await redis.client.rename('{s2}:audit', 'aside');
    await redis.client.set('{s2}:audit', 'garbage');
    const first = await one.writeSwitch.off({ scope: {}, by: 'cli:one' });
    const second = await two.writeSwitch.off({ scope: {}, by: 'cli:two' });
    const { epoch } = await two.writeSwitch.status();
    await redis.client.rename('aside', '{s2}:audit');
    expect(await first.confirming).toMatchObject({ confirmed: true });
    expect(await second.confirming).toMatchObject({ confirmed: true });
    expect((await two.writeSwitch.status()).epoch).toBeLessThanOrEqual(epoch + 1);
  });

  it('leaves halting that a crash cut short to whoever renews permits', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const ready = await approved(stores);
    const key = proposalKey(ready.terms.id);
    const [proposal, index] = [
      await redis.client.dumpBuffer(key),
      await redis.client.dumpBuffer('{s0}:ready'),
    ];
    if (!proposal || !index) throw new Error('no dump');
    const { epoch } = await stores.writeSwitch.off({ scope: {}, by: OPERATOR, why: 'incident' });
    expect(await redis.client.exists('{s0}:halting')).toBe(0);
    // As it would stand had the process died between the flip and the halting, a while ago.
    await redis.client.restore(key, '0', proposal, 'REPLACE');
    await redis.client.restore('{s0}:ready', '0', index, 'REPLACE');
    await redis.client.hset('{s0}:halting', '*', `${epoch} ${(await stores.store.now()) - 10_000}`);
    await storesOn(1).writeSwitch.renewPermits();
    expect((await stores.store.read(ready.terms.id))?.state).toMatchObject({
      status: 'halted',
      cause: { by: OPERATOR, why: 'incident' },
    });
    expect(await redis.client.exists('{s0}:halting')).toBe(0);
  });

  it('is halting once, however often permits are renewed meanwhile', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const { epoch } = await stores.writeSwitch.off({ scope: {}, by: OPERATOR, why: 'incident' });
    await redis.client.hset('{s0}:halting', '*', `${epoch} ${(await stores.store.now()) - 10_000}`);
    const looks = async () =>
      Number(/cmdstat_zrange:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1] ?? 0);
    const before = await looks();
    await Promise.all(Array.from({ length: 10 }, () => stores.writeSwitch.renewPermits()));
    // Of what is pending, of what is approved and of what is executing.
    expect((await looks()) - before).toBe(3);
    expect(await redis.client.exists('{s0}:halting')).toBe(0);
  });

  it('does not halt what was sealed after it came back on', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const { epoch } = await stores.writeSwitch.off({ scope: {}, by: OPERATOR });
    await armed(stores);
    const fresh = await proposed(stores);
    await redis.client.hset('{s0}:halting', '*', `${epoch} 1`);
    await stores.writeSwitch.renewPermits();
    expect((await stores.store.read(fresh.terms.id))?.state.status).toBe('pending');
  });
});

describe('with more waiting than an answer may wait for', () => {
  const MANY = 450;

  /** Only so many batches of two hundred are halted until more are let through; of all, one may start, and one runs. */
  async function gated(through: number) {
    const client = redis.connect();
    const batches = { through, began: 0, sent: [] as string[] };
    onTestFinished(() => {
      batches.through = MANY;
    });
    const stores = storesOn(1, client, {
      haltedWithinMs: 20,
      async beforeBatch() {
        batches.began += 1;
        for (const nth = batches.began; nth > batches.through; ) await sleep(1);
      },
    });
    await armed(stores);
    const waiting = await Promise.all(
      Array.from({ length: MANY }, () => proposed(stores, { rule: { quorum: 2 } })),
    );
    const mayStart = await approved(stores);
    const runs = await admitted(stores);
    const evalsha = client.evalsha.bind(client) as (...args: unknown[]) => Promise<unknown>;
    client.evalsha = (async (...args: unknown[]) => {
      const ask = args.find((arg) => String(arg).includes('"ids":['));
      if (ask !== undefined) batches.sent.push(...(JSON.parse(String(ask)) as { ids: string[] }).ids);
      return evalsha(...args);
    }) as typeof client.evalsha;
    return { stores, waiting, mayStart, runs, batches };
  }
  const off = ({ writeSwitch }: Stores) => writeSwitch.off({ scope: {}, by: OPERATOR });
  /** Over is the time after which others go on with it. */
  const graceIsOver = async ({ store }: Stores, epoch: number) =>
    redis.client.hset('{s0}:halting', '*', `${epoch} ${(await store.now()) - 10_000}`);

  it('[switch:off-means-no-start] off answers before each of them is halted, and none can start', async () => {
    const { stores, waiting, mayStart, runs, batches } = await gated(0);
    const [voted, ...rest] = waiting as [SealedTerms, ...SealedTerms[]];
    const answer = await off(stores);
    expect(answer).toMatchObject({ confirmed: true, halted: [], executing: [], complete: false });
    // Whoever touches one halts it.
    expect((await stores.store.admit(askFor(mayStart))).ok).toBe(false);
    expect((await stores.store.decide(signedDecision(voted, 'approve'))).ok).toBe(false);
    batches.through = MANY;
    const found = await answer.halting;
    expect([...(found?.halted ?? [])].sort()).toEqual(rest.map(({ terms }) => terms.id).sort());
    expect(found).toMatchObject({ executing: [runs.sealed.terms.id], complete: true });
    expect(await stores.writeSwitch.status()).toMatchObject({ pending: 0, approved: 0, executing: 1 });
    expect(await redis.client.exists('{s0}:halting')).toBe(0);
  });

  it('looks first at what runs, and then at what might have started', async () => {
    const { stores, mayStart, runs, batches } = await gated(MANY);
    const { halting } = await off(stores);
    await halting;
    expect(batches.sent.slice(0, 2)).toEqual([runs.sealed.terms.id, mayStart.terms.id]);
    expect(batches.sent).toHaveLength(MANY + 2);
  });

  it('renews permits while it halts', async () => {
    const { stores, batches } = await gated(1);
    const { epoch, halting } = await off(stores);
    await expect.poll(() => batches.began).toBe(2);
    await graceIsOver(stores, epoch);
    await stores.writeSwitch.renewPermits();
    expect(batches.began).toBe(2);
    batches.through = MANY;
    expect(await halting).toMatchObject({ complete: true });
  });

  it('is gone on with by others only once it stands still', async () => {
    const { stores, batches } = await gated(0);
    const { epoch, halting } = await off(stores);
    await graceIsOver(stores, epoch);
    batches.through = 1;
    await expect.poll(() => batches.began).toBe(2);
    const { pending } = await stores.writeSwitch.status();
    const other = storesOn(1);
    await other.writeSwitch.renewPermits();
    expect((await stores.writeSwitch.status()).pending).toBe(pending);
    await graceIsOver(stores, epoch);
    await other.writeSwitch.renewPermits();
    expect((await stores.writeSwitch.status()).pending).toBe(0);
    batches.through = MANY;
    expect(await halting).toMatchObject({ complete: true });
  });

  it('is left to others where the process stops meanwhile', async () => {
    const { stores, waiting, batches } = await gated(1);
    const { epoch, halting } = await off(stores);
    await expect.poll(() => batches.began).toBe(2);
    let isOver = false;
    void halting?.finally(() => {
      isOver = true;
    });
    const stopped = stores.writeSwitch.stop();
    batches.through = MANY;
    await stopped;
    expect(isOver).toBe(true);
    const found = await halting;
    expect(found).toMatchObject({ complete: false });
    const { pending } = await stores.writeSwitch.status();
    expect(pending).toBeGreaterThan(0);
    expect(pending + (found?.halted.length ?? 0)).toBe(waiting.length + 1);
    await graceIsOver(stores, epoch);
    await storesOn(1).writeSwitch.renewPermits();
    expect(await stores.writeSwitch.status()).toMatchObject({ pending: 0, approved: 0, executing: 1 });
  });

  it('is not complete where Redis goes away meanwhile', async () => {
    const { stores, batches } = await gated(1);
    const { halting } = await off(stores);
    await redis.server.kill9();
    onTestFinished(() => redis.server.restart());
    batches.through = MANY;
    expect(await halting).toMatchObject({ complete: false });
  });
});

describe('turned on while somebody else flips it', () => {
  it('[switch:fails-closed] says that it is not confirmed where it is on in some shards alone, and off to whoever asks', async () => {
    const client = redis.connect();
    const stores = storesOn(4, client);
    await armed(stores);
    const { epoch } = await stores.writeSwitch.off({ scope: {}, by: OPERATOR });
    const evalsha = client.evalsha.bind(client) as (...args: unknown[]) => Promise<unknown>;
    let flips = 0;
    client.evalsha = (async (...args: unknown[]) => {
      const answer = await evalsha(...args);
      // Shard 0 has just been turned on; a flip that began elsewhere has come to shard 2 and not to it.
      if (Array.isArray(answer) && answer[0] === 'on') {
        flips += 1;
        if (flips === 1) await redis.client.hset('{s2}:switch', 'epoch', epoch + 5);
      }
      return answer;
    }) as typeof client.evalsha;
    const turnOn = (expectedEpoch: number) =>
      stores.writeSwitch.on({ scope: {}, by: OPERATOR, why: 'prompt fixed', expectedEpoch });

    expect(await turnOn(epoch)).toEqual({ ok: false, refusal: 'not_confirmed', confirmedShards: 3 });
    const status = await stores.writeSwitch.status();
    expect(status).toMatchObject({ state: 'off', answered: 4, epoch: epoch + 5 });
    expect(await turnOn(epoch)).toMatchObject({ ok: false, refusal: 'epoch_moved' });
    expect(await turnOn(status.epoch)).toMatchObject({ ok: true });
    expect(await stores.writeSwitch.status()).toMatchObject({ state: 'on' });
  });
});

describe('with a replica', () => {
  let directory = '';
  let replica: EmbeddedRedis;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'cs-test-replica-'));
    replica = await startEmbeddedRedis({
      directory,
      appendOnly: 'everysec',
      extraArgs: ['--replicaof', '127.0.0.1', String(port)],
    });
  });
  afterAll(async () => {
    await replica.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it('is confirmed only once the replica holds it', async () => {
    const reader = new Redis(replica.connectionOptions);
    onTestFinished(() => reader.disconnect());
    const inSync = async () => (await reader.info('replication')).includes('master_link_status:up');
    await expect.poll(inSync, { timeout: 20_000, interval: 200 }).toBe(true);
    const stores = storesOn(1);
    await armed(stores);
    expect(await stores.writeSwitch.off({ scope: {}, by: OPERATOR })).toMatchObject({ confirmed: true });
    expect(await reader.hget('{s0}:switch', 'state')).toBe('off');

    await armed(stores);
    process.kill(replica.pid, 'SIGSTOP');
    const answer = await stores.writeSwitch
      .off({ scope: {}, by: OPERATOR })
      .finally(() => process.kill(replica.pid, 'SIGCONT'));
    expect(answer).toMatchObject({ confirmed: false, confirmedShards: 0 });
    expect(await answer.confirming).toMatchObject({ confirmed: true });
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
