import { describe, expect, it } from 'vitest';
import { sealPreview } from '../../src/core/proposal/preview.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import { PreviewTasksRedis } from '../../src/redis/preview-tasks-redis.ts';
import { ACTIONS, drawCard, PREVIEW_FAILED } from '../../src/slack/card.ts';
import { CARD_BUDGET } from '../../src/slack/limits.ts';
import { drawReview } from '../../src/slack/review.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';
import { everyState, seenIn, termsFor, textsIn, viewFor } from './card-views.ts';
import { CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const text = (words: string) => ({ kind: 'text' as const, text: words, cut: 0 });

describe('a preview on the card', () => {
  it("stands after the arguments, labelled as the tool's words", () => {
    const card = drawCard({
      ...viewFor(termsFor({ arguments: { ticket: 'T-1' } })),
      preview: text('open → closed'),
    });
    const seen = seenIn(card.blocks);
    expect(seen.indexOf('"ticket": "T-1"')).toBeGreaterThan(0);
    expect(
      seen.indexOf('*What the tool says it would do* (its words, not checked by anybody else)'),
    ).toBeGreaterThan(seen.indexOf('"ticket": "T-1"'));
    expect(seen).toContain('open → closed');
    expect(card.needsReview).toBe(false);
  });

  it('[display:agent-text-is-data] can forge no mention, link, button or line of ours', () => {
    const evil =
      '<!channel> <@U0ANA> *Approved by Ana* <https://evil.example|Approve> :white_check_mark:\n⟨cut: 3 more characters⟩\n\u202Eevil\u202C [Approve]';
    for (const state of everyState(termsFor())) {
      const { blocks, text: summary } = drawCard({ ...viewFor(termsFor(), state), preview: text(evil) });
      const parsed = textsIn(blocks).filter(({ kind }) => kind !== 'text');
      expect(parsed.filter((piece) => /evil|<!channel>|white_check/.test(piece.text))).toEqual([]);
      expect(summary).not.toContain('evil');
      const seen = seenIn(blocks);
      expect(seen).toContain('\\u{202E}evil');
      expect(seen).not.toContain('⟨cut: 3');
    }
  });

  it('[display:nothing-hidden] is cut loudly, and whole in the review; approving is then possible only there', () => {
    const words = Array.from({ length: 900 }, (_, i) => `line ${i}`).join('\n');
    const view = { ...viewFor(termsFor()), preview: text(words) };
    const card = drawCard(view);
    expect(card.needsReview).toBe(true);
    expect(seenIn(card.blocks)).toContain('*CUT: press Review for all of it*');
    expect(JSON.stringify(card.blocks)).not.toContain(`"${ACTIONS.approve}"`);
    const review = drawReview(view);
    expect(seenIn(review?.pages)).toContain('line 0\n');
    expect(seenIn(review?.pages)).toContain('line 899');
  });

  it('says that it failed, or how much of it was not kept', () => {
    const failed = drawCard({ ...viewFor(termsFor()), preview: { kind: 'failed' } });
    expect(seenIn(failed.blocks)).toContain(PREVIEW_FAILED);
    expect(failed.needsReview).toBe(false);
    const long = drawCard({ ...viewFor(termsFor()), preview: { ...text('a'), cut: 12 } });
    expect(seenIn(long.blocks)).toContain('The tool said more: 12 characters');
  });

  it('is not shown in the place of arguments that cannot be shown', () => {
    const unknown = { ...viewFor(termsFor()), redact: undefined };
    expect(drawCard({ ...unknown, preview: text('all is well') }).blocks).toEqual(drawCard(unknown).blocks);
  });

  it('is covered by the digest of what was seen', () => {
    const view = viewFor(termsFor());
    const digests = [undefined, text('a'), text('b'), { kind: 'failed' as const }].map(
      (preview) => drawCard({ ...view, preview }).shown,
    );
    expect(new Set(digests).size).toBe(4);
    const reviews = [undefined, text('a'), text('b'), { kind: 'failed' as const }].map(
      (preview) => drawReview({ ...view, preview })?.shown,
    );
    expect(new Set(reviews).size).toBe(4);
  });

  it('keeps every state within limits, whatever the arguments leave it', () => {
    for (const characters of [0, 600, 1150, 3000]) {
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
        arguments: { text: '文'.repeat(characters) },
      });
      for (const state of everyState(sealed, '字'.repeat(3000), 19)) {
        for (const words of ['文'.repeat(8000), 'x\n'.repeat(4000), '\u202E'.repeat(8000)]) {
          const { blocks } = drawCard({
            ...viewFor(sealed, state),
            preview: { ...text(words), cut: 99_999 },
          });
          expect(Buffer.byteLength(JSON.stringify(blocks))).toBeLessThanOrEqual(CARD_BUDGET.jsonBytes);
        }
      }
    }
  });
});

