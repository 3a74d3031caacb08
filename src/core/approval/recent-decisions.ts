import type { PersonId } from '../identity/ids.ts';
import type { ProposalId } from '../proposal/proposal-id.ts';

/** An index for people's own inboxes: a hint, whose proposals are read and unsealed like any others. */
export interface RecentDecisions {
  /** The proposals that this person decided on last, newest first. */
  of(person: PersonId, limit: number): Promise<ProposalId[]>;
}
