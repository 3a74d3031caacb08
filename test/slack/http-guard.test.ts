import { createHmac } from 'node:crypto';
import { request } from 'node:http';
import { beforeEach, describe, expect, it } from 'vitest';
import { redisForTests } from '../redis-for-tests.ts';
import { surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';

interface Forgery {
  body?: string | Buffer;
  secret?: string;
  /** Seconds from now. */
  skew?: number;
  headers?: Record<string, string | string[] | undefined>;
}

describe('in HTTP mode, what does not come from Slack as Slack sends it', () => {
  const t = surfaceForTests('http', redis);
  /** A body that would approve, were it believed. */
  let body = '';
  let id: Parameters<typeof t.status>[0];

  beforeEach(async () => {
    const { sealed, message } = await t.card();
    id = sealed.terms.id;
    await t.person('U0CHEN').click(message, 'cs_approve');
    await expect.poll(() => t.refusals()).toEqual(['not_an_approver']);
    const payload = structuredClone(t.slack.traffic.deliveries('block_actions').at(-1)?.payload) as {
      user: { id: string };
    };
    payload.user.id = 'U0ANA';
    body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString();
  });

  function send(forgery: Forgery = {}, path = '/slack/events', method = 'POST'): Promise<number> {
    const bytes = Buffer.from(forgery.body ?? body);
    const secret = forgery.secret ?? t.slack.world.app.signingSecret;
    const timestamp = String(Math.floor(Date.now() / 1000) + (forgery.skew ?? 0));
    const base = Buffer.concat([Buffer.from(`v0:${timestamp}:`), bytes]);
    const signature = `v0=${createHmac('sha256', secret).update(base).digest('hex')}`;
    const headers: Record<string, string | string[]> = {};
    for (const [name, value] of Object.entries({
      'content-type': FORM,
      'x-slack-request-timestamp': timestamp,
      'x-slack-signature': signature,
      ...forgery.headers,
    })) {
      if (value !== undefined) headers[name] = value;
    }
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, t.url), { method, headers }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      });
      sent.on('error', reject);
      sent.end(method === 'GET' ? undefined : bytes);
    });
  }

  async function expectNothing(): Promise<void> {
    expect(await t.status(id)).toBe('pending');
    expect(await t.entries('decision.approve')).toEqual([]);
    await expect.poll(() => t.refusals()).toEqual(['not_an_approver']);
  }

  const goodSignature = (junk: string): Forgery => {
    const timestamp = String(Math.floor(Date.now() / 1000));
    const hex = createHmac('sha256', t.slack.world.app.signingSecret)
      .update(`v0:${timestamp}:${body}`)
      .digest('hex');
    return {
      headers: { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': junk.replace('HEX', hex) },
    };
  };

  it('[decision:identity-from-the-signed-body] is turned away without, or with another, or with a bent signature', async () => {
    const none = { headers: { 'x-slack-signature': undefined } };
    expect(await send(none)).toBe(401);
    expect(await send({ secret: 'another' })).toBe(401);
    expect(await send({ secret: ' ' })).toBe(401);
    for (const bent of ['v1=HEX', 'v0=HEX=junk', 'v0=HEX x', 'V0=HEX', 'HEX', 'v0=', 'v0=HEX,v0=HEX']) {
      expect(await send(goodSignature(bent)), bent).toBe(401);
    }
    const upper = goodSignature('v0=HEX').headers?.['x-slack-signature'];
    expect(await send(goodSignature(String(upper).toUpperCase().replace('V0', 'v0')))).toBe(401);
    await expectNothing();
  });

  it('is turned away where it is too old, or from the future', async () => {
    for (const skew of [-302, -86_400, 302, 86_400]) expect(await send({ skew }), `${skew} s`).toBe(401);
    for (const timestamp of ['', 'NaN', '1e9', '-1', '0x10', '9'.repeat(30)]) {
      expect(await send({ headers: { 'x-slack-request-timestamp': timestamp } }), timestamp).toBe(401);
    }
    expect(await send({ headers: { 'x-slack-request-timestamp': undefined } })).toBe(401);
    await expectNothing();
  });

  it('is turned away the second time', async () => {
    const once = `${body}`;
    const forgery = goodSignature('v0=HEX');
    expect(await send({ ...forgery, body: once })).toBe(200);
    await expect.poll(() => t.status(id)).toBe('approved');
    expect(await send({ ...forgery, body: once })).toBe(401);
    await expect.poll(() => t.entries('decision.approve')).toHaveLength(1);
    expect(t.logged.join('')).toContain('replayed');
  });

  it('is not let in by ssl_check, signed or not', async () => {
    const smuggled = `ssl_check=1&${body}`;
    expect(await send({ body: smuggled, headers: { 'x-slack-signature': undefined } })).toBe(401);
    expect(await send({ body: smuggled, secret: '' })).toBe(401);
    expect(await send({ body: smuggled })).toBe(401);
    expect(await send({ body: 'ssl_check=1', headers: { 'x-slack-signature': undefined } })).toBe(401);
    await expectNothing();
  });

  it('is turned away unless it holds exactly one payload', async () => {
    for (const shape of [
      `${body}&${body}`,
      `payload=%7B%7D&${body}`,
      `command=%2Fagent-writes&${body}`,
      `${body}&payload=`,
      'payload=',
      'payload=%5B%5D',
      'payload=null',
      'payload=not%20json',
    ]) {
      expect(await send({ body: shape }), shape.slice(0, 40)).toBe(401);
    }
    expect(await send({ body: '[]', headers: { 'content-type': JSON_TYPE } })).toBe(401);
    expect(await send({ headers: { 'content-type': 'text/plain' } })).toBe(401);
    expect(await send({ headers: { 'content-type': undefined } })).toBe(401);
    await expectNothing();
  });

  it('is turned away where a command says one thing twice', async () => {
    const command = 'command=%2Fagent-writes&api_app_id=A0COUNTERSIGN&team_id=T0ACME&channel_id=C0ACMEAPP';
    const typed = `${command}&trigger_id=1.2&text=off&user_id=U0ANA`;
    expect(await send({ body: `${typed}&user_id=U0CHEN` })).toBe(401);
    expect((await t.writeSwitch.status()).state).toBe('on');
  });

  it('is turned away where its bytes are not UTF-8, or it is meant for another app', async () => {
    expect(await send({ body: Buffer.from([0x70, 0x3d, 0xff, 0xfe]) })).toBe(401);
    const other = body.replaceAll('A0COUNTERSIGN', 'A0EVIL');
    expect(await send({ body: other })).toBe(401);
    await expectNothing();
  });

  it('is turned away where it is larger than anything that Slack sends', async () => {
    const status = await send({ body: `payload=${'x'.repeat(2 * 1024 * 1024)}` }).catch(() => 413);
    expect(status).toBe(413);
    await expectNothing();
  });

  it('finds no other door', async () => {
    expect(await send({}, '/')).toBe(404);
    expect(await send({}, '/slack/install')).toBe(404);
    expect(await send({}, '/slack/events', 'GET')).toBe(404);
    await expectNothing();
  });

  it('is told nothing, and nothing of it is logged', async () => {
    await send({ secret: 'another' });
    const log = t.logged.join('');
    expect(log).toContain('was turned away');
    expect(log).not.toContain('U0ANA');
    expect(log).not.toContain(t.slack.world.app.signingSecret);
  });
});
