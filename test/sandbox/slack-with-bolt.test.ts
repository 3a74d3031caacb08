import type { KnownBlock, ModalView } from '@slack/web-api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { apiError, type Mode, type SampleApp, startSampleApp } from './bolt-sample-app.ts';

const CHANNEL = 'C0ACMEAPP';

const CARD: KnownBlock[] = [
  { type: 'section', text: { type: 'plain_text', text: 'ticket.close', emoji: false } },
  {
    type: 'actions',
    block_id: 'decide',
    elements: [
      {
        type: 'button',
        action_id: 'approve',
        style: 'primary',
        value: 'prop_1',
        text: { type: 'plain_text', text: 'Approve' },
        confirm: { text: { type: 'plain_text', text: 'Sure?' } },
      },
      { type: 'button', action_id: 'deny', value: 'prop_1', text: { type: 'plain_text', text: 'Deny' } },
    ],
  },
];

const REASON: ModalView = {
  type: 'modal',
  callback_id: 'deny_reason',
  private_metadata: 'prop_1',
  title: { type: 'plain_text', text: 'Deny' },
  submit: { type: 'plain_text', text: 'Deny' },
  notify_on_close: true,
  blocks: [
    {
      type: 'input',
      block_id: 'why',
      label: { type: 'plain_text', text: 'Why?' },
      element: { type: 'plain_text_input', action_id: 'reason', max_length: 40 },
    },
  ],
};

