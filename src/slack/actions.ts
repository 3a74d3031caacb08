import type { App, types } from '@slack/bolt';
import type { Logger } from 'pino';
import type { z } from 'zod';
import {
  type Admissible,
  type Click,
  type DecisionDesk,
  DecisionUnsure,
  type DeskAnswer,
  readRecord,
} from '../core/approval/decision-desk.ts';
import { slackIdsOf } from '../core/identity/ids.ts';
import type { ReasonRule } from '../core/policy/verdict.ts';
import type { ProposalRecord } from '../core/proposal/proposal.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import { parseTerms, type SealedTerms } from '../core/proposal/seal.ts';
import { Digest } from '../core/tool/digest.ts';
import { actorOf, DecidingClick, HomeClick, placeOfClick, ViewClick, ViewSubmission } from './bodies.ts';
import { ACTIONS, type CardView, ruleOf } from './card.ts';
import type { ClickedCards } from './clicked-card.ts';
import { slackError, type WorkspaceClients } from './clients.ts';
import type { InFlight } from './in-flight.ts';
import {
  CHOICE_INPUT,
  type ModalMemory,
  type ModalSubject,
  noticeModal,
  REASON_INPUT,
  readMemory,
  reasonModal,
  reviewModal,
  VIEWS,
} from './modals.ts';
import { approvedNotice, NOTICES, REFUSAL_NOTICES } from './notices.ts';
import { drawReview } from './review.ts';

export interface ActionsParts {
  readonly desk: DecisionDesk;
  readonly clickedCards: ClickedCards;
  readonly store: ProposalStore;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly viewOf: (sealed: SealedTerms, record: ProposalRecord, team: string) => CardView;
  /** Undefined: the record is not sealed by us, or its tenant has no place any more. */
  readonly open: (record: ProposalRecord) => { readonly view: CardView } | undefined;
  /** In the tab of whoever clicked there. */
  readonly tellAtHome: (
    viewer: { user: string; team: string; enterprise: string | undefined; metadata: string },
    text: string,
  ) => Promise<void>;
  /** Where the tenant decides: for what has no card of its own. */
  readonly channelOf: (record: ProposalRecord) => string | undefined;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

/** What Bolt hands to a listener, as far as it is used here. */
interface Heard {
  readonly body: unknown;
  readonly ack: (answer?: { response_action: 'update'; view: types.ModalView }) => Promise<void>;
  /** Through the response_url, seen by the clicker alone. */
  readonly tell: (text: string) => Promise<void>;
}

/** A form has three seconds until Slack gives up on it; what takes longer is answered by a message. */
const SUBMISSION_MS = 2_300;
/** A click can be faster than the bookkeeping of the card that it was made on. */
const CARD_WAIT = { tries: 10, ms: 100 } as const;

/** Clicks on cards and in their modals, each with an answer. */
export class CardActions {
  readonly #parts: ActionsParts;

