import type { SignedAttestation } from '../approval/attestation.ts';
import type { SignedDecision } from '../approval/decision.ts';
import type { Admission, AdmissionRefusal } from '../execution/admission.ts';
import type { Outcome } from '../execution/outcome.ts';
import type { GrantId } from '../grant/grant.ts';
import type { AgentId, PersonId, PrincipalId } from '../identity/ids.ts';
import type { OffEntry } from '../switch/write-switch.ts';
import type { CardRef, ProposalRecord } from './proposal.ts';
import type { ProposalId } from './proposal-id.ts';
import type { SealedTerms } from './seal.ts';

export type Created =
  | { readonly created: 'new'; readonly record: ProposalRecord }
  /** The same idempotency key and the same call: this is the proposal that stands. */
  | { readonly created: 'joined'; readonly record: ProposalRecord }
  | { readonly created: 'conflict'; readonly id: ProposalId }
  | { readonly created: 'writes_off'; readonly entry: OffEntry | undefined }
  /** The switch was flipped since the terms were made (or they are over 5 s old): read it again and seal again. */
  | { readonly created: 'stale_terms' }
  | { readonly created: 'over_budget'; readonly retryAfterMs: number }
  | { readonly created: 'budget_missing' }
  /** The grant that the terms name gives nothing (any more): people can still be asked. */
  | { readonly created: GrantShortfall }
  | { readonly created: 'too_many_pending'; readonly limit: number }
  /** So many audit entries wait for the sealer that no more are taken. */
  | { readonly created: 'audit_behind'; readonly unsealed: number }
  /** People denied the same call of this agent a short time ago; `record` is what they denied. */
  | { readonly created: 'cooling_down'; readonly record: ProposalRecord; readonly retryAfterMs: number };

/** Ended, switched off since, past its time, used up; or its count of uses is gone, which is not zero uses. */
export type GrantShortfall = 'grant_void' | 'grant_expired' | 'grant_spent' | 'grant_missing';

/** What the scripts compare of a grant. Times: ms on Redis's clock. */
export interface GrantUse {
  readonly id: GrantId;
  readonly digest: string;
  readonly epoch: number;
  readonly maxUses: number;
  readonly expires: number;
}

export type Decided =
  /** Recorded. `settled` says whether this vote settled it. The same person's same vote again gives the same answer. */
  | {
      readonly ok: true;
      readonly settled: boolean;
      readonly record: ProposalRecord;
      readonly replayed: boolean;
    }
  | {
      readonly ok: false;
      readonly refusal:
        | 'not_found'
        | 'already_voted'
        | 'already_settled'
        | 'too_late'
        | 'writes_off'
        | 'terms_changed'
        /** It would settle with an approval whose giver was not looked at again. */
        | 'recheck';
      readonly record: ProposalRecord | undefined;
    };

export type Admitted =
  | { readonly ok: true; readonly admission: Admission; readonly record: ProposalRecord }
  | { readonly ok: false; readonly refusal: AdmissionRefusal; readonly record: ProposalRecord | undefined }
  /** Replicas do not hold it, so that nothing may start; `unheld` is there to be given back. */
  | { readonly ok: false; readonly refusal: 'not_held'; readonly unheld: NotStarted };

/** An admission under which nothing was started. It gives no right to. */
export type NotStarted = Pick<Admission, 'proposal' | 'id' | 'executor'>;

export type Edited =
  | { readonly ok: true; readonly record: ProposalRecord }
  | {
      readonly ok: false;
      readonly refusal:
        | 'not_found'
        | 'already_settled'
        | 'too_late'
        | 'writes_off'
        | 'terms_changed'
        /** The switch was flipped since the terms were made (or they are over 5 s old): seal them again. */
        | 'stale_terms';
    };

/** What the policy allows a tenant's agents to have waiting, as it stands when the call is proposed. */
export interface ProposalLimits {
  readonly pendingPerAgent: number;
  readonly pendingPerTenant: number;
  /** How long after a denial the same call of the same agent is refused at once; left out, not at all. */
  readonly cooldownMs?: number;
}

/** The race is in the verb: of any number of callers one is told `settled`, the others `lost_race`. */
export type Settled = 'settled' | 'lost_race' | 'not_due';

/**
 * Own state, and the authority: each method is one atomic step together with its audit entry, its place in the
 * indexes, and the news to whoever waits. Contract suite: test/contracts/proposal-store.contract.ts.
 * Every method rejects with `StoreUnavailable` where the store does not answer in time; then nothing is known. It is a
 * `NotHeldByReplicas` where it did, and a failover could take it back.
 */
