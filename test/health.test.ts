import { beforeEach, describe, expect, it } from 'vitest';
import type { SealingHealth } from '../src/audit-files/sealer.ts';
import { ExecutorHealth, Health } from '../src/health.ts';
import { openRedis } from '../src/redis/connection.ts';
import { DamagedShards } from '../src/redis/damaged-shards.ts';
import { redisForTests } from './redis-for-tests.ts';
import { surfaceForTests } from './slack/surface-for-tests.ts';

const redis = redisForTests({ appendOnly: 'always' });
const ONE_REDIS = { replicas: 0, shards: 1 };
const SEALING: SealingHealth = { ok: true, sealing: 'here', unsealed: 0, shardsNotSealed: [], warnings: [] };

describe.each(['socket', 'http'] as const)('the health of an approval service, in %s mode', (mode) => {
  let health: Health;
  let audit: SealingHealth;
  beforeEach(() => {
    audit = SEALING;
  });
  const t = surfaceForTests(mode, redis, {
    adjust: (parts) => {
      health = new Health({ redis: redis.client, needs: ONE_REDIS, audit: () => audit });
      const { transport } = parts.config;
      const listen = { host: '127.0.0.1', port: 0 };
      const config =
        transport.mode === 'socket' ? { ...parts.config, transport: { ...transport, listen } } : parts.config;
      return { ...parts, config, health: health.answer };
    },
  });

  async function ask(path = '/health') {
    const response = await fetch(`http://127.0.0.1:${t.surface.port}${path}`);
    return { status: response.status, body: (await response.json()) as Record<string, never> };
  }

  it('is failing until the permits of the switch were renewed, and good then', async () => {
    expect(await ask()).toMatchObject({ status: 503, body: { status: 'failing', permits: { ok: false } } });
    expect(await ask('/ready')).toEqual({ status: 503, body: { ready: false } });
    health.permitsRenewed();
    expect(await ask()).toMatchObject({
      status: 200,
      body: { status: 'ok', redis: { ok: true, warnings: [] }, slack: { ok: true }, permits: { ok: true } },
    });
    expect(await ask('/ready')).toEqual({ status: 200, body: { ready: true } });
  });

  it('counts what is wrong with channels, and names no tenant, no channel and no token', async () => {
    health.permitsRenewed();
    const { channels } = t.slack.world.workspaces[1] ?? {};
    const [channel] = channels ?? [];
    if (channel === undefined) throw new Error('the world has changed');
    channel.isArchived = true;
    const replica = await t.replica();
    const response = await fetch(`http://127.0.0.1:${replica.port}/health`);
    const text = await response.text();
    expect(response.status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({
      status: 'warning',
      tenants: { problems: { channel_archived: 1 } },
    });
    for (const secret of ['globex', 'C0GLOBEX', 'xoxb', 'xapp', 'T0']) expect(text).not.toContain(secret);
  });

  it('is failing where Slack cannot be reached over the socket, and not ready while it stops', async () => {
    health.permitsRenewed();
    if (mode === 'socket') {
      t.slack.faults.dropSockets();
      await expect.poll(async () => (await ask()).status).toBe(503);
      expect((await ask()).body).toMatchObject({ slack: { ok: false } });
      const healthy = async () => {
        health.permitsRenewed();
        return (await ask()).status;
      };
      await expect.poll(healthy, { timeout: 15_000 }).toBe(200);
    }
    health.permitsRenewed();
    health.stopping();
    expect((await ask('/ready')).status).toBe(503);
    expect((await ask()).status).toBe(200);
  });

  it('is failing where the audit is not sealed, and ready all the same: somebody may have to type off', async () => {
    health.permitsRenewed();
    audit = {
      ok: false,
      sealing: 'failing',
      problem: 'ENOSPC',
      unsealed: 7,
      shardsNotSealed: [],
      warnings: [],
    };
    expect(await ask()).toMatchObject({ status: 503, body: { status: 'failing', audit } });
    expect(await ask('/ready')).toEqual({ status: 200, body: { ready: true } });
    audit = { ...SEALING, warnings: ['Checkpoints of the audit do not reach COUNTERSIGN_AUDIT_COPY.'] };
    expect(await ask()).toMatchObject({ status: 200, body: { status: 'warning', audit } });
  });

  it('is failing where a shard is damaged, or its permits are not renewed, and ready for the others', async () => {
    health.permitsRenewed();
    const damaged = DamagedShards.of(redis.client);
    damaged.heard(2, 'a test', new Error('STORE_DAMAGED {s2}:tenant:acme:pending'));
    const answer = await ask();
    expect(answer).toMatchObject({ status: 503, body: { shards: { ok: false, damaged: [2] } } });
    expect(JSON.stringify(answer.body)).not.toContain('acme');
    expect(await ask('/ready')).toEqual({ status: 200, body: { ready: true } });
    damaged.answered(2, 'a test');
    expect(await ask()).toMatchObject({ status: 200, body: { shards: { ok: true, damaged: [] } } });

    health = new Health({ redis: redis.client, needs: ONE_REDIS, audit: () => audit });
    health.permitsRenewed({ some: true });
    expect((await health.report({ connected: true, problems: [] })).permits.ok).toBe(false);
  });

  it('is failing where Redis forgot the switch, and ready all the same: somebody has to type on', async () => {
    health.permitsRenewed({ forgotten: true });
    expect(await ask()).toMatchObject({ status: 503, body: { status: 'failing', switch: { ok: false } } });
    expect(await ask('/ready')).toEqual({ status: 200, body: { ready: true } });
    health.permitsRenewed();
    expect(await ask()).toMatchObject({ status: 200, body: { status: 'ok', switch: { ok: true } } });
  });

  it('takes nothing but a GET', async () => {
    const answer = await fetch(`http://127.0.0.1:${t.surface.port}/health`, { method: 'POST' });
    expect(answer.status).toBe(404);
  });
});

describe('what health says of Redis', () => {
  const slack = { connected: true, problems: [] };

  it('is that it would evict, that it keeps nothing, or that it does not answer', async () => {
    const fit = new Health({ redis: redis.client, needs: ONE_REDIS, audit: () => SEALING });
    fit.permitsRenewed();
    await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect(await fit.report(slack)).toMatchObject({ status: 'failing', redis: { ok: false } });
    await redis.client.config('SET', 'maxmemory-policy', 'noeviction');

    const gone = openRedis({ connection: { path: '/nonexistent/redis.sock' } });
    const health = new Health({ redis: gone.redis, needs: ONE_REDIS, audit: () => SEALING });
    health.permitsRenewed();
    const report = await health.report(slack);
    gone.close();
    expect(report).toMatchObject({ status: 'failing', redis: { problem: 'Redis does not answer' } });
  });

  it('is that it is full, a replica, or has no disk to write to: it answers, and takes nothing', async () => {
    const look = async () => {
      const health = new Health({ redis: redis.client, needs: ONE_REDIS, audit: () => SEALING });
      health.permitsRenewed();
      return await health.report(slack);
    };
    await redis.client.config('SET', 'maxmemory', '1');
    expect(await look()).toMatchObject({
      status: 'failing',
      redis: { ok: false, problem: expect.stringContaining('full') },
    });
    await redis.client.config('SET', 'maxmemory', '0');
    await redis.client.replicaof('127.0.0.1', '1');
    expect(await look()).toMatchObject({
      status: 'failing',
      redis: { problem: expect.stringContaining('replica') },
    });
    await redis.client.replicaof('NO', 'ONE');
    expect(await look()).toMatchObject({ status: 'ok' });
  });

  it('is that replicas are missing which have to hold what counts', async () => {
    const needs = { replicas: 2, shards: 1 };
    const health = new Health({ redis: redis.client, needs, audit: () => SEALING });
    health.permitsRenewed();
    expect(await health.report(slack)).toMatchObject({
      status: 'failing',
      redis: { ok: false, problem: expect.stringContaining('0 of 2 replicas are in sync') },
    });
  });

  it('is a warning where a crash would lose the last second', async () => {
    await redis.client.config('SET', 'appendfsync', 'everysec');
    const health = new Health({ redis: redis.client, needs: ONE_REDIS, audit: () => SEALING });
    health.permitsRenewed();
    const report = await health.report(slack);
    await redis.client.config('SET', 'appendfsync', 'always');
    expect(report).toMatchObject({ status: 'warning', redis: { ok: true } });
    expect(report.redis.warnings).toEqual([expect.stringContaining('appendfsync everysec')]);
  });
});

describe('the health of an executor', () => {
  const world = { takesJobs: true, startsInTime: true, policyInForce: true };
  const health = () =>
    new ExecutorHealth({
      redis: redis.client,
      needs: ONE_REDIS,
      takesJobs: async () => world.takesJobs,
      startsInTime: () => world.startsInTime,
      policyInForce: () => world.policyInForce,
    });
  beforeEach(() => Object.assign(world, { takesJobs: true, startsInTime: true, policyInForce: true }));

  it('is good where Redis answers, jobs are taken and the policy is the file', async () => {
    expect(await health().report()).toEqual({
      status: 'ok',
      redis: { ok: true, warnings: [] },
      shards: { ok: true, damaged: [] },
      queue: { ok: true },
      starts: { ok: true },
      policy: { ok: true },
      stopping: false,
    });
  });

  it('is failing where a shard is damaged', async () => {
    const damaged = DamagedShards.of(redis.client);
    damaged.heard(2, 'a test', new Error('damaged'));
    expect(await health().report()).toMatchObject({ status: 'failing', shards: { damaged: [2] } });
    damaged.answered(2, 'a test');
    expect(await health().report()).toMatchObject({ status: 'ok' });
  });

  it('is failing where no jobs are taken, and a warning where an older policy is in force or calls start too late', async () => {
    world.policyInForce = false;
    expect(await health().report()).toMatchObject({ status: 'warning', policy: { ok: false } });
    world.policyInForce = true;
    world.startsInTime = false;
    expect(await health().report()).toMatchObject({ status: 'warning', starts: { ok: false } });
    world.takesJobs = false;
    expect(await health().report()).toMatchObject({ status: 'failing', queue: { ok: false } });
  });

  it('is failing where Redis would evict', async () => {
    await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const report = await health().report();
    await redis.client.config('SET', 'maxmemory-policy', 'noeviction');
    expect(report).toMatchObject({ status: 'failing', redis: { ok: false } });
  });

  it('is good while it lets the calls in hand end', async () => {
    const stopping = health();
    stopping.stopping();
    world.takesJobs = false;
    expect(await stopping.report()).toMatchObject({ status: 'ok', stopping: true });
  });
});