  constructor(parts: ActionsParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    const { inFlight } = this.#parts;
    for (const [action, handle] of [
      [ACTIONS.approve, this.#approveClicked],
      [ACTIONS.deny, this.#denyClicked],
      [ACTIONS.review, this.#reviewClicked],
    ] as const) {
      app.action(action, ({ body, ack, respond }) => {
        const home = HomeClick.safeParse(body);
        const tell = async (text: string) => {
          if (home.success) await this.#tellAtHome(home.data, text);
          else await respond({ text, response_type: 'ephemeral', replace_original: false });
        };
        return inFlight.track(this.#answered({ body, ack: () => ack(), tell }, DecidingClick, handle));
      });
    }
    for (const action of [ACTIONS.reviewNext, ACTIONS.reviewBack]) {
      app.action(action, ({ body, ack }) =>
        inFlight.track(
          this.#answered({ body, ack: () => ack(), tell: this.#teller(body) }, ViewClick, this.#pageTurned),
        ),
      );
    }
    for (const callbackId of [VIEWS.approveReason, VIEWS.denyReason, VIEWS.review]) {
      app.view({ callback_id: callbackId, type: 'view_submission' }, ({ body, ack }) => {
        const heard: Heard = {
          body,
          ack: (answer) => (answer === undefined ? ack() : ack(answer)),
          tell: this.#teller(body),
        };
        return inFlight.track(this.#answered(heard, ViewSubmission, this.#submitted, { ackFirst: false }));
      });
    }
  }

  /** A Home tab has no response_url: the answer stands in the tab. */
  #tellAtHome(body: HomeClick, text: string): Promise<void> {
    const { user, workspace } = actorOf(body);
    return this.#parts.tellAtHome(
      { user: user.id, ...workspace, metadata: body.view.private_metadata },
      text,
    );
  }

  /** Acknowledges, reads the body, and sees to it that whatever happens the person is told. */
  async #answered<Schema extends z.ZodType>(
    heard: Heard,
    schema: Schema,
    handle: (this: CardActions, body: z.infer<Schema>, heard: Heard) => Promise<void>,
    { ackFirst } = { ackFirst: true },
  ): Promise<void> {
    if (ackFirst) await this.#ack(heard);
    const parsed = schema.safeParse(heard.body);
    if (!parsed.success) {
      if (!ackFirst) await this.#ack(heard);
      this.#parts.logger.warn('a click did not have the form that Slack gives it; nothing was decided');
      return this.#tell(heard, NOTICES.malformed);
    }
    try {
      await handle.call(this, parsed.data, heard);
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'a click failed');
      await this.#tell(heard, error instanceof DecisionUnsure ? NOTICES.unsure : NOTICES.failed);
    }
  }

  /** A socket that has just dropped takes no ack; what the click is about goes on all the same. */
  async #ack(heard: Heard, answer?: { response_action: 'update'; view: types.ModalView }): Promise<void> {
    try {
      await heard.ack(answer);
    } catch (error) {
      this.#parts.logger.warn({ err: error }, 'Slack could not be told that a click arrived');
    }
  }

  async #tell(heard: Heard, text: string): Promise<void> {
    try {
      await heard.tell(text);
    } catch (error) {
      this.#parts.logger.warn({ err: error }, 'a person could not be told what came of a click');
    }
  }

  /* ---- on the card ---- */

