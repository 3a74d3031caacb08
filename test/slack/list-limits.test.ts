import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIST_MAX, listDigest, sealList } from '../../src/core/approval/shown-list.ts';
import { AgentId, PersonId, TenantId } from '../../src/core/identity/ids.ts';
import { ALIKE_MAX } from '../../src/core/proposal/folding.ts';
import type { ProposalStatus } from '../../src/core/proposal/proposal.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { ARGUMENT_LIMITS } from '../../src/core/tool/strict-json.ts';
import { checkBlocks } from '../../src/sandbox/slack/block-check.ts';
import { SLACK_LIMITS as SANDBOX_LIMITS } from '../../src/sandbox/slack/slack-limits.ts';
import { checkView } from '../../src/sandbox/slack/view.ts';
import { batchModal, doneModal, listModal, type OnList } from '../../src/slack/batch-review.ts';
import { drawCard } from '../../src/slack/card.ts';
import { drawDigest } from '../../src/slack/digest-card.ts';
import { CARD_BUDGET } from '../../src/slack/limits.ts';
import { drawListed } from '../../src/slack/listed-call.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { testKeys } from '../sealed-terms.ts';
import { NOW, seenIn, TEAM, termsFor, viewFor } from './card-views.ts';

const newId = () => 'generated';
const LONGEST_ID = `a${'b'.repeat(62)}`;

/** Ordinary text, floods of one character, and what cannot be seen; from nothing to the most that is taken. */
const text = fc.oneof(
  fc.constant(''),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc
    .tuple(
      fc.constantFrom('x', '\n', ' ', '\u{202e}', '\u200b', 'é', '"', '\\', '⟨', '🦊', 'Т'),
      fc.integer({ min: 1, max: 4_000 }),
    )
    .map(([piece, times]) => piece.repeat(times)),
);
const call = fc.record({
  // The strict parser refuses these names before there is a proposal.
  arguments: fc.dictionary(
    fc
      .string({ minLength: 1, maxLength: 40 })
      .filter((name) => !['__proto__', 'constructor', 'prototype'].includes(name)),
    text,
    { maxKeys: 6 },
  ),
  statedReason: fc.option(
    text.map((words) => words.slice(0, 2_000).toWellFormed()),
    { nil: undefined },
  ),
});

function onList(sealed: SealedTerms): OnList {
  const listed = drawListed(viewFor(sealed));
  return { id: sealed.terms.id, listed, alone: listed.whole ? 'reason' : 'not_whole' };
}

function memoryOf(calls: readonly OnList[]): string {
  return sealList(testKeys.approvalPrivate, {
    v: 1,
    for: 'approve',
    tenant: TenantId.parse(LONGEST_ID),
    agent: AgentId.parse(LONGEST_ID),
    person: PersonId.parse('slack:T01234567890123456789/U01234567890123456789'),
    ids: calls.map(({ id }) => id),
    shown: listDigest(calls.map(({ listed }) => listed.shown)),
    page: 1_000,
  });
}

function expectFits(view: object): void {
  const checked = checkView(view, newId);
  expect(checked.ok ? [] : checked.problems).toEqual([]);
  expect(JSON.stringify(view).length).toBeLessThan(SANDBOX_LIMITS.viewBytes);
}

