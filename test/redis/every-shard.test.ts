import { describe, expect, it } from 'vitest';
import { TenantId } from '../../src/core/identity/ids.ts';
import { shardOfProposal, shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { DamagedShards } from '../../src/redis/damaged-shards.ts';
import { EveryShard } from '../../src/redis/every-shard.ts';
import { FoldingRedis } from '../../src/redis/folding-redis.ts';
import { shardKey } from '../../src/redis/keys.ts';
import { PreviewTasksRedis } from '../../src/redis/preview-tasks-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { SwitchNoticesRedis } from '../../src/redis/switch-notices-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { armed, proposed } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';

const redis = redisForTests();
const SHARDS = 4;
const DAMAGED = 1;
const LEASE_MS = 60_000;

/** One of each shard. */
const tenants = Array.from({ length: SHARDS }, (_, shard) => {
  for (let n = 0; ; n += 1) {
    const tenant = TenantId.parse(`tenant-${n}`);
    if (shardOfTenant(tenant, SHARDS) === shard) return tenant;
  }
});

function parts() {
  const client = redis.connect();
  const given = { redis: client, shards: SHARDS };
  const keys = [testKeys.proposal] as const;
  const told: string[] = [];
  DamagedShards.of(client).tell({
    damaged: (shard, look) => told.push(`${shard}: ${look}`),
    mended: (shard) => told.push(`${shard} is mended`),
  });
  return {
    shards: SHARDS,
    store: new ProposalStoreRedis({ ...given, keys }),
    outbox: new CardOutboxRedis({ ...given, subscriber: redis.connect() }),
    previews: new PreviewTasksRedis({ ...given, keys }),
    folding: new FoldingRedis(given),
    notices: new SwitchNoticesRedis(given),
    writeSwitch: new WriteSwitchRedis(given),
    audit: new AuditLogRedis(given),
    damaged: DamagedShards.of(client),
    told,
  };
}

/** What is there is put aside, and something stands in its place; answers with how to put it back. */
async function damage(shard: number): Promise<() => Promise<unknown>> {
  const key = shardKey(shard, 'pending');
  await redis.client.rename(key, `${key}:aside`);
  await redis.client.set(key, 'no index of ours');
  return () => redis.client.rename(`${key}:aside`, key);
}

describe('one shard of four that somebody else wrote to', () => {
  it('stops none of the others, is said once, and goes on where it was when it is mended', async () => {
    const { store, outbox, previews, folding, notices, damaged, told, ...others } = parts();
    await armed(others);
    const calls: Awaited<ReturnType<typeof proposed>>[] = [];
    for (const tenant of tenants) {
      const overrides = { context: { tenant }, rule: { expiresInMs: 1 } };
      calls.push(await proposed({ store, outbox, ...others }, overrides));
    }
    const ids = calls.map(({ terms }) => terms.id);
    const healthy = ids.filter((id) => shardOfProposal(id) !== DAMAGED);
    const mend = await damage(DAMAGED);

    const claimed = await outbox.claim(10, LEASE_MS);
    expect(claimed.claims.map(({ id }) => id).sort()).toEqual([...healthy].sort());
    expect((await previews.claim(10, LEASE_MS)).map(({ id }) => id).sort()).toEqual([...healthy].sort());
    expect(await folding.claimDigests(10, LEASE_MS)).toEqual([]);
    expect((await notices.claim(10, LEASE_MS)).map(({ shard }) => shard)).toEqual([0, 2, 3]);
    expect(await store.claimAttestations(10)).toEqual([]);
    await outbox.repair();
    expect((await store.pending({ limit: 10 })).sort()).toEqual([...healthy].sort());
    await expect.poll(async () => (await store.due(10)).expired.length).toBe(healthy.length);
    for (const id of healthy) expect(await store.expire(id)).toBe('settled');

    expect(damaged.standing).toEqual([DAMAGED]);
    const looks = [...told];
    expect(looks).toHaveLength(8);
    for (const look of looks) expect(look).toMatch(/^1: /);
    await store.due(10);
    await outbox.claim(10, LEASE_MS);
    expect(told).toEqual(looks);

    await mend();
    expect((await store.due(10)).expired).toEqual([ids[DAMAGED]]);
    expect(await store.expire(ids[DAMAGED] as (typeof ids)[number])).toBe('settled');
    expect((await previews.claim(10, LEASE_MS)).length).toBe(0);
    expect((await outbox.claim(10, LEASE_MS)).claims.map(({ id }) => id)).toContain(ids[DAMAGED]);
    expect((await notices.claim(10, LEASE_MS)).map(({ shard }) => shard)).toEqual([DAMAGED]);
    expect(damaged.standing).toEqual([DAMAGED]);
    await Promise.all([
      folding.claimDigests(10, 1),
      store.claimAttestations(10),
      store.pending({ limit: 1 }),
    ]);
    await outbox.repair();
    expect(damaged.standing).toEqual([]);
    expect(told.slice(looks.length)).toEqual(['1 is mended']);
  });

  it('is told by the error where there is no other', async () => {
    const store = new ProposalStoreRedis({ redis: redis.connect(), shards: 1, keys: [testKeys.proposal] });
    await redis.client.set(shardKey(0, 'pending'), 'no index of ours');
    await expect(store.due(10)).rejects.toMatchObject({ code: 'store_damaged' });
  });

  it('takes its turn in channels from nobody: they belong to tenants of every shard', async () => {
    const { outbox } = parts();
    for (let shard = 0; shard < SHARDS; shard += 1) await redis.client.set(shardKey(shard, 'pending'), 'x');
    expect(await outbox.turn('a channel', { burst: 1, everyMs: 60_000 })).toBe(0);
    expect(await outbox.turn('a channel', { burst: 1, everyMs: 60_000 })).toBeGreaterThan(0);
  });
});

describe('a claim in turn', () => {
  const look = () => new EveryShard(redis.connect(), SHARDS, 'what a test looks at');

  it('asks the next shards while one does not answer, and gives what that one says after all', async () => {
    let answer = (_: string[]) => {};
    const slow = new Promise<string[]>((resolve) => {
      answer = resolve;
    });
    const claimed = await look().inTurn(10, async (shard) => {
      if (shard === 0) return slow;
      if (shard === SHARDS - 1) answer(['late']);
      return [`of ${shard}`];
    });
    expect(claimed).toEqual(['late', 'of 1', 'of 2', 'of 3']);
  });

  it('passes over shards that are away, and fails where all are', async () => {
    const away = new StoreUnavailable('away');
    const claimed = await look().inTurn(10, async (shard) => {
      if (shard !== 2) throw away;
      return ['of 2'];
    });
    expect(claimed).toEqual(['of 2']);
    await expect(look().inTurn(10, () => Promise.reject(away))).rejects.toBe(away);
  });

  it('asks for what is still wanted, of nobody once it has it, and begins with another shard each time', async () => {
    const claiming = look();
    const asked: [shard: number, limit: number][] = [];
    for (let i = 0; i < 3; i += 1) {
      const claimed = await claiming.inTurn(3, async (shard, limit) => {
        asked.push([shard, limit]);
        return ['one', 'two'].slice(0, limit);
      });
      expect(claimed).toHaveLength(3);
    }
    expect(asked).toEqual([
      [0, 3],
      [1, 1],
      [1, 3],
      [2, 1],
      [2, 3],
      [3, 1],
    ]);
  });
});
