import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ATTESTATION_RENEWAL_MS, type SignedAttestation } from '../core/approval/attestation.ts';
import type { SignedDecision } from '../core/approval/decision.ts';
import { AUDIT_BACKLOG_MAX } from '../core/audit/audit-stream.ts';
import { type Admission, type AdmissionRefusal, mintAdmission } from '../core/execution/admission.ts';
import type { Outcome } from '../core/execution/outcome.ts';
import { grantDigest } from '../core/grant/grant.ts';
import { type AgentId, type PersonId, type PrincipalId, TenantId } from '../core/identity/ids.ts';
import type { HaltCause, ProposalRecord } from '../core/proposal/proposal.ts';
import { ProposalId, shardOfProposal, shardOfTenant } from '../core/proposal/proposal-id.ts';
import {
  type Admitted,
  type Created,
  type Decided,
  type Edited,
  type GrantUse,
  NotHeldByReplicas,
  type NotStarted,
  type ProposalLimits,
  type ProposalStore,
  type Settled,
} from '../core/proposal/proposal-store.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import { type ProposalKeys, recordBoxKeys, type SealedTerms } from '../core/proposal/seal.ts';
import { Boxes } from './boxes.ts';
import { answerOf, type RedisClient } from './connection.ts';
import { EpochMemory } from './epoch-memory.ts';
import { EveryShard } from './every-shard.ts';
import { grantUseOf } from './grant-store-redis.ts';
import { budgetKey, idempotencyKey, proposalKey, shardKey, tenantIndexKey } from './keys.ts';
import { type BoxedField, recordOfHash } from './proposal-record-redis.ts';
import { type Ask, Scripts } from './scripts.ts';
import { offEntryOf } from './switch-entry.ts';

/** What every transition script answers: a word, the hash as it stands then, one thing more, and the switch's epoch. */
const Reply = z.tuple([z.string(), z.array(z.string()), z.string(), z.coerce.number()]);

export class WrongShard extends Error {
  override readonly name = 'WrongShard';
  readonly code = 'wrong_shard';
}

/** A vote of a person whom the terms exclude got past the approval service. It did not count. */
export class ExcludedVote extends Error {
  override readonly name = 'ExcludedVote';
  readonly code = 'excluded_vote';
}

/** The authority over proposals, for any number of processes: each method that changes something is one Lua script. */
export class ProposalStoreRedis implements ProposalStore {
  readonly #redis: RedisClient;
  readonly #shards: number;
  readonly #scripts: Scripts;
  readonly #boxes: Boxes;
  readonly #epochs = new EpochMemory();
  readonly #auditBacklogMax: number;
  readonly #attesting: EveryShard;
  readonly #sweeping: EveryShard;
  readonly #listing: EveryShard;

  /** @param options.keys of those who may know what proposals hold: Redis never sees it in the clear. */
  constructor(options: {
    redis: RedisClient;
    shards: number;
    keys: ProposalKeys;
    /** How many of a master's have to hold a transition before it counts. Default 0. */
    replicas?: number;
    auditBacklogMax?: number;
  }) {
    const { redis, shards, keys, replicas, auditBacklogMax = AUDIT_BACKLOG_MAX } = options;
    this.#redis = redis;
    this.#shards = shards;
    this.#scripts = new Scripts(redis, replicas);
    this.#boxes = new Boxes(recordBoxKeys(keys));
    this.#auditBacklogMax = auditBacklogMax;
    this.#attesting = new EveryShard(redis, shards, 'approvals that are to be attested');
    this.#sweeping = new EveryShard(redis, shards, 'calls that are due');
    this.#listing = new EveryShard(redis, shards, 'calls that wait for people');
  }

