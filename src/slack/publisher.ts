import type { Logger } from 'pino';
import { z } from 'zod';
import { type ApprovalPublicKey, decisionIsGenuine, type SignedDecision } from '../core/approval/decision.ts';
import { readHeldRecord, readRecord } from '../core/approval/decision-desk.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { TenantId } from '../core/identity/ids.ts';
import { Outage } from '../core/outage.ts';
import { successorOf } from '../core/proposal/edit-link.ts';
import type { EndedProposals } from '../core/proposal/ended-proposals.ts';
import { alikeDigest, type Folding } from '../core/proposal/folding.ts';
import { openPreview, type ShownPreview } from '../core/proposal/preview.ts';
import {
  type CardRef,
  type ProposalRecord,
  type ProposalState,
  TERMINAL_STATUSES,
} from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { CardClaim, CardOutbox, ProposalStore } from '../core/proposal/proposal-store.ts';
import { type ProposalKeys, type SealedTerms, unseal } from '../core/proposal/seal.ts';
import { type AlikeCalls, type CardView, type DrawnCard, drawCard, ruleOf } from './card.ts';
import type { Channels, SlackProblem } from './channels.ts';
import { rateLimitedForMs, slackError, type WorkspaceClients } from './clients.ts';
import { drawListed } from './listed-call.ts';
import { type CardPace, postsIn, SharedPace, SLACK_PACE, updatesIn } from './pace.ts';
import { untold } from './thread-log.ts';
import { type KnownBlock, ourSection } from './wording.ts';

export interface Place {
  readonly team: string;
  readonly channel: string;
}

export interface CardPublisherParts {
  readonly store: ProposalStore;
  /** What is drawn as ended is remembered as ended. */
  readonly ended: EndedProposals;
  readonly outbox: CardOutbox;
  readonly audit: AuditLog;
  readonly proposalKeys: ProposalKeys;
  readonly approvalKeys: readonly ApprovalPublicKey[];
  readonly placeOf: (tenant: TenantId) => Place | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly redactOf: (tool: string) => readonly string[] | undefined;
  readonly channels: Channels;
  /** A channel that cannot be posted to: for the operators. */
  readonly onProblem: (problem: SlackProblem) => void;
  readonly folding: Folding;
  /** How many calls that one agent makes of one tool have cards of their own at a time. */
  readonly foldAbove: (tenant: TenantId) => number;
  readonly isIrreversible: (tool: string) => boolean;
  /** Slack's, where nothing else is said. */
  readonly pace?: CardPace | undefined;
  readonly logger: Logger;
  readonly clock: () => number;
}

const AT_ONCE = 6;
const POLL_MS = 1_000;
/** Cards that are looked at in one go for whether they still stand. */
const LOOKED_AFTER = 200;
const RETRY_MS = { first: 1_000, most: 60_000 } as const;
/** A channel that was looked at so short a time ago is posted to without another look: Tier 3 is 50 looks a minute. */
const LOOK_GOOD_FOR_MS = 5_000;
const ANNOUNCE_TRIES = 60;

/**
 * Draws cards from their proposals, never from what it remembers: whatever was missed, by a crash or by Slack, is drawn
 * with the next mark. The decision is always durable before its card changes.
 *
 * Slack has no way to post a message once and only once. So each post is written down before it is asked for; where it
 * is not known whether it was carried out (a crash, a lost answer, a 5xx, a timeout), another one is posted and is the
 * live card. The copy that may stand above it is safe: a click on it counts as one on the live card would, and tells
 * where the copy stands, which then is made to point to the live card. Thread lines are the other way round: what may
 * have been said is not said again, because the card tells it all.
 */
