import type { App, types } from '@slack/bolt';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { ApproverDirectory } from '../core/approval/approver-directory.ts';
import type { ApprovalPublicKey } from '../core/approval/decision.ts';
import { type Click, DecisionUnsure } from '../core/approval/decision-desk.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { GrantId, grantIsGenuine } from '../core/grant/grant.ts';
import type { GrantAnswer, GrantDesk, GrantDraft } from '../core/grant/grant-desk.ts';
import type { GrantStore } from '../core/grant/grant-store.ts';
import { personOf, type TenantId } from '../core/identity/ids.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import { Digest } from '../core/tool/digest.ts';
import { actorOf, CardClick, ViewSubmission } from './bodies.ts';
import { ACTIONS } from './card.ts';
import type { ClickedCards } from './clicked-card.ts';
import type { WorkspaceClients } from './clients.ts';
import { REVOKE_GRANT } from './grant-card.ts';
import {
  chooseModal,
  confirmModal,
  GRANT_VIEWS,
  type GrantMemory,
  givenNotice,
  outOfBounds,
  readGrantMemory,
  wishIn,
} from './grant-form.ts';
import { APPROVED_ALONE, grantNotice, REVOKE_NOTICES } from './grant-notices.ts';
import type { GrantSight } from './grant-terms.ts';
import type { InFlight } from './in-flight.ts';
import { noticeModal, REASON_INPUT } from './modals.ts';
import { NOTICES, REFUSAL_NOTICES } from './notices.ts';

export interface GrantActionsParts {
  readonly desk: GrantDesk;
  readonly grants: GrantStore;
  readonly store: Pick<ProposalStore, 'read'>;
  readonly directory: ApproverDirectory;
  readonly audit: AuditLog;
  readonly approvalKeys: readonly ApprovalPublicKey[];
  /** Who may revoke besides the approvers of the rule. */
  readonly operators: () => readonly string[];
  readonly placeOf: (tenant: TenantId) => { readonly team: string; readonly channel: string } | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly sightOf: (draft: GrantDraft) => GrantSight | undefined;
  readonly clickedCards: ClickedCards;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

type FormAnswer =
  | { response_action: 'update'; view: types.ModalView }
  | { response_action: 'errors'; errors: Record<string, string> };

interface Heard {
  readonly body: unknown;
  readonly ack: (answer?: FormAnswer) => Promise<void>;
  readonly tell: (text: string) => Promise<void>;
}

/** A form has three seconds until Slack gives up on it; what takes longer is answered by a message. */
const SUBMISSION_MS = 2_300;
const TITLE = 'Allow more like this';

/** Giving and revoking grants, each click with an answer. */
export class GrantActions {
  readonly #parts: GrantActionsParts;

