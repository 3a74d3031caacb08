import type { Block, InteractiveElement } from './block-kit.ts';
import type { Message } from './conversations.ts';
import { stateOf } from './input-state.ts';
import type { InputState, StateValues } from './person-interface.ts';
import { messageObject, viewObject } from './slack-objects.ts';
import type { SlackState } from './slack-state.ts';
import type { Channel, SlackUser, Workspace } from './slack-world.ts';
import type { View } from './view.ts';

/** The deprecated verification token. Slack still sends one; nobody may rely on it. */
const VERIFICATION_TOKEN = 'deprecated-verification-token';

/** A person who does something, in the workspace that is open before him. */
export interface Actor {
  workspace: Workspace;
  user: SlackUser;
}

type Payload = Record<string, unknown>;

/**
 * What every interactive payload begins with. In a channel shared with another company `team` is the workspace where
 * the app is installed, and only `user.team_id` says that the person is a stranger.
 */
function begin(state: SlackState, type: string, { workspace, user }: Actor): Payload {
  return {
    type,
    user: { id: user.id, username: user.name, name: user.name, team_id: user.home },
    api_app_id: state.world.app.id,
    token: VERIFICATION_TOKEN,
    // "Null if the app is org-installed."
    team: isOrgWide(workspace)
      ? null
      : {
          id: workspace.team,
          domain: workspace.domain,
          ...(workspace.enterprise
            ? { enterprise_id: workspace.enterprise.id, enterprise_name: workspace.enterprise.name }
            : {}),
        },
    enterprise: workspace.enterprise ?? null,
    is_enterprise_install: isOrgWide(workspace),
  };
}

function isOrgWide({ installation }: Workspace): boolean {
  return installation?.orgWide === true;
}

export interface Action {
  block: Block;
  element: InteractiveElement;
  choice: InputState | undefined;
}

export function messageActionPayload(
  state: SlackState,
  actor: Actor,
  on: { channel: Channel; message: Message },
  action: Action,
  given: StateValues | undefined,
): Payload {
  const { channel, message } = on;
  const ephemeral = message.ephemeralFor !== undefined;
  return {
    ...begin(state, 'block_actions', actor),
    container: {
      type: 'message',
      message_ts: message.ts,
      channel_id: channel.id,
      is_ephemeral: ephemeral,
      ...(message.threadTs === undefined ? {} : { thread_ts: message.threadTs }),
    },
    trigger_id: state.triggers.issue({ team: actor.workspace.team, user: actor.user.id, fromModal: false }),
    channel: { id: channel.id, name: channel.isPrivate ? 'privategroup' : channel.name },
    // Slack does not send the content of an ephemeral message along.
    ...(ephemeral
      ? {}
      : { message: messageObject(state.world, actor.workspace, state.conversations, message) }),
    state: { values: stateOf(message.blocks, given) },
    response_url: state.responseUrls.issue('actions', {
      team: actor.workspace.team,
      channel: channel.id,
      user: actor.user.id,
      original: message,
      ...(message.threadTs === undefined ? {} : { threadTs: message.threadTs }),
    }),
    actions: [actionObject(state, action)],
  };
}

export function viewActionPayload(state: SlackState, actor: Actor, view: View, action: Action): Payload {
  const object = viewObject(state.world, actor.workspace, view);
  const fromModal = view.content.type === 'modal';
  return {
    ...begin(state, 'block_actions', actor),
    container: { type: 'view', view_id: view.id },
    trigger_id: state.triggers.issue({ team: actor.workspace.team, user: actor.user.id, fromModal }),
    view: object,
    actions: [actionObject(state, action)],
  };
}

function actionObject(state: SlackState, { block, element, choice }: Action): Payload {
  const { type: _type, ...chosen } = choice ?? { type: element.type };
  const own =
    element.type === 'button'
      ? {
          text: element.text,
          ...(element.value === undefined ? {} : { value: element.value }),
          ...(element.url === undefined ? {} : { url: element.url }),
          ...(element.style === undefined ? {} : { style: element.style }),
        }
      : chosen;
  return {
    action_id: element.action_id,
    block_id: block.block_id,
    ...own,
    type: element.type,
    action_ts: state.conversations.newTs(),
  };
}

export function viewSubmissionPayload(state: SlackState, actor: Actor, view: View): Payload {
  return {
    ...begin(state, 'view_submission', actor),
    trigger_id: state.triggers.issue({ team: actor.workspace.team, user: actor.user.id, fromModal: true }),
    view: viewObject(state.world, actor.workspace, view),
    response_urls: [],
  };
}

export function viewClosedPayload(state: SlackState, actor: Actor, view: View, isCleared: boolean): Payload {
  return {
    ...begin(state, 'view_closed', actor),
    view: viewObject(state.world, actor.workspace, view),
    is_cleared: isCleared,
  };
}

export function commandPayload(
  state: SlackState,
  { workspace, user }: Actor,
  channel: Channel,
  typed: { command: string; text: string },
): Payload {
  return {
    token: VERIFICATION_TOKEN,
    team_id: workspace.team,
    team_domain: workspace.domain,
    channel_id: channel.id,
    channel_name: channel.isPrivate ? 'privategroup' : channel.name,
    user_id: user.id,
    user_name: user.name,
    command: typed.command,
    text: typed.text,
    api_app_id: state.world.app.id,
    is_enterprise_install: String(isOrgWide(workspace)),
    ...(workspace.enterprise
      ? { enterprise_id: workspace.enterprise.id, enterprise_name: workspace.enterprise.name }
      : {}),
    response_url: state.responseUrls.issue('commands', {
      team: workspace.team,
      channel: channel.id,
      user: user.id,
    }),
    trigger_id: state.triggers.issue({ team: workspace.team, user: user.id, fromModal: false }),
  };
}

export function homeOpenedPayload(state: SlackState, { workspace, user }: Actor): Payload {
  const home = state.views.home(workspace.team, user.id);
  const ts = state.conversations.newTs();
  return {
    token: VERIFICATION_TOKEN,
    team_id: workspace.team,
    context_team_id: workspace.team,
    api_app_id: state.world.app.id,
    event: {
      type: 'app_home_opened',
      user: user.id,
      channel: `D0${user.id.slice(1)}`,
      tab: 'home',
      event_ts: ts,
      ...(home ? { view: viewObject(state.world, workspace, home) } : {}),
    },
    type: 'event_callback',
    event_id: `Ev0${state.newId()}`,
    event_time: Math.floor(Number(ts)),
    authorizations: [
      {
        enterprise_id: workspace.enterprise?.id ?? null,
        team_id: workspace.team,
        user_id: workspace.installation?.botUser ?? '',
        is_bot: true,
        is_enterprise_install: false,
      },
    ],
    is_ext_shared_channel: false,
  };
}

/** What Slack sends where the app was taken out of a workspace, or its tokens were revoked there. */
export function removalPayload(
  state: SlackState,
  workspace: Workspace,
  event:
    | { type: 'app_uninstalled' }
    | { type: 'tokens_revoked'; tokens: { oauth: readonly string[]; bot: readonly string[] } },
): Payload {
  return {
    token: VERIFICATION_TOKEN,
    team_id: workspace.team,
    ...(workspace.enterprise ? { enterprise_id: workspace.enterprise.id } : {}),
    api_app_id: state.world.app.id,
    event: { ...event, event_ts: state.conversations.newTs() },
    type: 'event_callback',
    event_id: `Ev0${state.newId()}`,
    event_time: Math.floor(state.clock.now() / 1_000),
    is_ext_shared_channel: false,
  };
}
