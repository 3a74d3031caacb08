import type { types } from '@slack/bolt';
import { z } from 'zod';
import type { DenialReason, ReasonRule } from '../core/policy/verdict.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import { Digest } from '../core/tool/digest.ts';
import { ACTIONS } from './card.ts';
import { SLACK_LIMITS } from './limits.ts';
import type { Review } from './review.ts';
import { code, type KnownBlock, ourNote, ourSection, plain } from './wording.ts';

export const VIEWS = {
  approveReason: 'cs_approve_reason',
  denyReason: 'cs_deny_reason',
  review: 'cs_review',
  notice: 'cs_notice',
} as const;

/** Which of the policy's reasons to deny: each option's value is its place in the sealed rule. */
export const CHOICE_INPUT = { block: 'cs_choice', action: 'cs_choice_of' } as const;
export const REASON_INPUT = { block: 'cs_reason', action: 'cs_reason_text' } as const;

/**
 * What a modal remembers. It travels through Slack and back: a lookup key and comparisons, never a right. `page` is
 * the furthest page that was shown; pages are turned one at a time, so having shown page n means having shown all before.
 */
export const ModalMemory = z.strictObject({
  proposal: ProposalId,
  shown: Digest,
  page: z.int().min(0).optional(),
  furthest: z.int().min(0).optional(),
});
export type ModalMemory = z.infer<typeof ModalMemory>;

export function readMemory(text: string): ModalMemory | undefined {
  try {
    const parsed = ModalMemory.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The words of the call that a modal is about: ids only. */
export interface ModalSubject {
  readonly tool: string;
  readonly tenant: string;
  readonly environment: string;
}

export function reasonModal(
  decision: 'approve' | 'deny',
  memory: ModalMemory,
  subject: ModalSubject,
  need: ReasonRule,
  offered: readonly DenialReason[] = [],
): types.ModalView {
  const approving = decision === 'approve';
  return {
    type: 'modal',
    callback_id: approving ? VIEWS.approveReason : VIEWS.denyReason,
    private_metadata: JSON.stringify(memory),
    title: plain(approving ? 'Approve this call' : 'Deny this call'),
    submit: plain(approving ? 'Approve' : 'Deny'),
    close: plain('Back'),
    blocks: [
      subjectSection(subject),
      ourNote(
        approving
          ? 'It runs once, exactly as the card shows it. Your name and your reason are recorded with it.'
          : 'It ends for good: nobody can approve it any more. The agent is told your reason.',
      ),
      ...(offered.length > 0 ? choiceBlocks(offered, need) : [reasonInput(need)]),
    ],
  };
}

export function reviewModal(
  review: Review,
  memory: ModalMemory,
  subject: ModalSubject,
  need: ReasonRule,
): types.ModalView {
  const page = Math.min(memory.page ?? 0, review.pages.length - 1);
  const furthest = Math.max(memory.furthest ?? 0, page);
  const last = page === review.pages.length - 1;
  const blocks: KnownBlock[] = [
    subjectSection(subject),
    ourNote(`Page ${page + 1} of ${review.pages.length}. ${last ? LAST_PAGE : OTHER_PAGE}`),
    ...(review.pages[page] ?? []),
    ...turning(page, last),
    ...(last && need !== 'none' ? [reasonInput(need)] : []),
  ];
  return {
    type: 'modal',
    callback_id: VIEWS.review,
    private_metadata: JSON.stringify({ ...memory, page, furthest } satisfies ModalMemory),
    title: plain('Review this call'),
    ...(last ? { submit: plain('Approve') } : {}),
    close: plain('Close'),
    blocks,
  };
}

const LAST_PAGE = 'This is the last page: Approve runs the call once, exactly as these pages show it.';
const OTHER_PAGE = 'You can approve on the last page; deny from the card.';

/** What a modal turns into when there is nothing left to do in it. */
export function noticeModal(title: string, text: string): types.ModalView {
  return {
    type: 'modal',
    callback_id: VIEWS.notice,
    title: plain(title),
    close: plain('Close'),
    blocks: [{ type: 'section', text: plain(text) }],
  };
}

function subjectSection({ tool, tenant, environment }: ModalSubject): KnownBlock {
  const where =
    environment === 'production' ? `${code(environment)}: *changes real data*` : code(environment);
  return ourSection(`${code(tool)} for ${code(tenant)} in ${where}`);
}

function turning(page: number, last: boolean): KnownBlock[] {
  const button = (action: string, text: string): types.Button => ({
    type: 'button',
    action_id: action,
    text: plain(text),
  });
  const elements = [
    ...(page > 0 ? [button(ACTIONS.reviewBack, 'Previous page')] : []),
    ...(last ? [] : [button(ACTIONS.reviewNext, 'Next page')]),
  ];
  return elements.length === 0 ? [] : [{ type: 'actions', block_id: 'cs_pages', elements }];
}

/** One click, or words, or both; that there is one of them where it is required, the desk sees to. */
function choiceBlocks(offered: readonly DenialReason[], need: ReasonRule): KnownBlock[] {
  const told = offered.filter(({ tellAgent }) => tellAgent !== undefined);
  return [
    {
      type: 'input',
      block_id: CHOICE_INPUT.block,
      optional: true,
      label: plain(need === 'required' ? 'Why? Choose one, or write below' : 'Why?'),
      element: {
        type: 'radio_buttons',
        action_id: CHOICE_INPUT.action,
        options: offered.map(({ text }, index) => ({ text: plain(text), value: String(index) })),
      },
    },
    ...(told.length === 0 ? [] : [ourNote('With these reasons the agent is told what to do instead:')]),
    ...told.map(({ text, tellAgent = '' }) => ourNote(`${text}: ${tellAgent}`)),
    reasonInput('optional', 'Or in your own words'),
  ];
}

export function reasonInput(
  need: ReasonRule,
  label = need === 'required' ? 'Why?' : 'Why? (you may leave this empty)',
): KnownBlock {
  return {
    type: 'input',
    block_id: REASON_INPUT.block,
    optional: need !== 'required',
    label: plain(label),
    element: {
      type: 'plain_text_input',
      action_id: REASON_INPUT.action,
      multiline: true,
      max_length: SLACK_LIMITS.inputLength,
    },
  };
}
