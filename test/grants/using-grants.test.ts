import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { ApprovalPrivateKey } from '../../src/core/approval/decision.ts';
import { type GrantStatement, grantIdOf, type SignedGrant, signGrant } from '../../src/core/grant/grant.ts';
import { CallContext } from '../../src/core/identity/call-context.ts';
import { sealTerms } from '../../src/core/proposal/seal.ts';
import { grantUseOf } from '../../src/redis/grant-store-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import {
  CONTEXT,
  grantsWorld,
  keys,
  LABEL,
  POLICY,
  policyOf,
  statementFor,
  toolsNoting,
} from './grants-world.ts';

const server = redisForTests();
const w = grantsWorld(server);
const LIMITS = { pendingPerAgent: 100, pendingPerTenant: 100 };
const call = (args: Record<string, unknown> = { ...LABEL, ticket: 'T-2' }, tool = 'ticket.label') => ({
  tool,
  args,
});

async function made(terms: Parameters<typeof w.approvedWith>[1] = {}): Promise<SignedGrant> {
  const { signed } = await w.approvedWith({}, terms);
  expect((await w.grants.make(signed)).made).toBe('new');
  return signed;
}

/** How the call is allowed: by people, whom it waits for, or by a grant, at once. */
async function basisOf(
  asked: { tool: string; args: unknown } = call(),
  context: Partial<typeof CONTEXT> = {},
): Promise<string> {
  const handle = await w.guard.propose(asked, { ...CONTEXT, ...context });
  const { terms } = await w.sealed(handle);
  expect(await handle.status()).toBe(terms.basis.kind === 'people' ? 'pending' : 'approved');
  return terms.basis.kind;
}

/** A use of a grant as a guard would write it that was told of this one. */
async function forcedUse(signed: SignedGrant, asked = call(), createdAt?: number) {
  const handle = await w.guard.propose(asked, CONTEXT);
  const people = await w.sealed(handle);
  await handle.withdraw();
  const { basis } = people.terms;
  if (basis.kind === 'policy') throw new Error('nobody is asked');
  const fresh = `prop_00${String(Math.random()).slice(2, 14).padEnd(24, '0')}`;
  const sealed = sealTerms(keys.proposal, {
    ...people.terms,
    id: fresh as typeof people.terms.id,
    createdAt: createdAt ?? people.terms.createdAt,
    basis: { kind: 'grant', by: basis.by, why: basis.why, rule: basis.rule, grant: signed },
  });
  return { sealed, created: await w.store.create(sealed, LIMITS) };
}

async function ended(signed: SignedGrant, asked = call()): Promise<{ status: string; refusal: string }> {
  const { sealed, created } = await forcedUse(signed, asked);
  expect(created.created).toBe('new');
  await w.execution().attempt(sealed.terms.id);
  const state = (await w.store.read(sealed.terms.id))?.state;
  const refusal = state?.status === 'halted' && state.cause.kind === 'refused' ? state.cause.refusal : '';
  return { status: state?.status ?? 'none', refusal };
}

