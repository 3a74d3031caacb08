import type { Logger } from 'pino';
import type { TenantId } from '../core/identity/ids.ts';
import type { CardRef, ProposalRecord } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { InFlight } from './in-flight.ts';

export interface ClickedCardsParts {
  /** Where a card of the proposal stands, as Slack signed it, and it is not the one that is recorded. */
  readonly seen: (id: ProposalId, card: CardRef) => Promise<void>;
  readonly placeOf: (tenant: TenantId) => { readonly team: string; readonly channel: string } | undefined;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

/** A copy, or a card whose posting was not recorded: in the tenant's channel, a click is what tells us of it. */
export class ClickedCards {
  readonly #parts: ClickedCardsParts;

  constructor(parts: ClickedCardsParts) {
    this.#parts = parts;
  }

  /** For every button of a card, before anything is decided by it. */
  async note(clicked: CardRef, record: ProposalRecord, tenant: TenantId): Promise<void> {
    const place = this.#parts.placeOf(tenant);
    if (record.unseenCards === 0 || record.card?.ts === clicked.ts) return;
    if (place === undefined || place.channel !== clicked.channel || place.team !== clicked.team) return;
    const seen = this.#parts.seen(record.id, clicked).catch((err: unknown) => {
      this.#parts.logger.warn({ err }, 'a copy of a card was not noted');
    });
    // What is to become the card has to be so before it is decided on; a copy can wait.
    if (record.card === undefined) await seen;
    else void this.#parts.inFlight.track(seen);
  }
}
