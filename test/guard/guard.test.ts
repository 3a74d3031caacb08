import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { ApprovalPrivateKey } from '../../src/core/approval/decision.ts';
import { publicKeyFor } from '../../src/core/approval/decision.ts';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import { proposalKeyOf, unseal } from '../../src/core/proposal/seal.ts';
import { PERMIT_RENEWAL_MS } from '../../src/core/switch/write-switch.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import {
  ApprovalDenied,
  ApprovalExpired,
  CoolingDown,
  ExecutionFailed,
  Halted,
  InvalidArguments,
  OutcomeUnknown,
  PendingLimit,
  PermissionDenied,
  StillPending,
  Unavailable,
  Withdrawn,
  WritesDisabled,
} from '../../src/guard/call-errors.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { DispatchBullMQ } from '../../src/queue/dispatch-bullmq.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { collectGarbage } from '../collect-garbage.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, attestationFor, signedDecision } from '../sealed-terms.ts';

const redis = redisForTests();
const logger = pino({ level: 'silent' });

const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};

const POLICY = `
version: 1
tools: { allow: [ticket.read, ticket.close, ticket.note, slow.read] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close]
  defaults: { approvers: ["user:U0ANA", "user:U0BEN"], expires_in: 10m, reason: { deny: required } }
auto_approve:
  - { tools: [ticket.note], budget: { max: 2, per: 1h, by: [tenant, environment, agent] } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACMEAPP }
    environments: [production, staging]
    limits: { pending_per_agent: 5 }
switch: { operators: ["user:U0CHEN"], arming: { operators: ["user:U0LEAD"] } }
`;

let ran: string[];
let executed: (id: string) => unknown;
const tools = [
  defineTool({
    name: 'ticket.read',
    description: 'Reads a ticket.',
    effect: 'read',
    input: z.strictObject({ id: z.string() }),
    execute: ({ id }, run) => {
      if (id.startsWith('missing')) throw new ToolRejected('no_such_ticket', `There is no ticket ${id}`);
      return {
        id,
        tenant: run.context.tenant,
        mayWrite: run.credentials.get('token') !== 'read-only',
      };
    },
  }),
  defineTool({
    name: 'slow.read',
    description: 'Never answers.',
    effect: 'read',
    timeout: 50,
    input: z.strictObject({}),
    execute: () => new Promise(() => {}),
  }),
  defineTool({
    name: 'ticket.close',
    description: 'Closes a ticket.',
    effect: 'write',
    input: z.strictObject({ id: z.string() }),
    execute: ({ id }) => {
      ran.push(id);
      return executed(id);
    },
  }),
  defineTool({
    name: 'ticket.note',
    description: 'Adds a note.',
    effect: 'write',
    input: z.strictObject({ text: z.string() }),
    execute: ({ text }) => {
      ran.push(text);
      return { noted: text };
    },
  }),
  defineTool({
    name: 'db.drop',
    description: 'Exists, and the policy does not name it.',
    effect: 'write',
    input: z.strictObject({}),
    execute: () => ran.push('db.drop'),
  }),
];

const key = randomBytes(32);
const approvalKey = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
const keys = {
  proposal: proposalKeyOf(key),
  approvalPrivate: approvalKey,
  approvalPublic: publicKeyFor(approvalKey),
};

interface World {
  guard: OpenGuard;
  store: ProposalStoreRedis;
  writeSwitch: WriteSwitchRedis;
  audit: AuditLogRedis;
  dispatch: DispatchBullMQ;
}
let world: World;
let ends: (() => unknown)[];