describe('a standing grant', () => {
  it('lets a call like the approved one run without asking anybody, and writes down each step', async () => {
    const signed = await made();
    await w.executor();
    await expect(w.guard.call(call(), CONTEXT)).resolves.toEqual({ labelled: 'T-2' });
    expect(w.ran).toContainEqual({ label: 'billing', ticket: 'T-2' });
    expect(await w.store.pending({ tenant: 'acme', limit: 10 })).toEqual([]);
    const kinds = await w.kinds();
    expect(kinds).toContain('grant.made');
    expect(kinds.filter((kind) => kind === 'grant.used')).toHaveLength(1);
    expect((await w.grants.read(signed.statement.grant))?.uses).toHaveLength(1);
  });

  it('covers exactly as many calls as it says, of fifty at once; the others ask people', async () => {
    await made();
    await w.executor();
    await w.executor();
    const handles = await Promise.all(
      Array.from({ length: 50 }, (_, i) => w.guard.propose(call({ ...LABEL, ticket: `T-${i}` }), CONTEXT)),
    );
    const bases = await Promise.all(handles.map(async (handle) => (await w.sealed(handle)).terms.basis.kind));
    expect(bases.filter((kind) => kind === 'grant')).toHaveLength(10);
    const granted = handles.filter((_, i) => bases[i] === 'grant');
    await Promise.all(granted.map((handle) => handle.result({ timeout: 15_000 })));
    expect(w.ran.filter((args) => JSON.stringify(args).includes('T-'))).toHaveLength(10);
    expect(await w.store.pending({ tenant: 'acme', limit: 100 })).toHaveLength(40);
  }, 30_000);

  it.each([
    ['another value of a fixed argument', { ticket: 'T-2', label: 'refund' }],
    ['a look-alike of a fixed value', { ticket: 'T-2', label: 'bіlling' }],
    ['an invisible character more', { ticket: 'T-2', label: 'billing\u200b' }],
    ['another case', { ticket: 'T-2', label: 'Billing' }],
    ['an argument more', { ...LABEL, options: { notify: true, list: [] } }],
  ])('asks people for %s', async (_, args) => {
    await made();
    expect(await basisOf()).toBe('grant');
    expect(await basisOf(call(args))).toBe('people');
  });

  it('asks people where an argument is missing, or a nested value differs', async () => {
    const options = { notify: true, list: ['a', 'b'] };
    const { signed } = await w.approvedWith({ args: { ...LABEL, options } });
    await w.grants.make(signed);
    expect(await basisOf(call({ ...LABEL, ticket: 'T-9', options }))).toBe('grant');
    expect(await basisOf(call({ ...LABEL, options: { ...options, notify: false } }))).toBe('people');
    expect(await basisOf(call({ ...LABEL, options: { ...options, list: ['b', 'a'] } }))).toBe('people');
    expect(await basisOf(call(LABEL))).toBe('people');
  });

  it('asks people for another caller, tool, environment, tenant or principal', async () => {
    await made();
    expect(await basisOf(call(), { agent: 'other-bot' })).toBe('people');
    expect(await basisOf(call(), { environment: 'staging' })).toBe('people');
    expect(await basisOf(call(), { principal: 'slack:T0ACME/U0ANA' })).toBe('people');
    expect(await basisOf(call(), { principal: 'slack:T0ACME/U0OTHER' })).toBe('people');
    expect(await basisOf(call(LABEL, 'ticket.tag'))).toBe('people');
    await expect(w.guard.propose(call(), { ...CONTEXT, tenant: 'globex' })).resolves.toBeDefined();
    expect(await basisOf()).toBe('grant');
  });

  it('asks people again once it is revoked, and what it allowed and did not start does not start', async () => {
    const signed = await made();
    const before = await w.guard.propose(call(), CONTEXT);
    expect(await w.grants.revoke(signed.statement.grant, signed.statement.person)).toBe('revoked');
    expect(await w.grants.revoke(signed.statement.grant, signed.statement.person)).toBe('already_ended');
    expect(await basisOf()).toBe('people');
    await w.execution().attempt(before.id);
    expect((await w.store.read(before.id))?.state).toMatchObject({
      status: 'halted',
      cause: { refusal: 'grant_void' },
    });
    expect(w.ran).toEqual([]);
    expect(await w.kinds()).toContain('grant.revoked');
  });

  it('[switch:off-then-on-resurrects-nothing] is void for good once writes were off, and says so in the audit', async () => {
    const signed = await made();
    await w.off();
    await w.on();
    expect(await basisOf()).toBe('people');
    expect(await w.kinds()).toContain('grant.voided');
    expect((await w.grants.read(signed.statement.grant))?.end).toMatchObject({
      state: 'voided',
      why: 'switch',
    });
  });

  it('[switch:off-then-on-resurrects-nothing] is void by the sweep alone, with no call in between', async () => {
    const signed = await made();
    await w.off();
    await w.on();
    expect(await w.grants.voidSwitchedOff(signed.statement.tenant)).toBe(1);
    expect(await w.grants.voidSwitchedOff(signed.statement.tenant)).toBe(0);
  });

  it('[execution:the-executor-judges-again] starts nothing under a policy that was tightened since', async () => {
    const signed = await made({ maxUses: 20 });
    for (const tightened of [
      POLICY.replace('      grants: { max_uses: 20, for: 1h }\n', ''),
      POLICY.replace('max_uses: 20', 'max_uses: 9'),
      POLICY.replace('for: 1h', 'for: 10m'),
      POLICY.replace('"user:U0ANA", ', ''),
      POLICY.replace('reason: { deny: required }', 'reason: { approve: required }'),
      POLICY.replace('defaults: {', 'defaults: { quorum: 2,').replace(
        '      grants: { max_uses: 20, for: 1h }\n',
        '',
      ),
    ]) {
      expect(tightened).not.toBe(POLICY);
      const { sealed } = await forcedUse(signed);
      await w.execution({ policy: policyOf(tightened, w.tools) }).attempt(sealed.terms.id);
      expect((await w.store.read(sealed.terms.id))?.state).toMatchObject({
        status: 'halted',
        cause: { refusal: 'grant_not_covering' },
      });
    }
    expect(w.ran).toEqual([]);
  });

  it('[execution:the-executor-judges-again] does not cover a tool that was changed since', async () => {
    await made();
    const changed = toolsNoting(w.ran, { description: 'Puts a label on all tickets.' });
    const guard = w.guardWith({ tools: changed, policy: policyOf(POLICY, changed) });
    const handle = await guard.propose(call(), CONTEXT);
    expect((await w.sealed(handle)).terms.basis.kind).toBe('people');
    const before = await w.guard.propose(call(), CONTEXT);
    await w.execution({ tools: changed, policy: policyOf(POLICY, changed) }).attempt(before.id);
    expect((await w.store.read(before.id))?.state).toMatchObject({
      status: 'halted',
      cause: { refusal: 'tool_changed' },
    });
  });

  it('never covers what cannot be undone, even where a policy and a signature say so', async () => {
    const irreversible = toolsNoting(w.ran, { irreversible: true });
    expect(() => policyOf(POLICY, irreversible)).toThrow(/cannot be undone/);
    const { signed } = await w.approvedWith({ tool: 'db.drop', args: { name: 'all' } }, { free: [] });
    await w.grants.make(signed);
    expect(await basisOf(call({ name: 'all' }, 'db.drop'))).toBe('people');
    expect(await ended(signed, call({ name: 'all' }, 'db.drop'))).toEqual({
      status: 'halted',
      refusal: 'grant_not_covering',
    });
  });
});

