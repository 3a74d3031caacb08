import { describeScope, type SwitchScope, scopeKey } from '../core/switch/scope.ts';
import type { Closed, OffEntry, Operator, SwitchStatus } from '../core/switch/write-switch.ts';
import { visibleText } from '../core/tool/visible-text.ts';
import { cutToBudget } from './arguments-text.ts';
import { operatorMention } from './card.ts';
import { WRITES_COMMAND } from './subcommand.ts';
import { asWritten, code, type KnownBlock, localTime, ourNote } from './wording.ts';

export function scopeText(scope: SwitchScope): string {
  return `*${describeScope(scope)}*`;
}

/** What to type to turn this scope on again. */
export function onCommand(scope: SwitchScope): string {
  const named = scopeKey(scope) === '*' ? '' : ` ${describeScope(scope).replaceAll(',', '')}`;
  return `${WRITES_COMMAND} on${named} <reason>`;
}

/** By name where this workspace knows the person. Another company's people are no business of this one's. */
export function operatorText(by: Operator, team: string): string {
  return isOutsider(by, team) ? 'an operator of another workspace' : operatorMention(by, team);
}

/** A reason is shown where it was given, and what was typed at a terminal everywhere. */
export function whyFor(entry: { by: Operator; why?: string | undefined }, team: string): string | undefined {
  return isOutsider(entry.by, team) ? undefined : entry.why;
}

/** What somebody typed, exactly as it stands, and said to be that. */
export function whyBlocks(why: string | undefined): KnownBlock[] {
  if (why === undefined) return [];
  return [ourNote('Why, as it was typed:'), asWritten(cutToBudget(visibleText(why).text, WHY_SHOWN).text)];
}

/** No more lines than leave what stands below in sight: a button among it. */
const WHY_SHOWN = { bytes: 1_200, lines: 10 } as const;

function isOutsider(by: Operator, team: string): boolean {
  return by.startsWith('slack:') && !by.startsWith(`slack:${team}/`);
}

export function offLine(entry: OffEntry, team: string): string {
  const until = entry.until === undefined ? '' : `, reminder ${localTime(entry.until)}`;
  return `${scopeText(entry.scope)} by ${operatorText(entry.by, team)} since ${localTime(entry.since)}${until}`;
}

/** The state of the switch in one sentence or two: what is so, and what to do. */
export function stateText(status: Pick<SwitchStatus, 'state' | 'closed'>): string {
  if (status.state === 'on') return '*Writes are on.*';
  if (status.state === 'off') return '*Writes are off.*';
  return CLOSED[status.closed ?? 'unreadable'];
}

const ARM = `Somebody whom the policy lets turn writes on has to type ${code(`${WRITES_COMMAND} on <reason>`)}.`;

const CLOSED: Readonly<Record<Closed, string>> = {
  never_armed: `*Writes are off*, and nobody switched them off: nobody has turned them on yet, or Redis was emptied and the switch with it. ${ARM}`,
  permit_lapsed:
    '*Writes are off for the moment*, and nobody switched them off: the permit that this service renews every second has lapsed. They come back by themselves as soon as it is renewed; if they do not, look at the approval service and at Redis.',
  unreadable: `*Writes are off*, and nobody switched them off: what Redis holds of the switch cannot be read, or is older than what was seen before. Tell whoever runs Countersign. ${ARM}`,
};
