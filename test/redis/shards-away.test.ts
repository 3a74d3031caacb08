import { describe, expect, it } from 'vitest';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { shardKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';

const redis = redisForTests();
const SHARDS = 3;

describe('one shard of several that something else wrote to', () => {
  it('is heard of, whatever the others answer', async () => {
    const given = { redis: redis.client, shards: SHARDS };
    const store = new ProposalStoreRedis({ ...given, keys: [testKeys.proposal] });
    const outbox = new CardOutboxRedis({ ...given, subscriber: redis.connect() });
    expect(await store.due(10)).toEqual({ ready: [], expired: [], lapsed: [], timers: [] });
    await redis.client.set(shardKey(1, 'pending'), 'no index of ours');
    await expect(store.due(10)).rejects.toMatchObject({ code: 'store_damaged' });
    await expect(outbox.repair()).rejects.toMatchObject({ code: 'store_damaged' });
  });
});
