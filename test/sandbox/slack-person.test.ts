import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { PersonEvent } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { clientFor } from './bolt-sample-app.ts';

const CHANNEL = 'C0ACMEAPP';

let slack: LocalSlack;

beforeEach(async () => {
  slack = await startLocalSlack({
    world: demoWorld(),
    delivery: { mode: 'socket' },
    page: (incoming, response) => {
      if (incoming.url !== '/') return false;
      response.end('the page');
      return true;
    },
  });
});
afterEach(() => slack.close());

const person = (user: string, team = 'T0ACME') => new SlackPerson(slack.url, { team, user });
const acme = () => clientFor(slack, 'T0ACME');

/** Reads a person's stream until the predicate holds for what came so far. */
async function watch(
  user: string,
  query: Record<string, string>,
  enough: (events: PersonEvent[]) => boolean,
  meanwhile: () => Promise<unknown> = async () => undefined,
): Promise<PersonEvent[]> {
  const abort = new AbortController();
  const search = new URLSearchParams({ team: 'T0ACME', user, ...query });
  const response = await fetch(`${slack.url}/sandbox/events?${search}`, { signal: abort.signal });
  const events: PersonEvent[] = [];
  const reading = (async () => {
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString();
      const frames = text.split('\n\n');
      text = frames.pop() ?? '';
      for (const frame of frames) {
        const data = frame.split('\n').find((line) => line.startsWith('data: '));
        if (data) events.push(PersonEvent.parse(JSON.parse(data.slice(6))));
      }
      if (enough(events)) return;
    }
  })();
  await meanwhile();
  await reading;
  abort.abort();
  return events;
}

describe('a person', () => {
  it('sees his workspaces’ people, with what they are, and their groups', async () => {
    const kinds = Object.fromEntries((await person('U0ANA').users()).map((user) => [user.id, user.kind]));
    expect(kinds).toEqual({
      U0ANA: 'member',
      U0BEN: 'member',
      U0CHEN: 'member',
      U0LEAD: 'member',
      U0RITA: 'member',
      U0GUEST: 'guest',
      U0GONE: 'deactivated',
      U0WORKFLOW: 'workflow_bot',
      U0STRANGER: 'stranger',
      U0BOTACME: 'bot',
    });
    const ana = (await person('U0ANA').users()).find((user) => user.id === 'U0ANA');
    expect(ana).toMatchObject({ canAct: true, groups: [{ id: 'S0SUPPORT', handle: 'support' }] });
    const response = await fetch(`${slack.url}/sandbox/workspaces`);
    expect(await response.json()).toMatchObject({
      ok: true,
      workspaces: [{ team: 'T0ACME' }, { team: 'T0GLOBEX' }],
    });
  });

  it('sees the channels he is in, and no message of another one', async () => {
    expect((await person('U0CHEN').channels()).map((channel) => channel.name)).toEqual([
      'acme-approvals',
      'general',
    ]);
    await expect(person('U0GUEST').messages('C0ACMEGEN')).rejects.toMatchObject({ code: 'not_a_member' });
    await expect(person('U0GONE').channels()).rejects.toMatchObject({ code: 'user_cannot_act' });
    expect(await person('U0GUEST').post('C0ACMEGEN', 'hello')).toMatchObject({ error: 'not_a_member' });
  });

  it('reads on from a cursor: new, edited and gone messages', async () => {
    const ana = person('U0ANA');
    const read = async (since: number) => {
      const search = new URLSearchParams({
        team: 'T0ACME',
        user: 'U0ANA',
        channel: CHANNEL,
        since: `${since}`,
      });
      return (await (await fetch(`${slack.url}/sandbox/messages?${search}`)).json()) as {
        messages: { text: string; replyCount: number }[];
        cursor: number;
      };
    };
    const { ts = '' } = await acme().chat.postMessage({ channel: CHANNEL, text: 'card' });
    const first = await read(0);
    expect(first.messages).toMatchObject([{ text: 'card', replyCount: 0 }]);
    expect((await read(first.cursor)).messages).toEqual([]);
    await acme().chat.update({ channel: CHANNEL, ts, text: 'settled' });
    await ana.post(CHANNEL, 'thanks', ts);
    const second = await read(first.cursor);
    expect(second.messages).toMatchObject([
      { text: 'settled', replyCount: 1 },
      { text: 'thanks', replyCount: 0 },
    ]);
  });

  it('is told live what changes before his eyes, and nothing of what is not his', async () => {
    const events = await watch(
      'U0RITA',
      {},
      (seen) => seen.some((event) => event.kind === 'message' && event.message.text === 'settled'),
      async () => {
        const { ts = '' } = await acme().chat.postMessage({ channel: CHANNEL, text: 'card' });
        await acme().chat.postEphemeral({ channel: CHANNEL, user: 'U0BEN', text: 'for Ben' });
        await acme().views.publish({ user_id: 'U0BEN', view: { type: 'home', blocks: [] } });
        await clientFor(slack, 'T0GLOBEX').chat.postMessage({ channel: 'C0GLOBEX', text: 'globex' });
        await acme().chat.postMessage({ channel: 'C0SHARED', text: 'a channel Rita is not in' });
        await person('U0CHEN').post('C0ACMEGEN', 'general');
        await acme().chat.update({ channel: CHANNEL, ts, text: 'settled' });
      },
    );
    expect(events.map((event) => (event.kind === 'message' ? event.message.text : event.kind))).toEqual([
      'hello',
      'card',
      'general',
      'settled',
    ]);
  });

  it('catches up on a stream from a cursor, and starts anew after one the server does not know', async () => {
    await acme().chat.postMessage({ channel: CHANNEL, text: 'missed' });
    const events = await watch('U0ANA', { since: '0' }, (seen) => seen.length === 2);
    expect(events).toMatchObject([{ kind: 'hello' }, { kind: 'message', message: { text: 'missed' } }]);
    expect(await watch('U0ANA', { since: '99' }, (seen) => seen.length === 1)).toMatchObject([
      { kind: 'reset' },
    ]);
  });
});

describe('the person’s interface', () => {
  it('answers no other host name and no form, so that no foreign page can act in it', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const { port } = new URL(slack.url);
      request({ port, path: '/sandbox/workspaces', headers: { host: 'evil.example' } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(403);
    const body = JSON.stringify({ team: 'T0ACME', user: 'U0ANA', channel: CHANNEL, text: 'forged' });
    const form = await fetch(`${slack.url}/sandbox/post`, { method: 'POST', body });
    expect(form.status).toBe(415);
    expect(await person('U0ANA').messages(CHANNEL)).toEqual([]);
  });

  it('says what is wrong with what it is given', async () => {
    const response = await fetch(`${slack.url}/sandbox/click`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"team":"T0ACME"}',
    });
    expect(await response.json()).toMatchObject({ ok: false, error: 'invalid_input' });
  });

  it('leaves every other path to the page', async () => {
    expect(await (await fetch(`${slack.url}/`)).text()).toBe('the page');
    expect((await fetch(`${slack.url}/nothing`)).status).toBe(404);
  });
});
