import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import { CallContext, type CallContextInput } from '../../src/core/identity/call-context.ts';
import { TenantId } from '../../src/core/identity/ids.ts';
import { shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import type { OpenGuard } from '../../src/create-guard.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { openRedis, type RedisConnections } from '../../src/redis/connection.ts';
import { shardKeys } from '../../src/redis/keys.ts';
import { keysInUse } from '../../src/redis/keys-in-use-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import type { SlackWorld } from '../../src/sandbox/slack/slack-world.ts';
import type { RunningPart } from '../../src/service.ts';
import { received } from '../attacks/planted-tools.ts';
import { haltedBy } from '../contracts/proposal-store.contract.ts';
import { ClusterForTests, type ClusterNode } from '../faults/cluster-for-tests.ts';
import { PartsInProcess } from './parts-in-process.ts';

/** The installation on a Cluster of three masters and 16 shards, with tenants on each of the nodes. */

const SHARDS = 16;
const REPLICAS = { COUNTERSIGN_REDIS_REPLICAS: '0' };
/** One on each node. */
const TENANTS = ['acme', 'initech', 'soylent'] as const;
type Tenant = (typeof TENANTS)[number];

const POLICY = `
tools: { allow: [note.write] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 20m }
tenants:
${TENANTS.map((tenant) => `  ${tenant}: { slack: { team: T0ACME, channel: ${channelOf(tenant)} }, environments: [production] }`).join('\n')}
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;

describe('on a Cluster', () => {
  let cluster: ClusterForTests;
  let parts: PartsInProcess;
  let approvals: RunningPart;
  let guard: OpenGuard;
  let connections: RedisConnections;

  beforeAll(async () => {
    cluster = await ClusterForTests.start({ replicas: 0, appendOnly: 'everysec' });
    parts = await PartsInProcess.open({
      redis: cluster.address,
      shards: SHARDS,
      policy: POLICY,
      world: worldOfTenants(),
      toolsPath: join(import.meta.dirname, '..', 'attacks', 'planted-tools.ts'),
    });
    connections = openRedis({ url: cluster.address });
    const masters = await Promise.all(TENANTS.map((tenant) => cluster.masterOf(shardOf(tenant))));
    expect(new Set(masters).size).toBe(cluster.nodes.length);
    await parts.armWrites();
    const credentials = Object.fromEntries(
      TENANTS.map((tenant) => [
        `COUNTERSIGN_CRED_${tenant.toUpperCase()}__PRODUCTION__WRITE__TOKEN`,
        'the-token',
      ]),
    );
    [approvals, guard] = await Promise.all([
      parts.approvals(REPLICAS),
      parts.guard({ replicas: 0 }),
      parts.executor({ ...REPLICAS, ...credentials }),
    ]);
    await guard.ready();
  });
  afterAll(async () => {
    connections?.close();
    await parts?.close();
    await cluster?.stop();
  });
  // A node that was started anew knows none of our scripts.
  beforeEach(async () => {
    for (const { client } of cluster.nodes) await client.script('FLUSH', 'SYNC');
  });

  const propose = (tenant: Tenant, text: string): Promise<ProposalHandle> =>
    guard.propose({ tool: 'note.write', args: { text, fate: 'done' } }, contextOf(tenant));
  const card = ({ id }: ProposalHandle, tenant: Tenant) =>
    parts.card(id, 'Approval needed', channelOf(tenant));
  const approve = async (handle: ProposalHandle, tenant: Tenant) => {
    await parts.person('U0ANA').click(await card(handle, tenant), 'cs_approve');
  };
  const statusOf = async ({ id }: ProposalHandle) => (await parts.store().read(id))?.state.status;

  it('[approval:single-use] [execution:at-most-once] calls of tenants on every node are proposed, approved, run and answered', async () => {
    const handles = await Promise.all(TENANTS.map((tenant) => propose(tenant, `a note of ${tenant}`)));
    const results = handles.map((handle) => handle.result({ timeout: 30_000 }));
    for (const [i, tenant] of TENANTS.entries()) await approve(handles[i] as ProposalHandle, tenant);
    for (const result of await Promise.all(results))
      expect(result).toMatchObject({ headers: expect.anything() });
    const ran = received.map((run) => (run as { args: { text: string } }).args.text);
    for (const tenant of TENANTS)
      expect(ran.filter((text) => text === `a note of ${tenant}`)).toHaveLength(1);
  });

  it('[switch:off-means-no-start] [switch:off-then-on-resurrects-nothing] off is confirmed by every shard on every node, and on opens them all', async () => {
    const handles = await Promise.all(TENANTS.map((tenant) => propose(tenant, 'halted')));
    const off = await parts.writeSwitch.off({ scope: {}, by: 'cli:test', why: 'a look' });
    expect(off).toMatchObject({ confirmed: true, shards: SHARDS, confirmedShards: SHARDS });
    expect(await haltedBy(off)).toEqual(handles.map(({ id }) => id).toSorted());
    for (const tenant of TENANTS) {
      await expect(propose(tenant, 'too late')).rejects.toMatchObject({ code: 'writes_disabled' });
    }
    const on = await parts.writeSwitch.on({
      scope: {},
      by: 'cli:test',
      why: 'seen',
      expectedEpoch: off.epoch,
    });
    expect(on).toMatchObject({ ok: true });
    const next = await Promise.all(TENANTS.map((tenant) => propose(tenant, 'open again')));
    for (const handle of next) expect(await statusOf(handle)).toBe('pending');
    for (const handle of handles) expect(await statusOf(handle)).toBe('halted');
    for (const handle of next) await handle.withdraw();
  });

  it('[audit:every-transition] while a slot moves to another node, no step is half done: each is refused as a whole, and counts again when it has arrived', async () => {
    const shard = shardOf('acme');
    const handle = await propose('acme', 'on its way');
    await card(handle, 'acme');
    const from = await cluster.masterOf(shard);
    const [to] = cluster.nodes.filter((node) => node !== from);
    if (to === undefined) throw new Error('a Cluster of one node');
    // Each that could be there is: so it is the one that never is which keeps the script from running half.
    const filled = await fillUp(from, shard);
    await cluster.beginMove(shard, to);
    const written = await from.client.hget(`{s${shard}}:audit-seq`, 'acme');
    // Not broken off in the middle, which would be another reply.
    await expect(parts.store().withdraw(handle.id, CallContext.parse(contextOf('acme')))).rejects.toThrow(
      'TRYAGAIN',
    );
    expect(await from.client.hget(`{s${shard}}:audit-seq`, 'acme')).toBe(written);
    await cluster.moveShard(shard, to);
    await to.client.del(...filled);
    const result = handle.result({ timeout: 30_000 });
    await approve(handle, 'acme');
    expect(await result).toMatchObject({ headers: expect.anything() });
  });

  it('says which keys are in use on all nodes together', async () => {
    const handles = await Promise.all(TENANTS.map((tenant) => propose(tenant, 'counted')));
    const [use] = await keysInUse(connections.redis);
    expect(use?.open).toBe(handles.length);
    expect(use?.settled).toBeGreaterThanOrEqual(2 * TENANTS.length);
    for (const handle of handles) await handle.withdraw();
  });

  it('[audit:tamper-evident] seals what happened on every node, and the files verify', async () => {
    await approvals.stop();
    const key = auditPublicKeyOf(parts.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const report = verifyAudit(parts.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
    expect(report).toMatchObject({ verdict: 'intact' });
    const chains = report.chains.map(({ chain }) => chain);
    expect(chains).toEqual(expect.arrayContaining([...TENANTS]));
    expect(chains.filter((name) => name.startsWith('_s'))).toHaveLength(SHARDS);
  });
});

function contextOf(tenant: Tenant): CallContextInput {
  return {
    tenant,
    environment: 'production',
    agent: 'support-bot',
    principal: 'slack:T0ACME/U0RITA',
    run: 'run-1',
  };
}

function channelOf(tenant: Tenant): string {
  return `C0${tenant.toUpperCase()}`;
}

function worldOfTenants(): SlackWorld {
  const world = demoWorld();
  return {
    ...world,
    workspaces: world.workspaces.map((workspace) =>
      workspace.team === 'T0ACME'
        ? {
            ...workspace,
            channels: TENANTS.map((tenant) => ({
              id: channelOf(tenant),
              name: tenant,
              members: ['U0ANA', 'U0CHEN', 'U0BOTACME'],
            })),
          }
        : workspace,
    ),
  };
}

function shardOf(tenant: Tenant): number {
  return shardOfTenant(TenantId.parse(tenant), SHARDS);
}

/** What a script looks at first and is not there. What stands in it then is no proposal of ours. */
async function fillUp({ client }: ClusterNode, shard: number): Promise<string[]> {
  const filled: string[] = [];
  const looked = ['timers', 'attesting', 'previews'].map((name) => `{s${shard}}:${name}`);
  for (const key of [...shardKeys(shard), ...looked]) {
    const [, name = ''] = key.split(':');
    if (name === 'never' || (await client.exists(key)) === 1) continue;
    if (['budgets', 'halting'].includes(name)) await client.hset(key, 'x', '0');
    else await client.zadd(key, 0, 'x');
    filled.push(key);
  }
  return filled;
}
