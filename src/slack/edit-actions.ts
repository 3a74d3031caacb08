import type { App, types } from '@slack/bolt';
import type { Logger } from 'pino';
import { readRecord } from '../core/approval/decision-desk.ts';
import type { EditAnswer, EditClick, EditDesk } from '../core/approval/edit-desk.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import { Digest } from '../core/tool/digest.ts';
import { actorOf, CardClick, ViewSubmission } from './bodies.ts';
import { ACTIONS } from './card.ts';
import type { ClickedCards } from './clicked-card.ts';
import type { WorkspaceClients } from './clients.ts';
import { EDIT_INPUT, EDIT_VIEW, editModal, problemsUnderTheField } from './edit-modal.ts';
import type { InFlight } from './in-flight.ts';
import { noticeModal, readMemory } from './modals.ts';
import { NOTICES, REFUSAL_NOTICES } from './notices.ts';

export interface EditActionsParts {
  readonly desk: EditDesk;
  readonly store: ProposalStore;
  readonly clickedCards: ClickedCards;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

type FormAnswer =
  | { readonly response_action: 'update'; readonly view: types.ModalView }
  | { readonly response_action: 'errors'; readonly errors: Record<string, string> };

/** A form has three seconds until Slack gives up on it; what takes longer is answered by a message. */
const SUBMISSION_MS = 2_300;

/** The Edit button of a card, and the form behind it. Each click has an answer. */
export class EditActions {
  readonly #parts: EditActionsParts;

  constructor(parts: EditActionsParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    const { inFlight } = this.#parts;
    app.action(ACTIONS.edit, ({ body, ack, respond }) => {
      const tell = async (text: string) => {
        await respond({ text, response_type: 'ephemeral', replace_original: false });
      };
      return inFlight.track(this.#clicked(body, () => ack(), tell));
    });
    app.view({ callback_id: EDIT_VIEW, type: 'view_submission' }, ({ body, ack }) =>
      inFlight.track(this.#submitted(body, (answer) => (answer === undefined ? ack() : ack(answer)))),
    );
  }

  async #clicked(
    body: unknown,
    ack: () => Promise<void>,
    tell: (text: string) => Promise<void>,
  ): Promise<void> {
    await this.#safely('Slack was not told that a click arrived', ack);
    const text = await this.#opened(body).catch((error: unknown) => {
      this.#parts.logger.error({ err: error }, 'a click on Edit failed');
      return NOTICES.failed;
    });
    if (text !== undefined)
      await this.#safely('a person was not told what came of a click', () => tell(text));
  }

  /** What to tell the person where no form was opened. */
  async #opened(body: unknown): Promise<string | undefined> {
    const parsed = CardClick.safeParse(body);
    if (!parsed.success) return NOTICES.malformed;
    const click = editClickOf(parsed.data);
    if (click === undefined) return REFUSAL_NOTICES.not_found;
    const opened = await this.#parts.desk.open(click);
    if (!opened.ok) return REFUSAL_NOTICES[opened.refusal];
    const workspace = this.#parts.workspaceOf(parsed.data.team.id);
    if (workspace === undefined) return NOTICES.failed;
    const { looked, text } = opened;
    const { tool, context } = looked.sealed.terms;
    const at = {
      team: parsed.data.team.id,
      channel: parsed.data.channel.id,
      ts: parsed.data.container.message_ts,
    };
    await this.#parts.clickedCards.note(at, looked.record, context.tenant);
    const view = editModal(
      { proposal: click.proposal, shown: Digest.parse(click.sight.shown) },
      { tool, tenant: context.tenant, environment: context.environment },
      { text, editorMayApprove: looked.rule.edit?.editorMayApprove === true },
    );
    await workspace.views.views.open({ trigger_id: parsed.data.trigger_id, view });
    return undefined;
  }

  async #submitted(body: unknown, ack: (answer?: FormAnswer) => Promise<void>): Promise<void> {
    const editing = this.#edited(body).catch((error: unknown): FormAnswer => {
      this.#parts.logger.error({ err: error }, 'an edit failed');
      return notice(NOTICES.unsure);
    });
    const late = new Promise<'late'>((resolve) => {
      setTimeout(() => resolve('late'), SUBMISSION_MS).unref();
    });
    const first = await Promise.race([editing, late]);
    await this.#safely('Slack was not told what came of an edit', () =>
      ack(first === 'late' ? undefined : first),
    );
    if (first === 'late') await this.#safely('a person was not told', () => this.#tellLate(body, editing));
  }

  async #edited(body: unknown): Promise<FormAnswer> {
    const parsed = ViewSubmission.safeParse(body);
    const memory = parsed.success ? readMemory(parsed.data.view.private_metadata) : undefined;
    if (!parsed.success || memory === undefined) return notice(NOTICES.malformed);
    const text = parsed.data.view.state.values[EDIT_INPUT.block]?.[EDIT_INPUT.action]?.value ?? '';
    const answer = await this.#parts.desk.submit(
      {
        proposal: memory.proposal,
        ...actorOf(parsed.data),
        card: undefined,
        sight: { on: 'card', shown: memory.shown },
      },
      text,
    );
    return formAnswer(answer);
  }

  /** The form is gone by now: the answer goes to the channel of the card, for this person alone. */
  async #tellLate(body: unknown, editing: Promise<FormAnswer>): Promise<void> {
    const { data } = ViewSubmission.safeParse(body);
    const memory = data && readMemory(data.view.private_metadata);
    const record = memory && (await readRecord(this.#parts.store, memory.proposal));
    const answer = await editing;
    if (data === undefined || record === undefined || record === 'not_ours' || record.card === undefined)
      return;
    const text =
      answer.response_action === 'errors' ? Object.values(answer.errors).join('; ') : EDIT_DONE_OR_LOOK;
    const workspace = this.#parts.workspaceOf(data.team.id);
    const { channel } = record.card;
    await workspace?.posting.chat.postEphemeral({ channel, user: data.user.id, text });
  }

  async #safely(failed: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#parts.logger.warn({ err: error }, failed);
    }
  }
}

export const EDIT_DONE =
  'Your change is proposed: the earlier card has ended, and the changed call has a new card in the channel. It needs every approval anew.';
const EDIT_DONE_OR_LOOK =
  'Your change took long to be written. Look in the channel: if the earlier card says that it was changed, the new card stands; if not, click Edit again.';

function formAnswer(answer: EditAnswer): FormAnswer {
  if (answer.ok) return { response_action: 'update', view: noticeModal('Proposed', EDIT_DONE) };
  if ('issues' in answer) return { response_action: 'errors', errors: problemsUnderTheField(answer.issues) };
  return notice(REFUSAL_NOTICES[answer.refusal]);
}

function notice(text: string): FormAnswer {
  return { response_action: 'update', view: noticeModal('Not changed', text) };
}

/** Undefined: the button does not carry the id of a proposal. */
function editClickOf(body: CardClick): EditClick | undefined {
  const [id = '', shown = ''] = (body.actions[0].value ?? '').split(' ');
  const proposal = ProposalId.safeParse(id);
  const seen = Digest.safeParse(shown);
  if (!proposal.success || !seen.success) return undefined;
  return {
    proposal: proposal.data,
    ...actorOf(body),
    card: { channel: body.channel.id, ts: body.container.message_ts },
    sight: { on: 'card', shown: seen.data },
  };
}
