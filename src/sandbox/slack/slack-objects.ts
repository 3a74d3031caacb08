import type { Conversations, Message } from './conversations.ts';
import type { SlackFile } from './file-shelf.ts';
import type { Channel, SlackUser, SlackWorld, UserGroup, Workspace } from './slack-world.ts';
import { findUser, isStranger } from './slack-world.ts';
import type { View } from './view.ts';

/* What Slack's API and payloads call a user, a channel, a message and a view. */

export function userObject(
  workspace: Workspace,
  user: SlackUser,
  withEmail: boolean,
): Record<string, unknown> {
  return {
    id: user.id,
    team_id: user.home,
    name: user.name,
    deleted: user.deleted ?? false,
    real_name: user.realName,
    tz: 'Etc/UTC',
    tz_offset: 0,
    profile: {
      title: user.title ?? '',
      real_name: user.realName,
      display_name: user.name,
      team: user.home,
      ...(withEmail && user.email !== undefined && !isStranger(workspace, user) ? { email: user.email } : {}),
    },
    is_admin: user.isAdmin ?? false,
    is_owner: false,
    is_primary_owner: false,
    is_restricted: user.isRestricted ?? user.isUltraRestricted ?? false,
    is_ultra_restricted: user.isUltraRestricted ?? false,
    is_bot: user.isBot ?? false,
    is_app_user: false,
    is_stranger: isStranger(workspace, user),
    is_workflow_bot: user.isWorkflowBot ?? false,
    is_connector_bot: user.isConnectorBot ?? false,
    updated: 0,
  };
}

export function channelObject(workspace: Workspace, channel: Channel): Record<string, unknown> {
  const bot = workspace.installation?.botUser ?? '';
  const isPrivate = channel.isPrivate ?? false;
  return {
    id: channel.id,
    name: channel.name,
    name_normalized: channel.name,
    is_channel: !isPrivate,
    is_group: isPrivate,
    is_im: false,
    is_mpim: false,
    is_private: isPrivate,
    is_archived: channel.isArchived ?? false,
    is_general: channel.name === 'general',
    is_shared: channel.isExtShared ?? false,
    is_org_shared: false,
    is_ext_shared: channel.isExtShared ?? false,
    is_pending_ext_shared: channel.isPendingExtShared ?? false,
    pending_shared: [],
    is_member: channel.members.includes(bot),
    context_team_id: workspace.team,
    topic: { value: channel.topic ?? '', creator: '', last_set: 0 },
    purpose: { value: '', creator: '', last_set: 0 },
  };
}

export function groupObject(workspace: Workspace, group: UserGroup): Record<string, unknown> {
  return {
    id: group.id,
    team_id: workspace.team,
    is_usergroup: true,
    name: group.name,
    handle: group.handle,
    description: '',
    date_delete: group.disabled ? 1 : 0,
    user_count: group.users.length,
  };
}

export function messageObject(
  world: SlackWorld,
  workspace: Workspace,
  conversations: Conversations,
  message: Message,
): Record<string, unknown> {
  const replies = message.threadTs === undefined ? conversations.replies(message) : [];
  const byApp = message.author.kind === 'app';
  return {
    type: 'message',
    user: message.author.user,
    ts: message.ts,
    text: message.text,
    team: findUser(workspace, message.author.user)?.home ?? workspace.team,
    ...(byApp ? { bot_id: workspace.installation?.botId, app_id: world.app.id } : {}),
    ...(message.blocks.length > 0 ? { blocks: message.blocks } : {}),
    ...(message.files ? { files: message.files.map(fileObject) } : {}),
    ...(message.editedTs ? { edited: { user: message.author.user, ts: message.editedTs } } : {}),
    ...(message.metadata === undefined ? {} : { metadata: message.metadata }),
    ...threadFields(message, replies),
  };
}

export function fileObject(file: SlackFile): Record<string, unknown> {
  return {
    id: file.id,
    created: file.created,
    timestamp: file.created,
    name: file.name,
    title: file.title,
    mimetype: 'application/octet-stream',
    user: file.user,
    user_team: file.team,
    size: file.size,
    mode: 'hosted',
    is_external: false,
    is_public: file.shares.length > 0,
    ...(file.altText === undefined ? {} : { alt_txt: file.altText }),
    channels: file.shares.map(({ channel }) => channel),
    shares: {
      public: Object.fromEntries(file.shares.map(({ channel, ts }) => [channel, [{ ts }]])),
    },
  };
}

function threadFields(message: Message, replies: Message[]): Record<string, unknown> {
  if (message.threadTs !== undefined) return { thread_ts: message.threadTs };
  if (replies.length === 0) return {};
  return {
    thread_ts: message.ts,
    reply_count: replies.length,
    reply_users: [...new Set(replies.map((reply) => reply.author.user))],
    latest_reply: replies.at(-1)?.ts,
  };
}

export function viewObject(world: SlackWorld, workspace: Workspace, view: View): Record<string, unknown> {
  const { content } = view;
  return {
    id: view.id,
    team_id: workspace.team,
    type: content.type,
    blocks: content.blocks,
    private_metadata: content.private_metadata,
    callback_id: content.callback_id,
    state: { values: view.state },
    hash: view.hash,
    title: content.title,
    clear_on_close: content.clear_on_close,
    notify_on_close: content.notify_on_close,
    close: content.close,
    submit: content.submit,
    previous_view_id: view.previousId,
    root_view_id: view.rootId,
    app_id: world.app.id,
    external_id: content.external_id,
    app_installed_team_id: workspace.team,
    bot_id: workspace.installation?.botId ?? '',
  };
}