  async create(sealed: SealedTerms, limits: ProposalLimits): Promise<Created> {
    const { terms } = sealed;
    const shard = this.#shardOf(terms);
    const own = proposalKey(terms.id);
    const idem = terms.idempotencyKey;
    const budget = terms.basis.kind === 'policy' ? terms.basis.budget : undefined;
    const reply = await this.#transition('create', {
      shard,
      keys: [
        own,
        idem === undefined ? own : idempotencyKey(shard, terms.context, idem),
        budget === undefined ? own : budgetKey(shard, budget.counterKey),
      ],
      ask: {
        ...writtenOf(sealed),
        ...limits,
        auditBacklogMax: this.#auditBacklogMax,
        seen: this.#epochs.seen(shard),
      },
      texts: [this.#box(terms.id, 'terms', sealed.text), sealed.seal, JSON.stringify(createdDetail(sealed))],
    });
    switch (reply.word) {
      case 'stale_terms':
        return { created: 'stale_terms' };
      case 'new':
        return { created: 'new', record: this.#recordIn(reply, terms.id) };
      case 'joined':
        return { created: 'joined', record: this.#recordIn(reply, ProposalId.parse(idIn(reply))) };
      case 'conflict':
        return { created: 'conflict', id: ProposalId.parse(reply.extra) };
      case 'writes_off':
        return { created: 'writes_off', entry: offEntryOf(reply.extra) };
      case 'over_budget':
        return { created: 'over_budget', retryAfterMs: Math.ceil(Number(reply.extra)) };
      case 'budget_missing':
        return { created: 'budget_missing' };
      case 'grant_void':
      case 'grant_expired':
      case 'grant_spent':
      case 'grant_missing':
        return { created: reply.word };
      case 'too_many_pending':
        return { created: 'too_many_pending', limit: Number(reply.extra) };
      case 'audit_behind':
        return { created: 'audit_behind', unsealed: Number(reply.extra) };
      case 'cooling_down':
        return {
          created: 'cooling_down',
          record: this.#recordIn(reply, ProposalId.parse(idIn(reply))),
          retryAfterMs: Math.ceil(Number(reply.extra)),
        };
      default:
        throw unexpected('create', reply.word);
    }
  }

  async edit(from: SealedTerms, to: SealedTerms): Promise<Edited> {
    const { id, edits } = to.terms;
    const shard = this.#shardOf(to.terms);
    const reply = await this.#transition('edit', {
      shard,
      keys: [proposalKey(from.terms.id), proposalKey(id)],
      ask: {
        ...writtenOf(to),
        from: from.terms.id,
        fromDigest: from.termsDigest,
        by: edits?.by,
        seen: this.#epochs.seen(shard),
      },
      texts: [
        this.#box(id, 'terms', to.text),
        to.seal,
        JSON.stringify(createdDetail(to)),
        JSON.stringify({
          by: edits?.by,
          to: id,
          was: from.terms.argumentsDigest,
          is: to.terms.argumentsDigest,
        }),
      ],
    });
    switch (reply.word) {
      case 'edited':
        return { ok: true, record: this.#recordIn(reply, id) };
      case 'not_found':
      case 'already_settled':
      case 'too_late':
      case 'writes_off':
      case 'terms_changed':
      case 'stale_terms':
        return { ok: false, refusal: reply.word };
      default:
        throw unexpected('edit', reply.word);
    }
  }

  async read(id: ProposalId): Promise<ProposalRecord | undefined> {
    const hash = await answerOf(this.#redis, () => this.#redis.call('HGETALL', proposalKey(id)));
    return this.#recordOf(id, z.array(z.string()).parse(hash));
  }

  async readHeld(id: ProposalId): Promise<ProposalRecord | undefined> {
    const ask = { shard: shardOfProposal(id), keys: [proposalKey(id)] };
    return this.#recordOf(id, (await this.#transition('readHeld', ask)).hash);
  }

  async decide(signed: SignedDecision, rechecked?: readonly PersonId[]): Promise<Decided> {
    const { statement } = signed;
    const { proposal: id } = statement;
    const reply = await this.#transition(statement.decision, {
      shard: shardOfProposal(id),
      keys: [proposalKey(id)],
      ask: {
        id,
        person: statement.person,
        decision: statement.decision,
        digest: statement.termsDigest,
        nonce: statement.nonce,
        rechecked,
      },
      texts: [JSON.stringify(signed), JSON.stringify(decisionDetail(signed))],
    });
    switch (reply.word) {
      case 'settled':
      case 'recorded':
        return {
          ok: true,
          settled: reply.word === 'settled',
          record: this.#recordIn(reply, id),
          replayed: false,
        };
      case 'replayed':
        return { ok: true, settled: reply.extra === '1', record: this.#recordIn(reply, id), replayed: true };
      case 'not_found':
      case 'already_voted':
      case 'already_settled':
      case 'too_late':
      case 'writes_off':
      case 'terms_changed':
      case 'recheck':
        return { ok: false, refusal: reply.word, record: this.#recordOf(id, reply.hash) };
      case 'excluded':
        throw new ExcludedVote(
          `${statement.person} may not decide ${id}: its terms exclude them, and the approval service let the vote through`,
        );
      default:
        throw unexpected('decide', reply.word);
    }
  }

  revoke(id: ProposalId, { person, why }: { person: PersonId; why: string }): Promise<Settled> {
    return this.#settle('revoke', id, { person, why }, [JSON.stringify({ person, why })]);
  }

  attest(id: ProposalId, signed: SignedAttestation): Promise<Settled> {
    const ask = { digest: signed.statement.termsDigest, againMs: ATTESTATION_RENEWAL_MS };
    return this.#settle('attest', id, ask, [JSON.stringify(signed)]);
  }

  async claimAttestations(limit: number): Promise<ProposalId[]> {
    const claimed = await this.#attesting.answers(async (shard) => {
      const ask = { limit, leaseMs: ATTESTATION_RENEWAL_MS };
      return z.array(z.string()).parse(await this.#scripts.run('attestClaim', { shard, ask }));
    });
    return claimed.flat().flatMap((id) => {
      const parsed = ProposalId.safeParse(id);
      return parsed.success ? [parsed.data] : [];
    });
  }

