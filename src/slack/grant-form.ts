import type { types } from '@slack/bolt';
import { z } from 'zod';
import type { GrantDraft, GrantWish } from '../core/grant/grant-desk.ts';
import type { ReasonRule } from '../core/policy/verdict.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import { Digest } from '../core/tool/digest.ts';
import type { GrantSight } from './grant-terms.ts';
import { SLACK_LIMITS } from './limits.ts';
import { REASON_INPUT } from './modals.ts';
import { code, counted, inWords, type KnownBlock, oneLine, ourNote, ourSection, plain } from './wording.ts';

export const GRANT_VIEWS = { choose: 'cs_grant_choose', confirm: 'cs_grant_confirm' } as const;
export const USES_INPUT = { block: 'cs_grant_uses', action: 'cs_grant_uses_number' } as const;
export const MINUTES_INPUT = { block: 'cs_grant_minutes', action: 'cs_grant_minutes_number' } as const;
/** In groups of ten, as many as Slack lets one block have. */
export const FREE_INPUT = { block: 'cs_grant_free', action: 'cs_grant_free_arguments', group: 10 } as const;

/** What a form remembers. It travels through Slack and back: a lookup key and comparisons, never a right. */
const GrantMemory = z.strictObject({
  proposal: ProposalId,
  /** Of the card that the form was opened from. */
  shown: Digest,
  wish: z
    .strictObject({
      uses: z.int().min(1),
      lifeMs: z.int().min(1),
      free: z.array(z.int().min(0)).max(100),
      /** Of the last form. */
      shown: Digest,
    })
    .optional(),
});
export type GrantMemory = z.infer<typeof GrantMemory>;

