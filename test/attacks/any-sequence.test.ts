import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Admission } from '../../src/core/execution/admission.ts';
import { AgentId, PrincipalId, TenantId } from '../../src/core/identity/ids.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import type { SwitchScope } from '../../src/core/switch/scope.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { proposalKey, shardKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ACME, ANA, BEN, sealedTerms, signedDecision, testContext, testKeys } from '../sealed-terms.ts';

/** Whatever is asked for, in whatever order: the same seeds each time, so that a failure can be repeated. */

const redis = redisForTests();
const LIMITS = { pendingPerAgent: 1_000, pendingPerTenant: 1_000 };
const TENANTS = ['acme', 'globex'];
const SCOPES: SwitchScope[] = [{}, ...TENANTS.map((tenant) => ({ tenant: TenantId.parse(tenant) }))];
const INDEX_OF: Record<string, string> = { pending: 'pending', approved: 'ready', executing: 'executing' };

class Walk {
  readonly #pick: (below: number) => number;
  readonly #parts = { redis: redis.client, shards: 1 };
  readonly #store = new ProposalStoreRedis({ ...this.#parts, keys: [testKeys.proposal] });
  readonly #switch = new WriteSwitchRedis({ ...this.#parts, startDeadlineMs: 0 });
  readonly #audit = new AuditLogRedis(this.#parts);
  readonly #made: SealedTerms[] = [];
  readonly #admissions: Admission[] = [];
  /** Turned off after it was made: it may never be admitted again. */
  readonly #dead = new Set<ProposalId>();
  readonly starts = new Map<ProposalId, number>();

  constructor(seed: number) {
    let state = seed;
    this.#pick = (below) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

  async step(): Promise<void> {
    const steps = [
      () => this.#propose(),
      () => this.#propose(),
      () => this.#decide('approve'),
      () => this.#decide('approve'),
      () => this.#decide('deny'),
      () => this.#admit(),
      () => this.#admit(),
      () => this.#giveBack(),
      () => this.#finish(),
      () => this.#off(),
      () => this.#on(),
      () => this.#on(),
      () => this.#on(),
      () => this.#on(),
      () => this.#withdraw(),
      () => this.#settleOtherwise(),
    ];
    await (steps[this.#pick(steps.length)] as () => Promise<unknown>)();
  }

  async #propose() {
    const tenant = TENANTS[this.#pick(TENANTS.length)] as string;
    const reading = await this.#switch.read(testContext({ tenant }), 'ticket.close');
    const automatic = this.#pick(3) === 0 ? { automatic: {} } : { rule: { quorum: 1 + this.#pick(2) } };
    const sealed = sealedTerms({ now: reading.now, epoch: reading.epoch, context: { tenant }, ...automatic });
    const { created } = await this.#store.create(sealed, LIMITS);
    expect(created === 'new').toBe(reading.writes.state === 'on');
    if (created === 'new') this.#made.push(sealed);
  }

  #any(): SealedTerms | undefined {
    return this.#made[this.#pick(this.#made.length)];
  }

  async #decide(decision: 'approve' | 'deny') {
    const sealed = this.#any();
    if (sealed === undefined) return;
    const statement = { at: sealed.terms.createdAt + this.#pick(2) };
    await this.#store.decide(signedDecision(sealed, decision, this.#pick(2) ? ANA : BEN, statement));
  }

  async #admit() {
    const sealed = this.#any();
    if (sealed === undefined) return;
    const { id } = sealed.terms;
    const admitted = await this.#store.admit({
      id,
      termsDigest: sealed.termsDigest,
      admission: randomBytes(16).toString('hex'),
      executor: 'walk',
      leaseMs: this.#pick(2) ? 60_000 : 0,
    });
    if (!admitted.ok) return;
    expect(this.#dead.has(id), `${id} was admitted after it was turned off`).toBe(false);
    this.starts.set(id, (this.starts.get(id) ?? 0) + 1);
    expect(this.starts.get(id), `${id} was admitted twice`).toBe(1);
    this.#admissions.push(admitted.admission);
  }

