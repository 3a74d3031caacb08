import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();

it('writes on from a terminal, held by no replica: that they may be on, and how to turn them off', async () => {
  const cli = join(import.meta.dirname, '..', '..', 'dist', 'cli.js');
  const args = [cli, '--env', '/nonexistent.env', 'writes', 'on', '--reason', 'fixed'];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, REDIS_URL: redis.connectionOptions.path, COUNTERSIGN_REDIS_REPLICAS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [errors, output, [code]] = await Promise.all([
    text(child.stderr),
    text(child.stdout),
    once(child, 'exit'),
  ]);
  expect({ code, output }).toEqual({ code: 1, output: '' });
  expect(errors).toContain('writes may be on');
  expect(errors).toContain('run "countersign writes off"');
  const writeSwitch = new WriteSwitchRedis({ redis: redis.client, shards: 1, startDeadlineMs: 5 });
  expect((await writeSwitch.status()).last?.why).toBe('fixed');
});
