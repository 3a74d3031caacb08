import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { Channels } from '../../src/redis/channels.ts';
import {
  agreeOnReplicas,
  answerOf,
  checkRedis,
  openRedis,
  type RedisClient,
  type RedisConnections,
} from '../../src/redis/connection.ts';
import { Scripts } from '../../src/redis/scripts.ts';
import { RedisProxy } from '../faults/redis-proxy.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ReplicatedRedis } from './replicated-for-tests.ts';

const redis = redisForTests({ appendOnly: 'always' });
const opened: RedisConnections[] = [];
function open(path = redis.server.socketPath): RedisConnections {
  const connections = openRedis({ connection: { path }, name: 'countersign-test' });
  opened.push(connections);
  return connections;
}
afterEach(() => {
  for (const connections of opened.splice(0)) connections.close();
});

describe('the boot check', () => {
  afterEach(async () => {
    await redis.client.config('SET', 'maxmemory-policy', 'noeviction');
    await redis.client.config('SET', 'appendonly', 'yes');
    await redis.client.config('SET', 'appendfsync', 'always');
    await redis.client.config('SET', 'save', '');
  });

  it('passes a Redis that keeps what it is given', async () => {
    const check = await checkRedis(open().redis);
    expect(check).toMatchObject({ persistent: true, warnings: [] });
    expect(check.version).toMatch(/^\d+\.\d+/);
  });

  it('[execution:at-most-once] wants it said how many replicas to wait for, where a master has more than one', async () => {
    const replicated = await ReplicatedRedis.start(2);
    onTestFinished(() => replicated.stop());
    const { redis } = open(replicated.master.socketPath);
    const unsaid = agreeOnReplicas({ redis, replicas: 1, replicasChosen: false });
    await expect(unsaid).rejects.toMatchObject({ code: 'redis_unfit' });
    await expect(unsaid).rejects.toThrow('Set COUNTERSIGN_REDIS_REPLICAS');
    await agreeOnReplicas({ redis, replicas: 1, replicasChosen: true });
    await agreeOnReplicas({ redis, replicas: 2, replicasChosen: false });
  });

  it('warns where a master has replicas that nothing waits for', async () => {
    const replicated = await ReplicatedRedis.start(1);
    onTestFinished(() => replicated.stop());
    const { redis } = open(replicated.master.socketPath);
    const warnings = async (replicas: number) => (await checkRedis(redis, { replicas, shards: 1 })).warnings;
    const unawaited = expect.stringContaining('Set COUNTERSIGN_REDIS_REPLICAS');
    expect(await warnings(0)).toContainEqual(unawaited);
    expect(await warnings(1)).not.toContainEqual(unawaited);
  });

  it('refuses one that evicts, with the line to type', async () => {
    await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await expect(checkRedis(open().redis)).rejects.toMatchObject({ code: 'redis_unfit' });
    await expect(checkRedis(open().redis)).rejects.toThrow('CONFIG SET maxmemory-policy noeviction');
  });

  it('warns of one that forgets on a restart, and of one that keeps snapshots only', async () => {
    await redis.client.config('SET', 'appendonly', 'no');
    const forgetful = await checkRedis(open().redis);
    expect(forgetful).toMatchObject({
      persistent: false,
      warnings: [expect.stringContaining('appendonly yes')],
    });
    await redis.client.config('SET', 'save', '3600 1');
    const snapshots = await checkRedis(open().redis);
    expect(snapshots).toMatchObject({
      persistent: true,
      warnings: [expect.stringContaining('snapshots only')],
    });
  });

  it.each([
    ['everysec', 'the last second'],
    ['no', 'the last half minute'],
  ])('warns of one that answers before the disk has it: appendfsync %s', async (appendfsync, lost) => {
    await redis.client.config('SET', 'appendfsync', appendfsync);
    const check = await checkRedis(open().redis);
    expect(check).toMatchObject({ persistent: true, warnings: [expect.stringContaining(lost)] });
    expect(check.warnings[0]).toContain('CONFIG SET appendfsync always');
  });

  it('says nothing of what a hosted Redis does not let us read', async () => {
    await redis.client.config('SET', 'appendfsync', 'everysec');
    await redis.client.acl('SETUSER', 'hosted', 'on', '>pw', '~*', '&*', '+@all', '-config');
    const connections = openRedis({
      connection: { path: redis.server.socketPath, username: 'hosted', password: 'pw' },
    });
    opened.push(connections);
    expect(await checkRedis(connections.redis)).toMatchObject({ persistent: true, warnings: [] });
  });

  it('refuses one that is too old for scripts which stop at out-of-memory, and says both problems at once', async () => {
    const path = join(redis.server.socketPath, '..', 'old.sock');
    const { redis: old } = open(
      await pretending(path, 'redis_version:6.2.14\r\nmaxmemory_policy:allkeys-lru\r\n'),
    );
    const check = checkRedis(old);
    await expect(check).rejects.toThrow('Redis 6.2.14 is too old');
    await expect(check).rejects.toThrow('maxmemory-policy is allkeys-lru');
  });

  it('[redis:down-means-no] says that nobody is there', async () => {
    const nobody = join(redis.server.socketPath, '..', 'nobody.sock');
    await expect(checkRedis(open(nobody).redis)).rejects.toMatchObject({ code: 'store_unavailable' });
  });
});

