import { describe, expect, it } from 'vitest';
import { decisionIsGenuine } from '../../src/core/approval/decision.ts';
import { NOTICES, REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import { A_TOKEN, loggedError, type Mode, SLACK_FAILED, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

describe.each<Mode>(['socket', 'http'])('deciding in Slack, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis);

  it('approves with one click, signs it, wakes the job, and redraws the card', async () => {
    const { sealed, message } = await t.card();
    expect(await t.person('U0ANA').click(message, 'cs_approve')).toEqual({ ok: true });
    const card = await t.cardSaying(sealed.terms.id, 'Approved');
    expect(seenIn(card.blocks)).toContain('Approved by <@U0ANA>');
    expect(JSON.stringify(card.blocks)).not.toContain('"actions"');
    await t.told('U0ANA', 'Your approval is recorded. The call will run now.');

    const record = await t.store.read(sealed.terms.id);
    const [approval] = record?.state.approvals ?? [];
    if (approval === undefined) throw new Error('no approval');
    expect(decisionIsGenuine(testKeys.approvalPublic, approval)).toBe(true);
    expect(approval.statement).toMatchObject({
      person: 'slack:T0ACME/U0ANA',
      as: 'usergroup:S0SUPPORT',
      termsDigest: sealed.termsDigest,
    });
  });

  it('[decision:why-is-recorded] denies with a reason, and asks again where it is missing', async () => {
    const { sealed, message } = await t.card();
    const ben = t.person('U0BEN');
    await ben.click(message, 'cs_deny');
    const modal = await ben.waitForView();
    expect(modal.title).toBe('Deny this call');
    // Slack itself holds a required input; a client that does not is refused by the desk.
    const answer = await ben.submit(modal, { cs_reason: 'not a duplicate <!channel>' });
    expect(answer).toMatchObject({ ok: true, view: null });
    const card = await t.cardSaying(sealed.terms.id, 'Denied');
    expect(seenIn(card.blocks)).toContain('Why, in their own words:\nnot a duplicate <!channel>');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('denied');
    const entry = await t.entry('decision.deny');
    expect(JSON.stringify(entry.detail)).toContain('not a duplicate');
    expect(JSON.stringify(entry.detail)).toContain('slack:T0ACME/U0BEN');
  });

  it('[decision:why-is-recorded] takes no approval without a reason where the rule requires one', async () => {
    const { sealed, message } = await t.card({ rule: { reason: { approve: 'required', deny: 'none' } } });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_approve');
    const modal = await ana.waitForView();
    expect(await t.status(sealed.terms.id)).toBe('pending');
    const blank = await ana.submit(modal, { cs_reason: '   ' });
    expect(seenIn(blank.ok ? blank.view?.blocks : [])).toBe(REFUSAL_NOTICES.reason_missing);
    expect(await t.status(sealed.terms.id)).toBe('pending');
    await ana.click(message, 'cs_approve');
    const again = await ana.waitForView(({ id }) => id !== modal.id);
    await ana.submit(again, { cs_reason: 'checked with the customer' });
    const card = await t.cardSaying(sealed.terms.id, 'Approved');
    expect(seenIn(card.blocks)).toContain('checked with the customer');
  });

  it('[decision:quorum-counts-distinct-people] takes two people for a quorum of two, and the same one once', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    await ana.click(message, 'cs_approve');
    await t.told('U0ANA', 'recorded already');
    expect(await t.status(sealed.terms.id)).toBe('pending');
    const waiting = await t
      .person('U0CHEN')
      .waitForMessage('C0ACMEAPP', ({ blocks }) => seenIn(blocks).includes('1 of 2 approved so far'));
    await t.person('U0BEN').click(waiting, 'cs_approve');
    const card = await t.cardSaying(sealed.terms.id, 'Approved');
    expect(seenIn(card.blocks)).toContain('Approved by <@U0ANA>');
    expect(seenIn(card.blocks)).toContain('Approved by <@U0BEN>');
  });

  it('[decision:denial-is-final] ends it with one denial after an approval', async () => {
    const { sealed, message } = await t.card({
      rule: { quorum: 2, reason: { deny: 'none', approve: 'none' } },
    });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'one more person has to approve');
    await t.person('U0BEN').click(message, 'cs_deny');
    await t.told('U0BEN', 'Your denial is recorded');
    // A client that still shows the old card.
    await t.resend(({ user, actions }) => {
      user.id = 'U0LEAD';
      for (const action of actions) action.action_id = 'cs_approve';
    });
    await expect.poll(() => t.refusals()).toEqual(['already_settled']);
    await expect.poll(() => t.status(sealed.terms.id)).toBe('denied');
  });

  it('[decision:one-winner] settles once where two people click at the same moment, and tells the other', async () => {
    const { sealed, message } = await t.card({ rule: { reason: { deny: 'none', approve: 'none' } } });
    await Promise.all([
      t.person('U0ANA').click(message, 'cs_approve'),
      t.person('U0BEN').click(message, 'cs_deny'),
    ]);
    await expect.poll(() => t.status(sealed.terms.id)).not.toBe('pending');
    const [winner, loser] =
      (await t.status(sealed.terms.id)) === 'approved' ? ['U0ANA', 'U0BEN'] : ['U0BEN', 'U0ANA'];
    await t.told(winner, 'is recorded');
    await t.told(loser, REFUSAL_NOTICES.already_settled);
  });

  it('records one vote where Slack delivers the same click twice', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    t.slack.faults.deliverTwice();
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'is recorded');
    await expect.poll(async () => (await t.store.read(sealed.terms.id))?.state.approvals).toHaveLength(1);
    await expect.poll(() => t.entries('decision.approve')).toHaveLength(1);
  });

  it('tells the thread of each vote and of the end, once', async () => {
    const { sealed, message } = await t.card({
      rule: { quorum: 2, reason: { approve: 'none', deny: 'none' } },
    });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'is recorded');
    await t.person('U0BEN').click(message, 'cs_deny');
    await t.cardSaying(sealed.terms.id, 'Denied');
    const chen = t.person('U0CHEN');
    await chen.waitForMessage(
      'C0ACMEAPP',
      ({ threadTs, text }) => threadTs === message.ts && text.includes('Denied'),
    );
    const replies = (await chen.messages('C0ACMEAPP')).filter(({ threadTs }) => threadTs === message.ts);
    const lines = replies.flatMap(({ text }) => text.split('\n'));
    expect(lines.filter((line) => line.includes('Approved by <@U0ANA> (1 of 2)'))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('Denied by <@U0BEN>'))).toHaveLength(1);
  });

  it('logs what a click failed with, and no token', async () => {
    const { sealed, message } = await t.card();
    t.slack.faults.unavailable(1, 'views.open');
    await t.person('U0BEN').click(message, 'cs_deny');
    await t.told('U0BEN', NOTICES.failed);
    expect(await t.status(sealed.terms.id)).toBe('pending');
    expect(await loggedError(t, 'a click failed')).toMatchObject(SLACK_FAILED);
    expect(t.logged.join('')).not.toMatch(A_TOKEN);
  });

  it('answers late in place of never where the work takes longer than a modal waits', async () => {
    const { sealed, message } = await t.card();
    const ben = t.person('U0BEN');
    await ben.click(message, 'cs_deny');
    const modal = await ben.waitForView();
    t.slack.faults.unavailable(1, 'users.info');
    const refused = await ben.submit(modal, { cs_reason: 'no' });
    expect(seenIn(refused.ok ? refused.view?.blocks : [])).toBe(REFUSAL_NOTICES.cannot_check);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});
