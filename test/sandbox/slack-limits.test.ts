import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ListeningApp } from './listening-app.ts';

/* Every limit of Slack that an approval card or modal can meet, asked for over plain HTTP, as no SDK may soften them. */

const app = new ListeningApp();
let slack: LocalSlack;
let time = Date.now();

beforeAll(async () => {
  const url = await app.start();
  slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'http', url }, now: () => time });
});
afterAll(async () => {
  await slack.close();
  await app.close();
});

/** What Ana's command gives the app: the right to open one modal before her. */
async function trigger(): Promise<string> {
  await new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' }).command(
    '/agent-writes help',
    'C0ACMEAPP',
  );
  return String(app.payload.trigger_id);
}

type Answer = { ok: boolean; error?: string; ts?: string; response_metadata?: { messages?: string[] } };

async function call(method: string, args: object, token = 'xoxb-demo-acme'): Promise<Answer> {
  // Between two calls no rate limit is near, and a trigger issued right before is still young.
  time += 2000;
  const response = await fetch(`${slack.apiUrl}${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json; charset=utf-8', authorization: `Bearer ${token}` },
    body: JSON.stringify(args),
  });
  return (await response.json()) as Answer;
}

const x = (length: number) => 'x'.repeat(length);
const plain = (length: number) => ({ type: 'plain_text', text: x(length) });
const section = (length: number) => ({ type: 'section', text: plain(length) });
const button = (fields: object = {}) => ({ type: 'button', text: plain(4), ...fields });
const actions = (...elements: object[]) => [{ type: 'actions', elements }];
const confirm = (fields: object) => actions(button({ confirm: { text: plain(4), ...fields } }));
const input = (element: object, fields: object = {}) => [
  { type: 'input', label: plain(4), element, ...fields },
];
const options = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ text: plain(4), value: `v${index}` }));
const divider = { type: 'divider' };
const preformatted = (text: string) => ({
  type: 'rich_text',
  elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'text', text }] }],
});

/** [what, blocks exactly at the limit, the same one step over it] */
const BLOCK_LIMITS: [string, object[], object[]][] = [
  ['50 blocks', Array(50).fill(divider), Array(51).fill(divider)],
  ['section text 3000', [section(3000)], [section(3001)]],
  [
    'field text 2000',
    [{ type: 'section', fields: [plain(2000)] }],
    [{ type: 'section', fields: [plain(2001)] }],
  ],
  [
    '10 fields',
    [{ type: 'section', fields: Array(10).fill(plain(1)) }],
    [{ type: 'section', fields: Array(11).fill(plain(1)) }],
  ],
  ['header 150', [{ type: 'header', text: plain(150) }], [{ type: 'header', text: plain(151) }]],
  ['button text 75', actions(button({ text: plain(75) })), actions(button({ text: plain(76) }))],
  ['button value 2000', actions(button({ value: x(2000) })), actions(button({ value: x(2001) }))],
  [
    'accessibility label 75',
    actions(button({ accessibility_label: x(75) })),
    actions(button({ accessibility_label: x(76) })),
  ],
  ['25 action elements', actions(...Array(25).fill(button())), actions(...Array(26).fill(button()))],
  [
    '10 context elements',
    [{ type: 'context', elements: Array(10).fill(plain(1)) }],
    [{ type: 'context', elements: Array(11).fill(plain(1)) }],
  ],
  ['confirm title 100', confirm({ title: plain(100) }), confirm({ title: plain(101) })],
  ['confirm text 300', confirm({ text: plain(300) }), confirm({ text: plain(301) })],
  ['confirm button 30', confirm({ confirm: plain(30), deny: plain(30) }), confirm({ deny: plain(31) })],
  ['block_id 255', [{ ...divider, block_id: x(255) }], [{ ...divider, block_id: x(256) }]],
  ['action_id 255', actions(button({ action_id: x(255) })), actions(button({ action_id: x(256) }))],
  [
    'plain_text_input max_length 3000',
    input({ type: 'plain_text_input', max_length: 3000 }),
    input({ type: 'plain_text_input', max_length: 3001 }),
  ],
  [
    'input initial value 3000',
    input({ type: 'plain_text_input', initial_value: x(3000) }),
    input({ type: 'plain_text_input', initial_value: x(3001) }),
  ],
  [
    '100 select options',
    actions({ type: 'static_select', options: options(100) }),
    actions({ type: 'static_select', options: options(101) }),
  ],
  [
    '10 checkboxes',
    actions({ type: 'checkboxes', options: options(10) }),
    actions({ type: 'checkboxes', options: options(11) }),
  ],
  [
    '5 overflow options',
    actions({ type: 'overflow', options: options(5) }),
    actions({ type: 'overflow', options: options(6) }),
  ],
];

/** [what, blocks, what Slack says of them] */
const WRONG_BLOCKS: [string, unknown[], string][] = [
  [
    'an unknown block type',
    [{ type: 'sections' }],
    'unsupported type: sections [json-pointer:/blocks/0/type]',
  ],
  [
    'a field Slack does not have',
    [{ ...section(3), colour: 'red' }],
    'invalid additional property: colour [json-pointer:/blocks/0]',
  ],
  ['a missing field', [{ type: 'header' }], 'missing required field: text [json-pointer:/blocks/0]'],
  ['an empty text', [section(0)], 'must be more than 0 characters [json-pointer:/blocks/0/text/text]'],
  [
    'a section with nothing',
    [{ type: 'section' }],
    'missing required field: text [json-pointer:/blocks/0/text]',
  ],
  ['mrkdwn in a header', [{ type: 'header', text: { type: 'mrkdwn', text: 'a' } }], 'text/type'],
  [
    'the same block_id twice',
    [
      { ...divider, block_id: 'a' },
      { ...divider, block_id: 'a' },
    ],
    'block_id a is not unique',
  ],
  [
    'the same action_id twice in a block',
    actions(button({ action_id: 'a' }), button({ action_id: 'a' })),
    'action_id a is not unique in its block',
  ],
  [
    'the same option value twice',
    actions({ type: 'static_select', options: [options(1)[0], options(1)[0]] }),
    'duplicate option value: v0',
  ],
  [
    'a link inside a preformatted text of another type',
    [
      {
        type: 'rich_text',
        elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'user', user_id: 'U1' }] }],
      },
    ],
    'unsupported type: user',
  ],
  ['no object', ['divider'], 'must provide a value of type object [json-pointer:/blocks/0]'],
];

describe('the blocks of a message', () => {
  it.each(BLOCK_LIMITS)('hold %s', async (_what, at, over) => {
    expect(await call('chat.postMessage', { channel: 'C0ACMEAPP', text: 'a', blocks: at })).toMatchObject({
      ok: true,
    });
    expect(await call('chat.postMessage', { channel: 'C0ACMEAPP', text: 'a', blocks: over })).toMatchObject({
      ok: false,
      error: 'invalid_blocks',
      response_metadata: { messages: [expect.stringMatching(/^\[ERROR\] .*\[json-pointer:\/blocks/)] },
    });
  });

  it.each(WRONG_BLOCKS)('refuse %s', async (_what, blocks, problem) => {
    const answer = await call('chat.postMessage', { channel: 'C0ACMEAPP', text: 'a', blocks });
    expect(answer).toMatchObject({ ok: false, error: 'invalid_blocks' });
    expect(answer.response_metadata?.messages?.join('\n')).toContain(problem);
  });

  it('are too long together past about 12,000 characters, though each is short enough', async () => {
    const blocks = [preformatted(x(3000)), preformatted(x(3000)), preformatted(x(3000))];
    const fits = await call('chat.postMessage', { channel: 'C0ACMEAPP', text: 'a', blocks });
    expect(fits).toMatchObject({ ok: true });
    const longer = [...blocks, preformatted(x(3000))];
    expect(await call('chat.postMessage', { channel: 'C0ACMEAPP', text: 'a', blocks: longer })).toEqual({
      ok: false,
      error: 'msg_blocks_too_long',
    });
    const update = { channel: 'C0ACMEAPP', ts: fits.ts, text: 'a', blocks: longer };
    expect(await call('chat.update', update)).toMatchObject({ error: 'msg_blocks_too_long' });
    const ephemeral = { channel: 'C0ACMEAPP', user: 'U0ANA', text: 'a', blocks: longer };
    expect(await call('chat.postEphemeral', ephemeral)).toMatchObject({ error: 'msg_blocks_too_long' });
  });

  it('keep a plain_text’s emoji unless the app says no, as Slack does', async () => {
    await call('chat.postMessage', {
      channel: 'C0ACMEAPP',
      text: 'emoji',
      blocks: [section(3), { type: 'section', text: { ...plain(3), emoji: false } }],
    });
    const ana = new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' });
    const message = await ana.waitForMessage('C0ACMEAPP', ({ text }) => text === 'emoji');
    expect(message.blocks.map((block) => block.text)).toMatchObject([{ emoji: true }, { emoji: false }]);
    expect(message.blocks.every((block) => (block.block_id ?? '') !== '')).toBe(true);
  });

  it('need a text or a block, and a text of bearable length', async () => {
    const channel = 'C0ACMEAPP';
    expect(await call('chat.postMessage', { channel })).toMatchObject({ error: 'no_text' });
    expect(await call('chat.postMessage', { channel, blocks: [] })).toMatchObject({ error: 'no_text' });
    expect(await call('chat.postMessage', { channel, text: x(40_001) })).toMatchObject({
      error: 'msg_too_long',
    });
    const { ts } = await call('chat.postMessage', { channel, text: 'a' });
    expect(await call('chat.update', { channel, ts, text: x(4001) })).toMatchObject({
      error: 'msg_too_long',
    });
    expect(await call('chat.postMessage', { channel, text: 'a', blocks: '[{' })).toMatchObject({
      error: 'invalid_blocks_format',
    });
  });
});

describe('a modal', () => {
  const modal = (fields: object = {}) => ({ type: 'modal', title: plain(4), blocks: [divider], ...fields });

  const LIMITS: [string, object, object, string][] = [
    ['title 24', modal({ title: plain(24) }), modal({ title: plain(25) }), '/view/title/text'],
    ['submit 24', modal({ submit: plain(24) }), modal({ submit: plain(25) }), '/view/submit/text'],
    ['close 24', modal({ close: plain(24) }), modal({ close: plain(25) }), '/view/close/text'],
    [
      'private_metadata 3000',
      modal({ private_metadata: x(3000) }),
      modal({ private_metadata: x(3001) }),
      '/view/private_metadata',
    ],
    ['callback_id 255', modal({ callback_id: x(255) }), modal({ callback_id: x(256) }), '/view/callback_id'],
    [
      '100 blocks',
      modal({ blocks: Array(100).fill(divider) }),
      modal({ blocks: Array(101).fill(divider) }),
      '/view/blocks',
    ],
    ['no foreign fields', modal(), modal({ submit_disabled: true }), 'submit_disabled [json-pointer:/view]'],
    [
      'a submit button where there is an input',
      modal({ submit: plain(4), blocks: input({ type: 'plain_text_input' }) }),
      modal({ blocks: input({ type: 'plain_text_input' }) }),
      'missing required field: submit',
    ],
    [
      'no markdown block',
      modal(),
      modal({ blocks: [{ type: 'markdown', text: 'a' }] }),
      'unsupported type: markdown',
    ],
  ];

  it.each(LIMITS)('holds %s', async (_what, at, over, pointer) => {
    expect(await call('views.open', { trigger_id: await trigger(), view: at })).toMatchObject({ ok: true });
    const refused = await call('views.open', { trigger_id: await trigger(), view: over });
    expect(refused).toMatchObject({ ok: false, error: 'invalid_arguments' });
    expect(refused.response_metadata?.messages?.join('\n')).toContain(pointer);
  });

  it('needs a trigger: known, three seconds young, unused, and of the token’s own workspace', async () => {
    const view = modal();
    expect(await call('views.open', { view })).toMatchObject({ error: 'invalid_arguments' });
    expect(await call('views.open', { trigger_id: '1.2.3', view })).toMatchObject({
      error: 'invalid_trigger_id',
    });
    const foreign = await call('views.open', { trigger_id: await trigger(), view }, 'xoxb-demo-globex');
    expect(foreign).toMatchObject({ error: 'invalid_trigger_id' });
    const once = await trigger();
    expect(await call('views.open', { trigger_id: once, view })).toMatchObject({ ok: true });
    expect(await call('views.open', { trigger_id: once, view })).toMatchObject({
      error: 'exchanged_trigger_id',
    });
    const late = await trigger();
    time += 1001;
    expect(await call('views.open', { trigger_id: late, view })).toMatchObject({
      error: 'expired_trigger_id',
    });
  });

  it('that Slack refuses does not use the trigger up', async () => {
    const trigger_id = await trigger();
    time -= 1500;
    expect(await call('views.open', { trigger_id, view: modal({ title: plain(25) }) })).toMatchObject({
      ok: false,
    });
    time -= 1500;
    expect(await call('views.open', { trigger_id, view: modal() })).toMatchObject({ ok: true });
  });

  it('stacks three high, and each push needs a trigger from inside a modal', async () => {
    const view = modal({ blocks: actions(button({ action_id: 'more' })) });
    expect(await call('views.push', { trigger_id: await trigger(), view })).toMatchObject({ ok: false });
    await call('views.open', { trigger_id: await trigger(), view });
    const ana = new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' });
    const push = async () => {
      const top = await ana.waitForView();
      await ana.click(top, 'more');
      return call('views.push', { trigger_id: app.payload.trigger_id, view });
    };
    expect(await push()).toMatchObject({ ok: true });
    expect(await push()).toMatchObject({ ok: true });
    expect(await push()).toMatchObject({ ok: false, error: 'push_limit_reached' });
    expect(await ana.openView()).toMatchObject({ depth: 3 });
  });

  it('is updated by id, refused on an old hash, and unknown by a wrong id', async () => {
    const opened = await call('views.open', { trigger_id: await trigger(), view: modal() });
    const { id, hash } = (opened as unknown as { view: { id: string; hash: string } }).view;
    const view = modal({ title: { type: 'plain_text', text: 'New' } });
    expect(await call('views.update', { view_id: id, hash, view })).toMatchObject({ ok: true });
    expect(await call('views.update', { view_id: id, hash, view })).toMatchObject({ error: 'hash_conflict' });
    expect(await call('views.update', { view_id: 'V0NONE', view })).toMatchObject({ error: 'not_found' });
    expect(await call('views.update', { view_id: id, view }, 'xoxb-demo-globex')).toMatchObject({
      error: 'not_found',
    });
  });
});