describe('[approval:signed-outside-redis] a grant that somebody wrote into Redis', () => {
  const stranger = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;

  it('signed with another key is an alarm, and starts nothing', async () => {
    const { signed } = await w.approvedWith({});
    const forged = signGrant(stranger, signed.statement);
    await w.grants.make(forged);
    const handle = await w.guard.propose(call(), CONTEXT);
    await w.execution().attempt(handle.id);
    expect((await w.store.read(handle.id))?.state).toMatchObject({
      status: 'halted',
      cause: { refusal: 'grant_forged' },
    });
    expect(w.ran).toEqual([]);
    expect(await w.kinds()).toContain('alarm.raised');
  });

  it.each<[string, (statement: GrantStatement) => GrantStatement]>([
    ['more uses', (statement) => ({ ...statement, maxUses: 20 })],
    ['more time', (statement) => ({ ...statement, expires: statement.expires + 60_000 })],
    [
      'a wider pattern',
      (statement) => ({
        ...statement,
        pattern: statement.pattern.map(({ name }) => ({ name, may: 'be_anything' as const })),
      }),
    ],
    ['another person', (statement) => ({ ...statement, as: 'user:U0BEN' })],
    ['a later epoch', (statement) => ({ ...statement, switchEpoch: statement.switchEpoch + 1 })],
  ])('and edited to %s is an alarm, and starts nothing', async (_, edit) => {
    const { signed } = await w.approvedWith({});
    const edited = { ...signed, statement: edit(signed.statement) };
    await w.grants.make(edited);
    expect(await ended(edited)).toEqual({ status: 'halted', refusal: 'grant_forged' });
    expect(w.ran).toEqual([]);
  });

  it('under the id of another proposal is an alarm', async () => {
    const { signed } = await w.approvedWith({});
    const other = await w.approvedWith({});
    const moved = signGrant(keys.approvalPrivate, {
      ...signed.statement,
      grant: grantIdOf(other.signed.statement.proposal),
    });
    await w.grants.make(moved);
    expect(await ended(moved)).toEqual({ status: 'halted', refusal: 'grant_of_another' });
  });

  it('covers nothing past its time, whatever the indexes say', async () => {
    const { signed } = await w.approvedWith(
      {},
      { change: (statement) => ({ ...statement, expires: statement.at + 2_000 }) },
    );
    await w.grants.make(signed);
    const { sealed } = await forcedUse(signed);
    await expect.poll(() => w.store.now(), { timeout: 10_000 }).toBeGreaterThan(signed.statement.expires);
    await w.redis.zadd(
      '{s0}:grants:acme:production:support-bot:ticket.label',
      '9999999999999',
      signed.statement.grant,
    );
    expect(await basisOf()).toBe('people');
    expect((await forcedUse(signed)).created.created).toBe('grant_expired');
    await w.execution().attempt(sealed.terms.id);
    expect((await w.store.read(sealed.terms.id))?.state).toMatchObject({ status: 'halted' });
    expect(w.ran).toEqual([]);
  });

  it('does not begin anew where its uses are deleted, and says so', async () => {
    const signed = await made();
    expect(await basisOf()).toBe('grant');
    await w.redis.del(`{s0}:grant-uses:${signed.statement.grant}`);
    expect(await basisOf()).toBe('people');
    expect((await w.audit.read({ limit: 100 })).some(({ detail }) => detail.alarm === 'grant_missing')).toBe(
      true,
    );
  });

  it('does not begin anew where its count is deleted or the grant itself is gone', async () => {
    const signed = await made();
    expect(await basisOf()).toBe('grant');
    await w.redis.hdel(`{s0}:grant:${signed.statement.grant}`, 'uses');
    expect(await basisOf()).toBe('people');
    await w.redis.del(`{s0}:grant:${signed.statement.grant}`);
    expect((await forcedUse(signed)).created.created).toBe('grant_missing');
  });

  it('is not used more often in one executor than it says, where its count is set back', async () => {
    const signed = await made({ maxUses: 2 });
    const execution = w.execution();
    const statuses: (string | undefined)[] = [];
    for (let i = 0; i < 4; i += 1) {
      const { sealed, created } = await forcedUse(signed, call({ ...LABEL, ticket: `T-${i}` }));
      expect(created.created).toBe('new');
      await execution.attempt(sealed.terms.id);
      statuses.push((await w.store.read(sealed.terms.id))?.state.status);
      await w.redis.del(`{s0}:grant-uses:${signed.statement.grant}`);
      await w.redis.hset(`{s0}:grant:${signed.statement.grant}`, 'uses', '0');
    }
    expect(statuses).toEqual(['succeeded', 'succeeded', 'halted', 'halted']);
    expect(w.ran).toHaveLength(2);
    expect(await w.kinds()).toContain('alarm.raised');
  });

  it('stays revoked in an executor that was told so, where it is opened again', async () => {
    const signed = await made();
    const execution = w.execution();
    const first = await forcedUse(signed);
    await w.grants.revoke(signed.statement.grant, signed.statement.person);
    await execution.attempt(first.sealed.terms.id);
    await w.redis.hset(`{s0}:grant:${signed.statement.grant}`, 'state', 'open');
    const told = await w.store.now();
    await expect.poll(() => w.store.now()).toBeGreaterThan(told);
    // As one that is made more than five seconds later, which is all that the store's clock takes for now.
    const { sealed } = await forcedUse(signed, call(), told + 5_001);
    await execution.attempt(sealed.terms.id);
    expect((await w.store.read(sealed.terms.id))?.state).toMatchObject({
      status: 'halted',
      cause: { refusal: 'grant_reopened' },
    });
    expect(await w.kinds()).toContain('alarm.raised');
    expect(w.ran).toEqual([]);
  });

  it('raises no alarm where the call was dated by a node whose clock is ahead of the one that tells the time', async () => {
    const signed = await made();
    const execution = w.execution();
    const first = await forcedUse(signed);
    const ahead = await forcedUse(signed, call({ ...LABEL, ticket: 'T-3' }), (await w.store.now()) + 4_000);
    expect(ahead.created.created).toBe('new');
    await w.grants.revoke(signed.statement.grant, signed.statement.person);
    for (const { sealed } of [first, ahead]) {
      await execution.attempt(sealed.terms.id);
      expect((await w.store.read(sealed.terms.id))?.state).toMatchObject({ status: 'halted' });
    }
    expect(await w.kinds()).not.toContain('alarm.raised');
    expect(w.ran).toEqual([]);
  });

  it('halts all that wait under it when it is revoked, and raises no alarm', async () => {
    const signed = await made();
    const execution = w.execution();
    const waiting = [await forcedUse(signed), await forcedUse(signed, call({ ...LABEL, ticket: 'T-3' }))];
    await w.grants.revoke(signed.statement.grant, signed.statement.person);
    for (const { sealed } of waiting) {
      expect(await execution.attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    }
    expect(await w.kinds()).not.toContain('alarm.raised');
    expect(w.ran).toEqual([]);
  });
});

describe('making a grant', () => {
  it('[approval:single-use] makes one of one approval, however often it is handed in', async () => {
    const { signed, sealed } = await w.approvedWith({});
    const again = signGrant(keys.approvalPrivate, {
      ...statementFor(sealed, await w.store.now(), { maxUses: 20 }),
    });
    const answers = await Promise.all([signed, again, signed].map((one) => w.grants.make(one)));
    expect(answers.map(({ made: word }) => word).sort()).toEqual(['again', 'again', 'new']);
    expect((await w.kinds()).filter((kind) => kind === 'grant.made')).toHaveLength(1);
  });

  it('needs the approval of that very person and of those very terms', async () => {
    const handle = await w.guard.propose(call(), CONTEXT);
    const sealed = await w.sealed(handle);
    const statement = statementFor(sealed, await w.store.now());
    const make = async (change: Partial<GrantStatement>) =>
      (await w.grants.make(signGrant(keys.approvalPrivate, { ...statement, ...change }))).made;
    expect(await make({})).toBe('not_approved');
    const { signed } = await w.approvedWith(
      {},
      { change: (same) => ({ ...same, termsDigest: 'b'.repeat(64) }) },
    );
    expect((await w.grants.make(signed)).made).toBe('not_approved');
  });

  it('makes none once writes were switched off since the proposal', async () => {
    const { signed } = await w.approvedWith({});
    await w.off();
    await w.on();
    expect(['writes_off', 'not_approved']).toContain((await w.grants.make(signed)).made);
  });

  it('keeps a grant of one tenant out of the sight of every other', async () => {
    await made();
    const other = CallContext.parse({ ...CONTEXT, tenant: 'globex' });
    expect(await w.grants.openFor(other, 'ticket.label', await w.store.now())).toEqual([]);
    expect(await w.grants.open(other.tenant, 10)).toEqual([]);
  });

  it('names in its use only what was signed', async () => {
    const signed = await made();
    expect(grantUseOf(signed)).toMatchObject({ maxUses: 10, expires: signed.statement.expires });
  });
});
