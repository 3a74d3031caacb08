import { checkBlocks } from './block-check.ts';
import type { Block } from './block-kit.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';
import type { SlackState } from './slack-state.ts';
import { type ApiArguments, type ApiFailure, failure } from './web-api-call.ts';

export interface MessageContent {
  text: string | undefined;
  blocks: Block[] | undefined;
}

/** The text and blocks of a message that the app wants to show, under every limit that Slack has for them. */
export function messageContent(
  state: SlackState,
  args: ApiArguments,
  mostText: number = LIMITS.messageText,
): ({ ok: true } & MessageContent) | ApiFailure {
  if (args.all.attachments !== undefined) return failure('invalid_attachments');
  const text = args.text('text');
  const given = args.json('blocks');
  if (given && 'broken' in given) return failure('invalid_blocks_format');
  if (given && !Array.isArray(given.value)) return failure('invalid_blocks_format');
  const raw = given?.value as unknown[] | undefined;
  if (text === undefined && (raw === undefined || raw.length === 0)) return failure('no_text');
  if ((text?.length ?? 0) > mostText) return failure('msg_too_long');
  if (raw === undefined) return { ok: true, text, blocks: undefined };
  const checked = checkBlocks(raw, 'message', state.newId);
  if (!checked.ok) return failure('invalid_blocks', checked.problems);
  if (JSON.stringify(raw).length > LIMITS.messageBlocksJson) return failure('msg_blocks_too_long');
  return { ok: true, text, blocks: checked.value };
}