  async #approveClicked(body: DecidingClick, heard: Heard): Promise<void> {
    const made = await this.#cardClick(body, 'approve');
    if (made === undefined) return this.#tell(heard, REFUSAL_NOTICES.not_found);
    if (made.need !== 'required') {
      return this.#tell(heard, answerText(await this.#parts.desk.decide(made.click)));
    }
    await this.#openForm(body, heard, made.click, (looked, memory) =>
      reasonModal('approve', memory, subjectOf(looked), looked.rule.reason.approve),
    );
  }

  async #denyClicked(body: DecidingClick, heard: Heard): Promise<void> {
    const made = await this.#cardClick(body, 'deny');
    if (made === undefined) return this.#tell(heard, REFUSAL_NOTICES.not_found);
    if (made.need === 'none') {
      return this.#tell(heard, answerText(await this.#parts.desk.decide(made.click)));
    }
    await this.#openForm(body, heard, made.click, (looked, memory) =>
      reasonModal('deny', memory, subjectOf(looked), looked.rule.reason.deny, looked.rule.denialReasons),
    );
  }

  async #reviewClicked(body: DecidingClick, heard: Heard): Promise<void> {
    // To read needs no more than a denial does; what an approval needs is judged when the review is handed in.
    const made = await this.#cardClick(body, 'deny');
    if (made === undefined) return this.#tell(heard, REFUSAL_NOTICES.not_found);
    await this.#openForm(body, heard, made.click, (looked, { proposal }) => {
      const review = drawReview(this.#viewOf(looked));
      if (review === undefined) return undefined;
      const memory = { proposal, shown: review.shown, page: 0, furthest: 0 };
      return reviewModal(review, memory, subjectOf(looked), looked.rule.reason.approve);
    });
  }

  async #openForm(
    body: DecidingClick,
    heard: Heard,
    click: Click,
    draw: (looked: Admissible, memory: ModalMemory) => types.ModalView | undefined,
  ): Promise<void> {
    const looked = await this.#parts.desk.look(click);
    if (!looked.ok) return this.#tell(heard, REFUSAL_NOTICES[looked.refusal]);
    const view = draw(looked, { proposal: click.proposal, shown: Digest.parse(click.sight.shown) });
    const workspace = this.#parts.workspaceOf(body.team.id);
    if (view === undefined || workspace === undefined) {
      return this.#tell(heard, REFUSAL_NOTICES.not_shown_whole);
    }
    await workspace.views.views.open({ trigger_id: body.trigger_id, view });
  }

  /** Undefined: the button does not carry the id of a proposal that is there. */
  async #cardClick(
    body: DecidingClick,
    decision: 'approve' | 'deny',
  ): Promise<{ click: Click; need: ReasonRule } | undefined> {
    const [action] = body.actions;
    const [id = '', shown = ''] = (action.value ?? '').split(' ');
    const proposal = ProposalId.safeParse(id);
    if (!proposal.success) return undefined;
    const record = await this.#cardRecorded(proposal.data);
    if (record === undefined) return undefined;
    const click: Click = {
      proposal: proposal.data,
      decision,
      ...actorOf(body),
      card: placeOfClick(body),
      sight: { on: 'card', shown },
    };
    // Not believed: it chooses between a form and none, and the desk asks the sealed rule.
    const terms = record === 'not_ours' ? undefined : parseTerms(record.termsText);
    const rule = terms === undefined ? undefined : ruleOf(terms);
    const card = placeOfClick(body);
    if (record !== 'not_ours' && terms !== undefined && card !== 'home') {
      await this.#parts.clickedCards.note({ team: body.team.id, ...card }, record, terms.context.tenant);
    }
    return { click, need: rule?.reason[decision] ?? 'none' };
  }

  async #cardRecorded(id: ProposalId): Promise<ProposalRecord | undefined | 'not_ours'> {
    for (let tries = 0; ; tries += 1) {
      const record = await readRecord(this.#parts.store, id);
      if (record === undefined || record === 'not_ours') return record;
      if (record.card !== undefined || record.unseenCards > 0 || tries === CARD_WAIT.tries) return record;
      await new Promise((resolve) => setTimeout(resolve, CARD_WAIT.ms));
    }
  }

  /* ---- in a modal ---- */

  async #pageTurned(body: ViewClick): Promise<void> {
    const workspace = this.#parts.workspaceOf(body.team.id);
    const memory = readMemory(body.view.private_metadata);
    if (workspace === undefined || memory === undefined) return;
    const forward = body.actions[0].action_id === ACTIONS.reviewNext;
    const view = await this.#turnedTo(memory, (memory.page ?? 0) + (forward ? 1 : -1));
    try {
      await workspace.views.views.update({ view_id: body.view.id, hash: body.view.hash, view });
    } catch (error) {
      // The same page turned twice: the first one was shown.
      if (slackError(error) !== 'hash_conflict') throw error;
    }
  }

  async #turnedTo(memory: ModalMemory, page: number): Promise<types.ModalView> {
    const record = await this.#parts.store.read(memory.proposal);
    const opened = record === undefined ? undefined : this.#parts.open(record);
    if (opened === undefined) return noticeModal(REVIEW_TITLE, REFUSAL_NOTICES.not_found);
    if (opened.view.state.status !== 'pending') {
      return noticeModal(REVIEW_TITLE, REFUSAL_NOTICES.already_settled);
    }
    const review = drawReview(opened.view);
    if (review === undefined || review.shown !== memory.shown) {
      return noticeModal(REVIEW_TITLE, REFUSAL_NOTICES.not_this_card);
    }
    const { terms } = opened.view;
    const need = ruleOf(terms)?.reason.approve ?? 'none';
    return reviewModal(review, { ...memory, page: Math.max(0, page) }, subjectOfTerms(terms), need);
  }

  async #submitted(body: ViewSubmission, heard: Heard): Promise<void> {
    const deciding = this.#decideSubmission(body);
    const answer = await inTime(deciding, SUBMISSION_MS);
    if (answer === undefined) {
      await this.#ack(heard);
      return this.#tell(heard, answerText(await deciding));
    }
    if (answer.ok) {
      await this.#ack(heard);
      return this.#tell(heard, answerText(answer));
    }
    await this.#ack(heard, {
      response_action: 'update',
      view: noticeModal('Not decided', answerText(answer)),
    });
  }

  async #decideSubmission(body: ViewSubmission): Promise<DeskAnswer> {
    const memory = readMemory(body.view.private_metadata);
    if (memory === undefined) return { ok: false, refusal: 'not_found', record: undefined };
    const reviewing = body.view.callback_id === VIEWS.review;
    if (reviewing && !(await this.#readWhole(memory))) {
      return { ok: false, refusal: 'not_shown_whole', record: undefined };
    }
    const { values } = body.view.state;
    const reason = values[REASON_INPUT.block]?.[REASON_INPUT.action]?.value ?? undefined;
    const chosen = values[CHOICE_INPUT.block]?.[CHOICE_INPUT.action]?.selected_option?.value;
    return this.#parts.desk.decide({
      proposal: memory.proposal,
      decision: body.view.callback_id === VIEWS.denyReason ? 'deny' : 'approve',
      ...actorOf(body),
      card: undefined,
      sight: { on: reviewing ? 'review' : 'card', shown: memory.shown },
      reason,
      choice: chosen === undefined ? undefined : choiceOf(chosen),
    });
  }

  /** Slack shows the submit button on the last page alone; that is not relied on. */
  async #readWhole(memory: ModalMemory): Promise<boolean> {
    const record = await this.#parts.store.read(memory.proposal);
    const opened = record === undefined ? undefined : this.#parts.open(record);
    const review = opened === undefined ? undefined : drawReview(opened.view);
    // What is gone or no longer ours is refused by the desk, with the reason for it.
    if (review === undefined) return true;
    const last = review.pages.length - 1;
    return memory.page === last && memory.furthest === last;
  }

  #viewOf(looked: Admissible): CardView {
    return this.#parts.viewOf(looked.sealed, looked.record, slackIdsOf(looked.person).team);
  }

  /** Modals have no response_url: the answer goes to the channel of the card, for the person alone. */
  #teller(body: unknown): (text: string) => Promise<void> {
    return async (text) => {
      const parsed = ViewSubmission.or(ViewClick).safeParse(body);
      const memory = parsed.success ? readMemory(parsed.data.view.private_metadata) : undefined;
      const record = memory === undefined ? undefined : await this.#parts.store.read(memory.proposal);
      const channel = record && (record.card?.channel ?? this.#parts.channelOf(record));
      if (!parsed.success || channel === undefined) return;
      const workspace = this.#parts.workspaceOf(parsed.data.team.id);
      await workspace?.posting.chat.postEphemeral({ channel, user: parsed.data.user.id, text });
    };
  }
}

/** What is no number is none that was offered: the desk refuses it. */
function choiceOf(value: string): number {
  return /^[0-9]{1,2}$/.test(value) ? Number(value) : -1;
}

const REVIEW_TITLE = 'Review this call';

function answerText(answer: DeskAnswer): string {
  if (!answer.ok) return REFUSAL_NOTICES[answer.refusal];
  if (answer.replayed) return NOTICES.replayed;
  return answer.decision === 'deny' ? NOTICES.denied : approvedNotice(answer.missing);
}

function subjectOf(looked: Admissible): ModalSubject {
  return subjectOfTerms(looked.sealed.terms);
}

function subjectOfTerms({ tool, context }: ProposalTerms): ModalSubject {
  return { tool, tenant: context.tenant, environment: context.environment };
}

/** Undefined: it takes longer. The work goes on. */
export async function inTime<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
