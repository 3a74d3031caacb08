import { z } from 'zod';
import type { Message } from './conversations.ts';
import { messageContent } from './message-content.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';
import { messageObject } from './slack-objects.ts';
import type { Channel } from './slack-world.ts';
import { findUser } from './slack-world.ts';
import {
  type ApiAnswer,
  type ApiCall,
  type ApiFailure,
  type ApiMethod,
  failure,
  knownChannel,
  missingArgument,
} from './web-api-call.ts';

/** In practice chat.update refuses texts that chat.postMessage still takes. */
const UPDATE_TEXT = 4000;

const Metadata = z.strictObject({
  event_type: z.string().min(1),
  event_payload: z.record(z.string(), z.unknown()),
});

export const CHAT_METHODS: Record<string, ApiMethod> = {
  'chat.postMessage': { tier: 'special', scopes: ['chat:write'], run: postMessage },
  'chat.update': { tier: 'tier3', scopes: ['chat:write'], run: update },
  'chat.postEphemeral': { tier: 'tier4', scopes: ['chat:write'], run: postEphemeral },
  'chat.getPermalink': { tier: 'special', scopes: [], run: getPermalink },
};

function postMessage(call: ApiCall): ApiAnswer {
  const place = writableChannel(call);
  if (!place.ok) return place;
  const content = messageContent(call.state, call.args);
  if (!content.ok) return content;
  const metadata = checkMetadata(call);
  if (!metadata.ok) return metadata;
  const thread = threadOf(call, place.channel);
  if (!thread.ok) return thread;
  const message = call.state.conversations.post({
    team: call.workspace.team,
    channel: place.channel.id,
    author: { kind: 'app', user: call.installation.botUser },
    text: content.text ?? '',
    blocks: content.blocks ?? [],
    ...thread.fields,
    ...metadata.fields,
  });
  return { ok: true, channel: message.channel, ts: message.ts, message: asObject(call, message) };
}

function update(call: ApiCall): ApiAnswer {
  const place = writableChannel(call);
  if (!place.ok) return place;
  const ts = call.args.text('ts');
  if (ts === undefined) return missingArgument('ts');
  const message = call.state.conversations.find(call.workspace.team, place.channel.id, ts);
  if (!message || message.ephemeralFor !== undefined) return failure('message_not_found');
  if (message.author.user !== call.installation.botUser) return failure('cant_update_message');
  const content = messageContent(call.state, call.args, UPDATE_TEXT);
  if (!content.ok) return content;
  const metadata = checkMetadata(call);
  if (!metadata.ok) return metadata;
  call.state.conversations.edit(message, {
    ...(content.text === undefined ? {} : { text: content.text }),
    ...(content.blocks === undefined ? {} : { blocks: content.blocks }),
    ...metadata.fields,
  });
  return { ok: true, channel: message.channel, ts, text: message.text, message: asObject(call, message) };
}

function postEphemeral(call: ApiCall): ApiAnswer {
  const place = writableChannel(call);
  if (!place.ok) return place;
  const user = call.args.text('user');
  if (user === undefined) return missingArgument('user');
  if (!findUser(call.workspace, user)) return failure('user_not_found');
  if (!place.channel.members.includes(user)) return failure('user_not_in_channel');
  const content = messageContent(call.state, call.args);
  if (!content.ok) return content;
  const thread = threadOf(call, place.channel);
  if (!thread.ok) return thread;
  const message = call.state.conversations.post({
    team: call.workspace.team,
    channel: place.channel.id,
    author: { kind: 'app', user: call.installation.botUser },
    text: content.text ?? '',
    blocks: content.blocks ?? [],
    ephemeralFor: user,
    ...thread.fields,
  });
  return { ok: true, message_ts: message.ts };
}

function getPermalink(call: ApiCall): ApiAnswer {
  const place = knownChannel(call, call.args.text('channel'));
  if (!place.ok) return place;
  const ts = call.args.text('message_ts');
  const message =
    ts === undefined ? undefined : call.state.conversations.find(call.workspace.team, place.channel.id, ts);
  if (!message || message.ephemeralFor !== undefined) return failure('message_not_found');
  const thread =
    message.threadTs === undefined ? '' : `?thread_ts=${message.threadTs}&cid=${message.channel}`;
  const permalink = `${call.state.url()}/archives/${message.channel}/p${message.ts.replace('.', '')}${thread}`;
  return { ok: true, channel: message.channel, permalink };
}

export function writableChannel(
  call: ApiCall,
  id = call.args.text('channel'),
): { ok: true; channel: Channel } | ApiFailure {
  const place = knownChannel(call, id);
  if (!place.ok) return place;
  if (place.channel.isArchived) return failure('is_archived');
  return place.channel.members.includes(call.installation.botUser) ? place : failure('not_in_channel');
}

type Fields<T> = { ok: true; fields: T };

function checkMetadata(call: ApiCall): Fields<Partial<Pick<Message, 'metadata'>>> | ApiFailure {
  const given = call.args.json('metadata');
  if (!given) return { ok: true, fields: {} };
  const parsed = 'broken' in given ? undefined : Metadata.safeParse(given.value);
  if (!parsed?.success) return failure('invalid_metadata_format');
  if (JSON.stringify(parsed.data).length > LIMITS.metadataBytes) return failure('metadata_too_large');
  return { ok: true, fields: { metadata: parsed.data } };
}

export function threadOf(
  call: ApiCall,
  channel: Channel,
): Fields<Partial<Pick<Message, 'threadTs'>>> | ApiFailure {
  const threadTs = call.args.text('thread_ts');
  if (threadTs === undefined) return { ok: true, fields: {} };
  const parent = call.state.conversations.find(call.workspace.team, channel.id, threadTs);
  if (!parent || parent.ephemeralFor !== undefined) return failure('thread_not_found');
  // A reply's own ts leads to its thread, as in Slack.
  return { ok: true, fields: { threadTs: parent.threadTs ?? parent.ts } };
}

function asObject(call: ApiCall, message: Message): Record<string, unknown> {
  return messageObject(call.state.world, call.workspace, call.state.conversations, message);
}
