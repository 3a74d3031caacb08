import { gzipSync } from 'node:zlib';
import { expect } from 'vitest';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { CHANNEL, type ClickPayload, GLOBEX_CHANNEL, surfaceForTests } from '../slack/surface-for-tests.ts';
import { attackRow } from './attack-row.ts';
import { exchange, type Header, type RawRequest, rawRequest, signatureOf } from './raw-http.ts';

/**
 * The attacker reaches the port of the approval service. Most of what is sent here would approve a waiting call if it
 * were believed: it is Chen's real click, who may not decide, with Ana's name in it, who may.
 */

const redis = redisForTests({ emptied: 'once' });
const t = surfaceForTests('http', redis, { shared: true });

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';

interface Target {
  readonly sealed: SealedTerms;
  readonly message: SeenMessage;
  readonly click: ClickPayload;
}
let waiting: Target | undefined;

/** A call that waits for people; a new one only where the last one no longer does. */
async function target(): Promise<Target> {
  await t.writeSwitch.renewPermits();
  if (waiting !== undefined && (await t.status(waiting.sealed.terms.id)) === 'pending') return waiting;
  const { sealed, message } = await t.card({ arguments: { ticket: `T-${Math.random()}` } });
  const before = (await refusalsOf(sealed)).length;
  await t.person('U0CHEN').click(message, 'cs_approve');
  await expect.poll(() => refusalsOf(sealed), { timeout: 10_000 }).toHaveLength(before + 1);
  const click = structuredClone(t.slack.traffic.deliveries('block_actions').at(-1)?.payload) as ClickPayload;
  click.user.id = 'U0ANA';
  waiting = { sealed, message, click };
  return waiting;
}

async function refusalsOf({ terms }: SealedTerms): Promise<unknown[]> {
  const refused = await t.entries('decision.refused');
  return refused.filter(({ proposal }) => proposal === terms.id).map(({ detail }) => detail.refusal);
}

const formOf = (payload: unknown) => new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
/** Each time another delivery: with the signature of an earlier one it would be turned away as that one again. */
const chensOf = ({ click }: Target) => ({
  ...click,
  user: { ...click.user, id: 'U0CHEN' },
  delivery: Math.random(),
});
const now = () => String(Math.floor(Date.now() / 1000));
const secret = () => t.slack.world.app.signingSecret;

interface Forgery {
  readonly body?: Buffer | string;
  readonly secret?: string;
  readonly version?: string;
  readonly timestamp?: string;
  /** What the signature covers, where that is not what is sent. */
  readonly signed?: Buffer | string;
  readonly type?: string;
  /** In place of those that Slack sends, undefined takes one away. */
  readonly replace?: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** The headers of a delivery, signed as told. */
function headersOf(body: Buffer | string, forgery: Forgery): Header[] {
  const timestamp = forgery.timestamp ?? now();
  const own: Record<string, string | readonly string[] | undefined> = {
    host: 'localhost',
    connection: 'close',
    'content-type': forgery.type ?? FORM,
    'content-length': String(Buffer.byteLength(body)),
    'x-slack-request-timestamp': timestamp,
    'x-slack-signature': signatureOf(
      forgery.secret ?? secret(),
      timestamp,
      forgery.signed ?? body,
      forgery.version,
    ),
    ...forgery.replace,
  };
  return Object.entries(own).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((one) => [name, one] as const),
  );
}

async function send(forgery: Forgery, request: Partial<RawRequest> = {}): Promise<number | undefined> {
  const body = forgery.body ?? formOf((await target()).click);
  const raw = rawRequest({ headers: headersOf(body, forgery), body, ...request });
  const [status] = await exchange(t.surface.port ?? 0, raw);
  return status;
}

async function expectNothing({ sealed }: Target): Promise<void> {
  expect(await t.status(sealed.terms.id)).toBe('pending');
  const decided = await t.entries('decision.approve');
  expect(decided.filter(({ proposal }) => proposal === sealed.terms.id)).toEqual([]);
}

