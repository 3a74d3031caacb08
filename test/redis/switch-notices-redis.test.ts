import { describe, expect, it } from 'vitest';
import { PersonId, TenantId } from '../../src/core/identity/ids.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { ArmingRequestsRedis } from '../../src/redis/arming-requests-redis.ts';
import { HeardCommandsRedis } from '../../src/redis/heard-commands-redis.ts';
import { RecentDecisionsRedis } from '../../src/redis/recent-decisions-redis.ts';
import { SwitchNoticesRedis } from '../../src/redis/switch-notices-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, BEN, CLEO } from '../sealed-terms.ts';

const redis = redisForTests();
const LEASE = 60_000;

function partsOn(shards: number) {
  const given = { redis: redis.client, shards };
  return {
    writeSwitch: new WriteSwitchRedis({ ...given, startDeadlineMs: 0 }),
    notices: new SwitchNoticesRedis(given),
    arming: new ArmingRequestsRedis(given),
    heard: new HeardCommandsRedis(given),
    recent: new RecentDecisionsRedis(given),
  };
}

describe('what the channels have to be told', () => {
  it('stands in each shard that was flipped, once a flip, with what people wrote', async () => {
    const { writeSwitch, notices } = partsOn(4);
    const why = 'half \ud800 a pair, "quotes" and <!channel>';
    const { since } = await writeSwitch.off({ scope: EVERYTHING, by: ANA, why });
    const claimed = await notices.claim(10, LEASE);
    expect(claimed.map(({ shard }) => shard).sort()).toEqual([0, 1, 2, 3]);
    for (const { notice } of claimed) expect(notice).toEqual({ kind: 'off', scope: {}, by: ANA, why, since });
    expect(await notices.claim(10, LEASE)).toEqual([]);
  });

  it('is written again by no second attempt of the same flip', async () => {
    const { writeSwitch, notices } = partsOn(2);
    await writeSwitch.off({ scope: EVERYTHING, by: ANA });
    const keys = await redis.client.hkeys('{s1}:switch-notices');
    expect(keys).toHaveLength(1);
    await redis.client.del('{s1}:switch', '{s1}:switch-notices', '{s1}:switch-notices-due');
    await writeSwitch.off({ scope: EVERYTHING, by: BEN });
    expect((await notices.claim(10, LEASE)).filter(({ shard }) => shard === 1)).toHaveLength(1);
  });

  it('is not written where the flip was refused', async () => {
    const { writeSwitch, notices } = partsOn(1);
    const { epoch } = await writeSwitch.status();
    await writeSwitch.off({ scope: EVERYTHING, by: ANA });
    await notices.claim(10, LEASE);
    const refused = await writeSwitch.on({ scope: EVERYTHING, by: ANA, why: 'old', expectedEpoch: epoch });
    expect(refused).toMatchObject({ refusal: 'epoch_moved' });
    expect(await redis.client.hlen('{s0}:switch-notices')).toBe(1);
  });

  it('goes to one of many replicas, and back when its time is over', async () => {
    const { writeSwitch, notices } = partsOn(1);
    await writeSwitch.off({ scope: EVERYTHING, by: ANA });
    const all = await Promise.all(Array.from({ length: 20 }, () => partsOn(1).notices.claim(10, LEASE)));
    const [claimed] = all.flat();
    expect(all.flat()).toHaveLength(1);
    if (claimed === undefined) throw new Error('nothing claimed');
    await redis.client.zadd('{s0}:switch-notices-due', 1, claimed.id);
    expect(await notices.claim(10, LEASE)).toHaveLength(1);
    await notices.done(claimed);
    await notices.postpone(claimed, 0);
    await notices.split(claimed, [{ team: 'T0ACME', channel: 'C0ACMEAPP' }]);
    // Whoever was slower puts nothing back.
    expect(await redis.client.exists('{s0}:switch-notices', '{s0}:switch-notices-due')).toBe(0);
  });

  it('becomes one for each channel, each handed back for itself', async () => {
    const { writeSwitch, notices } = partsOn(1);
    await writeSwitch.off({ scope: EVERYTHING, by: 'cli:root', why: 'x' });
    const [whole] = await notices.claim(10, LEASE);
    if (whole === undefined) throw new Error('nothing claimed');
    const places = [
      { team: 'T0ACME', channel: 'C0ACMEAPP' },
      { team: 'T0GLOBEX', channel: 'C0GLOBEX' },
    ];
    await notices.split(whole, places);
    const parts = await notices.claim(10, LEASE);
    expect(parts.map(({ notice }) => notice.place)).toEqual(places);
    const [first, second] = parts;
    if (first === undefined || second === undefined) throw new Error('not split');
    await notices.done(first);
    await notices.postpone(second, 0);
    const [again] = await notices.claim(10, LEASE);
    expect(again?.notice).toMatchObject({ place: places[1], failures: 1 });
  });

  it('is thrown away where somebody else wrote it, and keeps nobody from switching off', async () => {
    const { writeSwitch, notices } = partsOn(1);
    await redis.client.hset('{s0}:switch-notices', 'x', '{"kind":"off"}');
    await redis.client.zadd('{s0}:switch-notices-due', 1, 'x', 1, 'gone');
    expect(await notices.claim(10, LEASE)).toEqual([]);
    expect(await redis.client.zcard('{s0}:switch-notices-due')).toBe(0);
    await redis.client.set('{s0}:switch-notices', 'a string');
    expect((await writeSwitch.off({ scope: EVERYTHING, by: ANA })).confirmed).toBe(true);
    expect(await notices.claim(10, LEASE)).toHaveLength(1);
  });

  it('reminds when the time is over and not before', async () => {
    const { writeSwitch, notices } = partsOn(1);
    const { since } = await writeSwitch.off({
      scope: { tenant: TenantId.parse('acme') },
      by: ANA,
      forMs: 7_200_000,
    });
    expect((await notices.claim(10, LEASE)).map(({ notice }) => notice.kind)).toEqual(['off']);
    const [, score] = await redis.client.zrange('{s0}:switch-notices-due', '-1', '-1', 'WITHSCORES');
    expect(Number(score)).toBe(since + 7_200_000);
  });
});

