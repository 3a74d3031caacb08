import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openRedis } from '../../src/redis/connection.ts';
import { IN_TIME, inSeconds, NOTHING_FOUND, ReplicatedHouse } from './replicated-house.ts';
import { SENTINELS, SentinelForTests, type SentinelName } from './sentinel-for-tests.ts';
import { tally } from './tally.ts';

/**
 * A whole installation, two processes of every part, on a master with two replicas and three sentinels, while agents wait
 * and people decide: whatever happens to the servers, what was answered stands, nothing runs twice, and all comes back by
 * itself. The same processes from the first fault to the last.
 */

/** As long as something has to be seen not to happen. */
const LOOK_MS = 1_500;

/**
 * All of them. With one of the two, what it alone holds is lost where the other one is made the master by command: until it
 * hears of that it goes on following the old one.
 */
const REPLICAS = 2;

let sentinel: SentinelForTests;
let house: ReplicatedHouse;
let pids: readonly number[];

beforeAll(async () => {
  sentinel = await SentinelForTests.start();
  house = await ReplicatedHouse.start({ redis: sentinel.address, replicas: REPLICAS });
  pids = house.pids;
}, 240_000);
afterAll(async () => {
  await house?.close();
  await sentinel?.stop();
});
/** Each fault strikes one that is well. */
beforeEach(async () => {
  await sentinel.whole();
  await house.allSay('ready');
});

interface Fault {
  readonly name: string;
  readonly times: number;
  /** One fault, and its end. */
  readonly strike: (turn: number) => Promise<void>;
}

const FAULTS: readonly Fault[] = [
  {
    name: 'Sentinel: FAILOVER on command',
    times: 10,
    strike: async (turn) => {
      const old = await sentinel.master();
      await sentinel.failover();
      await sentinel.failedOver(old);
      // The first time, Sentinel itself makes a replica of the old master, which takes it ten seconds.
      if (turn > 0) await sentinel.demote(old);
    },
  },
  {
    name: 'Sentinel: master killed while people decide',
    times: 4,
    strike: async () => {
      await house.atDecision();
      await killMaster();
    },
  },
  {
    name: 'Sentinel: master killed while calls run',
    times: 4,
    strike: async () => {
      await house.atRun();
      await killMaster();
    },
  },
  {
    name: 'Sentinel: master killed at any moment',
    times: 3,
    strike: async () => {
      await sleep(Math.random() * 500);
      await killMaster();
    },
  },
  {
    name: 'Sentinel: master killed and back before anybody took over',
    times: 3,
    strike: async () => {
      const master = await sentinel.master();
      await sentinel.kill9(master);
      await sentinel.restart(master);
    },
  },
  {
    name: 'Sentinel: master frozen, and back as an old one',
    times: 4,
    strike: async () => {
      const old = await sentinel.master();
      await house.atRun();
      sentinel.freeze(old);
      await sentinel.failedOver(old);
      sentinel.thaw(old);
    },
  },
  {
    name: 'Sentinel: master cut off from its replicas and the sentinels, not from the parts',
    times: 4,
    strike: async () => {
      const old = await sentinel.master();
      await sentinel.isolate(old);
      await sentinel.failedOver(old);
      await sleep(500);
      await sentinel.rejoin(old);
      await sentinel.demote(old);
    },
  },
  {
    name: 'Sentinel: one replica killed',
    times: 4,
    strike: async (turn) => {
      const replica = (await sentinel.replicas())[turn % 2] ?? 'one';
      await sentinel.kill9(replica);
      await sleep(700);
      await sentinel.restart(replica);
    },
  },
  {
    name: 'Sentinel: every connection to the master cut',
    times: 15,
    strike: async () => {
      await sentinel.cutConnections(await sentinel.master());
    },
  },
  {
    name: 'Sentinel: one sentinel killed or frozen',
    times: 4,
    strike: async (turn) => {
      const name = SENTINELS[turn % SENTINELS.length] ?? 'a';
      await withoutSentinels([name], turn % 2 === 0 ? 'killed' : 'frozen');
    },
  },
  {
    name: 'Sentinel: two sentinels killed or frozen',
    times: 2,
    strike: (turn) => withoutSentinels(['a', 'b'], turn % 2 === 0 ? 'killed' : 'frozen'),
  },
  {
    name: 'Sentinel: off in the middle of a failover',
    times: 4,
    strike: async (turn) => {
      const old = await sentinel.master();
      const failingOver = turn % 2 === 0 ? killMaster() : isolateMaster();
      // Typed again until it is confirmed, as the answer says.
      await expect.poll(() => house.off(), IN_TIME).toBe(true);
      await failingOver;
      await sentinel.failedOver(old);
      await sleep(LOOK_MS);
      await house.on();
    },
  },
];

