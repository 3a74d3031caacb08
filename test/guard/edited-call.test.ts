import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Outcome } from '../../src/core/execution/outcome.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import { newProposalId, ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { ProposalTerms } from '../../src/core/proposal/proposal-terms.ts';
import { type SealedTerms, sealTerms, unseal } from '../../src/core/proposal/seal.ts';
import { PERMIT_RENEWAL_MS } from '../../src/core/switch/write-switch.ts';
import { canonicalJson } from '../../src/core/tool/canonical-json.ts';
import { digestOf } from '../../src/core/tool/digest.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import {
  ApprovalDenied,
  CallError,
  OutcomeUnknown,
  StillPending,
  Unavailable,
} from '../../src/guard/call-errors.ts';
import { EditedResult } from '../../src/guard/edited-result.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { BEN, signedDecision, testKeys } from '../sealed-terms.ts';

const redis = redisForTests();
const ANA = PersonId.parse('slack:T0ACME/U0ANA');
const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};
const POLICY = `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA", "user:U0BEN"], edit: true } }
tenants: { acme: { slack: { team: T0ACME, channel: C0ACMEAPP }, environments: [production] } }
`;
const tools = [
  defineTool({
    name: 'ticket.close',
    description: 'Closes a ticket.',
    input: z.strictObject({ id: z.string() }),
    execute: () => ({}),
  }),
];
const CALL = { tool: 'ticket.close', args: { id: 'ACME-1' } };

let guard: OpenGuard;
let store: ProposalStoreRedis;
let renewal: NodeJS.Timeout;
beforeEach(async () => {
  const parts = { redis: redis.client, shards: 1 };
  store = new ProposalStoreRedis({ ...parts, keys: [testKeys.proposal] });
  const writeSwitch = new WriteSwitchRedis(parts);
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: 0 });
  renewal = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), PERMIT_RENEWAL_MS);
  guard = createGuard({
    policy: POLICY,
    tools,
    redis: redis.connectionOptions,
    proposalKey: testKeys.proposal,
    logger: pino({ level: 'silent' }),
  });
});
afterEach(() => {
  clearInterval(renewal);
  return guard.close();
});

async function opened(id: ProposalId): Promise<SealedTerms> {
  const record = await store.read(id);
  const unsealed = unseal([testKeys.proposal], record?.termsText ?? '', record?.seal ?? '');
  if (!unsealed.ok) throw new Error(unsealed.refusal);
  return unsealed.sealed;
}

/** As the approval service does it. */
async function edit(id: ProposalId, args: Record<string, string>, by = ANA): Promise<SealedTerms> {
  const from = await opened(id);
  const to = await successor(from.terms, args, by);
  expect(await store.edit(from, to)).toMatchObject({ ok: true });
  return to;
}

async function successor(old: ProposalTerms, args: Record<string, string>, by = ANA): Promise<SealedTerms> {
  const text = canonicalJson(args);
  const { idempotencyKey: _, ...kept } = old;
  return sealTerms(testKeys.proposal, {
    ...kept,
    id: newProposalId(0, randomBytes(24)),
    nonce: randomBytes(16).toString('hex'),
    arguments: text,
    argumentsDigest: digestOf('arguments', text),
    edits: { from: old.id, arguments: old.arguments, by, editors: [by] },
    createdAt: await store.now(),
  });
}

/** As an approver and the executor do it. */
async function run(sealed: SealedTerms, outcome: Outcome): Promise<void> {
  const at = await store.now();
  expect(await store.decide(signedDecision(sealed, 'approve', BEN, { at }))).toMatchObject({ ok: true });
  const { id } = sealed.terms;
  const { termsDigest } = sealed;
  const admitted = await store.admit({ id, termsDigest, admission: 'a1', executor: 'e', leaseMs: 1_000 });
  if (!admitted.ok) throw new Error(admitted.refusal);
  await store.finish(admitted.admission, outcome);
}