export interface ProposalStore {
  /**
   * Writes a proposal: `pending` where people decide, `approved` where the policy itself allows it (then the budget is
   * reserved in the same step). Compares the switch epoch and the clock in the terms with its own.
   */
  create(sealed: SealedTerms, limits: ProposalLimits): Promise<Created>;
  read(id: ProposalId): Promise<ProposalRecord | undefined>;
  /**
   * What no failover takes back: for whoever tells people or callers of it, who would not hear that it is no longer so.
   * @throws NotHeldByReplicas
   */
  readHeld(id: ProposalId): Promise<ProposalRecord | undefined>;
  /**
   * Ends a pending proposal and writes the one that takes its place, in one step: halted with the link, and pending. No
   * limit is asked: one waits where one waited. Of any number of edits, votes and flips at a time one wins.
   */
  edit(from: SealedTerms, to: SealedTerms): Promise<Edited>;
  /**
   * One vote. The quorum and the deadline are those of the stored terms; the executor checks them again, sealed.
   * @param rechecked the earlier approvers who were found to be entitled still. Where it is given and the vote would
   *   settle the proposal together with somebody else's, it is not recorded: `recheck`.
   */
  decide(signed: SignedDecision, rechecked?: readonly PersonId[]): Promise<Decided>;
  /** Takes an approval back whose giver may not decide any more, while the proposal is pending. */
  revoke(id: ProposalId, revoked: { person: PersonId; why: string }): Promise<Settled>;
  /** Keeps the newest word that the approvers may still approve it; `lost_race`: it is not waiting to start any more. */
  attest(id: ProposalId, signed: SignedAttestation): Promise<Settled>;
  /**
   * Takes up to `limit` proposals that wait to start and whose attestation is to be renewed; nobody else is given them
   * for `ATTESTATION_RENEWAL_MS`.
   */
  claimAttestations(limit: number): Promise<ProposalId[]>;
  /**
   * Marks the reminder or the escalation whose time has come, or both: once, whoever asks how often. It changes nothing
   * about who may decide; it is for the card and the thread.
   */
  fireTimers(id: ProposalId): Promise<Settled>;
  withdraw(id: ProposalId, by: { agent: AgentId; principal: PrincipalId; why?: string }): Promise<Settled>;
  /** Settles as expired what is pending past its deadline, or approved past its time to start. */
  expire(id: ProposalId): Promise<Settled>;
  /** approved → executing, once: permit, epoch, scopes, state, times and digest are all compared in this step. */
  admit(ask: {
    id: ProposalId;
    termsDigest: string;
    admission: string;
    executor: string;
    leaseMs: number;
    /** Given where a grant allows the call: as signed, and compared with what the store has of it. */
    grant?: GrantUse | undefined;
  }): Promise<Admitted>;
  /** Extends the lease of a running call; false: it was settled meanwhile (as unknown). */
  extendLease(admission: Admission, leaseMs: number): Promise<boolean>;
  /**
   * The call was admitted and not started (too slow, or replicas do not hold the admission): executing → approved, or halted where the switch went off
   * meanwhile. The next attempt needs an admission of its own.
   */
  giveBack(admission: NotStarted, why: string): Promise<Settled>;
  /** executing → succeeded, failed or unknown. A late result after `unknown` is audited and changes nothing. */
  finish(admission: Admission, outcome: Outcome): Promise<Settled>;
  /** executing → unknown, where the lease has lapsed: the executor died, or cannot say. */
  declareUnknown(id: ProposalId, why: string): Promise<Settled>;
  /**
   * approved → halted: the executor's own judgement refuses, or an approver may not approve any more. `alarm` where the
   * record itself is not genuine. With `from: 'pending'`, pending → halted: nobody could be asked.
   */
  refuse(
    id: ProposalId,
    refusal: { refusal: string; message: string; alarm: boolean; person?: PersonId; from?: 'pending' },
  ): Promise<Settled>;

  /**
   * Ids that need a hand: approved and not started, past a deadline, executing past a lease, or to be reminded of or
   * escalated. Oldest first.
   */
  due(limit: number): Promise<{
    ready: ProposalId[];
    expired: ProposalId[];
    lapsed: ProposalId[];
    timers: ProposalId[];
  }>;
  /** Pending ids, oldest deadline first; all tenants, or one. Of all, those in shards that do not answer are left out. */
  pending(filter: { tenant?: string; limit: number }): Promise<ProposalId[]>;
  /** Redis's clock, ms. */
  now(): Promise<number>;
}

