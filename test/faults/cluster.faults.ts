import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TenantId } from '../../src/core/identity/ids.ts';
import { shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import type { HealthReport } from '../../src/health.ts';
import { ClusterForTests, type ClusterNode } from './cluster-for-tests.ts';
import { health } from './part-health.ts';
import { IN_TIME, inSeconds, NOTHING_FOUND, ReplicatedHouse } from './replicated-house.ts';
import { tally } from './tally.ts';

/**
 * A whole installation, two processes of every part, on a Cluster of three masters with a replica each and 16 shards,
 * while agents wait and people decide: whatever happens to the nodes, what was answered stands, nothing runs twice, and
 * all comes back by itself. The same processes from the first fault to the last.
 */

/** As long as something has to be seen not to happen. */
const LOOK_MS = 1_500;
/** Three times as long as the nodes wait until they give a silent one up. */
const FROZEN_MS = 4_500;
const SHARDS = 16;
const LANES = 4;
/** They lie on all three masters, as the Cluster begins. */
const LANE_SHARDS = Array.from({ length: LANES }, (_, i) =>
  shardOfTenant(TenantId.parse(`lane${i}`), SHARDS),
);
const [FIRST_SHARD = 0] = LANE_SHARDS;

let cluster: ClusterForTests;
let house: ReplicatedHouse;
let pids: readonly number[];

beforeAll(async () => {
  cluster = await ClusterForTests.start();
  const masters = await Promise.all(LANE_SHARDS.map((shard) => cluster.masterOf(shard)));
  expect(new Set(masters).size).toBe(3);
  house = await ReplicatedHouse.start({ redis: cluster.address, shards: SHARDS, lanes: LANES });
  pids = house.pids;
}, 240_000);
afterAll(async () => {
  await house?.close();
  await cluster?.stop();
});
/** Each fault strikes one that is well. */
beforeEach(async () => {
  await cluster.whole();
  await house.allSay('ready');
});

interface Fault {
  readonly name: string;
  readonly times: number;
  /** One fault or several, and their end. Resolves with how many that were. */
  readonly strike: (turn: number) => Promise<number>;
}

const FAULTS: readonly Fault[] = [
  {
    name: 'Cluster: master killed while people decide',
    times: 3,
    strike: async (turn) => {
      await house.atDecision();
      await killMaster(turn);
      return 1;
    },
  },
  {
    name: 'Cluster: master killed while calls run',
    times: 3,
    strike: async (turn) => {
      await house.atRun();
      await killMaster(turn);
      return 1;
    },
  },
  {
    name: 'Cluster: master killed and back before anybody took over',
    times: 2,
    strike: async (turn) => {
      const master = await cluster.masterOf(laneShard(turn));
      await master.kill9();
      await master.restart();
      return 1;
    },
  },
  {
    name: 'Cluster: master frozen, and back as an old one',
    times: 3,
    strike: async (turn) => {
      const shard = laneShard(turn);
      const old = await cluster.masterOf(shard);
      await house.atRun();
      old.freeze();
      await cluster.takenOver(shard, old);
      old.thaw();
      return 1;
    },
  },
  {
    name: 'Cluster: CLUSTER FAILOVER on command, each master',
    times: 3,
    strike: () => failOverAll('gently'),
  },
  {
    name: 'Cluster: CLUSTER FAILOVER TAKEOVER on command, each master',
    times: 3,
    strike: () => failOverAll('TAKEOVER'),
  },
  {
    name: 'Cluster: the slot of a shard moves to another master',
    times: 3,
    strike: async () => {
      for (const shard of LANE_SHARDS) {
        const from = await cluster.masterOf(shard);
        const others = (await cluster.masters()).filter((node) => node !== from);
        await cluster.moveShard(shard, others[Math.floor(Math.random() * others.length)] as ClusterNode);
      }
      return LANE_SHARDS.length;
    },
  },
  {
    name: 'Cluster: every connection to every node cut',
    times: 5,
    strike: async () => {
      for (let i = 0; i < 4; i++) {
        for (const { client } of cluster.nodes) {
          for (const kind of ['normal', 'pubsub'])
            await client.call('CLIENT', 'KILL', 'TYPE', kind, 'SKIPME', 'yes');
        }
        await sleep(200);
      }
      return 4;
    },
  },
  {
    name: 'Cluster: off in the middle of a failover',
    times: 4,
    strike: async (turn) => {
      const failingOver = turn % 2 === 0 ? killMaster(turn) : failOverAll('TAKEOVER');
      // Typed again until it is confirmed, as the answer says.
      try {
        await expect.poll(() => house.off(), IN_TIME).toBe(true);
        await failingOver;
        await sleep(LOOK_MS);
      } finally {
        await house.on();
      }
      return 1;
    },
  },
];

describe('a Cluster fails over, is resharded, or cannot serve, while everybody works', () => {
  it.each(FAULTS)(
    '[execution:at-most-once] $name: nothing lost, nothing twice, nothing stuck',
    async (fault) => {
      const row = tally(fault.name);
      const took: number[] = [];
      let injected = 0;
      house.begin();
      await house.recovered(0);
      for (let turn = 0; turn < fault.times; turn++) {
        await cluster.whole();
        const struck = performance.now();
        const times = await fault.strike(turn);
        row.injected(times);
        injected += times;
        took.push(await house.recovered(struck));
      }
      await cluster.whole();
      await house.allSay('ready');
      const found = await house.check(row);
      console.log(
        `${fault.name}: ${injected} times; works again after ${inSeconds(took)} s; ${house.counts}`,
      );
      expect(found).toEqual(NOTHING_FOUND);
      // Nothing was started anew for it.
      expect(house.pids).toEqual(pids);
    },
  );

  it('[redis:down-means-no] a replica killed: the shards of its master refuse, say so, and the others go on', async () => {
    const row = tally('Cluster: a replica killed');
    const took: number[] = [];
    house.begin();
    await house.recovered(0);
    for (let turn = 0; turn < 3; turn++) {
      await cluster.whole();
      const master = await cluster.masterOf(FIRST_SHARD);
      const [replica] = await cluster.replicasOf(master);
      if (replica === undefined) throw new Error('a master without a replica');
      const elsewhere = await lanesElsewhere(master);
      expect(elsewhere.length).toBeGreaterThan(0);
      await replica.kill9();
      row.injected();
      try {
        await house.allSay('not ready');
        const [approvals] = house.approvals;
        if (approvals === undefined) throw new Error('a house without an approval service');
        expect((await health<HealthReport>(approvals)).redis.problem).toContain(`127.0.0.1:${master.port}`);
        await expect(house.proposeOnce()).rejects.toMatchObject({ code: 'unavailable' });
        const ran = house.ledger().length;
        await expect
          .poll(
            () =>
              house
                .ledger()
                .slice(ran)
                .some(({ entry }) => elsewhere.includes(laneOf(entry))),
            IN_TIME,
          )
          .toBe(true);
        // What a single node has may be taken back by a failover: nothing starts there.
        expect(
          house
            .ledger()
            .slice(ran)
            .every(({ entry }) => elsewhere.includes(laneOf(entry))),
        ).toBe(true);
      } finally {
        await replica.restart();
      }
      const back = performance.now();
      took.push(await house.recovered(back));
      await house.allSay('ready');
    }
    const found = await house.check(row);
    console.log(`a replica killed: 3 times; works again after ${inSeconds(took)} s; ${house.counts}`);
    expect(found).toEqual(NOTHING_FOUND);
  });

  it('[redis:down-means-no] two masters killed: everything is refused in time, and all comes back by itself', async () => {
    const row = tally('Cluster: two masters killed');
    house.begin();
    await house.recovered(0);
    const masters = (await cluster.masters()).slice(0, 2);
    row.injected(masters.length);
    for (const master of masters) await master.kill9();
    try {
      await house.allSay('not ready');
      // Until the third one knows that it is alone, its shards are served, and rightly so.
      await cluster.withoutMajority();
      await expect(house.proposeOnce()).rejects.toMatchObject({
        code: expect.stringMatching(/unavailable|writes_disabled/),
      });
      const ran = house.ledger().length;
      await sleep(LOOK_MS);
      expect(house.ledger().length).toBe(ran);
    } finally {
      for (const master of masters) await master.restart();
    }
    const back = performance.now();
    const took = await house.recovered(back);
    await cluster.whole();
    await house.allSay('ready');
    const found = await house.check(row);
    console.log(`two masters killed: works again after ${inSeconds([took])} s; ${house.counts}`);
    expect(found).toEqual(NOTHING_FOUND);
  });

  it('[switch:off-means-no-start] two masters frozen: nobody may take over, `off` is not confirmed, and all comes back by itself', async () => {
    const row = tally('Cluster: two masters frozen at once');
    const took: number[] = [];
    house.begin();
    await house.recovered(0);
    for (let turn = 0; turn < 3; turn++) {
      await cluster.whole();
      const masters = await cluster.masters();
      const frozen = masters.filter((_, i) => i !== turn % masters.length);
      await house.atRun();
      for (const master of frozen) master.freeze();
      row.injected(frozen.length);
      let off: Promise<boolean>;
      try {
        await house.allSay('not ready');
        await cluster.withoutMajority();
        await expect(house.proposeOnce()).rejects.toMatchObject({
          code: expect.stringMatching(/unavailable|writes_disabled/),
        });
        off = house.off();
        // One master of three is no majority: no replica takes over, and nobody may say that all is off.
        expect(await Promise.race([off, sleep(FROZEN_MS)])).not.toBe(true);
        expect(await cluster.masters()).toHaveLength(1);
      } finally {
        for (const master of frozen) master.thaw();
      }
      const back = performance.now();
      if (!(await off)) await expect.poll(() => house.off(), IN_TIME).toBe(true);
      await sleep(LOOK_MS);
      await house.on();
      took.push(await house.recovered(back));
    }
    await cluster.whole();
    await house.allSay('ready');
    const found = await house.check(row);
    console.log(
      `two masters frozen: 3 times; works again, after an off and an on, after ${inSeconds(took)} s; ${house.counts}`,
    );
    expect(found).toEqual(NOTHING_FOUND);
    expect(house.pids).toEqual(pids);
  });
});

/* ---- what happens to the nodes ---- */

function laneShard(turn: number): number {
  return LANE_SHARDS[turn % LANE_SHARDS.length] ?? 0;
}

/** It comes back as a replica of the node that has taken over. */
async function killMaster(turn: number): Promise<void> {
  const shard = laneShard(turn);
  const old = await cluster.masterOf(shard);
  await old.kill9();
  await cluster.takenOver(shard, old);
  await old.restart();
}

async function failOverAll(how: 'gently' | 'TAKEOVER'): Promise<number> {
  const masters = await cluster.masters();
  for (const master of masters) {
    const [replica] = await cluster.replicasOf(master);
    if (replica === undefined) throw new Error('a master without a replica');
    await cluster.failover(replica, how);
  }
  return masters.length;
}

/* ---- the lanes ---- */

/** Tenants whose shards another master holds. */
async function lanesElsewhere(master: ClusterNode): Promise<string[]> {
  const masters = await Promise.all(LANE_SHARDS.map((shard) => cluster.masterOf(shard)));
  return masters.flatMap((one, i) => (one === master ? [] : [`lane${i}`]));
}

function laneOf(entry: string): string {
  return entry.split('-')[0] ?? '';
}
