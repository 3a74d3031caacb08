import { messageContent } from './message-content.ts';
import type { ResponseTarget } from './response-url.ts';
import type { SlackState } from './slack-state.ts';
import { findWorkspace } from './slack-world.ts';
import { type ApiAnswer, ApiArguments, failure } from './web-api-call.ts';

/**
 * A message that the app gives back instead of calling the API: in the ack of a slash command, or to a response_url.
 * By default only the person who acted sees it. It needs no membership of the bot.
 */
export function postAppAnswer(state: SlackState, target: ResponseTarget, body: unknown): ApiAnswer {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return failure('invalid_payload');
  const args = new ApiArguments(body as Record<string, unknown>);
  const { original } = target;
  if (args.flag('delete_original')) {
    if (!original || original.deleted) return failure('message_not_found');
    state.conversations.remove(original);
    return { ok: true };
  }
  const content = messageContent(state, args);
  if (!content.ok) return content;
  if (args.flag('replace_original')) {
    if (!original || original.deleted) return failure('message_not_found');
    state.conversations.edit(original, { text: content.text ?? '', blocks: content.blocks ?? [] });
    return { ok: true };
  }
  const type = args.text('response_type') ?? 'ephemeral';
  if (type !== 'ephemeral' && type !== 'in_channel') return failure('invalid_response_type');
  const bot = findWorkspace(state.world, target.team)?.installation?.botUser;
  if (bot === undefined) return failure('account_inactive');
  state.conversations.post({
    team: target.team,
    channel: target.channel,
    author: { kind: 'app', user: bot },
    text: content.text ?? '',
    blocks: content.blocks ?? [],
    ...(target.threadTs === undefined ? {} : { threadTs: target.threadTs }),
    ...(type === 'ephemeral' ? { ephemeralFor: target.user } : {}),
  });
  return { ok: true };
}
