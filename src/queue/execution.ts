import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ApprovalPublicKey } from '../core/approval/decision.ts';
import type { Admission, AdmissionRefusal } from '../core/execution/admission.ts';
import {
  type CredentialProvider,
  type Credentials,
  CredentialsUnavailable,
} from '../core/execution/credentials.ts';
import { judgeStart, type StartJudgement } from '../core/execution/judgement.ts';
import type { Outcome } from '../core/execution/outcome.ts';
import type { SignedGrant } from '../core/grant/grant.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { ProposalRecord, ProposalState, ProposalStatus } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { NotStarted, ProposalStore, Settled } from '../core/proposal/proposal-store.ts';
import { type ProposalKey, parseTerms, type SealedTerms } from '../core/proposal/seal.ts';
import { START_DEADLINE_MS, type WriteSwitch } from '../core/switch/write-switch.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import type { ToolRegistry } from '../core/tool/tool-registry.ts';
import { grantUseOf } from '../redis/grant-store-redis.ts';
import { RecordMalformed } from '../redis/proposal-record-redis.ts';
import { before } from './before.ts';
import { BudgetMemory } from './budget-memory.ts';
import { GrantMemory } from './grant-memory.ts';
import { bounded, RunningCall } from './running-call.ts';

export interface ExecutionParts {
  readonly store: ProposalStore;
  /** Where given, it spares the credential provider while no approval service is alive. Admission asks it anyway. */
  readonly switch?: Pick<WriteSwitch, 'read'>;
  readonly registry: ToolRegistry;
  readonly policy: Pick<PolicyHolder, 'current'>;
  /** More than one of each while keys are rotated. */
  readonly keys: {
    readonly proposal: readonly ProposalKey[];
    readonly approval: readonly ApprovalPublicKey[];
  };
  readonly credentials: CredentialProvider;
  /** Names this process in the audit: a host name and a pid. */
  readonly executorId: string;
  readonly logger: Logger;
  readonly startDeadlineMs?: number;
  /** How long a call is believed to run without word from its executor. */
  readonly leaseMs?: number;
  readonly credentialsTimeoutMs?: number;
}

/** What became of one attempt: nothing more to do, or look again later. */
export type Attempt =
  | { readonly next: 'done'; readonly status: ProposalStatus | 'not_found'; readonly outcome?: Outcome }
  | { readonly next: 'again'; readonly status: ProposalStatus; readonly inMs: number };

const LEASE_MS = 10_000;
const CREDENTIALS_TIMEOUT_MS = 5_000;
/** Admissions that came too late, one after the other, before the job goes back to sleep. */
const ADMISSION_TRIES = 3;
const SLOW_STORE_PAUSE_MS = 250;
/** For so long after a call could not be started in time, it is said that this executor starts none. */
const SLOW_FOR_MS = 30_000;
/** Writes are closed and nobody halted the proposal: the permit may come back while its time to start lasts. */
const CLOSED_PAUSE_MS = 1_000;
/** The approval service is about to say that the approvers still may, or is away; the time to start goes on running. */
const UNATTESTED_PAUSE_MS = 500;
/** Replicas are away, or do not keep up: each attempt holds up what else goes over the connection. */
const UNHELD_PAUSE_MS = 1_000;
const NOT_HELD = "too few of Redis's replicas hold the admission: nothing was started";
/** BullMQ's clock is this machine's, the deadline is Redis's: look again soon rather than exactly then. */
const LONGEST_SLEEP_MS = 10 * 60_000;
const SHORTEST_SLEEP_MS = 25;
/** A late outcome is still worth its audit entry, so it is offered for longer than the lease lasts. */
const INSIST_FOR_MS = 60_000;
/** A proposal can be approved for about a day and an hour; this many fit easily. */
const STARTED_REMEMBERED = 50_000;

/**
 * Takes one proposal as far as it may go now. Everything is decided by what the store says and by the executor's own
 * judgement; whoever calls `attempt`, how often and when, can only make it look.
 *
 * The order of a start: judge; fetch credentials; judge again; ask for admission; and, if less than `startDeadlineMs`
 * passed since asking, start in the same turn of the event loop. From the admission on nothing is ever tried twice.
 */