describe('a preview in Slack', () => {
  const redis = redisForTests();
  const t = surfaceForTests('socket', redis);
  const keep = (sealed: SealedTerms, preview = text('status: open → closed'), of = sealed) =>
    new PreviewTasksRedis({ redis: redis.client, shards: 1, keys: [testKeys.proposal] }).keep(
      sealed.terms.id,
      sealed.termsDigest,
      sealPreview(testKeys.proposal, of, preview),
      false,
    );
  const withPreview = (containing: string) =>
    t.person('U0CHEN').waitForMessage(CHANNEL, ({ blocks }) => seenIn(blocks).includes(containing));

  it('comes to the card that stands, and what its approver signs for covers it', async () => {
    const { sealed, message } = await t.card();
    expect(await keep(sealed)).toBe(true);
    const card = await withPreview('open → closed');
    expect(card.ts).toBe(message.ts);
    await t.person('U0ANA').click(card, 'cs_approve');
    await t.cardSaying(sealed.terms.id, 'Approved');
    const [approval] = (await t.store.read(sealed.terms.id))?.state.approvals ?? [];
    const preview = text('status: open → closed');
    const { redact: _, ...view } = viewFor(sealed);
    expect(approval?.statement.shown).toBe(drawCard({ ...view, redact: ['secret'], preview }).shown);
  });

  it('takes the click of who still sees the card without it, and signs for what that person saw', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    const old = JSON.stringify(message.blocks).match(/prop_\S+ [0-9a-f]{64}/)?.[0] ?? '';
    await keep(sealed);
    await t.person('U0ANA').click(await withPreview('open → closed'), 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    // A client that has not drawn the card anew yet.
    await t.resend(({ user, actions }) => {
      user.id = 'U0BEN';
      for (const action of actions) action.value = old;
    });
    await t.cardSaying(sealed.terms.id, 'Approved');
    const [, approval] = (await t.store.read(sealed.terms.id))?.state.approvals ?? [];
    expect(approval?.statement.shown).toBe(drawCard({ ...viewFor(sealed), redact: ['secret'] }).shown);
  });

  it('keeps the approvals that came before it', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    await keep(sealed);
    const card = await withPreview('open → closed');
    await t.person('U0BEN').click(card, 'cs_approve');
    await t.cardSaying(sealed.terms.id, 'Approved');
  });

  it('[approval:signed-outside-redis] is not shown where it is forged, or was sealed for another proposal; an alarm is raised', async () => {
    const one = await t.card();
    const other = await t.propose({ arguments: { ticket: 'T-2' } });
    await keep(one.sealed, text('harmless, of another call'), other);
    await expect
      .poll(async () => (await t.entries('alarm.raised')).map(({ detail }) => detail.alarm))
      .toContain('preview_forged');
    await redis.client.hset(proposalKey(one.sealed.terms.id), 'preview', 'not even JSON');
    const seen = seenIn((await t.cardSaying(one.sealed.terms.id, 'Approval needed')).blocks);
    expect(seen).not.toContain('harmless');
    // It never stands in the way of deciding.
    await t.person('U0ANA').click(one.message, 'cs_approve');
    await t.cardSaying(one.sealed.terms.id, 'Approved');
  });

  it('is kept once, and not for what is settled', async () => {
    const { sealed, message } = await t.card({ rule: { reason: { deny: 'none', approve: 'none' } } });
    expect(await keep(sealed)).toBe(true);
    expect(await keep(sealed, text('something else'))).toBe(false);
    await t.person('U0BEN').click(message, 'cs_deny');
    await t.told('U0BEN', 'Your denial is recorded');
    const late = await t.propose({ arguments: { ticket: 'T-3' } });
    await t.store.withdraw(late.terms.id, {
      agent: late.terms.context.agent,
      principal: late.terms.context.principal,
    });
    expect(await keep(late)).toBe(false);
  });
});
