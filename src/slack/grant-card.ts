import type { types } from '@slack/bolt';
import type { StoredGrant } from '../core/grant/grant-store.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import { operatorMention } from './card.ts';
import { drawGrantTerms, patternText, scopeOfStatement } from './grant-terms.ts';
import {
  asWritten,
  code,
  counted,
  type KnownBlock,
  localTime,
  mention,
  ourNote,
  ourSection,
  plain,
  utc,
} from './wording.ts';

export const REVOKE_GRANT = 'cs_grant_revoke';

export interface GrantView {
  /** Its signature was checked. */
  readonly grant: StoredGrant;
  /** Undefined: no such tool is known here any more. */
  readonly tool: ToolDefinition | undefined;
  readonly team: string;
  /** Redis's clock, ms. */
  readonly now: number;
}

/** The one card of a grant: what it allows, how much of it is left, and how to end it. */
export function drawGrantCard(view: GrantView): { text: string; blocks: KnownBlock[] } {
  const { grant, tool, team } = view;
  const { statement } = grant.signed;
  const environment = statement.environment === 'production' ? 'PRODUCTION' : statement.environment;
  const headline = `${headlineOf(view)} · ${environment} · ${statement.tool}`;
  const terms = drawGrantTerms(scopeOfStatement(statement), tool, team);
  const text = `${headline}. Given by ${statement.person}; ${usesText(view)}. ${stateText(view, plainWords)}`;
  const blocks: KnownBlock[] = [
    { type: 'header', text: plain(headline.slice(0, 150)) },
    ourSection(
      `Given by ${mention(statement.person, team)} ${localTime(statement.at)}. *${usesText(view)}.* ${stateText(view, slackWords(team))}`,
    ),
    ...(terms?.blocks ?? [
      ourSection(
        `${code(statement.tool)} is not known here as it was when this was given, so nothing runs under it.`,
      ),
      asWritten(patternText(statement.pattern)),
    ]),
    ourNote(`${statement.grant}`),
    ...(isOpen(view) ? [revokeBlock(statement.grant)] : []),
  ];
  return { text, blocks };
}

export function isOpen({ grant, now }: Pick<GrantView, 'grant' | 'now'>): boolean {
  const { maxUses, expires } = grant.signed.statement;
  return grant.end === undefined && now < expires && grant.uses.length < maxUses;
}

export function usesText({ grant }: Pick<GrantView, 'grant'>): string {
  const { maxUses } = grant.signed.statement;
  return `${grant.uses.length} of ${counted(maxUses, 'call')} used, ${Math.max(0, maxUses - grant.uses.length)} left`;
}

export function revokeButton(grant: string): types.Button {
  return {
    type: 'button',
    action_id: REVOKE_GRANT,
    text: plain('Revoke'),
    style: 'danger',
    value: grant,
    accessibility_label: 'Revoke this grant: later calls ask people again',
    confirm: {
      title: plain('Revoke this grant?'),
      text: plain('From now on each such call asks people again. What has started may finish.'),
      confirm: plain('Revoke'),
      deny: plain('Back'),
      style: 'danger',
    },
  };
}

function revokeBlock(grant: string): types.ActionsBlock {
  return { type: 'actions', block_id: 'cs_grant', elements: [revokeButton(grant)] };
}

function headlineOf(view: GrantView): string {
  if (view.grant.end?.state === 'revoked') return 'Grant revoked';
  if (view.grant.end?.state === 'voided') return 'Grant ended';
  if (view.now >= view.grant.signed.statement.expires) return 'Grant expired';
  return isOpen(view) ? 'Standing grant' : 'Grant used up';
}

interface Words {
  who(by: string): string;
  time(ms: number): string;
}

const plainWords: Words = { who: (by) => by, time: utc };
const slackWords = (team: string): Words => ({ who: (by) => operatorMention(by, team), time: localTime });

function stateText(view: GrantView, { who, time }: Words): string {
  const { end, signed } = view.grant;
  const { expires } = signed.statement;
  if (end?.state === 'revoked')
    return `Revoked by ${who(end.by)} ${time(end.at)}. Each such call asks people again.`;
  if (end?.state === 'voided')
    return `${VOIDED[end.why] ?? VOIDED.other} ${time(end.at)}. Each such call asks people again.`;
  if (view.now >= expires) return `Its time was over ${time(expires)}. Each such call asks people again.`;
  return isOpen(view)
    ? `It ends ${time(expires)} at the latest.`
    : 'There are no calls left in it. Each such call asks people again.';
}

const VOIDED: Readonly<Record<string, string>> & { readonly other: string } = {
  switch: 'Writes were switched off since it was given, which ended it for good,',
  giver_not_entitled: 'The person who gave it may not approve this any more, which ended it,',
  forged: 'It is not signed by this service, which ended it,',
  other: 'It was ended',
};