describe('an agent whose call a person changed', () => {
  it('is told what ran in place of what it asked, who changed it, and what came of it', async () => {
    const handle = await guard.propose(CALL, CONTEXT);
    const result = handle.result();
    const to = await edit(handle.id, { id: 'ACME-2' });
    expect(await handle.status()).toBe('pending');
    await run(to, { outcome: 'succeeded', result: '{"closed":"ACME-2"}' });
    const told = await result;
    expect(told).toBeInstanceOf(EditedResult);
    // As a model gets it.
    expect(JSON.parse(JSON.stringify(told))).toEqual({
      note: expect.stringContaining('slack:T0ACME/U0ANA changed the arguments of this call'),
      ranInstead: { id: 'ACME-2' },
      editedBy: 'slack:T0ACME/U0ANA',
      result: { closed: 'ACME-2' },
    });
  });

  it('is told the same through call(), after a restart, and under its idempotency key', async () => {
    const call = { ...CALL, idempotencyKey: 'close-1' };
    const first = await guard.propose(call, CONTEXT);
    const to = await edit(first.id, { id: 'ACME-2' });
    await run(to, { outcome: 'succeeded', result: '"done"' });
    const edited = { ranInstead: { id: 'ACME-2' }, result: 'done' };
    expect(await guard.call(call, CONTEXT)).toMatchObject(edited);
    expect(await (await guard.attach(first.id, CONTEXT)).result()).toMatchObject(edited);
    expect(await (await guard.attach(to.terms.id, CONTEXT)).result()).toMatchObject(edited);
    expect(await (await guard.attach(first.id, CONTEXT)).status()).toBe('succeeded');
  });

  it('is told of every edit in a row what stands at the end', async () => {
    const handle = await guard.propose(CALL, CONTEXT);
    const second = await edit(handle.id, { id: 'ACME-2' });
    const third = await edit(second.terms.id, { id: 'ACME-3' }, BEN);
    await run(third, { outcome: 'succeeded', result: 'null' });
    expect(await handle.result()).toMatchObject({ editedBy: BEN, ranInstead: { id: 'ACME-3' } });
  });

  it('[execution:at-most-once] is told in every error what it is about', async () => {
    const doubtful = await guard.propose(CALL, CONTEXT);
    await run(await edit(doubtful.id, { id: 'ACME-2' }), { outcome: 'unknown', why: 'it hung' });
    const unknown: unknown = await doubtful.result().catch((error: unknown) => error);
    expect(unknown).toBeInstanceOf(OutcomeUnknown);
    expect((unknown as CallError).message).toContain(`to {"id":"ACME-2"}`);
    expect((unknown as CallError).message).toContain('Do NOT repeat it');
    const denied = await guard.propose({ ...CALL, args: { id: 'ACME-7' } }, CONTEXT);
    const to = await edit(denied.id, { id: 'ACME-8\u202E' });
    await store.decide(signedDecision(to, 'deny', BEN, { at: await store.now() }));
    const error: unknown = await denied.result().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ApprovalDenied);
    expect((error as CallError).message).toContain(
      'had changed the arguments of this call to {"id":"ACME-8\\u{202E}"}',
    );
  });

  it('waits for the changed call, and takes it back', async () => {
    const handle = await guard.propose(CALL, CONTEXT);
    const to = await edit(handle.id, { id: 'ACME-2' });
    await expect(handle.result({ timeout: 50 })).rejects.toBeInstanceOf(StillPending);
    expect(await handle.withdraw('no longer needed')).toBe(true);
    expect((await store.read(to.terms.id))?.state.status).toBe('withdrawn');
    expect(await handle.withdraw()).toBe(false);
  });

  it('[approval:signed-outside-redis] follows no link that the other end does not confirm under its seal', async () => {
    const others = { ...CONTEXT, agent: 'another-bot' };
    for (const forge of [
      // Another proposal of the same agent, one of another agent, one that is not there.
      async () => (await guard.propose({ ...CALL, args: { id: 'ACME-9' } }, CONTEXT)).id,
      async () => (await guard.propose({ ...CALL, args: { id: 'ACME-9' } }, others)).id,
      async () => {
        // A genuine edit, of another call.
        const other = await guard.propose({ ...CALL, args: { id: 'ACME-6' } }, CONTEXT);
        return (await edit(other.id, { id: 'ACME-10' })).terms.id;
      },
      async () => {
        // And one of a call that is equal in everything but its id.
        const twin = await guard.propose(CALL, CONTEXT);
        return (await edit(twin.id, { id: 'ACME-11' })).terms.id;
      },
      async () => ProposalId.parse(`prop_00${'b'.repeat(24)}`),
    ]) {
      const handle = await guard.propose(CALL, CONTEXT);
      const cause = JSON.stringify({ kind: 'edited', by: ANA, to: await forge() });
      await redis.client.hset(proposalKey(handle.id), { status: 'halted', haltedAt: '1', cause });
      await expect(handle.result({ timeout: 20_000 })).rejects.toBeInstanceOf(Unavailable);
      await expect(handle.status()).rejects.toBeInstanceOf(CallError);
    }
  });
});
