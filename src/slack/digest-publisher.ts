import type { Logger } from 'pino';
import { z } from 'zod';
import { readRecord } from '../core/approval/decision-desk.ts';
import { Outage } from '../core/outage.ts';
import type { DigestMark, Folding } from '../core/proposal/folding.ts';
import type { CardRef, ProposalRecord } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { CardOutbox, ProposalStore } from '../core/proposal/proposal-store.ts';
import type { CardView } from './card.ts';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';
import { drawDigest } from './digest-card.ts';
import { MarkedRounds } from './marked-rounds.ts';
import { postsIn, type SharedPace, updatesIn } from './pace.ts';
import type { Place } from './publisher.ts';

export interface DigestPublisherParts {
  readonly folding: Folding;
  readonly outbox: Pick<CardOutbox, 'onMarked'>;
  readonly store: ProposalStore;
  readonly placeOf: (tenant: DigestMark['tenant']) => Place | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly open: (record: ProposalRecord) => { readonly view: CardView } | undefined;
  /** Shared with whoever else writes in the same channels. */
  readonly pace: SharedPace;
  readonly logger: Logger;
}

/** Longer than every call to Slack that one drawing makes. */
const LEASE_MS = 45_000;
const AT_ONCE = 4;
const RETRY_MS = 5_000;

/** Draws digest cards from what waits, never from what it remembers. */
export class DigestPublisher {
  readonly #parts: DigestPublisherParts;
  readonly #rounds: MarkedRounds;
  readonly #claiming: Outage;

  constructor(parts: DigestPublisherParts) {
    this.#parts = parts;
    this.#rounds = new MarkedRounds(parts.outbox, () => this.#round());
    this.#claiming = new Outage(parts.logger, {
      began: 'digest cards cannot be read; they stay as they are',
      over: 'digest cards can be read again',
    });
  }

  start(): Promise<void> {
    return this.#rounds.start();
  }

  /** Finishes the drawings in hand. */
  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #round(): Promise<void> {
    const { folding } = this.#parts;
    const claimed = await this.#claiming.attempt(() => folding.claimDigests(AT_ONCE, LEASE_MS), []);
    await Promise.all(claimed.map((mark) => this.#draw(mark)));
  }

  async #draw(mark: DigestMark): Promise<void> {
    const { tenant, agent } = mark;
    try {
      const later = await this.#drawn(mark);
      if (later !== undefined) await this.#parts.folding.postponeDigest(mark, Math.max(50, Math.ceil(later)));
    } catch (error) {
      const said = slackError(error);
      this.#parts.logger.warn(
        { tenant, agent, slack: said },
        'a digest card could not be drawn; it is tried again',
      );
      await this.#parts.folding.postponeDigest(mark, RETRY_MS).catch((failure: unknown) => {
        // The lease lapses and the card is drawn then.
        this.#parts.logger.warn({ err: failure, tenant, agent }, 'a digest card could not be handed back');
      });
    }
  }

  /** Undefined: it is drawn. Else in how many milliseconds to try again. */
  async #drawn(mark: DigestMark): Promise<number | undefined> {
    const place = this.#parts.placeOf(mark.tenant);
    const workspace = place && this.#parts.workspaceOf(place.team);
    // The proposals' own cards tell the operators of a place that is gone.
    if (place === undefined || workspace === undefined) return RETRY_MS;
    const deadlines = await Promise.all(mark.waiting.map(({ first }) => this.#deadlineOf(first)));
    const known = deadlines.filter((deadline) => deadline !== undefined);
    const { text, blocks } = drawDigest({
      ...mark,
      team: place.team,
      oldestDeadline: known.length === 0 ? undefined : Math.min(...known),
    });
    const stands = mark.card !== undefined && isAt(mark.card, place) ? mark.card : undefined;
    // It came to nothing before anybody saw it.
    if (stands === undefined && mark.waiting.length === 0) {
      await this.#parts.folding.digestDrawn(mark, { ...place, ts: NEVER_POSTED });
      return undefined;
    }
    const turns = stands === undefined ? this.#parts.pace.posts : this.#parts.pace.updates;
    const turn = stands === undefined ? postsIn(place.team, place.channel) : updatesIn(place.team);
    const wait = await turns.take(turn);
    if (wait > 0) return wait;
    try {
      const card = await this.#put(workspace, place, stands, { text, blocks });
      await this.#parts.folding.digestDrawn(mark, card);
      return undefined;
    } catch (error) {
      const pauseMs = rateLimitedForMs(error);
      if (pauseMs === undefined) throw error;
      await turns.pause(turn, pauseMs);
      return pauseMs;
    }
  }

  async #put(
    { posting }: WorkspaceClients,
    place: Place,
    stands: CardRef | undefined,
    { text, blocks }: ReturnType<typeof drawDigest>,
  ): Promise<CardRef> {
    if (stands !== undefined) {
      try {
        await posting.chat.update({ channel: stands.channel, ts: stands.ts, text, blocks });
        return stands;
      } catch (error) {
        // Somebody deleted it: the newest one is the live one.
        if (slackError(error) !== 'message_not_found') throw error;
      }
    }
    const answer = await posting.chat.postMessage({
      channel: place.channel,
      text,
      blocks,
      unfurl_links: false,
      unfurl_media: false,
    });
    return { ...place, ts: Posted.parse(answer).ts };
  }

  async #deadlineOf(id: ProposalId): Promise<number | undefined> {
    const record = await readRecord(this.#parts.store, id);
    if (record === undefined || record === 'not_ours') return undefined;
    return this.#parts.open(record)?.view.terms.deadline;
  }
}

const NEVER_POSTED = '0';

function isAt(card: CardRef, place: Place): boolean {
  return card.ts !== NEVER_POSTED && card.team === place.team && card.channel === place.channel;
}

const Posted = z.looseObject({ ts: z.string() });