describe.each<Mode>(['socket', 'http'])('the real Bolt App in %s mode', (mode) => {
  let sample: SampleApp;
  const seen: Record<string, unknown>[] = [];

  beforeEach(async () => {
    seen.length = 0;
    sample = await startSampleApp(mode, (app) => {
      app.action('approve', async ({ ack, body, client }) => {
        await ack();
        seen.push(body as unknown as Record<string, unknown>);
        if (body.type !== 'block_actions' || !body.message || !body.channel) return;
        await client.chat.update({
          channel: body.channel.id,
          ts: body.message.ts,
          text: `approved by ${body.user.id}`,
          blocks: [],
        });
      });
      app.action('deny', async ({ ack, body, client }) => {
        if (body.type === 'block_actions')
          await client.views.open({ trigger_id: body.trigger_id, view: REASON });
        await ack();
      });
      app.view('deny_reason', async ({ ack, view, body }) => {
        const reason = view.state.values.why?.reason?.value ?? '';
        if (reason === 'no') return ack({ response_action: 'errors', errors: { why: 'Say more than no.' } });
        if (reason === 'stray') return ack({ response_action: 'errors', errors: { nowhere: 'Lost.' } });
        if (reason === 'further') {
          return ack({
            response_action: 'push',
            view: {
              ...REASON,
              callback_id: 'second',
              notify_on_close: false,
              title: { type: 'plain_text', text: 'And' },
            },
          });
        }
        await ack();
        seen.push({ reason, metadata: view.private_metadata, user: body.user });
      });
      app.view('second', async ({ ack }) => ack({ response_action: 'clear' }));
      app.view({ type: 'view_closed', callback_id: 'deny_reason' }, async ({ ack, body }) => {
        await ack();
        seen.push({ closed: true, cleared: body.type === 'view_closed' && body.is_cleared });
      });
      app.command('/agent-writes', async ({ ack, command, respond }) => {
        if (command.text === 'silent') return;
        if (command.text === 'broken') return ack({ blocks: [{ type: 'nonsense' }] } as never);
        if (command.text === 'aloud') return ack({ response_type: 'in_channel', text: 'Writes are off.' });
        await ack(command.text === 'later' ? undefined : `heard ${command.text}`);
        seen.push({ ...command });
        if (command.text === 'later') await respond({ text: 'Done.' });
      });
      app.event('app_home_opened', async ({ event, client }) => {
        await client.views.publish({
          user_id: event.user,
          view: { type: 'home', blocks: [{ type: 'header', text: { type: 'plain_text', text: 'Inbox' } }] },
        });
      });
    });
  });

  afterEach(() => sample.close());

  async function postCard(channel = CHANNEL) {
    const posted = await sample.client.chat.postMessage({ channel, text: 'ticket.close', blocks: CARD });
    return posted.ts ?? '';
  }

  it('shows a posted card to a member, and a click reaches the app with who clicked', async () => {
    const ts = await postCard();
    const ana = sample.person('U0ANA');
    const card = await ana.waitForMessage(CHANNEL, (message) => message.ts === ts);
    expect(card.author).toEqual({ kind: 'app', id: 'U0BOTACME', name: 'Countersign' });

    expect(await ana.click(card, 'approve')).toEqual({ ok: true });
    const settled = await ana.waitForMessage(CHANNEL, (message) => message.text === 'approved by U0ANA');
    expect(settled).toMatchObject({ ts, blocks: [], editedTs: expect.any(String) });
    expect(seen[0]).toMatchObject({
      type: 'block_actions',
      user: { id: 'U0ANA', username: 'ana', name: 'ana', team_id: 'T0ACME' },
      team: { id: 'T0ACME', domain: 'acme' },
      enterprise: null,
      is_enterprise_install: false,
      api_app_id: 'A0COUNTERSIGN',
      container: { type: 'message', message_ts: ts, channel_id: CHANNEL, is_ephemeral: false },
      channel: { id: CHANNEL, name: 'acme-approvals' },
      message: { ts, user: 'U0BOTACME', bot_id: 'B0ACME', app_id: 'A0COUNTERSIGN' },
      trigger_id: expect.any(String),
      response_url: expect.stringContaining('/actions/T0ACME/'),
      actions: [
        {
          action_id: 'approve',
          block_id: 'decide',
          type: 'button',
          value: 'prop_1',
          text: { type: 'plain_text', text: 'Approve', emoji: true },
          action_ts: expect.stringMatching(/^\d+\.\d{6}$/),
        },
      ],
    });
    expect(seen[0]).not.toHaveProperty('actions.0.confirm');
  });

  it('opens a modal, holds its required field and length, shows the app’s errors, and submits', async () => {
    const ts = await postCard();
    const ben = sample.person('U0BEN');
    const card = await ben.waitForMessage(CHANNEL, (message) => message.ts === ts);
    expect(await ben.click(card, 'deny')).toEqual({ ok: true });
    const modal = await ben.waitForView();
    expect(modal).toMatchObject({ title: 'Deny', callbackId: 'deny_reason', depth: 1, errors: {} });
    expect(await sample.person('U0ANA').openView()).toBeNull();

    expect(await ben.submit(modal)).toMatchObject({
      errors: { why: 'Please complete this required field.' },
    });
    expect(await ben.submit(modal, { why: 'x'.repeat(41) })).toMatchObject({
      errors: { why: 'Must be less than 41 characters.' },
    });
    expect(sample.slack.traffic.deliveries('view_submission')).toHaveLength(0);

    expect(await ben.submit(modal, { why: 'no' })).toMatchObject({ errors: { why: 'Say more than no.' } });
    expect(await ben.openView()).toMatchObject({ id: modal.id, errors: { why: 'Say more than no.' } });
    expect(await ben.submit(modal, { why: 'not a duplicate' })).toEqual({ ok: true, view: null, errors: {} });
    await expect
      .poll(() => seen)
      .toContainEqual({
        reason: 'not a duplicate',
        metadata: 'prop_1',
        user: { id: 'U0BEN', username: 'ben', name: 'ben', team_id: 'T0ACME' },
      });
  });

  it('tells the person when the app answers a submission with something Slack would not take', async () => {
    const ts = await postCard();
    const ben = sample.person('U0BEN');
    await ben.click(await ben.waitForMessage(CHANNEL, (message) => message.ts === ts), 'deny');
    const modal = await ben.waitForView();
    expect(await ben.submit(modal, { why: 'stray' })).toEqual({
      ok: false,
      error: 'app_error',
      text: 'We had some trouble connecting. Try again?',
    });
    expect(await ben.openView()).toMatchObject({ id: modal.id });
  });

  it('pushes a second modal, closes back to the first, and clears the whole stack', async () => {
    const ts = await postCard();
    const ben = sample.person('U0BEN');
    await ben.click(await ben.waitForMessage(CHANNEL, (message) => message.ts === ts), 'deny');
    const first = await ben.waitForView();
    const pushed = await ben.submit(first, { why: 'further' });
    expect(pushed).toMatchObject({ ok: true, view: { depth: 2, title: 'And' } });
    const second = await ben.waitForView((view) => view.depth === 2);
    expect(await ben.closeView(second)).toEqual({ ok: true });
    expect(await ben.openView()).toMatchObject({ id: first.id, depth: 1 });

    await ben.submit(first, { why: 'further' });
    const again = await ben.waitForView((view) => view.depth === 2);
    expect(await ben.submit(again, { why: 'enough' })).toMatchObject({ ok: true, view: null });
  });

  it('tells the app that a modal was closed', async () => {
    const ts = await postCard();
    const ben = sample.person('U0BEN');
    await ben.click(await ben.waitForMessage(CHANNEL, (message) => message.ts === ts), 'deny');
    await ben.closeView(await ben.waitForView());
    await expect.poll(() => seen).toContainEqual({ closed: true, cleared: false });
    expect(await ben.openView()).toBeNull();
  });

  it('carries a slash command with Slack’s form fields, and shows the answer to its writer alone', async () => {
    const chen = sample.person('U0CHEN');
    expect(await chen.command('/agent-writes off  too many closes', CHANNEL)).toEqual({ ok: true });
    const answer = await chen.waitForMessage(CHANNEL, (message) => message.text.startsWith('heard off'));
    expect(answer.ephemeral).toBe(true);
    expect((await sample.person('U0ANA').messages(CHANNEL)).filter((message) => message.ephemeral)).toEqual(
      [],
    );
    expect(seen[0]).toMatchObject({
      team_id: 'T0ACME',
      team_domain: 'acme',
      channel_id: CHANNEL,
      channel_name: 'acme-approvals',
      user_id: 'U0CHEN',
      user_name: 'chen',
      command: '/agent-writes',
      api_app_id: 'A0COUNTERSIGN',
      is_enterprise_install: 'false',
      trigger_id: expect.any(String),
      response_url: expect.stringContaining('/commands/T0ACME/'),
    });
    expect(await chen.command('/nothing here', CHANNEL)).toMatchObject({ error: 'command_not_found' });
  });

  it('shows an in_channel answer to everybody, with what was typed', async () => {
    await sample.person('U0CHEN').command('/agent-writes aloud', CHANNEL);
    const seenByAna = await sample.person('U0ANA').messages(CHANNEL);
    expect(seenByAna.map((message) => message.text)).toEqual(['/agent-writes aloud', 'Writes are off.']);
  });

  it('takes a later answer over the response_url', async () => {
    const chen = sample.person('U0CHEN');
    await chen.command('/agent-writes later', CHANNEL);
    expect(await chen.waitForMessage(CHANNEL, (message) => message.text === 'Done.')).toMatchObject({
      ephemeral: true,
    });
  });

  it('tells the person that a command timed out, or was answered with nonsense', async () => {
    const chen = sample.person('U0CHEN');
    expect(await chen.command('/agent-writes broken', CHANNEL)).toEqual({
      ok: false,
      error: 'app_error',
      text: '/agent-writes failed with the error "invalid_blocks"',
    });
    const before = performance.now();
    expect(await chen.command('/agent-writes silent', CHANNEL)).toEqual({
      ok: false,
      error: 'operation_timeout',
      text: '/agent-writes failed with the error "operation_timeout"',
    });
    expect(performance.now() - before).toBeGreaterThan(2_900);
  });

  it('opens the Home tab, where the app publishes its view', async () => {
    const ana = sample.person('U0ANA');
    expect(await ana.home()).toBeNull();
    await ana.openHome();
    await expect.poll(() => ana.home()).toMatchObject({ type: 'home' });
    expect(await sample.person('U0BEN').home()).toBeNull();
  });

  it('runs a handler twice when an envelope is delivered twice: Bolt does not deduplicate', async () => {
    const ts = await postCard();
    const ana = sample.person('U0ANA');
    const card = await ana.waitForMessage(CHANNEL, (message) => message.ts === ts);
    sample.slack.faults.deliverTwice();
    expect(await ana.click(card, 'approve')).toEqual({ ok: true });
    await expect.poll(() => sample.slack.traffic.calls('chat.update')).toHaveLength(2);
    expect(seen).toHaveLength(2);
    expect(seen[0]).toEqual(seen[1]);
  });

  it('says in a Connect click whose team the stranger is of, and that the team is the installing one', async () => {
    const ts = await postCard('C0SHARED');
    const sid = sample.person('U0STRANGER');
    expect((await sid.channels()).map((channel) => channel.id)).toEqual(['C0SHARED']);
    await sid.click(await sid.waitForMessage('C0SHARED', (message) => message.ts === ts), 'approve');
    await sid.waitForMessage('C0SHARED', (message) => message.text === 'approved by U0STRANGER');
    expect(seen[0]).toMatchObject({ team: { id: 'T0ACME' }, user: { id: 'U0STRANGER', team_id: 'T0OTHER' } });
    expect(await sid.command('/agent-writes off', 'C0SHARED')).toMatchObject({ error: 'command_not_found' });
  });

  it('lets nobody click who is no member, deactivated or a bot; a guest who is a member can', async () => {
    const ts = await postCard();
    const card = await sample.person('U0ANA').waitForMessage(CHANNEL, (message) => message.ts === ts);
    const workspace = sample.slack.world.workspaces[0];
    const channel = workspace?.channels.find((candidate) => candidate.id === CHANNEL);
    if (channel) channel.members = channel.members.filter((member) => member !== 'U0RITA');
    expect(await sample.person('U0RITA').click(card, 'approve')).toMatchObject({ error: 'not_a_member' });
    expect(await sample.person('U0GONE').click(card, 'approve')).toMatchObject({ error: 'user_cannot_act' });
    expect(await sample.person('U0WORKFLOW').click(card, 'approve')).toMatchObject({
      error: 'user_cannot_act',
    });
    expect(await sample.person('U0OMAR', 'T0GLOBEX').click(card, 'approve')).toMatchObject({
      error: 'channel_not_found',
    });
    expect(seen).toEqual([]);
    const guest = sample.person('U0GUEST');
    expect(await guest.click(card, 'approve')).toEqual({ ok: true });
    await guest.waitForMessage(CHANNEL, (message) => message.text === 'approved by U0GUEST');
  });

  it('says dispatch_failed when no app is there', async () => {
    const ts = await postCard();
    const ana = sample.person('U0ANA');
    const card = await ana.waitForMessage(CHANNEL, (message) => message.ts === ts);
    await sample.app.stop();
    await expect.poll(() => sample.slack.connections()).toBe(0);
    expect(await ana.click(card, 'approve')).toMatchObject({ ok: false, error: 'dispatch_failed' });
    expect(await ana.command('/agent-writes off', CHANNEL)).toMatchObject({
      text: '/agent-writes failed with the error "dispatch_failed"',
    });
  });

  it('opens one modal with a trigger, and only within three seconds', async () => {
    const ana = sample.person('U0ANA');
    await ana.command('/agent-writes once', CHANNEL);
    await expect.poll(() => seen).toHaveLength(1);
    const trigger_id = String(seen[0]?.trigger_id);
    expect(await apiError(sample.client.views.open({ trigger_id, view: REASON }))).toBe('ok');
    expect(await apiError(sample.client.views.open({ trigger_id, view: REASON }))).toBe(
      'exchanged_trigger_id',
    );
  });
});