export class Execution {
  readonly #parts: ExecutionParts;
  readonly #startDeadlineMs: number;
  readonly #leaseMs: number;
  #lateAt = Number.NEGATIVE_INFINITY;
  readonly #running = new Map<ProposalId, RunningCall>();
  /** Oldest first. An approved proposal that was started here before is one that somebody put back. */
  readonly #started = new Set<ProposalId>();
  readonly #grants = new GrantMemory();
  readonly #budgets = new BudgetMemory();
  /** Said once an outage of replicas, and not with each call. */
  #toldUnheld = false;

  constructor(parts: ExecutionParts) {
    this.#parts = parts;
    this.#startDeadlineMs = parts.startDeadlineMs ?? START_DEADLINE_MS;
    this.#leaseMs = parts.leaseMs ?? LEASE_MS;
  }

  /** Calls that have started in this process and not ended. */
  get running(): ProposalId[] {
    return [...this.#running.keys()];
  }

  /** Not, where the last calls were given back each time, because the store took longer than they may wait. */
  get startsInTime(): boolean {
    return performance.now() - this.#lateAt >= SLOW_FOR_MS;
  }

  /** Tells the running calls to end; what they had begun has the outcome `unknown`, unless they can say better. */
  abortRunning(why: string): void {
    for (const call of this.#running.values()) call.abort(why);
  }

  /** @throws StoreUnavailable where the store went away; a started call is then settled by its lease. */
  async attempt(id: ProposalId): Promise<Attempt> {
    let record: ProposalRecord | undefined;
    try {
      record = await this.#parts.store.read(id);
    } catch (error) {
      if (error instanceof RecordMalformed) return this.#malformed(id, error);
      throw error;
    }
    if (record === undefined) return { next: 'done', status: 'not_found' };
    switch (record.state.status) {
      case 'pending':
        return this.#undecided(record);
      case 'approved':
        return this.#approved(record);
      case 'executing':
        return this.#executingElsewhere(record.id, record.state.leaseUntil);
      default:
        return done(record.state);
    }
  }

  async #undecided(record: ProposalRecord): Promise<Attempt> {
    const { store } = this.#parts;
    const expired = await store.expire(record.id);
    if (expired !== 'not_due') return this.#asItStands(record.id);
    // Only for how long to sleep, so it need not be sealed.
    const deadline = parseTerms(record.termsText)?.deadline;
    const inMs = deadline === undefined ? LONGEST_SLEEP_MS : deadline - (await store.now());
    return { next: 'again', status: 'pending', inMs: sleepFor(inMs) };
  }

  /** Whoever runs it, or ran it: never a second time. Past its lease nobody can say any more what happened. */
  async #executingElsewhere(id: ProposalId, leaseUntil: number): Promise<Attempt> {
    const { store } = this.#parts;
    const declared = await store.declareUnknown(id, 'the executor stopped answering while the call ran');
    if (declared !== 'not_due') return this.#asItStands(id);
    return { next: 'again', status: 'executing', inMs: sleepFor(leaseUntil - (await store.now())) };
  }

