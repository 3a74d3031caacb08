import { describe, expect, it } from 'vitest';
import { comparePlaces } from '../../src/core/audit/audit-stream.ts';
import { ChainName } from '../../src/core/audit/sealed-line.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { AuditStreamRedis } from '../../src/redis/audit-stream-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();
const LEASE_MS = 60_000;
const stream = (leaseMs = LEASE_MS) => new AuditStreamRedis({ redis: redis.client, shards: 2, leaseMs });
const HEAD = 'a'.repeat(64);
const sealedAt = (place: string) => ({
  through: place,
  entries: 1,
  chains: new Map([[ChainName.parse('acme'), { count: 7, head: HEAD, seq: 6 }]]),
});

async function claimed(above = 0, leaseMs = LEASE_MS): Promise<number> {
  const claim = await stream(leaseMs).claim(above);
  if (claim === 'held') throw new Error('somebody else holds it');
  return claim.fence;
}

describe('the lease', () => {
  it('is one sealer’s, until it gives it back', async () => {
    const fence = await claimed();
    expect(await stream().claim(0)).toBe('held');
    await stream().release(fence);
    expect(await claimed()).toBeGreaterThan(fence);
  });

  it('is given to 1 of 20 at a time, each time with a higher fence', async () => {
    let last = 0;
    for (let round = 0; round < 10; round += 1) {
      const claims = await Promise.all(Array.from({ length: 20 }, () => stream().claim(0)));
      const [won, ...more] = claims.flatMap((claim) => (claim === 'held' ? [] : [claim.fence]));
      expect(more).toEqual([]);
      expect(won).toBeGreaterThan(last);
      last = won ?? 0;
      await stream().release(last);
    }
  });

  it('lapses, and may be renewed as long as nobody took it', async () => {
    const fence = await claimed(0, 1);
    await expect.poll(async () => stream().renew(fence)).toMatchObject({ now: expect.any(Number) });
    expect(await stream().claim(0)).toBe('held');
    await stream(1).renew(fence);
    await expect.poll(() => stream().claim(0)).not.toBe('held');
    expect(await stream().renew(fence)).toBe('replaced');
    await stream().release(fence);
    expect(await stream().claim(0)).toBe('held');
  });

  it('has a fence above what the caller has seen, and above what stood there, to the last digit', async () => {
    const far = (await claimed()) + 24 * 60 * 60 * 1_000_000;
    await redis.client.hset('{s0}:audit-sealer', 'until', '0');
    expect(await claimed(far)).toBe(far + 1);
    await redis.client.hset('{s0}:audit-sealer', 'until', '0');
    expect(await claimed()).toBe(far + 2);
  });

  it.each(['999999999999999', 'nan', '-1', 'x'])(
    'is not held for ever by whoever wrote %s there',
    async (until) => {
      await redis.client.hset('{s0}:audit-sealer', 'until', until, 'fence', 'x');
      expect(await stream().claim(0)).not.toBe('held');
    },
  );
});

describe('the fence', () => {
  it('lets nobody move on, trim or begin who was replaced', async () => {
    const audit = new AuditLogRedis({ redis: redis.client, shards: 2 });
    await audit.append({ kind: 'call.forbidden', tenant: undefined, detail: {} });
    const [item] = await stream().read(0, undefined, 10);
    const place = item?.place ?? '';
    const old = await claimed();
    await stream().begin(0, old);
    await stream().release(old);
    const fence = await claimed();
    // Until the new one has begun here, the old one may still record what it has written.
    expect(await stream().advance(0, old, sealedAt(place))).toEqual({ backlog: 0 });
    expect(await stream().begin(0, fence)).toEqual({ through: place, chains: sealedAt(place).chains });
    const before = await redis.client.hgetall('{s0}:audit-sealed');
    expect(await stream().advance(0, old, sealedAt(place))).toBe('replaced');
    expect(await stream().trim(0, old, place)).toBe('replaced');
    expect(await stream().begin(0, old)).toEqual({ higher: fence });
    expect(await redis.client.hgetall('{s0}:audit-sealed')).toEqual(before);
    expect(await stream().advance(0, fence, sealedAt(place))).toEqual({ backlog: 0 });
  });

  it('is gone with a Redis that was emptied: whoever sealed has to begin anew', async () => {
    const fence = await claimed();
    await stream().begin(1, fence);
    await redis.flush();
    expect(await stream().advance(1, fence, sealedAt('s1/1-1'))).toBe('replaced');
    expect(await stream().renew(fence)).toBe('replaced');
    expect(await stream().begin(1, await claimed())).toEqual({ through: undefined, chains: new Map() });
  });
});

