import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import type { AuditEntry, AuditKind } from '../../src/core/audit/audit-entry.ts';
import type { AuditLog } from '../../src/core/audit/audit-log.ts';
import type { Admission } from '../../src/core/execution/admission.ts';
import { AgentId, PersonId } from '../../src/core/identity/ids.ts';
import { type ProposalId, shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import type { CardOutbox, Decided, ProposalStore } from '../../src/core/proposal/proposal-store.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { parseTerms } from '../../src/core/proposal/seal.ts';
import type { SwitchScope } from '../../src/core/switch/scope.ts';
import type { OffAnswer, WriteSwitch } from '../../src/core/switch/write-switch.ts';
import {
  ANA,
  BEN,
  CLEO,
  sealedTerms,
  signedDecision,
  type TermsOverrides,
  testContext,
} from '../sealed-terms.ts';

export interface Stores {
  readonly shards: number;
  readonly store: ProposalStore;
  readonly outbox: CardOutbox;
  readonly writeSwitch: WriteSwitch;
  readonly audit: AuditLog;
}

/** Above what any test here makes. */
export const ROOMY = { pendingPerAgent: 1_000, pendingPerTenant: 10_000 };
export const OPERATOR = 'cli:tester';

export async function armed({ writeSwitch }: Pick<Stores, 'writeSwitch'>): Promise<void> {
  const { epoch } = await writeSwitch.status();
  const on = await writeSwitch.on({ scope: {}, by: OPERATOR, why: 'the test begins', expectedEpoch: epoch });
  if (!on.ok) throw new Error(`the switch could not be armed: ${on.refusal}`);
}

export async function freshTerms(
  { writeSwitch, shards }: Pick<Stores, 'writeSwitch' | 'shards'>,
  overrides: Omit<TermsOverrides, 'now' | 'epoch'> & { agedMs?: number; epoch?: number } = {},
): Promise<SealedTerms> {
  const { agedMs = 0, ...rest } = overrides;
  const context = testContext(overrides.context);
  const { now, epoch } = await writeSwitch.read(context, overrides.tool ?? 'ticket.close');
  return sealedTerms({ now: now - agedMs, epoch, shards, ...rest });
}

export async function proposed(
  stores: Stores,
  overrides: Parameters<typeof freshTerms>[1] = {},
): Promise<SealedTerms> {
  const sealed = await freshTerms(stores, overrides);
  const created = await stores.store.create(sealed, ROOMY);
  if (created.created !== 'new') throw new Error(`not created: ${created.created}`);
  return sealed;
}

export async function approved(
  stores: Stores,
  overrides: Parameters<typeof freshTerms>[1] = {},
): Promise<SealedTerms> {
  const sealed = await proposed(stores, overrides);
  const decided = await stores.store.decide(signedDecision(sealed, 'approve', ANA));
  if (!decided.ok || !decided.settled) throw new Error('not approved');
  return sealed;
}

export function askFor(sealed: SealedTerms, leaseMs = 60_000) {
  return {
    id: sealed.terms.id,
    termsDigest: sealed.termsDigest,
    admission: randomBytes(16).toString('hex'),
    executor: 'executor-1',
    leaseMs,
  };
}

export async function admitted(
  stores: Stores,
  leaseMs?: number,
): Promise<{ sealed: SealedTerms; admission: Admission }> {
  const sealed = await approved(stores);
  const answer = await stores.store.admit(askFor(sealed, leaseMs));
  if (!answer.ok) throw new Error(`not admitted: ${answer.refusal}`);
  return { sealed, admission: answer.admission };
}

/** What an `off` halted, sorted: all of it, also where its answer did not wait for that. */
export async function haltedBy(off: OffAnswer): Promise<readonly ProposalId[]> {
  const found = (await off.halting) ?? off;
  expect(found).toMatchObject({ complete: true });
  return found.halted.toSorted();
}

export async function auditOf({ audit }: Pick<Stores, 'audit'>, sealed: SealedTerms): Promise<AuditEntry[]> {
  return audit.read({ proposal: sealed.terms.id, limit: 100 });
}

async function kindsOf(stores: Stores, sealed: SealedTerms): Promise<AuditKind[]> {
  return (await auditOf(stores, sealed)).map((entry) => entry.kind);
}

/** The port's promises, run over every implementation. `make` gives empty stores, never armed. */
export function proposalStoreContract(make: () => Promise<Stores>): void {
  let stores: Stores;
  let store: ProposalStore;
  beforeEach(async () => {
    stores = await make();
    store = stores.store;
    await armed(stores);
  });

  describe('after a denial', () => {
    const COOLDOWN = { ...ROOMY, cooldownMs: 600_000 };
    const denied = async (overrides: Parameters<typeof freshTerms>[1] = {}) => {
      const sealed = await proposed(stores, overrides);
      await store.decide(signedDecision(sealed, 'deny', BEN, { reason: 'not a duplicate' }));
      return sealed;
    };

    it('refuses the same call at once, and says what was denied, by whom and why', async () => {
      const first = await denied();
      const again = await store.create(await freshTerms(stores), COOLDOWN);
      if (again.created !== 'cooling_down') throw new Error(again.created);
      expect(again.record.id).toBe(first.terms.id);
      expect(again.record.state).toMatchObject({
        denial: { statement: { person: BEN, reason: 'not a duplicate' } },
      });
      expect(again.retryAfterMs).toBeGreaterThan(500_000);
      expect(again.retryAfterMs).toBeLessThanOrEqual(600_000);
      expect(await store.pending({ limit: 10 })).toEqual([]);
      const refused = (await stores.audit.read({ limit: 100 })).find(({ kind }) => kind === 'call.forbidden');
      expect(refused?.detail).toMatchObject({ reason: 'cooling_down', denied: first.terms.id });
    });

    it.each<[string, Parameters<typeof freshTerms>[1]]>([
      ['other arguments', { arguments: { ticket: 'T-2' } }],
      ['another agent', { context: { agent: 'other-bot' } }],
      ['another environment', { context: { environment: 'staging' } }],
      ['another tool', { tool: 'ticket.merge' }],
    ])('does not refuse %s', async (_, other) => {
      await denied();
      expect(await store.create(await freshTerms(stores, other), COOLDOWN)).toMatchObject({ created: 'new' });
    });

    it('refuses it as well where the policy would allow it by itself', async () => {
      await denied();
      const automatic = await freshTerms(stores, { automatic: {} });
      expect(await store.create(automatic, COOLDOWN)).toMatchObject({ created: 'cooling_down' });
    });

    it('lets it through once the cooldown is over, and counts from the newest denial', async () => {
      const first = await denied();
      const at = (await store.read(first.terms.id))?.state;
      if (at?.status !== 'denied') throw new Error('not denied');
      await expect.poll(() => store.now()).toBeGreaterThan(at.deniedAt + 20);
      const sealed = await freshTerms(stores);
      expect(await store.create(sealed, { ...ROOMY, cooldownMs: 20 })).toMatchObject({ created: 'new' });
      await store.decide(signedDecision(sealed, 'deny', BEN));
      expect(await store.create(await freshTerms(stores), COOLDOWN)).toMatchObject({
        created: 'cooling_down',
        record: { id: sealed.terms.id },
      });
    });

    it('gives back a proposal that stands under its key, denied or not', async () => {
      const first = await denied({ idempotencyKey: 'k' });
      const same = await freshTerms(stores, { idempotencyKey: 'k' });
      expect(await store.create(same, COOLDOWN)).toMatchObject({
        created: 'joined',
        record: { id: first.terms.id },
      });
    });
  });

  describe('create', () => {
    it('lets no agent take the place of another: each has its own limit', async () => {
      const create = async (agent: string) =>
        (
          await store.create(await freshTerms(stores, { context: { agent } }), {
            pendingPerAgent: 3,
            pendingPerTenant: 100,
          })
        ).created;
      const flood: string[] = [];
      for (let i = 0; i < 10; i += 1) flood.push(await create('greedy-bot'));
      expect(flood.filter((word) => word === 'new')).toHaveLength(3);
      expect([await create('modest-bot'), await create('modest-bot')]).toEqual(['new', 'new']);
      expect(await create('greedy-bot')).toBe('too_many_pending');
    });

    it('gives back exactly the text and the seal that it was given', async () => {
      const sealed = await freshTerms(stores, {
        arguments: { note: 'Zürich \u{1f980} \u202e "quotes" \n\u0000 {s0}:x' },
        statedReason: 'because',
      });
      const created = await store.create(sealed, ROOMY);
      expect(created).toMatchObject({
        created: 'new',
        record: { state: { status: 'pending', approvals: [] } },
      });
      const record = await store.read(sealed.terms.id);
      expect(record?.termsText).toBe(sealed.text);
      expect(record?.seal).toBe(sealed.seal);
      expect(parseTerms(record?.termsText ?? '')).toEqual(sealed.terms);
      expect(record?.card).toBeUndefined();
    });

    it('knows nothing of an id that nobody created', async () => {
      expect(await store.read((await freshTerms(stores)).terms.id)).toBeUndefined();
    });

    it('joins the same call under the same idempotency key, also after it was settled', async () => {
      const first = await proposed(stores, { idempotencyKey: 'close T-1' });
      const second = await freshTerms(stores, { idempotencyKey: 'close T-1' });
      expect(await store.create(second, ROOMY)).toMatchObject({
        created: 'joined',
        record: { id: first.terms.id },
      });
      await store.decide(signedDecision(first, 'deny'));
      const third = await freshTerms(stores, { idempotencyKey: 'close T-1' });
      expect(await store.create(third, ROOMY)).toMatchObject({
        created: 'joined',
        record: { id: first.terms.id, state: { status: 'denied' } },
      });
      expect(await store.read(second.terms.id)).toBeUndefined();
    });

    it.each<[string, Parameters<typeof freshTerms>[1]]>([
      ['other arguments', { arguments: { ticket: 'T-2' } }],
      ['another tool', { tool: 'ticket.create' }],
      ['another principal', { context: { principal: 'slack:T0ACME/U0OTHER' } }],
    ])('refuses the same idempotency key with %s as a conflict', async (_, overrides) => {
      const first = await proposed(stores, { idempotencyKey: 'k' });
      const second = await freshTerms(stores, { idempotencyKey: 'k', ...overrides });
      expect(await store.create(second, ROOMY)).toEqual({ created: 'conflict', id: first.terms.id });
    });

    it.each<[string, Parameters<typeof freshTerms>[1]]>([
      ['tenant', { context: { tenant: 'globex' } }],
      ['environment', { context: { environment: 'staging' } }],
      ['agent', { context: { agent: 'other-bot' } }],
    ])('keeps the idempotency keys of one %s from another', async (_, overrides) => {
      await proposed(stores, { idempotencyKey: 'k' });
      const second = await freshTerms(stores, { idempotencyKey: 'k', ...overrides });
      expect(await store.create(second, ROOMY)).toMatchObject({ created: 'new' });
    });

    it('joins itself when an answer was lost and the same terms come again', async () => {
      const sealed = await proposed(stores);
      expect(await store.create(sealed, ROOMY)).toMatchObject({
        created: 'joined',
        record: { id: sealed.terms.id },
      });
      expect(await kindsOf(stores, sealed)).toEqual(['proposal.created']);
    });

    it('refuses terms sealed at another switch epoch or too long ago', async () => {
      const { epoch } = await stores.writeSwitch.status();
      expect(await store.create(await freshTerms(stores, { epoch: epoch - 1 }), ROOMY)).toEqual({
        created: 'stale_terms',
      });
      expect(await store.create(await freshTerms(stores, { epoch: epoch + 1 }), ROOMY)).toEqual({
        created: 'stale_terms',
      });
      expect(await store.create(await freshTerms(stores, { agedMs: 5_500 }), ROOMY)).toEqual({
        created: 'stale_terms',
      });
      expect(await store.create(await freshTerms(stores, { agedMs: -5_500 }), ROOMY)).toEqual({
        created: 'stale_terms',
      });
    });

    it('caps what one agent and what one tenant has pending, and frees the place with the decision', async () => {
      const limits = { pendingPerAgent: 2, pendingPerTenant: 3 };
      const create = async (agent: string) =>
        store.create(await freshTerms(stores, { context: { agent } }), limits);
      const first = await create('a');
      await create('a');
      expect(await create('a')).toEqual({ created: 'too_many_pending', limit: 2 });
      expect(await create('b')).toMatchObject({ created: 'new' });
      expect(await create('b')).toEqual({ created: 'too_many_pending', limit: 3 });
      const other = await freshTerms(stores, { context: { tenant: 'globex', agent: 'a' } });
      expect(await store.create(other, limits)).toMatchObject({ created: 'new' });
      if (first.created !== 'new') throw new Error(first.created);
      await store.withdraw(first.record.id, {
        agent: AgentId.parse('a'),
        principal: PersonId.parse('slack:T0ACME/U0ASKER'),
      });
      expect(await create('a')).toMatchObject({ created: 'new' });
    });
  });

  describe('budgets', () => {
    const budget = { counterKey: 'ticket.create|acme|production|support-bot', max: 20, perMs: 3_600_000 };

    it('approves at once what the policy allows, and reserves in the same step', async () => {
      const sealed = await freshTerms(stores, { automatic: { budget: { ...budget, max: 1 } } });
      expect(await store.create(sealed, ROOMY)).toMatchObject({
        created: 'new',
        record: { state: { status: 'approved', approvals: [] } },
      });
      expect(await kindsOf(stores, sealed)).toEqual(['proposal.created', 'proposal.approved']);
      const next = await store.create(
        await freshTerms(stores, { automatic: { budget: { ...budget, max: 1 } } }),
        ROOMY,
      );
      expect(next.created).toBe('over_budget');
      expect(next.created === 'over_budget' && next.retryAfterMs).toBeGreaterThan(3_590_000);
      expect((await store.admit(askFor(sealed))).ok).toBe(true);
    });

    it('gives 50 simultaneous calls no more than the 20 that the budget holds', async () => {
      const calls = await Promise.all(
        Array.from({ length: 50 }, () => freshTerms(stores, { automatic: { budget } })),
      );
      const answers = await Promise.all(calls.map((sealed) => store.create(sealed, ROOMY)));
      expect(answers.filter((answer) => answer.created === 'new')).toHaveLength(20);
      expect(answers.filter((answer) => answer.created === 'over_budget')).toHaveLength(30);
    });

    it('lets the window slide: a reservation frees its place when its time is over', async () => {
      const brief = { ...budget, max: 1, perMs: 1_500 };
      const create = async () =>
        store.create(await freshTerms(stores, { automatic: { budget: brief } }), ROOMY);
      await create();
      await expect.poll(async () => (await create()).created).toBe('new');
      expect((await create()).created).toBe('over_budget');
    });

    it('allows without a budget where the policy asks for none', async () => {
      const sealed = await freshTerms(stores, { automatic: {} });
      expect(await store.create(sealed, ROOMY)).toMatchObject({ record: { state: { status: 'approved' } } });
      expect((await store.admit(askFor(sealed))).ok).toBe(true);
    });
  });

  describe('decide', () => {
    it('settles an approval, with who and their very words', async () => {
      const sealed = await proposed(stores);
      const vote = signedDecision(sealed, 'approve', ANA, { reason: 'a real duplicate: "T-9" \u{1f44d}' });
      const decided = await store.decide(vote);
      expect(decided).toMatchObject({ ok: true, settled: true, replayed: false });
      expect(decided.record?.state).toMatchObject({ status: 'approved', approvals: [vote] });
      const state = decided.record?.state;
      expect(state?.status === 'approved' && state.startBefore - state.approvedAt).toBe(60_000);
      expect(await kindsOf(stores, sealed)).toEqual([
        'proposal.created',
        'decision.approve',
        'proposal.approved',
      ]);
    });

    it('[decision:denial-is-final] one denial ends it, whatever the quorum, and also takes back an approval', async () => {
      const sealed = await proposed(stores, { rule: { quorum: 3 } });
      await store.decide(signedDecision(sealed, 'approve', ANA));
      await store.decide(signedDecision(sealed, 'approve', BEN));
      const denial = signedDecision(sealed, 'deny', ANA);
      const denied = await store.decide(denial);
      expect(denied).toMatchObject({
        ok: true,
        settled: true,
        record: { state: { status: 'denied', denial } },
      });
      expect(denied.record?.state.approvals.map((vote) => vote.statement.person)).toEqual([BEN]);
      expect(await store.decide(signedDecision(sealed, 'approve', CLEO))).toMatchObject({
        ok: false,
        refusal: 'already_settled',
      });
      expect(await store.decide(signedDecision(sealed, 'approve', ANA))).toMatchObject({
        ok: false,
        refusal: 'already_voted',
      });
      expect((await store.admit(askFor(sealed))).ok).toBe(false);
    });

    it('[decision:quorum-counts-distinct-people] the same person twice is one vote; two people are two', async () => {
      const sealed = await proposed(stores, { rule: { quorum: 2 } });
      expect(await store.decide(signedDecision(sealed, 'approve', ANA))).toMatchObject({
        settled: false,
        replayed: false,
      });
      const again = await store.decide(signedDecision(sealed, 'approve', ANA, { reason: 'other words' }));
      expect(again).toMatchObject({
        ok: true,
        settled: false,
        replayed: true,
        record: { state: { status: 'pending' } },
      });
      expect(again.record?.state.approvals).toHaveLength(1);
      expect(await store.decide(signedDecision(sealed, 'approve', BEN))).toMatchObject({
        settled: true,
        record: { state: { status: 'approved' } },
      });
    });

    it('[decision:quorum-counts-distinct-people] never counts whom the terms exclude', async () => {
      const sealed = await proposed(stores);
      const own = signedDecision(sealed, 'approve', PersonId.parse('slack:T0ACME/U0ASKER'));
      await expect(store.decide(own)).rejects.toMatchObject({ code: 'excluded_vote' });
      expect((await store.read(sealed.terms.id))?.state).toEqual({ status: 'pending', approvals: [] });
    });

    it('gives the same person the same answer to the same vote, also after it is long settled', async () => {
      const sealed = await proposed(stores, { rule: { quorum: 2 } });
      await store.decide(signedDecision(sealed, 'approve', ANA));
      await store.decide(signedDecision(sealed, 'approve', BEN));
      const entries = await kindsOf(stores, sealed);
      expect(await store.decide(signedDecision(sealed, 'approve', ANA))).toMatchObject({
        ok: true,
        settled: false,
        replayed: true,
      });
      expect(await store.decide(signedDecision(sealed, 'approve', BEN))).toMatchObject({
        ok: true,
        settled: true,
        replayed: true,
      });
      expect(await store.decide(signedDecision(sealed, 'deny', BEN))).toMatchObject({
        ok: false,
        refusal: 'already_voted',
      });
      expect(await kindsOf(stores, sealed)).toEqual(entries);
    });

    it('[decision:late-click-loses] a click after the deadline counts neither way, though nothing expired it yet', async () => {
      const sealed = await proposed(stores, { agedMs: 4_000, rule: { expiresInMs: 3_000 } });
      for (const decision of ['approve', 'deny'] as const) {
        expect(await store.decide(signedDecision(sealed, decision))).toMatchObject({
          ok: false,
          refusal: 'too_late',
          record: { state: { status: 'pending' } },
        });
      }
      await store.expire(sealed.terms.id);
      expect(await store.decide(signedDecision(sealed, 'approve'))).toMatchObject({
        ok: false,
        refusal: 'too_late',
      });
    });

    it('[decision:late-click-loses] a flood of clicks over the deadline counts before it and never at or after it', async () => {
      const sealed = await proposed(stores, { rule: { expiresInMs: 400, quorum: 10_000 } });
      const { deadline } = sealed.terms;
      const clicked: { answer: Decided; earliest: number; latest: number }[] = [];
      while (clicked.at(-1)?.answer.ok !== false) {
        // Asked in one go and answered in order: the clock before and after each click, some ten microseconds apart.
        const times = [store.now()];
        const answers = Array.from({ length: 40 }, (_, i) => {
          const person = PersonId.parse(`slack:T0ACME/U${clicked.length + i}`);
          const answer = store.decide(signedDecision(sealed, 'approve', person));
          times.push(store.now());
          return answer;
        });
        const clock = await Promise.all(times);
        for (const [i, answer] of (await Promise.all(answers)).entries()) {
          clicked.push({ answer, earliest: clock[i] ?? 0, latest: clock[i + 1] ?? 0 });
        }
      }
      expect(clicked.filter(({ answer, earliest }) => answer.ok && earliest >= deadline)).toEqual([]);
      expect(clicked.filter(({ answer, latest }) => !answer.ok && latest < deadline)).toEqual([]);
      expect(clicked.some(({ answer }) => answer.ok)).toBe(true);
    });

    it('[approval:bound-to-everything] a vote for other terms or another nonce is no vote', async () => {
      const sealed = await proposed(stores);
      const other = await freshTerms(stores);
      for (const forged of [
        signedDecision(sealed, 'approve', ANA, { termsDigest: other.termsDigest }),
        signedDecision(sealed, 'approve', ANA, { nonce: other.terms.nonce }),
      ]) {
        expect(await store.decide(forged)).toMatchObject({ ok: false, refusal: 'terms_changed' });
      }
      expect(await store.decide(signedDecision(other, 'approve'))).toEqual({
        ok: false,
        refusal: 'not_found',
        record: undefined,
      });
    });

    it('[decision:one-winner] 20 simultaneous clicks settle once, and every loser is told why', async () => {
      const sealed = await proposed(stores);
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          store.decide(
            signedDecision(sealed, i % 2 ? 'approve' : 'deny', PersonId.parse(`slack:T0ACME/U${i}`)),
          ),
        ),
      );
      expect(answers.filter((answer) => answer.ok)).toHaveLength(1);
      expect(answers.filter((answer) => !answer.ok && answer.refusal === 'already_settled')).toHaveLength(19);
    });
  });

  describe('withdraw and expire', () => {
    const asker = { agent: AgentId.parse('support-bot'), principal: PersonId.parse('slack:T0ACME/U0ASKER') };

    it('lets the agent that asked withdraw what is pending, and nobody else and nothing else', async () => {
      const sealed = await proposed(stores);
      expect(await store.withdraw(sealed.terms.id, { ...asker, agent: AgentId.parse('other-bot') })).toBe(
        'not_due',
      );
      expect(await store.withdraw(sealed.terms.id, { ...asker, why: 'closed by hand' })).toBe('settled');
      expect(await store.withdraw(sealed.terms.id, asker)).toBe('lost_race');
      const settled = await approved(stores);
      expect(await store.withdraw(settled.terms.id, asker)).toBe('lost_race');
      expect(await kindsOf(stores, sealed)).toEqual(['proposal.created', 'proposal.withdrawn']);
    });

    it('expires what nobody decided, at its deadline and not before', async () => {
      const early = await proposed(stores);
      expect(await store.expire(early.terms.id)).toBe('not_due');
      const late = await proposed(stores, { agedMs: 4_000, rule: { expiresInMs: 4_000 } });
      expect(await store.expire(late.terms.id)).toBe('settled');
      expect(await store.expire(late.terms.id)).toBe('lost_race');
      expect((await store.read(late.terms.id))?.state).toMatchObject({
        status: 'expired',
        stage: 'deciding',
      });
    });

    it('expires what nothing started in time, and starts it no more', async () => {
      const sealed = await approved(stores, { startWithinMs: 1 });
      await expect.poll(() => store.due(10)).toMatchObject({ expired: [sealed.terms.id], ready: [] });
      expect(await store.admit(askFor(sealed))).toMatchObject({ ok: false, refusal: 'too_late' });
      expect(await store.expire(sealed.terms.id)).toBe('settled');
      expect((await store.read(sealed.terms.id))?.state).toMatchObject({
        status: 'expired',
        stage: 'starting',
      });
      expect(await store.admit(askFor(sealed))).toMatchObject({ ok: false, refusal: 'already_settled' });
    });
  });

  describe('admit', () => {
    it('[approval:single-use] of 8 racing executors one is admitted', async () => {
      const sealed = await approved(stores);
      const answers = await Promise.all(Array.from({ length: 8 }, () => store.admit(askFor(sealed))));
      expect(answers.filter((answer) => answer.ok)).toHaveLength(1);
      expect(answers.filter((answer) => !answer.ok && answer.refusal === 'already_admitted')).toHaveLength(7);
      expect(await kindsOf(stores, sealed)).toEqual([
        'proposal.created',
        'decision.approve',
        'proposal.approved',
        'admission.granted',
      ]);
    });

    it('admits only what is approved, and says what it is instead', async () => {
      const pending = await proposed(stores);
      expect(await store.admit(askFor(pending))).toMatchObject({ ok: false, refusal: 'not_approved' });
      await store.decide(signedDecision(pending, 'deny'));
      expect(await store.admit(askFor(pending))).toMatchObject({ ok: false, refusal: 'already_settled' });
      expect(await store.admit(askFor(await freshTerms(stores)))).toMatchObject({
        ok: false,
        refusal: 'not_found',
      });
    });

    it('[approval:bound-to-everything] admits no other terms than those that were approved', async () => {
      const sealed = await approved(stores);
      const other = await freshTerms(stores);
      expect(await store.admit({ ...askFor(sealed), termsDigest: other.termsDigest })).toMatchObject({
        ok: false,
        refusal: 'terms_changed',
      });
      expect((await store.read(sealed.terms.id))?.state.status).toBe('approved');
    });

    it('[approval:single-use] an admission id that was used is used, also where it was given back', async () => {
      const sealed = await approved(stores);
      const ask = askFor(sealed);
      const first = await store.admit(ask);
      if (!first.ok) throw new Error(first.refusal);
      expect(await store.admit(ask)).toMatchObject({ ok: false, refusal: 'already_admitted' });
      expect(await store.giveBack(first.admission, 'too slow')).toBe('settled');
      expect(await store.giveBack(first.admission, 'too slow')).toBe('lost_race');
      const back = await store.read(sealed.terms.id);
      expect(back?.state).toMatchObject({ status: 'approved' });
      expect(await store.admit(ask)).toMatchObject({ ok: false, refusal: 'already_admitted' });
      expect(await store.finish(first.admission, { outcome: 'succeeded', result: '1' })).toBe('lost_race');
      const second = await store.admit(askFor(sealed));
      expect(second).toMatchObject({ ok: true });
      expect(await store.finish(first.admission, { outcome: 'succeeded', result: '1' })).toBe('lost_race');
    });

    it('does not give more time by giving back', async () => {
      const sealed = await approved(stores);
      const before = (await store.read(sealed.terms.id))?.state;
      const admission = await store.admit(askFor(sealed));
      if (!admission.ok || before?.status !== 'approved') throw new Error('not admitted');
      await store.giveBack(admission.admission, 'too slow');
      expect((await store.read(sealed.terms.id))?.state).toMatchObject({ startBefore: before.startBefore });
    });
  });

  describe('outcomes', () => {
    it.each([
      { outcome: 'succeeded', result: '{"closed":true}' },
      { outcome: 'failed', code: 'not_found', message: 'no such ticket' },
      { outcome: 'unknown', why: 'timed out' },
    ] as const)('records $outcome once', async (outcome) => {
      const { sealed, admission } = await admitted(stores);
      expect(await store.finish(admission, outcome)).toBe('settled');
      expect(await store.finish(admission, outcome)).toBe('lost_race');
      expect((await store.read(sealed.terms.id))?.state).toMatchObject({ status: outcome.outcome, outcome });
      expect((await kindsOf(stores, sealed)).at(-1)).toBe(`outcome.${outcome.outcome}`);
    });

    it('tells the digest of a result in the audit, and not the result', async () => {
      const { sealed, admission } = await admitted(stores);
      await store.finish(admission, { outcome: 'succeeded', result: '{"secret":"s3cr3t"}' });
      expect(JSON.stringify(await auditOf(stores, sealed))).not.toContain('s3cr3t');
    });

    it('[execution:at-most-once] a lapsed lease is unknown; a late result is told in the audit and changes nothing', async () => {
      const { sealed, admission } = await admitted(stores, 0);
      expect(await store.due(10)).toMatchObject({ lapsed: [sealed.terms.id] });
      expect(await store.declareUnknown(sealed.terms.id, 'the executor is gone')).toBe('settled');
      expect(await store.extendLease(admission, 60_000)).toBe(false);
      for (let i = 0; i < 3; i += 1) {
        expect(await store.finish(admission, { outcome: 'succeeded', result: '1' })).toBe('lost_race');
      }
      expect((await store.read(sealed.terms.id))?.state).toMatchObject({
        status: 'unknown',
        outcome: { outcome: 'unknown', why: 'the executor is gone' },
      });
      expect((await kindsOf(stores, sealed)).slice(-2)).toEqual(['outcome.unknown', 'outcome.late']);
      expect(await store.admit(askFor(sealed))).toMatchObject({ ok: false, refusal: 'already_settled' });
    });

    it('does not declare unknown what still holds its lease, or holds it again', async () => {
      const { sealed, admission } = await admitted(stores, 0);
      expect(await store.extendLease(admission, 60_000)).toBe(true);
      expect(await store.declareUnknown(sealed.terms.id, 'gone')).toBe('not_due');
      expect((await store.due(10)).lapsed).toEqual([]);
    });

    it('halts what the executor itself refuses, and raises an alarm where the record is not genuine', async () => {
      const refused = await approved(stores);
      const judgement = { refusal: 'policy_tightened', message: 'the policy now forbids it' };
      expect(await store.refuse(refused.terms.id, { ...judgement, alarm: false })).toBe('settled');
      expect((await store.read(refused.terms.id))?.state).toMatchObject({
        status: 'halted',
        cause: { kind: 'refused', ...judgement },
      });
      expect(await store.refuse(refused.terms.id, { ...judgement, alarm: false })).toBe('lost_race');
      const forged = await proposed(stores);
      expect(await store.refuse(forged.terms.id, { ...judgement, alarm: false })).toBe('lost_race');
      expect(await store.refuse(forged.terms.id, { ...judgement, alarm: true })).toBe('settled');
      expect(await kindsOf(stores, forged)).toEqual(['proposal.created', 'alarm.raised', 'proposal.halted']);
    });
  });

  describe('under the switch', () => {
    const off = (scope: SwitchScope) => stores.writeSwitch.off({ scope, by: OPERATOR, why: 'incident' });
    const on = async (scope: SwitchScope) => {
      const { epoch } = await stores.writeSwitch.status();
      return stores.writeSwitch.on({ scope, by: OPERATOR, why: 'over', expectedEpoch: epoch });
    };

    it('creates nothing while it is off, and says who turned it off', async () => {
      await off({});
      const sealed = await freshTerms(stores);
      expect(await store.create(sealed, ROOMY)).toMatchObject({
        created: 'writes_off',
        entry: { by: OPERATOR, why: 'incident', scope: {} },
      });
    });

    it('[switch:off-then-on-resurrects-nothing] what was approved before off never runs after on', async () => {
      const pending = await proposed(stores, { rule: { quorum: 2 } });
      const ready = await approved(stores);
      const answer = await off({});
      expect(await haltedBy(answer)).toEqual([pending.terms.id, ready.terms.id].sort());
      expect(await on({})).toMatchObject({ ok: true });
      expect(await store.admit(askFor(ready))).toMatchObject({ ok: false, refusal: 'already_settled' });
      expect(await store.decide(signedDecision(pending, 'approve'))).toMatchObject({ ok: false });
      expect((await store.read(ready.terms.id))?.state).toMatchObject({
        status: 'halted',
        cause: { kind: 'switch', scope: '*', by: OPERATOR, why: 'incident' },
      });
      const fresh = await approved(stores);
      expect((await store.admit(askFor(fresh))).ok).toBe(true);
    });

    it('halts what is given back after off, and lets a call that runs report its outcome', async () => {
      const slow = await admitted(stores);
      const running = await admitted(stores);
      const answer = await off({ tenant: testContext().tenant });
      const { executing } = (await answer.halting) ?? answer;
      expect([...executing].sort()).toEqual([slow.sealed.terms.id, running.sealed.terms.id].sort());
      expect(await store.giveBack(slow.admission, 'too slow')).toBe('settled');
      expect((await store.read(slow.sealed.terms.id))?.state.status).toBe('halted');
      expect(await store.finish(running.admission, { outcome: 'succeeded', result: '1' })).toBe('settled');
    });

    it.each<[string, Record<string, string>]>([
      ['tenant', { tenant: 'acme' }],
      ['environment', { environment: 'production' }],
      ['tool', { tool: 'ticket.close' }],
      ['agent', { agent: 'support-bot' }],
      ['tenant and tool', { tenant: 'acme', tool: 'ticket.close' }],
    ])('stops the %s that it names, and nothing beside it', async (_, scope) => {
      const inside = await approved(stores);
      const beside = await approved(stores, {
        tool: 'email.send',
        context: { tenant: 'globex', environment: 'staging', agent: 'other-bot' },
      });
      expect(await haltedBy(await off(scope as SwitchScope))).toEqual([inside.terms.id]);
      expect((await store.create(await freshTerms(stores), ROOMY)).created).toBe('writes_off');
      expect((await store.admit(askFor(beside))).ok).toBe(true);
    });
  });

  describe('looking after what is open', () => {
    it('lists what is pending by deadline, for all or for one tenant', async () => {
      const late = await proposed(stores, { rule: { expiresInMs: 900_000 } });
      const soon = await proposed(stores, { rule: { expiresInMs: 60_000 } });
      const other = await proposed(stores, { context: { tenant: 'globex' }, rule: { expiresInMs: 300_000 } });
      expect(await store.pending({ limit: 10 })).toEqual([soon, other, late].map((s) => s.terms.id));
      expect(await store.pending({ limit: 1 })).toEqual([soon.terms.id]);
      expect(await store.pending({ tenant: 'globex', limit: 10 })).toEqual([other.terms.id]);
      expect(await store.pending({ tenant: 'nobody', limit: 10 })).toEqual([]);
      expect(await store.pending({ tenant: 'a:b {s0}', limit: 10 })).toEqual([]);
    });

    it('says what is ready to start until it has started', async () => {
      const sealed = await approved(stores);
      expect(await store.due(10)).toEqual({ ready: [sealed.terms.id], expired: [], lapsed: [], timers: [] });
      await store.admit(askFor(sealed));
      expect(await store.due(10)).toEqual({ ready: [], expired: [], lapsed: [], timers: [] });
    });

    it('[audit:every-transition] each step of a life leaves its entry, counted without gaps in its tenant', async () => {
      const { sealed, admission } = await admitted(stores);
      await store.giveBack(admission, 'too slow');
      const again = await store.admit(askFor(sealed));
      if (!again.ok) throw new Error(again.refusal);
      await store.finish(again.admission, { outcome: 'succeeded', result: '1' });
      await proposed(stores, { context: { tenant: 'globex' } });
      await store.decide(signedDecision(await proposed(stores), 'deny'));
      const entries = await stores.audit.read({ tenant: 'acme', limit: 100 });
      expect(entries.map((entry) => entry.kind)).toEqual([
        'proposal.created',
        'decision.approve',
        'proposal.approved',
        'admission.granted',
        'admission.returned',
        'admission.granted',
        'outcome.succeeded',
        'proposal.created',
        'decision.deny',
        'proposal.denied',
      ]);
      expect(entries.map((entry) => entry.seq)).toEqual(entries.map((_, i) => i + 1));
    });

    it('[decision:why-is-recorded] the audit says who decided, by which right, why, and what they saw', async () => {
      const sealed = await proposed(stores);
      const vote = signedDecision(sealed, 'deny', BEN, { reason: 'not a duplicate' });
      await store.decide(vote);
      const entry = (await auditOf(stores, sealed)).find(({ kind }) => kind === 'decision.deny');
      expect(entry?.detail).toMatchObject({
        person: BEN,
        as: 'user:U0BEN',
        reason: 'not a duplicate',
        shown: vote.statement.shown,
        termsDigest: sealed.termsDigest,
      });
    });
  });

  describe('the card outbox', () => {
    const card = { team: 'T0ACME', channel: 'C0ACMEAPP', ts: '1700000000.000100' };
    const claimOne = async () => (await stores.outbox.claim(10, 60_000)).claims[0];

    const held = async (leaseMs = 60_000) => {
      const [claim] = (await stores.outbox.claim(10, leaseMs)).claims;
      if (claim === undefined) throw new Error('nothing was marked');
      return claim;
    };

    it('marks a proposal with each change, gives it to one publisher, and forgets it once it is drawn', async () => {
      const { outbox } = stores;
      const sealed = await proposed(stores);
      const { id } = sealed.terms;
      const claims = await Promise.all([outbox.claim(10, 60_000), outbox.claim(10, 60_000)]);
      const [claim, ...others] = claims.flatMap((answer) => answer.claims);
      if (claim === undefined) throw new Error('nothing was marked');
      expect(claim).toMatchObject({ id, lane: 'post', tenant: 'acme' });
      expect(others).toEqual([]);
      const record = await store.read(id);
      await outbox.drawn(claim, { revision: record?.revision ?? 0, card, posted: { shows: [] } });
      expect(await claimOne()).toBeUndefined();
      expect(await store.read(id)).toMatchObject({ card, cardRevision: record?.revision });
      await store.decide(signedDecision(sealed, 'deny'));
      expect(await claimOne()).toMatchObject({ id, lane: 'update' });
    });

    it('keeps the mark where the proposal moved on while its card was drawn', async () => {
      const sealed = await proposed(stores);
      const { id } = sealed.terms;
      const claim = await held();
      const drawnFrom = (await store.read(id))?.revision ?? 0;
      await store.decide(signedDecision(sealed, 'approve'));
      expect(await claimOne()).toBeUndefined();
      await stores.outbox.drawn(claim, { revision: drawnFrom, card, posted: { shows: [] } });
      expect(await claimOne()).toMatchObject({ id, lane: 'update' });
    });

    it('gives it to another publisher when the lease of the first is over, and lets no late one overwrite', async () => {
      const sealed = await proposed(stores);
      const { id } = sealed.terms;
      const first = await held(0);
      const second = await held();
      expect([first.id, second.id]).toEqual([id, id]);
      await store.decide(signedDecision(sealed, 'approve'));
      const newest = (await store.read(id))?.revision ?? 0;
      await stores.outbox.drawn(second, { revision: newest, card, posted: { shows: [] } });
      const late = { ...card, ts: '1.1' };
      // The one that came late has posted as well: its message is the copy.
      expect(
        await stores.outbox.drawn(first, { revision: newest - 1, card: late, posted: { shows: [] } }),
      ).toEqual(late);
      expect(await store.read(id)).toMatchObject({ card, cardRevision: newest });
    });

    it('postpones, and abandons with an entry that says why', async () => {
      await proposed(stores);
      await stores.outbox.postpone(await held(), 60_000);
      expect(await claimOne()).toBeUndefined();
      const other = await proposed(stores);
      const claim = await held();
      expect(claim.id).toBe(other.terms.id);
      await stores.outbox.postpone(claim, 0);
      await stores.outbox.abandon(await held(), 'not_in_channel');
      expect(await claimOne()).toBeUndefined();
      expect((await auditOf(stores, other)).at(-1)).toMatchObject({
        kind: 'card.abandoned',
        detail: { why: 'not_in_channel' },
      });
    });

    it('calls back when something was marked', async () => {
      let marks = 0;
      const stop = await stores.outbox.onMarked(() => {
        marks += 1;
      });
      await proposed(stores);
      await expect.poll(() => marks).toBe(1);
      await stop();
      await proposed(stores);
      expect(marks).toBe(1);
    });
  });

  it('puts every key of a tenant into the shard that its proposals name', async () => {
    const tenants = ['acme', 'globex', 'initech', 'umbrella'];
    for (const tenant of tenants) {
      const sealed = await proposed(stores, { context: { tenant } });
      const shard = shardOfTenant(sealed.terms.context.tenant, stores.shards);
      expect(Number.parseInt(sealed.terms.id.slice(5, 7), 16)).toBe(shard);
    }
    expect(await store.pending({ limit: 10 })).toHaveLength(tenants.length);
  });
}