  fireTimers(id: ProposalId): Promise<Settled> {
    return this.#settle('timers', id, {}, []);
  }

  withdraw(id: ProposalId, by: { agent: AgentId; principal: PrincipalId; why?: string }): Promise<Settled> {
    return this.#settle('withdraw', id, { agent: by.agent, principal: by.principal }, [JSON.stringify(by)]);
  }

  expire(id: ProposalId): Promise<Settled> {
    return this.#settle('expire', id, {}, []);
  }

  async admit(ask: {
    id: ProposalId;
    termsDigest: string;
    admission: string;
    executor: string;
    leaseMs: number;
    grant?: GrantUse | undefined;
  }): Promise<Admitted> {
    const { id, admission, executor, leaseMs } = ask;
    const shard = shardOfProposal(id);
    const asking = this.#transition('admit', {
      shard,
      keys: [proposalKey(id)],
      ask: {
        id,
        digest: ask.termsDigest,
        admission,
        executor,
        leaseMs,
        grant: ask.grant,
        seen: this.#epochs.seen(shard),
      },
    });
    const reply = await asking.catch(orNotHeld);
    if (reply === 'not_held') {
      return { ok: false, refusal: 'not_held', unheld: { proposal: id, id: admission, executor } };
    }
    const refusal = ADMISSION_REFUSALS[reply.word];
    if (refusal !== undefined) return { ok: false, refusal, record: this.#recordOf(id, reply.hash) };
    if (reply.word !== 'admitted') throw unexpected('admit', reply.word);
    const record = this.#recordIn(reply, id);
    if (record.state.status !== 'executing') throw unexpected('admit', record.state.status);
    const { admittedAt } = record.state;
    return {
      ok: true,
      admission: mintAdmission({ proposal: id, id: admission, executor, admittedAt }),
      record,
    };
  }

  async extendLease(admission: Admission, leaseMs: number): Promise<boolean> {
    const ask = { admission: admission.id, leaseMs };
    return (await this.#settle('extendLease', admission.proposal, ask, [])) === 'settled';
  }

  giveBack(admission: NotStarted, why: string): Promise<Settled> {
    const detail = { admission: admission.id, executor: admission.executor, why };
    return this.#settle('giveBack', admission.proposal, { admission: admission.id }, [
      JSON.stringify(detail),
    ]);
  }

  finish(admission: Admission, outcome: Outcome): Promise<Settled> {
    const ask = { admission: admission.id, outcome: outcome.outcome };
    const detail = { admission: admission.id, executor: admission.executor, ...outcomeDetail(outcome) };
    const texts = [this.#box(admission.proposal, 'outcome', JSON.stringify(outcome)), JSON.stringify(detail)];
    return this.#settle('finish', admission.proposal, ask, texts);
  }

  declareUnknown(id: ProposalId, why: string): Promise<Settled> {
    const outcome: Outcome = { outcome: 'unknown', why };
    const texts = [this.#box(id, 'outcome', JSON.stringify(outcome)), JSON.stringify(outcomeDetail(outcome))];
    return this.#settle('declareUnknown', id, {}, texts);
  }

  refuse(
    id: ProposalId,
    {
      refusal,
      message,
      alarm,
      person,
      from,
    }: { refusal: string; message: string; alarm: boolean; person?: PersonId; from?: 'pending' },
  ): Promise<Settled> {
    const cause: HaltCause = { kind: 'refused', refusal, message, person };
    const texts = [JSON.stringify(cause), JSON.stringify({ refusal, message, person })];
    return this.#settle('refuse', id, { alarm, from }, texts);
  }

  async due(limit: number): Promise<{
    ready: ProposalId[];
    expired: ProposalId[];
    lapsed: ProposalId[];
    timers: ProposalId[];
  }> {
    const shards = await this.#sweeping.answers(async (shard) =>
      DueReply.parse(await this.#scripts.run('due', { shard, ask: { limit } })),
    );
    const oldest = (list: 0 | 1 | 2 | 3) =>
      oldestIds(
        shards.flatMap((lists) => lists[list]),
        limit,
      );
    return { ready: oldest(0), expired: oldest(1), lapsed: oldest(2), timers: oldest(3) };
  }

  async pending({ tenant, limit }: { tenant?: string; limit: number }): Promise<ProposalId[]> {
    const from = async (key: string) =>
      Scored.parse(
        await answerOf(this.#redis, () =>
          this.#redis.zrange(key, '0', String(Math.max(limit, 1) - 1), 'WITHSCORES'),
        ),
      );
    if (tenant === undefined) {
      const all = await this.#listing.answers((shard) => from(shardKey(shard, 'pending')));
      return oldestIds(all.flat(), limit);
    }
    const known = TenantId.safeParse(tenant);
    if (!known.success) return [];
    const shard = shardOfTenant(known.data, this.#shards);
    return oldestIds(await from(tenantIndexKey(shard, known.data, 'pending')), limit);
  }

  async now(): Promise<number> {
    const time: unknown = await answerOf(this.#redis, () => this.#redis.time());
    const [seconds, micros] = z.tuple([z.coerce.number(), z.coerce.number()]).parse(time);
    return seconds * 1_000 + Math.floor(micros / 1_000);
  }

  #shardOf(terms: ProposalTerms): number {
    const shard = shardOfTenant(terms.context.tenant, this.#shards);
    if (shardOfProposal(terms.id) === shard) return shard;
    throw new WrongShard(
      `${terms.id} does not lie in shard ${shard}, where ${terms.context.tenant} lives: every process needs the same number of shards`,
    );
  }

  async #settle(
    name:
      | 'revoke'
      | 'attest'
      | 'timers'
      | 'withdraw'
      | 'expire'
      | 'extendLease'
      | 'giveBack'
      | 'finish'
      | 'declareUnknown'
      | 'refuse',
    id: ProposalId,
    ask: Readonly<Record<string, unknown>>,
    texts: readonly string[],
  ): Promise<Settled> {
    const shard = shardOfProposal(id);
    const reply = await this.#transition(name, {
      shard,
      keys: [proposalKey(id)],
      ask: { id, ...ask },
      texts,
    });
    if (reply.word === 'settled' || reply.word === 'lost_race' || reply.word === 'not_due') return reply.word;
    throw unexpected(name, reply.word);
  }

  async #transition(name: Parameters<Scripts['run']>[0], ask: Ask): Promise<TransitionReply> {
    const [word, hash, extra, epoch] = Reply.parse(await this.#scripts.run(name, ask));
    this.#epochs.remember(ask.shard, epoch);
    return { word, hash, extra };
  }

  #recordIn(reply: TransitionReply, id: ProposalId): ProposalRecord {
    const record = this.#recordOf(id, reply.hash);
    if (record === undefined) throw unexpected('a transition', 'no record');
    return record;
  }

  #recordOf(id: ProposalId, hash: readonly string[]): ProposalRecord | undefined {
    return recordOfHash(id, hash, (field, box) => this.#boxes.open(box, id, field));
  }

  #box(id: ProposalId, field: BoxedField, text: string): string {
    return this.#boxes.seal(text, id, field);
  }
}

