import type { App, types } from '@slack/bolt';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { ApprovalKeys } from '../core/approval/decision.ts';
import {
  type Click,
  type DecisionDesk,
  DecisionUnsure,
  readRecord,
  teamOf,
} from '../core/approval/decision-desk.ts';
import { LIST_MAX, listDigest, openList, type ShownList, sealList } from '../core/approval/shown-list.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { AgentId, type PersonId, personOf, TenantId } from '../core/identity/ids.ts';
import type { ReasonRule } from '../core/policy/verdict.ts';
import { ALIKE_MAX, alikeDigest, type Folding, type Gathering } from '../core/proposal/folding.ts';
import type { ProposalRecord } from '../core/proposal/proposal.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import { inTime } from './actions.ts';
import {
  ALONE,
  type BatchResult,
  batchModal,
  doneModal,
  LIST_VIEWS,
  listModal,
  type OnList,
  pickedIn,
} from './batch-review.ts';
import { actorOf, CardClick, ViewClick, ViewSubmission } from './bodies.ts';
import { type CardView, ruleOf } from './card.ts';
import { slackError, type WorkspaceClients } from './clients.ts';
import type { InFlight } from './in-flight.ts';
import { LIST_ACTIONS } from './list-actions.ts';
import { drawListed } from './listed-call.ts';
import { noticeModal, REASON_INPUT, reviewModal } from './modals.ts';
import { NOTICES, REFUSAL_NOTICES } from './notices.ts';
import { drawReview } from './review.ts';

export interface BatchActionsParts {
  readonly desk: DecisionDesk;
  readonly store: ProposalStore;
  readonly folding: Folding;
  readonly audit: AuditLog;
  readonly approvalKeys: ApprovalKeys;
  readonly placeOf: (tenant: TenantId) => { readonly team: string; readonly channel: string } | undefined;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  /** Undefined: the record is not sealed by us, or its tenant has no place any more. */
  readonly open: (record: ProposalRecord) => { readonly view: CardView } | undefined;
  readonly isIrreversible: (tool: string) => boolean;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

type Body = CardClick | ViewClick | ViewSubmission;
type Tell = (text: string) => Promise<void>;

/** Somebody who may look, where the tenant decides. */
interface Reader {
  readonly place: { readonly team: string; readonly channel: string };
  readonly person: PersonId;
  readonly workspace: WorkspaceClients;
}

/** A form has three seconds until Slack gives up on it; what takes longer is shown in it afterwards. */
const SUBMISSION_MS = 2_300;

/** Decisions about several calls at once: each shown, picked, shown again, judged and signed on its own. */
export class BatchActions {
  readonly #parts: BatchActionsParts;

