import { type ProposalRecord, TERMINAL_STATUSES } from './proposal.ts';
import type { ProposalId } from './proposal-id.ts';

type Seen = Pick<ProposalRecord, 'id' | 'state'>;

/** A proposal can be decided and started for about a day and an hour; this many fit easily. */
const REMEMBERED = 50_000;

/** Why a proposal that had ended is refused when it is found open. */
export const PUT_BACK = {
  refusal: 'put_back',
  message: 'it had ended, and its record was put back as it had been before',
  alarm: true,
} as const;

/**
 * The proposals that this process has seen end. Nothing leaves a terminal state, so one that is open again was put back
 * by somebody who can write the store. The mark that the store keeps of it they can delete, and this one they cannot.
 */
export class EndedProposals {
  /** Oldest first. */
  readonly #ids = new Set<ProposalId>();

  note({ id, state }: Seen): void {
    if (!TERMINAL_STATUSES.has(state.status)) return;
    this.#ids.delete(id);
    this.#ids.add(id);
    for (const oldest of this.#ids) {
      if (this.#ids.size <= REMEMBERED) return;
      this.#ids.delete(oldest);
    }
  }

  /** Of a record that was read before its end was noted this is true as well: the store is to say whether it is open. */
  isPutBack(record: Seen): boolean {
    this.note(record);
    return !TERMINAL_STATUSES.has(record.state.status) && this.#ids.has(record.id);
  }
}
