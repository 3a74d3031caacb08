import type { types } from '@slack/bolt';
import type { ReasonRule } from '../core/policy/verdict.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import { LIST_ACTIONS } from './list-actions.ts';
import type { ListedCall } from './listed-call.ts';
import { reasonInput } from './modals.ts';
import { asWritten, code, counted, type KnownBlock, ourNote, ourSection, plain } from './wording.ts';

export const LIST_VIEWS = { list: 'cs_list', batch: 'cs_batch', done: 'cs_batch_done' } as const;

const PICK_BLOCK = 'cs_pick_';

/** A call on the list, as it is shown. */
export interface OnList {
  readonly id: ProposalId;
  readonly listed: ListedCall;
  /** Why it cannot be approved together with others; it can be denied. */
  readonly alone: 'not_whole' | 'irreversible' | 'quorum' | 'reason' | undefined;
}

export interface ListPage {
  readonly agent: string;
  readonly tenant: string;
  readonly calls: readonly OnList[];
  readonly page: number;
  readonly pages: number;
  /** How many wait in all. */
  readonly count: number;
  /** Calls on this page that could not be read, and so are not shown. */
  readonly unreadable: number;
  /** Under our signature: which calls are on this page. */
  readonly memory: string;
}

/** A page of the list. Nothing is picked beforehand, and nothing is decided before each picked call was shown again. */
export function listModal(list: ListPage): types.ModalView {
  const { calls, page, pages, count } = list;
  const blocks: KnownBlock[] = [
    ourSection(
      `${code(list.agent)} for ${code(list.tenant)}: *${counted(count, 'call waits', 'calls wait')}* here. Page ${page + 1} of ${pages}.`,
    ),
    ourNote(
      'Pick calls on this page, then approve or deny the picked ones at the end of it. You are shown them once more before anything is decided. What you pick is forgotten when you turn the page.',
    ),
    ...(list.unreadable === 0
      ? []
      : [
          ourNote(
            `${counted(list.unreadable, 'call')} of this page cannot be read and is not shown. Nothing is decided about it here.`,
          ),
        ]),
    ...calls.flatMap((call, index) =>
      listedBlocks(call, `Call ${index + 1} of ${calls.length} on this page`),
    ),
    ...(calls.length === 0 ? [ourSection('Nothing waits on this page any more.')] : [decideBlock()]),
    ...turning(page, pages),
  ];
  return {
    type: 'modal',
    callback_id: LIST_VIEWS.list,
    private_metadata: list.memory,
    title: plain('Waiting calls'),
    close: plain('Close'),
    blocks,
  };
}

function listedBlocks({ id, listed, alone }: OnList, title: string): KnownBlock[] {
  return [
    ourSection(`*${title}*`),
    ...listed.blocks,
    {
      type: 'actions',
      block_id: `${PICK_BLOCK}${id}`,
      elements: [
        {
          type: 'checkboxes',
          action_id: LIST_ACTIONS.pick,
          options: [
            {
              text: plain('Pick this call'),
              value: id,
              ...(alone === undefined ? {} : { description: plain(`Only to deny it: ${ALONE[alone]}`) }),
            },
          ],
        },
        {
          type: 'button',
          action_id: LIST_ACTIONS.openOne,
          text: plain('Open'),
          value: id,
          accessibility_label: `${title}: open it alone and read all of it`,
        },
      ],
    },
  ];
}

export const ALONE = {
  not_whole: 'it is not shown whole here',
  irreversible: 'what it does cannot be undone',
  quorum: 'it needs several people',
  reason: 'approving it needs a reason of its own',
} as const;

function decideBlock(): KnownBlock {
  return {
    type: 'actions',
    block_id: 'cs_list_decide',
    elements: [
      {
        type: 'button',
        action_id: LIST_ACTIONS.approve,
        text: plain('Approve the picked calls…'),
        style: 'primary',
        accessibility_label: 'Look at the picked calls once more, then approve them',
      },
      {
        type: 'button',
        action_id: LIST_ACTIONS.deny,
        text: plain('Deny the picked calls…'),
        style: 'danger',
        accessibility_label: 'Look at the picked calls once more, then deny them',
      },
    ],
  };
}