  constructor(parts: GrantActionsParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    const { inFlight } = this.#parts;
    for (const [action, handle] of [
      [ACTIONS.grant, this.#opened],
      [REVOKE_GRANT, this.#revoked],
    ] as const) {
      app.action(action, ({ body, ack, respond }) => {
        const tell = async (text: string) => {
          await respond({ text, response_type: 'ephemeral', replace_original: false });
        };
        return inFlight.track(this.#answered({ body, ack: () => ack(), tell }, CardClick, handle, true));
      });
    }
    for (const [view, handle] of [
      [GRANT_VIEWS.choose, this.#chosen],
      [GRANT_VIEWS.confirm, this.#confirmed],
    ] as const) {
      app.view({ callback_id: view, type: 'view_submission' }, ({ body, ack }) => {
        const heard: Heard = {
          body,
          ack: (answer) => (answer === undefined ? ack() : ack(answer)),
          tell: (text) => this.#tellInChannel(body, text),
        };
        return inFlight.track(this.#answered(heard, ViewSubmission, handle, false));
      });
    }
  }

  async #answered<Schema extends z.ZodType>(
    heard: Heard,
    schema: Schema,
    handle: (this: GrantActions, body: z.infer<Schema>, heard: Heard) => Promise<void>,
    ackFirst: boolean,
  ): Promise<void> {
    if (ackFirst) await this.#ack(heard);
    const parsed = schema.safeParse(heard.body);
    if (!parsed.success) {
      if (!ackFirst) await this.#ack(heard);
      return this.#tell(heard, NOTICES.malformed);
    }
    try {
      await handle.call(this, parsed.data, heard);
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'a click about a grant failed');
      if (!ackFirst) await this.#ack(heard);
      await this.#tell(heard, error instanceof DecisionUnsure ? NOTICES.unsure : NOTICES.failed);
    }
  }

  /** A socket that has just dropped takes no ack; what the click is about goes on all the same. */
  async #ack(heard: Heard, answer?: FormAnswer): Promise<void> {
    await heard.ack(answer).catch((error: unknown) => {
      this.#parts.logger.warn({ err: error }, 'Slack could not be told that a click arrived');
    });
  }

  async #tell(heard: Heard, text: string): Promise<void> {
    await heard.tell(text).catch((error: unknown) => {
      this.#parts.logger.warn({ err: error }, 'a person could not be told what came of a click');
    });
  }

  /* ---- giving ---- */

  async #opened(body: CardClick, heard: Heard): Promise<void> {
    const [id = '', shown = ''] = (body.actions[0].value ?? '').split(' ');
    const proposal = ProposalId.safeParse(id);
    const digest = Digest.safeParse(shown);
    const workspace = this.#parts.workspaceOf(body.team.id);
    if (!proposal.success || !digest.success || workspace === undefined) {
      return this.#tell(heard, REFUSAL_NOTICES.not_found);
    }
    const opened = await this.#parts.desk.open({
      proposal: proposal.data,
      decision: 'approve',
      ...actorOf(body),
      card: { channel: body.channel.id, ts: body.container.message_ts },
      sight: { on: 'card', shown: digest.data },
    });
    if (!opened.ok) return this.#tell(heard, grantNotice(opened.refusal));
    const sight = this.#parts.sightOf(opened.draft);
    if (sight === undefined) return this.#tell(heard, grantNotice('not_shown_whole'));
    const at = { team: body.team.id, channel: body.channel.id, ts: body.container.message_ts };
    const { record, sealed } = opened.looked;
    await this.#parts.clickedCards.note(at, record, sealed.terms.context.tenant);
    const view = chooseModal({ proposal: proposal.data, shown: digest.data }, opened.draft, sight);
    await workspace.views.views.open({ trigger_id: body.trigger_id, view });
  }

