import type { types } from '@slack/bolt';
import type { SignedDecision } from '../core/approval/decision.ts';
import type { ProposalState } from '../core/proposal/proposal.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import { jsonBytes } from './arguments-text.ts';
import { ACTIONS, type DrawnCard } from './card.ts';
import { whyBlocks } from './switch-wording.ts';
import { code, counted, type KnownBlock, localTime, ourNote, ourSection, plain } from './wording.ts';

export const HOME_ACTIONS = {
  next: 'cs_home_next',
  back: 'cs_home_back',
  refresh: 'cs_home_refresh',
} as const;

/**
 * What the calls on one page may take up; the rest of the view stays below what is left of Slack's 100 blocks and
 * 250 kB. One card always fits: https://docs.slack.dev/surfaces/app-home
 */
export const HOME_PAGE = { blocks: 70, bytes: 60_000 } as const;

/** The inbox of one person. */
export interface HomeContent {
  readonly kind: 'inbox';
  /** The state of the switch, our words. */
  readonly writes: string;
  /** What operators wrote about it. */
  readonly why: string | undefined;
  /** What this person may decide, oldest deadline first. */
  readonly waiting: readonly WaitingCall[];
  /** Some calls could not be checked, and so are not shown. */
  readonly unchecked: boolean;
  readonly recent: readonly RecentDecision[];
}

/** Nothing is shown, and why. */
export type HomeView = HomeContent | { readonly kind: 'closed'; readonly sentence: string };

export interface WaitingCall {
  readonly proposal: string;
  readonly card: DrawnCard;
  /** Where the card stands. */
  readonly link: string | undefined;
}

/** A decision of this person, and what came of it. */
export interface RecentDecision {
  readonly terms: ProposalTerms;
  readonly decision: SignedDecision['statement'];
  readonly status: ProposalState['status'];
  readonly link: string | undefined;
}

export function drawHome(
  view: HomeView,
  { page, notice }: { page: number; notice?: string | undefined },
): types.HomeView {
  const told = notice === undefined ? [] : [toldSection(notice)];
  if (view.kind === 'closed') {
    return home([...told, ourSection(view.sentence), controls([refreshButton()])], 0);
  }
  const pages = pagesOf(view.waiting);
  const at = Math.max(0, Math.min(page, pages.length - 1));
  return home(
    [
      ...told,
      ourSection(view.writes),
      ...whyBlocks(view.why),
      { type: 'header', text: plain(`Waiting for you: ${view.waiting.length}`) },
      ...(view.unchecked ? [ourSection(UNCHECKED)] : []),
      ...(view.waiting.length === 0 && !view.unchecked ? [ourSection(NOTHING)] : []),
      ...(pages[at] ?? []).flatMap(callBlocks),
      ...pager(at, pages.length),
      ...recentBlocks(view.recent),
    ],
    at,
  );
}

export function closed(sentence: string): HomeView {
  return { kind: 'closed', sentence };
}

const UNCHECKED =
  '*Not everything could be checked just now*, and what could not is not shown: Slack did not tell who may decide, or a channel is shared, archived or gone. Refresh in a moment; if it stays so, tell your administrator.';
const NOTHING = 'Nothing waits for a decision of yours.';

function home(blocks: KnownBlock[], page: number): types.HomeView {
  return { type: 'home', private_metadata: JSON.stringify({ page }), blocks };
}

/** `private_metadata` has been with Slack and back; a page that is not there is the nearest one. */
export function pageOf(metadata: string): number {
  const page = /^\{"page":([0-9]{1,4})\}$/.exec(metadata)?.[1];
  return page === undefined ? 0 : Number(page);
}

/** What came of this person's last click: fixed words of ours. */
function toldSection(notice: string): KnownBlock {
  return { type: 'section', block_id: 'cs_home_told', text: plain(notice) };
}

/**
 * The very blocks of the card, so that what is shown here is what its digest is over; of its buttons, those that decide
 * from here too. Ids must be unique in a view.
 */
function callBlocks({ proposal, card, link }: WaitingCall): KnownBlock[] {
  const blocks = card.blocks.flatMap((block): KnownBlock[] => {
    if (block.type !== 'actions') return [block];
    const elements = block.elements.filter((element) => DECIDING.has(element.action_id ?? ''));
    return elements.length === 0 ? [] : [{ ...block, elements }];
  });
  const numbered = blocks.map((block, index) =>
    block.block_id === undefined ? block : { ...block, block_id: `${block.block_id}:${proposal}:${index}` },
  );
  const card_at =
    link === undefined
      ? []
      : [ourSection(`<${link}|The card in its channel>, with everything that can be done there`)];
  return [{ type: 'divider' }, ...numbered, ...card_at];
}

const DECIDING: ReadonlySet<string> = new Set([ACTIONS.approve, ACTIONS.deny, ACTIONS.review]);

function pagesOf(waiting: readonly WaitingCall[]): WaitingCall[][] {
  const pages: WaitingCall[][] = [];
  let left = { blocks: 0, bytes: 0 };
  for (const call of waiting) {
    const drawn = callBlocks(call);
    const bytes = jsonBytes(JSON.stringify(drawn));
    if (pages.length === 0 || drawn.length > left.blocks || bytes > left.bytes) {
      pages.push([]);
      left = { ...HOME_PAGE };
    }
    pages.at(-1)?.push(call);
    left = { blocks: left.blocks - drawn.length, bytes: left.bytes - bytes };
  }
  return pages;
}

function pager(page: number, pages: number): KnownBlock[] {
  const buttons = [
    ...(page > 0 ? [button(HOME_ACTIONS.back, 'Previous page')] : []),
    ...(page < pages - 1 ? [button(HOME_ACTIONS.next, 'Next page')] : []),
    refreshButton(),
  ];
  const note = pages > 1 ? [ourNote(`Page ${page + 1} of ${pages}, oldest deadline first.`)] : [];
  return [...note, controls(buttons)];
}

function controls(elements: types.Button[]): KnownBlock {
  return { type: 'actions', block_id: 'cs_home_controls', elements };
}

function refreshButton(): types.Button {
  return {
    ...button(HOME_ACTIONS.refresh, 'Refresh'),
    accessibility_label: 'Look again at what waits for you',
  };
}

function button(action: string, text: string): types.Button {
  return { type: 'button', action_id: action, text: plain(text) };
}

function recentBlocks(recent: readonly RecentDecision[]): KnownBlock[] {
  if (recent.length === 0) return [];
  return [
    { type: 'header', text: plain(`Your last ${counted(recent.length, 'decision')}`) },
    ...recent.map((one) => ourSection(recentLine(one))),
  ];
}

function recentLine({ terms, decision, status, link }: RecentDecision): string {
  const { tenant, environment } = terms.context;
  const verb = decision.decision === 'approve' ? 'approved' : 'denied';
  const at = link === undefined ? code(terms.id) : `<${link}|card>`;
  return `You ${verb} ${code(terms.tool)} for ${code(tenant)} in ${code(environment)} ${localTime(decision.at)}: ${BECAME[status]} (${at})`;
}

const BECAME: Readonly<Record<ProposalState['status'], string>> = {
  pending: 'it waits for others',
  approved: 'it is about to run',
  executing: 'it is running',
  succeeded: 'it succeeded',
  failed: 'it failed',
  unknown: '*whether it ran is not known*',
  denied: 'it will not run',
  expired: 'it expired and will not run',
  withdrawn: 'the agent withdrew it',
  halted: 'it was halted and will not run',
};
