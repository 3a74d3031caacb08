import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { parseCheckpoint } from '../../src/core/audit/checkpoint.ts';
import { TenantId } from '../../src/core/identity/ids.ts';
import { shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { sealedWorld, upTo } from './sealed-world.ts';

const STREAM = '{s0}:audit';
const redis = redisForTests();
const world = sealedWorld(redis);

const checkpointsOf = (chain: string) =>
  readdirSync(join(world.directory, chain))
    .filter((name) => name.endsWith('.checkpoints.jsonl'))
    .flatMap((name) =>
      readFileSync(join(world.directory, chain, name), 'utf8')
        .split('\n')
        .slice(0, -1),
    )
    .map((line) => parseCheckpoint(line).checkpoint);

/** As `audit` in prelude.lua writes it, with what is wrong with it. */
const put = (changes: Record<string, string> = {}) => {
  const at = String(Date.now());
  const fields = {
    seq: '1',
    at,
    kind: 'call.forbidden',
    tenant: 'acme',
    proposal: '',
    detail: '{}',
    ...changes,
  };
  return redis.client.xadd(STREAM, '*', ...Object.entries(fields).flat());
};

describe('sealing', () => {
  it('[audit:tamper-evident] copies every entry into the chain of its tenant, signed, for this user alone', async () => {
    await world.append(9);
    const entries = await world.log.read({ limit: 100 });
    await world.seal();
    const sealed = ['acme', 'globex', '_s0'].flatMap((chain) => world.lines(chain));
    expect(
      sealed
        .flatMap((line) => ('entry' in line ? line.entry : []))
        .sort((a, b) => (a.place < b.place ? -1 : 1)),
    ).toEqual(entries);
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
    expect(statSync(world.directory).mode & 0o777).toBe(0o700);
    for (const chain of ['acme', 'globex', '_s0']) {
      expect(statSync(join(world.directory, chain)).mode & 0o777).toBe(0o700);
      for (const name of readdirSync(join(world.directory, chain))) {
        expect(statSync(join(world.directory, chain, name)).mode & 0o777).toBe(0o600);
      }
    }
  });

  it('begins new segments where it starts again or one is full, and goes on counting', async () => {
    for (let i = 0; i < 3; i += 1) {
      await world.append(30);
      await world.seal({ roundEntries: 15, segmentBytes: 1_000 });
    }
    expect(world.seqs('acme')).toEqual(upTo(30));
    expect(world.segments('acme').length).toBeGreaterThanOrEqual(6);
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
    const prevs = checkpointsOf('acme').map(({ prev }) => prev);
    expect(new Set(prevs).size).toBe(prevs.length);
  });

  it('signs again when nothing happens, and once more when it stops', async () => {
    await world.append(3);
    const sealer = world.sealer({ idleCheckpointMs: 20 });
    await sealer.start();
    await expect.poll(() => checkpointsOf('acme').length).toBeGreaterThan(3);
    await sealer.stop();
    const [first, ...more] = checkpointsOf('acme');
    expect(first?.count).toBe(1);
    for (const checkpoint of more) expect(checkpoint).toMatchObject({ count: 1, head: first?.head });
    const count = checkpointsOf('globex').length;
    // Nothing to seal: a segment for the checkpoint alone.
    await world.seal({ idleCheckpointMs: 1 });
    expect(checkpointsOf('globex').length).toBeGreaterThan(count);
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('leaves what it sealed last for people to read, and trims the rest', async () => {
    await world.append(300);
    await world.seal({ kept: 60, roundEntries: 30 });
    // Back to the end of a round.
    expect(await redis.client.xlen(STREAM)).toBe(61);
    const shown = await world.log.read({ limit: 1_000 });
    expect(shown.map(({ detail }) => detail.i)).toEqual(
      upTo(300)
        .slice(-61)
        .map((i) => i - 1),
    );
    await world.append(3);
    expect(await world.log.read({ tenant: 'acme', limit: 1_000 })).toHaveLength(21);
    await world.seal({ kept: 60, roundEntries: 30 });
    expect(world.seqs('acme')).toEqual(upTo(101));
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('is done by one process at a time: the next one takes over when it stops', async () => {
    const [one, other] = [world.sealer(), world.sealer()];
    await one.start();
    await expect.poll(() => one.health().sealing).toBe('here');
    await other.start();
    await expect.poll(() => other.health().sealing).toBe('elsewhere');
    await world.append(3);
    await one.stop();
    await world.append(3);
    await expect.poll(() => other.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
    await expect.poll(() => world.seqs('acme')).toEqual([1, 2]);
    await other.stop();
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('takes 6,000 entries in a few rounds', async () => {
    for (let i = 0; i < 60; i += 1) await Promise.all(upTo(100).map(() => world.append(1)));
    await world.seal();
    expect(world.lines('acme')).toHaveLength(6_000);
    expect(checkpointsOf('acme').length).toBeLessThan(10);
  });
});

describe('whatever stands in the stream', () => {
  it('does not stop it: what is no entry is noted, and the rest goes on', async () => {
    await world.append(3);
    const garbage = [
      () => redis.client.xadd(STREAM, '*', 'seq', '1', 'kind', 'proposal.approved'),
      () => redis.client.xadd(STREAM, '*', '', ''),
      () => put({ detail: 'no JSON' }),
      () => put({ detail: '[]' }),
      () => put({ detail: '' }),
      () => put({ detail: `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}` }),
      () => put({ detail: '{"a":1e999}' }),
      () => put({ detail: '{"a":-0}' }),
      () => put({ seq: '0' }),
      () => put({ seq: '-1' }),
      () => put({ seq: 'nan' }),
      () => put({ seq: '0x10' }),
      () => put({ seq: '99999999999999999999' }),
      () => put({ at: '1e3' }),
      () => put({ kind: 'proposal.invented' }),
      () => put({ tenant: '../../etc' }),
      () => put({ tenant: '_s0' }),
      () => put({ tenant: '' }),
      () => put({ tenant: '__proto__' }),
      () => put({ tenant: 'ACME' }),
    ];
    for (const add of garbage) await add();
    await world.append(3);
    await world.seal();
    const notes = world.lines('_s0').flatMap((line) => ('note' in line ? [line.note.kind] : []));
    expect(notes).toEqual(garbage.map(() => 'not_an_entry'));
    expect(world.seqs('acme')).toEqual([1, 2]);
    expect(readdirSync(world.directory).sort()).toEqual(['_s0', 'acme', 'globex']);
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
    // Sealed once: the next one passes over them.
    await world.append(3);
    await world.seal();
    expect(world.lines('_s0')).toHaveLength(garbage.length + 3);
  });

  it('an entry of odd texts, of unknown fields or of any size is an entry', async () => {
    const text = 'a\nb\u0000\u001b[31m\u202e \u{1f980} \ud800 "quoted" \\ </script>';
    await world.log.append({
      kind: 'call.malformed',
      tenant: 'acme',
      detail: { text, [text]: [[], {}, null, 1.5] },
    });
    await world.log.append({
      kind: 'call.malformed',
      tenant: 'acme',
      detail: { text: 'x'.repeat(9_000_000) },
    });
    await redis.client.hset('{s0}:audit-seq', 'acme', '3');
    await put({ seq: '3', surprise: 'a field of another version' });
    await world.log.append({ kind: 'call.malformed', tenant: 'acme', detail: { last: true } });
    await world.seal();
    expect(world.seqs('acme')).toEqual([1, 2, 3, 4]);
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('an entry that was removed before it was sealed leaves a gap that everybody sees', async () => {
    await world.append(9);
    const [, , , fourth] = await redis.client.xrange(STREAM, '-', '+');
    await redis.client.xdel(STREAM, fourth?.[0] ?? '');
    await world.seal();
    expect(world.seqs('acme')).toEqual([
      1,
      expect.objectContaining({ kind: 'gap', expected: 2, found: 3 }),
      3,
    ]);
    expect(world.verify()).toMatchObject({ verdict: 'missing', exitCode: 11 });
  });

  it('a Redis that was emptied begins to count anew: a gap, and the chain goes on', async () => {
    await world.append(9);
    const sealer = world.sealer();
    await sealer.start();
    await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
    await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^3 /);
    await redis.flush();
    await world.append(6);
    await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^6 /);
    await sealer.stop();
    expect(world.seqs('acme')).toEqual([
      1,
      2,
      3,
      expect.objectContaining({ kind: 'gap', expected: 4, found: 1 }),
      1,
      2,
    ]);
    expect(world.lines('acme').at(-1)?.chain.n).toBe(6);
    expect(world.verify()).toMatchObject({ verdict: 'missing' });
  });

  it('a Redis that forgot how far it was sealed doubles nothing', async () => {
    await world.append(9);
    await world.seal();
    await redis.client.del('{s0}:audit-sealed', '{s0}:audit-sealer');
    await world.append(3);
    await world.seal();
    expect(world.seqs('acme')).toEqual([1, 2, 3, 4]);
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('a shard that forgot it while it was being sealed is sealed on at once', async () => {
    const sealer = world.sealer();
    await sealer.start();
    await expect.poll(() => sealer.health().sealing).toBe('here');
    await redis.client.del('{s0}:audit-sealed');
    await world.append(3);
    await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^1 /);
    await sealer.stop();
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('a Redis that says more was sealed than was has no entry passed over', async () => {
    await world.append(9);
    await world.seal();
    await redis.client.hset('{s0}:audit-sealed', 'through', '9999999999999-0', 'kept', '5');
    await world.append(3);
    await world.seal();
    expect(world.seqs('acme')).toEqual([1, 2, 3, 4]);
  });
});

describe('files that are not as they were left', () => {
  it('cut off or restored from a backup: it goes on behind what was sealed, and says so', async () => {
    await world.append(30);
    const backup = join(world.elsewhere, 'backup');
    await world.seal();
    const [segment = ''] = world.segments('acme');
    const path = join(world.directory, 'acme', segment);
    const text = readFileSync(path, 'utf8');
    truncateSync(path, text.split('\n').slice(0, 6).join('\n').length + 1);
    await world.append(3);
    const sealer = await world.seal();
    expect(sealer.health()).toMatchObject({
      ok: true,
      warnings: [expect.stringContaining('end before what was sealed')],
    });
    expect(world.seqs('acme')).toEqual([1, 2, 3, 4, 5, 6, 11]);
    expect(world.lines('acme').at(-1)?.chain.n).toBe(11);
    expect(world.seqs('globex')).toEqual(upTo(11));
    const report = world.verify();
    expect(report.chains.find(({ chain }) => chain === 'globex')).toMatchObject({ verdict: 'intact' });
    expect(report.chains.find(({ chain }) => chain === 'acme')?.verdict).toMatch(/missing|truncated/);
    renameSync(world.directory, backup);
  });

  it('another machine’s empty disk: what was sealed elsewhere is missing here, and visibly', async () => {
    await world.append(9);
    await world.seal();
    rmSync(world.directory, { recursive: true });
    await world.append(3);
    const sealer = await world.seal();
    expect(sealer.health().warnings).toHaveLength(1);
    expect(world.lines('acme').map((line) => line.chain.n)).toEqual([4]);
    expect(world.verify().exitCode).not.toBe(0);
  });

  it('a last line that somebody wrote is not followed', async () => {
    await world.append(9);
    await world.seal();
    const [segment = ''] = world.segments('acme');
    const path = join(world.directory, 'acme', segment);
    const lines = readFileSync(path, 'utf8').split('\n');
    writeFileSync(path, [...lines.slice(0, 2), lines[2]?.replace('"i":6', '"i":7'), ''].join('\n'));
    await world.append(3);
    const sealer = await world.seal();
    expect(sealer.health().warnings).toHaveLength(2);
    expect(world.verify()).toMatchObject({ verdict: 'altered', exitCode: 10 });
  });

  it('changed under its hands: it stops writing into that file', async () => {
    await world.append(3);
    const sealer = world.sealer();
    await sealer.start();
    await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here' });
    await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^1 /);
    const [segment = ''] = world.segments('acme');
    appendFileSync(join(world.directory, 'acme', segment), '{"forged":true}\n');
    await world.append(3);
    await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^2 /);
    await sealer.stop();
    expect(world.segments('acme')).toHaveLength(2);
    expect(sealer.health().warnings).toEqual([expect.stringContaining('none that the sealer wrote')]);
    expect(world.verify().exitCode).not.toBe(0);
  });
});

describe('where nothing can be written', () => {
  it('says so, trims nothing, and goes on when it can: the directory is gone', async () => {
    await world.append(60);
    const sealer = world.sealer({ kept: 0, roundEntries: 20 });
    await sealer.start();
    await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
    const away = join(world.elsewhere, 'unmounted');
    await expect.poll(() => redis.client.xlen(STREAM)).toBeLessThan(30);
    renameSync(world.directory, away);
    await world.append(30);
    await expect
      .poll(() => sealer.health())
      .toMatchObject({ ok: false, sealing: 'failing', problem: 'ENOENT' });
    expect(await redis.client.xlen(STREAM)).toBeGreaterThanOrEqual(30);
    renameSync(away, world.directory);
    await expect.poll(() => sealer.health()).toMatchObject({ ok: true, sealing: 'here', unsealed: 0 });
    expect(await sealer.stop()).toEqual([]);
    expect(world.seqs('acme')).toEqual(upTo(30));
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('says so where it is stopped before it could seal everything', async () => {
    const sealer = world.sealer();
    await sealer.start();
    await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
    renameSync(world.directory, join(world.elsewhere, 'unmounted'));
    await world.append(3);
    expect(await sealer.stop()).toEqual([expect.stringContaining('could not be sealed to its end')]);
  });

  it('a full disk, in the middle of a line: nothing is lost and nothing doubled', async () => {
    await world.append(300);
    // No file of that process grows beyond some kilobytes: what a disk does when it is full, without one.
    const limited = world.process({}, 'ulimit -f 8;');
    await limited.says({ state: 'failing EFBIG' });
    await limited.end();
    await world.lapse();
    const [segment = ''] = world.segments('acme');
    expect(readFileSync(join(world.directory, 'acme', segment), 'utf8').endsWith('\n')).toBe(false);
    await world.seal();
    for (const chain of ['acme', 'globex', '_s0']) expect(world.seqs(chain)).toEqual(upTo(100));
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });

  it('does not start at all where there can be no directory', async () => {
    const options = { directory: join(world.elsewhere, 'not', 'there') };
    await expect(world.sealer(options).start()).rejects.toMatchObject({ code: 'audit_directory_unfit' });
    writeFileSync(join(world.elsewhere, 'file'), '');
    await expect(world.sealer({ directory: join(world.elsewhere, 'file') }).start()).rejects.toThrow(
      'COUNTERSIGN_AUDIT_DIR',
    );
  });

  it('goes on when Redis can be read again', async () => {
    await world.append(3);
    const sealer = world.sealer();
    await sealer.start();
    await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
    await redis.client.set('{s0}:audit-sealer', 'garbage');
    await redis.client.del('{s0}:audit-sealed');
    await world.append(3);
    await expect.poll(() => sealer.health()).toMatchObject({ ok: false, problem: 'store_damaged' });
    await redis.client.del('{s0}:audit-sealer');
    await expect.poll(() => sealer.health()).toMatchObject({ ok: true, sealing: 'here', unsealed: 0 });
    expect(world.seqs('acme')).toEqual([1, 2]);
    await sealer.stop();
    expect(world.verify()).toMatchObject({ verdict: 'intact' });
  });
});

it('passes over what is none of its business in the directory', async () => {
  mkdirSync(join(world.directory, 'acme'), { recursive: true });
  writeFileSync(join(world.directory, 'acme', '000000000001-9007199254740991.jsonl'), '');
  mkdirSync(join(world.directory, 'lost+found'), { recursive: true });
  writeFileSync(join(world.directory, 'README'), 'by hand');
  await world.append(3);
  await world.seal();
  expect(world.seqs('acme')).toEqual([1]);
});

it('[audit:tamper-evident] fails at 40 places, in any order, with entries coming in all the while: nothing lost, nothing twice', async () => {
  let failures = 40;
  let reached = 0;
  const sealer = world.sealer({
    roundEntries: 7,
    kept: 20,
    retryMs: 1,
    // Every third point or so, and never the same one of a round for long.
    reached: async () => {
      reached += 1;
      if (failures === 0 || reached % 11 > 3) return;
      failures -= 1;
      throw new Error('here as well');
    },
  });
  await sealer.start();
  let appended = 0;
  while (failures > 0) {
    await world.append(3);
    appended += 1;
  }
  await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
  await sealer.stop();
  for (const chain of ['acme', 'globex', '_s0']) expect(world.seqs(chain)).toEqual(upTo(appended));
  expect(world.verify()).toMatchObject({ verdict: 'intact' });
});

describe('on four shards', () => {
  const wide = sealedWorld(redis, 4);

  it('a tenant has one chain, and each shard has one for what belongs to none', async () => {
    await wide.append(30);
    for (const shard of [1, 2, 3]) {
      const fields = { seq: '1', at: '1', kind: 'switch.on', tenant: '-', proposal: '', detail: '{}' };
      await redis.client.xadd(`{s${shard}}:audit`, '*', ...Object.entries(fields).flat());
    }
    // An entry of acme in a shard that is not its own.
    const foreign = { seq: '11', at: '1', kind: 'switch.on', tenant: 'acme', proposal: '', detail: '{}' };
    for (const shard of [0, 1, 2, 3])
      await redis.client.xadd(`{s${shard}}:audit`, '*', ...Object.entries(foreign).flat());
    await wide.seal();
    await wide.append(3);
    await wide.seal();
    expect(readdirSync(wide.directory).sort()).toEqual(['_s0', '_s1', '_s2', '_s3', 'acme', 'globex']);
    expect(wide.seqs('acme').slice(0, 11)).toEqual(upTo(11));
    expect(wide.seqs('globex')).toEqual(upTo(11));
    const notes = [0, 1, 2, 3].flatMap((shard) => wide.lines(`_s${shard}`).filter((line) => 'note' in line));
    expect(notes).toHaveLength(3);
  });

  describe('of which one was damaged', () => {
    const DAMAGED = 1;
    /** One of each shard. */
    const tenants = [0, 1, 2, 3].map((shard) => {
      for (let n = 0; ; n += 1) {
        const tenant = TenantId.parse(`tenant-${n}`);
        if (shardOfTenant(tenant, 4) === shard) return tenant;
      }
    });
    const damaged = tenants[DAMAGED] as TenantId;
    const healthy = tenants.filter((tenant) => tenant !== damaged);
    const append = async (to: readonly TenantId[]) => {
      for (const tenant of to) await wide.log.append({ kind: 'call.forbidden', tenant, detail: {} });
    };
    /** What is there is put aside, and something stands in its place; answers with how to put it back. */
    const damage = async (name: string) => {
      const key = `{s${DAMAGED}}:${name}`;
      if ((await redis.client.exists(key)) === 1) await redis.client.rename(key, `${key}:aside`);
      await redis.client.set(key, 'nothing of ours');
      return async () => {
        await redis.client.del(key);
        if ((await redis.client.exists(`${key}:aside`)) === 1) await redis.client.rename(`${key}:aside`, key);
      };
    };
    const sealedOf = (tenant: TenantId) =>
      existsSync(join(wide.directory, tenant)) ? wide.seqs(tenant) : [];
    const logTo = (lines: Record<string, unknown>[]) =>
      pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) });

    it.each(['audit', 'audit-sealed'])(
      'seals the others on, says so once, and then seals the rest of it: its %s',
      async (name) => {
        await append(tenants);
        const mend = await damage(name);
        const lines: Record<string, unknown>[] = [];
        const sealer = wide.sealer({ logger: logTo(lines), retryMs: 1 });
        await sealer.start();
        for (let i = 1; i <= 3; i += 1) {
          for (const tenant of healthy) await expect.poll(() => sealedOf(tenant)).toEqual(upTo(i));
          await append(healthy);
        }
        for (const tenant of healthy) await expect.poll(() => sealedOf(tenant)).toEqual(upTo(4));
        expect(sealedOf(damaged)).toEqual([]);
        expect(sealer.health()).toMatchObject({ ok: false, sealing: 'here', shardsNotSealed: [DAMAGED] });
        const alarms = () => lines.filter(({ alarm }) => alarm !== undefined);
        expect(alarms()).toMatchObject([{ alarm: 'audit_shard_not_sealed', shard: DAMAGED }]);
        await mend();
        await append(tenants);
        await expect
          .poll(() => sealer.health())
          .toMatchObject({ ok: true, unsealed: 0, shardsNotSealed: [] });
        await expect.poll(() => sealedOf(damaged)).toEqual(upTo(2));
        for (const tenant of healthy) await expect.poll(() => sealedOf(tenant)).toEqual(upTo(5));
        expect(alarms()).toHaveLength(1);
        expect(await sealer.stop()).toEqual([]);
        expect(wide.verify()).toMatchObject({ verdict: 'intact' });
      },
    );

    it('in the middle of being sealed: signs nothing that is recorded nowhere, and doubles nothing', async () => {
      await append(tenants);
      let mend: (() => Promise<void>) | undefined;
      const sealer = wide.sealer({
        retryMs: 1,
        idleCheckpointMs: 1,
        reached: async (point) => {
          if (point === 'written' && mend === undefined && sealedOf(damaged).length > 0) {
            mend = await damage('audit-sealed');
          }
        },
      });
      await sealer.start();
      await expect.poll(() => sealer.health().shardsNotSealed).toEqual([DAMAGED]);
      await append(healthy);
      for (const tenant of healthy) await expect.poll(() => sealedOf(tenant)).toEqual(upTo(2));
      const files = readdirSync(join(wide.directory, damaged)).filter((file) => file.includes('checkpoints'));
      for (const file of files) expect(readFileSync(join(wide.directory, damaged, file), 'utf8')).toBe('');
      expect(await sealer.stop()).toEqual([expect.stringContaining(`shard ${DAMAGED} could not be sealed`)]);
      await mend?.();
      await append(tenants);
      await wide.seal();
      expect(sealedOf(damaged)).toEqual(upTo(2));
      for (const tenant of healthy) expect(sealedOf(tenant)).toEqual(upTo(3));
      expect(wide.verify()).toMatchObject({ verdict: 'intact' });
    });
  });
});
