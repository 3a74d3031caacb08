import { describe, expect, it } from 'vitest';
import type { Installation } from '../../src/core/workspace/installation.ts';
import { tokenKeysOf } from '../../src/core/workspace/token-keys.ts';
import { InstallationStoreRedis } from '../../src/redis/installation-store-redis.ts';
import { INSTALLATIONS_KEY, onceKey } from '../../src/redis/keys.ts';
import { OnceMemoryRedis } from '../../src/redis/once-memory-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();
const keyOf = (fill: number) => new Uint8Array(32).fill(fill);

function storeWith(fills: readonly number[] = [1], app = '123.456'): InstallationStoreRedis {
  const keys = tokenKeysOf(fills.map(keyOf));
  return new InstallationStoreRedis({ redis: redis.client, subscriber: redis.connect(), keys, app });
}

function installation(team: string, token = 'xoxb-secret-1'): Installation {
  return {
    v: 1,
    team,
    name: 'Acme',
    url: 'https://acme.slack.com/',
    botUser: 'U0BOT',
    installedBy: 'U0ANA',
    installedAt: 1,
    state: { status: 'live', token },
  };
}

describe('installations in Redis', () => {
  it('are sealed anew with the new key, so that the old one can be taken away', async () => {
    await storeWith([1]).put(installation('T0ACME'));
    await storeWith([1, 2]).put(installation('T0GLOBEX', 'xoxb-secret-2'));
    // Everybody opens both by now; whoever starts with the new one first seals with it.
    expect(await storeWith([2, 1]).sealAnew()).toBe(2);
    expect(await storeWith([2, 1]).sealAnew()).toBe(0);
    const { readable, unreadable } = await storeWith([2]).all();
    expect(readable.map((stored) => stored.installation.team).sort()).toEqual(['T0ACME', 'T0GLOBEX']);
    expect(unreadable).toEqual([]);
    expect((await storeWith([1]).all()).unreadable).toHaveLength(2);
  });

  it('are read as they were written, and hold no token in the clear', async () => {
    await storeWith().put(installation('T0ACME'));
    expect((await storeWith().all()).readable).toMatchObject([{ installation: installation('T0ACME') }]);
    expect(JSON.stringify(await redis.client.hgetall(INSTALLATIONS_KEY))).not.toContain('xoxb');
  });

  it('are not readable under another workspace or another app, with another key, or cut', async () => {
    const store = storeWith();
    await store.put(installation('T0ACME'));
    const box = (await redis.client.hget(INSTALLATIONS_KEY, 'T0ACME')) ?? '';
    await redis.client.hset(INSTALLATIONS_KEY, { T0GLOBEX: box, T0CUT: box.slice(0, -8), 'T0{x}:y': box });
    const { readable, unreadable } = await store.all();
    expect(readable.map((stored) => stored.installation.team)).toEqual(['T0ACME']);
    expect(unreadable).toEqual(
      expect.arrayContaining([
        { team: 'T0GLOBEX', why: 'not_genuine' },
        { team: 'T0CUT', why: 'form' },
        { team: 'T0{x}:y', why: 'form' },
      ]),
    );
    expect(await store.read('T0GLOBEX')).toBeUndefined();
    expect(await storeWith([1], '999.456').read('T0ACME')).toBeUndefined();
    expect((await storeWith([2]).all()).unreadable).toContainEqual({ team: 'T0ACME', why: 'unknown_key' });
    expect(await storeWith([2, 1]).read('T0ACME')).toBeDefined();
  });

  it('are replaced by one of many, and never over somebody else', async () => {
    const store = storeWith();
    await store.put(installation('T0ACME'));
    const stored = await store.read('T0ACME');
    if (stored === undefined) throw new Error('it was put');
    const tries = Array.from({ length: 20 }, (_, n) =>
      store.replace(stored, installation('T0ACME', `xoxb-${n}`)),
    );
    const done = (await Promise.all(tries)).filter((one) => one !== undefined);
    expect(done).toHaveLength(1);
    expect(await store.replace(stored, installation('T0ACME'))).toBeUndefined();
    await expect(store.replace(stored, installation('T0GLOBEX'))).rejects.toThrow('stays with its workspace');
  });

  it('are told to everybody who listens', async () => {
    let heard = 0;
    const stop = await storeWith().onChanged(() => {
      heard += 1;
    });
    await storeWith().put(installation('T0ACME'));
    await expect.poll(() => heard).toBe(1);
    await stop();
  });
});

describe('what happens once', () => {
  it('happens once over all replicas, and is forgotten in time', async () => {
    const replicas = Array.from({ length: 5 }, () => new OnceMemoryRedis({ redis: redis.connect() }));
    const first = await Promise.all(replicas.map((memory) => memory.firstTime('a request', 60_000)));
    expect(first.filter(Boolean)).toHaveLength(1);
    const [memory] = replicas;
    expect(await memory?.firstTime('another', 30)).toBe(true);
    await expect.poll(() => memory?.firstTime('another', 30)).toBe(true);
    const taken = await Promise.all(replicas.map((replica) => replica.take('a request')));
    expect(taken.filter(Boolean)).toHaveLength(1);
  });

  it('is remembered also where Redis is full: the click that is heard may be an off', async () => {
    const memory = new OnceMemoryRedis({ redis: redis.client });
    await redis.client.config('SET', 'maxmemory', '1');
    try {
      expect(await memory.firstTime('off', 60_000)).toBe(true);
      expect(await memory.firstTime('off', 60_000)).toBe(false);
    } finally {
      await redis.client.config('SET', 'maxmemory', '0');
    }
    expect(await redis.client.pttl(onceKey('off'))).toBeGreaterThan(0);
  });
});
