import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { redisForTests } from '../redis-for-tests.ts';
import { sealedWorld, upTo } from './sealed-world.ts';

const redis = redisForTests();
const world = sealedWorld(redis);

const POINTS = ['claimed', 'recovered', 'read', 'written', 'advanced', 'signed', 'trimmed'] as const;

describe('a sealer that is killed', () => {
  it('[audit:tamper-evident] at any point of its work loses no entry and doubles none', async () => {
    let appended = 0;
    for (const [i, point] of POINTS.entries()) {
      await world.append(90);
      appended += 30;
      const times = point === 'claimed' || point === 'recovered' ? 1 : 1 + (i % 3);
      const { says, exited } = world.process({ end: { point, times, signal: 'SIGKILL' } });
      await says({ reached: point });
      expect(await exited).toEqual([null, 'SIGKILL']);
      await world.lapse();
    }
    await world.append(3);
    appended += 1;
    await world.seal();
    for (const chain of ['acme', 'globex', '_s0']) expect(world.seqs(chain)).toEqual(upTo(appended));
    expect(world.verify()).toMatchObject({ verdict: 'intact', exitCode: 0 });
    for (const chain of world.verify().chains) expect(chain.signed).toBeDefined();
  }, 200_000);

  it('in the middle of a line leaves a torn one, which is no harm', async () => {
    await world.append(9);
    const { says, exited } = world.process({ end: { point: 'written', times: 1, signal: 'SIGKILL' } });
    await says({ reached: 'written' });
    await exited;
    await world.lapse();
    // What had not reached the disk when the machine lost its power.
    const [segment = ''] = world.segments('acme');
    const path = join(world.directory, 'acme', segment);
    const text = readFileSync(path, 'utf8');
    truncateSync(path, text.length - 30);
    await world.append(3);
    await world.seal();
    expect(world.segments('acme')).toHaveLength(2);
    for (const chain of ['acme', 'globex', '_s0']) {
      expect(world.verify().chains.find((one) => one.chain === chain)).toMatchObject({
        verdict: 'intact',
        entries: 4,
      });
    }
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });
});

describe('a sealer that is frozen while another takes over', () => {
  it.each(['read', 'written', 'advanced'] as const)(
    'moves nothing on and signs nothing when it thaws: %s',
    async (point) => {
      await world.append(30);
      const frozen = world.process({ end: { point, times: 1, signal: 'SIGSTOP' } });
      await frozen.says({ reached: point });
      await world.lapse();
      const sealer = world.sealer();
      await sealer.start();
      await world.append(30);
      await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
      await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^20 /);
      const before = await redis.client.hgetall('{s0}:audit-sealed');
      frozen.child.kill('SIGCONT');
      await frozen.says({ state: 'elsewhere' });
      // Its own segment is the older one, also where it made it only now: with lines that the other has as well.
      const [its = '', ...others] = world.segments('acme');
      expect(others).toHaveLength(1);
      const checkpoints = join(world.directory, 'acme', its.replace('.jsonl', '.checkpoints.jsonl'));
      expect(readFileSync(checkpoints, 'utf8')).toBe('');
      expect(await redis.client.hgetall('{s0}:audit-sealed')).toEqual(before);

      await world.append(3);
      await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^21 /);
      await frozen.end();
      await sealer.stop();
      for (const chain of ['acme', 'globex', '_s0']) expect(world.seqs(chain)).toEqual(upTo(21));
      expect(world.verify()).toMatchObject({ verdict: 'intact' });
    },
  );
});