describe('Sentinel fails over, or cannot, while everybody works', () => {
  it.each(FAULTS)(
    '[execution:at-most-once] $name: nothing lost, nothing twice, nothing stuck',
    async (fault) => {
      const row = tally(fault.name);
      const took: number[] = [];
      house.begin();
      await house.recovered(0);
      for (let turn = 0; turn < fault.times; turn++) {
        await sentinel.whole();
        const struck = performance.now();
        row.injected();
        await fault.strike(turn);
        took.push(await house.recovered(struck));
      }
      await house.allSay('ready');
      const found = await house.check(row);
      console.log(
        `${fault.name}: ${fault.times} times; works again after ${inSeconds(took)} s; ${house.counts}`,
      );
      expect(found).toEqual(NOTHING_FOUND);
      // Nothing was started anew for it.
      expect(house.pids).toEqual(pids);
    },
  );

  it.each(['killed', 'frozen'] as const)(
    '[redis:down-means-no] both replicas %s: writes are refused and said to be, off is not confirmed, and all comes back by itself',
    async (how) => {
      const row = tally(`Sentinel: both replicas ${how}`);
      house.begin();
      await house.recovered(0);
      const replicas = await sentinel.replicas();
      row.injected(2);
      for (const one of replicas) {
        if (how === 'killed') await sentinel.kill9(one);
        else sentinel.freeze(one);
      }
      try {
        await house.allSay('not ready');
        const ran = house.ledger().length;
        await expect(house.proposeOnce()).rejects.toMatchObject({ code: 'unavailable' });
        expect(await house.off()).toBe(false);
        await sleep(LOOK_MS);
        // What runs after the last answer of the master that no replica has would be started by an old master.
        expect(house.ledger().length).toBe(ran);
      } finally {
        for (const one of replicas) {
          if (how === 'killed') await sentinel.restart(one);
          else sentinel.thaw(one);
        }
      }
      const back = performance.now();
      await sentinel.whole();
      // What was typed is done as soon as it can be: nobody has to type it again.
      await expect.poll(async () => (await house.writeSwitch.status()).state, IN_TIME).toBe('off');
      await house.on();
      const took = await house.recovered(back);
      await house.allSay('ready');
      const found = await house.check(row);
      console.log(`both replicas ${how}: works again after ${inSeconds([took])} s; ${house.counts}`);
      expect(found).toEqual(NOTHING_FOUND);
    },
  );

  it('connections that are just being made when word of a new master comes are made to that one', async () => {
    const row = tally('Sentinel: connections cut all through a failover');
    const many = Array.from({ length: 20 }, () => openRedis({ url: sentinel.address }));
    for (let turn = 0; turn < 3; turn++) {
      const old = await sentinel.master();
      const cutting = setInterval(() => void cutAll().catch(() => {}), 60);
      row.injected();
      await failOver().finally(() => clearInterval(cutting));
      await sentinel.whole();
      expect(await sentinel.master()).not.toBe(old);
      for (const { redis, subscriber } of many) {
        await expect.poll(() => [redis.status, subscriber.status], IN_TIME).toEqual(['ready', 'ready']);
      }
    }
    for (const { close } of many) close();
  });

  it('[audit:tamper-evident] in the end every part stops in order, and all that it did is sealed', async () => {
    const row = tally('Sentinel: failover right before the parts stop');
    house.begin();
    await house.recovered(0);
    await failOver();
    row.injected();
    await house.recovered(performance.now());
    const found = await house.check(row);
    for (const part of [...house.executors, ...house.approvals]) await part.stop();
    expect(house.sealed()).toBe('intact');
    expect(found).toEqual(NOTHING_FOUND);
  });
});

/* ---- what happens to the servers ---- */

/** It comes back as a replica when another one has taken over. */
async function killMaster(): Promise<void> {
  const old = await sentinel.master();
  await sentinel.kill9(old);
  await sentinel.failedOver(old);
  await sentinel.restart(old);
}

async function isolateMaster(): Promise<void> {
  const old = await sentinel.master();
  await sentinel.isolate(old);
  await sentinel.failedOver(old);
  await sentinel.rejoin(old);
  await sentinel.demote(old);
}

async function failOver(): Promise<void> {
  const old = await sentinel.master();
  await sentinel.failover();
  await sentinel.failedOver(old);
  await sentinel.demote(old);
}

async function cutAll(): Promise<void> {
  await sentinel.cutConnections(await sentinel.master());
}

/** Calls run and are decided meanwhile, also after each part had to ask anew where the master is. */
async function withoutSentinels(names: readonly SentinelName[], how: 'killed' | 'frozen'): Promise<void> {
  for (const name of names) {
    if (how === 'killed') await sentinel.killSentinel(name);
    else sentinel.freezeSentinel(name);
  }
  try {
    await sentinel.cutConnections(await sentinel.master());
    await house.recovered(performance.now());
    await house.allSay('ready');
  } finally {
    for (const name of names) {
      if (how === 'killed') await sentinel.restartSentinel(name);
      else sentinel.thawSentinel(name);
    }
  }
}
