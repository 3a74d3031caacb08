import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { ExecutorHealth } from '../../src/health.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { Channels } from '../../src/redis/channels.ts';
import { answerOf, checkRedis, openRedis, type RedisConnections } from '../../src/redis/connection.ts';
import { FoldingRedis } from '../../src/redis/folding-redis.ts';
import { PreviewTasksRedis } from '../../src/redis/preview-tasks-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { SwitchNoticesRedis } from '../../src/redis/switch-notices-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { ClusterForTests, type ClusterNode } from '../faults/cluster-for-tests.ts';
import { ANA, testKeys } from '../sealed-terms.ts';

const WAIT = { timeout: 20_000 };
const SHARDS = 16;
const NO_REPLICAS = { replicas: 0, shards: SHARDS };

describe('a connection to a Cluster', () => {
  let cluster: ClusterForTests;
  let connections: RedisConnections;
  beforeAll(async () => {
    cluster = await ClusterForTests.start({ replicas: 0 });
    // Else Redis itself refuses everything as soon as it has noticed that a node is away.
    for (const { client } of cluster.nodes) await client.config('SET', 'cluster-require-full-coverage', 'no');
    connections = openRedis({ url: cluster.address });
  });
  afterAll(async () => {
    connections?.close();
    await cluster?.stop();
  });

  const set = (key: string, value: string) =>
    answerOf(connections.redis, () => connections.redis.set(key, value));

  it('looks at every master, and says of which it speaks', async () => {
    expect(await checkRedis(connections.redis, NO_REPLICAS)).toMatchObject({
      persistent: true,
      refusesWrites: undefined,
      warnings: [],
    });
    const node = await cluster.masterOf(3);
    await node.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const unfit = checkRedis(connections.redis, NO_REPLICAS);
    await expect(unfit).rejects.toMatchObject({ code: 'redis_unfit' });
    await expect(unfit).rejects.toThrow(`127.0.0.1:${node.port}: maxmemory-policy is allkeys-lru`);
    await node.client.config('SET', 'maxmemory-policy', 'noeviction');
    const { refusesWrites, warnings } = await checkRedis(connections.redis, { replicas: 1, shards: 1 });
    expect(refusesWrites?.split('\n')).toHaveLength(cluster.nodes.length);
    expect(refusesWrites).toContain(`127.0.0.1:${node.port}: 0 of 1 replica is in sync`);
    expect(warnings).toEqual([expect.stringContaining('COUNTERSIGN_SHARDS=16')]);
  });

  it('takes no writes for served where the slot of a shard has no master, or the Cluster fails, until that is over', async () => {
    const refuses = async () => (await checkRedis(connections.redis, NO_REPLICAS)).refusesWrites?.split('\n');
    const node = await cluster.masterOf(3);
    const slot = await cluster.slotOf(3);
    const name = `127.0.0.1:${node.port}`;
    const orphan = `${name}: neither it nor another master serves the slot of shard 3. Type: redis-cli --cluster fix ${name}`;
    await node.client.config('SET', 'cluster-require-full-coverage', 'yes');
    await node.client.cluster('DELSLOTS', slot);
    try {
      const failing = expect.stringContaining(`${name}: it says cluster_state:fail and takes nothing`);
      await expect.poll(refuses, WAIT).toEqual([failing, orphan]);
      await node.client.config('SET', 'cluster-require-full-coverage', 'no');
      await expect.poll(refuses, WAIT).toEqual([orphan]);
    } finally {
      await node.client.config('SET', 'cluster-require-full-coverage', 'no');
      await node.client.cluster('ADDSLOTS', slot);
    }
    await expect.poll(refuses, WAIT).toBe(undefined);
  });

  it('goes on with the shards of the other nodes while one is away, sends it nothing later, and finds it again', async () => {
    const { node, shard, others } = await oneOf(cluster);
    await set(`{s${shard}}:before`, '1');
    const store = new ProposalStoreRedis({
      redis: connections.redis,
      shards: SHARDS,
      keys: [testKeys.proposal],
    });
    const { claiming, notices, outbox } = claimersOn(connections);
    await new WriteSwitchRedis({ redis: connections.redis, shards: SHARDS, startDeadlineMs: 0 }).off({
      scope: EVERYTHING,
      by: ANA,
    });
    await node.kill9();
    await expect(set(`{s${shard}}:late`, '1')).rejects.toMatchObject({ code: 'store_unavailable' });
    for (const other of others) await set(`{s${other}}:meanwhile`, '1');
    expect(await store.due(10)).toEqual({ ready: [], expired: [], lapsed: [], timers: [] });
    const [claimed, nothing] = await Promise.all([
      notices.claim(10, 60_000),
      Promise.all(claiming.map((claim) => claim())),
      outbox.repair(),
    ]);
    expect(nothing.flat()).toEqual([]);
    expect(claimed.map((notice) => notice.shard).sort()).toEqual([...others].sort());
    const away = expect.stringMatching(
      `127.0.0.1:${node.port}.*: start it, or let a replica take its place$`,
    );
    await Promise.all([
      expect(checkRedis(connections.redis, NO_REPLICAS)).rejects.toMatchObject({ problem: away }),
      expect(redisAsExecutorsSee(connections)).resolves.toEqual({ ok: false, problem: away, warnings: [] }),
    ]);
    await node.restart();
    await expect.poll(() => set(`{s${shard}}:after`, '1').catch(() => 'away'), WAIT).toBe('OK');
    expect(await node.client.get(`{s${shard}}:before`)).toBe('1');
    expect(await node.client.exists(`{s${shard}}:late`)).toBe(0);
  });

  it('[redis:down-means-no] asks once: where the answer was lost, nothing is sent again', async () => {
    const { node, shard } = await oneOf(cluster);
    const key = `{s${shard}}:count`;
    node.freeze();
    try {
      await expect(answerOf(connections.redis, () => connections.redis.incr(key))).rejects.toMatchObject({
        code: 'store_unavailable',
      });
      // The silent connection is given up, and another one is tried for.
      const lost = () => answerOf(connections.redis, () => connections.redis.get(key), 1_500).catch(String);
      await expect.poll(lost, WAIT).toContain('no connection to the node');
    } finally {
      node.thaw();
    }
    await expect.poll(() => set(`{s${shard}}:after`, '1').catch(() => 'away'), WAIT).toBe('OK');
    expect(await node.client.get(key)).toBe('1');
  });

  it('hears what is published on any node, moves to another where its own is gone, and tells of the gap', async () => {
    const { subscriber, redis } = connections;
    let heard = 0;
    let gaps = 0;
    await Channels.of(subscriber).follow('{s0}:news', {
      onMessage: () => {
        heard += 1;
      },
      onGap: () => {
        gaps += 1;
      },
    });
    const port = subscriber.stream.remotePort;
    const node = cluster.nodes.find((one) => one.port === port);
    await node?.kill9();
    await expect.poll(() => gaps, WAIT).toBe(1);
    expect(subscriber.stream.remotePort).not.toBe(port);
    heard = 0;
    await expect
      .poll(async () => {
        await answerOf(redis, () => redis.publish('{s0}:news', 'x'));
        return heard;
      }, WAIT)
      .toBeGreaterThan(0);
    await node?.restart();
  });
});