  async #giveBack() {
    const admission = this.#admissions[this.#pick(this.#admissions.length)];
    if (admission === undefined) return;
    const settled = await this.#store.giveBack(admission, 'late');
    if (settled === 'settled') this.starts.set(admission.proposal, 0);
  }

  async #finish() {
    const admission = this.#admissions[this.#pick(this.#admissions.length)];
    if (admission === undefined) return;
    await this.#store.finish(admission, { outcome: 'succeeded', result: 'null' });
  }

  async #off() {
    const scope = SCOPES[this.#pick(SCOPES.length)] as SwitchScope;
    expect((await this.#switch.off({ scope, by: 'cli:walk', why: 'x' })).confirmed).toBe(true);
    for (const { terms } of this.#made) {
      if (scope.tenant === undefined || scope.tenant === terms.context.tenant) this.#dead.add(terms.id);
    }
  }

  async #on() {
    const scope = SCOPES[this.#pick(SCOPES.length)] as SwitchScope;
    const { epoch } = await this.#switch.status();
    await this.#switch.on({ scope, by: 'cli:walk', why: 'x', expectedEpoch: epoch - this.#pick(2) });
    await this.#switch.renewPermits();
  }

  async #withdraw() {
    const sealed = this.#any();
    if (sealed === undefined) return;
    const by = { agent: AgentId.parse(ACME.agent), principal: PrincipalId.parse(ACME.principal) };
    await this.#store.withdraw(sealed.terms.id, by);
  }

  async #settleOtherwise() {
    const sealed = this.#any();
    if (sealed === undefined) return;
    const { id } = sealed.terms;
    if (this.#pick(3) === 0) await this.#store.refuse(id, { refusal: 'x', message: 'x', alarm: false });
    await this.#store.expire(id);
    await this.#store.declareUnknown(id, 'silent');
  }

  /** What must be true after every step. */
  async check(): Promise<void> {
    const places = new Map<string, Set<string>>();
    for (const name of ['pending', 'ready', 'executing', 'spent'] as const) {
      places.set(name, new Set(await redis.client.zrange(shardKey(0, name), '0', '-1')));
    }
    const entries = await this.#audit.read({ limit: 100_000 });
    for (const { terms } of this.#made) {
      const status = (await redis.client.hget(proposalKey(terms.id), 'status')) ?? '';
      const stands = [...places].filter(([, ids]) => ids.has(terms.id)).map(([name]) => name);
      const open = INDEX_OF[status];
      const wanted = [
        ...(open ? [open] : []),
        ...(status === 'pending' || status === 'approved' ? [] : ['spent']),
      ];
      expect(stands, `${terms.id} is ${status}`).toEqual(wanted);
      for (const name of ['pending', 'ready', 'executing']) {
        const mine = await redis.client.zscore(`{s0}:tenant:${terms.context.tenant}:${name}`, terms.id);
        expect(mine !== null, `${status} in the tenant's ${name}`).toBe(name === open);
      }
      const last = entries.filter(({ proposal, kind }) => proposal === terms.id && kind in STATUS_OF).at(-1);
      expect(STATUS_OF[last?.kind ?? ''], `the audit ends with ${last?.kind}`).toBe(status);
    }
    for (const tenant of [...TENANTS, '-']) {
      const seqs = entries.filter((entry) => entry.tenant === tenant).map(({ seq }) => seq);
      expect(seqs).toEqual(seqs.map((_, i) => i + 1));
    }
  }
}

/** The entry that each state begins with. */
const STATUS_OF: Record<string, string> = {
  'proposal.created': 'pending',
  'proposal.approved': 'approved',
  'proposal.denied': 'denied',
  'proposal.expired': 'expired',
  'proposal.withdrawn': 'withdrawn',
  'proposal.halted': 'halted',
  'admission.granted': 'executing',
  'admission.returned': 'approved',
  'outcome.succeeded': 'succeeded',
  'outcome.unknown': 'unknown',
};

describe('any sequence of steps', () => {
  it.each([1, 2, 3, 4, 5, 6])(
    '[approval:single-use] [audit:every-transition] [switch:off-then-on-resurrects-nothing] from seed %i keeps every record in its place, audited, and started at most once',
    async (seed) => {
      const walk = new Walk(seed);
      for (let i = 0; i < 600; i += 1) {
        await walk.step();
        if (i % 50 === 0) await walk.check();
      }
      await walk.check();
      expect([...walk.starts.values()].some((starts) => starts > 0)).toBe(true);
    },
  );
});
