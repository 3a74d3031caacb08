import type { Logger } from 'pino';
import { z } from 'zod';
import { type ApprovalPublicKey, decisionIsGenuine, type SignedDecision } from '../core/approval/decision.ts';
import { readRecord } from '../core/approval/decision-desk.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { TenantId } from '../core/identity/ids.ts';
import type { CardRef, ProposalRecord, ProposalState } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { CardOutbox, ProposalStore } from '../core/proposal/proposal-store.ts';
import { type ProposalKey, type SealedTerms, unseal } from '../core/proposal/seal.ts';
import { type CardView, type DrawnCard, drawCard, ruleOf } from './card.ts';
import type { SlackProblem } from './channels.ts';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';
import { SLACK_RATES } from './limits.ts';
import { Paces } from './pace.ts';
import { threadLines } from './thread-log.ts';
import { type KnownBlock, ourSection } from './wording.ts';

export interface Place {
  readonly team: string;
  readonly channel: string;
}

export interface CardPublisherParts {
  readonly store: ProposalStore;
  readonly outbox: CardOutbox;
  readonly audit: AuditLog;
  readonly proposalKey: ProposalKey;
  readonly approvalKey: ApprovalPublicKey;
  readonly placeOf: (tenant: TenantId) => Place | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly redactOf: (tool: string) => readonly string[] | undefined;
  /** A channel that cannot be posted to: for the operators. */
  readonly onProblem: (problem: SlackProblem) => void;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** Longer than every call to Slack that one drawing makes. */
const LEASE_MS = 45_000;
const AT_ONCE = 4;
const POLL_MS = 1_000;
const RETRY_MS = { first: 1_000, most: 60_000 } as const;
const ANNOUNCE_TRIES = 60;
/** Marks a drawing that needs no message: the policy itself allowed the call, and nothing in it asks for a person. */
const NO_MESSAGE = '0';

/**
 * Draws cards from their proposals, never from what it remembers: whatever was missed, by a crash or by Slack, is drawn
 * with the next mark. The decision is always durable before its card changes.
 */
export class CardPublisher {
  readonly #parts: CardPublisherParts;
  readonly #posts: Paces;
  readonly #updates: Paces;
  readonly #failures = new Map<ProposalId, number>();
  #stopped = false;
  #stopListening: (() => Promise<void>) | undefined;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  constructor(parts: CardPublisherParts) {
    this.#parts = parts;
    this.#posts = new Paces({ burst: SLACK_RATES.postBurst, everyMs: SLACK_RATES.postEveryMs }, parts.clock);
    this.#updates = new Paces(
      { burst: SLACK_RATES.updateBurst, everyMs: SLACK_RATES.updateEveryMs },
      parts.clock,
    );
  }

  async start(): Promise<void> {
    this.#stopListening = await this.#parts.outbox.onMarked(() => this.#wake());
    this.#running = this.#run();
  }

  /** Finishes the drawings in hand. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#stopListening?.();
    await this.#running;
  }

  /** One message of our own words, in its turn; rejects where Slack refuses it or its turn does not come. */
  async announce(
    workspace: WorkspaceClients,
    channel: string,
    text: string,
    blocks: KnownBlock[] = [ourSection(text)],
  ): Promise<void> {
    const pace = this.#posts.of(`${workspace.team}/${channel}`);
    for (let tries = 0; ; tries += 1) {
      const wait = pace.take();
      if (wait === 0) break;
      if (tries === ANNOUNCE_TRIES || this.#stopped)
        throw new AnnouncementLate(`no turn to post in ${channel}`);
      await new Promise((resolve) => setTimeout(resolve, Math.min(wait, POLL_MS)));
    }
    await workspace.posting.chat.postMessage({
      channel,
      text,
      blocks,
      unfurl_links: false,
      unfurl_media: false,
    });
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const marked = this.#nextMark();
      const claimed = await this.#parts.outbox.claim(AT_ONCE, LEASE_MS).catch((error: unknown) => {
        this.#parts.logger.warn({ err: error }, 'the card outbox does not answer; cards stay as they are');
        return [];
      });
      await Promise.all(claimed.map((id) => this.#draw(id)));
      if (claimed.length < AT_ONCE) await marked;
    }
  }

  /** Resolves at the next mark, and at the latest in a second: marks can be missed. */
  #nextMark(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #draw(id: ProposalId): Promise<void> {
    try {
      await this.#drawn(id);
      this.#failures.delete(id);
    } catch (error) {
      await this.#failed(id, error).catch((failure: unknown) => {
        // The lease lapses and the card is drawn then.
        this.#parts.logger.warn({ err: failure, proposal: id }, 'a card could not be handed back');
      });
    }
  }

  async #drawn(id: ProposalId): Promise<void> {
    const { store, outbox } = this.#parts;
    const record = await readRecord(store, id);
    if (record === undefined) return outbox.abandon(id, 'the proposal is gone');
    if (record === 'not_ours') return this.#brokenSeal(id);
    const unsealed = unseal(this.#parts.proposalKey, record.termsText, record.seal);
    if (!unsealed.ok || unsealed.sealed.terms.id !== id) return this.#brokenSeal(id);
    const { terms } = unsealed.sealed;
    const place = this.#parts.placeOf(terms.context.tenant);
    if (place === undefined) return outbox.abandon(id, 'the policy no longer has the tenant');
    if (terms.basis.kind !== 'people' && record.state.status !== 'unknown') {
      return outbox.drawn(id, record.revision, { ...place, ts: NO_MESSAGE });
    }
    const workspace = this.#parts.workspaceOf(place.team);
    if (workspace === undefined) {
      return this.#hopeless(id, terms.context.tenant, {
        code: 'workspace_not_installed',
        message: `no bot token is set for the workspace ${place.team} of the tenant ${terms.context.tenant}; install the app there and set its token`,
      });
    }
    const view = this.#view(unsealed.sealed, record, place);
    await this.#publish({ id, record, view, card: drawCard(view), place, workspace });
  }

  #view(sealed: SealedTerms, record: ProposalRecord, place: Place): CardView {
    const { terms, termsDigest } = sealed;
    const genuine = (signed: SignedDecision) => {
      const ours =
        decisionIsGenuine(this.#parts.approvalKey, signed) &&
        signed.statement.proposal === terms.id &&
        signed.statement.termsDigest === termsDigest;
      if (!ours) this.#forged(record.id, terms.context.tenant);
      return ours;
    };
    return {
      terms,
      termsDigest,
      state: genuineState(record.state, genuine),
      team: place.team,
      redact: this.#parts.redactOf(terms.tool),
    };
  }

  async #publish(drawing: Drawing): Promise<void> {
    const { id, record, place } = drawing;
    const known = record.card;
    const stands = known !== undefined && known.ts !== NO_MESSAGE && known.team === place.team;
    const posted = stands ? await this.#update(drawing, known) : await this.#post(drawing);
    if (posted === undefined) return;
    await this.#parts.outbox.drawn(id, record.revision, posted);
    if (stands && record.cardRevision !== undefined)
      await this.#tellThread(drawing, posted, record.cardRevision);
  }

  /** Undefined: it is not its turn, or Slack wants us to wait; it has been postponed. */
  async #post(drawing: Drawing): Promise<CardRef | undefined> {
    const { id, card, place, workspace } = drawing;
    const wait = this.#posts.of(`${place.team}/${place.channel}`).take();
    if (wait > 0) return this.#later(id, wait);
    try {
      const answer = await workspace.posting.chat.postMessage({
        channel: place.channel,
        text: card.text,
        blocks: card.blocks,
        unfurl_links: false,
        unfurl_media: false,
        metadata: { event_type: 'countersign_card', event_payload: { proposal: id } },
      });
      return { team: place.team, channel: place.channel, ts: Posted.parse(answer).ts };
    } catch (error) {
      return this.#refused(drawing, error);
    }
  }

  async #update(drawing: Drawing, stands: CardRef): Promise<CardRef | undefined> {
    const { id, card, workspace } = drawing;
    const wait = this.#updates.of(workspace.team).take();
    if (wait > 0) return this.#later(id, wait);
    try {
      const { text, blocks } = card;
      await workspace.posting.chat.update({ channel: stands.channel, ts: stands.ts, text, blocks });
      return stands;
    } catch (error) {
      // Somebody deleted the card, or Slack no longer lets it be edited: the newest one is the live one.
      if (GONE_MESSAGES.has(slackError(error) ?? '')) return this.#post(drawing);
      return this.#refused(drawing, error);
    }
  }

  async #refused(drawing: Drawing, error: unknown): Promise<undefined> {
    const { id, place, workspace, view } = drawing;
    const pauseMs = rateLimitedForMs(error);
    if (pauseMs !== undefined) {
      this.#posts.of(`${place.team}/${place.channel}`).pause(pauseMs);
      this.#updates.of(workspace.team).pause(pauseMs);
      return this.#later(id, pauseMs);
    }
    const said = slackError(error);
    const problem = said === undefined ? undefined : CHANNEL_PROBLEMS.get(said);
    if (problem === undefined) throw error;
    const where = `${place.channel} of ${workspace.name || workspace.team}`;
    await this.#hopeless(id, view.terms.context.tenant, {
      code: problem.code,
      message: `the card could not be posted to ${where} (${said}): ${problem.remedy}`,
    });
    return undefined;
  }

  async #later(id: ProposalId, ms: number): Promise<undefined> {
    await this.#parts.outbox.postpone(id, Math.max(50, Math.ceil(ms)));
    return undefined;
  }

  /** One reply for each thing that happened; a reply that fails is not tried again, since the card says it all. */
  async #tellThread(drawing: Drawing, card: CardRef, drawnRevision: number): Promise<void> {
    const { record, view, workspace } = drawing;
    const quorum = ruleOf(view.terms)?.quorum ?? 0;
    const lines = threadLines(
      view.state,
      { drawn: drawnRevision, now: record.revision },
      { quorum, team: card.team },
    );
    if (lines.length === 0) return;
    // Cards come first: where the channel is at its limit, the thread goes without.
    if (this.#posts.of(`${card.team}/${card.channel}`).take() > 0) return;
    const text = lines.join('\n');
    await workspace.posting.chat
      .postMessage({
        channel: card.channel,
        thread_ts: card.ts,
        text,
        blocks: [ourSection(text)],
        unfurl_links: false,
        unfurl_media: false,
      })
      .catch((error: unknown) => {
        this.#parts.logger.warn({ proposal: record.id, slack: slackError(error) }, 'a thread was not told');
      });
  }

  async #hopeless(id: ProposalId, tenant: string, problem: Omit<SlackProblem, 'tenant'>): Promise<void> {
    this.#parts.onProblem({ tenant, ...problem });
    await this.#parts.outbox.abandon(id, problem.message);
  }

  async #brokenSeal(id: ProposalId): Promise<void> {
    this.#parts.logger.error(
      { proposal: id },
      'a proposal in the store is not sealed by us; it is not shown',
    );
    await this.#parts.audit.append({
      kind: 'alarm.raised',
      tenant: undefined,
      proposal: id,
      detail: { alarm: 'seal_broken', at: 'card' },
    });
    await this.#parts.outbox.abandon(id, 'the seal is broken');
  }

  #forged(id: ProposalId, tenant: string): void {
    this.#parts.logger.error(
      { proposal: id },
      'a decision in the store is not signed by us; it is not shown',
    );
    this.#parts.audit
      .append({
        kind: 'alarm.raised',
        tenant,
        proposal: id,
        detail: { alarm: 'approval_forged', at: 'card' },
      })
      .catch((error: unknown) => this.#parts.logger.error({ err: error }, 'an alarm could not be audited'));
  }

  async #failed(id: ProposalId, error: unknown): Promise<void> {
    const failures = (this.#failures.get(id) ?? 0) + 1;
    this.#failures.set(id, failures);
    const delay = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** (failures - 1));
    this.#parts.logger.warn(
      { proposal: id, slack: slackError(error), error: errorName(error), retryInMs: delay },
      'a card could not be drawn; it is tried again',
    );
    await this.#parts.outbox.postpone(id, delay);
  }
}