interface TransitionReply {
  readonly word: string;
  readonly hash: readonly string[];
  readonly extra: string;
}

/** Members and scores in turn. */
const Scored = z.array(z.string()).transform((flat) => {
  const found: { id: string; score: number }[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    found.push({ id: flat[i] as string, score: Number(flat[i + 1]) });
  }
  return found;
});
const DueReply = z.tuple([Scored, Scored, Scored, Scored]);

/** Somebody else's members in our sets are not ids, and are nobody's business here. */
function oldestIds(found: { id: string; score: number }[], limit: number): ProposalId[] {
  return found
    .sort((a, b) => a.score - b.score)
    .flatMap(({ id }) => {
      const parsed = ProposalId.safeParse(id);
      return parsed.success ? [parsed.data] : [];
    })
    .slice(0, limit);
}

const ADMISSION_REFUSALS: Readonly<Record<string, AdmissionRefusal>> = {
  not_found: 'not_found',
  not_approved: 'not_approved',
  already_admitted: 'already_admitted',
  already_settled: 'already_settled',
  too_late: 'too_late',
  writes_off: 'writes_off',
  terms_changed: 'terms_changed',
  budget_missing: 'budget_missing',
  grant_void: 'grant_void',
  grant_expired: 'grant_expired',
  grant_missing: 'grant_missing',
};

