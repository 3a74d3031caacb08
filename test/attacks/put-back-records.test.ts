import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import type { ToolDefinition } from '../../src/core/tool/tool.ts';
import { Execution } from '../../src/queue/execution.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { RunningParts, SHARDS } from '../queue/running-parts.ts';
import { approvalOf, BEN, closeTicketWith, writeDatabase } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';

/** Somebody who can write Redis puts back what was there before. */

const redis = redisForTests();
let parts: RunningParts;
let runs: number;
const counting = (): ToolDefinition => closeTicketWith(() => ({ run: ++runs }));
/** Another process: it remembers nothing of what the first one started. */
const anotherExecutor = () => new Execution(parts.executionParts(counting()));

beforeEach(async () => {
  runs = 0;
  parts = new RunningParts(redis.connectionOptions);
  await parts.armWrites();
});
afterEach(() => parts.close());

async function alarms(id: ProposalId): Promise<unknown[]> {
  const entries = await new AuditLogRedis({ redis: parts.redis, shards: SHARDS }).read({
    proposal: id,
    limit: 100,
  });
  return entries.filter(({ kind }) => kind === 'alarm.raised').map(({ detail }) => detail.refusal);
}

async function copyOf(sealed: SealedTerms): Promise<() => Promise<unknown>> {
  const key = proposalKey(sealed.terms.id);
  const copy = await parts.redis.dumpBuffer(key);
  return () => parts.redis.restore(key, '0', copy, 'REPLACE');
}

describe('a copy of an approved record, put back', () => {
  it('[approval:single-use] [execution:at-most-once] after it ran runs nowhere a second time', async () => {
    const sealed = await parts.approvedCall();
    const { id } = sealed.terms;
    const putBack = await copyOf(sealed);
    await anotherExecutor().attempt(id);
    expect(runs).toBe(1);

    await putBack();
    expect(await parts.statusOf(id)).toBe('approved');
    expect(await anotherExecutor().attempt(id)).toMatchObject({ next: 'done', status: 'halted' });
    expect(runs).toBe(1);
    expect(await alarms(id)).toEqual(['put_back']);
  });

  it('[execution:at-most-once] while it runs runs nowhere a second time', async () => {
    const sealed = await parts.approvedCall();
    const { id } = sealed.terms;
    const putBack = await copyOf(sealed);
    const ask = { id, termsDigest: sealed.termsDigest, executor: 'another', leaseMs: 60_000 };
    expect((await parts.store.admit({ ...ask, admission: 'a'.repeat(32) })).ok).toBe(true);
    await putBack();
    expect(await anotherExecutor().attempt(id)).toMatchObject({ status: 'halted' });
    expect(runs).toBe(0);
  });

  it('after it was refused, also where its index entry is put back', async () => {
    const sealed = await parts.approvedCall();
    const { id } = sealed.terms;
    const putBack = await copyOf(sealed);
    await parts.store.refuse(id, { refusal: 'x', message: 'x', alarm: false });
    await putBack();
    expect(await anotherExecutor().attempt(id)).toMatchObject({ status: 'halted' });
    expect(runs).toBe(0);
  });

  it('does not keep an admission that was given back from being asked for again', async () => {
    const sealed = await parts.approvedCall();
    const { id } = sealed.terms;
    const ask = { id, termsDigest: sealed.termsDigest, executor: 'another', leaseMs: 60_000 };
    const admitted = await parts.store.admit({ ...ask, admission: 'a'.repeat(32) });
    if (!admitted.ok) throw new Error(admitted.refusal);
    await parts.store.giveBack(admitted.admission, 'too slow');
    expect(await anotherExecutor().attempt(id)).toMatchObject({ status: 'succeeded' });
  });
});