  async #chosen(body: ViewSubmission, heard: Heard): Promise<void> {
    const memory = readGrantMemory(body.view.private_metadata);
    if (memory === undefined) return this.#update(heard, REFUSAL_NOTICES.not_found);
    const entered = wishIn(body.view.state.values);
    if (!entered.ok) return this.#ack(heard, { response_action: 'errors', errors: entered.errors });
    const click = clickOf(body, memory);
    const drafted = await this.#parts.desk.draft(click, entered.wish);
    if (!drafted.ok && drafted.refusal === 'grant_out_of_bounds') {
      const opened = await this.#parts.desk.open(click);
      if (opened.ok) {
        return this.#ack(heard, { response_action: 'errors', errors: outOfBounds(opened.draft) });
      }
    }
    if (!drafted.ok) return this.#update(heard, grantNotice(drafted.refusal));
    const sight = this.#parts.sightOf(drafted.draft);
    if (sight === undefined) return this.#update(heard, grantNotice('not_shown_whole'));
    const wish = { ...entered.wish, free: [...entered.wish.free], shown: sight.shown };
    const view = confirmModal({ ...memory, wish }, sight, drafted.looked.rule.reason.approve);
    await this.#ack(heard, { response_action: 'update', view });
  }

  async #confirmed(body: ViewSubmission, heard: Heard): Promise<void> {
    const memory = readGrantMemory(body.view.private_metadata);
    if (memory?.wish === undefined) return this.#update(heard, REFUSAL_NOTICES.not_found);
    const { wish } = memory;
    const reason = body.view.state.values[REASON_INPUT.block]?.[REASON_INPUT.action]?.value ?? undefined;
    const giving = this.#given({ ...clickOf(body, memory), reason }, wish);
    const answer = await inTime(giving, SUBMISSION_MS);
    if (answer?.ok === false) return this.#update(heard, answerText(answer));
    await this.#ack(heard);
    await this.#tell(heard, answerText(answer ?? (await giving)));
  }

  async #given(click: Click, wish: NonNullable<GrantMemory['wish']>): Promise<GrantAnswer> {
    const answer = await this.#parts.desk.give(click, wish, wish.shown);
    if ('cause' in answer) {
      this.#parts.logger.error({ err: answer.cause }, 'whether a grant stands is not known');
    }
    return answer;
  }

  #update(heard: Heard, text: string): Promise<void> {
    return this.#ack(heard, { response_action: 'update', view: noticeModal(TITLE, text) });
  }

  /** Modals have no response_url: the answer goes to the channel of the card, for the person alone. */
  async #tellInChannel(body: unknown, text: string): Promise<void> {
    const parsed = ViewSubmission.safeParse(body);
    const memory = parsed.success ? readGrantMemory(parsed.data.view.private_metadata) : undefined;
    const record = memory === undefined ? undefined : await this.#parts.store.read(memory.proposal);
    if (!parsed.success || record?.card === undefined) return;
    const { channel } = record.card;
    const workspace = this.#parts.workspaceOf(parsed.data.team.id);
    await workspace?.posting.chat.postEphemeral({ channel, user: parsed.data.user.id, text });
  }

  /* ---- revoking ---- */

  async #revoked(body: CardClick, heard: Heard): Promise<void> {
    const id = GrantId.safeParse(body.actions[0].value ?? '');
    const grant = id.success ? await this.#parts.grants.read(id.data) : undefined;
    const { approvalKeys } = this.#parts;
    if (grant === undefined || !approvalKeys.some((key) => grantIsGenuine(key, grant.signed))) {
      return this.#tell(heard, REVOKE_NOTICES.not_found);
    }
    const { statement } = grant.signed;
    const { user, workspace } = actorOf(body);
    const place = this.#parts.placeOf(statement.tenant);
    const own = (team: string) => team === workspace.team || team === workspace.enterprise;
    if (place === undefined || !own(place.team) || !own(user.team)) {
      return this.#tell(heard, REFUSAL_NOTICES.other_workspace);
    }
    const person = personOf(place.team, user.id);
    const entries = [...new Set([...statement.approvers, ...this.#parts.operators()])];
    const entitled = await this.#parts.directory.entitlementOf(person, entries, place.team);
    // To end a grant is the safe side: where Slack does not answer, somebody who is named in person is believed.
    const named = entries.includes(`user:${user.id}`);
    if (!entitled.ok && !(entitled.refusal === 'cannot_check' && named)) {
      await this.#parts.audit.append({
        kind: 'decision.refused',
        tenant: statement.tenant,
        proposal: statement.proposal,
        detail: { refusal: entitled.refusal, wants: 'revoke', grant: grant.id, by: person },
      });
      const text =
        entitled.refusal === 'not_an_approver' ? REVOKE_NOTICES.not_yours : REFUSAL_NOTICES[entitled.refusal];
      return this.#tell(heard, text);
    }
    const revoked = await this.#parts.grants.revoke(grant.id, person).catch((error: unknown) => {
      this.#parts.logger.error({ err: error }, 'whether a grant is revoked is not known');
      return 'unsure' as const;
    });
    return this.#tell(heard, REVOKE_NOTICES[revoked]);
  }
}

function clickOf(body: ViewSubmission, memory: GrantMemory): Click {
  return {
    proposal: memory.proposal,
    decision: 'approve',
    ...actorOf(body),
    card: undefined,
    sight: { on: 'card', shown: memory.shown },
  };
}

function answerText(answer: GrantAnswer): string {
  if (!answer.ok) return answer.approved ? APPROVED_ALONE[answer.why] : grantNotice(answer.refusal);
  const { maxUses, expires, at, tool } = answer.grant.signed.statement;
  return givenNotice(maxUses, expires - at, tool);
}

/** Undefined: it takes longer. The work goes on. */
async function inTime<T>(work: Promise<T>, ms: number): Promise<T | undefined> {
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