export class CardPublisher {
  readonly #parts: CardPublisherParts;
  readonly #pace: SharedPace;
  readonly #limits: CardPace;
  readonly #failures = new Map<ProposalId, number>();
  readonly #drawing = new Set<Promise<void>>();
  readonly #claiming: Outage;
  readonly #repairing: Outage;
  #stopped = false;
  #lookedAfter: Promise<void> | undefined;
  #repairedAt = Number.NEGATIVE_INFINITY;
  #stopListening: (() => Promise<void>) | undefined;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  constructor(parts: CardPublisherParts) {
    this.#parts = parts;
    this.#limits = parts.pace ?? SLACK_PACE;
    this.#pace = new SharedPace(parts.outbox, this.#limits);
    this.#claiming = new Outage(parts.logger, {
      began: 'the card outbox does not answer; cards stay as they are',
      over: 'the card outbox answers again',
    });
    this.#repairing = new Outage(parts.logger, {
      began: 'cards were not looked through for what is missing',
      over: 'cards are looked through for what is missing again',
    });
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
    await this.#turnCame(() => this.#pace.posts.take(postsIn(workspace.team, channel)), channel);
    try {
      await workspace.posting.chat.postMessage({ channel, ...messageOf(text, blocks) });
    } catch (error) {
      const pauseMs = rateLimitedForMs(error);
      if (pauseMs !== undefined) await this.#pace.posts.pause(postsIn(workspace.team, channel), pauseMs);
      throw error;
    }
  }

  /**
   * Somebody clicked on a card of the proposal at `at`, as Slack signed it. Where that is not the card that is recorded,
   * and a post of ours may be there, it becomes the card, or is made to point to the live one.
   */
  async seen(id: ProposalId, at: CardRef): Promise<void> {
    const found = await this.#parts.outbox.seen(id, at);
    if (found !== 'copy') return;
    const record = await readRecord(this.#parts.store, id);
    if (record === undefined || record === 'not_ours' || record.card === undefined) return;
    await this.#pointToLive(at, record.card);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const marked = this.#nextMark();
      await this.#repairNowAndThen();
      const free = AT_ONCE - this.#drawing.size;
      const { claims, nextInMs } = free > 0 ? await this.#claim(free) : NOTHING;
      for (const claim of claims) this.#inHand(this.#draw(claim));
      if (claims.length === 0) await marked(Math.min(nextInMs ?? POLL_MS, POLL_MS));
    }
    await Promise.all([...this.#drawing, this.#lookedAfter]);
  }

  #claim(limit: number): ReturnType<CardOutbox['claim']> {
    const { outbox } = this.#parts;
    return this.#claiming.attempt(() => outbox.claim(limit, this.#limits.leaseMs), NOTHING);
  }

  #inHand(drawing: Promise<void>): void {
    const done = drawing.then(() => {
      this.#drawing.delete(done);
      this.#wake();
    });
    this.#drawing.add(done);
  }

  async #repairNowAndThen(): Promise<void> {
    const now = this.#parts.clock();
    if (Math.abs(now - this.#repairedAt) < this.#limits.repairEveryMs) return;
    // Redis may lose marks that it had not written down yet; the proposals themselves say what is missing.
    const repair = () => this.#parts.outbox.repair().then(() => true);
    const repaired = await this.#repairing.attempt(repair, false);
    this.#repairedAt = repaired ? now : Number.NEGATIVE_INFINITY;
    if (!repaired) return;
    this.#lookedAfter ??= this.#lookAfterCards()
      .catch((error: unknown) =>
        this.#parts.logger.warn({ err: error }, 'cards were not looked after; they are later'),
      )
      .finally(() => {
        this.#lookedAfter = undefined;
      });
  }

  /** Slack does not tell an app that its message was deleted: while people are to decide on a card, it is asked. */
  async #lookAfterCards(): Promise<void> {
    const { outbox, store } = this.#parts;
    const once = { burst: 1, everyMs: this.#limits.repairEveryMs };
    if ((await outbox.turn('look after cards', once)) > 0) return;
    for (const id of await store.pending({ limit: LOOKED_AFTER })) {
      if (this.#stopped) return;
      const record = await readRecord(store, id);
      if (record === undefined || record === 'not_ours' || record.card === undefined) continue;
      const { team, channel, ts } = record.card;
      try {
        await this.#parts.workspaceOf(team)?.asking.chat.getPermalink({ channel, message_ts: ts });
      } catch (error) {
        if (slackError(error) === 'message_not_found') await outbox.lost(id, record.card);
        else if (slackError(error) === undefined) return;
      }
    }
  }

  /** A mark that comes before anybody waits for it is not lost; and marks can be missed, so nobody waits for long. */
  #nextMark(): (ms: number) => Promise<void> {
    let came = false;
    let resume = () => {};
    this.#wake = () => {
      came = true;
      resume();
    };
    return (ms) =>
      new Promise((resolve) => {
        if (came || this.#stopped) return resolve();
        const timer = setTimeout(resolve, Math.max(1, ms));
        resume = () => {
          clearTimeout(timer);
          resolve();
        };
      });
  }

  async #draw(claim: CardClaim): Promise<void> {
    try {
      await this.#drawn(claim);
      this.#failures.delete(claim.id);
    } catch (error) {
      await this.#failed(claim, error).catch((failure: unknown) => {
        // The lease lapses and the card is drawn then.
        this.#parts.logger.warn({ err: failure, proposal: claim.id }, 'a card could not be handed back');
      });
    }
  }

  async #drawn(claim: CardClaim): Promise<void> {
    const { store, outbox } = this.#parts;
    const { id } = claim;
    // Whoever sees a decision on the card believes it; and a card is not drawn again for what a failover took back.
    const record = await readHeldRecord(store, id);
    if (record === undefined) return outbox.abandon(claim, 'the proposal is gone');
    if (record === 'not_ours') return this.#brokenSeal(claim);
    const unsealed = unseal(this.#parts.proposalKeys, record.termsText, record.seal);
    if (!unsealed.ok || unsealed.sealed.terms.id !== id) return this.#brokenSeal(claim);
    const { sealed } = unsealed;
    const { terms } = sealed;
    this.#parts.ended.note(record);
    const place = this.#parts.placeOf(terms.context.tenant);
    if (place === undefined) return outbox.abandon(claim, 'the policy no longer has the tenant');
    const wanted = record.card !== undefined || needsCard(sealed, record.state);
    const workspace = this.#parts.workspaceOf(place.team);
    if (!wanted && workspace === undefined) return outbox.skip(claim, record.revision);
    if (workspace === undefined) {
      return this.#hopeless(claim, record, terms.context.tenant, {
        code: 'workspace_not_installed',
        message: `no bot token is set for the workspace ${place.team} of the tenant ${terms.context.tenant}; install the app there and set its token`,
      });
    }
    const shown = await this.#withGenuineLink(sealed, record);
    const alone = this.#view(sealed, shown, place);
    const drawing = { claim, sealed, record, view: alone, card: drawCard(alone), place, workspace };
    if (claim.lane === 'thread') return this.#tellThread(drawing);
    if (record.card === undefined && wanted && !(await this.#mayPost(drawing))) return;
    // Asked for each change, because what is settled makes room for others.
    const placed = await this.#parts.folding.place(terms, this.#parts.foldAbove(terms.context.tenant));
    if (record.card === undefined && (placed.on !== 'own_card' || !wanted)) {
      return outbox.skip(claim, record.revision);
    }
    const view = {
      ...alone,
      alike: placed.on === 'own_card' ? await this.#alike(alone, placed.alike) : undefined,
    };
    await this.#publish({ ...drawing, view, card: drawCard(view) });
  }

  #view(sealed: SealedTerms, record: ProposalRecord, place: Place): CardView {
    const { terms, termsDigest } = sealed;
    const genuine = (signed: SignedDecision) => {
      const ours =
        this.#parts.approvalKeys.some((key) => decisionIsGenuine(key, signed)) &&
        signed.statement.proposal === terms.id &&
        signed.statement.termsDigest === termsDigest;
      if (!ours) this.#forged(record.id, terms.context.tenant, 'approval_forged');
      return ours;
    };
    return {
      terms,
      termsDigest,
      state: genuineState(record.state, genuine),
      course: record.course,
      team: place.team,
      redact: this.#parts.redactOf(terms.tool),
      preview: this.#preview(sealed, record),
    };
  }

  /** Whom an edit is ascribed to is what the changed call says under its seal, not what this record says. */
  async #withGenuineLink({ terms }: SealedTerms, record: ProposalRecord): Promise<ProposalRecord> {
    const { state } = record;
    if (state.status !== 'halted' || state.cause.kind !== 'edited') return record;
    const next = await readRecord(this.#parts.store, state.cause.to);
    const edits = successorOf(terms, next === 'not_ours' ? undefined : next, this.#parts.proposalKeys)?.terms
      .edits;
    if (edits?.by === state.cause.by) return record;
    this.#forged(record.id, terms.context.tenant, 'edit_forged');
    const message = 'the store says that it was changed, and holds no such change';
    return { ...record, state: { ...state, cause: { kind: 'refused', refusal: 'edit_forged', message } } };
  }

  #preview(sealed: SealedTerms, record: ProposalRecord): ShownPreview | undefined {
    if (record.preview === undefined) return undefined;
    const preview = openPreview(this.#parts.proposalKeys, sealed, record.preview);
    if (preview === undefined) this.#forged(record.id, sealed.terms.context.tenant, 'preview_forged');
    return preview;
  }

  /** What the store says waits with it is shown only where it is the same call, sealed, and waits. */
  async #alike(first: CardView, ids: readonly ProposalId[]): Promise<AlikeCalls | undefined> {
    if (ids.length < 2 || first.state.status !== 'pending') return undefined;
    const { store, proposalKeys, isIrreversible } = this.#parts;
    const same = alikeDigest(first.terms);
    const read = await Promise.all(
      ids.map(async (id) => {
        const record = await readRecord(store, id);
        if (record === undefined || record === 'not_ours' || record.state.status !== 'pending') return [];
        const unsealed = unseal(proposalKeys, record.termsText, record.seal);
        if (!unsealed.ok || unsealed.sealed.terms.id !== id) return [];
        const { terms } = unsealed.sealed;
        return alikeDigest(terms) === same ? [{ id, run: terms.context.run, deadline: terms.deadline }] : [];
      }),
    );
    const calls = read.flat();
    const rule = ruleOf(first.terms);
    if (calls.length < 2 || calls[0]?.id !== first.terms.id || rule === undefined) return undefined;
    const together =
      rule.quorum === 1 &&
      rule.reason.approve !== 'required' &&
      !isIrreversible(first.terms.tool) &&
      drawListed(first).whole;
    return { calls, together };
  }

  async #publish(drawing: Drawing): Promise<void> {
    const { record, place } = drawing;
    const known = record.card;
    // A card in a channel that the policy no longer names cannot be decided on.
    if (known?.team === place.team && known.channel === place.channel) return this.#update(drawing, known);
    if (known === undefined || (await this.#mayPost(drawing))) await this.#post(drawing);
  }

  async #post(drawing: Drawing): Promise<void> {
    const { claim, record, view, card, place, workspace } = drawing;
    const turn = postsIn(place.team, place.channel);
    const wait = await this.#pace.posts.take(turn);
    if (wait > 0) return this.#parts.outbox.postpone(claim, wait, { all: true });
    if (!(await this.#parts.outbox.begin(claim))) return;
    let posted: CardRef;
    try {
      const answer = await workspace.posting.chat.postMessage({
        channel: place.channel,
        text: card.text,
        blocks: card.blocks,
        unfurl_links: false,
        unfurl_media: false,
        metadata: { event_type: 'countersign_card', event_payload: { proposal: claim.id } },
      });
      posted = { team: place.team, channel: place.channel, ts: Posted.parse(answer).ts };
    } catch (error) {
      return this.#refused(drawing, error, 'post');
    }
    const shows = untold(view, []).map(({ name }) => name);
    const { revision } = record;
    const copy = await this.#parts.outbox.drawn(claim, { revision, card: posted, posted: { shows } });
    if (copy === undefined) return;
    const live = copy.ts === posted.ts ? (await this.#parts.store.read(claim.id))?.card : posted;
    if (live !== undefined) await this.#pointToLive(copy, live);
  }

  /** Looked at before each post: what agents want to write must not be shown to another company. */
  async #mayPost({ claim, record, view, place, workspace }: Drawing): Promise<boolean> {
    const look = await this.#parts.channels.look(workspace, place.channel, LOOK_GOOD_FOR_MS);
    if (look.ok) return true;
    if (look.code === 'cannot_check') {
      await this.#retry(claim, { all: true, why: 'the channel could not be looked at' });
    } else {
      await this.#hopeless(claim, record, view.terms.context.tenant, {
        code: look.code,
        message: look.message,
      });
    }
    return false;
  }

  async #update(drawing: Drawing, stands: CardRef): Promise<void> {
    const { claim, record, view, card, workspace } = drawing;
    const wait = await this.#pace.updates.take(updatesIn(workspace.team));
    if (wait > 0) return this.#parts.outbox.postpone(claim, wait, { all: true });
    try {
      const { text, blocks } = card;
      await workspace.posting.chat.update({ channel: stands.channel, ts: stands.ts, text, blocks });
    } catch (error) {
      if (!GONE_MESSAGES.has(slackError(error) ?? '')) return this.#refused(drawing, error, 'update');
      // Somebody deleted the card, or Slack no longer lets it be edited: the newest one is the live one.
      if (await this.#mayPost(drawing)) await this.#post(drawing);
      return;
    }
    const lines = untold(view, record.told);
    const { revision } = record;
    await this.#parts.outbox.drawn(claim, { revision, card: stands, untold: lines.length > 0 });
  }

  /** One reply for what happened since the last one. Written down first: it is never said twice. */
  async #tellThread(drawing: Drawing): Promise<void> {
    const { claim, record, view, workspace } = drawing;
    const { outbox } = this.#parts;
    const { card, told } = record;
    const lines = untold(view, told);
    if (lines.length === 0 || card === undefined) return outbox.told(claim);
    const turn = postsIn(card.team, card.channel);
    const wait = await this.#pace.posts.take(turn);
    if (wait > 0) return outbox.postpone(claim, wait, { all: true });
    if (!(await outbox.begin(claim, [...told, ...lines.map(({ name }) => name)]))) return;
    try {
      await workspace.posting.chat.postMessage({
        channel: card.channel,
        thread_ts: card.ts,
        ...messageOf(lines.map(({ line }) => line).join('\n')),
      });
    } catch (error) {
      const pauseMs = rateLimitedForMs(error);
      if (pauseMs !== undefined) {
        await this.#pace.posts.pause(turn, pauseMs);
        return outbox.postpone(claim, pauseMs, { all: true, unsent: true, told });
      }
      if (saidUnavailable(error)) {
        return this.#retry(claim, { all: true, unsent: true, told, why: 'a thread was not told' });
      }
      this.#parts.logger.warn({ proposal: record.id, slack: slackError(error) }, 'a thread was not told');
    }
    await outbox.told(claim);
  }

  async #refused(drawing: Drawing, error: unknown, asked: 'post' | 'update'): Promise<void> {
    const { claim, record, place, workspace, view } = drawing;
    const pauseMs = rateLimitedForMs(error);
    if (pauseMs !== undefined) {
      await (asked === 'update'
        ? this.#pace.updates.pause(updatesIn(workspace.team), pauseMs)
        : this.#pace.posts.pause(postsIn(place.team, place.channel), pauseMs));
      return this.#parts.outbox.postpone(claim, pauseMs, { all: true, unsent: asked === 'post' });
    }
    const said = slackError(error);
    const problem = said === undefined ? undefined : CHANNEL_PROBLEMS.get(said);
    if (problem === undefined) {
      // Slack said what is wrong with this one card; anything else is wrong with Slack, and what comes after must not
      // overtake. What Slack says is wrong was not posted.
      const ofTheCard = said !== undefined && !UNSURE.has(said);
      const how = { all: !ofTheCard, unsent: asked === 'post' && ofTheCard };
      return this.#retry(claim, { ...how, why: said ?? errorName(error) });
    }
    const where = `${place.channel} of ${workspace.name || workspace.team}`;
    await this.#hopeless(claim, record, view.terms.context.tenant, {
      code: problem.code,
      message: `the card could not be posted to ${where} (${said}): ${problem.remedy}`,
    });
  }

  /** Best effort: who clicks on the copy again asks for it again. */
  async #pointToLive(copy: CardRef, live: CardRef): Promise<void> {
    const workspace = this.#parts.workspaceOf(copy.team);
    if (workspace === undefined) return;
    try {
      await this.#turnCame(() => this.#pace.updates.take(updatesIn(workspace.team)), copy.channel);
      const { permalink } = Permalink.parse(
        await workspace.asking.chat.getPermalink({ channel: live.channel, message_ts: live.ts }),
      );
      const { text, blocks } = messageOf(
        `This message is an earlier copy of a card. Decide on <${permalink}|the live card>.`,
      );
      await workspace.posting.chat.update({ channel: copy.channel, ts: copy.ts, text, blocks });
    } catch (error) {
      this.#parts.logger.warn({ slack: slackError(error) }, 'a copy of a card was not made to point to it');
    }
  }

  async #turnCame(take: () => Promise<number>, channel: string): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      const wait = await take();
      if (wait === 0) return;
      if (tries === ANNOUNCE_TRIES || this.#stopped) {
        throw new AnnouncementLate(`no turn to write in ${channel}`);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(wait, POLL_MS)));
    }
  }

  /** Nobody can be asked there. The operators are told, and the agent at once, instead of when its time is over. */
  async #hopeless(
    claim: CardClaim,
    record: ProposalRecord,
    tenant: string,
    problem: Omit<SlackProblem, 'tenant'>,
  ): Promise<void> {
    this.#parts.onProblem({ tenant, ...problem });
    if (record.state.status === 'pending') {
      const { code: refusal } = problem;
      const message = `nobody could be asked to approve it: ${problem.message}.`;
      await this.#parts.store.refuse(claim.id, { refusal, message, alarm: false, from: 'pending' });
    }
    await this.#parts.outbox.abandon(claim, problem.message);
  }

  async #brokenSeal(claim: CardClaim): Promise<void> {
    const { id } = claim;
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
    await this.#parts.outbox.abandon(claim, 'the seal is broken');
  }

  #forged(id: ProposalId, tenant: string, what: 'approval_forged' | 'preview_forged' | 'edit_forged'): void {
    this.#parts.logger.error(
      { proposal: id, alarm: what },
      'what stands in the store beside a proposal is not by us; it is not shown',
    );
    this.#parts.audit
      .append({
        kind: 'alarm.raised',
        tenant,
        proposal: id,
        detail: { alarm: what, at: 'card' },
      })
      .catch((error: unknown) => this.#parts.logger.error({ err: error }, 'an alarm could not be audited'));
  }

  async #failed(claim: CardClaim, error: unknown): Promise<void> {
    await this.#retry(claim, { all: true, why: errorName(error) });
  }

  async #retry(
    claim: CardClaim,
    { why, ...how }: { all: boolean; unsent?: boolean; told?: readonly string[]; why: string },
  ): Promise<void> {
    const failures = (this.#failures.get(claim.id) ?? 0) + 1;
    this.#failures.set(claim.id, failures);
    const delay = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** (failures - 1));
    this.#parts.logger.warn(
      { proposal: claim.id, why, retryInMs: delay },
      'a card could not be drawn; it is tried again',
    );
    // One card that never works must not hold up its tenant's others for ever.
    const all = how.all && failures <= HOLDS_UP_OTHERS;
    await this.#parts.outbox.postpone(claim, delay, { ...how, all });
  }
}