beforeEach(async () => {
  ran = [];
  executed = (id) => ({ closed: id });
  ends = [];
  world = await open();
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

describe('the guard', () => {
  it('[switch:reads-stay-on] runs a read at once, with read credentials, although writes are off', async () => {
    await off();
    await expect(world.guard.call({ tool: 'ticket.read', args: { id: 'T-1' } }, CONTEXT)).resolves.toEqual({
      id: 'T-1',
      tenant: 'acme',
      mayWrite: false,
    });
  });

  it('runs reads with no Redis at all', async () => {
    const guard = guardOn({ path: '/nonexistent/redis.sock' });
    await expect(guard.call({ tool: 'ticket.read', args: { id: 'T-1' } }, CONTEXT)).resolves.toMatchObject({
      id: 'T-1',
    });
  });

  it('does not wait for a read that never answers', async () => {
    await expect(world.guard.call({ tool: 'slow.read', args: {} }, CONTEXT)).rejects.toBeInstanceOf(
      ExecutionFailed,
    );
  });

  it('does not wait for ever where the garbage collector runs in between, whoever set the limit', async () => {
    const slow = { tool: 'slow.read', args: {} };
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    const waiting = [
      refusal(world.guard.call(slow, CONTEXT)),
      refusal(world.guard.call(slow, CONTEXT, { signal: AbortSignal.timeout(40) })),
      refusal(handle.result({ timeout: 50 })),
      refusal(handle.result({ signal: AbortSignal.timeout(50) })),
    ];
    await collectGarbage();
    expect((await Promise.all(waiting)).map(({ name }) => name)).toEqual([
      'ExecutionFailed',
      'ExecutionFailed',
      'StillPending',
      'TimeoutError',
    ]);
  });

  it('hands a tool’s own refusal of a read to the agent, and says that a read may be tried again', async () => {
    const error = await refusal(
      world.guard.call({ tool: 'ticket.read', args: { id: 'missing read-only' } }, CONTEXT),
    );
    expect(error).toBeInstanceOf(ExecutionFailed);
    expect(error).toMatchObject({ retryable: true });
    expect(error.message).toContain('no_such_ticket, There is no ticket');
    expect(error.message).not.toContain('read-only');
  });

  it('[policy:unlisted-tool-is-forbidden] refuses what does not exist or is not allowed, however it is spelled, and audits it', async () => {
    for (const tool of [
      'db.drop',
      'db.nothing',
      'Ticket.close',
      'ticket.close ',
      'ticket․close',
      '__proto__',
      'constructor',
      'toString',
      '',
    ]) {
      await expect(world.guard.call({ tool, args: {} }, CONTEXT)).rejects.toBeInstanceOf(PermissionDenied);
    }
    expect(ran).toEqual([]);
    const kinds = (await world.audit.read({ tenant: 'acme', limit: 100 })).map((entry) => entry.kind);
    expect(kinds.filter((kind) => kind === 'call.forbidden')).toHaveLength(9);
  });

  it('[policy:unknown-tenant-or-environment-is-forbidden] has no default tenant and no default environment', async () => {
    const contexts: unknown[] = [
      { ...CONTEXT, tenant: 'globex' },
      { ...CONTEXT, environment: 'prod' },
      { ...CONTEXT, environment: 'Production' },
      { ...CONTEXT, environment: 'production ' },
      { ...CONTEXT, tenant: undefined },
      { ...CONTEXT, principal: undefined },
      { ...CONTEXT, tenant: 'acme:{s0}' },
      { ...CONTEXT, admin: true },
      undefined,
    ];
    for (const context of contexts) {
      await expect(
        world.guard.call({ tool: 'ticket.read', args: { id: 'T-1' } }, context as CallContextInput),
      ).rejects.toBeInstanceOf(PermissionDenied);
    }
  });

  it('[policy:writes-disabled-by-default] forbids every write under the safe default policy, and still reads', async () => {
    const safe = POLICY.replace('write_tools: { enabled: true }\n', '');
    const guard = guardOn(redis.connectionOptions, safe);
    await expect(guard.call(close('T-1'), CONTEXT)).rejects.toMatchObject({
      code: 'permission_denied',
      reason: 'writes_disabled',
    });
    await expect(guard.call({ tool: 'ticket.read', args: { id: 'T-1' } }, CONTEXT)).resolves.toBeDefined();
  });

  it('[scope:identity-comes-from-the-context] refuses a scope in the arguments even where it is the right one', async () => {
    for (const args of [
      { id: 'T-1', tenant_id: 'acme' },
      { id: 'T-1', tenantId: 'globex' },
      { id: 'T-1', 'TENANT-ID': 'acme' },
      { id: 'T-1', nested: { environment: 'production' } },
      { id: '{"tenant_id":"globex"}' },
    ]) {
      await expect(world.guard.call({ tool: 'ticket.close', args }, CONTEXT)).rejects.toMatchObject({
        code: 'invalid_arguments',
        reason: 'scope_key',
      });
    }
    await expect(world.guard.propose(close('tenant acme is down'), CONTEXT)).resolves.toBeDefined();
  });

  it('[args:strict-json] refuses what parsers read differently before any schema runs', async () => {
    for (const json of [
      '{"id":"a","id":"b"}',
      '{"__proto__":{},"id":"a"}',
      '{"id":"\\ud800"}',
      '{"id":1e999}',
      '{"id":9007199254740993}',
      '\ufeff{"id":"a"}',
      '[[[',
      `{"id":"${'x'.repeat(20_000)}"}`,
    ]) {
      await expect(world.guard.call({ tool: 'ticket.close', args: { json } }, CONTEXT)).rejects.toMatchObject(
        {
          code: 'invalid_arguments',
          reason: 'malformed',
        },
      );
    }
    const kinds = (await world.audit.read({ tenant: 'acme', limit: 100 })).map((entry) => entry.kind);
    expect(kinds).toEqual(Array(8).fill('call.malformed'));
  });

  it('refuses writes while the switch is off, and says who turned it off and that reads work', async () => {
    await off('too many closes');
    const error = await refusal(world.guard.call(close('T-1'), CONTEXT));
    expect(error).toBeInstanceOf(WritesDisabled);
    expect(error.message).toContain('cli:test');
    expect(error.message).toContain('too many closes');
    expect(error.message).toContain('Reads still work');
  });

  it('[switch:fails-closed] refuses writes where nobody ever armed the switch', async () => {
    await redis.flush();
    await expect(world.guard.call(close('T-1'), CONTEXT)).rejects.toBeInstanceOf(WritesDisabled);
  });

  it('[redis:down-means-no] refuses writes with a clear error when Redis is away, and does not hang', async () => {
    const guard = guardOn({ path: '/nonexistent/redis.sock' });
    const error = await refusal(guard.call(close('T-1'), CONTEXT));
    expect(error).toBeInstanceOf(Unavailable);
    expect(error.message).toContain('Nothing was done');
    await expect(guard.ready()).rejects.toThrow(/Redis does not serve us/);
  });

  it('gives the agent the result of an approved write', async () => {
    await executor();
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    expect(await handle.status()).toBe('pending');
    await decide(handle, 'approve');
    await expect(handle.result()).resolves.toEqual({ closed: 'T-1' });
    expect(ran).toEqual(['T-1']);
  });

  it('tells the agent who denied it and why, in words that no control character can leave', async () => {
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    await decide(handle, 'deny', 'use ticket.merge\u202e instead');
    const error = await refusal(handle.result());
    expect(error).toBeInstanceOf(ApprovalDenied);
    expect(error).toMatchObject({ by: ANA, proposal: handle.id, retryable: false });
    expect(error.message).toContain('use ticket.merge\\u{202E} instead');
  });

  it('ends with Halted when the switch goes off while it waits', async () => {
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    const waiting = refusal(handle.result());
    await off();
    expect(await waiting).toBeInstanceOf(Halted);
  });

  it('ends with ApprovalExpired when nobody decides', async () => {
    const guard = guardOn(redis.connectionOptions, POLICY.replace('expires_in: 10m', 'expires_in: 10s'));
    const handle = await guard.propose(close('T-1'), CONTEXT);
    await redis.client.hset(`{s0}:proposal:${handle.id}`, 'deadline', Date.now() - 1);
    await world.store.expire(handle.id);
    expect(await refusal(handle.result())).toBeInstanceOf(ApprovalExpired);
  });

  it('says that a failed call failed, and that a doubtful one must not be repeated', async () => {
    await executor();
    executed = () => {
      throw new ToolRejected('already_closed', 'The ticket is closed already.');
    };
    const failed = await world.guard.propose(close('T-1'), CONTEXT);
    await decide(failed, 'approve');
    expect(await refusal(failed.result())).toBeInstanceOf(ExecutionFailed);
    executed = () => {
      throw new Error('socket hang up');
    };
    const doubtful = await world.guard.propose(close('T-2'), CONTEXT);
    await decide(doubtful, 'approve');
    const error = await refusal(doubtful.result());
    expect(error).toBeInstanceOf(OutcomeUnknown);
    expect(error.message).toContain('Do NOT repeat it');
  });

  it('stops waiting at the timeout; the proposal stands and can be attached to from another guard', async () => {
    await executor();
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    expect(await refusal(handle.result({ timeout: 30 }))).toBeInstanceOf(StillPending);
    await decide(handle, 'approve');
    const elsewhere = await guardOn(redis.connectionOptions).attach(handle.id, { ...CONTEXT, run: 'run-2' });
    await expect(elsewhere.result()).resolves.toEqual({ closed: 'T-1' });
  });

  it('ends the waiting with the signal’s own reason, and leaves the proposal', async () => {
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    const stop = new AbortController();
    const waiting = handle.result({ signal: stop.signal });
    stop.abort(new Error('the user left'));
    await expect(waiting).rejects.toThrow('the user left');
    expect(await handle.status()).toBe('pending');
  });

  it('lets nobody attach to another caller’s proposal, nor tells whether there is one', async () => {
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    const strangers = [
      { ...CONTEXT, environment: 'staging' },
      { ...CONTEXT, agent: 'other-bot' },
      { ...CONTEXT, principal: 'slack:T0ACME/U0ANA' },
    ];
    const messages = new Set<string>();
    for (const stranger of strangers)
      messages.add((await refusal(world.guard.attach(handle.id, stranger))).message);
    messages.add((await refusal(world.guard.attach('prop_00000000000000000000000000', CONTEXT))).message);
    messages.add((await refusal(world.guard.attach('../../etc', CONTEXT))).message);
    expect(messages.size).toBe(1);
  });

  it('withdraws once', async () => {
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    expect(await handle.withdraw('no longer needed')).toBe(true);
    expect(await handle.withdraw()).toBe(false);
    expect(await refusal(handle.result())).toBeInstanceOf(Withdrawn);
  });

  it('joins the same call under the same idempotency key, and refuses another call under it', async () => {
    const call = { ...close('T-1'), idempotencyKey: 'ticket-1' };
    const [first, second] = await Promise.all([
      world.guard.propose(call, CONTEXT),
      world.guard.propose(call, CONTEXT),
    ]);
    expect(second.id).toBe(first.id);
    await expect(world.guard.propose({ ...call, args: { id: 'T-2' } }, CONTEXT)).rejects.toMatchObject({
      reason: 'idempotency_conflict',
      proposal: first.id,
    });
    const other = await world.guard.propose(call, { ...CONTEXT, agent: 'other-bot' });
    expect(other.id).not.toBe(first.id);
  });

  it('runs what the policy approves by itself within its budget, and asks people for the rest', async () => {
    await executor();
    const note = (text: string) => ({ tool: 'ticket.note', args: { text } });
    await expect(world.guard.call(note('one'), CONTEXT)).resolves.toEqual({ noted: 'one' });
    await expect(world.guard.call(note('two'), CONTEXT)).resolves.toEqual({ noted: 'two' });
    const third = await world.guard.propose(note('three'), CONTEXT);
    expect(await third.status()).toBe('pending');
    expect(ran).toEqual(['one', 'two']);
  });

  it('refuses more pending proposals than the policy lets an agent have', async () => {
    for (let i = 0; i < 5; i += 1) await world.guard.propose(close(`T-${i}`), CONTEXT);
    expect(await refusal(world.guard.propose(close('T-6'), CONTEXT))).toBeInstanceOf(PendingLimit);
    await expect(
      world.guard.propose(close('T-6'), { ...CONTEXT, agent: 'other-bot' }),
    ).resolves.toBeDefined();
  });

  it('refuses a call that people denied a short time ago, with their reason, and asks nobody again', async () => {
    const handle = await world.guard.propose(close('T-1'), CONTEXT);
    await decide(handle, 'deny');
    const again = await refusal(world.guard.propose(close('T-1'), CONTEXT));
    expect(again).toBeInstanceOf(CoolingDown);
    expect(again).toMatchObject({ code: 'cooling_down', retryable: false, proposal: handle.id, by: ANA });
    expect(String(again)).toContain('not a duplicate');
    expect(await world.store.pending({ limit: 10 })).toEqual([]);
    await expect(world.guard.propose(close('T-2'), CONTEXT)).resolves.toBeDefined();
  });

  it('[proposal:frozen] freezes the arguments at the call: what the caller changes later changes nothing', async () => {
    await executor();
    const args = { id: 'T-1' };
    const proposing = world.guard.propose({ tool: 'ticket.close', args }, CONTEXT);
    args.id = 'T-666';
    const handle = await proposing;
    await decide(handle, 'approve');
    await expect(handle.result()).resolves.toEqual({ closed: 'T-1' });
  });

  it('refuses a reason or an idempotency key that is not text as it must be', async () => {
    for (const extra of [
      { reason: 'x'.repeat(2_001) },
      { reason: '\ud800' },
      { idempotencyKey: 'a b' },
      { idempotencyKey: '' },
    ]) {
      await expect(world.guard.propose({ ...close('T-1'), ...extra }, CONTEXT)).rejects.toBeInstanceOf(
        InvalidArguments,
      );
    }
  });
});

function close(id: string) {
  return { tool: 'ticket.close', args: { id } };
}

async function refusal(call: Promise<unknown>): Promise<Error> {
  const value = await call.then(
    (result) => new Error(`expected a refusal, got ${JSON.stringify(result)}`),
    (error: unknown) => error,
  );
  if (!(value instanceof Error)) throw new Error('rejected with something that is no error');
  return value;
}

function guardOn(connection: { path: string }, policy: string | PolicyHolder = POLICY): OpenGuard {
  const guard = createGuard({
    policy,
    tools,
    redis: connection,
    proposalKey: key,
    readCredentials: { fetch: async ({ access }) => new Credentials({ token: `${access}-only` }) },
    logger,
  });
  ends.push(() => guard.close());
  return guard;
}

async function open(): Promise<World> {
  const connection = new Redis({ ...redis.connectionOptions, maxRetriesPerRequest: null });
  ends.push(() => connection.disconnect());
  const parts = { redis: connection, shards: 1 };
  const writeSwitch = new WriteSwitchRedis({ ...parts, startDeadlineMs: 5 });
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: 0 });
  const renewal = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), PERMIT_RENEWAL_MS);
  ends.push(() => clearInterval(renewal));
  const dispatch = new DispatchBullMQ({ connection, shards: 1 });
  ends.push(() => dispatch.close());
  return {
    guard: guardOn(redis.connectionOptions),
    store: new ProposalStoreRedis({ ...parts, keys: [keys.proposal] }),
    writeSwitch,
    audit: new AuditLogRedis(parts),
    dispatch,
  };
}

