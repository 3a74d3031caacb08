import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { type EmbeddedRedis, startEmbeddedRedis } from '../src/sandbox/embedded-redis.ts';

export interface RedisForTests {
  /** The server, to be stopped, killed and restarted by tests of faults. */
  readonly server: EmbeddedRedis;
  readonly connectionOptions: { path: string };
  /** A connection for looking and preparing; the same one all through the file. */
  readonly client: Redis;
  /** One more connection, closed after the file. */
  connect(options?: Omit<RedisOptions, 'replyMapping'>): Redis;
  /** Empties the server, its functions, scripts and connected clients' subscriptions left alone. */
  flush(): Promise<void>;
}

interface RedisForTestsOptions {
  readonly appendOnly?: 'always' | 'everysec';
  readonly extraArgs?: readonly string[];
  /** Default `each test`. `once`: for a file whose tests share what they put there. */
  readonly emptied?: 'each test' | 'once';
}

/** One real Redis for the test file that calls this at its top, emptied before each test, gone after the last one. */
export function redisForTests(options: RedisForTestsOptions = {}): RedisForTests {
  const directory = mkdtempSync(join(tmpdir(), 'cs-test-redis-'));
  const connections: Redis[] = [];
  let server: EmbeddedRedis | undefined;

  const started = (): EmbeddedRedis => {
    if (!server) throw new Error('redisForTests: the server starts in beforeAll; use it inside a test');
    return server;
  };
  const forTests: RedisForTests = {
    get server() {
      return started();
    },
    get connectionOptions() {
      return started().connectionOptions;
    },
    get client() {
      return connections[0] ?? forTests.connect();
    },
    connect(extra = {}) {
      const connection = new Redis({ maxRetriesPerRequest: null, ...extra, path: started().socketPath });
      // Tests of faults take the server away; what they await tells them, not this.
      connection.on('error', () => {});
      connections.push(connection);
      return connection;
    },
    async flush() {
      await forTests.client.flushall('SYNC');
    },
  };

  beforeAll(async () => {
    server = await startEmbeddedRedis({
      directory,
      appendOnly: options.appendOnly ?? 'everysec',
      extraArgs: options.extraArgs ?? [],
    });
  });
  if (options.emptied !== 'once') beforeEach(() => forTests.flush());
  afterAll(async () => {
    for (const connection of connections) connection.disconnect();
    await server?.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  return forTests;
}