function orNotHeld(error: unknown): 'not_held' {
  if (!(error instanceof NotHeldByReplicas)) throw error;
  return 'not_held';
}

function idIn(reply: TransitionReply): string | undefined {
  const at = reply.hash.findIndex((field, i) => i % 2 === 0 && field === 'id');
  return reply.hash[at + 1];
}

function unexpected(what: string, word: string): Error {
  return new Error(
    `${what} answered "${word}", which this version does not know: do not mix versions on one Redis`,
  );
}

/** What the scripts that write a proposal are asked; scripts cannot read sealed terms. */
function writtenOf(sealed: SealedTerms): Record<string, unknown> {
  const { terms } = sealed;
  const idem = terms.idempotencyKey;
  const people = terms.basis.kind === 'people' ? terms.basis.rule : undefined;
  const budget = terms.basis.kind === 'policy' ? terms.basis.budget : undefined;
  return {
    id: terms.id,
    digest: sealed.termsDigest,
    epoch: terms.switchEpoch,
    createdAt: terms.createdAt,
    deadline: terms.deadline,
    startWithinMs: terms.startWithinMs,
    basis: terms.basis.kind,
    grant: terms.basis.kind === 'grant' ? grantUseOf(terms.basis.grant) : undefined,
    quorum: people?.quorum,
    remindAt: people?.remindAfterMs && terms.createdAt + people.remindAfterMs,
    escalateAt: people?.escalate && terms.createdAt + people.escalate.afterMs,
    excluded: people === undefined ? undefined : JSON.stringify(people.excluded),
    tenant: terms.context.tenant,
    environment: terms.context.environment,
    agent: terms.context.agent,
    principal: terms.context.principal,
    tool: terms.tool,
    nonce: terms.nonce,
    argumentsDigest: terms.argumentsDigest,
    idem: idem !== undefined,
    counterKey: budget?.counterKey,
    budgetMax: budget?.max,
    budgetPerMs: budget?.perMs,
  };
}

/** Digests and names; the arguments themselves stay in the sealed terms. */
function createdDetail({ terms, termsDigest }: SealedTerms): Record<string, unknown> {
  const { context, basis } = terms;
  return {
    tool: terms.tool,
    toolDigest: terms.toolDigest,
    argumentsDigest: terms.argumentsDigest,
    termsDigest,
    environment: context.environment,
    agent: context.agent,
    principal: context.principal,
    run: context.run,
    policyVersion: terms.policyVersion,
    basis: basis.kind,
    by: basis.by,
    ...(basis.kind === 'people'
      ? {
          why: basis.why,
          approvers: basis.rule.approvers,
          quorum: basis.rule.quorum,
          deadline: terms.deadline,
        }
      : {}),
    ...(basis.kind === 'grant'
      ? { grant: basis.grant.statement.grant, grantDigest: grantDigest(basis.grant.statement) }
      : {}),
    ...(basis.kind === 'policy' && basis.budget ? { budget: basis.budget } : {}),
    switchEpoch: terms.switchEpoch,
    ...(terms.edits === undefined
      ? {}
      : { edits: { from: terms.edits.from, by: terms.edits.by, editors: terms.edits.editors } }),
  };
}

function decisionDetail({ statement, signature }: SignedDecision): Record<string, unknown> {
  const { person, as, reason, choice, shown, termsDigest, at } = statement;
  return { person, as, reason, choice, shown, termsDigest, decidedAt: at, signature };
}

/** What a tool answers may hold anything, arguments among it: a digest proves it, and does not tell it. */
function outcomeDetail(outcome: Outcome): Record<string, unknown> {
  switch (outcome.outcome) {
    case 'succeeded':
      return {
        outcome: 'succeeded',
        resultSha256: sha256(outcome.result),
        resultBytes: Buffer.byteLength(outcome.result),
      };
    case 'failed':
      return { outcome: 'failed', code: outcome.code, messageSha256: sha256(outcome.message) };
    case 'unknown': {
      const { why, said } = outcome;
      return { outcome: 'unknown', why, ...(said === undefined ? {} : { saidSha256: sha256(said) }) };
    }
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
