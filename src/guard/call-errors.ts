/**
 * What a guarded call can end with, other than its result. Each message is written to be handed to a model: what
 * happened, and whether trying again makes sense. No message carries a credential or an unescaped argument.
 */
export abstract class CallError extends Error {
  abstract readonly code: string;
  /** Whether the same call can make sense again, unchanged, later. */
  abstract readonly retryable: boolean;
  /** The proposal that the call became, where it became one. */
  readonly proposal: string | undefined;

  constructor(message: string, options: { proposal?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.proposal = options.proposal;
  }
}

/** The policy forbids it, or the caller's context does not hold. Nothing was proposed. */
export class PermissionDenied extends CallError {
  readonly code = 'permission_denied';
  readonly retryable = false;
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(`${message} Do not try this call again: the answer will be the same.`);
    this.reason = reason;
  }
}

/** The kill switch is off for this call, or cannot be read, which is the same. Reads still work. */
export class WritesDisabled extends CallError {
  readonly code = 'writes_disabled';
  readonly retryable = true;
}

/** The arguments are malformed, carry a scope, do not fit the schema, or differ under one idempotency key. */
export class InvalidArguments extends CallError {
  readonly code = 'invalid_arguments';
  readonly retryable = false;
  readonly reason: 'malformed' | 'scope_key' | 'schema' | 'idempotency_conflict';
  readonly issues: readonly string[];

  constructor(reason: InvalidArguments['reason'], issues: readonly string[], proposal?: string) {
    super(
      `The arguments were refused: ${issues.join('; ')}. Nothing was done. Correct them before you try again.`,
      proposal === undefined ? {} : { proposal },
    );
    this.reason = reason;
    this.issues = issues;
  }
}

/** A person said no. */
export class ApprovalDenied extends CallError {
  readonly code = 'approval_denied';
  readonly retryable = false;
  /** `slack:T…/U…` */
  readonly by: string;
  readonly why: string | undefined;

  /** What the policy tells an agent to do in place of a call that was denied for this reason. */
  readonly instead: string | undefined;

  constructor(proposal: string, by: string, why: string | undefined, instead?: string) {
    super(
      `${by} denied this call${why === undefined ? '' : `: "${why}"`}. It was not run. ${instead === undefined ? '' : `What to do instead: ${instead}. `}Do not propose it again as it is; take the reason into account or ask the person you work for.`,
      { proposal },
    );
    this.by = by;
    this.why = why;
    this.instead = instead;
  }
}

/** A person said no to the same call a short time ago; nobody was asked again. */
export class CoolingDown extends CallError {
  readonly code = 'cooling_down';
  readonly retryable = false;
  /** `slack:T…/U…` */
  readonly by: string;
  readonly why: string | undefined;
  /** Milliseconds until people can be asked for this call again. */
  readonly retryAfterMs: number;

  constructor(denied: string, by: string, why: string | undefined, retryAfterMs: number) {
    super(
      `${by} denied this same call a short time ago${why === undefined ? '' : `: "${why}"`}. It was not proposed again and nobody was asked. Do not repeat it as it is: take the reason into account, or ask the person you work for. People can be asked for it again in ${inWords(retryAfterMs)}.`,
      { proposal: denied },
    );
    this.by = by;
    this.why = why;
    this.retryAfterMs = retryAfterMs;
  }
}

function inWords(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  return seconds < 120 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`;
}

/** Nobody decided in time, or an approved call was not started in time. It was not run. */
export class ApprovalExpired extends CallError {
  readonly code = 'approval_expired';
  readonly retryable = true;
}

/** The agent's side took the proposal back. It was not run. */
export class Withdrawn extends CallError {
  readonly code = 'withdrawn';
  readonly retryable = true;
}

/** Stopped before it ran: the switch went off, or the executor refused it right before the start. */
export class Halted extends CallError {
  readonly code = 'halted';
  readonly retryable = false;
}

/** It started, and nobody can say whether it took effect. */
export class OutcomeUnknown extends CallError {
  readonly code = 'outcome_unknown';
  readonly retryable = false;
}

/** It ran and the system that it writes to said no; or a read did not work, which may be tried again. */
export class ExecutionFailed extends CallError {
  readonly code = 'execution_failed';
  readonly retryable: boolean;

  constructor(message: string, options: { proposal?: string; cause?: unknown; retryable?: boolean } = {}) {
    super(message, options);
    this.retryable = options.retryable ?? false;
  }
}

/** Still waiting for people when the caller's patience ended. The proposal stands. */
export class StillPending extends CallError {
  readonly code = 'still_pending';
  readonly retryable = false;
}

/** Redis or the queue did not answer. With a `proposal`, that one may stand: look at it before calling again. */
export class Unavailable extends CallError {
  readonly code = 'unavailable';
  readonly retryable: boolean;

  constructor(message: string, options: { proposal?: string; cause?: unknown; retryable?: boolean } = {}) {
    super(message, options);
    this.retryable = options.retryable ?? options.proposal === undefined;
  }
}

export class PendingLimit extends CallError {
  readonly code = 'pending_limit';
  readonly retryable = true;
}
