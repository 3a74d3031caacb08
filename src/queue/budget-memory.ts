import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { BudgetTerms, ProposalTerms } from '../core/proposal/proposal-terms.ts';

type Counted = Pick<ProposalTerms, 'id' | 'createdAt'>;

/** Terms are made up to 5 s from when their budget is reserved, earlier or later; at both ends of a window. */
const SLACK_MS = 10_000;
/** Longer than any approved call waits for its start. */
const LONGEST_START_MS = 60 * 60_000;

/**
 * What this process has started on each budget. Reservations are counted in Redis, and whoever writes Redis can make a
 * counter new: here no window holds more starts than the budget allows, for as long as this process lives.
 */
export class BudgetMemory {
  readonly #counters = new Map<string, { readonly started: Map<ProposalId, number>; keepMs: number }>();

  /**
   * Asked and answered in one turn, before admission; the same proposal again takes nothing. What is taken stays taken,
   * as its reservation does, whether the call then starts here, elsewhere or not at all.
   */
  take(
    { counterKey, max, perMs }: BudgetTerms,
    { id, createdAt }: Counted,
    now: number,
  ): 'taken' | 'overused' {
    this.#forgetLapsed(now);
    const counter = this.#counters.get(counterKey) ?? { started: new Map(), keepMs: 0 };
    if (counter.started.has(id)) return 'taken';
    if (mostWithin([...counter.started.values(), createdAt], createdAt, perMs - SLACK_MS) > max)
      return 'overused';
    counter.started.set(id, createdAt);
    counter.keepMs = Math.max(counter.keepMs, perMs + LONGEST_START_MS);
    this.#counters.set(counterKey, counter);
    return 'taken';
  }

  #forgetLapsed(now: number): void {
    for (const [key, { started, keepMs }] of this.#counters) {
      for (const [id, createdAt] of started) if (createdAt < now - keepMs) started.delete(id);
      if (started.size === 0) this.#counters.delete(key);
    }
  }
}

/** Calls start in any order, so each window that holds `at` is looked at, and not the one that ends there alone. */
function mostWithin(times: readonly number[], at: number, windowMs: number): number {
  const near = times.filter((time) => Math.abs(time - at) < windowMs).sort((a, b) => a - b);
  let most = 0;
  let first = 0;
  for (let last = 0; last < near.length; last += 1) {
    while (Number(near[last]) - Number(near[first]) >= windowMs) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