it('a fence of the far future is nobody’s: sealing goes on', async () => {
  const highest = '9007199254740991';
  await redis.client.hset('{s0}:audit-sealer', 'fence', highest);
  await redis.client.hset('{s0}:audit-sealed', 'fence', highest);
  const fence = await claimed(Number(highest));
  expect(fence).toBeLessThan((Date.now() + 60_000) * 1_000);
  expect(await stream().begin(0, fence)).toEqual({ through: undefined, chains: new Map() });
});

describe('what a shard remembers', () => {
  it('cannot be read where somebody else wrote it, and is then forgotten', async () => {
    await redis.client.hset('{s0}:audit-sealed', {
      fence: 'x',
      through: '../1',
      'chain:acme': 'a b c',
      'chain:../etc': `1 ${HEAD} 1`,
      'chain:globex': `3 ${HEAD} 2`,
    });
    expect(await stream().begin(0, await claimed())).toEqual({
      through: undefined,
      chains: new Map([['globex', { count: 3, head: HEAD, seq: 2 }]]),
    });
  });

  it('is moved on also where Redis has no memory left: sealing is what makes room', async () => {
    await redis.client.xadd('{s0}:audit', '1-1', 'a', 'x'.repeat(1_000));
    await redis.client.xadd('{s0}:audit', '2-1', 'a', 'x'.repeat(1_000));
    await redis.client.config('SET', 'maxmemory', '1');
    try {
      const fence = await claimed();
      await stream().begin(0, fence);
      expect(await stream().read(0, undefined, 10)).toHaveLength(2);
      expect(await stream().advance(0, fence, sealedAt('s0/1-1'))).toEqual({ backlog: 1 });
      expect(await stream().trim(0, fence, 's0/2-1')).toEqual({ removed: 1 });
      expect(await redis.client.xlen('{s0}:audit')).toBe(1);
    } finally {
      await redis.client.config('SET', 'maxmemory', '0');
    }
  });
});

it('reads a stream of large entries in parts, each with one at least, to the last possible place', async () => {
  for (let i = 1; i <= 5; i += 1) await redis.client.xadd('{s1}:audit', `${i}-0`, 'a', 'x'.repeat(5_000_000));
  const last = '18446744073709551615-18446744073709551615';
  await redis.client.xadd('{s1}:audit', last, 'a', 'b');
  const places: string[] = [];
  for (;;) {
    const items = await stream().read(1, places.at(-1), 100);
    if (items.length === 0) break;
    expect(items.length).toBeLessThanOrEqual(2);
    places.push(...items.map(({ place }) => place));
  }
  expect(places).toEqual(['s1/1-0', 's1/2-0', 's1/3-0', 's1/4-0', 's1/5-0', `s1/${last}`]);
});

it('compares places as Redis orders them', () => {
  const ordered = [
    's0/9-9',
    's0/9-10',
    's0/10-0',
    's0/1795377784756-3',
    's0/18446744073709551614-1',
    's0/18446744073709551615-0',
  ];
  expect(ordered.toReversed().sort(comparePlaces)).toEqual(ordered);
  expect(comparePlaces('s0/1-1', 's0/1-1')).toBe(0);
});
