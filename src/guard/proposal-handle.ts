import type { Logger } from 'pino';
import type { Dispatch } from '../core/execution/dispatch.ts';
import { successorOf } from '../core/proposal/edit-link.ts';
import { type ProposalRecord, TERMINAL_STATUSES } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import { MOST_EDITS } from '../core/proposal/proposal-terms.ts';
import type { ProposalKeys, SealedTerms } from '../core/proposal/seal.ts';
import { CallError, StillPending, Unavailable } from './call-errors.ts';
import { withEdit } from './edited-result.ts';
import { resultOf } from './proposal-result.ts';
import { available } from './store-answer.ts';
import { checkWait, limitOf, type WaitOptions } from './waiting.ts';

/** What waits for a proposal to change; src/queue/waiter.ts. */
export interface ProposalWaiter {
  waitFor(
    id: ProposalId,
    until: (record: ProposalRecord) => boolean,
    options: { signal?: AbortSignal },
  ): Promise<ProposalRecord>;
}

/** What a handle needs of its guard. */
export interface HandleParts {
  readonly store: ProposalStore;
  readonly waiter: ProposalWaiter;
  readonly dispatch: Dispatch;
  readonly proposalKeys: ProposalKeys;
  /** Aborted when the guard is closed: whoever waits then is told, and the proposals stand. */
  readonly closing: AbortSignal;
  readonly logger: Logger;
}

/**
 * One proposal, from the agent's side. Where a person changed its arguments, another proposal stands in its place: then
 * its status, its result and its withdrawal are those of that one.
 */
export class ProposalHandle {
  readonly #sealed: SealedTerms;
  readonly #parts: HandleParts;

  constructor(sealed: SealedTerms, parts: HandleParts) {
    this.#sealed = sealed;
    this.#parts = parts;
  }

  get id(): ProposalId {
    return this.#sealed.terms.id;
  }

  /** Until when people can decide; ms, Redis's clock. */
  get deadline(): number {
    return this.#sealed.terms.deadline;
  }

  /** The state's name, now. @throws Unavailable */
  async status(): Promise<ProposalRecord['state']['status']> {
    return (await this.#standing()).record.state.status;
  }

  /**
   * The tool's result, once people have decided and it has run; an EditedResult where they changed the arguments.
   * @throws ApprovalDenied, ApprovalExpired, Halted, Withdrawn, ExecutionFailed, OutcomeUnknown, StillPending; or the
   * signal's reason.
   */
  async result(wait: WaitOptions = {}): Promise<unknown> {
    checkWait(wait);
    const { waiter, closing } = this.#parts;
    const limit = limitOf(wait.timeout, wait, closing);
    const { signal } = limit;
    const settled = (record: ProposalRecord) => TERMINAL_STATUSES.has(record.state.status);
    try {
      const read = (id: ProposalId) => waiter.waitFor(id, settled, { signal });
      const { sealed, record } = await this.#followed(read, (id) =>
        waiter.waitFor(id, () => true, { signal }),
      );
      return withEdit(sealed.terms, () => resultOf(record));
    } catch (error) {
      if (error instanceof CallError) throw error;
      if (limit.timedOut) {
        throw new StillPending(
          `Nobody has settled this call yet. It stands as ${this.id}; ask for its result later and do not propose it again.`,
          { proposal: this.id },
        );
      }
      if (wait.signal?.aborted) throw error;
      if (closing.aborted) {
        throw new StillPending(
          `The guard was closed while this call waited. It stands as ${this.id}; ask for its result later and do not propose it again.`,
          { proposal: this.id },
        );
      }
      throw new Unavailable(
        `The result of ${this.id} cannot be read: it is damaged or no longer kept. Do not repeat the call before a person has looked at the audit.`,
        { proposal: this.id, cause: error },
      );
    } finally {
      limit.release();
    }
  }

  /** Takes the proposal back. False: it was settled, or had started, before. @throws Unavailable */
  async withdraw(why?: string): Promise<boolean> {
    const { agent, principal } = this.#sealed.terms.context;
    const by = { agent, principal, ...(why === undefined ? {} : { why: why.slice(0, 500) }) };
    for (let { id } = this; ; ) {
      const settled = await available(() => this.#parts.store.withdraw(id, by));
      if (settled === 'settled') {
        await this.#parts.dispatch.wake(id).catch(() => 'the job finds it settled when it is due');
        return true;
      }
      // Perhaps a person changed the call, and what stands in its place can be taken back.
      const standing = await this.#standing();
      if (standing.record.id === id) return false;
      ({ id } = standing.record);
    }
  }

  #standing(): Promise<Standing> {
    const read = (id: ProposalId) => this.#record(id);
    return this.#followed(read, read);
  }

  /** From the agent's own proposal over every edit to the one that stands. `first` reads one that may be edited yet. */
  async #followed(
    first: (id: ProposalId) => Promise<ProposalRecord>,
    next: (id: ProposalId) => Promise<ProposalRecord>,
  ): Promise<Standing> {
    let standing: Standing = { sealed: this.#sealed, record: await first(this.id) };
    for (let edits = 0; ; edits += 1) {
      const { state } = standing.record;
      if (state.status !== 'halted' || state.cause.kind !== 'edited') return standing;
      const { to } = state.cause;
      const sealed = successorOf(standing.sealed.terms, await next(to), this.#parts.proposalKeys);
      if (sealed === undefined || edits >= MOST_EDITS) {
        this.#parts.logger.error({ proposal: this.id, to }, 'an edit in the store is not sealed by us');
        throw new Unavailable(
          `The store says that a person changed ${this.id}, and holds no such change. Nothing is known to have run. Do not propose it again; tell an operator.`,
          { proposal: this.id, retryable: false },
        );
      }
      standing = { sealed, record: await first(to) };
    }
  }

  async #record(id: ProposalId): Promise<ProposalRecord> {
    // The agent goes on with what it is told, and would not hear that a failover took it back.
    const record = await available(() => this.#parts.store.readHeld(id));
    if (record === undefined) throw new Unavailable('The proposal is no longer kept.', { proposal: this.id });
    return record;
  }
}

/** The proposal that stands for a call now: the agent's own, or what a person made of it. */
interface Standing {
  readonly sealed: SealedTerms;
  readonly record: ProposalRecord;
}