function turning(page: number, pages: number): KnownBlock[] {
  const button = (action: string, text: string): types.Button => ({
    type: 'button',
    action_id: action,
    text: plain(text),
  });
  const elements = [
    ...(page > 0 ? [button(LIST_ACTIONS.back, 'Previous page')] : []),
    ...(page + 1 < pages ? [button(LIST_ACTIONS.next, 'Next page')] : []),
  ];
  return elements.length === 0 ? [] : [{ type: 'actions', block_id: 'cs_list_pages', elements }];
}

/** What was picked, as the body says it: to be held against what was shown. */
export function pickedIn(
  values: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>,
): string[] {
  return Object.entries(values).flatMap(([block, actions]) => {
    if (!block.startsWith(PICK_BLOCK)) return [];
    const chosen = actions[LIST_ACTIONS.pick]?.selected_options;
    if (!Array.isArray(chosen)) return [];
    return chosen.flatMap((option: unknown) => {
      const value =
        typeof option === 'object' && option !== null && 'value' in option ? option.value : undefined;
      return typeof value === 'string' ? [value] : [];
    });
  });
}

export interface BatchQuestion {
  readonly decision: 'approve' | 'deny';
  readonly calls: readonly OnList[];
  /** Those that were picked and are left out, and why. */
  readonly leftOut: readonly { readonly id: ProposalId; readonly why: string }[];
  readonly reason: ReasonRule;
  /** Under our signature: which calls are asked about. */
  readonly memory: string;
}

/** Exactly the calls that are about to be decided, each once more. */
export function batchModal({ decision, calls, leftOut, reason, memory }: BatchQuestion): types.ModalView {
  const verb = decision === 'approve' ? 'Approve' : 'Deny';
  const these = calls.length === 1 ? 'this call' : `these ${calls.length} calls`;
  return {
    type: 'modal',
    callback_id: LIST_VIEWS.batch,
    private_metadata: memory,
    title: plain(`${verb} ${counted(calls.length, 'call')}`),
    submit: plain(`${verb} ${calls.length}`),
    close: plain('Back'),
    blocks: [
      ourSection(
        decision === 'approve'
          ? `You approve *${these} and no other*. Each runs once, exactly as it stands here, and your name is recorded with each.`
          : `You deny *${these} and no other*. They end for good: nobody can approve them any more.`,
      ),
      ...leftOutBlocks(leftOut),
      ...calls.flatMap(({ listed }, index) => [
        ourSection(`*${index + 1} of ${calls.length}*`),
        ...listed.blocks,
      ]),
      ...(reason === 'none' ? [] : [reasonInput(reason)]),
    ],
  };
}

function leftOutBlocks(leftOut: BatchQuestion['leftOut']): KnownBlock[] {
  if (leftOut.length === 0) return [];
  return [
    ourSection(`*Left out:* ${counted(leftOut.length, 'call')} that cannot be decided this way.`),
    asWritten(leftOut.map(({ id, why }) => `${id}: ${why}`).join('\n')),
  ];
}

export interface BatchResult {
  readonly decision: 'approve' | 'deny';
  readonly counted: readonly ProposalId[];
  readonly refused: readonly { readonly id: ProposalId; readonly why: string }[];
}

/** What counted and what did not, and why. */
export function doneModal(result: BatchResult): types.ModalView {
  return {
    type: 'modal',
    callback_id: LIST_VIEWS.done,
    title: plain('What came of it'),
    close: plain('Close'),
    blocks: [
      ourSection(doneText(result)),
      ...(result.counted.length === 0 ? [] : [asWritten(result.counted.join('\n'))]),
      ...(result.refused.length === 0
        ? []
        : [
            ourSection(`*${counted(result.refused.length, 'call')} did not count:*`),
            asWritten(result.refused.map(({ id, why }) => `${id}: ${why}`).join('\n')),
          ]),
    ],
  };
}

export function doneText({ decision, counted: ids }: BatchResult): string {
  const verb = decision === 'approve' ? 'approved' : 'denied';
  if (ids.length === 0) return 'Nothing was decided.';
  const then =
    decision === 'approve'
      ? 'Each runs once, now, where no more people are needed.'
      : 'None of them will run.';
  return `You ${verb} ${counted(ids.length, 'call')}; each is recorded with your name. ${then}`;
}
