import { z } from 'zod';
import { postAppAnswer } from './app-answer.ts';
import type { AppDelivery, Delivered, Envelope } from './app-delivery.ts';
import { type Block, type InteractiveElement, interactiveElements } from './block-kit.ts';
import { isVisibleTo } from './conversations.ts';
import { clientErrors, foreignChoice, stateOf } from './input-state.ts';
import {
  type Action,
  type Actor,
  commandPayload,
  homeOpenedPayload,
  messageActionPayload,
  viewActionPayload,
  viewClosedPayload,
  viewSubmissionPayload,
} from './interaction-payload.ts';
import type {
  ActionAnswer,
  ActionError,
  ActionFailed,
  Click,
  CloseView,
  Command,
  Post,
  PostAnswer,
  Submit,
  SubmitAnswer,
} from './person-interface.ts';
import { canAct, seenTop } from './person-sight.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';
import type { SlackState } from './slack-state.ts';
import { type Channel, findChannel, findUser, findWorkspace, isStranger } from './slack-world.ts';
import { checkView, type View } from './view.ts';

/** What the app may say in the ack of a submission. https://docs.slack.dev/surfaces/modals#updating_response */
const ResponseAction = z.discriminatedUnion('response_action', [
  z.strictObject({ response_action: z.literal('clear') }),
  z.strictObject({ response_action: z.literal('update'), view: z.unknown() }),
  z.strictObject({ response_action: z.literal('push'), view: z.unknown() }),
  z.strictObject({
    response_action: z.literal('errors'),
    errors: z.record(z.string(), z.string().min(1)).refine((errors) => Object.keys(errors).length > 0),
  }),
]);

const TROUBLE = 'We had some trouble connecting. Try again?';

/** What people do in their Slack clients, and what they see come of it. */
export class PersonActions {
  readonly #state: SlackState;
  readonly #delivery: AppDelivery;

  constructor(state: SlackState, delivery: AppDelivery) {
    this.#state = state;
    this.#delivery = delivery;
  }

  async click(click: Click): Promise<ActionAnswer> {
    const actor = this.#actor(click);
    if (!actor.ok) return actor;
    const target =
      'view' in click.on
        ? this.#viewPayload(actor, click, click.on)
        : this.#messagePayload(actor, click, click.on);
    if (!target.ok) return target;
    const delivered = await this.#deliver(actor, 'interactive', target.payload, false);
    return delivered.ok ? { ok: true } : failed(delivered.error, unanswered(delivered));
  }

