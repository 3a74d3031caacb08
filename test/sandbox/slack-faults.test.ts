import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { FaultsAnswer, type FaultWish } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
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

const acme = () => clientFor(slack, 'T0ACME');
const ana = () => new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0ANA' });
const channel = { team: 'T0ACME', channel: CHANNEL };

async function bring(wish: FaultWish | object): Promise<unknown> {
  const response = await fetch(`${slack.url}/sandbox/faults`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(wish),
  });
  return response.json();
}

async function active(): Promise<unknown> {
  const answer = await fetch(`${slack.url}/sandbox/faults`);
  const said = FaultsAnswer.parse(await answer.json());
  return said.ok ? said.active : said;
}

const post = (text = 'hello') => acme().chat.postMessage({ channel: CHANNEL, text });

describe('a fault that is asked for over HTTP', () => {
  it('is shown while it waits or lasts, and no longer', async () => {
    expect(await active()).toEqual([]);
    await bring({ kind: 'deliver_twice' });
    await bring({ kind: 'lose_reply', method: 'chat.postMessage' });
    await bring({ kind: 'rate_limit', ms: 10_000 });
    time += 4000;
    expect(await active()).toEqual([
      { kind: 'rate_limit', remainingMs: 6000 },
      { kind: 'deliver_twice', left: 1 },
      { kind: 'lose_reply', method: 'chat.postMessage' },
    ]);
    time += 6000;
    await ana().command('/agent-writes help', CHANNEL);
    expect(app.heard).toHaveLength(2);
    expect(await apiError(post())).not.toBe('ok');
    expect((await ana().messages(CHANNEL)).map(({ text }) => text)).toEqual(['hello']);
    expect(await active()).toEqual([]);
  });

  it('429 meets every method until the time is over', async () => {
    await bring({ kind: 'rate_limit', ms: 10_000 });
    expect(await apiError(post())).toContain('rate-limit');
    expect(await apiError(acme().users.info({ user: 'U0ANA' }))).toContain('rate-limit');
    time += 10_000;
    expect(await post()).toMatchObject({ ok: true });
  });

  it('a Slack that is down answers 503, delivers nothing, and carries nothing out', async () => {
    await bring({ kind: 'down', ms: 20_000 });
    const status = await fetch(`${slack.apiUrl}auth.test`, { method: 'POST' });
    expect(status.status).toBe(503);
    expect(await ana().command('/agent-writes off now', CHANNEL)).toMatchObject({ ok: false });
    expect(app.heard).toEqual([]);
    expect(await ana().messages(CHANNEL)).toEqual([]);
    await bring({ kind: 'clear' });
    expect(await post()).toMatchObject({ ok: true });
  });

  it('a person deletes, archives, removes the bot and shares; the app meets Slack’s own errors, and all is undone', async () => {
    const { ts } = await post('card');
    expect(await bring({ kind: 'delete_message', ...channel, message: ts })).toEqual({ ok: true });
    const update = acme().chat.update({ channel: CHANNEL, ts: String(ts), text: 'later' });
    expect(await apiError(update)).toBe('message_not_found');
    expect(await bring({ kind: 'delete_message', ...channel, message: ts })).toMatchObject({ ok: false });
    await bring({ kind: 'channel', ...channel, archived: true });
    expect(await apiError(post())).toBe('is_archived');
    await bring({ kind: 'channel', ...channel, archived: false, botIn: false });
    expect(await apiError(post())).toBe('not_in_channel');
    await bring({ kind: 'channel', ...channel, botIn: true, shared: true });
    const info = await acme().conversations.info({ channel: CHANNEL });
    expect(info.channel).toMatchObject({ is_ext_shared: true, is_archived: false });
    await bring({ kind: 'channel', ...channel, shared: false });
    expect(await post()).toMatchObject({ ok: true });
  });

  it('is refused where it is none of these, lasts too long, or is asked for under another host’s name', async () => {
    expect(await bring({ kind: 'format_disk' })).toMatchObject({ ok: false, error: 'invalid_input' });
    expect(await bring({ kind: 'down', ms: 120_001 })).toMatchObject({ ok: false, error: 'invalid_input' });
    expect(await bring({ kind: 'down', ms: 1, extra: true })).toMatchObject({ error: 'invalid_input' });
    const status = await new Promise((resolve, reject) => {
      const headers = { host: 'evil.example', 'content-type': 'application/json' };
      request(`${slack.url}/sandbox/faults`, { method: 'POST', headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end('{"kind":"down","ms":1000}');
    });
    expect(status).toBe(403);
    expect(await active()).toEqual([]);
  });
});