const NOTHING: Awaited<ReturnType<CardOutbox['claim']>> = { claims: [], nextInMs: undefined };
const HOLDS_UP_OTHERS = 5;

/**
 * What was settled before anybody was shown it needs no card: after an `off` the channel would fill with dead ones.
 * Except where the call ran, or may have, and did not succeed: people have to see that, whoever approved it.
 */
function needsCard({ terms }: SealedTerms, state: ProposalState): boolean {
  if (state.status === 'unknown' || state.status === 'failed') return true;
  if (terms.basis.kind !== 'people') return false;
  // Approved from a list, and done before its card was drawn: the channel is shown by whom.
  return state.status === 'succeeded' || !TERMINAL_STATUSES.has(state.status);
}

function messageOf(text: string, blocks: KnownBlock[] = [ourSection(text)]) {
  return { text, blocks, unfurl_links: false, unfurl_media: false };
}

export class AnnouncementLate extends Error {
  override readonly name = 'AnnouncementLate';
  readonly code = 'announcement_late';
}

interface Drawing {
  readonly claim: CardClaim;
  readonly sealed: SealedTerms;
  readonly record: ProposalRecord;
  readonly view: CardView;
  readonly card: DrawnCard;
  readonly place: Place;
  readonly workspace: WorkspaceClients;
}

/** Slack's words for a call of which it does not know itself how much of it was carried out. */
const UNSURE: ReadonlySet<string> = new Set([
  'internal_error',
  'fatal_error',
  'request_timeout',
  'service_unavailable',
]);

/** Slack did not even begin. */
function saidUnavailable(error: unknown): boolean {
  return slackError(error) === 'service_unavailable' || Unavailable.safeParse(error).success;
}

const Unavailable = z.looseObject({ statusCode: z.literal(503) });

const Permalink = z.looseObject({ permalink: z.string().regex(/^https?:\/\/[^\s<>|]+$/) });
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
