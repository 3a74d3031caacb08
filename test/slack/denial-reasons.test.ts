import { describe, expect, it } from 'vitest';
import { decisionIsGenuine } from '../../src/core/approval/decision.ts';
import { ApprovalDenied } from '../../src/guard/call-errors.ts';
import { resultOf } from '../../src/guard/proposal-result.ts';
import type { InputState } from '../../src/sandbox/slack/person-interface.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { testKeys } from '../sealed-terms.ts';
import { seenIn } from './card-views.ts';
import { surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const t = surfaceForTests('socket', redis);

const denialReasons = [
  { text: 'Not a duplicate', tellAgent: 'use ticket.merge' },
  { text: 'Customer asked to keep it open' },
];

const chosen = (text: string, value: string): InputState => ({
  type: 'radio_buttons',
  selected_option: { text: { type: 'plain_text', text, emoji: false }, value },
});

async function denyForm() {
  const { sealed, message } = await t.card({
    rule: { denialReasons, reason: { approve: 'none', deny: 'required' } },
  });
  const ben = t.person('U0BEN');
  await ben.click(message, 'cs_deny');
  return { sealed, message, ben, form: await ben.waitForView() };
}

async function errorOf(id: Parameters<typeof t.store.read>[0]): Promise<unknown> {
  const record = await t.store.read(id);
  try {
    return record === undefined ? undefined : resultOf(record);
  } catch (error) {
    return error;
  }
}

describe('reasons of the policy to deny', () => {
  it('[decision:why-is-recorded] take one click, are signed with what they tell the agent, and reach it', async () => {
    const { sealed, ben, form } = await denyForm();
    const { id } = sealed.terms;
    expect(seenIn(form.blocks)).toContain('Not a duplicate: use ticket.merge');
    await ben.submit(form, { cs_choice: chosen('Not a duplicate', '0') });
    const card = await t.cardSaying(id, 'Denied');
    expect(seenIn(card.blocks)).toContain('Not a duplicate');
    expect(seenIn(card.blocks)).toContain('the agent is told: use ticket.merge');

    const state = (await t.store.read(id))?.state;
    if (state?.status !== 'denied') throw new Error('not denied');
    const { denial } = state;
    expect(denial.statement.choice).toEqual(denialReasons[0]);
    expect(decisionIsGenuine(testKeys.approvalPublic, denial)).toBe(true);
    const bent = { ...denial.statement, choice: { text: 'Not a duplicate', tellAgent: 'use db.drop' } };
    expect(decisionIsGenuine(testKeys.approvalPublic, { ...denial, statement: bent })).toBe(false);
    const entry = await t.entry('decision.deny');
    expect(entry.detail.choice).toEqual(denialReasons[0]);

    const error = await errorOf(id);
    expect(error).toBeInstanceOf(ApprovalDenied);
    expect(error).toMatchObject({ why: 'Not a duplicate', instead: 'use ticket.merge' });
    expect(String(error)).toContain('What to do instead: use ticket.merge.');
  });

  it('go with words of one’s own, or words alone do', async () => {
    const first = await denyForm();
    await first.ben.submit(first.form, {
      cs_choice: chosen('Customer asked to keep it open', '1'),
      cs_reason: 'see the call of Monday',
    });
    await t.cardSaying(first.sealed.terms.id, 'Denied');
    expect(await errorOf(first.sealed.terms.id)).toMatchObject({
      why: 'Customer asked to keep it open. see the call of Monday',
      instead: undefined,
    });
    const second = await t.card({ rule: { denialReasons, reason: { approve: 'none', deny: 'required' } } });
    await first.ben.click(second.message, 'cs_deny');
    const form = await first.ben.waitForView(({ id }) => id !== first.form.id);
    await first.ben.submit(form, { cs_reason: 'only words' });
    await t.cardSaying(second.sealed.terms.id, 'Denied');
    expect(await errorOf(second.sealed.terms.id)).toMatchObject({ why: 'only words' });
  });

  it('[decision:why-is-recorded] are not skipped where a reason is required', async () => {
    const { sealed, ben, form } = await denyForm();
    const answer = await ben.submit(form, {});
    expect(seenIn(answer.ok ? answer.view?.blocks : [])).toBe(REFUSAL_NOTICES.reason_missing);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});