  async #approved(record: ProposalRecord): Promise<Attempt> {
    const { store, logger } = this.#parts;
    const { id } = record;
    if ((await store.expire(id)) === 'settled') return { next: 'done', status: 'expired' };
    if (this.#started.has(id)) {
      return this.#refuse(id, {
        refusal: 'already_started',
        message: 'this executor started it before; the store was rolled back or rewritten',
        alarm: true,
      });
    }
    const first = await this.#judge(record);
    if (!first.ok) return this.#notJudgedFit(id, first);
    if (await this.#switchIsClosed(first.sealed)) return this.#asItStands(id);
    const fetched = await this.#fetchCredentials(first.sealed, first.tool);
    if (!fetched.ok) return this.#refuse(id, fetched);

    for (let tried = 1; tried <= ADMISSION_TRIES; tried++) {
      // Fetching took time: the policy may have changed, and the time to start may be over.
      const judged = await this.#judge(record);
      if (!judged.ok) return this.#notJudgedFit(id, judged);

      const { terms } = judged.sealed;
      const grant = grantOf(judged.sealed);
      const budget = terms.basis.kind === 'policy' ? terms.basis.budget : undefined;
      const taken = grant && this.#grants.take(grant.statement, terms, await store.now());
      if (taken !== undefined && taken !== 'taken') return this.#refuse(id, GRANT_REFUSALS[taken]);
      if (budget && this.#budgets.take(budget, terms, await store.now()) === 'overused') {
        return this.#refuse(id, BUDGET_OVERUSED);
      }

      const askedAt = performance.now();
      const admitted = await store.admit({
        id,
        termsDigest: judged.sealed.termsDigest,
        admission: randomBytes(16).toString('hex'),
        executor: this.#parts.executorId,
        leaseMs: this.#leaseMs,
        grant: grant && grantUseOf(grant),
      });
      if (!admitted.ok && admitted.refusal === 'not_held') return this.#notHeld(admitted.unheld);
      if (!admitted.ok) {
        // A grant that has ended stays ended here, whatever the store says of it later.
        if (grant !== undefined && admitted.refusal === 'grant_void') {
          this.#grants.end(grant.statement, await store.now());
        }
        return this.#notAdmitted(id, admitted.refusal);
      }
      this.#replicasHold();
      // Nothing may be awaited between this look at the clock and the start: `off` answers once D has passed.
      const tookMs = performance.now() - askedAt;
      if (tookMs < this.#startDeadlineMs) {
        return this.#run(this.#start(admitted.admission, judged, fetched.credentials));
      }
      const why = `admission took ${Math.round(tookMs)} ms, and ${this.#startDeadlineMs} ms is the limit`;
      logger.warn({ proposal: id, tried }, `${why}: given back`);
      const { admission } = admitted;
      await this.#insist(admission, 'give it back', () => store.giveBack(admission, why));
      if ((await store.read(id))?.state.status !== 'approved') return this.#asItStands(id);
    }
    this.#lateAt = performance.now();
    return { next: 'again', status: 'approved', inMs: SLOW_STORE_PAUSE_MS };
  }

  /** Synchronous up to the tool's own code. */
  #start(admission: Admission, judged: Judged, credentials: Credentials): RunningCall {
    this.#lateAt = Number.NEGATIVE_INFINITY;
    this.#remember(admission.proposal);
    const call = new RunningCall({
      admission,
      tool: judged.tool,
      args: judged.args,
      context: judged.sealed.terms.context,
      credentials,
      store: this.#parts.store,
      leaseMs: this.#leaseMs,
      logger: this.#parts.logger,
    });
    this.#running.set(admission.proposal, call);
    return call;
  }

  async #run(call: RunningCall): Promise<Attempt> {
    const { admission } = call;
    const { logger } = this.#parts;
    const log = { proposal: admission.proposal, admission: admission.id, tool: call.tool };
    logger.info(log, 'started');
    try {
      const outcome = await call.outcome;
      logger[outcome.outcome === 'succeeded' ? 'info' : 'warn'](
        { ...log, ...withoutWords(outcome) },
        'ended',
      );
      const settled = await this.#insist(admission, 'record the outcome', () =>
        this.#parts.store.finish(admission, outcome),
      );
      return settled === 'settled'
        ? { next: 'done', status: outcome.outcome, outcome }
        : await this.#asItStands(admission.proposal);
    } finally {
      call.release();
      this.#running.delete(admission.proposal);
    }
  }

  /** Tries on while Redis is away: until it is back, or nobody would believe it any more. */
  async #insist(admission: NotStarted, what: string, settle: () => Promise<Settled>): Promise<Settled> {
    const until = performance.now() + Math.max(this.#leaseMs, INSIST_FOR_MS);
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 2_000)) {
      try {
        return await settle();
      } catch (error) {
        if (performance.now() + pauseMs >= until) throw error;
        const log = { proposal: admission.proposal, admission: admission.id, err: error };
        this.#parts.logger.warn(log, `could not ${what}; tries again`);
        await sleep(pauseMs);
      }
    }
  }

  /** Any exception refuses: a judge that cannot finish has not said yes. */
  async #judge(record: ProposalRecord): Promise<StartJudgement> {
    const { keys, policy, registry, store, logger } = this.#parts;
    const now = await store.now();
    try {
      return judgeStart({
        record,
        proposalKeys: keys.proposal,
        approvalPublicKeys: keys.approval,
        policy: policy.current,
        registry,
        now,
      });
    } catch (error) {
      logger.error({ proposal: record.id, err: error }, 'the judgement broke');
      return { ok: false, refusal: 'malformed', message: 'the executor could not judge it', alarm: true };
    }
  }

  #notJudgedFit(id: ProposalId, judged: StartJudgement & { ok: false }): Promise<Attempt> {
    if (!judged.again) return this.#refuse(id, judged);
    this.#parts.logger.debug({ proposal: id, refusal: judged.refusal }, `not yet: ${judged.message}`);
    return Promise.resolve({ next: 'again', status: 'approved', inMs: UNATTESTED_PAUSE_MS });
  }

  async #fetchCredentials(sealed: SealedTerms, tool: ToolDefinition): Promise<Fetched> {
    const { tenant, environment } = sealed.terms.context;
    const timeoutMs = this.#parts.credentialsTimeoutMs ?? CREDENTIALS_TIMEOUT_MS;
    const giveUp = new AbortController();
    try {
      const fetching = this.#parts.credentials.fetch(
        { tenant, environment, tool: tool.name, access: tool.effect === 'read' ? 'read' : 'write' },
        giveUp.signal,
      );
      return { ok: true, credentials: await before(timeoutMs, fetching) };
    } catch (error) {
      // Only our own error is known to hold no secret.
      const why =
        error instanceof CredentialsUnavailable
          ? bounded(error.message)
          : `the credential provider failed (${error instanceof Error ? error.name : 'no error'})`;
      return { ok: false, refusal: 'credentials_unavailable', message: why, alarm: false };
    } finally {
      giveUp.abort();
    }
  }

  /** A look before credentials are fetched, so that they are not fetched each second while nothing can start. */
  async #switchIsClosed({ terms }: SealedTerms): Promise<boolean> {
    const reading = await this.#parts.switch?.read(terms.context, terms.tool);
    return reading?.writes.state === 'closed';
  }

  /**
   * A failover could take the admission back, and another executor start the call as well; or this executor and its
   * Redis are cut off from all others. Nothing has started.
   */
  async #notHeld(unheld: NotStarted): Promise<Attempt> {
    const { store, logger } = this.#parts;
    if (!this.#toldUnheld) {
      const log = { proposal: unheld.proposal, admission: unheld.id };
      logger.error(
        log,
        "no call starts: too few of Redis's replicas hold that it was admitted. Each is given back and tried again; look at Redis's replicas (INFO replication)",
      );
    }
    this.#toldUnheld = true;
    await this.#insist(unheld, 'give it back', () => store.giveBack(unheld, NOT_HELD));
    const attempt = await this.#asItStands(unheld.proposal);
    return attempt.next === 'again' && attempt.status === 'approved'
      ? { ...attempt, inMs: UNHELD_PAUSE_MS }
      : attempt;
  }

  #replicasHold(): void {
    if (!this.#toldUnheld) return;
    this.#toldUnheld = false;
    this.#parts.logger.info("Redis's replicas hold admissions again: calls start");
  }

  async #notAdmitted(id: ProposalId, refusal: AdmissionRefusal): Promise<Attempt> {
    const { store } = this.#parts;
    switch (refusal) {
      case 'terms_changed':
        return this.#refuse(id, {
          refusal,
          message: 'the stored terms are not the ones that were judged a moment ago',
          alarm: true,
        });
      case 'budget_missing':
        return this.#refuse(id, {
          refusal,
          message: 'its budget was not reserved, or is gone',
          alarm: false,
        });
      case 'grant_void':
      case 'grant_expired':
      case 'grant_missing':
        return this.#refuse(id, {
          refusal,
          message: GRANT_MESSAGES[refusal],
          alarm: refusal === 'grant_missing',
        });
      case 'too_late':
        await store.expire(id);
        return this.#asItStands(id);
      case 'writes_off':
      case 'not_found':
      case 'not_approved':
      case 'already_admitted':
      case 'already_settled':
        return this.#asItStands(id);
    }
  }

  async #refuse(
    id: ProposalId,
    { refusal, message, alarm }: { refusal: string; message: string; alarm: boolean },
  ): Promise<Attempt> {
    this.#parts.logger[alarm ? 'error' : 'warn']({ proposal: id, refusal, alarm }, `refused: ${message}`);
    await this.#parts.store.refuse(id, { refusal, message: bounded(message), alarm });
    return this.#asItStands(id);
  }

  /** Not looked at again: there is nothing in it to look at. */
  async #malformed(id: ProposalId, error: RecordMalformed): Promise<Attempt> {
    this.#parts.logger.error({ proposal: id, err: error }, 'a record is none that Countersign wrote');
    const refusal = {
      refusal: error.code,
      message: 'its record is none that Countersign wrote',
      alarm: true,
    };
    const settled = await this.#parts.store.refuse(id, refusal);
    if (settled === 'settled') return { next: 'done', status: 'halted' };
    return { next: 'again', status: 'executing', inMs: LONGEST_SLEEP_MS };
  }

  /** Somebody else moved it: what is true now. Never starts anything. */
  async #asItStands(id: ProposalId): Promise<Attempt> {
    const { store } = this.#parts;
    const state = (await store.read(id))?.state;
    if (state === undefined) return { next: 'done', status: 'not_found' };
    switch (state.status) {
      case 'executing':
        return {
          next: 'again',
          status: 'executing',
          inMs: sleepFor(state.leaseUntil - (await store.now())),
        };
      case 'pending':
      case 'approved':
        return { next: 'again', status: state.status, inMs: CLOSED_PAUSE_MS };
      default:
        return done(state);
    }
  }

  #remember(id: ProposalId): void {
    this.#started.add(id);
    for (const oldest of this.#started) {
      if (this.#started.size <= STARTED_REMEMBERED) return;
      this.#started.delete(oldest);
    }
  }
}

