import { WebClient } from '@slack/web-api';
import { describe, expect, it } from 'vitest';
import { NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, type Mode, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

const BUTTON = {
  type: 'button',
  action_id: 'cs_of_another_version',
  text: { type: 'plain_text', text: 'Approve' },
} as const;
const BLOCKS = [{ type: 'actions', elements: [BUTTON] }] as const;
const FORM = {
  type: 'modal',
  callback_id: 'cs_form_of_another_version',
  title: { type: 'plain_text', text: 'Approve' },
  submit: { type: 'plain_text', text: 'Approve' },
} as const;

/** What an older or a newer version has drawn stands in Slack when this one starts. */
describe.each<Mode>(['socket', 'http'])('what another version of the app has drawn, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis);
  /** As the app: what that version drew, it drew with the same token. */
  const app = () => {
    const token = t.slack.world.workspaces.find(({ team }) => team === 'T0ACME')?.installation?.botToken;
    return new WebClient(token, { slackApiUrl: t.slack.apiUrl });
  };
  const warned = () => t.logged.filter((line) => line.includes('this version does not know'));

  async function oldCard() {
    const { ts } = await app().chat.postMessage({ channel: CHANNEL, text: 'old', blocks: [...BLOCKS] });
    return t.person('U0ANA').waitForMessage(CHANNEL, (message) => message.ts === ts);
  }

  it('is answered on a card, to the person alone, and nothing is decided', async () => {
    const { sealed } = await t.card();
    expect(await t.person('U0ANA').click(await oldCard(), BUTTON.action_id)).toEqual({ ok: true });
    await t.told('U0ANA', NOTICES.unknown);
    expect(await t.status(sealed.terms.id)).toBe('pending');
    expect(await t.entries('decision.refused')).toEqual([]);
    expect(warned()).toHaveLength(1);
    // A button that is known is answered by its own listener alone.
    const { message } = await t.card({ arguments: { ticket: 'T-2' } });
    await t.person('U0CHEN').click(message, 'cs_approve');
    await t.told('U0CHEN', 'does not name you');
    expect(warned()).toHaveLength(1);
  });

  it('is answered in the Home tab', async () => {
    const ana = t.person('U0ANA');
    await app().views.publish({ user_id: 'U0ANA', view: { type: 'home', blocks: [...BLOCKS] } });
    const home = await ana.home();
    if (home === null) throw new Error('no Home tab');
    expect(await ana.click(home, BUTTON.action_id)).toEqual({ ok: true });
    await expect.poll(async () => seenIn((await ana.home())?.blocks ?? [])).toContain(NOTICES.unknown);
  });

  it('is answered in a form, whether it is handed in or a button in it is pressed', async () => {
    const ana = t.person('U0ANA');
    expect(await ana.click(await oldCard(), BUTTON.action_id)).toEqual({ ok: true });
    const clicked = t.slack.traffic.deliveries('block_actions').at(-1)?.payload as { trigger_id: string };
    await app().views.open({ trigger_id: clicked.trigger_id, view: { ...FORM, blocks: [...BLOCKS] } });
    const form = await ana.waitForView(({ callbackId }) => callbackId === FORM.callback_id);
    expect(await ana.click(form, BUTTON.action_id)).toEqual({ ok: true });
    const notice = await ana.waitForView(({ id }) => id !== form.id);
    expect(seenIn(notice.blocks)).toContain(NOTICES.unknown);
    await ana.closeView(notice);
    const answer = await ana.submit(form);
    expect(answer).toMatchObject({ ok: true });
    await expect.poll(async () => seenIn((await ana.openView())?.blocks ?? [])).toContain(NOTICES.unknown);
  });
});