describe('who wants writes on', () => {
  const ask = { scope: EVERYTHING, why: 'fixed', quorum: 2 };
  const offAt = async (parts: ReturnType<typeof partsOn>) =>
    (await parts.writeSwitch.off({ scope: EVERYTHING, by: ANA })).epoch;

  it('is complete once, for one of many who confirm at the same moment', async () => {
    const parts = partsOn(2);
    const epoch = await offAt(parts);
    expect(await parts.arming.ask({ ...ask, epoch, person: ANA })).toMatchObject({ state: 'waiting' });
    const people = Array.from({ length: 20 }, (_, i) => PersonId.parse(`slack:T0ACME/U0P${i}`));
    const answers = await Promise.all(people.map((person) => parts.arming.ask({ ...ask, epoch, person })));
    // Pairs: each two who ask anew after the first pair are one of their own, and none counts for two.
    const complete = answers.filter(({ state }) => state === 'complete');
    expect(complete).toHaveLength(10);
    const names = complete.flatMap((answer) => (answer.state === 'complete' ? answer.request.people : []));
    expect(new Set(names).size).toBe(names.length);
  });

  it('counts one person once, in whichever workspace', async () => {
    const parts = partsOn(1);
    const epoch = await offAt(parts);
    await parts.arming.ask({ ...ask, epoch, person: ANA });
    const twin = PersonId.parse('slack:E0ACME/U0ANA');
    for (const person of [ANA, twin]) {
      expect(await parts.arming.ask({ ...ask, epoch, person })).toMatchObject({ state: 'same_person' });
    }
    expect(await parts.arming.ask({ ...ask, epoch, person: BEN })).toMatchObject({
      state: 'complete',
      request: { people: [ANA, BEN], epoch, why: 'fixed' },
    });
  });

  it('counts up to the quorum of now', async () => {
    const parts = partsOn(1);
    const epoch = await offAt(parts);
    await parts.arming.ask({ ...ask, epoch, person: ANA });
    expect(await parts.arming.ask({ ...ask, quorum: 3, epoch, person: BEN })).toMatchObject({
      state: 'waiting',
    });
    expect(await parts.arming.ask({ ...ask, quorum: 3, epoch, person: CLEO })).toMatchObject({
      state: 'complete',
    });
  });

  it('is bound to the epoch, the scope and the words', async () => {
    const parts = partsOn(1);
    const epoch = await offAt(parts);
    expect(await parts.arming.ask({ ...ask, epoch: epoch - 1, person: ANA })).toEqual({
      state: 'epoch_moved',
    });
    const first = await parts.arming.ask({ ...ask, epoch, person: ANA });
    const id = first.state === 'waiting' ? first.request.id : '';
    const acme = { tenant: TenantId.parse('acme') };
    expect(await parts.arming.confirm({ ...ask, scope: acme, id, epoch, person: BEN })).toEqual({
      state: 'gone',
    });
    expect(await parts.arming.confirm({ ...ask, id: 'another', epoch, person: BEN })).toEqual({
      state: 'gone',
    });
    expect(await parts.arming.ask({ ...ask, why: 'Fixed', epoch, person: BEN })).toMatchObject({
      state: 'other_reason',
      request: { why: 'fixed' },
    });
    // An epoch that was read before the flip, and one that was read after it.
    expect(await parts.arming.confirm({ ...ask, id, epoch: epoch - 1, person: BEN })).toEqual({
      state: 'epoch_moved',
    });
    await parts.arming.ask({ ...ask, epoch, person: ANA });
    const next = await offAt(parts);
    expect(await parts.arming.ask({ ...ask, epoch: next, person: BEN })).toMatchObject({
      state: 'waiting',
      voided: true,
      request: { people: [BEN] },
    });
  });

  it('may say it in other words, and then the old ones no longer wait', async () => {
    const parts = partsOn(1);
    const epoch = await offAt(parts);
    const first = await parts.arming.ask({ ...ask, epoch, person: ANA });
    await parts.arming.ask({ ...ask, why: 'fixed for good', epoch, person: ANA });
    const id = first.state === 'waiting' ? first.request.id : '';
    expect(await parts.arming.confirm({ ...ask, id, epoch, person: BEN })).toEqual({ state: 'gone' });
    expect(await parts.arming.ask({ ...ask, why: 'fixed for good', epoch, person: BEN })).toMatchObject({
      state: 'complete',
    });
  });
});

