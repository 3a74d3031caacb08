import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createGuard } from '../../src/create-guard.ts';
import { agreeOnShards, standingShards } from '../../src/redis/connection.ts';
import { SHARD_COUNT_KEY } from '../../src/redis/keys.ts';
import { redisForTests } from '../redis-for-tests.ts';

/** Parts of one installation that were configured differently. */

const redis = redisForTests();

describe('the number of shards', () => {
  it('is that of the part that starts first; any other number is refused, with what to do', async () => {
    expect(await standingShards(redis.client)).toBeUndefined();
    await agreeOnShards(redis.client, 4);
    await agreeOnShards(redis.client, 4);
    expect(await standingShards(redis.client)).toBe(4);
    for (const other of [1, 16]) {
      await expect(agreeOnShards(redis.client, other)).rejects.toMatchObject({
        code: 'redis_unfit',
        message: expect.stringMatching(/SHARDS.*redis-cli DEL '\{s0\}:shards'/s),
      });
    }
    expect(await standingShards(redis.client)).toBe(4);
  });

  it('is agreed on by guards, too', async () => {
    await agreeOnShards(redis.client, 4);
    const guard = createGuard({
      policy: 'tools: { allow: [] }',
      tools: [],
      redis: redis.connectionOptions,
      proposalKey: randomBytes(32),
      shards: 2,
      logger: pino({ level: 'silent' }),
    });
    await expect(guard.ready()).rejects.toMatchObject({ code: 'redis_unfit' });
    await guard.close();
  });

  it.each(['0', '-1', '1e3', 'nan', '', '4\u0000', '99999'])(
    '%j in Redis is no number of shards',
    async (text) => {
      await redis.client.set(SHARD_COUNT_KEY, text);
      expect(await standingShards(redis.client)).toBeUndefined();
      await expect(agreeOnShards(redis.client, 1)).rejects.toMatchObject({ code: 'redis_unfit' });
    },
  );
});
