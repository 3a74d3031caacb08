import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import type { Channel, Workspace } from '../../src/sandbox/slack/slack-world.ts';
import { apiError, clientFor } from './bolt-sample-app.ts';
import { ListeningApp } from './listening-app.ts';

const CHANNEL = 'C0ACMEAPP';

let slack: LocalSlack;
let app: ListeningApp;
let time: number;

beforeEach(async () => {
  time = Date.now();
  app = new ListeningApp();
  const url = await app.start();
  slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'http', url }, now: () => time });
});
afterEach(async () => {
  await slack.close();
  await app.close();
});

const person = (user: string, team = 'T0ACME') => new SlackPerson(slack.url, { team, user });
const acme = () => clientFor(slack, 'T0ACME');
const globex = () => clientFor(slack, 'T0GLOBEX');

function workspace(team = 'T0ACME'): Workspace {
  const found = slack.world.workspaces.find((candidate) => candidate.team === team);
  if (!found) throw new Error(`no ${team}`);
  return found;
}

function channel(id = CHANNEL): Channel {
  const found = workspace().channels.find((candidate) => candidate.id === id);
  if (!found) throw new Error(`no ${id}`);
  return found;
}

async function raw(method: string, init: RequestInit = {}): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${slack.apiUrl}${method}`, { method: 'POST', ...init });
  return { status: response.status, body: await response.json() };
}

describe('a token', () => {
  it('is needed, must be known, and must be of the right kind', async () => {
    const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
    expect((await raw('auth.test')).body).toEqual({ ok: false, error: 'not_authed' });
    expect((await raw('auth.test', as('xoxb-wrong'))).body).toEqual({ ok: false, error: 'invalid_auth' });
    expect((await raw('chat.postMessage', as('xapp-1-A0COUNTERSIGN-demo'))).body).toEqual({
      ok: false,
      error: 'not_allowed_token_type',
    });
    expect((await raw('apps.connections.open', as('xoxb-demo-acme'))).body).toEqual({
      ok: false,
      error: 'not_allowed_token_type',
    });
    expect((await raw('chat.destroy', as('xoxb-demo-acme'))).body).toMatchObject({ error: 'unknown_method' });
    expect((await raw('toString', as('xoxb-demo-acme'))).body).toMatchObject({ error: 'unknown_method' });
  });

  it('is taken from the header or a form, and not from a JSON body', async () => {
    const form = { body: new URLSearchParams({ token: 'xoxb-demo-acme' }) };
    expect((await raw('auth.test', form)).body).toMatchObject({
      ok: true,
      team_id: 'T0ACME',
      user_id: 'U0BOTACME',
    });
    const json = {
      body: JSON.stringify({ token: 'xoxb-demo-acme' }),
      headers: { 'content-type': 'application/json' },
    };
    expect((await raw('auth.test', json)).body).toEqual({ ok: false, error: 'not_authed' });
    const broken = { body: '{', headers: { 'content-type': 'application/json' } };
    expect((await raw('auth.test', broken)).body).toEqual({ ok: false, error: 'invalid_json' });
  });

  it('does only what its scopes say, and says which one is missing', async () => {
    const { installation } = workspace();
    if (installation) installation.scopes = ['chat:write'];
    const refused = await raw('users.info', {
      headers: { authorization: 'Bearer xoxb-demo-acme' },
      body: new URLSearchParams({ user: 'U0ANA' }),
    });
    expect(refused.body).toEqual({
      ok: false,
      error: 'missing_scope',
      needed: 'users:read',
      provided: 'chat:write',
    });
    expect(await apiError(acme().conversations.info({ channel: CHANNEL }))).toBe('missing_scope');
    expect(await apiError(acme().conversations.history({ channel: CHANNEL }))).toBe('missing_scope');
    expect(await apiError(acme().usergroups.list())).toBe('missing_scope');
    expect(await apiError(acme().chat.postMessage({ channel: CHANNEL, text: 'a' }))).toBe('ok');
    slack.world.app.appTokenScopes = [];
    const connect = await raw('apps.connections.open', {
      headers: { authorization: 'Bearer xapp-1-A0COUNTERSIGN-demo' },
    });
    expect(connect.body).toMatchObject({ error: 'missing_scope', needed: 'connections:write' });
  });

  it('of one workspace sees nothing of another one', async () => {
    const { ts = '' } = await acme().chat.postMessage({ channel: CHANNEL, text: 'acme only' });
    expect(await apiError(globex().chat.postMessage({ channel: CHANNEL, text: 'a' }))).toBe(
      'channel_not_found',
    );
    expect(await apiError(globex().chat.update({ channel: CHANNEL, ts, text: 'a' }))).toBe(
      'channel_not_found',
    );
    expect(await apiError(globex().conversations.info({ channel: CHANNEL }))).toBe('channel_not_found');
    expect(await apiError(globex().conversations.members({ channel: CHANNEL }))).toBe('channel_not_found');
    expect(await apiError(globex().users.info({ user: 'U0ANA' }))).toBe('user_not_found');
    expect(await apiError(globex().usergroups.users.list({ usergroup: 'S0SUPPORT' }))).toBe(
      'no_such_subteam',
    );
    await expect(person('U0OMAR', 'T0GLOBEX').messages(CHANNEL)).rejects.toMatchObject({
      code: 'channel_not_found',
    });
  });
});

describe('a channel', () => {
  it('takes messages only from a bot that is in it, and none once it is archived', async () => {
    expect(await apiError(acme().chat.postMessage({ channel: 'C0ACMEGEN', text: 'a' }))).toBe(
      'not_in_channel',
    );
    channel('C0ACMEGEN').isPrivate = true;
    expect(await apiError(acme().chat.postMessage({ channel: 'C0ACMEGEN', text: 'a' }))).toBe(
      'channel_not_found',
    );
    const { ts = '' } = await acme().chat.postMessage({ channel: CHANNEL, text: 'a' });
    channel().isArchived = true;
    expect(await apiError(acme().chat.postMessage({ channel: CHANNEL, text: 'a' }))).toBe('is_archived');
    expect(await apiError(acme().chat.update({ channel: CHANNEL, ts, text: 'b' }))).toBe('is_archived');
    expect(await person('U0ANA').command('/agent-writes off', CHANNEL)).toMatchObject({
      error: 'channel_archived',
    });
  });

  it('says what it is: member, archived, shared, about to be shared, who is in it', async () => {
    const shared = await acme().conversations.info({ channel: 'C0SHARED' });
    expect(shared.channel).toMatchObject({
      is_ext_shared: true,
      is_pending_ext_shared: false,
      is_member: true,
    });
    channel().isPendingExtShared = true;
    const own = await acme().conversations.info({ channel: CHANNEL });
    expect(own.channel).toMatchObject({
      is_pending_ext_shared: true,
      is_archived: false,
      is_ext_shared: false,
    });
    expect(await acme().conversations.info({ channel: 'C0ACMEGEN' })).toMatchObject({
      channel: { is_member: false },
    });
    const first = await acme().conversations.members({ channel: CHANNEL, limit: 2 });
    expect(first.members).toEqual(['U0ANA', 'U0BEN']);
    const cursor = first.response_metadata?.next_cursor ?? '';
    expect((await acme().conversations.members({ channel: CHANNEL, cursor })).members).toContain('U0BOTACME');
  });

  it('has a history without ephemeral messages, threads apart', async () => {
    workspace().installation?.scopes.push('channels:history');
    const { ts = '' } = await acme().chat.postMessage({ channel: CHANNEL, text: 'card' });
    await acme().chat.postMessage({ channel: CHANNEL, text: 'log', thread_ts: ts });
    await acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0ANA', text: 'psst' });
    const history = await acme().conversations.history({ channel: CHANNEL });
    expect(history.messages).toMatchObject([{ text: 'card', reply_count: 1, thread_ts: ts }]);
    const replies = await acme().conversations.replies({ channel: CHANNEL, ts });
    expect(replies.messages?.map((message) => message.text)).toEqual(['card', 'log']);
    expect(await apiError(acme().conversations.replies({ channel: CHANNEL, ts: '1.2' }))).toBe(
      'thread_not_found',
    );
    expect(await apiError(acme().chat.postMessage({ channel: CHANNEL, text: 'a', thread_ts: '1.2' }))).toBe(
      'thread_not_found',
    );
  });
});

describe('a message', () => {
  it('is updated by its own bot alone', async () => {
    const posted = await person('U0ANA').post(CHANNEL, 'mine');
    const ts = posted.ok ? posted.ts : '';
    expect(await apiError(acme().chat.update({ channel: CHANNEL, ts, text: 'b' }))).toBe(
      'cant_update_message',
    );
    expect(await apiError(acme().chat.update({ channel: CHANNEL, ts: '1.2', text: 'b' }))).toBe(
      'message_not_found',
    );
    const psst = await acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0ANA', text: 'psst' });
    const gone = acme().chat.update({ channel: CHANNEL, ts: psst.message_ts ?? '', text: 'b' });
    expect(await apiError(gone)).toBe('message_not_found');
  });

  it('for one reader is seen by nobody else', async () => {
    await acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0BEN', text: 'only Ben' });
    expect(await person('U0BEN').messages(CHANNEL)).toMatchObject([{ text: 'only Ben', ephemeral: true }]);
    expect(await person('U0ANA').messages(CHANNEL)).toEqual([]);
    const outsider = acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0STRANGER', text: 'a' });
    expect(await apiError(outsider)).toBe('user_not_in_channel');
    const nobody = acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0NOBODY', text: 'a' });
    expect(await apiError(nobody)).toBe('user_not_found');
  });

  it('has a permalink, and metadata of the right shape', async () => {
    const metadata = { event_type: 'proposal', event_payload: { id: 'prop_1' } };
    const { ts = '' } = await acme().chat.postMessage({ channel: CHANNEL, text: 'a', metadata });
    const { permalink } = await acme().chat.getPermalink({ channel: CHANNEL, message_ts: ts });
    expect(permalink).toBe(`${slack.url}/archives/${CHANNEL}/p${ts.replace('.', '')}`);
    const wrong = acme().chat.postMessage({
      channel: CHANNEL,
      text: 'a',
      metadata: { event_type: 'x' } as never,
    });
    expect(await apiError(wrong)).toBe('invalid_metadata_format');
    expect(await person('U0ANA').messages(CHANNEL)).toMatchObject([{ metadata }]);
  });
});

describe('people', () => {
  it('carry the flags by which an approver is told from others', async () => {
    const flags = async (user: string) => {
      const { user: found } = (await acme().users.info({ user })) as unknown as {
        user: Record<string, unknown>;
      };
      const { id: _id, team_id, deleted, is_bot, is_restricted, is_stranger, is_workflow_bot } = found;
      return { team_id, deleted, is_bot, is_restricted, is_stranger, is_workflow_bot };
    };
    const usual = {
      team_id: 'T0ACME',
      deleted: false,
      is_bot: false,
      is_restricted: false,
      is_stranger: false,
      is_workflow_bot: false,
    };
    expect(await flags('U0ANA')).toEqual(usual);
    expect(await flags('U0GUEST')).toEqual({ ...usual, is_restricted: true });
    expect(await flags('U0GONE')).toEqual({ ...usual, deleted: true });
    expect(await flags('U0WORKFLOW')).toEqual({ ...usual, is_bot: true, is_workflow_bot: true });
    expect(await flags('U0STRANGER')).toEqual({ ...usual, team_id: 'T0OTHER', is_stranger: true });
  });

  it('show their e-mail only to a token that may read it', async () => {
    const { installation } = workspace();
    if (!installation) throw new Error('not installed');
    installation.scopes = installation.scopes.filter((scope) => scope !== 'users:read.email');
    const email = async () => (await acme().users.info({ user: 'U0ANA' })).user?.profile?.email;
    expect(await email()).toBeUndefined();
    installation.scopes.push('users:read.email');
    expect(await email()).toBe('ana@acme.example');
  });

  it('belong to groups', async () => {
    expect((await acme().usergroups.users.list({ usergroup: 'S0SUPPORT' })).users).toEqual([
      'U0ANA',
      'U0BEN',
      'U0RITA',
    ]);
    const listed = await acme().usergroups.list({ include_users: true });
    expect(listed.usergroups).toMatchObject([{ id: 'S0SUPPORT' }, { id: 'S0ONCALL', users: ['U0CHEN'] }]);
    expect(await apiError(acme().usergroups.users.list({ usergroup: 'S0NONE' }))).toBe('no_such_subteam');
  });
});

describe('the rate limits', () => {
  it('let about one message a second into a channel, after a small burst, and answer 429 with Retry-After', async () => {
    const post = (to = CHANNEL) => acme().chat.postMessage({ channel: to, text: 'a' });
    for (let index = 0; index < 4; index += 1) expect(await apiError(post())).toBe('ok');
    const refused = await raw('chat.postMessage', {
      headers: { authorization: 'Bearer xoxb-demo-acme' },
      body: new URLSearchParams({ channel: CHANNEL, text: 'a' }),
    });
    expect(refused).toEqual({ status: 429, body: { ok: false, error: 'ratelimited' } });
    await expect(post()).rejects.toMatchObject({ code: 'slack_webapi_rate_limited_error', retryAfter: 1 });
    expect(await apiError(post('C0SHARED'))).toBe('ok');
    time += 1000;
    expect(await apiError(post())).toBe('ok');
    await expect(post()).rejects.toMatchObject({ retryAfter: 1 });
    expect(await person('U0ANA').messages(CHANNEL)).toHaveLength(5);
  });

  it.each([
    ['tier 2', 20, () => acme().usergroups.users.list({ usergroup: 'S0SUPPORT' })],
    ['tier 3', 50, () => acme().conversations.info({ channel: CHANNEL })],
    ['tier 4', 100, () => acme().users.info({ user: 'U0ANA' })],
  ])('hold %s to %d calls a minute', async (_tier, most, ask) => {
    for (let index = 0; index < most; index += 1) expect(await apiError(ask())).toBe('ok');
    await expect(ask()).rejects.toMatchObject({ code: 'slack_webapi_rate_limited_error', retryAfter: 60 });
    time += 59_000;
    await expect(ask()).rejects.toMatchObject({ retryAfter: 1 });
    time += 1001;
    expect(await apiError(ask())).toBe('ok');
  });

  it('are each workspace’s own', async () => {
    for (let index = 0; index < 20; index += 1) await acme().usergroups.list();
    expect(await apiError(globex().usergroups.list())).toBe('ok');
  });
});

describe('a response_url', () => {
  async function responseUrl(): Promise<string> {
    await person('U0CHEN').command('/agent-writes status', CHANNEL);
    return String(app.payload.response_url);
  }
  const send = async (url: string, body: object) => {
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    return { status: response.status, body: await response.json() };
  };

  it('takes five answers', async () => {
    const url = await responseUrl();
    for (let index = 0; index < 5; index += 1)
      expect((await send(url, { text: `${index}` })).status).toBe(200);
    expect(await send(url, { text: 'six' })).toEqual({ status: 404, body: { ok: false, error: 'used_url' } });
    expect(await person('U0CHEN').messages(CHANNEL)).toHaveLength(5);
  });

  it('is good for thirty minutes', async () => {
    const url = await responseUrl();
    time += 30 * 60_000;
    expect((await send(url, { text: 'in time' })).status).toBe(200);
    time += 1;
    expect(await send(url, { text: 'late' })).toEqual({
      status: 404,
      body: { ok: false, error: 'expired_url' },
    });
    expect((await send(`${url}X`, { text: 'forged' })).body).toEqual({ ok: false, error: 'invalid_url' });
  });

  it('of a click replaces or removes the message that was clicked', async () => {
    const actions = [
      {
        type: 'actions' as const,
        elements: [
          { type: 'button' as const, action_id: 'go', text: { type: 'plain_text' as const, text: 'Go' } },
        ],
      },
    ];
    await acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0ANA', text: 'pick', blocks: actions });
    const ana = person('U0ANA');
    const message = await ana.waitForMessage(CHANNEL, ({ ephemeral }) => ephemeral);
    await ana.click(message, 'go');
    expect(app.payload).toMatchObject({ container: { is_ephemeral: true } });
    expect(app.payload).not.toHaveProperty('message');
    const url = String(app.payload.response_url);
    expect((await send(url, { text: '', blocks: [{ type: 'nope' }] })).body).toMatchObject({
      error: 'invalid_blocks',
    });
    await send(url, { replace_original: true, text: 'picked' });
    expect(await ana.messages(CHANNEL)).toMatchObject([{ text: 'picked', blocks: [], ts: message.ts }]);
    await send(url, { delete_original: true });
    expect(await ana.messages(CHANNEL)).toEqual([]);
  });
});

describe('faults', () => {
  it('lose the answer of a call that was carried out', async () => {
    slack.faults.loseReply('chat.postMessage');
    const lost = acme().chat.postMessage({ channel: CHANNEL, text: 'once' });
    await expect(lost).rejects.toMatchObject({ code: 'slack_webapi_request_error' });
    expect(await person('U0ANA').messages(CHANNEL)).toHaveLength(1);
    expect(slack.traffic.calls('chat.postMessage')).toMatchObject([{ lost: true, team: 'T0ACME' }]);
  });

  it('answer 503 for some calls, and 429 for some time', async () => {
    slack.faults.unavailable(1, 'users.info');
    await expect(acme().users.info({ user: 'U0ANA' })).rejects.toMatchObject({ statusCode: 503 });
    expect(await apiError(acme().users.info({ user: 'U0ANA' }))).toBe('ok');
    slack.faults.rateLimit(7000);
    await expect(acme().users.info({ user: 'U0ANA' })).rejects.toMatchObject({ retryAfter: 7 });
    time += 7000;
    expect(await apiError(acme().users.info({ user: 'U0ANA' }))).toBe('ok');
  });

  it('leave no token in the record of what passed', async () => {
    await acme().chat.postMessage({ channel: CHANNEL, text: 'a' });
    expect(JSON.stringify(slack.traffic.all)).not.toMatch(/xoxb|xapp/);
  });
});