async function executor(): Promise<void> {
  const registry = new ToolRegistry(tools);
  const worker = new ExecutionWorker({
    store: world.store,
    registry,
    policy: new PolicyHolder(loadPolicyOrThrow(POLICY, { tools: registry, fileName: 'policy' })),
    keys: { proposal: [keys.proposal], approval: [keys.approvalPublic] },
    credentials: { fetch: async () => new Credentials({ token: 'write' }) },
    dispatch: world.dispatch,
    connection: redis.client,
    shards: 1,
    executorId: 'test',
    logger,
  });
  worker.start();
  ends.push(() => worker.stop());
  await worker.ready();
}

async function decide(handle: ProposalHandle, decision: 'approve' | 'deny', reason?: string): Promise<void> {
  const record = await world.store.read(handle.id);
  const opened = record && unseal([keys.proposal], record.termsText, record.seal);
  if (!opened?.ok) throw new Error('the proposal cannot be opened');
  const signed = signedDecision(opened.sealed, decision, ANA, {
    keys,
    ...(reason === undefined ? {} : { reason }),
  });
  expect(await world.store.decide(signed)).toMatchObject({ ok: true, settled: true });
  const attested = attestationFor(opened.sealed, { keys, at: await world.store.now() });
  await world.store.attest(handle.id, attested);
  await world.dispatch.wake(handle.id);
}

async function off(why?: string): Promise<void> {
  await world.writeSwitch.off({ scope: {}, by: 'cli:test', ...(why === undefined ? {} : { why }) });
}