  async submit(submit: Submit): Promise<SubmitAnswer> {
    const actor = this.#actor(submit);
    if (!actor.ok) return actor;
    const { team } = actor.workspace;
    const view = this.#state.views.top(team, submit.user);
    if (!view || view.id !== submit.view)
      return failed('view_not_found', 'This window is not open any more.');
    if (!view.content.submit) return failed('action_not_found', 'This window has no submit button.');
    const state = stateOf(view.content.blocks, { ...view.state, ...submit.state });
    const errors = clientErrors(view.content.blocks, state);
    this.#state.views.remember(view, { state, errors });
    if (Object.keys(errors).length > 0)
      return { ok: true, view: seenTop(this.#state, team, submit.user), errors };
    const payload = viewSubmissionPayload(this.#state, actor, view);
    const delivered = await this.#deliver(actor, 'interactive', payload, true);
    if (!delivered.ok) return failed(delivered.error, TROUBLE);
    const refusal = this.#applyResponse(view, delivered.response);
    if (refusal !== undefined) return failed('app_error', TROUBLE);
    return { ok: true, view: seenTop(this.#state, team, submit.user), errors: view.errors };
  }

  async closeView(close: CloseView): Promise<ActionAnswer> {
    const actor = this.#actor(close);
    if (!actor.ok) return actor;
    const stack = this.#state.views.stack(actor.workspace.team, close.user);
    const view = stack.at(-1);
    if (!view || view.id !== close.view) return failed('view_not_found', 'This window is not open any more.');
    const cleared = close.all === true || view.content.clear_on_close;
    const gone = cleared ? [...stack].reverse() : [view];
    this.#state.views.close(view, cleared);
    for (const closed of gone) {
      if (!closed.content.notify_on_close) continue;
      // The person's client does not wait for the app here.
      void this.#deliver(actor, 'interactive', viewClosedPayload(this.#state, actor, closed, cleared), false);
    }
    return { ok: true };
  }

  async command(command: Command): Promise<ActionAnswer> {
    const actor = this.#actor(command);
    if (!actor.ok) return actor;
    const place = this.#channel(actor, command.channel);
    if (!place.ok) return place;
    const [name = '', ...rest] = command.line.trim().split(/\s/);
    const known = this.#state.world.app.commands.some((candidate) => candidate.command === name);
    // Another company's people see none of this workspace's commands, shared channel or not.
    if (!known || !actor.workspace.installation || isStranger(actor.workspace, actor.user)) {
      return failed('command_not_found', `${name} is not a valid command.`);
    }
    const text = rest.join(' ').trim();
    const payload = commandPayload(this.#state, actor, place.channel, { command: name, text });
    const delivered = await this.#deliver(actor, 'slash_commands', payload, true);
    if (!delivered.ok) return failed(delivered.error, commandFailed(name, delivered.detail));
    if (delivered.response === undefined) return { ok: true };
    const posted = this.#postCommandAnswer(actor, place.channel, command.line, delivered.response);
    return posted.ok ? { ok: true } : failed('app_error', commandFailed(name, posted.error));
  }

  async post(post: Post): Promise<PostAnswer> {
    const actor = this.#actor(post);
    if (!actor.ok) return actor;
    const place = this.#channel(actor, post.channel);
    if (!place.ok) return place;
    if (post.text.trim() === '') return failed('invalid_input', 'There is nothing to send.');
    const parent =
      post.threadTs === undefined
        ? undefined
        : this.#state.conversations.find(actor.workspace.team, place.channel.id, post.threadTs);
    if (post.threadTs !== undefined && (!parent || parent.deleted)) {
      return failed('message_not_found', 'This thread does not exist any more.');
    }
    const message = this.#state.conversations.post({
      team: actor.workspace.team,
      channel: place.channel.id,
      author: { kind: 'person', user: actor.user.id },
      text: post.text,
      blocks: [],
      ...(parent ? { threadTs: parent.threadTs ?? parent.ts } : {}),
    });
    return { ok: true, ts: message.ts };
  }

  async openHome(person: { team: string; user: string }): Promise<ActionAnswer> {
    const actor = this.#actor(person);
    if (!actor.ok) return actor;
    if (this.#state.world.app.events.includes('app_home_opened')) {
      void this.#deliver(actor, 'events_api', homeOpenedPayload(this.#state, actor), false);
    }
    return { ok: true };
  }

  #deliver(actor: Actor, type: Envelope['type'], payload: Record<string, unknown>, acceptsResponse: boolean) {
    return this.#delivery.deliver(
      { type, team: actor.workspace.team, payload, acceptsResponse },
      LIMITS.ackMs,
    );
  }

  #actor(person: { team: string; user: string }): ({ ok: true } & Actor) | ActionFailed {
    const workspace = findWorkspace(this.#state.world, person.team);
    const user = workspace && findUser(workspace, person.user);
    if (!workspace || !user)
      return failed('user_cannot_act', 'Nobody by this name is signed in to this workspace.');
    if (!canAct(user)) return failed('user_cannot_act', `${user.realName} cannot sign in.`);
    return { ok: true, workspace, user };
  }

  #channel(actor: Actor, id: string): { ok: true; channel: Channel } | ActionFailed {
    const channel = findChannel(actor.workspace, id);
    if (!channel) return failed('channel_not_found', 'This channel does not exist.');
    if (!channel.members.includes(actor.user.id))
      return failed('not_a_member', 'You are not in this channel.');
    if (channel.isArchived) return failed('channel_archived', 'This channel is archived.');
    return { ok: true, channel };
  }

  #messagePayload(
    actor: Actor,
    click: Click,
    on: { channel: string; message: string },
  ): { ok: true; payload: Record<string, unknown> } | ActionFailed {
    const place = this.#channel(actor, on.channel);
    if (!place.ok) return place;
    const message = this.#state.conversations.find(actor.workspace.team, on.channel, on.message);
    if (!message || !isVisibleTo(message, actor.user.id)) {
      return failed('message_not_found', 'This message does not exist any more.');
    }
    const action = findAction(message.blocks, click);
    if (!action.ok) return action;
    const payload = messageActionPayload(
      this.#state,
      actor,
      { channel: place.channel, message },
      action.action,
      click.state,
    );
    return { ok: true, payload };
  }

