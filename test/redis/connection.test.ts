import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { answerOf, checkRedis, openRedis, type RedisConnections } from '../../src/redis/connection.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();
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
    await redis.client.config('SET', 'save', '');
  });

  it('passes a Redis that keeps what it is given', async () => {
    const check = await checkRedis(open().redis);
    expect(check).toMatchObject({ persistent: true, warnings: [] });
    expect(check.version).toMatch(/^\d+\.\d+/);
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

  it('does not take its own being busy for a silence of Redis', async () => {
    const { redis: client } = open();
    await answerOf(client, () => client.ping());
    const answer = answerOf(client, () => client.ping(), 50);
    await Promise.resolve();
    for (const until = performance.now() + 500; performance.now() < until; );
    expect(await answer).toBe('PONG');
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
