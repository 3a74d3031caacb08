import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { BusyHouse } from './busy-house.ts';
import { RedisProxy } from './redis-proxy.ts';
import { tally } from './tally.ts';

/** Redis fails in each way that it comes back from, while everybody is at work; nobody may lose anything by it. */

const redis = redisForTests({ appendOnly: 'always' });
let proxy: RedisProxy;
beforeAll(async () => {
  proxy = await RedisProxy.start(redis.server.socketPath);
});
afterAll(() => proxy.close());
beforeEach(() => proxy.heal());

interface Given {
  readonly server: EmbeddedRedis;
  /** Not through the proxy. */
  readonly client: Redis;
  readonly proxy: RedisProxy;
}

interface Interruption {
  readonly name: string;
  readonly times: number;
  readonly pauseMs: number;
  /** One fault, and its end. Resolves with how many that were. */
  readonly strike: (given: Given, turn: number) => Promise<number>;
}

const one = async (strike: Promise<unknown>) => {
  await strike;
  return 1;
};
const evaluates = (bytes: Buffer) => /evalsha/i.test(bytes.toString('latin1'));

const KINDS = ['commands', 'subscriber', 'blocking', 'queue events'] as const;

const INTERRUPTIONS: readonly Interruption[] = [
  {
    name: 'Redis killed with SIGKILL (appendfsync always)',
    times: 12,
    pauseMs: 900,
    strike: async ({ server }) => {
      await server.kill9();
      await server.restart();
      return 1;
    },
  },
  {
    name: 'Redis restarted',
    times: 8,
    pauseMs: 900,
    strike: ({ server }) => one(server.restart()),
  },
  {
    name: 'Redis loses its scripts (SCRIPT FLUSH)',
    times: 60,
    pauseMs: 20,
    strike: async ({ client }) => {
      for (let i = 0; i < 10; i++) await client.script('FLUSH', 'SYNC');
      return 10;
    },
  },
  {
    name: 'network cut, every connection at once',
    times: 30,
    pauseMs: 300,
    strike: async ({ proxy }) => {
      proxy.cut();
      return 1;
    },
  },
  {
    name: 'network cut before the call reached Redis',
    times: 100,
    pauseMs: 60,
    strike: ({ proxy }, turn) => one(cutAtCall(proxy, 'asked', turn)),
  },
  {
    name: 'network cut after Redis did what was asked',
    times: 100,
    pauseMs: 60,
    strike: ({ proxy }, turn) => one(cutAtCall(proxy, 'answered', turn)),
  },
  {
    name: 'slow network (longer than the start deadline)',
    times: 4,
    pauseMs: 1_500,
    strike: async ({ proxy }) => {
      proxy.slow(200);
      await sleep(2_000);
      proxy.heal();
      return 1;
    },
  },
  {
    name: 'Redis frozen (SIGSTOP)',
    times: 6,
    pauseMs: 1_500,
    strike: async ({ server }, turn) => {
      process.kill(server.pid, 'SIGSTOP');
      // Shorter and longer than our own limits for an answer, and for a connection's silence.
      await sleep([400, 2_500, 4_500][turn % 3] ?? 0);
      process.kill(server.pid, 'SIGCONT');
      return 1;
    },
  },
  {
    name: 'connections that stand and never answer',
    times: 3,
    pauseMs: 8_000,
    strike: async ({ proxy }) => {
      proxy.silence();
      return 1;
    },
  },
  {
    name: 'connections that stand and never answer, new ones too',
    times: 2,
    pauseMs: 8_000,
    strike: async ({ proxy }) => {
      proxy.silence({ newOnes: true });
      await sleep(5_000);
      proxy.heal();
      return 1;
    },
  },
  ...KINDS.map(
    (kind): Interruption => ({
      name: `CLIENT KILL: ${kind}`,
      times: 25,
      pauseMs: 200,
      strike: ({ client }) => killClients(client, kind),
    }),
  ),
];

describe('Redis is interrupted while everybody works', () => {
  it.each(INTERRUPTIONS)(
    '$name: nothing is lost, nothing runs twice, everything is settled',
    async (fault) => {
      const row = tally(fault.name);
      const house = await BusyHouse.start(proxy.path);
      await expect.poll(() => house.decided).toBeGreaterThan(3);
      const given = { server: redis.server, client: redis.client, proxy };
      let injected = 0;
      for (let turn = 0; turn < fault.times; turn++) {
        const [decided, ran] = [house.decided, house.ran.size];
        const struck = await fault.strike(given, turn);
        injected += struck;
        row.injected(struck);
        await sleep(fault.pauseMs * (0.5 + Math.random()));
        // It goes on in between, so that the next one strikes at work.
        await expect.poll(() => house.decided).toBeGreaterThan(decided);
        await expect.poll(() => house.ran.size).toBeGreaterThan(ran);
      }
      const found = await house.end(row);
      console.log(
        `${fault.name}: ${injected} times, ${house.decided} decisions, ${house.ran.size} executions, ${house.flips} flips`,
      );
      expect(found).toEqual({ lost: 0, doubled: 0, stuck: 0, audit: 'intact' });
      expect(injected).toBeGreaterThan(0);
    },
  );
});

/** Not always at the next one: those of the renewal and of the sweeper would be most of them. */
async function cutAtCall(proxy: RedisProxy, side: 'asked' | 'answered', turn: number): Promise<void> {
  let left = turn % 7;
  await proxy.cutAt(side, (bytes) => evaluates(bytes) && left-- <= 0);
}

/** By what they do now, as CLIENT LIST tells: a worker's other connection counts among those of commands. */
async function killClients(client: Redis, kind: (typeof KINDS)[number]): Promise<number> {
  const own = await client.client('ID');
  const lines = String(await client.client('LIST'))
    .split('\n')
    .filter(Boolean);
  const all = lines.map(
    (line) => new Map(line.split(' ').map((part) => part.split('=', 2) as [string, string])),
  );
  const chosen = all.filter((fields) => fields.get('id') !== String(own) && kindOf(fields) === kind);
  for (const fields of chosen) await client.client('KILL', 'ID', Number(fields.get('id')));
  return chosen.length;
}

function kindOf(fields: ReadonlyMap<string, string>): string {
  if (fields.get('sub') !== '0') return 'subscriber';
  if (/^xread/i.test(fields.get('cmd') ?? '')) return 'queue events';
  if (fields.get('flags')?.includes('b') || /^bz/i.test(fields.get('cmd') ?? '')) return 'blocking';
  return 'commands';
}
