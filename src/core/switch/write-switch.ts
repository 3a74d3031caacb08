import type { CallContext } from '../identity/call-context.ts';
import type { PersonId, TenantId } from '../identity/ids.ts';
import type { ProposalId } from '../proposal/proposal-id.ts';
import type { SwitchScope } from './scope.ts';

/** Who flipped the switch: a person in Slack, or an operator at a terminal (`cli:name`). */
export type Operator = PersonId | `cli:${string}`;

/** One scope that is off, and what is known about it. Times: ms on Redis's clock. */
export interface OffEntry {
  readonly scope: SwitchScope;
  readonly by: Operator;
  readonly why: string | undefined;
  readonly since: number;
  /** A reminder time, set by `off for 2h`. Nothing turns itself on. */
  readonly until: number | undefined;
}

/** What a guard needs before it freezes a proposal. */
export interface SwitchReading {
  /** Redis's clock, ms. */
  readonly now: number;
  readonly epoch: number;
  /** `closed` where the switch is missing, unreadable, or its permit has lapsed: nobody turned it off, and it is off. */
  readonly writes:
    | { readonly state: 'on' }
    | { readonly state: 'off'; readonly entry: OffEntry }
    | { readonly state: 'closed'; readonly why: Closed };
}

/** In how many shards what was done. */
export interface PermitsRenewed {
  readonly renewed: number;
  /** Left alone: people turned writes off there. */
  readonly off: number;
  /** Closed until somebody turns writes on again: its epoch went back, so Redis was emptied or an older copy took over. */
  readonly forgotten: number;
  readonly failed: number;
}

/** Why writes are off though nobody turned them off. A lapsed permit comes back by itself, with whoever renews it. */
export type Closed = 'never_armed' | 'permit_lapsed' | 'unreadable';

export interface SwitchStatus {
  readonly shards: number;
  /** Shards that answered; fewer than `shards` means that the rest of this is not the whole truth. */
  readonly answered: number;
  readonly epoch: number;
  readonly state: 'on' | 'off' | 'closed';
  /** Why it is closed, where `state` says so. */
  readonly closed: Closed | undefined;
  /** Who turned everything on or off last; undefined where nobody ever did. */
  readonly last: { by: Operator; why: string | undefined; since: number } | undefined;
  readonly off: readonly OffEntry[];
  readonly pending: number;
  readonly approved: number;
  readonly executing: number;
}

/** What an `off` found open in its scope. */
export interface FoundOpen {
  /** Those that it halted. What somebody clicked on or asked for meanwhile was halted by that. */
  readonly halted: readonly ProposalId[];
  /** Calls that had started before: they may finish. */
  readonly executing: readonly ProposalId[];
  /** False: it was not looked at everything yet. The rest cannot start; whoever touches it or renews permits halts it. */
  readonly complete: boolean;
}

export interface OffAnswer extends FoundOpen {
  /** True only if every shard, and its replicas, hold the new state, and the start deadline has passed since. */
  readonly confirmed: boolean;
  readonly shards: number;
  readonly confirmedShards: number;
  readonly epoch: number;
  readonly since: number;
  /** Where the answer did not wait for it, halting goes on in the background. Resolves when it ends; never rejects. */
  readonly halting: Promise<FoundOpen> | undefined;
  /**
   * Where it is not confirmed, it is tried again in the background. Resolves with the answer that is confirmed, or with
   * undefined where somebody flipped the switch since or this process stops before; never rejects.
   */
  readonly confirming: Promise<OffAnswer | undefined> | undefined;
}

export type OnAnswer =
  | { readonly ok: true; readonly epoch: number; readonly since: number }
  /** Someone flipped it since `expectedEpoch` was read, and nothing was turned on: look again before arming. */
  | { readonly ok: false; readonly refusal: 'epoch_moved'; readonly epoch: number }
  | { readonly ok: false; readonly refusal: 'not_off' }
  /** It is on in so many shards at least, and may be off in others: whoever asks is told that it is off. */
  | { readonly ok: false; readonly refusal: 'not_confirmed'; readonly confirmedShards: number };

/** The kill switch. Contract suite: test/contracts/write-switch.contract.ts. */
export interface WriteSwitch {
  read(context: CallContext, tool: string): Promise<SwitchReading>;
  status(tenant?: TenantId): Promise<SwitchStatus>;
  /**
   * Resolves only when no write in scope can start any more (confirmed), or says that it is not confirmed and keeps
   * trying in the background until it is.
   */
  off(flip: { scope: SwitchScope; by: Operator; why?: string; forMs?: number }): Promise<OffAnswer>;
  /**
   * Strict: a reason, and a compare-and-set on the epoch that the operator saw. Who else had to confirm it is recorded
   * with it; whether enough people did is for the caller to see to.
   */
  on(flip: {
    scope: SwitchScope;
    by: Operator;
    confirmedBy?: readonly PersonId[];
    why: string;
    expectedEpoch: number;
  }): Promise<OnAnswer>;
  /** Renews every shard's permit where the durable state is on. Called every second by approval services only. */
  renewPermits(): Promise<PermitsRenewed>;
}

/** Life of a permit without renewal: with nobody left to hear `off`, writes stop within this time. */
export const PERMIT_LIFE_MS = 5_000;
export const PERMIT_RENEWAL_MS = 1_000;
/** D: an executor starts a call only if less than this passed since it asked for admission (monotonic clock). */
export const START_DEADLINE_MS = 50;
