import { isVisibleTo, type Message } from './conversations.ts';
import type { SlackFile } from './file-shelf.ts';
import type { LiveEvent } from './live-events.ts';
import type {
  PersonEvent,
  SeenChannel,
  SeenMessage,
  SeenUser,
  SeenView,
  SeenWorkspace,
} from './person-interface.ts';
import type { SlackState } from './slack-state.ts';
import {
  type Channel,
  findChannel,
  findUser,
  isStranger,
  type SlackUser,
  type Workspace,
} from './slack-world.ts';
import type { View } from './view.ts';

/* What one person sees of the state. Whatever is not returned here, no client ever receives. */

export function seenWorkspace(state: SlackState, workspace: Workspace): SeenWorkspace {
  const { installation } = workspace;
  return {
    team: workspace.team,
    name: workspace.name,
    domain: workspace.domain,
    ...(installation
      ? { app: { id: state.world.app.id, name: state.world.app.name, botUser: installation.botUser } }
      : {}),
  };
}

export function canAct(user: SlackUser): boolean {
  return !(user.deleted || user.isBot || user.isWorkflowBot || user.isConnectorBot);
}

export function seenUser(workspace: Workspace, user: SlackUser): SeenUser {
  const groups = workspace.groups.filter((group) => !group.disabled && group.users.includes(user.id));
  return {
    id: user.id,
    home: user.home,
    name: user.name,
    realName: user.realName,
    title: user.title ?? '',
    kind: kindOf(workspace, user),
    groups: groups.map(({ id, handle, name }) => ({ id, handle, name })),
    canAct: canAct(user),
  };
}

function kindOf(workspace: Workspace, user: SlackUser): SeenUser['kind'] {
  if (user.deleted) return 'deactivated';
  if (user.isWorkflowBot) return 'workflow_bot';
  if (user.isBot || user.isConnectorBot) return 'bot';
  if (isStranger(workspace, user)) return 'stranger';
  return user.isRestricted || user.isUltraRestricted ? 'guest' : 'member';
}

export function visibleChannels(workspace: Workspace, user: string): Channel[] {
  return workspace.channels.filter((channel) => channel.members.includes(user));
}

export function visibleMessages(
  state: SlackState,
  workspace: Workspace,
  channel: Channel,
  user: string,
): Message[] {
  return state.conversations.list(workspace.team, channel.id).filter((message) => isVisibleTo(message, user));
}

export function seenChannel(
  state: SlackState,
  workspace: Workspace,
  channel: Channel,
  user: string,
): SeenChannel {
  return {
    id: channel.id,
    name: channel.name,
    topic: channel.topic ?? '',
    isPrivate: channel.isPrivate ?? false,
    isArchived: channel.isArchived ?? false,
    isExtShared: channel.isExtShared ?? false,
    members: channel.members,
    latest: visibleMessages(state, workspace, channel, user).at(-1)?.ts ?? '',
  };
}

export function seenMessage(
  state: SlackState,
  workspace: Workspace,
  message: Message,
  user: string,
): SeenMessage {
  const { author } = message;
  const name = author.kind === 'app' ? state.world.app.name : findUser(workspace, author.user)?.realName;
  return {
    channel: message.channel,
    ts: message.ts,
    ...(message.threadTs === undefined ? {} : { threadTs: message.threadTs }),
    replyCount: state.conversations.replies(message).filter((reply) => isVisibleTo(reply, user)).length,
    author: { kind: author.kind, id: author.user, name: name ?? author.user },
    text: message.text,
    blocks: message.blocks,
    files: (message.files ?? []).map(({ id, name, title, size }) => ({ id, name, title, size })),
    ephemeral: message.ephemeralFor !== undefined,
    ...(message.editedTs === undefined ? {} : { editedTs: message.editedTs }),
    ...(message.metadata === undefined ? {} : { metadata: message.metadata }),
    cursor: message.cursor,
  };
}

export function seenView(state: SlackState, view: View): SeenView {
  const { content } = view;
  const depth = state.views.stack(view.team, view.user).indexOf(view) + 1;
  return {
    id: view.id,
    type: content.type,
    title: content.title?.text ?? '',
    ...(content.submit ? { submit: content.submit.text } : {}),
    ...(content.close ? { close: content.close.text } : {}),
    callbackId: content.callback_id,
    blocks: content.blocks,
    state: view.state,
    errors: view.errors,
    hash: view.hash,
    depth,
  };
}

export function seenTop(state: SlackState, team: string, user: string): SeenView | null {
  const view = state.views.top(team, user);
  return view ? seenView(state, view) : null;
}

export function seenHome(state: SlackState, team: string, user: string): SeenView | null {
  const home = state.views.home(team, user);
  return home ? seenView(state, home) : null;
}

/** A file that this person may read: it stands in a message that he sees. */
export function seenFile(
  state: SlackState,
  workspace: Workspace,
  user: string,
  id: string,
): SlackFile | undefined {
  const file = state.files.find(workspace.team, id);
  const shown = visibleChannels(workspace, user).some((channel) =>
    visibleMessages(state, workspace, channel, user).some((message) =>
      message.files?.some((shared) => shared.id === id),
    ),
  );
  return shown ? file : undefined;
}

/** The event as it reaches this person, `undefined` where it does not concern him. */
export function seenEvent(
  state: SlackState,
  workspace: Workspace,
  user: string,
  event: LiveEvent,
): PersonEvent | undefined {
  const { cursor } = event;
  if (event.kind === 'view' || event.kind === 'home') {
    if (event.team !== workspace.team || event.user !== user) return undefined;
    return event.kind === 'view'
      ? { kind: 'view', cursor, view: seenTop(state, workspace.team, user) }
      : { kind: 'home', cursor, home: seenHome(state, workspace.team, user) };
  }
  if (event.kind === 'faults') return { kind: 'faults', cursor };
  if (event.kind === 'channel') {
    const channel = event.team === workspace.team ? findChannel(workspace, event.channel) : undefined;
    if (!channel?.members.includes(user)) return undefined;
    return { kind: 'channel', cursor, channel: seenChannel(state, workspace, channel, user) };
  }
  const { message } = event;
  if (message.team !== workspace.team || !isVisibleTo(message, user)) return undefined;
  if (!findChannel(workspace, message.channel)?.members.includes(user)) return undefined;
  if (event.kind === 'message_deleted') {
    return { kind: 'message_deleted', cursor, channel: message.channel, ts: message.ts };
  }
  return message.deleted
    ? undefined
    : { kind: 'message', cursor, message: { ...seenMessage(state, workspace, message, user), cursor } };
}