/** Turned away at the door: the sender learns a number, the log why. */
function turnedAway(title: string, turned: string, make: (at: Target) => Forgery, status = 401) {
  return [
    title,
    async () => {
      const at = await target();
      const said = t.logged.length;
      expect(await send(make(at))).toBe(status);
      const log = t.logged.slice(said).join('');
      expect(log).toContain('was turned away');
      expect(log).toContain(`"turned":"${turned}"`);
      expect(log).not.toContain('U0ANA');
      expect(log).not.toContain(secret());
      await expectNothing(at);
    },
  ] as const;
}

/** Genuinely signed, as if Slack had sent it: read, and refused by what it says. */
function refusedAs(title: string, refusal: string, change: (click: ClickPayload, at: Target) => void) {
  return [
    title,
    async () => {
      const at = await target();
      const before = await refusalsOf(at.sealed);
      const click = structuredClone(at.click);
      change(click, at);
      expect(await send({ body: formOf(click) })).toBe(200);
      await expect.poll(() => refusalsOf(at.sealed), { timeout: 10_000 }).toEqual([...before, refusal]);
      await expectNothing(at);
    },
  ] as const;
}

/** Signed, and not a click of ours in form: nothing is decided, and the log says that it came. */
function dropped(title: string, saying: string, change: (click: ClickPayload) => unknown) {
  return [
    title,
    async () => {
      const at = await target();
      const before = await refusalsOf(at.sealed);
      const said = t.logged.length;
      const click = structuredClone(at.click);
      await send({ body: formOf(change(click) ?? click) });
      await expect.poll(() => t.logged.slice(said).join(''), { timeout: 10_000 }).toContain(saying);
      await expectNothing(at);
      expect(await refusalsOf(at.sealed)).toEqual(before);
    },
  ] as const;
}

/** Not even the door: the request itself is none, or none for here. */
function notARequest(title: string, statuses: readonly number[], make: (at: Target) => Partial<RawRequest>) {
  return [
    title,
    async () => {
      const at = await target();
      expect(statuses).toContain(await send({}, make(at)));
      await expectNothing(at);
    },
  ] as const;
}

const genuine = (more: Forgery['replace'], at: Target) => {
  const body = formOf(at.click);
  return { body, headers: headersOf(body, more === undefined ? {} : { replace: more }) };
};

const inSeconds = (seconds: number) => String(Math.floor(Date.now() / 1000) + seconds);
const bent = (form: (hex: string) => string) => () => {
  const body = formOf(waiting?.click);
  const timestamp = now();
  const hex = signatureOf(secret(), timestamp, body).slice('v0='.length);
  return { body, timestamp, replace: { 'x-slack-signature': form(hex) } };
};

const MALFORMED = 'did not have the form that Slack gives it';