export class AnnouncementLate extends Error {
  override readonly name = 'AnnouncementLate';
  readonly code = 'announcement_late';
}

interface Drawing {
  readonly id: ProposalId;
  readonly record: ProposalRecord;
  readonly view: CardView;
  readonly card: DrawnCard;
  readonly place: Place;
  readonly workspace: WorkspaceClients;
}

const Posted = z.looseObject({ ts: z.string() });

const GONE_MESSAGES: ReadonlySet<string> = new Set([
  'message_not_found',
  'cant_update_message',
  'edit_window_closed',
]);

/** What trying again does not cure. */
const CHANNEL_PROBLEMS: ReadonlyMap<string, { code: SlackProblem['code']; remedy: string }> = new Map([
  [
    'channel_not_found',
    {
      code: 'channel_not_found',
      remedy: 'check the id in the policy, and invite the bot with /invite @Countersign',
    },
  ],
  [
    'not_in_channel',
    { code: 'bot_not_in_channel', remedy: 'invite the bot there with /invite @Countersign' },
  ],
  [
    'is_archived',
    { code: 'channel_archived', remedy: 'unarchive the channel, or name another one in the policy' },
  ],
  [
    'restricted_action',
    { code: 'bot_not_in_channel', remedy: 'an administrator has to let the bot post there' },
  ],
]);

function errorName(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message.slice(0, 200)}` : 'unknown';
}

/** Only decisions that we signed are shown as decisions: whoever can write to the store could otherwise name anybody. */
function genuineState(state: ProposalState, genuine: (signed: SignedDecision) => boolean): ProposalState {
  const approvals = state.approvals.filter(genuine);
  if (state.status !== 'denied' || genuine(state.denial)) return { ...state, approvals };
  const message = 'the store holds a denial that is not signed by this service';
  return {
    status: 'halted',
    approvals,
    haltedAt: state.deniedAt,
    cause: { kind: 'refused', refusal: 'denial_forged', message },
  };
}
