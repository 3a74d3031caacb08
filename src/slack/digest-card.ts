import type { ProposalStatus } from '../core/proposal/proposal.ts';
import { operatorMention } from './card.ts';
import { SLACK_LIMITS } from './limits.ts';
import { LIST_ACTIONS } from './list-actions.ts';
import { code, counted, type KnownBlock, localTime, ourNote, ourSection, plain, utc } from './wording.ts';

/** Everything that a digest card shows. Counts and ids only: no word of an agent. */
export interface DigestView {
  readonly tenant: string;
  readonly agent: string;
  readonly team: string;
  readonly waiting: readonly { readonly tool: string; readonly count: number }[];
  /** When the first of them has to be decided, ms; undefined where it is not known. */
  readonly oldestDeadline: number | undefined;
  readonly settled: Partial<Record<ProposalStatus, number>>;
  readonly haltedBy: string | undefined;
}

/** One card in place of many: how many calls wait, and the way to the list of them. Nothing is decided on it. */
export function drawDigest(view: DigestView): { text: string; blocks: KnownBlock[] } {
  const count = view.waiting.reduce((sum, { count }) => sum + count, 0);
  const halted = view.settled.halted ?? 0;
  const waits = `${counted(count, 'more call')} of ${view.agent} ${count === 1 ? 'waits' : 'wait'} for a decision`;
  const headline =
    count > 0
      ? waits
      : halted > 0
        ? `Halted: ${counted(halted, 'call')} of ${view.agent} will not run`
        : `No more calls of ${view.agent} wait here`;
  const blocks: KnownBlock[] = [
    { type: 'header', text: plain(headline.slice(0, SLACK_LIMITS.header)) },
    ...(count > 0 ? waitingBlocks(view, count) : []),
    ...(halted > 0 ? [ourSection(haltedText(view, halted))] : []),
    ...settledBlocks(view),
  ];
  if (count > 0) {
    blocks.push({
      type: 'actions',
      block_id: 'cs_list',
      elements: [
        {
          type: 'button',
          action_id: LIST_ACTIONS.open,
          text: plain('Review the list'),
          style: 'primary',
          value: `${view.tenant} ${view.agent}`,
          accessibility_label: 'Read the waiting calls one by one; pick those to approve or to deny',
        },
      ],
    });
  }
  return { text: summary(view, headline, count), blocks };
}

function waitingBlocks({ agent, waiting, oldestDeadline }: DigestView, count: number): KnownBlock[] {
  const named = waiting.slice(0, MOST_TOOLS).map((entry) => `• ${code(entry.tool)}: ${entry.count}`);
  const rest = waiting.slice(MOST_TOOLS);
  if (rest.length > 0) {
    const more = rest.reduce((sum, entry) => sum + entry.count, 0);
    named.push(`• ${counted(rest.length, 'more tool')}: ${more}`);
  }
  return [
    ourSection(
      `${code(agent)} has *${counted(count, 'more call')}* waiting than this channel can show one by one:\n${named.join('\n')}`,
    ),
    ...(oldestDeadline === undefined
      ? []
      : [
          ourSection(
            `*Decide before* ${localTime(oldestDeadline)} (${utc(oldestDeadline)}): then the first of them expires.`,
          ),
        ]),
    ourNote('Nothing runs by itself. What nobody decides in time expires and does not run.'),
  ];
}

const MOST_TOOLS = 12;

function haltedText({ haltedBy, team }: DigestView, halted: number): string {
  const who = haltedBy === undefined ? '' : ` by ${operatorMention(haltedBy, team)}`;
  return `*Halted:* writes were switched off${who}. ${counted(halted, 'call')} that waited here will not run, not even when writes are on again.`;
}

function settledBlocks({ settled }: DigestView): KnownBlock[] {
  const run = RAN.reduce((sum, status) => sum + (settled[status] ?? 0), 0);
  const words = [
    [run, 'approved'],
    [settled.denied ?? 0, 'denied'],
    [settled.expired ?? 0, 'expired'],
    [settled.withdrawn ?? 0, 'withdrawn by the agent'],
    [settled.halted ?? 0, 'halted'],
  ] as const;
  const said = words.filter(([times]) => times > 0).map(([times, word]) => `${times} ${word}`);
  return said.length === 0
    ? []
    : [ourNote(`Of those that waited here: ${said.join(', ')}. What was approved has a card of its own.`)];
}

const RAN = ['approved', 'executing', 'succeeded', 'failed', 'unknown'] as const;

function summary({ tenant, waiting, oldestDeadline }: DigestView, headline: string, count: number): string {
  if (count === 0) return `${headline}. Tenant ${tenant}.`;
  const tools = waiting.slice(0, MOST_TOOLS).map((entry) => `${entry.count} of ${entry.tool}`);
  const by =
    oldestDeadline === undefined ? '' : ` The first has to be decided before ${utc(oldestDeadline)}.`;
  return `${headline}: ${tools.join(', ')}. Tenant ${tenant}.${by} Open the message to review the list.`;
}
