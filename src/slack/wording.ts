import type { types } from '@slack/bolt';
import type { PersonId } from '../core/identity/ids.ts';
import { slackIdsOf } from '../core/identity/ids.ts';
import { visibleText } from '../core/tool/visible-text.ts';

export type KnownBlock = types.KnownBlock;

/**
 * The only ways by which text gets into a message. What an agent or a person wrote goes through `asWritten`, where Slack
 * parses nothing: no mention, no link, no emoji, no formatting. Everything else is our own words, and ids whose pattern
 * leaves no room for Slack's control characters.
 */

export function plain(text: string): types.PlainTextElement {
  return { type: 'plain_text', text, emoji: false };
}

/** Our own words only. */
export function ourMrkdwn(text: string): types.MrkdwnElement {
  return { type: 'mrkdwn', text, verbatim: true };
}

export function ourSection(text: string): KnownBlock {
  return { type: 'section', text: ourMrkdwn(text) };
}

export function ourNote(text: string): KnownBlock {
  return { type: 'context', elements: [plain(text)] };
}

/** Text that is not ours, exactly as it stands. The caller has made it visible and cut it. */
export function asWritten(text: string): KnownBlock {
  return {
    type: 'rich_text',
    elements: [
      {
        type: 'rich_text_preformatted',
        elements: [{ type: 'text', text: text === '' ? '(empty)' : text }],
        border: 0,
      },
    ],
  };
}

/** A name or an id, in mrkdwn. None of ours needs the escapes; a word that a person typed may. */
export function code(id: string): string {
  const escaped = id.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `\`${escaped.replaceAll('`', "'")}\``;
}

/** A person by mention where this workspace knows him, else by his full id. `team` is the card's workspace. */
export function mention(person: PersonId, team: string): string {
  const ids = slackIdsOf(person);
  return ids.team === team ? `<@${ids.user}>` : code(person);
}

/** `user:U…` and `usergroup:S…`, as the policy names approvers. */
export function mentionEntry(entry: string): string {
  const user = /^user:([UW][A-Z0-9]+)$/.exec(entry)?.[1];
  if (user !== undefined) return `<@${user}>`;
  const group = /^usergroup:(S[A-Z0-9]+)$/.exec(entry)?.[1];
  return group === undefined ? code(entry) : `<!subteam^${group}>`;
}

/** `2026-01-31 14:05:09 UTC`. */
export function utc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** The reader's own time, with UTC where Slack cannot tell. For mrkdwn of our own. */
export function localTime(ms: number): string {
  return `<!date^${Math.floor(ms / 1000)}^{date_short_pretty} {time_secs}|${utc(ms)}>`;
}

/** `2 hours`, `90 seconds`: never rounded to something that is not true. */
export function inWords(ms: number): string {
  const units = [
    ['day', 86_400_000],
    ['hour', 3_600_000],
    ['minute', 60_000],
    ['second', 1_000],
  ] as const;
  for (const [name, size] of units) {
    if (ms >= size && ms % size === 0) return counted(ms / size, name);
  }
  return counted(Math.round(ms / 1000), 'second');
}

export function counted(count: number, thing: string, things = `${thing}s`): string {
  return `${count} ${count === 1 ? thing : things}`;
}

/** Visible, and on one line: for naming something short in plain text. */
export function oneLine(text: string): string {
  return visibleText(text).text.replaceAll('\n', '\\n').replaceAll('\t', ' ');
}