describe('a copy of a pending record, put back', () => {
  it('[decision:denial-is-final] after a denial takes no approval any more', async () => {
    const sealed = await parts.propose({ tool: writeDatabase, args: { row: 1 } });
    await parts.decide(sealed);
    const putBack = await copyOf(sealed);
    const at = await parts.store.now();
    await parts.store.decide(approvalOf(sealed, BEN, { at, decision: 'deny', reason: 'no' }));
    await putBack();
    expect(await parts.statusOf(sealed.terms.id)).toBe('pending');
    const late = await parts.store.decide(approvalOf(sealed, BEN, { at, reason: 'checked' }));
    expect(late).toMatchObject({ ok: false, refusal: 'already_settled' });
    expect(await parts.statusOf(sealed.terms.id)).toBe('halted');
    expect(await alarms(sealed.terms.id)).toEqual(['put_back']);
  });

  it('[approval:single-use] the very same terms make no second proposal once they are settled and gone', async () => {
    const sealed = await parts.approvedCall();
    await anotherExecutor().attempt(sealed.terms.id);
    await parts.redis.del(proposalKey(sealed.terms.id));
    const limits = { pendingPerAgent: 10, pendingPerTenant: 10 };
    expect(await parts.store.create(sealed, limits)).toMatchObject({ created: 'conflict' });
  });
});

describe('fields beside the sealed terms', () => {
  const lies: [string, string][] = [
    ['epoch', '999999999999999'],
    ['epoch', 'nan'],
    ['epoch', '1e13'],
    ['tenant', 'globex'],
    ['environment', 'staging'],
    ['tool', 'ticket.create'],
    ['agent', 'another-bot'],
    ['counterKey', 'x'],
    ['budgetPerMs', '1'],
    ['createdAt', '1'],
  ];
  it.each(lies)('%s changed to %s halts with an alarm, and starts nothing', async (field, value) => {
    const sealed = await parts.approvedCall();
    const { id } = sealed.terms;
    await parts.redis.hset(proposalKey(id), field, value);
    expect(await anotherExecutor().attempt(id)).toMatchObject({ next: 'done', status: 'halted' });
    expect(runs).toBe(0);
    expect(await alarms(id)).toEqual(['record_malformed']);
  });

  it.each(['startBefore', 'approvedAt', 'revision'])(
    'a %s that is no number of ours never makes a start',
    async (field) => {
      for (const value of ['nan', 'inf', '0x7fffffff', '1e300', '-1', '', ' 1', '9'.repeat(400)]) {
        const sealed = await parts.approvedCall();
        await parts.redis.hset(proposalKey(sealed.terms.id), field, value);
        await anotherExecutor().attempt(sealed.terms.id);
      }
      expect(runs).toBe(0);
    },
  );

  it('[switch:off-then-on-resurrects-nothing] an approval from before off stays dead under a later epoch of its record', async () => {
    const sealed = await parts.approvedCall();
    const { id, context, tool } = sealed.terms;
    const putBack = await copyOf(sealed);
    await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
    await parts.armWrites();
    await putBack();
    const { epoch } = await parts.writeSwitch.read(context, tool);
    await parts.redis.hset(proposalKey(id), 'epoch', String(epoch));
    await parts.redis.del(`{s0}:spent`, `{s1}:spent`);
    expect(await anotherExecutor().attempt(id)).toMatchObject({ status: 'halted' });
    expect(runs).toBe(0);
  });
});

describe('indexes', () => {
  it('a record that is gone, or is settled, is not due for ever', async () => {
    const gone = await parts.approvedCall();
    const { id } = gone.terms;
    const shard = id.slice(6, 7);
    await parts.redis.del(proposalKey(id));
    for (const index of ['pending', 'ready', 'executing']) {
      await parts.redis.zadd(`{s${shard}}:${index}`, 1, id);
    }
    const due = await parts.store.due(10);
    expect([...due.expired, ...due.lapsed]).toContain(id);
    await parts.store.expire(id);
    await parts.store.declareUnknown(id, 'x');
    expect(await parts.store.due(10)).toEqual({ ready: [], expired: [], lapsed: [], timers: [] });
  });
});
