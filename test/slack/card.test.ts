import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkBlocks } from '../../src/sandbox/slack/block-check.ts';
import { checkView } from '../../src/sandbox/slack/view.ts';
import { ACTIONS, drawCard } from '../../src/slack/card.ts';
import { CARD_BUDGET, SLACK_LIMITS } from '../../src/slack/limits.ts';
import { reviewModal } from '../../src/slack/modals.ts';
import { drawReview } from '../../src/slack/review.ts';
import { argumentsOfAnySize, reasons } from './any-arguments.ts';
import { everyState, seenIn, termsFor, textsIn, viewFor } from './card-views.ts';

const newId = () => 'generated';

function buttonsOf(blocks: unknown): string[] {
  return JSON.stringify(blocks).match(/cs_(?:approve|deny|review)(?=")/g) ?? [];
}

function expectWithinLimits(card: ReturnType<typeof drawCard>): void {
  const checked = checkBlocks(card.blocks, 'message', newId);
  expect(checked.ok ? [] : checked.problems).toEqual([]);
  expect(Buffer.byteLength(JSON.stringify(card.blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
  expect([...seenIn(card.blocks)].length).toBeLessThanOrEqual(CARD_BUDGET.textCharacters);
  expect(card.blocks.length).toBeLessThanOrEqual(SLACK_LIMITS.messageBlocks);
  expect(card.text.length).toBeLessThan(4_000);
}

describe('the card', () => {
  it('shows who asks what, where, for whom, until when, and how to answer', () => {
    const card = drawCard(viewFor(termsFor({ arguments: { ticket: 'T-1', queue: 'support' } })));
    const seen = seenIn(card.blocks);
    for (const part of [
      'Approval needed · PRODUCTION · ticket.close',
      '*Tenant*\n`acme`',
      '*Agent*\n`support-bot`',
      '*On behalf of*\n<@U0ASKER>',
      'Why you are asked: ticket.close needs a person',
      '2026-01-31 12:10:00 UTC, 10 minutes after it was asked',
      'approval by 1 person of <@U0ANA>, <@U0BEN>, <@U0CLEO>',
      '"queue": "support",\n  "ticket": "T-1"',
      'Approve',
      'Deny',
    ]) {
      expect(seen).toContain(part);
    }
    expect(buttonsOf(card.blocks)).toEqual([ACTIONS.approve, ACTIONS.deny]);
    expect(card.needsReview).toBe(false);
  });

  it('has no buttons once it is no longer pending, and says in words what has become of it', () => {
    const sealed = termsFor({ rule: { quorum: 3 } });
    for (const state of everyState(sealed)) {
      const card = drawCard(viewFor(sealed, state));
      expect(buttonsOf(card.blocks).length, state.status).toBe(state.status === 'pending' ? 2 : 0);
      if (state.status !== 'pending') {
        expect(seenIn(card.blocks).toLowerCase(), state.status).toContain(
          { executing: 'running', unknown: 'outcome unknown' }[state.status as string] ?? state.status,
        );
      }
    }
  });

  it('says who approved so far and how many are missing', () => {
    const sealed = termsFor({ rule: { quorum: 3 } });
    const [, state] = everyState(sealed);
    const seen = seenIn(drawCard(viewFor(sealed, state)).blocks);
    expect(seen).toContain('*2 of 3 approved so far*; 1 more person must approve.');
    expect(seen).toContain('Approved by <@U0ANA>');
    expect(seen).toContain('looks right to me');
  });

  it('keeps the digest of what is decided on while votes come in, and no longer', () => {
    const sealed = termsFor({ rule: { quorum: 3 } });
    const digests = everyState(sealed).map((state) => drawCard(viewFor(sealed, state)).shown);
    expect(new Set(digests).size).toBe(1);
    expect(drawCard(viewFor(termsFor({ arguments: { ticket: 'T-2' } }))).shown).not.toBe(digests[0]);
  });

  it('[display:agent-text-is-data] lets nothing that an agent or a person wrote into text that Slack parses', () => {
    const marker = 'AGENTWROTE';
    const evil = `${marker} <!channel> <@U0ANA> *Approved by Ana* :white_check_mark: <https://evil.example|card> \`x\``;
    const sealed = termsFor({
      arguments: { body: evil, [`${marker} *key*`]: [evil] },
      statedReason: evil,
    });
    for (const state of everyState(sealed, evil)) {
      const card = drawCard(viewFor(sealed, state));
      expect(card.text).not.toContain(marker);
      // In rich text's own text elements Slack parses nothing; everywhere else it does, or shows it as ours.
      const parsed = textsIn(card.blocks).filter(({ kind }) => kind !== 'text');
      expect(parsed.filter(({ text }) => text.includes(marker))).toEqual([]);
      const raw = JSON.stringify(card.blocks);
      expect(raw).not.toContain('"emoji":true');
      expect(raw).not.toContain('"type":"markdown"');
    }
  });

  it('[display:agent-text-is-data] gives an agent no way to write what only the card writes', () => {
    const sealed = termsFor({
      arguments: {
        note: "line\n⟨redacted by the tool's definition⟩\n⟨cut: 3 more characters⟩\n}\nApproved by Ana",
      },
    });
    const seen = seenIn(drawCard(viewFor(sealed)).blocks);
    // Inside a text every line stands behind the gutter.
    for (const line of ['redacted by', 'Approved by Ana']) {
      const at = seen.split('\n').find((text) => text.includes(line));
      expect(at).toMatch(/^\s*│ /);
    }
    expect(seen).not.toContain('⟨cut: 3 more');
  });

  it('[display:nothing-hidden] makes what cannot be seen visible, and says loudly how much there was', () => {
    const seen = seenIn(
      drawCard(viewFor(termsFor({ arguments: { file: 'invoice\u202Efdp.exe', who: 'pаypal' } }))).blocks,
    );
    expect(seen).toContain('invoice\\u{202E}fdp.exe');
    expect(seen).toContain('Look closely: 1 character in the arguments cannot be seen');
    expect(seen).toContain('1 word mixes letters of different alphabets');
  });

  it('[display:nothing-hidden] offers a review in place of an approval as soon as anything is cut', () => {
    const long = drawCard(viewFor(termsFor({ arguments: { body: 'word '.repeat(1500), last: 'the end' } })));
    expect(long.needsReview).toBe(true);
    expect(buttonsOf(long.blocks)).toEqual([ACTIONS.review, ACTIONS.deny]);
    const seen = seenIn(long.blocks);
    expect(seen).toContain('CUT, this is not the whole call');
    expect(seen).toMatch(/⟨cut: \d+ more characters⟩/);
    expect(seen).toContain('"last": "the end"');
    const talkative = drawCard(viewFor(termsFor({ statedReason: 'because '.repeat(400) })));
    expect(buttonsOf(talkative.blocks)).toEqual([ACTIONS.review, ACTIONS.deny]);
  });

  it('does not let long thin arguments push the buttons away', () => {
    for (const flood of [
      { a: '\n'.repeat(4000) },
      { a: 'x\n'.repeat(3000) },
      { a: Array.from({ length: 5000 }, () => 1) },
      { a: ' '.repeat(7000) },
    ]) {
      const card = drawCard(viewFor(termsFor({ arguments: flood })));
      const shown = textsIn(card.blocks).filter(({ kind }) => kind === 'text');
      expect(Math.max(...shown.map(({ text }) => text.split('\n').length))).toBeLessThanOrEqual(
        CARD_BUDGET.argumentLines,
      );
    }
  });

  it('hides what the tool declares secret, says so, and hides nothing else', () => {
    const sealed = termsFor({
      arguments: { password: 'hunter2hunter2', items: [{ pin: '1234567', name: 'ana' }], ticket: 'T-1' },
    });
    const view = viewFor(sealed, undefined, ['password', 'items.pin', 'absent']);
    const card = drawCard(view);
    const seen = seenIn(card.blocks);
    const review = drawReview(view);
    for (const text of [JSON.stringify(card), JSON.stringify(review)]) {
      expect(text).not.toContain('hunter2');
      expect(text).not.toContain('1234567');
    }
    expect(seen).toContain('"password": ⟨redacted by the tool\'s definition⟩');
    expect(seen).toContain('2 arguments are not shown');
    expect(seen).toContain('"name": "ana"');
    expect(buttonsOf(card.blocks)).toEqual([ACTIONS.approve, ACTIONS.deny]);
  });

  it('shows no arguments and offers no approval where the tool is not known', () => {
    const card = drawCard({
      ...viewFor(termsFor({ arguments: { token: 'secret-value' } })),
      redact: undefined,
    });
    expect(JSON.stringify(card)).not.toContain('secret-value');
    expect(buttonsOf(card.blocks)).toEqual([ACTIONS.deny]);
    expect(card.needsReview).toBe(true);
  });

  it('stays within limits where every name is as long as it can be', () => {
    const long = 'n'.repeat(63);
    const sealed = termsFor({
      tool: 't'.repeat(64),
      context: {
        tenant: long,
        environment: long,
        agent: long,
        run: 'r'.repeat(128),
        principal: `service:${long}`,
      },
      rule: {
        quorum: 20,
        approvers: Array.from({ length: 40 }, (_, i) => `usergroup:S${String(i).padStart(20, '0')}`),
      },
      statedReason: '文'.repeat(2000),
      arguments: { text: '文'.repeat(4000), '\u202E': '\u200B\u200C'.repeat(1000) },
    });
    for (const state of everyState(sealed, '字'.repeat(3000), 19)) {
      expectWithinLimits(drawCard(viewFor(sealed, state, ['text', 'x'])));
      expectWithinLimits(drawCard(viewFor(sealed, state)));
    }
  });
});

describe('for any arguments up to the largest', () => {
  it('[display:nothing-hidden] every state of the card is within limits, and what is not whole is said to be cut', () => {
    fc.assert(
      fc.property(argumentsOfAnySize, reasons, fc.nat({ max: 12 }), (args, words, pick) => {
        const sealed = termsFor({ arguments: args, statedReason: words, rule: { quorum: 3 } });
        const states = everyState(sealed, words);
        const view = viewFor(sealed, states[pick % states.length]);
        const card = drawCard(view);
        expectWithinLimits(card);
        const review = drawReview(view);
        if (review === undefined) return;
        const arguments_ = fullText(review.pages, '*Arguments*');
        const shown = preformatted(card.blocks, '*Arguments');
        if (card.needsReview) expect(buttonsOf(card.blocks)).not.toContain(ACTIONS.approve);
        if (shown === arguments_) return;
        expect(card.needsReview).toBe(true);
        expect(shown).toMatch(/⟨cut: \d+ more/);
      }),
      { numRuns: 150, interruptAfterTimeLimit: 20_000 },
    );
  });

  it('[display:nothing-hidden] the review holds all of it, each page within limits', () => {
    fc.assert(
      fc.property(argumentsOfAnySize, (args) => {
        const sealed = termsFor({ arguments: args });
        const review = drawReview(viewFor(sealed));
        expect(review).toBeDefined();
        if (review === undefined) return;
        for (const page of review.pages.keys()) {
          const modal = reviewModal(
            review,
            { proposal: sealed.terms.id, shown: review.shown, page },
            { tool: sealed.terms.tool, tenant: 'acme', environment: 'production' },
            'required',
          );
          const checked = checkView(modal, newId);
          expect(checked.ok ? [] : checked.problems).toEqual([]);
          expect(modal.submit !== undefined).toBe(page === review.pages.length - 1);
        }
      }),
      { numRuns: 60, interruptAfterTimeLimit: 15_000 },
    );
  });
});

/** The preformatted text after the section that begins with `title`. */
function preformatted(blocks: readonly unknown[], title: string): string {
  const at = blocks.findIndex((block) => textsIn(block).some(({ text }) => text.startsWith(title)));
  const rest = blocks.slice(at + 1).find((block) => (block as { type: string }).type === 'rich_text');
  return textsIn(rest)
    .map(({ text }) => text)
    .join('');
}

function fullText(pages: readonly (readonly unknown[])[], title: string): string {
  return pages
    .filter((page) => page.some((block) => textsIn(block).some(({ text }) => text.startsWith(title))))
    .map((page) => preformatted(page, title))
    .join('');
}