describe('a connection', () => {
  it.each([Number.NaN, -1, 1.5, 6, '1', null])(
    '[execution:at-most-once] is not made where the number of replicas to wait for is %s',
    (replicas) => {
      const asked = { connection: { path: redis.server.socketPath }, replicas: replicas as number };
      expect(() => openRedis(asked)).toThrow(RangeError);
      expect(() => openRedis(asked)).toThrow('replicas is a whole number from 0 to 5');
    },
  );

  it('takes what is asked before it stands', async () => {
    const { redis: client } = open();
    expect(client.status).not.toBe('ready');
    expect(await answerOf(client, () => client.ping())).toBe('PONG');
  });

  it('[redis:down-means-no] never sends later what it gave up', async () => {
    const { redis: client } = open();
    await answerOf(client, () => client.set('before', '1'));
    await redis.server.stop();
    const given = await Promise.allSettled([
      answerOf(client, () => client.set('late', '1'), 300),
      client.set('later', '1'),
    ]);
    expect(given.map((result) => result.status)).toEqual(['rejected', 'rejected']);
    await redis.server.restart();
    await expect.poll(() => client.status).toBe('ready');
    expect(await client.mget('before', 'late', 'later')).toEqual(['1', null, null]);
  });

  it('[redis:down-means-no] does not send the text of a script that Redis has forgotten, once it was given up', async () => {
    const proxy = await RedisProxy.start(redis.server.socketPath);
    onTestFinished(() => proxy.close());
    const { redis: client } = open(proxy.path);
    await answerOf(client, () => client.ping());
    await redis.client.script('FLUSH');
    await redis.client.config('RESETSTAT');
    proxy.slow(1_100);
    const due = new Scripts(client).run('due', { shard: 0, ask: { limit: 1 } });
    await expect(due).rejects.toMatchObject({ code: 'store_unavailable' });
    // By then Redis has said that it does not know it; what was sent thereupon would come before this.
    await sleep(1_000);
    await client.ping();
    const asked = await redis.client.info('commandstats');
    expect(asked).toContain('cmdstat_evalsha:');
    expect(asked).not.toContain('cmdstat_eval:');
  });

  it('does not take its own being busy for a silence of Redis', async () => {
    const { redis: client } = open();
    await answerOf(client, () => client.ping());
    const answer = answerOf(client, () => client.ping(), 50);
    await Promise.resolve();
    for (const until = performance.now() + 500; performance.now() < until; );
    expect(await answer).toBe('PONG');
  });

  it('is replaced where it stands and never answers: one that is asked, one that only listens, and one that never answered at all', async () => {
    const proxy = await RedisProxy.start(redis.server.socketPath);
    onTestFinished(() => proxy.close());
    const { redis: client, subscriber } = open(proxy.path);
    let heard = 0;
    await Channels.of(subscriber).follow('news', { onMessage: () => heard++, onGap: () => {} });
    await answerOf(client, () => client.ping());
    proxy.silence({ newOnes: true });
    const { redis: neverAnswered } = open(proxy.path);
    await expect(answerOf(client, () => client.ping(), 100)).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    proxy.heal();
    const answers = (asked: RedisClient) => () =>
      answerOf(asked, () => asked.ping(), 100).catch(() => 'silent');
    await expect.poll(answers(client), { timeout: 15_000 }).toBe('PONG');
    await expect.poll(answers(neverAnswered), { timeout: 15_000 }).toBe('PONG');
    const hears = async () => {
      await redis.client.publish('news', 'again');
      return heard > 0;
    };
    await expect.poll(hears, { timeout: 15_000 }).toBe(true);
  });

  it('says so at once where it was closed', async () => {
    const connections = open();
    await answerOf(connections.redis, () => connections.redis.ping());
    connections.close();
    await expect(answerOf(connections.redis, () => connections.redis.ping())).rejects.toMatchObject({
      code: 'store_unavailable',
    });
  });
});

/** A server that knows PING and one INFO. */
async function pretending(path: string, info: string): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      for (const command of data.toString().matchAll(/\*\d+\r\n\$\d+\r\n([a-z]+)\r\n/gi)) {
        const name = command[1]?.toLowerCase();
        if (name === 'hello') socket.write("-ERR unknown command 'HELLO'\r\n");
        else if (name === 'info') socket.write(`$${info.length}\r\n${info}\r\n`);
        else socket.write('+OK\r\n');
      }
    });
  });
  await new Promise<void>((done) => server.listen(path, done));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return path;
}

it('[redis:down-means-no] a connection that breaks again while it subscribes anew hears on after all, and leaves no error that nobody awaits', async () => {
  const proxy = await RedisProxy.start(redis.server.socketPath);
  onTestFinished(() => proxy.close());
  const { subscriber } = open(proxy.path);
  let heard = 0;
  await Channels.of(subscriber).follow('word', { onMessage: () => heard++, onGap: () => {} });
  for (let times = 0; times < 5; times++) {
    const again = proxy.cutAt('asked', (bytes) => bytes.includes('subscribe'));
    proxy.cut();
    await again;
  }
  await expect
    .poll(async () => {
      await redis.client.publish('word', '');
      return heard;
    })
    .toBeGreaterThan(0);
  // An unhandled rejection fails the run: it would end the process of an agent.
});
