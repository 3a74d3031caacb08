import type { ProposalId } from '../proposal/proposal-id.ts';

/**
 * Schedules and wakes; never decides. Whatever it does twice, late or not at all can delay an execution, never cause
 * one: the executor acts on what the store says.
 */
export interface Dispatch {
  /** One delayed job, due at the deadline. Doing it again for the same proposal changes nothing. */
  schedule(id: ProposalId, delayMs: number): Promise<void>;
  /** Runs the proposal's job now; adds it where it is missing. */
  wake(id: ProposalId): Promise<void>;
}
