import { InvalidArguments } from './call-errors.ts';

export interface WaitOptions {
  /** Ends the waiting, not the proposal: to take that back, `withdraw()`. */
  readonly signal?: AbortSignal;
  /** Milliseconds to wait for the result; then `StillPending`, and the proposal stands. Default: until it is settled. */
  readonly timeout?: number;
}

/** Before anything is proposed: a wait that fails afterwards would leave a proposal that nobody knows of. */
export function checkWait({ timeout }: WaitOptions): void {
  if (timeout === undefined || (typeof timeout === 'number' && timeout >= 0)) return;
  throw new InvalidArguments('malformed', ['timeout must be a number of milliseconds, 0 or more']);
}

/** Above this a timer of Node fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function timeoutOf(ms: number): AbortSignal {
  return AbortSignal.timeout(Math.min(Math.ceil(ms), LONGEST_TIMER_MS));
}
