import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type EmbeddedRedis,
  type EmbeddedRedisOptions,
  RedisDirectoryInUse,
  RedisStartFailed,
  startEmbeddedRedis,
} from '../../src/sandbox/embedded-redis.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'cs-embedded-'));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function start(directory: string, options: Partial<EmbeddedRedisOptions> = {}): Promise<EmbeddedRedis> {
  const server = await startEmbeddedRedis({ directory, appendOnly: 'always', ...options });
  undo.push(() => server.stop());
  return server;
}

async function ask<T>(server: EmbeddedRedis, question: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ path: server.socketPath });
  try {
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

async function goneWithin(pid: number, milliseconds: number): Promise<boolean> {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    if (!alive(pid)) return true;
    await sleep(20);
  }
  return false;
}

describe('the embedded Redis', () => {
  it('listens on a private unix socket only, never evicts, and writes an append-only file', async () => {
    const directory = temporaryDirectory();
    const server = await start(directory);
    const settings = await ask(server, (redis) =>
      redis.config('GET', 'port', 'maxmemory-policy', 'appendonly', 'appendfsync', 'protected-mode', 'save'),
    );
    expect(settings).toEqual(
      expect.arrayContaining(['port', '0', 'maxmemory-policy', 'noeviction', 'appendfsync', 'always']),
    );
    expect(statSync(server.socketPath).mode & 0o777).toBe(0o700);
    await ask(server, (redis) => redis.set('a', '1'));
    expect(readdirSync(directory)).toContain('appendonlydir');
  });

  it('keeps what was written through an orderly stop and through a SIGKILL', async () => {
    const server = await start(temporaryDirectory());
    await ask(server, (redis) => redis.set('before-kill', 'kept'));
    const first = server.pid;
    await server.kill9();
    expect(alive(first)).toBe(false);
    expect(() => server.pid).toThrow('does not run');
    await server.restart();
    expect(server.pid).not.toBe(first);
    await ask(server, (redis) => redis.set('before-stop', 'kept'));
    await server.stop();
    await server.restart();
    expect(await ask(server, (redis) => redis.mget('before-kill', 'before-stop'))).toEqual(['kept', 'kept']);
  });

  it('restarts while it runs, on the same socket', async () => {
    const server = await start(temporaryDirectory());
    const { pid, socketPath } = server;
    await server.restart();
    expect(server.socketPath).toBe(socketPath);
    expect(server.pid).not.toBe(pid);
    expect(await ask(server, (redis) => redis.ping())).toBe('PONG');
  });

  it('works in a directory whose path is too long for a socket, and leaves no socket directory behind', async () => {
    const directory = join(temporaryDirectory(), 'x'.repeat(120));
    const server = await start(directory);
    expect(Buffer.byteLength(server.socketPath)).toBeLessThanOrEqual(103);
    expect(await ask(server, (redis) => redis.ping())).toBe('PONG');
    await server.stop();
    expect(existsSync(server.socketPath)).toBe(false);
    expect(existsSync(join(server.socketPath, '..'))).toBe(false);
    expect(readdirSync(directory)).toContain('appendonlydir');
  });

  it('lets extra arguments win', async () => {
    const server = await start(temporaryDirectory(), { extraArgs: ['--maxmemory', '7mb'] });
    expect(await ask(server, (redis) => redis.config('GET', 'maxmemory'))).toEqual([
      'maxmemory',
      `${7 << 20}`,
    ]);
  });

  it('refuses a directory in which another one works, and takes it over once that one is gone', async () => {
    const directory = temporaryDirectory();
    const first = await start(directory);
    await expect(start(directory)).rejects.toThrow(RedisDirectoryInUse);
    await ask(first, (redis) => redis.set('still', 'mine'));
    await first.kill9();
    const second = await start(directory);
    expect(await ask(second, (redis) => redis.get('still'))).toBe('mine');
  });

  it("says the server's last words where it does not start", async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'appendonlydir'));
    writeFileSync(join(directory, 'appendonlydir', 'appendonly.aof.manifest'), 'not a manifest\n');
    const starting = start(directory);
    await expect(starting).rejects.toThrow(RedisStartFailed);
    await expect(starting).rejects.toThrow(/manifest/i);
  });

  it.each(['SIGKILL', 'SIGINT', 'exit'])('ends with the process that started it: %s', async (way) => {
    const directory = join(temporaryDirectory(), way === 'SIGKILL' ? 'y'.repeat(120) : 'short');
    const { parent, pid, socketPath } = await startInAnotherProcess(directory);
    expect(alive(pid)).toBe(true);
    if (way === 'exit') parent.stdin?.write('exit\n');
    else parent.kill(way as NodeJS.Signals);
    await once(parent, 'exit');
    expect(await goneWithin(pid, 20_000)).toBe(true);
    const next = await start(directory);
    expect(await ask(next, (redis) => redis.get('written'))).toBe('by the process that died');
    if (way === 'SIGKILL') {
      await expect.poll(() => existsSync(join(socketPath, '..'))).toBe(false);
    }
  });
});

async function startInAnotherProcess(
  directory: string,
): Promise<{ parent: ChildProcess; pid: number; socketPath: string }> {
  const program = `
    import { startEmbeddedRedis } from ${JSON.stringify(new URL('../../src/sandbox/embedded-redis.ts', import.meta.url).href)};
    import { Redis } from 'ioredis';
    const server = await startEmbeddedRedis({ directory: process.argv[1], appendOnly: 'always' });
    const redis = new Redis(server.connectionOptions);
    await redis.set('written', 'by the process that died');
    redis.disconnect();
    process.stdin.once('data', () => process.exit(0));
    console.log(JSON.stringify({ pid: server.pid, socketPath: server.socketPath }));
  `;
  const parent = spawn(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '-e', program, directory],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  undo.push(() => parent.kill('SIGKILL'));
  const [line] = await once(createInterface({ input: parent.stdout }), 'line');
  return { parent, ...(JSON.parse(line) as { pid: number; socketPath: string }) };
}