/** What there is to do: a proposal's first card, a card that is behind, a thread that was not told everything. */
export type CardLane = 'post' | 'update' | 'thread';

/** One card, held by one publisher for a while. */
export interface CardClaim {
  readonly id: ProposalId;
  readonly lane: CardLane;
  /** Whose queue it stands in, as the store says: for handing it back, and nothing else. */
  readonly tenant: string;
  readonly lease: string;
}

/** `burst` at once, then one every `everyMs`. Whole numbers. */
export interface Rate {
  readonly burst: number;
  readonly everyMs: number;
}

/**
 * Which cards are behind their proposals, in a queue a tenant. Every transition marks its proposal in the same atomic
 * step, so a crash between the decision and the card loses nothing; and a mark keeps its place until its card is drawn,
 * so that first cards leave in the order in which the proposals were made, one at a time a tenant. Whoever lost a lease
 * to somebody else changes nothing by handing it back.
 */
export interface CardOutbox {
  /**
   * Takes up to `limit` cards for `leaseMs`, tenants in turn; nobody else is given them meanwhile. `nextInMs`: when
   * to ask again, where nothing is marked before; undefined: nothing waits.
   */
  claim(
    limit: number,
    leaseMs: number,
  ): Promise<{ readonly claims: readonly CardClaim[]; readonly nextInMs: number | undefined }>;
  /**
   * Right before Slack is asked to post: from now on a message may be there. With `telling`, what the thread will have
   * been told. False: somebody else holds it now.
   */
  begin(claim: CardClaim, telling?: readonly string[]): Promise<boolean>;
  /**
   * The card at `card` shows `revision`. Removes the mark unless the proposal has moved on. `posted`: it is a new
   * message, whose reader knows `shows`. `untold`: its thread has to be told something. Answers with the card that is a
   * copy from now on, where there is one.
   */
  drawn(
    claim: CardClaim,
    drawn: {
      revision: number;
      card: CardRef;
      posted?: { readonly shows: readonly string[] } | undefined;
      untold?: boolean;
    },
  ): Promise<CardRef | undefined>;
  /** As it stands at `revision`, nobody needs a card of it. */
  skip(claim: CardClaim, revision: number): Promise<void>;
  /** The thread knows everything. */
  told(claim: CardClaim): Promise<void>;
  /**
   * Try again in `delayMs`, at the same place in the queue. `all`: the tenant's queue waits with it. `unsent`: what was
   * begun was certainly not carried out, and the thread had been told `told` before.
   */
  postpone(
    claim: CardClaim,
    delayMs: number,
    how?: { all?: boolean; unsent?: boolean; told?: readonly string[] },
  ): Promise<void>;
  /** It can never be drawn (no channel, bot not invited, …): remove the mark, audit why. */
  abandon(claim: CardClaim, why: string): Promise<void>;
  /**
   * Somebody clicked on a message of ours at `card`. `live`: it is the card, from now on where there was none. `copy`: of
   * a post that was not recorded, and another card is the live one. `unknown`: no post of ours can be there.
   */
  seen(id: ProposalId, card: CardRef): Promise<'live' | 'copy' | 'unknown'>;
  /** Slack has no message at `card` any more: while people decide, there has to be another. */
  lost(id: ProposalId, card: CardRef): Promise<void>;
  /** Marks every proposal without a card and every card that is behind, also where all marks were lost. */
  repair(): Promise<void>;
  /** Takes a turn of the pace called `name`, whoever else takes them: 0, or the ms to wait. */
  turn(name: string, rate: Rate): Promise<number>;
  /** Slack said to wait: nobody gets a turn for so long. */
  pause(name: string, rate: Rate, ms: number): Promise<void>;
  /** Calls back when something was marked; the returned function stops it. May miss: poll as well. */
  onMarked(callback: () => void): Promise<() => Promise<void>>;
}

export class StoreUnavailable extends Error {
  override readonly name: string = 'StoreUnavailable';
  readonly code = 'store_unavailable';
}

/**
 * It happened where it was asked for, and fewer replicas than are needed said that they hold it: a failover may take it
 * back. Asking for the same again is answered once it is held, or says this again.
 */
export class NotHeldByReplicas extends StoreUnavailable {
  override readonly name = 'NotHeldByReplicas';

  constructor(replicas: number, cause?: unknown) {
    const few = replicas === 1 ? 'no replica said' : `fewer than ${replicas} replicas said`;
    super(
      `It was written, and ${few} that they hold it: it may not outlive the server. Read before asking again, and look at Redis's replicas (INFO replication)`,
      cause === undefined ? undefined : { cause },
    );
  }
}
