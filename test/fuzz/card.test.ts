import fc from 'fast-check';
import { expect } from 'vitest';
import { checkBlocks } from '../../src/sandbox/slack/block-check.ts';
import { checkView } from '../../src/sandbox/slack/view.ts';
import { ACTIONS, drawCard } from '../../src/slack/card.ts';
import { CARD_BUDGET } from '../../src/slack/limits.ts';
import { drawListed } from '../../src/slack/listed-call.ts';
import { reviewModal } from '../../src/slack/modals.ts';
import { drawReview } from '../../src/slack/review.ts';
import { argumentsOfAnySize, reasons } from '../slack/any-arguments.ts';
import { everyState, seenIn, termsFor, textsIn, viewFor } from '../slack/card-views.ts';
import { fuzz } from './fuzz.ts';

/** Any call in any state: within Slack's limits, nothing of the agent's where Slack parses, whole or not approvable. */

/** Written by the agent, in the middle of whatever else it writes; no text of ours has it. */
const MARK = 'Zqxj';
const NEWID = () => 'generated';

fuzz(
  'the card',
  fc.property(argumentsOfAnySize, reasons, fc.nat(), fc.nat({ max: 20 }), (args, words, pick, at) => {
    const marked = `${words.slice(0, at)}${MARK}<!here>*${MARK}*${words.slice(at)}`
      .slice(0, 3_000)
      .toWellFormed();
    const sealed = termsFor({
      arguments: { ...(args as object), [`a${MARK}`]: `${MARK} <@U0ANA>` },
      statedReason: marked,
      rule: { quorum: 3 },
    });
    const states = everyState(sealed, marked);
    const view = viewFor(sealed, states[pick % states.length]);
    const card = drawCard(view);

    const checked = checkBlocks(card.blocks, 'message', NEWID);
    expect(checked.ok ? [] : checked.problems).toEqual([]);
    expect(Buffer.byteLength(JSON.stringify(card.blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
    expect([...seenIn(card.blocks)].length).toBeLessThanOrEqual(CARD_BUDGET.textCharacters);
    expect(card.text).not.toContain(MARK);
    const listed = drawListed(view);
    for (const blocks of [card.blocks, listed.blocks]) {
      const parsed = textsIn(blocks).filter(({ kind }) => kind !== 'text');
      expect(parsed.filter(({ text }) => text.includes(MARK))).toEqual([]);
    }

    const review = drawReview(view);
    const approvable = JSON.stringify(card.blocks).includes(`"${ACTIONS.approve}"`);
    if (approvable) expect(card.needsReview).toBe(false);
    if (review === undefined) {
      expect(approvable).toBe(false);
      return;
    }
    for (const page of review.pages.keys()) {
      const memory = { proposal: sealed.terms.id, shown: review.shown, page };
      const modal = reviewModal(
        review,
        memory,
        { tool: 'ticket.close', tenant: 'acme', environment: 'production' },
        'required',
      );
      const within = checkView(modal, NEWID);
      expect(within.ok ? [] : within.problems).toEqual([]);
      expect(modal.submit !== undefined).toBe(page === review.pages.length - 1);
    }
    // What is said to be whole is all there: the review's arguments, without what pages them, are on the card.
    if (card.needsReview) return;
    expect(seenIn(card.blocks)).toContain(preformatted(review.pages.flat()));
  }),
  { atLeast: 15 },
);

/** The arguments as the review holds them. */
function preformatted(blocks: readonly unknown[]): string {
  const at = blocks.findIndex((block) => textsIn(block).some(({ text }) => text.startsWith('*Arguments*')));
  const rest = blocks.slice(at + 1).find((block) => (block as { type: string }).type === 'rich_text');
  return textsIn(rest)
    .map(({ text }) => text)
    .join('');
}
