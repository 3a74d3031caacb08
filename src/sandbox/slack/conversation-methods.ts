import type { Message } from './conversations.ts';
import { channelObject, messageObject } from './slack-objects.ts';
import type { Channel } from './slack-world.ts';
import {
  type ApiAnswer,
  type ApiCall,
  type ApiFailure,
  type ApiMethod,
  channelScope,
  failure,
  knownChannel,
  missingArgument,
} from './web-api-call.ts';

export const CONVERSATION_METHODS: Record<string, ApiMethod> = {
  'conversations.info': { tier: 'tier3', scopes: [], run: info },
  'conversations.members': { tier: 'tier4', scopes: [], run: members },
  'conversations.history': { tier: 'tier3', scopes: [], run: history },
  'conversations.replies': { tier: 'tier3', scopes: [], run: replies },
};

function readable(call: ApiCall, what: 'read' | 'history'): { ok: true; channel: Channel } | ApiFailure {
  const place = knownChannel(call, call.args.text('channel'));
  if (!place.ok) return place;
  return channelScope(call, place.channel, what) ?? place;
}

function info(call: ApiCall): ApiAnswer {
  const place = readable(call, 'read');
  if (!place.ok) return place;
  const count = call.args.flag('include_num_members') ? { num_members: place.channel.members.length } : {};
  return { ok: true, channel: { ...channelObject(call.workspace, place.channel), ...count } };
}

function members(call: ApiCall): ApiAnswer {
  const place = readable(call, 'read');
  if (!place.ok) return place;
  const page = pageOf(call, place.channel.members, 100);
  return page.ok ? { ok: true, members: page.items, response_metadata: { next_cursor: page.next } } : page;
}

function history(call: ApiCall): ApiAnswer {
  const place = readable(call, 'history');
  if (!place.ok) return place;
  if (!place.channel.members.includes(call.installation.botUser)) return failure('not_in_channel');
  const all = lasting(call, place.channel).filter((message) => message.threadTs === undefined);
  return messagePage(call, all.filter(within(call)).reverse());
}

function replies(call: ApiCall): ApiAnswer {
  const place = readable(call, 'history');
  if (!place.ok) return place;
  if (!place.channel.members.includes(call.installation.botUser)) return failure('not_in_channel');
  const ts = call.args.text('ts');
  if (ts === undefined) return missingArgument('ts');
  const thread = lasting(call, place.channel).filter(
    (message) => message.ts === ts || message.threadTs === ts,
  );
  return thread.length === 0 ? failure('thread_not_found') : messagePage(call, thread);
}

/** Ephemeral messages are in nobody's history. */
function lasting(call: ApiCall, channel: Channel): Message[] {
  const all = call.state.conversations.list(call.workspace.team, channel.id);
  return all.filter((message) => message.ephemeralFor === undefined);
}

function within(call: ApiCall): (message: Message) => boolean {
  const oldest = Number(call.args.text('oldest') ?? 0);
  const latest = Number(call.args.text('latest') ?? Number.MAX_SAFE_INTEGER);
  const inclusive = call.args.flag('inclusive');
  return ({ ts }) =>
    (Number(ts) > oldest && Number(ts) < latest) || (inclusive && [oldest, latest].includes(Number(ts)));
}

function messagePage(call: ApiCall, messages: Message[]): ApiAnswer {
  const page = pageOf(call, messages, 100);
  if (!page.ok) return page;
  const { state, workspace } = call;
  return {
    ok: true,
    messages: page.items.map((message) =>
      messageObject(state.world, workspace, state.conversations, message),
    ),
    has_more: page.next !== '',
    response_metadata: { next_cursor: page.next },
  };
}

function pageOf<T>(
  call: ApiCall,
  items: T[],
  usual: number,
): { ok: true; items: T[]; next: string } | ApiFailure {
  const cursor = call.args.text('cursor');
  const from =
    cursor === undefined ? 0 : Number(Buffer.from(cursor, 'base64').toString().replace('from:', ''));
  if (!Number.isInteger(from) || from < 0) return failure('invalid_cursor');
  const limit = call.args.count('limit', usual, 999);
  const more = from + limit < items.length;
  return {
    ok: true,
    items: items.slice(from, from + limit),
    next: more ? Buffer.from(`from:${from + limit}`).toString('base64') : '',
  };
}
