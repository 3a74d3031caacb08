import { setMaxListeners } from 'node:events';
import { TimeLimit } from '../core/execution/time-limit.ts';
import { InvalidArguments } from './call-errors.ts';

export interface WaitOptions {
  /**
   * Ends the waiting, not the proposal: to take that back, `withdraw()`. Node 20 may forget an `AbortSignal.timeout`
   * inside an `AbortSignal.any`; for a limit in time rather use `timeout`.
   */
  readonly signal?: AbortSignal;
  /** Milliseconds to wait for the result; then `StillPending`, and the proposal stands. Default: until it is settled. */
  readonly timeout?: number;
}

/** Before anything is proposed: a wait that fails afterwards would leave a proposal that nobody knows of. */
export function checkWait({ timeout }: WaitOptions): void {
  if (timeout === undefined || (typeof timeout === 'number' && timeout >= 0)) return;
  throw new InvalidArguments('malformed', ['timeout must be a number of milliseconds, 0 or more']);
}

/** When to stop waiting: after `ms`, or when the caller or one of `others` says so. To be released by whoever asks. */
export function limitOf(
  ms: number | undefined,
  { signal }: WaitOptions,
  ...others: AbortSignal[]
): TimeLimit {
  // As many as there are calls that wait under it: no leak to warn of.
  if (signal !== undefined) setMaxListeners(0, signal);
  return new TimeLimit({ ms, or: signal === undefined ? others : [signal, ...others] });
}