  constructor(parts: BatchActionsParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    const { inFlight } = this.#parts;
    for (const [action, handle] of [
      [LIST_ACTIONS.open, this.#listClicked],
      [LIST_ACTIONS.approveAll, this.#alikeClicked('approve')],
      [LIST_ACTIONS.denyAll, this.#alikeClicked('deny')],
    ] as const) {
      app.action(action, ({ body, ack, respond }) => {
        const tell = async (text: string) => {
          await respond({ text, response_type: 'ephemeral', replace_original: false });
        };
        return inFlight.track(this.#answered(body, ack, tell, CardClick, handle));
      });
    }
    for (const [action, handle] of [
      [LIST_ACTIONS.next, this.#pageTurned(1)],
      [LIST_ACTIONS.back, this.#pageTurned(-1)],
      [LIST_ACTIONS.openOne, this.#oneOpened],
      [LIST_ACTIONS.approve, this.#pickedClicked('approve')],
      [LIST_ACTIONS.deny, this.#pickedClicked('deny')],
    ] as const) {
      app.action(action, ({ body, ack }) =>
        inFlight.track(this.#answered(body, ack, this.#pusher(body), ViewClick, handle)),
      );
    }
    // Slack tells of each tick; what counts is what is ticked when a button is pressed.
    app.action(LIST_ACTIONS.pick, ({ ack }) => inFlight.track(this.#quietly(ack())));
    app.view({ callback_id: LIST_VIEWS.batch, type: 'view_submission' }, ({ body, ack }) =>
      inFlight.track(this.#submitted(body, (answer) => ack(answer))),
    );
  }

  async #answered<Schema extends z.ZodType>(
    body: unknown,
    ack: () => Promise<void>,
    tell: Tell,
    schema: Schema,
    handle: (this: BatchActions, body: z.infer<Schema>, tell: Tell) => Promise<void>,
  ): Promise<void> {
    await this.#quietly(ack());
    const parsed = schema.safeParse(body);
    if (!parsed.success) {
      this.#parts.logger.warn(
        'a click on a list did not have the form that Slack gives it; nothing was decided',
      );
      return this.#quietly(tell(NOTICES.malformed));
    }
    try {
      await handle.call(this, parsed.data, tell);
    } catch (error) {
      this.#parts.logger.error({ error: errorName(error) }, 'a click on a list failed');
      await this.#quietly(tell(NOTICES.failed));
    }
  }

  /** A socket that has just dropped takes no answer; what the click is about goes on all the same. */
  async #quietly(saying: Promise<unknown>): Promise<void> {
    try {
      await saying;
    } catch (error) {
      this.#parts.logger.warn({ error: errorName(error) }, 'a person could not be told what came of a click');
    }
  }

  /** In a modal the answer lies on top of it: a message in the channel would be behind it. */
  #pusher(body: unknown): Tell {
    return async (text) => {
      const parsed = ViewClick.safeParse(body);
      const trigger = parsed.success ? parsed.data.trigger_id : undefined;
      const workspace = parsed.success ? this.#parts.workspaceOf(parsed.data.team.id) : undefined;
      if (trigger === undefined || workspace === undefined) return;
      await workspace.views.views.push({ trigger_id: trigger, view: noticeModal('Not decided', text) });
    };
  }

  /* ---- the list ---- */

  async #listClicked(body: CardClick, tell: Tell): Promise<void> {
    const of = gatheringIn(body.actions[0].value);
    const reader = of && this.#reader(body, of.tenant);
    if (of === undefined || reader === undefined) return tell(REFUSAL_NOTICES.other_workspace);
    if (body.channel.id !== reader.place.channel) return tell(REFUSAL_NOTICES.not_this_card);
    const view = await this.#listView(of, reader, 0);
    await reader.workspace.views.views.open({ trigger_id: body.trigger_id, view });
  }

  #pageTurned(by: 1 | -1) {
    return async (body: ViewClick, tell: Tell): Promise<void> => {
      const list = this.#listIn(body, ['pick']);
      if (list === undefined) return tell(REFUSAL_NOTICES.not_this_card);
      const view = await this.#listView(list.shown, list.reader, Math.max(0, (list.shown.page ?? 0) + by));
      try {
        const { id, hash } = body.view;
        await list.reader.workspace.views.views.update({ view_id: id, hash, view });
      } catch (error) {
        // The same page turned twice: the first one was shown.
        if (slackError(error) !== 'hash_conflict') throw error;
      }
    };
  }

  async #listView(of: Gathering, reader: Reader, asked: number): Promise<types.ModalView> {
    const { folding } = this.#parts;
    let page = asked;
    let found = await folding.waiting(of, { offset: page * LIST_MAX, limit: LIST_MAX });
    const pages = Math.max(1, Math.ceil(found.count / LIST_MAX));
    if (page >= pages) {
      page = pages - 1;
      found = await folding.waiting(of, { offset: page * LIST_MAX, limit: LIST_MAX });
    }
    const read = await Promise.all(found.ids.map((id) => this.#read(id)));
    const ours = read.filter((view) => view !== undefined && isOf(view, of)) as CardView[];
    const calls = ours.filter(({ state }) => state.status === 'pending').map((view) => this.#onList(view));
    return listModal({
      tenant: of.tenant,
      agent: of.agent,
      calls,
      page,
      pages,
      count: found.count,
      unreadable: read.length - ours.length,
      memory: this.#memory('pick', of, reader.person, calls, page),
    });
  }

  async #oneOpened(body: ViewClick, tell: Tell): Promise<void> {
    const list = this.#listIn(body, ['pick']);
    const id = ProposalId.safeParse(body.actions[0].value);
    if (list === undefined || !id.success || !list.shown.ids.includes(id.data)) {
      return tell(REFUSAL_NOTICES.not_this_card);
    }
    const view = await this.#read(id.data);
    const review = view && drawReview(view);
    if (view === undefined || review === undefined) return tell(REFUSAL_NOTICES.not_shown_whole);
    if (view.state.status !== 'pending') return tell(REFUSAL_NOTICES.already_settled);
    const { tool, context } = view.terms;
    const subject = { tool, tenant: context.tenant, environment: context.environment };
    const memory = { proposal: id.data, shown: review.shown, page: 0, furthest: 0 };
    const need = ruleOf(view.terms)?.reason.approve ?? 'none';
    await list.reader.workspace.views.views.push({
      trigger_id: triggerOf(body),
      view: reviewModal(review, memory, subject, need),
    });
  }

  /* ---- from picking to deciding ---- */

  #pickedClicked(decision: 'approve' | 'deny') {
    return async (body: ViewClick, tell: Tell): Promise<void> => {
      const list = this.#listIn(body, ['pick']);
      if (list === undefined) return tell(REFUSAL_NOTICES.not_this_card);
      const picked = pickedIn(body.view.state.values);
      if (picked.length === 0) return tell(PICK_SOME);
      const ids = list.shown.ids.filter((id) => picked.includes(id));
      if (ids.length !== picked.length) {
        await this.#notShown(body, list.shown.tenant, picked);
        return tell(REFUSAL_NOTICES.not_this_card);
      }
      const view = await this.#question(body, { of: list.shown, reader: list.reader, ids, decision });
      await list.reader.workspace.views.views.push({ trigger_id: triggerOf(body), view });
    };
  }

  #alikeClicked(decision: 'approve' | 'deny') {
    return async (body: CardClick, tell: Tell): Promise<void> => {
      const ids = z
        .array(ProposalId)
        .min(1)
        .max(ALIKE_MAX)
        .safeParse((body.actions[0].value ?? '').split(' '));
      const first = ids.success ? await this.#read(ids.data[0] as ProposalId) : undefined;
      if (!ids.success || first === undefined) return tell(REFUSAL_NOTICES.not_found);
      const of: Gathering = first.terms.context;
      const reader = this.#reader(body, of.tenant);
      if (reader === undefined) return tell(REFUSAL_NOTICES.other_workspace);
      const record = await readRecord(this.#parts.store, first.terms.id);
      const card = record === undefined || record === 'not_ours' ? undefined : record.card;
      if (
        card === undefined ||
        card.ts !== body.container.message_ts ||
        card.channel !== body.channel.id ||
        card.channel !== reader.place.channel
      ) {
        return tell(REFUSAL_NOTICES.not_this_card);
      }
      const same = alikeDigest(first.terms);
      const views = await Promise.all(ids.data.map((id) => this.#read(id)));
      if (
        new Set(ids.data).size !== ids.data.length ||
        !views.every((view) => view && alikeDigest(view.terms) === same)
      ) {
        await this.#notShown(body, of.tenant, ids.data);
        return tell(REFUSAL_NOTICES.not_this_card);
      }
      const view = await this.#question(body, { of, reader, ids: ids.data, decision });
      await reader.workspace.views.views.open({ trigger_id: body.trigger_id, view });
    };
  }

  /** Shows once more exactly what is about to be decided, without what this person cannot decide this way. */
  async #question(
    body: CardClick | ViewClick,
    about: {
      readonly of: Gathering & { readonly page?: number | undefined };
      readonly reader: Reader;
      readonly ids: readonly ProposalId[];
      readonly decision: 'approve' | 'deny';
    },
  ): Promise<types.ModalView> {
    const { ids, decision, of, reader } = about;
    const leftOut: { id: ProposalId; why: string }[] = [];
    const calls: OnList[] = [];
    const reasons: ReasonRule[] = [];
    const looked = await Promise.all(
      ids.map(async (id) => {
        const view = await this.#read(id);
        if (view === undefined) return { id, refused: REFUSAL_NOTICES.not_found };
        const call = this.#onList(view);
        if (decision === 'approve' && call.alone !== undefined) {
          return { id, refused: `Nothing was decided: ${ALONE[call.alone]}. Open it and approve it alone.` };
        }
        const answer = await this.#parts.desk.look(clickOn(body, id, decision, [call]));
        if (!answer.ok) return { id, refused: REFUSAL_NOTICES[answer.refusal] };
        return { id, call, reason: answer.rule.reason[decision] };
      }),
    );
    for (const found of looked) {
      if (found.call === undefined) leftOut.push({ id: found.id, why: found.refused });
      else {
        calls.push(found.call);
        reasons.push(found.reason);
      }
    }
    if (calls.length === 0) {
      return doneModal({ decision, counted: [], refused: leftOut });
    }
    return batchModal({
      decision,
      calls,
      leftOut,
      reason: strictest(reasons),
      memory: this.#memory(decision, of, reader.person, calls, of.page),
    });
  }

  /* ---- decided ---- */

  async #submitted(
    body: unknown,
    ack: (answer: { response_action: 'update'; view: types.ModalView }) => Promise<void>,
  ): Promise<void> {
    const parsed = ViewSubmission.safeParse(body);
    const update = (view: types.ModalView) => this.#quietly(ack({ response_action: 'update', view }));
    if (!parsed.success) return update(noticeModal('Not decided', NOTICES.malformed));
    const deciding = this.#decided(parsed.data).catch((error: unknown): types.ModalView => {
      this.#parts.logger.error({ error: errorName(error) }, 'a batch failed');
      return noticeModal('Not known', NOTICES.unsure);
    });
    const answer = await inTime(deciding, SUBMISSION_MS);
    if (answer !== undefined) return update(answer);
    await update(noticeModal('Being decided', BEING_DECIDED));
    const view = await deciding;
    const workspace = this.#parts.workspaceOf(parsed.data.team.id);
    await this.#quietly(
      workspace?.views.views.update({ view_id: parsed.data.view.id, view }) ?? Promise.resolve(),
    );
  }

  async #decided(body: ViewSubmission): Promise<types.ModalView> {
    const list = this.#listIn(body, ['approve', 'deny']);
    if (list === undefined || list.shown.for === 'pick') {
      return noticeModal('Not decided', REFUSAL_NOTICES.not_this_card);
    }
    const { ids, for: decision } = list.shown;
    const views = await Promise.all(ids.map((id) => this.#read(id)));
    const calls = views.flatMap((view) => (view === undefined ? [] : [this.#onList(view)]));
    // Drawn by another version, or no longer what it was: what they saw is not what would be signed for.
    if (listDigest(calls.map(({ listed }) => listed.shown)) !== list.shown.shown) {
      return noticeModal('Not decided', REFUSAL_NOTICES.not_this_card);
    }
    const reason = body.view.state.values[REASON_INPUT.block]?.[REASON_INPUT.action]?.value ?? undefined;
    const answers = await Promise.all(
      ids.map(async (id) => ({
        id,
        refused: await this.#decide(clickOn(body, id, decision, calls, reason)),
      })),
    );
    const result: BatchResult = {
      decision,
      counted: answers.flatMap(({ id, refused }) => (refused === undefined ? [id] : [])),
      refused: answers.flatMap(({ id, refused }) => (refused === undefined ? [] : [{ id, why: refused }])),
    };
    this.#parts.logger.info(
      {
        decision,
        person: list.reader.person,
        counted: result.counted.length,
        refused: result.refused.length,
      },
      'a batch was decided',
    );
    this.#refreshList(body, list);
    return doneModal(result);
  }

  /** Undefined: it counted. Each is judged, signed and recorded on its own; one that fails stops none of the others. */
  async #decide(click: Click): Promise<string | undefined> {
    try {
      const answer = await this.#parts.desk.decide(click);
      return answer.ok ? undefined : REFUSAL_NOTICES[answer.refusal];
    } catch (error) {
      this.#parts.logger.error(
        { error: errorName(error), proposal: click.proposal },
        'a decision of a batch failed',
      );
      return error instanceof DecisionUnsure ? NOTICES.unsure : NOTICES.failed;
    }
  }

  /** The list lies beneath: it should not go on showing what is decided. */
  #refreshList(body: ViewSubmission, list: { shown: ShownList; reader: Reader }): void {
    const root = z.looseObject({ root_view_id: z.string() }).safeParse(body.view).data?.root_view_id;
    if (root === undefined || root === body.view.id) return;
    const { inFlight } = this.#parts;
    const refresh = async () => {
      const view = await this.#listView(list.shown, list.reader, list.shown.page ?? 0);
      await list.reader.workspace.views.views.update({ view_id: root, view });
    };
    void inFlight.track(this.#quietly(refresh()));
  }

  /* ---- what is shared ---- */

  #reader(body: Body, tenant: TenantId): Reader | undefined {
    const place = this.#parts.placeOf(tenant);
    const team = place && teamOf(actorOf(body), place.team);
    const workspace = this.#parts.workspaceOf(body.team.id);
    if (place === undefined || team === undefined || workspace === undefined) return undefined;
    return { place, workspace, person: personOf(team, body.user.id) };
  }

  /** The list that this person was shown, if it is under our signature and theirs. */
  #listIn(
    body: ViewClick | ViewSubmission,
    purposes: readonly ShownList['for'][],
  ): { shown: ShownList; reader: Reader } | undefined {
    const shown = openList(this.#parts.approvalKeys.genuine, body.view.private_metadata);
    const reader = shown && this.#reader(body, shown.tenant);
    if (shown === undefined || reader === undefined) return undefined;
    return shown.person === reader.person && purposes.includes(shown.for) ? { shown, reader } : undefined;
  }

  #memory(
    purpose: ShownList['for'],
    { tenant, agent }: Gathering,
    person: PersonId,
    calls: readonly OnList[],
    page: number | undefined,
  ): string {
    return sealList(this.#parts.approvalKeys.signing, {
      v: 1,
      for: purpose,
      tenant,
      agent,
      person,
      ids: calls.map(({ id }) => id),
      shown: listDigest(calls.map(({ listed }) => listed.shown)),
      ...(page === undefined ? {} : { page }),
    });
  }

  async #read(id: ProposalId): Promise<CardView | undefined> {
    const record = await readRecord(this.#parts.store, id);
    return record === undefined || record === 'not_ours' ? undefined : this.#parts.open(record)?.view;
  }

  #onList(view: CardView): OnList {
    const listed = drawListed(view);
    const rule = ruleOf(view.terms);
    const alone = !listed.whole
      ? 'not_whole'
      : this.#parts.isIrreversible(view.terms.tool)
        ? 'irreversible'
        : (rule?.quorum ?? 0) !== 1
          ? 'quorum'
          : rule?.reason.approve === 'required'
            ? 'reason'
            : undefined;
    return { id: view.terms.id, listed, alone };
  }

  /** Slack offers only what was shown: who sends more has made the body by hand. */
  async #notShown(body: Body, tenant: TenantId, sent: readonly string[]): Promise<void> {
    const { user } = actorOf(body);
    this.#parts.logger.error(
      { user: user.id, team: user.team },
      'a batch named a call that was not on its list',
    );
    await this.#parts.audit.append({
      kind: 'decision.refused',
      tenant,
      detail: {
        refusal: 'not_on_the_list',
        user: user.id,
        team: user.team,
        sent: sent.slice(0, LIST_MAX).map((id) => id.slice(0, 40)),
      },
    });
  }
}