export function readGrantMemory(text: string): GrantMemory | undefined {
  try {
    const parsed = GrantMemory.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

const MINUTE_MS = 60_000;

/** First: how many, how long, and what may differ. Nothing may, unless it is ticked. */
export function chooseModal(memory: GrantMemory, draft: GrantDraft, sight: GrantSight): types.ModalView {
  const minutes = Math.max(1, Math.floor(draft.lifeMs / MINUTE_MS));
  return {
    type: 'modal',
    callback_id: GRANT_VIEWS.choose,
    private_metadata: JSON.stringify({
      proposal: memory.proposal,
      shown: memory.shown,
    } satisfies GrantMemory),
    title: plain('Allow more like this'),
    submit: plain('Show what I allow'),
    close: plain('Back'),
    blocks: [
      ourNote(
        'Nothing is approved yet. The next page shows in full what you are about to allow; the call on the card is approved with it.',
      ),
      numberInput(
        USES_INPUT,
        `How many more calls? At most ${draft.maxUses}.`,
        Math.min(DEFAULT_USES, draft.maxUses),
        draft.maxUses,
      ),
      numberInput(
        MINUTES_INPUT,
        `For how many minutes? At most ${minutes}.`,
        Math.min(DEFAULT_MINUTES, minutes),
        minutes,
      ),
      ...freeInputs(draft),
      ourSection('*The call as it is now.* Whatever you do not tick has to be exactly the same:'),
      ...sight.blocks.slice(FRAME_BLOCKS),
    ],
  };
}

const DEFAULT_USES = 5;
const DEFAULT_MINUTES = 30;
/** What stands before the arguments in `drawGrantTerms`. */
const FRAME_BLOCKS = 2;

/** Last: the grant itself, in full. */
export function confirmModal(
  memory: GrantMemory & { wish: NonNullable<GrantMemory['wish']> },
  sight: GrantSight,
  need: ReasonRule,
): types.ModalView {
  const free = memory.wish.free.length;
  return {
    type: 'modal',
    callback_id: GRANT_VIEWS.confirm,
    private_metadata: JSON.stringify(memory),
    title: plain('This is what you allow'),
    submit: plain('Approve and allow'),
    close: plain('Back'),
    blocks: [
      ourNote(
        `The call on the card is approved, and runs. Then these calls run without asking anybody${free === 0 ? '' : `, whatever ${free === 1 ? 'the argument marked ANYTHING holds' : 'the arguments marked ANYTHING hold'}`}. Your name stands for each. You, the other approvers and the operators can revoke it at any time; switching writes off ends it for good.`,
      ),
      ...sight.blocks,
      ...(need === 'none' ? [] : [reasonInput(need)]),
    ],
  };
}

/** What was entered, or what is wrong with it, by block. */
export function wishIn(
  values: Record<string, Record<string, unknown>>,
): { ok: true; wish: GrantWish } | { ok: false; errors: Record<string, string> } {
  const uses = wholeNumber(values[USES_INPUT.block]?.[USES_INPUT.action]);
  const minutes = wholeNumber(values[MINUTES_INPUT.block]?.[MINUTES_INPUT.action]);
  const errors: Record<string, string> = {};
  if (uses === undefined) errors[USES_INPUT.block] = 'A whole number, please.';
  if (minutes === undefined) errors[MINUTES_INPUT.block] = 'A whole number of minutes, please.';
  if (uses === undefined || minutes === undefined) return { ok: false, errors };
  const free = Object.entries(values)
    .filter(([block]) => block.startsWith(FREE_INPUT.block))
    .flatMap(([, actions]) => Ticked.safeParse(actions[FREE_INPUT.action]).data?.selected_options ?? [])
    .map(({ value }) => Number(value));
  return { ok: true, wish: { uses, lifeMs: minutes * MINUTE_MS, free } };
}

const Ticked = z.looseObject({
  selected_options: z.array(z.looseObject({ value: z.string().regex(/^[0-9]{1,3}$/) })),
});
const Entered = z.looseObject({ value: z.string().regex(/^[1-9][0-9]{0,5}$/) });

function wholeNumber(state: unknown): number | undefined {
  const entered = Entered.safeParse(state);
  return entered.success ? Number(entered.data.value) : undefined;
}

export function outOfBounds(draft: GrantDraft): Record<string, string> {
  return {
    [USES_INPUT.block]: `From 1 to ${draft.maxUses}.`,
    [MINUTES_INPUT.block]: `At most ${inWords(draft.lifeMs)}.`,
  };
}

function numberInput(
  at: { block: string; action: string },
  label: string,
  initial: number,
  most: number,
): KnownBlock {
  return {
    type: 'input',
    block_id: at.block,
    label: plain(label),
    element: {
      type: 'number_input',
      action_id: at.action,
      is_decimal_allowed: false,
      initial_value: String(initial),
      min_value: '1',
      max_value: String(most),
    },
  };
}

function freeInputs({ pattern }: GrantDraft): KnownBlock[] {
  const groups: KnownBlock[] = [];
  for (let first = 0; first < pattern.length; first += FREE_INPUT.group) {
    const parts = pattern.slice(first, first + FREE_INPUT.group);
    groups.push({
      type: 'input',
      block_id: `${FREE_INPUT.block}_${first}`,
      optional: true,
      label: plain(
        first === 0
          ? 'Which arguments may be anything? Tick none to allow only the same call.'
          : 'And of these?',
      ),
      element: {
        type: 'checkboxes',
        action_id: FREE_INPUT.action,
        options: parts.map(({ name }, index) => ({
          text: plain(`${oneLine(name).slice(0, 60)} may differ`),
          value: String(first + index),
        })),
      },
    });
  }
  return groups;
}

function reasonInput(need: ReasonRule): KnownBlock {
  return {
    type: 'input',
    block_id: REASON_INPUT.block,
    optional: need !== 'required',
    label: plain(need === 'required' ? 'Why?' : 'Why? (you may leave this empty)'),
    element: {
      type: 'plain_text_input',
      action_id: REASON_INPUT.action,
      multiline: true,
      max_length: SLACK_LIMITS.inputLength,
    },
  };
}

/** For the person who gave it, and nobody else. */
export function givenNotice(uses: number, lifeMs: number, tool: string): string {
  return `Your approval is recorded, and so is your grant: ${counted(uses, 'more call')} of ${code(tool)} within ${inWords(lifeMs)}. Its card is in the channel; revoke it there or with \`/agent-writes grants\`.`;
}