describe('a command', () => {
  it('is heard for the first time by one of many, for a day', async () => {
    const { heard } = partsOn(1);
    const answers = await Promise.all(Array.from({ length: 20 }, () => heard.firstTime('1.2.abc')));
    expect(answers.filter(Boolean)).toHaveLength(1);
    expect(await heard.firstTime('1.2.abd')).toBe(true);
    const [member = ''] = await redis.client.zrange('{s0}:heard-commands', '0', '0');
    await redis.client.zadd('{s0}:heard-commands', Date.now() - 25 * 3_600_000, member);
    await heard.firstTime('another');
    expect(await redis.client.zscore('{s0}:heard-commands', member)).toBeNull();
  });
});

it('finds the last decisions of one person in all shards, newest first, and takes nothing else for an id', async () => {
  const { recent } = partsOn(2);
  const id = (shard: number, n: number) => `prop_0${shard}${String(n).padStart(24, '0')}`;
  for (let n = 0; n < 8; n += 1) {
    await redis.client.zadd(`{s${n % 2}}:recent:${ANA}`, n, id(n % 2, n));
  }
  await redis.client.zadd(`{s0}:recent:${ANA}`, 99, 'not an id');
  await redis.client.zadd(`{s0}:recent:${BEN}`, 99, id(0, 99));
  expect(await recent.of(ANA, 5)).toEqual([id(1, 7), id(0, 6), id(1, 5), id(0, 4), id(1, 3)]);
});