const PICK_SOME = 'Nothing is picked. Go back, tick the calls that you mean, and press the button again.';
const BEING_DECIDED =
  'This takes a little longer. What came of it appears here; the cards in the channel say it as well.';

function clickOn(
  body: Body,
  proposal: ProposalId,
  decision: 'approve' | 'deny',
  calls: readonly OnList[],
  reason?: string,
): Click {
  const items = calls.map(({ listed }) => listed.shown);
  return {
    proposal,
    decision,
    ...actorOf(body),
    card: undefined,
    sight: { on: 'list', shown: listDigest(items), items },
    reason,
  };
}

function strictest(reasons: readonly ReasonRule[]): ReasonRule {
  if (reasons.includes('required')) return 'required';
  return reasons.includes('optional') ? 'optional' : 'none';
}

function isOf({ terms }: CardView, { tenant, agent }: Gathering): boolean {
  return terms.context.tenant === tenant && terms.context.agent === agent;
}

function gatheringIn(value: string | undefined): Gathering | undefined {
  const [tenant, agent, ...more] = (value ?? '').split(' ');
  const parsed = z.strictObject({ tenant: TenantId, agent: AgentId }).safeParse({ tenant, agent });
  return parsed.success && more.length === 0 ? parsed.data : undefined;
}

function triggerOf(body: ViewClick): string {
  if (body.trigger_id === undefined) throw new TypeError('a click in a modal came without its trigger');
  return body.trigger_id;
}

function errorName(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message.slice(0, 200)}` : 'unknown';
}