attackRow(5, {
  attacks: [
    /* ---- signatures ---- */
    turnedAway('[decision:identity-from-the-signed-body] no signature at all', 'signature_form', () => ({
      replace: { 'x-slack-signature': undefined },
    })),
    turnedAway('[decision:identity-from-the-signed-body] signed with another secret', 'signature', () => ({
      secret: 'another-secret',
    })),
    turnedAway('signed with the empty secret', 'signature', () => ({ secret: '' })),
    turnedAway('signed with the word undefined', 'signature', () => ({ secret: 'undefined' })),
    turnedAway('signed with the app token in place of the secret', 'signature', () => ({
      secret: t.slack.world.app.appToken,
    })),
    turnedAway('a signature of version 1', 'signature_form', () => ({ version: 'v1' })),
    turnedAway(
      'a signature of version 0 over the text of version 1',
      'signature',
      bent(() =>
        signatureOf(secret(), now(), formOf(waiting?.click), 'v1').slice('v1='.length).replace(/^/, 'v0='),
      ),
    ),
    turnedAway('a genuine signature of another body', 'signature', () => ({ signed: 'payload=%7B%7D' })),
    turnedAway('a genuine signature of the empty body', 'signature', () => ({ signed: '' })),
    turnedAway('a signature over the body encoded anew', 'signature', ({ click }) => {
      const body = formOf(click);
      return { body: body.replaceAll('%22', '"'), signed: body };
    }),
    turnedAway('a signature over the payload without its form', 'signature', ({ click }) => ({
      signed: JSON.stringify(click),
    })),
    turnedAway('a body that was changed after signing', 'signature', ({ click }) => ({
      body: formOf(click).replace('U0ANA', 'U0BEN'),
      signed: formOf(click),
    })),
    turnedAway('a body with one byte more than was signed', 'signature', ({ click }) => ({
      body: `${formOf(click)}&`,
      signed: formOf(click),
    })),
    turnedAway(
      'junk behind the signature',
      'signature_form',
      bent((hex) => `v0=${hex}=junk`),
    ),
    turnedAway(
      'the signature in capitals',
      'signature_form',
      bent((hex) => `v0=${hex.toUpperCase()}`),
    ),
    turnedAway(
      'the signature without its version',
      'signature_form',
      bent((hex) => hex),
    ),
    turnedAway(
      'half a signature',
      'signature_form',
      bent((hex) => `v0=${hex.slice(0, 32)}`),
    ),
    turnedAway(
      'an empty signature',
      'signature_form',
      bent(() => 'v0='),
    ),
    turnedAway('two signatures, one of them right', 'signature_form', () => {
      const body = formOf(waiting?.click);
      const timestamp = now();
      const right = signatureOf(secret(), timestamp, body);
      const wrong = signatureOf('another', timestamp, body);
      return { body, timestamp, replace: { 'x-slack-signature': [wrong, right] } };
    }),
    turnedAway('one signature twice', 'signature_form', () => {
      const body = formOf(waiting?.click);
      const timestamp = now();
      const right = signatureOf(secret(), timestamp, body);
      return { body, timestamp, replace: { 'x-slack-signature': [right, right] } };
    }),

    /* ---- times ---- */
    ...(
      [
        ['six minutes old', () => inSeconds(-360)],
        ['a day old', () => inSeconds(-86_400)],
        ['six minutes ahead', () => inSeconds(360)],
        ['a year ahead', () => inSeconds(31_536_000)],
        ['the beginning of time', () => '0'],
        ['negative', () => `-${now()}`],
        ['not a number', () => 'NaN'],
        ['infinite', () => 'Infinity'],
        ['hexadecimal', () => `0x${Number(now()).toString(16)}`],
        ['with an exponent', () => `${Number(now()) / 1e9}e9`],
        ['with a fraction', () => `${now()}.5`],
        ['in milliseconds', () => String(Date.now())],
        ['with a sign', () => `+${now()}`],
        ['longer than any time', () => '9'.repeat(400)],
        ['empty', () => ''],
        ['a list', () => `${now()},${now()}`],
      ] as const
    ).map(([title, timestamp]) =>
      turnedAway(`a time that is ${title}, signed with the right secret`, 'timestamp', () => ({
        timestamp: timestamp(),
      })),
    ),
    turnedAway('no time', 'timestamp', () => ({ replace: { 'x-slack-request-timestamp': undefined } })),
    turnedAway('two times', 'timestamp', () => ({
      replace: { 'x-slack-request-timestamp': [now(), now()] },
    })),
    turnedAway('a genuine signature moved to a fresh time', 'signature', ({ click }) => {
      const body = formOf(click);
      const old = inSeconds(-400);
      return { body, timestamp: now(), replace: { 'x-slack-signature': signatureOf(secret(), old, body) } };
    }),

    /* ---- bodies ---- */
    turnedAway('ssl_check, unsigned, with a payload behind it', 'signature_form', ({ click }) => ({
      body: `ssl_check=1&${formOf(click)}`,
      replace: { 'x-slack-signature': undefined },
    })),
    turnedAway('ssl_check, signed, with a payload behind it', 'body_form', ({ click }) => ({
      body: `ssl_check=1&${formOf(click)}`,
    })),
    turnedAway('ssl_check alone', 'other_app', () => ({ body: 'ssl_check=1' })),
    turnedAway('url_verification, unsigned', 'signature_form', () => ({
      body: JSON.stringify({ type: 'url_verification', challenge: 'x' }),
      type: JSON_TYPE,
      replace: { 'x-slack-signature': undefined },
    })),
    turnedAway('url_verification with a click in it, for nobody', 'other_app', ({ click }) => {
      const { api_app_id: _, ...rest } = click;
      const body = JSON.stringify({ ...rest, type: 'url_verification', challenge: '<script>' });
      return { body, type: JSON_TYPE };
    }),
    turnedAway('the payload twice', 'body_form', ({ click }) => ({
      body: `${formOf(click)}&${formOf(click)}`,
    })),
    turnedAway('an empty payload before the real one', 'body_form', ({ click }) => ({
      body: `payload=&${formOf(click)}`,
    })),
    turnedAway('the payload under its name and its encoded name', 'body_form', ({ click }) => ({
      body: `p%61yload=%7B%7D&${formOf(click)}`,
    })),
    turnedAway('a payload and a command', 'body_form', ({ click }) => ({
      body: `command=%2Fagent-writes&text=on&${formOf(click)}`,
    })),
    turnedAway('a payload behind a question mark', 'body_form', ({ click }) => ({
      body: `?x=1&${formOf(click)}`,
    })),
    turnedAway('a payload that is a list of clicks', 'body_form', ({ click }) => ({
      body: formOf([click, click]),
    })),
    turnedAway('a payload that is text', 'body_form', ({ click }) => ({
      body: formOf(JSON.stringify(click)),
    })),
    turnedAway('a payload that is null', 'body_form', () => ({ body: 'payload=null' })),
    turnedAway('a payload cut in the middle', 'body_form', ({ click }) => ({
      body: formOf(click).slice(0, -40),
    })),
    turnedAway('a payload with a byte order mark', 'body_form', ({ click }) => ({
      body: `payload=%EF%BB%BF${encodeURIComponent(JSON.stringify(click))}`,
    })),
    turnedAway('bytes that are not UTF-8', 'body_form', ({ click }) => ({
      body: Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(formOf(click))]),
    })),
    turnedAway('nothing', 'other_app', () => ({ body: '' })),
    turnedAway('a form that calls itself JSON', 'body_form', () => ({ type: JSON_TYPE })),
    turnedAway('JSON that calls itself a form', 'other_app', ({ click }) => ({
      body: JSON.stringify(click),
    })),
    turnedAway('a form that calls itself text', 'content_type', () => ({ type: 'text/plain' })),
    turnedAway('a form in parts', 'content_type', () => ({ type: 'multipart/form-data; boundary=x' })),
    turnedAway('a body of no type', 'content_type', () => ({ replace: { 'content-type': undefined } })),
    turnedAway('a body of two types', 'content_type', () => ({
      replace: { 'content-type': [FORM, JSON_TYPE] },
    })),
    turnedAway('a packed body, signed as it is sent', 'body_form', ({ click }) => ({
      body: gzipSync(formOf(click)),
      replace: { 'content-encoding': 'gzip' },
    })),
    turnedAway('a packed body, signed as it was before', 'body_form', ({ click }) => ({
      body: gzipSync(formOf(click)),
      signed: formOf(click),
      replace: { 'content-encoding': 'gzip' },
    })),
    turnedAway('for another app', 'other_app', ({ click }) => ({
      body: formOf({ ...click, api_app_id: 'A0EVIL' }),
    })),
    turnedAway('for no app', 'other_app', ({ click }) => ({
      body: formOf({ ...click, api_app_id: undefined }),
    })),
    turnedAway('for a list of apps with ours in it', 'other_app', ({ click }) => ({
      body: formOf({ ...click, api_app_id: ['A0COUNTERSIGN'] }),
    })),
    turnedAway(
      'ten megabytes',
      'too_large',
      () => ({ body: `payload=${'x'.repeat(10 * 1024 * 1024)}` }),
      413,
    ),
    [
      'a body that never ends',
      async () => {
        const at = await target();
        const said = t.logged.length;
        const body = formOf(at.click);
        const headers = headersOf(body, { replace: { 'content-length': String(body.length + 1) } });
        expect(await exchange(t.surface.port ?? 0, rawRequest({ headers, body }))).toEqual([408]);
        expect(t.logged.slice(said).join('')).toContain('"turned":"too_slow"');
        await expectNothing(at);
      },
    ],

    /* ---- replays ---- */
    [
      '[approval:single-use] a genuine click, delivered again within five minutes, also in pieces and under another type',
      async () => {
        const at = await target();
        const body = formOf(chensOf(at));
        const headers = headersOf(body, {});
        const port = t.surface.port ?? 0;
        const before = await refusalsOf(at.sealed);
        expect(await exchange(port, rawRequest({ headers, body }))).toEqual([200]);
        await expect
          .poll(() => refusalsOf(at.sealed), { timeout: 10_000 })
          .toEqual([...before, 'not_an_approver']);
        const without = headers.filter(([name]) => name !== 'content-length');
        const pieces = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
        const again: RawRequest[] = [
          { headers, body },
          { headers: [...headers, ['x-slack-retry-num', '1']], body },
          { headers: [...without, ['transfer-encoding', 'chunked']], body: pieces },
          {
            headers: headers.map(([name, value]) =>
              name === 'content-type' ? [name, `${FORM}; charset=utf-8`] : [name, value],
            ),
            body,
          },
          { headers, body, target: '/slack/events?again' },
        ];
        for (const request of again) expect(await exchange(port, rawRequest(request))).toEqual([401]);
        expect(t.logged.join('')).toContain('"turned":"replayed"');
        expect(await refusalsOf(at.sealed)).toEqual([...before, 'not_an_approver']);
        await expectNothing(at);
      },
    ],
    [
      '[switch:off-means-no-start] a genuine on, delivered again after a new off, as Slack signed it and signed anew',
      async () => {
        await target();
        const typed = (user: string, text: string) =>
          t.person(user).command(`/agent-writes ${text}`, CHANNEL);
        const state = async () => (await t.writeSwitch.status()).state;
        await typed('U0CHEN', 'off');
        await expect.poll(state, { timeout: 10_000 }).toBe('off');
        const command = {
          command: '/agent-writes',
          text: 'on it was a false alarm',
          team_id: 'T0ACME',
          channel_id: CHANNEL,
          user_id: 'U0LEAD',
          api_app_id: 'A0COUNTERSIGN',
          trigger_id: 'on.once',
          response_url: `${t.slack.url}/nowhere`,
        };
        const body = new URLSearchParams(command).toString();
        const headers = headersOf(body, {});
        const port = t.surface.port ?? 0;
        expect(await exchange(port, rawRequest({ headers, body }))).toEqual([200]);
        await expect.poll(state, { timeout: 10_000 }).toBe('on');
        await typed('U0CHEN', 'off again');
        await expect.poll(state, { timeout: 10_000 }).toBe('off');
        expect(await exchange(port, rawRequest({ headers, body }))).toEqual([401]);
        // Whoever has the secret signs anew: it is the same command still, which was heard.
        // Another second than the first time, however long that is ago: the same one would give the same signature.
        const anew = inSeconds(-100);
        expect(await send({ body, timestamp: anew })).toBe(200);
        // A command of its own goes after it, and is answered after it.
        const flips = (await t.entries('switch.on')).length;
        await typed('U0LEAD', 'status');
        await t.told('U0LEAD', 'part of the switch answered');
        expect(await state()).toBe('off');
        expect(await t.entries('switch.on')).toHaveLength(flips);
        await typed('U0LEAD', 'on the test goes on');
        await expect.poll(state, { timeout: 10_000 }).toBe('on');
      },
    ],
    [
      'ten copies of one genuine click at once: one is heard',
      async () => {
        const at = await target();
        const body = formOf(chensOf(at));
        const raw = rawRequest({ headers: headersOf(body, { timestamp: inSeconds(-2) }), body });
        const before = await refusalsOf(at.sealed);
        const port = t.surface.port ?? 0;
        const statuses = await Promise.all(Array.from({ length: 10 }, () => exchange(port, raw)));
        expect(statuses.flat().sort()).toEqual([200, ...Array(9).fill(401)]);
        await expect
          .poll(() => refusalsOf(at.sealed), { timeout: 10_000 })
          .toEqual([...before, 'not_an_approver']);
        await expectNothing(at);
      },
    ],

    /* ---- signed, and saying something else ---- */
    refusedAs(
      '[decision:identity-from-the-signed-body] from another workspace’s person',
      'other_workspace',
      (click) => {
        Object.assign(click.user, { id: 'U0OMAR', team_id: 'T0GLOBEX' });
      },
    ),
    refusedAs('a stranger of a company that shares the channel', 'other_workspace', (click) => {
      Object.assign(click.user, { id: 'U0STRANGER', team_id: 'T0OTHER' });
    }),
    refusedAs('a stranger who claims our team', 'stranger', (click) => {
      click.user.id = 'U0STRANGER';
    }),
    refusedAs('an approver’s id under another team', 'other_workspace', (click) => {
      click.user.team_id = 'T0OTHER';
    }),
    refusedAs('an approver’s id with an organisation’s id for a team', 'other_workspace', (click) => {
      click.user.team_id = 'E0EVIL';
    }),
    refusedAs('through the other workspace that the app is installed in', 'other_workspace', (click) => {
      click.team.id = 'T0GLOBEX';
    }),
    refusedAs('a person and a workspace of the other tenant', 'other_workspace', (click) => {
      click.team.id = 'T0GLOBEX';
      Object.assign(click.user, { id: 'U0OMAR', team_id: 'T0GLOBEX' });
    }),
    refusedAs('a person who does not exist', 'stranger', (click) => {
      click.user.id = 'U0NOBODY';
    }),
    refusedAs('in another channel of ours', 'not_this_card', (click) => {
      click.channel.id = 'C0ACMEGEN';
    }),
    refusedAs('in the other tenant’s channel', 'not_this_card', (click) => {
      click.channel.id = GLOBEX_CHANNEL;
    }),
    refusedAs('on another message', 'not_this_card', (click) => {
      click.container.message_ts = '1700000000.000100';
    }),
    refusedAs('with what was shown left out', 'not_this_card', (click, { sealed }) => {
      for (const action of click.actions) action.value = sealed.terms.id;
    }),
    refusedAs('with another digest of what was shown', 'not_this_card', (click, { sealed }) => {
      for (const action of click.actions) action.value = `${sealed.terms.id} ${'0'.repeat(64)}`;
    }),
    dropped('several actions of which one approves', MALFORMED, (click) => {
      click.actions = [...click.actions, ...click.actions];
    }),
    dropped('an approval before a denial in one click', MALFORMED, (click) => {
      const [first] = click.actions;
      if (first) click.actions = [first, { ...first, action_id: 'cs_deny' }];
    }),
    dropped('an action that is no button', MALFORMED, (click) => {
      for (const action of click.actions) action.type = 'static_select';
    }),
    dropped('a card that stands nowhere', MALFORMED, (click) => {
      Reflect.deleteProperty(click, 'container');
    }),
    dropped('a channel that is a list', MALFORMED, (click) => {
      Object.assign(click, { channel: [{ id: CHANNEL }] });
    }),
    dropped('nobody who clicks', MALFORMED, (click) => {
      Object.assign(click, { user: { __proto__: { id: 'U0ANA' } } });
    }),
    dropped('a value that is no text', MALFORMED, (click) => {
      for (const action of click.actions) Object.assign(action, { value: { toString: 'x' } });
    }),
    [
      'unknown actions, and actions by names of prototypes',
      async () => {
        const at = await target();
        const before = await refusalsOf(at.sealed);
        const actions = ['cs_approve_all', 'CS_APPROVE', 'cs_approve ', '__proto__', 'constructor', ''];
        const statuses = await Promise.all(
          actions.map((action_id) => {
            const [first] = at.click.actions;
            return send({ body: formOf({ ...at.click, actions: [{ ...first, action_id }] }) });
          }),
        );
        // Whoever clicked is told that nothing was done.
        expect(statuses).toEqual(actions.map(() => 200));
        await expectNothing(at);
        expect(await refusalsOf(at.sealed)).toEqual(before);
      },
    ],
    [
      'prototype keys in the payload: they name nobody and change nothing for others',
      async () => {
        const at = await target();
        const chen = JSON.stringify({ ...at.click, user: { ...at.click.user, id: 'U0CHEN' } });
        const evil = '"id":"U0ANA","team_id":"T0ACME"';
        const bodies = [
          chen.replace('{', `{"__proto__":{"user":{${evil}}},`),
          chen.replace('"user":{', `"user":{"__proto__":{${evil}},"constructor":{"prototype":{${evil}}},`),
        ];
        const before = await refusalsOf(at.sealed);
        for (const body of bodies) {
          expect(await send({ body: new URLSearchParams({ payload: body }).toString() })).toBe(200);
        }
        await expect
          .poll(() => refusalsOf(at.sealed), { timeout: 10_000 })
          .toEqual([...before, 'not_an_approver', 'not_an_approver']);
        expect(({} as { id?: string }).id).toBeUndefined();
        await expectNothing(at);
      },
    ],

    /* ---- HTTP ---- */
    ...['GET', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'].map((method) =>
      notARequest(`a genuine click by ${method}`, [404], (at) => ({ ...genuine(undefined, at), method })),
    ),
    notARequest('a genuine click by GET that asks to be taken for POST', [404], (at) => ({
      ...genuine({ 'x-http-method-override': 'POST' }, at),
      method: 'GET',
    })),
    ...[
      '//slack/events',
      '/slack//events',
      '/slack/events/',
      '/slack/x/../events',
      '/slack/./events',
      '/slack/%65vents',
      '/slack%2Fevents',
      '/SLACK/EVENTS',
      '//evil.example/slack/events',
      'http://evil.example/slack/events',
      '/slack/events;x',
      '/slack/events%00',
      '/slack\\events',
      '/',
      '//',
      '/health/../slack/events',
    ].map((path) =>
      notARequest(`a genuine click to ${path}`, [404, 400], (at) => ({
        ...genuine(undefined, at),
        target: path,
      })),
    ),
    notARequest('a length and pieces at once', [400], (at) =>
      genuine({ 'transfer-encoding': 'chunked' }, at),
    ),
    notARequest('two lengths that differ', [400], (at) => genuine({ 'content-length': ['5', '5000'] }, at)),
    notARequest('a length with a sign', [400], (at) => genuine({ 'content-length': '+10' }, at)),
    notARequest('pieces that are packed and no pieces', [400, 501], (at) =>
      genuine({ 'content-length': undefined, 'transfer-encoding': 'chunked, gzip' }, at),
    ),
    notARequest('pieces whose size is no number', [400], (at) => ({
      ...genuine({ 'content-length': undefined, 'transfer-encoding': 'chunked' }, at),
      body: `0x10\r\n${formOf(at.click)}\r\n0\r\n\r\n`,
    })),
    notARequest('a space before the colon of the length', [400], (at) =>
      genuine({ 'content-length': undefined, 'content-length ': '10' }, at),
    ),
    [
      'forged clicks in one line behind a genuine one',
      async () => {
        const at = await target();
        const chen = formOf(chensOf(at));
        const ana = formOf(at.click);
        const open = { connection: 'keep-alive' };
        const first = headersOf(chen, { replace: open, timestamp: inSeconds(-3) });
        const before = await refusalsOf(at.sealed);
        const statuses = await exchange(
          t.surface.port ?? 0,
          Buffer.concat([
            rawRequest({ headers: first, body: chen }),
            rawRequest({ headers: first, body: chen }),
            rawRequest({ headers: headersOf(ana, { secret: 'another' }), body: ana }),
          ]),
          { until: 2 },
        );
        expect(statuses.slice(0, 2)).toEqual([200, 401]);
        await expect
          .poll(() => refusalsOf(at.sealed), { timeout: 10_000 })
          .toEqual([...before, 'not_an_approver']);
        await expectNothing(at);
      },
    ],
    [
      'a click smuggled in the body of one that is turned away',
      async () => {
        const at = await target();
        const inner = rawRequest({ headers: headersOf('payload=%7B%7D', {}), body: formOf(at.click) });
        expect(await send({ body: inner, secret: 'another' })).toBe(401);
        await expectNothing(at);
      },
    ],
  ],
  twins: [
    [
      'the same click by an approver, as Slack signs it, approves',
      async () => {
        const at = await target();
        expect(await send({ body: formOf(at.click) })).toBe(200);
        await expect.poll(() => t.status(at.sealed.terms.id), { timeout: 10_000 }).toBe('approved');
        const [entry] = (await t.entries('decision.approve')).slice(-1);
        expect(JSON.stringify(entry?.detail)).toContain('slack:T0ACME/U0ANA');
      },
    ],
    [
      'four minutes old',
      async () => {
        const at = await target();
        expect(await send({ body: formOf(at.click), timestamp: inSeconds(-240) })).toBe(200);
        await expect.poll(() => t.status(at.sealed.terms.id), { timeout: 10_000 }).toBe('approved');
      },
    ],
    [
      'four minutes ahead, in pieces, with a charset, and an unknown field beside the known ones',
      async () => {
        const at = await target();
        const body = formOf({ ...at.click, new_field_of_slack: { a: [1] } });
        const headers = headersOf(body, {
          timestamp: inSeconds(240),
          type: `${FORM}; charset=utf-8`,
          replace: { 'content-length': undefined, 'transfer-encoding': 'chunked' },
        });
        const half = Math.floor(body.length / 2);
        const pieces = [body.slice(0, half), body.slice(half), ''].map(
          (piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`,
        );
        const raw = rawRequest({ headers, body: pieces.join('') });
        expect(await exchange(t.surface.port ?? 0, raw)).toEqual([200]);
        await expect.poll(() => t.status(at.sealed.terms.id), { timeout: 10_000 }).toBe('approved');
      },
    ],
    [
      'url_verification for our app, which Slack sends when the address is saved',
      async () => {
        const body = JSON.stringify({
          type: 'url_verification',
          challenge: 'c',
          api_app_id: 'A0COUNTERSIGN',
        });
        expect(await send({ body, type: JSON_TYPE })).toBe(200);
      },
    ],
    [
      'two clicks down one connection, one after the other',
      async () => {
        const at = await target();
        const chen = formOf(chensOf(at));
        const ana = formOf(at.click);
        const statuses = await exchange(
          t.surface.port ?? 0,
          Buffer.concat([
            rawRequest({
              headers: headersOf(chen, { replace: { connection: 'keep-alive' }, timestamp: inSeconds(-4) }),
              body: chen,
            }),
            rawRequest({ headers: headersOf(ana, { timestamp: inSeconds(-4) }), body: ana }),
          ]),
          { until: 2 },
        );
        expect(statuses).toEqual([200, 200]);
        await expect.poll(() => t.status(at.sealed.terms.id), { timeout: 10_000 }).toBe('approved');
      },
    ],
  ],
});