function grantOf({ terms }: SealedTerms): SignedGrant | undefined {
  return terms.basis.kind === 'grant' ? terms.basis.grant : undefined;
}

const GRANT_REFUSALS = {
  grant_ended: {
    refusal: 'grant_ended',
    message: 'the grant that allowed it has ended',
    alarm: false,
  },
  grant_reopened: {
    refusal: 'grant_reopened',
    message: 'the grant had ended before the call was made, and the store let it be used',
    alarm: true,
  },
  grant_overused: {
    refusal: 'grant_overused',
    message: 'this executor has started as many calls under the grant as it allows; the store counts fewer',
    alarm: true,
  },
} as const;

const BUDGET_OVERUSED = {
  refusal: 'budget_overused',
  message: 'this executor has started as many calls on the budget as it allows; the store counts fewer',
  alarm: true,
} as const;

const GRANT_MESSAGES = {
  grant_void: 'the grant that allowed it was revoked, or writes were switched off since it was given',
  grant_expired: 'the grant that allowed it has expired',
  grant_missing: 'the grant that allowed it, or its count of uses, is not in the store as it must be',
} as const;

type Judged = StartJudgement & { ok: true };
type Fetched =
  | { readonly ok: true; readonly credentials: Credentials }
  | { readonly ok: false; readonly refusal: string; readonly message: string; readonly alarm: false };

function done(state: ProposalState): Attempt {
  return {
    next: 'done',
    status: state.status,
    ...('outcome' in state ? { outcome: state.outcome } : {}),
  };
}

/** What a tool says may hold anybody's data, arguments among it: people and the agent are told, the log is not. */
function withoutWords(outcome: Outcome): Partial<Record<'outcome' | 'code' | 'why', string>> {
  switch (outcome.outcome) {
    case 'succeeded':
      return { outcome: 'succeeded' };
    case 'failed':
      return { outcome: 'failed', code: outcome.code };
    case 'unknown':
      return { outcome: 'unknown', why: outcome.why };
  }
}

function sleepFor(ms: number): number {
  return Math.min(Math.max(Math.ceil(ms), SHORTEST_SLEEP_MS), LONGEST_SLEEP_MS);
}