/** What the health of an executor on it says of Redis. */
async function redisAsExecutorsSee({ redis }: RedisConnections) {
  const health = new ExecutorHealth({
    redis,
    needs: NO_REPLICAS,
    takesJobs: async () => true,
    startsInTime: () => true,
    policyInForce: () => true,
  });
  return (await health.report()).redis;
}

/** Each asks all shards, and has none to give. */
function claimersOn(connections: RedisConnections) {
  const given = { ...connections, shards: SHARDS };
  const outbox = new CardOutboxRedis(given);
  const previews = new PreviewTasksRedis({ ...given, keys: [testKeys.proposal] });
  const folding = new FoldingRedis(given);
  return {
    claiming: [
      async () => (await outbox.claim(10, 1_000)).claims,
      () => previews.claim(10, 1_000),
      () => folding.claimDigests(10, 1_000),
    ],
    notices: new SwitchNoticesRedis(given),
    outbox,
  };
}

/** A node with slots, one of its shards, and shards of others. */
async function oneOf(cluster: ClusterForTests): Promise<{
  node: ClusterNode;
  shard: number;
  others: number[];
}> {
  const masters = await Promise.all(Array.from({ length: SHARDS }, (_, shard) => cluster.masterOf(shard)));
  const [node] = masters;
  if (node === undefined) throw new Error('a Cluster has masters');
  const others = masters.flatMap((master, shard) => (master === node ? [] : [shard]));
  return { node, shard: 0, others };
}
