import { setTimeout } from 'node:timers/promises';
import {
  type KnownBlock,
  type ModalView,
  type PlainTextElement,
  WebAPIRateLimitedError,
} from '@slack/web-api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { type SampleApp, startSampleApp } from '../sandbox/bolt-sample-app.ts';
import { type Browser, type SlackPage, startBrowser } from './slack-page.ts';

const CHANNEL = 'C0ACMEAPP';
const GENERAL = 'C0ACMEGEN';

const plain = (text: string): PlainTextElement => ({ type: 'plain_text', text, emoji: false });

function card(subject: string): KnownBlock[] {
  return [
    { type: 'header', text: plain(subject) },
    {
      type: 'section',
      fields: [
        { type: 'mrkdwn', text: '*Tenant*\nacme' },
        { type: 'mrkdwn', text: '*On behalf of*\n<@U0RITA>' },
      ],
    },
    {
      type: 'rich_text',
      elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'text', text: '{ "id": "T-1" }' }] }],
    },
    {
      type: 'actions',
      block_id: 'decide',
      elements: [
        {
          type: 'button',
          action_id: 'approve',
          style: 'primary',
          value: 'prop_1',
          text: plain('Approve'),
          confirm: {
            title: plain('Approve this call?'),
            text: plain('It runs once.'),
            confirm: plain('Yes, approve'),
            deny: plain('Not yet'),
          },
        },
        { type: 'button', action_id: 'deny', style: 'danger', value: 'prop_1', text: plain('Deny') },
        { type: 'button', action_id: 'whisper', value: 'prop_1', text: plain('Why not me?') },
        { type: 'button', action_id: 'nobody_listens', value: 'prop_1', text: plain('Dead button') },
      ],
    },
  ];
}

const forget: KnownBlock = {
  type: 'actions',
  elements: [{ type: 'button', action_id: 'forget', text: plain('Forget') }],
};

const settled = (text: string): KnownBlock[] => [
  { type: 'section', text: { type: 'mrkdwn', text } },
  { type: 'context', elements: [{ type: 'mrkdwn', text: '`prop_1`' }] },
];

const reasonModal = (place: string): ModalView => ({
  type: 'modal',
  callback_id: 'deny_reason',
  private_metadata: place,
  title: plain('Deny the call'),
  submit: plain('Deny'),
  close: plain('Cancel'),
  blocks: [
    {
      type: 'input',
      block_id: 'why',
      label: plain('Why?'),
      hint: plain('The agent reads it.'),
      element: {
        type: 'plain_text_input',
        action_id: 'reason',
        multiline: true,
        min_length: 3,
        max_length: 200,
      },
    },
    {
      type: 'input',
      block_id: 'kind',
      optional: true,
      label: plain('Kind of mistake'),
      element: {
        type: 'static_select',
        action_id: 'kind',
        options: [
          { text: plain('Wrong ticket'), value: 'ticket' },
          { text: plain('Wrong reason'), value: 'reason' },
        ],
      },
    },
    {
      type: 'input',
      block_id: 'sure',
      optional: true,
      label: plain('How sure?'),
      element: {
        type: 'radio_buttons',
        action_id: 'sure',
        options: [
          { text: plain('Very'), value: 'very' },
          { text: plain('A little'), value: 'little' },
        ],
      },
    },
    {
      type: 'input',
      block_id: 'tell',
      optional: true,
      label: plain('Tell'),
      element: {
        type: 'checkboxes',
        action_id: 'tell',
        options: [
          { text: plain('The owner'), value: 'owner' },
          { text: plain('On call'), value: 'oncall' },
        ],
      },
    },
  ],
});

const SECOND_MODAL: ModalView = {
  type: 'modal',
  callback_id: 'second',
  title: plain('Sure?'),
  submit: plain('Yes'),
  blocks: [{ type: 'section', text: plain('A second window') }],
};