describe('lists and digest cards', () => {
  it('[display:nothing-hidden] a list, its question and its answer are within limits, and nothing cut may be approved there', () => {
    fc.assert(
      fc.property(
        fc.array(call, { minLength: 0, maxLength: LIST_MAX }),
        fc.integer({ min: 1, max: 500 }),
        (given, count) => {
          const calls = given.map((one) =>
            onList(
              termsFor({
                arguments: one.arguments,
                ...(one.statedReason === undefined ? {} : { statedReason: one.statedReason }),
                context: { run: 'r'.repeat(128), agent: LONGEST_ID },
              }),
            ),
          );
          for (const { listed } of calls) {
            expect(listed.whole).toBe(!/⟨cut: \d+ more|ARGUMENTS NOT SHOWN/.test(seenIn(listed.blocks)));
          }
          const memory = memoryOf(calls);
          const pages = Math.ceil(count / LIST_MAX);
          const page = Math.min(3, pages - 1);
          expectFits(
            listModal({
              tenant: LONGEST_ID,
              agent: LONGEST_ID,
              calls,
              page,
              pages,
              count,
              unreadable: 1,
              memory,
            }),
          );
          const why = REFUSAL_NOTICES.shared_channel;
          const refused = calls.map(({ id }) => ({ id, why }));
          for (const decision of ['approve', 'deny'] as const) {
            expectFits(batchModal({ decision, calls, leftOut: refused, reason: 'required', memory }));
            expectFits(doneModal({ decision, counted: calls.map(({ id }) => id), refused }));
          }
        },
      ),
      { numRuns: 60, endOnFailure: true },
    );
  });

  it('lists the largest arguments there can be, cut and said to be', () => {
    const sealed = termsFor({
      arguments: { a: 'x'.repeat(ARGUMENT_LIMITS.stringLength), b: '\u200b'.repeat(900) },
    });
    const calls = Array.from({ length: LIST_MAX }, () => onList(sealed));
    expect(calls[0]?.listed.whole).toBe(false);
    const ids = calls.map((one, index) => ({ ...one, id: termsFor().terms.id, index }));
    expectFits(
      listModal({
        tenant: 'acme',
        agent: 'bot',
        calls: ids,
        page: 0,
        pages: 50,
        count: 500,
        unreadable: 0,
        memory: memoryOf(ids),
      }),
    );
  });

  it('a digest card is within limits for 0 to 10,000 calls of any tools', () => {
    const status = fc.constantFrom<ProposalStatus>(
      'approved',
      'succeeded',
      'unknown',
      'denied',
      'expired',
      'withdrawn',
      'halted',
    );
    const waiting = fc.array(
      fc.record({
        tool: fc.stringMatching(/^[a-z0-9_.-]{1,64}$/),
        count: fc.integer({ min: 1, max: 10_000 }),
      }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(waiting, fc.dictionary(status, fc.integer({ min: 1, max: 10_000 })), (tools, settled) => {
        const { text, blocks } = drawDigest({
          tenant: LONGEST_ID,
          agent: LONGEST_ID,
          team: TEAM,
          waiting: tools,
          oldestDeadline: tools.length === 0 ? undefined : NOW,
          settled,
          haltedBy: `cli:${'*<!here>'.repeat(30)}`,
        });
        const checked = checkBlocks(blocks, 'message', newId);
        expect(checked.ok ? [] : checked.problems).toEqual([]);
        expect(Buffer.byteLength(JSON.stringify(blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
        expect(text.length).toBeLessThan(4_000);
        expect(JSON.stringify(blocks)).not.toContain('<!here>');
      }),
      { numRuns: 60, endOnFailure: true },
    );
  });

  it('a card of as many identical calls as may share one is within limits', () => {
    fc.assert(
      fc.property(call, fc.boolean(), (given, together) => {
        const all = Array.from({ length: ALIKE_MAX }, () =>
          termsFor({
            arguments: given.arguments,
            ...(given.statedReason === undefined ? {} : { statedReason: given.statedReason }),
            context: { run: 'r'.repeat(128), agent: LONGEST_ID },
          }),
        );
        const [first] = all as [SealedTerms];
        const calls = all.map(({ terms }) => ({
          id: terms.id,
          run: terms.context.run,
          deadline: terms.deadline,
        }));
        const card = drawCard({ ...viewFor(first), alike: { calls, together } });
        const checked = checkBlocks(card.blocks, 'message', newId);
        expect(checked.ok ? [] : checked.problems).toEqual([]);
        expect(Buffer.byteLength(JSON.stringify(card.blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
        expect([...seenIn(card.blocks)].length).toBeLessThanOrEqual(CARD_BUDGET.textCharacters);
        // Who waits with it changes nothing about what is decided on.
        expect(card.shown).toBe(drawCard(viewFor(first)).shown);
      }),
      { numRuns: 60, endOnFailure: true },
    );
  });

  it('[display:agent-text-is-data] one bad call among many stands as whole and as loud as the others', () => {
    const good = termsFor({ arguments: { ticket: 'T-1' } });
    const homoglyph = termsFor({ arguments: { ticket: 'admin-аccount' } });
    const hidden = termsFor({ arguments: { ticket: 'T-1\u202e\u200b' } });
    const loud = (sealed: SealedTerms) => seenIn(drawListed(viewFor(sealed)).blocks);
    expect(loud(good)).not.toContain('Look closely');
    expect(loud(homoglyph)).toContain('Look closely');
    expect(loud(hidden)).toContain('Look closely');
    expect(loud(hidden)).toContain('\\u{202E}');
    const calls = [good, homoglyph, hidden].map(onList);
    const modal = listModal({
      tenant: 'acme',
      agent: 'bot',
      calls,
      page: 0,
      pages: 1,
      count: 3,
      unreadable: 0,
      memory: memoryOf(calls),
    });
    expect(JSON.stringify(modal)).not.toContain('initial_options');
  });
});
