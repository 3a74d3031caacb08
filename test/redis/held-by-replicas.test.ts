import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { AgentId } from '../../src/core/identity/ids.ts';
import { newProposalId, shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import { NotHeldByReplicas } from '../../src/core/proposal/proposal-store.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { createGuard } from '../../src/create-guard.ts';
import { Execution } from '../../src/queue/execution.ts';
import { AuditStreamRedis } from '../../src/redis/audit-stream-redis.ts';
import { HeldByReplicas } from '../../src/redis/held-by-replicas.ts';
import { fenceKey } from '../../src/redis/keys.ts';
import { RunningParts, SHARDS } from '../queue/running-parts.ts';
import { ANA, approvalOf, closeTicketWith, PROPOSAL_KEY, sealedCall } from '../queue/sealed-call.ts';
import { ReplicatedRedis } from './replicated-for-tests.ts';

const WAIT = { timeout: 20_000, interval: 50 };
/** Of the wall clock nothing is the subject here: any start within this counts as one in time. */
const D_MS = 20_000;

interface World {
  readonly redis: ReplicatedRedis;
  readonly old: RunningParts;
  readonly runs: string[];
  executor(parts: RunningParts, name: string, then?: () => unknown): Execution;
  /** The replica becomes the master; the old one lives on, cut off. Answers with the parts as they find the new one. */
  takeOver(): Promise<RunningParts>;
  /** The same, and the old master dies. */
  failOver(): Promise<RunningParts>;
}

/** A master and a replica in sync, writes on. */
async function world(replicas: number): Promise<World> {
  const redis = await ReplicatedRedis.start();
  onTestFinished(() => redis.stop());
  const old = new RunningParts(redis.master.connectionOptions, { replicas });
  onTestFinished(() => old.close());
  await old.armWrites();
  const runs: string[] = [];
  const takeOver = async () => {
    await redis.promote();
    // Nobody follows the new master yet: what is asked of it here need not be held.
    const parts = new RunningParts(redis.replica.server.connectionOptions);
    onTestFinished(() => parts.close());
    await parts.writeSwitch.renewPermits();
    return parts;
  };
  return {
    redis,
    old,
    runs,
    executor: (parts, name, then = () => ({ closed: true })) => {
      const tool = closeTicketWith(() => {
        runs.push(name);
        return then();
      });
      return new Execution(parts.executionParts(tool, { executorId: name, startDeadlineMs: D_MS }));
    },
    takeOver,
    failOver: async () => {
      await redis.master.kill9();
      return await takeOver();
    },
  };
}

describe('a replica that lags takes over', () => {
  it('runs the call twice where nobody waited for replicas: what the rest of this is for', async () => {
    const { redis, old, runs, executor, failOver } = await world(0);
    const call = await old.approvedCall();
    await inSync(redis, old);
    redis.replica.line.lag();
    await executor(old, 'first').attempt(call.terms.id);
    const fresh = await failOver();
    await fresh.attest(call);
    await executor(fresh, 'second').attempt(call.terms.id);
    expect(runs).toEqual(['first', 'second']);
  });

  it('[execution:at-most-once] starts nothing whose admission only the old master knows; the next executor runs it once', async () => {
    const { redis, old, runs, executor, takeOver } = await world(1);
    const call = await old.approvedCall();
    redis.replica.line.lag();
    const first = executor(old, 'first');
    expect(await first.attempt(call.terms.id)).toMatchObject({ next: 'again', status: 'approved' });
    expect(runs).toEqual([]);
    const fresh = await takeOver();
    await fresh.attest(call);
    const second = executor(fresh, 'second');
    expect(await second.attempt(call.terms.id)).toMatchObject({ next: 'done', status: 'succeeded' });
    // The old master goes on, cut off from all others but this executor.
    expect(await first.attempt(call.terms.id)).toMatchObject({ next: 'again', status: 'approved' });
    expect(runs).toEqual(['second']);
  });

  it('[execution:at-most-once] never runs again what was held and had started when the master died', async () => {
    const { old, runs, executor, failOver } = await world(1);
    const call = await old.approvedCall();
    let end = () => {};
    const running = executor(old, 'first', () => new Promise<void>((ended) => (end = ended)));
    const attempt = running.attempt(call.terms.id).catch(() => {});
    await expect.poll(() => runs, WAIT).toEqual(['first']);
    const fresh = await failOver();
    const second = await executor(fresh, 'second').attempt(call.terms.id);
    expect(second).toMatchObject({ next: 'again', status: 'executing' });
    expect(runs).toEqual(['first']);
    running.abortRunning('the test is over');
    end();
    void attempt;
  });

  it('[decision:one-winner] loses no decision that was acknowledged, and acknowledges none that it may lose', async () => {
    const { redis, old, failOver } = await world(1);
    const held = await old.propose();
    await old.decide(held);
    const unheld = await old.propose({ args: { ticket: 'T-2' } });
    redis.replica.line.lag();
    const approval = approvalOf(unheld, ANA, { at: await old.store.now() });
    await expect(old.store.decide(approval)).rejects.toBeInstanceOf(NotHeldByReplicas);
    // Another replica of the approval service, whose connection wrote nothing.
    const other = new RunningParts(redis.master.connectionOptions, { replicas: 1 });
    onTestFinished(() => other.close());
    const denial = approvalOf(unheld, ANA, { at: await old.store.now(), decision: 'deny', reason: 'no' });
    const answers = await Promise.allSettled([other.store.decide(approval), other.store.decide(denial)]);
    const unsure = { status: 'rejected', reason: expect.any(NotHeldByReplicas) };
    expect(answers).toEqual([unsure, unsure]);
    // From Redis 7.2 on WAIT speaks of what the connection wrote, before of all that it has seen: so it writes something.
    expect(await other.redis.get(fenceKey(shardOfProposal(unheld.terms.id)))).toBe('1');
    const fresh = await failOver();
    expect(await fresh.statusOf(held.terms.id)).toBe('approved');
    expect(await fresh.statusOf(unheld.terms.id)).toBe('pending');
  });

  it('[switch:off-means-no-start] loses no off that was confirmed, and confirms none that it may lose', async () => {
    const { redis, old, failOver } = await world(1);
    redis.replica.line.lag();
    const off = await old.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test' });
    expect(off).toMatchObject({ confirmed: false, confirmedShards: 0 });
    redis.replica.line.goOn();
    const again = () => old.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test' });
    await expect.poll(async () => (await again()).confirmed, WAIT).toBe(true);
    await old.writeSwitch.stop();
    const fresh = await failOver();
    expect((await fresh.writeSwitch.status()).state).toBe('off');
  });
});

describe('a master without its replica', () => {
  let redis: ReplicatedRedis;
  let parts: RunningParts;
  beforeAll(async () => {
    redis = await ReplicatedRedis.start(2);
    parts = new RunningParts(redis.master.connectionOptions, { replicas: 1 });
    await parts.armWrites();
  });
  afterAll(async () => {
    await parts.close();
    await redis.stop();
  });
  const lag = () => {
    for (const { line } of redis.replicas) line.lag();
  };
  const goOn = () => {
    for (const { line } of redis.replicas) line.goOn();
  };

  it('[execution:at-most-once] starts nothing until it is back; says so once, gives each call back, and then runs it once', async () => {
    const call = await parts.approvedCall();
    let runs = 0;
    const tool = closeTicketWith(() => {
      runs += 1;
    });
    const execution = new Execution(parts.executionParts(tool, { startDeadlineMs: D_MS }));
    lag();
    for (let attempt = 0; attempt < 2; attempt += 1) {
      expect(await execution.attempt(call.terms.id)).toMatchObject({ next: 'again', status: 'approved' });
    }
    expect(runs).toBe(0);
    goOn();
    await parts.attest(call);
    await expect.poll(async () => (await execution.attempt(call.terms.id)).status, WAIT).toBe('succeeded');
    expect(runs).toBe(1);
    const said = parts.logged.map((line) => (JSON.parse(line) as { msg: string }).msg);
    expect(said.filter((text) => text.includes('no call starts'))).toHaveLength(1);
    expect(said.filter((text) => text.includes('calls start'))).toHaveLength(1);
    const returned = await entriesOf(redis, call.terms.id, 'admission.returned');
    expect(returned.length).toBeGreaterThanOrEqual(2);
    for (const entry of returned) expect(entry).toContain('replicas hold the admission');
  });

  it('acknowledges a decision that was clicked again once replicas hold it', async () => {
    const call = await parts.propose();
    const approval = approvalOf(call, ANA, { at: await parts.store.now() });
    lag();
    await expect(parts.store.decide(approval)).rejects.toBeInstanceOf(NotHeldByReplicas);
    goOn();
    const clicked = async () => await parts.store.decide(approval).catch(() => undefined);
    await expect.poll(async () => await clicked(), WAIT).toMatchObject({ ok: true, replayed: true });
  });

  it('[decision:one-winner] tells nobody, on a card or as an answer, of a decision that a failover could take back', async () => {
    const call = await parts.propose();
    const { id } = call.terms;
    const guard = createGuard({
      policy: parts.policy,
      tools: [closeTicketWith(() => {})],
      redis: redis.master.connectionOptions,
      replicas: 1,
      shards: SHARDS,
      proposalKey: PROPOSAL_KEY,
      logger: parts.logger,
    });
    onTestFinished(() => guard.close());
    const attached = () => guard.attach(id, call.terms.context);
    const agents = await attached();
    const approval = approvalOf(call, ANA, { at: await parts.store.now() });
    lag();
    await expect(parts.store.decide(approval)).rejects.toBeInstanceOf(NotHeldByReplicas);
    expect((await parts.store.read(id))?.state.status).toBe('approved');
    const unsure = { status: 'rejected', reason: { code: 'unavailable' } };
    const reads = [parts.store.readHeld(id), agents.status(), attached()];
    expect(await Promise.allSettled(reads)).toMatchObject([
      { status: 'rejected', reason: expect.any(NotHeldByReplicas) },
      unsure,
      unsure,
    ]);
    goOn();
    const told = async () => await agents.status().catch(() => undefined);
    await expect.poll(told, WAIT).toBe('approved');
    expect(await parts.store.readHeld(newProposalId(0, randomBytes(24)))).toBeUndefined();
  });

  it('[switch:off-means-no-start] an off waits for every replica, not only for as many as are asked for', async () => {
    const [one] = redis.replicas;
    one?.line.lag();
    const flip = { scope: { agent: AgentId.parse('nobody') }, by: 'cli:test' } as const;
    expect(await parts.writeSwitch.off(flip)).toMatchObject({ confirmed: false });
    one?.line.goOn();
    await expect.poll(async () => (await parts.writeSwitch.off(flip)).confirmed, WAIT).toBe(true);
  });

  it('[audit:tamper-evident] hands the sealer nothing that a failover could take back', async () => {
    const stream = new AuditStreamRedis({ redis: parts.redis, shards: SHARDS, replicas: 1 });
    const call = await parts.propose();
    const shard = shardOfProposal(call.terms.id);
    lag();
    await expect(stream.read(shard, undefined, 1_000)).rejects.toBeInstanceOf(NotHeldByReplicas);
    goOn();
    const read = async () => (await stream.read(shard, undefined, 1_000).catch(() => [])).length;
    await expect.poll(async () => await read(), WAIT).toBeGreaterThan(0);
  });

  it('takes no word of a new connection for what an older one wrote', async () => {
    const client = new Redis(redis.master.connectionOptions);
    onTestFinished(() => client.disconnect());
    await client.ping();
    const held = HeldByReplicas.of(client);
    const sent = held.sending();
    await client.set('written', 'over the first connection');
    expect(await held.hold(sent, { replicas: 1 })).toBe(true);
    const lost = held.sending();
    await client.set('written', 'once more');
    client.disconnect(true);
    await expect.poll(() => client.status === 'ready' && client.stream !== lost.socket, WAIT).toBe(true);
    expect(await held.hold(lost, { replicas: 1 })).toBe(false);
  });

  it('shares a wait among the calls that are made at once', async () => {
    const client = new Redis(redis.master.connectionOptions);
    onTestFinished(() => client.disconnect());
    const calls = 100;
    const { epoch } = await parts.writeSwitch.status();
    const now = await parts.store.now();
    await client.config('RESETSTAT');
    // On a busy machine some may not be held in time: how often it was asked is the subject.
    await Promise.allSettled(
      Array.from({ length: calls }, (_, n) => {
        const sealed = sealedCall({ args: { ticket: `S-${n}` }, shards: SHARDS, now, switchEpoch: epoch });
        return parts.store.create(sealed, { pendingPerAgent: calls, pendingPerTenant: calls });
      }),
    );
    const [, waits = '0'] = /cmdstat_wait:calls=(\d+)/.exec(await client.info('commandstats')) ?? [];
    expect(Number(waits)).toBeGreaterThan(0);
    expect(Number(waits)).toBeLessThan(calls / 2);
  });
});

async function inSync(redis: ReplicatedRedis, { redis: client }: RunningParts): Promise<void> {
  await client.set('in-sync', '1');
  await expect.poll(() => redis.replica.client.get('in-sync'), WAIT).toBe('1');
}

async function entriesOf(redis: ReplicatedRedis, id: string, kind: string): Promise<string[]> {
  const client = new Redis(redis.master.connectionOptions);
  try {
    const shards = Array.from({ length: SHARDS }, (_, shard) => client.xrange(`{s${shard}}:audit`, '-', '+'));
    return (await Promise.all(shards))
      .flat()
      .map(([, fields]) => fields)
      .filter((fields) => fields.includes(id) && fields.includes(kind))
      .map((fields) => fields.join(' '));
  } finally {
    client.disconnect();
  }
}