describe('the local Slack’s page in a real browser', () => {
  let sample: SampleApp;
  let browser: Browser;
  let page: SlackPage;
  const denied: unknown[] = [];

  const post = async (subject: string, blocks: KnownBlock[] = card(subject)): Promise<string> => {
    for (;;) {
      try {
        const posted = await sample.client.chat.postMessage({ channel: CHANNEL, text: subject, blocks });
        return posted.ts ?? '';
      } catch (error) {
        // About one message a second and channel, as in Slack.
        if (!(error instanceof WebAPIRateLimitedError)) throw error;
        await setTimeout(error.retryAfter * 1000);
      }
    }
  };

  beforeAll(async () => {
    sample = await startSampleApp('socket', (app) => {
      app.action('approve', async ({ ack, body, client }) => {
        await ack();
        if (body.type !== 'block_actions' || !body.message || !body.channel) return;
        const text = `Approved by <@${body.user.id}>`;
        const { ts } = body.message;
        await client.chat.update({ channel: body.channel.id, ts, text, blocks: settled(text) });
      });
      app.action('deny', async ({ ack, body, client }) => {
        if (body.type === 'block_actions' && body.message && body.channel) {
          const place = JSON.stringify({ channel: body.channel.id, ts: body.message.ts });
          await client.views.open({ trigger_id: body.trigger_id, view: reasonModal(place) });
        }
        await ack();
      });
      app.action('whisper', async ({ ack, body, client }) => {
        await ack();
        const text = 'You asked for it &lt;yourself&gt;.';
        await client.chat.postEphemeral({ channel: CHANNEL, user: body.user.id, text });
      });
      app.action('forget', async ({ ack, respond }) => {
        await ack();
        await respond({ delete_original: true });
      });
      app.view('deny_reason', async ({ ack, view, body, client }) => {
        const reason = view.state.values.why?.reason?.value ?? '';
        if (reason === 'because') return ack({ response_action: 'errors', errors: { why: 'Say more.' } });
        if (reason === 'further') return ack({ response_action: 'push', view: SECOND_MODAL });
        await ack();
        denied.push(view.state.values);
        const place = JSON.parse(view.private_metadata) as { channel: string; ts: string };
        const text = `Denied by <@${body.user.id}>`;
        await client.chat.update({ ...place, text, blocks: settled(text) });
      });
      app.command('/agent-writes', async ({ ack, command }) => {
        if (command.text !== 'silent') await ack(`Writes are *on*, says ${command.user_id}`);
      });
    });
    browser = await startBrowser(sample.slack.url);
    page = await browser.openPageAs('U0ANA', CHANNEL);
  });

  afterAll(async () => {
    await browser?.close();
    await sample?.close();
  });

  it('shows a card as its blocks say, with names for ids', async () => {
    await post('close T-1');
    const message = await page.waitForMessage('close T-1');

    await expect.poll(() => message.getByRole('heading', { name: 'close T-1' }).isVisible()).toBe(true);
    expect(await message.locator('.field').allInnerTexts()).toEqual([
      'Tenant\nacme',
      'On behalf of\n@Rita Rossi',
    ]);
    await expect.poll(() => message.locator('pre').textContent()).toBe('{ "id": "T-1" }');
    await expect.poll(() => message.locator('.app-badge').textContent()).toBe('App');
    await expect
      .poll(() => message.getByRole('button', { name: 'Approve' }).getAttribute('class'))
      .toContain('primary');
  });

  it('asks the block’s confirm question before a click leaves the page; Esc is no', async () => {
    await post('close T-2');
    await page.waitForMessage('close T-2');
    sample.slack.traffic.clear();

    await page.clickButton('close T-2', 'Approve');
    await expect.poll(() => page.confirm.textContent()).toContain('Approve this call?');
    await page.page.keyboard.press('Escape');
    await page.confirm.waitFor({ state: 'detached' });
    await page.clickButton('close T-2', 'Approve');
    await page.answerConfirm('Not yet');
    expect(sample.slack.traffic.deliveries()).toHaveLength(0);

    await page.clickButton('close T-2', 'Approve');
    await page.answerConfirm('Yes, approve');
    const settledCard = await page.waitForMessage('Approved by @Ana Alves');
    expect(await settledCard.locator('.actions').count()).toBe(0);
    await expect.poll(() => settledCard.locator('.edited').textContent()).toBe('(edited)');
    expect(sample.slack.traffic.deliveries()).toHaveLength(1);
  });

  it('tells a person who confirms too late that the button is gone', async () => {
    await post('close T-2b');
    await page.waitForMessage('close T-2b');
    await page.clickButton('close T-2b', 'Approve');
    await page.confirm.waitFor();
    const ben = sample.person('U0BEN');
    const seen = (await ben.messages(CHANNEL)).find((message) => message.text === 'close T-2b');
    if (seen) await ben.click(seen, 'approve');
    await page.waitForMessage('Approved by @Ben Baker');
    await page.answerConfirm('Yes, approve');
    const line = await page.waitForMessage('There is no such button any more.');
    await expect.poll(() => line.textContent()).toContain('Only visible to you');
  });

  it('says beneath the buttons that the app did not answer', async () => {
    await post('close T-3');
    await page.waitForMessage('close T-3');
    await page.clickButton('close T-3', 'Dead button');
    const failure = page.message('close T-3').locator('.block-failure');
    await failure.waitFor();
    await expect.poll(() => failure.textContent()).toContain('timed out');
  });

  it('shows an ephemeral message to its reader alone, until it is dismissed', async () => {
    await post('close T-4');
    await page.actAs('U0BEN');
    await page.waitForMessage('close T-4');
    await page.clickButton('close T-4', 'Why not me?');
    const whisper = await page.waitForMessage('You asked for it <yourself>.');
    await expect.poll(() => whisper.textContent()).toContain('Only visible to you');

    await page.actAs('U0ANA');
    await page.waitForMessage('close T-4');
    expect(await page.messages('You asked for it').count()).toBe(0);

    await page.actAs('U0BEN');
    const again = await page.waitForMessage('You asked for it');
    await again.getByRole('button', { name: 'Dismiss' }).click();
    await again.waitFor({ state: 'detached' });
    await page.actAs('U0ANA');
  });

  it('keeps a modal open with the error under its field, and what was typed in it', async () => {
    await post('close T-5');
    await page.waitForMessage('close T-5');
    await page.clickButton('close T-5', 'Deny');
    await page.modal.waitFor();
    const reason = page.modal.getByLabel('Why?');
    await expect.poll(() => page.modal.locator('textarea:focus').count()).toBe(1);

    await page.fill('Why?', 'no');
    await page.submitModal();
    await page.modal.getByText('Must be at least 3 characters.').waitFor();
    await page.fill('Why?', 'because');
    await page.submitModal();
    await page.modal.getByText('Say more.').waitFor();
    await expect.poll(() => reason.inputValue()).toBe('because');
    await expect.poll(() => reason.getAttribute('aria-invalid')).toBe('true');
    await expect
      .poll(() => page.modal.locator('[data-block-id="why"] .field-error').textContent())
      .toBe('Say more.');

    await page.fill('Why?', 'T-5 is another customer');
    await page.modal.getByLabel('Kind of mistake').selectOption({ label: 'Wrong ticket' });
    await page.modal.getByLabel('Very').check();
    await page.modal.getByLabel('On call').check();
    await page.submitModal();
    await page.modalIsGone();
    await page.waitForMessage('Denied by @Ana Alves');
    expect(denied).toMatchObject([
      {
        why: { reason: { value: 'T-5 is another customer' } },
        kind: { kind: { selected_option: { value: 'ticket' } } },
        sure: { sure: { selected_option: { value: 'very' } } },
        tell: { tell: { selected_options: [{ value: 'oncall' }] } },
      },
    ]);
  });

  it('goes back from a pushed modal to the one below, keeps Tab inside it, and closes with Esc', async () => {
    await post('close T-6');
    await page.waitForMessage('close T-6');
    await page.clickButton('close T-6', 'Deny');
    await page.modal.waitFor();
    await page.fill('Why?', 'further');
    await page.submitModal();
    await page.modal.getByText('A second window').waitFor();
    await page.modal.getByRole('button', { name: 'Back' }).click();
    await page.modal.getByLabel('Why?').waitFor();
    await expect.poll(() => page.modal.getByLabel('Why?').inputValue()).toBe('further');

    for (let presses = 0; presses < 12; presses += 1) {
      await page.page.keyboard.press('Tab');
      await expect.poll(() => page.modal.locator(':focus').count()).toBe(1);
    }
    await page.page.keyboard.press('Escape');
    await page.modalIsGone();
    await expect.poll(() => page.page.locator(':focus').textContent()).toBe('Deny');
  });

  it('offers the slash commands, and shows an answer and a silence as only the person sees them', async () => {
    const box = page.page.locator('#composer textarea');
    await box.fill('/ag');
    await page.page.getByRole('option', { name: '/agent-writes' }).waitFor();
    await box.press('Tab');
    await expect.poll(() => box.inputValue()).toBe('/agent-writes ');
    await page.type('/agent-writes status');
    const answer = await page.waitForMessage('Writes are on, says U0ANA');
    await expect.poll(() => answer.textContent()).toContain('Only visible to you');
    await expect.poll(() => answer.locator('strong').textContent()).toBe('on');

    await page.type('/agent-writes silent');
    const failure = await page.waitForMessage('/agent-writes failed');
    await expect.poll(() => failure.textContent()).toContain('Slackbot');
    await page.type('/nonsense');
    await page.waitForMessage('/nonsense is not a valid command');
  });

  it('follows what happens without a reload: posts, edits, deletions, unread counts', async () => {
    await page.page.evaluate('window.sameDocument = true');
    const ts = await post('first words', settled('first words'));
    await page.waitForMessage('first words');
    await expect.poll(() => page.page.locator('#announcer').textContent()).toBe('Countersign: first words');
    await sample.client.chat.update({
      channel: CHANNEL,
      ts,
      text: 'second words',
      blocks: [...settled('second words'), forget],
    });
    await page.waitForMessage('second words');
    expect(await page.messages('first words').count()).toBe(0);
    await page.clickButton('second words', 'Forget');
    await page.message('second words').waitFor({ state: 'detached' });

    await sample.person('U0CHEN').post(GENERAL, 'lunch?');
    await sample.person('U0CHEN').post(GENERAL, 'anyone?');
    const row = page.page.getByRole('button', { name: 'general, 2 unread' });
    await row.waitFor();
    await row.click();
    await page.waitForMessage('anyone?');
    expect(await page.page.locator('.unread-count').count()).toBe(0);
    await page.openChannel(CHANNEL);
    expect(await page.page.evaluate('window.sameDocument')).toBe(true);
  });

  it('shows the app’s Home tab, and does what its buttons say', async () => {
    const view = (text: string) => ({
      type: 'home' as const,
      blocks: [
        { type: 'section' as const, text: plain(text) },
        {
          type: 'actions' as const,
          elements: [{ type: 'button' as const, action_id: 'tidy', text: plain('Tidy') }],
        },
      ],
    });
    sample.app.event('app_home_opened', async ({ event, client }) => {
      await client.views.publish({ user_id: event.user, view: view('Two calls wait') });
    });
    sample.app.action('tidy', async ({ ack, body, client }) => {
      await ack();
      await client.views.publish({ user_id: body.user.id, view: view('Nothing waits') });
    });
    await page.page.locator('#sidebar').getByRole('button', { name: 'Countersign' }).click();
    const home = page.page.locator('.home-tab');
    await home.getByText('Two calls wait').waitFor();
    await home.getByRole('button', { name: 'Tidy' }).click();
    await home.getByText('Nothing waits').waitFor();
    await page.openChannel(CHANNEL);
  });

  it('opens a thread beside the channel, where a person answers', async () => {
    await post('close T-7');
    await page.waitForMessage('close T-7');
    const thread = await page.openThread('close T-7');
    await thread.locator('textarea').fill('Is @ben sure?');
    await thread.locator('textarea').press('Enter');
    await thread.locator('article').filter({ hasText: 'Is @Ben Baker sure?' }).waitFor();
    await page.message('close T-7').getByRole('button', { name: '1 reply' }).waitFor();
    expect(await page.page.locator('#messages article').filter({ hasText: 'Is @Ben' }).count()).toBe(0);
    await page.page.keyboard.press('Escape');
    await thread.waitFor({ state: 'hidden' });
  });

  it('lets everybody be played who can sit before a client, and nobody else', async () => {
    await post('close T-8');
    await page.page.locator('.acting-button').click();
    const item = (user: string) => page.page.locator(`.acting-item[data-user="${user}"]`);
    await expect.poll(() => item('U0CHEN').textContent()).toContain('@oncall');
    await expect.poll(() => item('U0GUEST').textContent()).toContain('guest');
    await expect.poll(() => item('U0GONE').getAttribute('aria-disabled')).toBe('true');
    await page.page.keyboard.press('ArrowDown');
    await expect.poll(() => page.page.locator(':focus').getAttribute('data-user')).toBe('U0BEN');
    await page.page.keyboard.press('Escape');

    await page.page.getByRole('button', { name: 'Globex' }).click();
    await page.page.locator('[data-channel="C0GLOBEX"]').waitFor();
    expect(await page.messages('close T-8').count()).toBe(0);
    await page.page.getByRole('button', { name: 'Acme' }).click();
    await page.waitForMessage('close T-8');
  });

  describe('with text that attacks it', () => {
    const IMAGE = '<img src=x onerror="window.pwned=1">';
    const SCRIPT = '<script>window.pwned=2</script>';
    const escaped = (text: string) => text.replaceAll('<', '&lt;').replaceAll('>', '&gt;');

    it('shows markup as the characters it is, wherever it stands', async () => {
      const blocks: KnownBlock[] = [
        { type: 'header', text: plain(`attack ${IMAGE}`) },
        { type: 'section', text: plain(SCRIPT), fields: [plain(IMAGE), { type: 'mrkdwn', text: IMAGE }] },
        {
          type: 'section',
          text: { type: 'mrkdwn', text: `\`${escaped(IMAGE)}\` and \`\`\`${escaped(SCRIPT)}\`\`\`` },
        },
        {
          type: 'context',
          elements: [plain(IMAGE), { type: 'mrkdwn', text: '&lt;b&gt;not bold&lt;/b&gt;' }],
        },
        {
          type: 'rich_text',
          elements: [
            {
              type: 'rich_text_preformatted',
              elements: [{ type: 'text', text: `${IMAGE}\n<@U0ANA> *x* <!here>` }],
            },
            { type: 'rich_text_quote', elements: [{ type: 'text', text: SCRIPT }] },
          ],
        },
        {
          type: 'actions',
          elements: [{ type: 'button', action_id: 'nobody_listens', text: plain(`"><svg onload=x>`) }],
        },
      ];
      await post(`attack ${SCRIPT}`, blocks);
      await sample.person('U0RITA').post(CHANNEL, `attack typed ${IMAGE}`);
      await page.waitForMessage('attack typed');
      const message = page.messages('attack <img').first();

      await expect.poll(() => message.locator('h3').textContent()).toBe(`attack ${IMAGE}`);
      await expect
        .poll(() => message.locator('pre').last().textContent())
        .toBe(`${IMAGE}\n<@U0ANA> *x* <!here>`);
      await expect.poll(() => message.locator('.context').textContent()).toContain('<b>not bold</b>');
      expect(
        await page.page.locator('#messages').locator('img, script, iframe, b, [onerror], [onload]').count(),
      ).toBe(0);
      expect(await page.page.evaluate('window.pwned')).toBeUndefined();
    });

    it('makes no link of an address that a client would not open', async () => {
      const text = [
        'links <javascript:window.pwned=3|here> <data:text/html,x|there> <JaVaScRiPt:alert(1)>',
        '<https://example.com/?a=1&amp;b=2|safe> <vbscript:x> http://example.com/bare.',
      ].join('\n');
      await post('links', [
        { type: 'section', text: { type: 'mrkdwn', text } },
        { type: 'section', text: { type: 'mrkdwn', text: 'http://example.com/verbatim', verbatim: true } },
        {
          type: 'rich_text',
          elements: [
            {
              type: 'rich_text_section',
              elements: [{ type: 'link', url: 'javascript:window.pwned=4', text: 'rich' }],
            },
          ],
        },
      ]);
      const message = await page.waitForMessage('links here there');
      const links = await message
        .locator('a')
        .evaluateAll((found) => found.map((a) => a.getAttribute('href')));
      expect(links).toEqual(['https://example.com/?a=1&b=2', 'http://example.com/bare']);
      await expect.poll(() => message.locator('a').first().getAttribute('rel')).toBe('noopener noreferrer');
      await message.getByText('rich').click();
      expect(await page.page.evaluate('window.pwned')).toBeUndefined();
    });

    it('stays usable under floods of mentions, marks and broken syntax', async () => {
      const floods = [
        '<@U0ANA> '.repeat(300),
        '*_~'.repeat(900),
        '<'.repeat(2900),
        '`'.repeat(2899),
        '<@U0ANA|<!here>> <@> <!subteam^> <!date^x> <#> <|> <!everyone|everyone>',
      ];
      await post(
        'flood',
        floods.map((text) => ({ type: 'section', text: { type: 'mrkdwn', text: text.slice(0, 3000) } })),
      );
      const message = await page.waitForMessage('<<<<<');
      await expect.poll(() => message.locator('.mention').count()).toBeGreaterThanOrEqual(300);
      await post('after the flood', card('after the flood'));
      await page.waitForMessage('after the flood');
      await page.clickButton('after the flood', 'Approve');
      await page.answerConfirm('Yes, approve');
      await page.message('after the flood').waitFor({ state: 'detached' });
    });
  });

  it('reads mrkdwn by Slack’s rules', async () => {
    const parse = (text: string): Promise<unknown> =>
      page.page.evaluate(
        `import('/mrkdwn.js').then(({ parseMrkdwn }) => parseMrkdwn(${JSON.stringify(text)}))`,
      );
    const text = (written: string) => ({ kind: 'text', text: written });

    expect(await parse('a *b _c_* d')).toEqual([
      text('a '),
      { kind: 'bold', children: [text('b '), { kind: 'italic', children: [text('c')] }] },
      text(' d'),
    ]);
    expect(await parse('2*3*4 snake_case_name * no *')).toEqual([text('2*3*4 snake_case_name * no *')]);
    expect(await parse('*a\nb*')).toEqual([text('*a'), { kind: 'break' }, text('b*')]);
    expect(await parse('&lt;@U1&gt; &amp;amp;')).toEqual([text('<@U1> &amp;')]);
    expect(await parse('<!subteam^S0SUPPORT|@support> <#C1|x>')).toEqual([
      { kind: 'group', id: 'S0SUPPORT', fallback: '@support' },
      text(' '),
      { kind: 'channel', id: 'C1', fallback: 'x' },
    ]);
    expect(await parse('> q\n> r\ns')).toEqual([
      { kind: 'quote', children: [text('q'), { kind: 'break' }, text('r')] },
      text('s'),
    ]);
    expect(await parse('`*a* <@U1>`')).toEqual([{ kind: 'code', text: '*a* @U1' }]);
    expect(await parse('```\n*a*\n``` :x: :nope:')).toEqual([
      { kind: 'preformatted', text: '*a*' },
      text(' '),
      { kind: 'emoji', name: 'x', unicode: '❌' },
      text(' :nope:'),
    ]);
    expect(await parse('```open')).toEqual([text('```open')]);
    expect(await parse('<!date^1700000000^{date_num} {time}|then>')).toEqual([
      { kind: 'date', seconds: 1_700_000_000, format: '{date_num} {time}', fallback: 'then' },
    ]);
  });

  it('is dark where the system is, or the person says so', async () => {
    await post('close T-9');
    const dark = await browser.openPageAs('U0BEN', CHANNEL, { dark: true });
    await dark.waitForMessage('close T-9');
    const ground = () =>
      dark.page.evaluate(`getComputedStyle(document.querySelector('.main')).backgroundColor`);
    expect(await ground()).toBe('rgb(22, 25, 29)');
    expect((await dark.page.screenshot()).length).toBeGreaterThan(30_000);
    await dark.page.getByRole('button', { name: 'Switch to light colours' }).click();
    expect(await ground()).toBe('rgb(255, 255, 255)');
    await dark.page.getByRole('button', { name: 'Switch to dark colours' }).click();
    await dark.page.emulateMedia({ colorScheme: 'light' });
    await dark.page.reload();
    expect(await ground()).toBe('rgb(22, 25, 29)');
    expect(dark.troubles).toEqual([]);
    await dark.page.evaluate('localStorage.clear()');
    await dark.close();
  });

  it('fits 800 pixels', async () => {
    await page.page.setViewportSize({ width: 800, height: 600 });
    const wide = await page.page.evaluate('document.documentElement.scrollWidth');
    expect(wide).toBeLessThanOrEqual(800);
    await page.page.setViewportSize({ width: 1280, height: 800 });
  });

  it('finds back to a Slack that was restarted, and shows what a demo says of itself', async () => {
    const tally = { title: 'What came of it', lines: [{ label: 'closed wrongly', value: 0, tone: 'good' }] };
    const start = (port: number) =>
      startLocalSlack({
        world: demoWorld(),
        delivery: { mode: 'socket' },
        port,
        page: (request, response) => {
          if (request.url !== '/demo/tally') return false;
          response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(tally));
          return true;
        },
      });
    const first = await start(0);
    const other = await browser.openPageAs('U0ANA', CHANNEL, { at: first.url });
    await other.page.getByRole('region', { name: 'What came of it' }).getByText('closed wrongly').waitFor();
    await first.close();
    await other.page.getByText('Reconnecting').waitFor();
    const second = await start(Number(new URL(first.url).port));
    await new SlackPerson(second.url, { team: 'T0ACME', user: 'U0BEN' }).post(CHANNEL, 'still there?');
    await other.waitForMessage('still there?');
    await other.page.getByText('Reconnecting').waitFor({ state: 'hidden' });
    await other.close();
    await second.close();
  });

  it('had no trouble of its own, and was refused nothing by its content policy', () => {
    expect(page.troubles).toEqual([]);
  });
});