  #viewPayload(
    actor: Actor,
    click: Click,
    on: { view: string },
  ): { ok: true; payload: Record<string, unknown> } | ActionFailed {
    const { team } = actor.workspace;
    const before = [this.#state.views.top(team, actor.user.id), this.#state.views.home(team, actor.user.id)];
    const view = before.find((candidate) => candidate?.id === on.view);
    if (!view) return failed('view_not_found', 'This window is not open any more.');
    const action = findAction(view.content.blocks, click);
    if (!action.ok) return action;
    const state = stateOf(view.content.blocks, withChoice({ ...view.state, ...click.state }, action.action));
    this.#state.views.remember(view, { state });
    return { ok: true, payload: viewActionPayload(this.#state, actor, view, action.action) };
  }

  /** Carries out what the app said in its ack; answers with the reason where Slack would not do it. */
  #applyResponse(view: View, response: unknown): string | undefined {
    const { views, newId } = this.#state;
    if (response === undefined) {
      views.close(view, false);
      return undefined;
    }
    const parsed = ResponseAction.safeParse(response);
    if (!parsed.success) return parsed.error.message;
    const said = parsed.data;
    if (said.response_action === 'clear') {
      views.close(view, true);
      return undefined;
    }
    if (said.response_action === 'errors') return this.#showErrors(view, said.errors);
    const checked = checkView(said.view, newId);
    if (!checked.ok) return checked.problems.join('; ');
    if (checked.value.type !== 'modal') return 'must be a modal';
    if (said.response_action === 'update') {
      views.update(view, checked.value);
      return undefined;
    }
    const pushed = views.push(view.team, view.user, checked.value);
    return pushed === 'push_limit_reached' ? pushed : undefined;
  }

  #showErrors(view: View, errors: Record<string, string>): string | undefined {
    const inputs = view.content.blocks.flatMap((block) =>
      block.type === 'input' ? (block.block_id ?? []) : [],
    );
    const stray = Object.keys(errors).find((blockId) => !inputs.includes(blockId));
    if (stray !== undefined) return `${stray} is no input block of this view`;
    this.#state.views.remember(view, { errors });
    return undefined;
  }

  #postCommandAnswer(actor: Actor, channel: Channel, line: string, response: unknown) {
    const target = { team: actor.workspace.team, channel: channel.id, user: actor.user.id };
    const inChannel =
      typeof response === 'object' &&
      response !== null &&
      'response_type' in response &&
      response.response_type === 'in_channel';
    if (inChannel) {
      // Slack shows what was typed as well, where everybody sees the answer.
      this.#state.conversations.post({
        team: target.team,
        channel: channel.id,
        author: { kind: 'person', user: actor.user.id },
        text: line.trim(),
        blocks: [],
      });
    }
    return postAppAnswer(this.#state, target, response);
  }
}

function failed(error: ActionError, text: string): ActionFailed {
  return { ok: false, error, text };
}

function unanswered(delivered: Extract<Delivered, { ok: false }>): string {
  return delivered.error === 'operation_timeout'
    ? 'Operation timed out. Apps need to respond within 3 seconds.'
    : `This app responded with an error: ${delivered.detail}`;
}

function commandFailed(command: string, detail: string): string {
  return `${command} failed with the error "${detail}"`;
}

function findAction(blocks: Block[], click: Click): { ok: true; action: Action } | ActionFailed {
  const matches = blocks.flatMap((block) =>
    click.blockId === undefined || click.blockId === block.block_id
      ? interactiveElements(block)
          .filter((element) => element.action_id === click.actionId)
          .map((element) => ({ block, element }))
      : [],
  );
  const [match, another] = matches;
  if (!match) return failed('action_not_found', 'There is no such button any more.');
  if (another) return failed('invalid_input', 'Several blocks have this action id: say which block.');
  const problem = choiceProblem(match.element, click);
  if (problem !== undefined) return failed('invalid_input', problem);
  return { ok: true, action: { ...match, choice: click.choice } };
}

function choiceProblem(element: InteractiveElement, click: Click): string | undefined {
  if (element.type === 'button') return click.choice ? 'A button takes no choice.' : undefined;
  if (click.choice?.type !== element.type) return `This ${element.type} needs a choice of its own type.`;
  const foreign = foreignChoice(element, click.choice);
  return foreign === undefined ? undefined : `${foreign} is not one of the options.`;
}

function withChoice(
  values: Click['state'] & object,
  { block, element, choice }: Action,
): Click['state'] & object {
  if (!choice || block.block_id === undefined || element.action_id === undefined) return values;
  return { ...values, [block.block_id]: { ...values[block.block_id], [element.action_id]: choice } };
}
