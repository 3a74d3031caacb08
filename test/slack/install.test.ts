import { beforeEach, describe, expect, it } from 'vitest';
import { INSTALLATIONS_KEY, onceKey } from '../../src/redis/keys.ts';
import { startSlackSurface } from '../../src/slack/app.ts';
import { redisForTests } from '../redis-for-tests.ts';
import {
  Browser,
  CLIENT,
  consent,
  installable,
  storeFor,
  withInstalling,
  workspaceIn,
} from './install-for-tests.ts';
import { GLOBEX_CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const OPTIONS = { before: installable, adjust: withInstalling(redis) };

describe.each(['socket', 'http'] as const)('installing the app, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis, OPTIONS);
  let base = '';
  let browser = new Browser();

  beforeEach(() => {
    base = `http://127.0.0.1:${t.surface.port}`;
    browser = new Browser();
    const { oauth } = t.slack.world.app;
    if (oauth) oauth.redirectUrls = [`${base}/slack/oauth_redirect`];
  });

  const stored = () => redis.client.hgetall(INSTALLATIONS_KEY);
  const exchanges = () => t.slack.traffic.calls('oauth.v2.access').length;

  it('works at once, without a restart, on every replica, and leaves no token in Redis or a log', async () => {
    const other = await t.replica();
    expect(t.surface.problems()).toMatchObject([{ tenant: 'globex', code: 'workspace_not_installed' }]);
    const page = await browser.get(await consent(browser, base, 'T0GLOBEX'));
    expect(page).toMatchObject({ status: 200, text: expect.stringContaining('Globex (T0GLOBEX)') });
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");

    const { sealed, message } = await t.card({
      context: { tenant: 'globex', principal: 'service:nightly' },
      rule: { approvers: ['user:U0OMAR'] },
    });
    await t.person('U0OMAR', 'T0GLOBEX').click(message, 'cs_approve');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    // The one that did not see the browser can do the same.
    await t.surface.stop();
    if (mode === 'http') t.slack.deliverTo({ mode, url: `http://127.0.0.1:${other.port}/slack/events` });
    const second = await t.card({
      context: { tenant: 'globex', principal: 'service:nightly' },
      rule: { approvers: ['user:U0OMAR'] },
    });
    await t.person('U0OMAR', 'T0GLOBEX').click(second.message, 'cs_approve');
    await expect.poll(() => t.status(second.sealed.terms.id)).toBe('approved');

    const token = workspaceIn(t.slack, 'T0GLOBEX').installation?.botToken ?? '?';
    expect(JSON.stringify(await stored())).not.toContain(token);
    const log = t.logged.join('');
    for (const secret of [token, CLIENT.secret]) expect(log).not.toContain(secret);
    await expect
      .poll(() => t.entries('workspace.installed'))
      .toMatchObject([{ detail: { team: 'T0GLOBEX' } }]);
  });

  it('needs the state that this browser was given', async () => {
    const back = await consent(browser, base, 'T0GLOBEX');
    const forged = new URL(back);
    forged.searchParams.set('state', 'A'.repeat(43));
    expect((await browser.get(forged.href)).status).toBe(400);
    const none = new URL(back);
    none.searchParams.delete('state');
    expect((await browser.get(none.href)).status).toBe(400);
    expect((await new Browser().get(back)).status).toBe(400);
    expect(exchanges()).toBe(0);
    expect(await stored()).toEqual({});
  });

  it('does not take the link of another browser, whose own state is good', async () => {
    const attacker = await consent(new Browser(), base, 'T0GLOBEX');
    await browser.get(`${base}/slack/install`);
    expect((await browser.get(attacker)).status).toBe(400);
    expect(await stored()).toEqual({});
  });

  it('does not take a state that nobody gave out, though the browser has the cookie for it', async () => {
    const back = new URL(await consent(browser, base, 'T0GLOBEX'));
    const made = 'B'.repeat(43);
    back.searchParams.set('state', made);
    const answer = await fetch(back, { headers: { cookie: `countersign-install=${made}` } });
    expect(answer.status).toBe(400);
    expect(exchanges()).toBe(0);
  });

  it('takes a state once, and for ten minutes', async () => {
    const back = await consent(browser, base, 'T0GLOBEX');
    const state = new URL(back).searchParams.get('state') ?? '';
    const life = await redis.client.pttl(onceKey(`install-state\n${state}`));
    expect(life).toBeGreaterThan(590_000);
    expect(life).toBeLessThanOrEqual(600_000);
    const replay = { headers: { cookie: `countersign-install=${state}` } };
    const answers = await Promise.all([1, 2, 3, 4].map(() => fetch(back, replay)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400, 400, 400]);
    expect(exchanges()).toBe(1);
    await redis.client.del(INSTALLATIONS_KEY);
    expect((await fetch(back, replay)).status).toBe(400);
    expect(await stored()).toEqual({});
  });

  it('does not take a code twice, under a state of its own', async () => {
    const used = await consent(browser, base, 'T0GLOBEX');
    await browser.get(used);
    const text = JSON.stringify(await stored());
    const again = new URL(await consent(browser, base, 'T0GLOBEX'));
    again.searchParams.set('code', new URL(used).searchParams.get('code') ?? '');
    expect(await browser.get(again.href)).toMatchObject({ status: 502 });
    expect(JSON.stringify(await stored())).toBe(text);
  });

  it('is refused for a workspace that the policy does not name; nothing is kept and the token is given back', async () => {
    t.slack.world.workspaces.push({
      ...structuredClone(workspaceIn(t.slack, 'T0ACME')),
      team: 'T0EVIL',
      name: '<script>',
    });
    delete workspaceIn(t.slack, 'T0EVIL').installation;
    const page = await browser.get(await consent(browser, base, 'T0EVIL'));
    expect(page).toMatchObject({
      status: 403,
      text: expect.stringContaining('names no tenant in the workspace T0EVIL'),
    });
    expect(await stored()).toEqual({});
    expect(workspaceIn(t.slack, 'T0EVIL').installation).toBeUndefined();
    expect(await t.entries('workspace.installed')).toEqual([]);
  });

  it('is refused with fewer permissions than were asked for', async () => {
    const fewer = (asked: URLSearchParams) => asked.set('scope', 'chat:write,commands');
    const page = await browser.get(await consent(browser, base, 'T0GLOBEX', fewer));
    expect(page.status).toBe(403);
    expect(await stored()).toEqual({});
  });

  it('is not done where the person says no, or Slack does', async () => {
    expect(await browser.get(await consent(browser, base, 'cancel'))).toMatchObject({
      status: 200,
      text: expect.stringContaining('nothing was installed'),
    });
    const back = await consent(browser, base, 'T0GLOBEX');
    t.slack.faults.unavailable(1, 'oauth.v2.access');
    expect((await browser.get(back)).status).toBe(502);
    expect(await stored()).toEqual({});
  });

  it('opens no other door', async () => {
    for (const path of ['/', '/slack/installed', '/slack/install/', '/slack', '/metrics']) {
      expect((await browser.get(`${base}${path}`)).status, path).toBe(404);
    }
    expect((await fetch(`${base}/slack/install`, { method: 'POST' })).status).toBe(404);
  });
});

describe('an installed workspace', () => {
  const t = surfaceForTests('socket', redis, OPTIONS);

  beforeEach(async () => {
    const base = `http://127.0.0.1:${t.surface.port}`;
    const { oauth } = t.slack.world.app;
    if (oauth) oauth.redirectUrls = [`${base}/slack/oauth_redirect`];
    const browser = new Browser();
    expect((await browser.get(await consent(browser, base, 'T0GLOBEX'))).status).toBe(200);
  });

  const problems = () => t.surface.problems().map(({ tenant, code }) => `${tenant} ${code}`);

  it('is lost once an administrator removes the app: operators are told, and it can be installed again', async () => {
    await t.slack.uninstall('T0GLOBEX');
    await expect.poll(problems).toContain('globex workspace_lost');
    const alarms = (await t.entries('alarm.raised')).filter(
      ({ detail }) => detail.alarm === 'workspace_lost',
    );
    expect(alarms).toMatchObject([{ detail: { team: 'T0GLOBEX' } }]);
    expect(t.logged.join('')).toContain('the workspace T0GLOBEX is lost');
    await expect
      .poll(async () => (await storeFor(redis).read('T0GLOBEX'))?.installation.state)
      .toMatchObject({ status: 'lost' });

    const browser = new Browser();
    const base = `http://127.0.0.1:${t.surface.port}`;
    await browser.get(await consent(browser, base, 'T0GLOBEX'));
    await expect.poll(problems).not.toContain('globex workspace_lost');
  });

  it('is lost where its token turns out to be bad, without an event', async () => {
    delete workspaceIn(t.slack, 'T0GLOBEX').installation;
    await t.propose({ context: { tenant: 'globex', principal: 'service:nightly' } });
    await expect.poll(problems).toContain('globex workspace_lost');
  });

  it('is not lost by an old message that it was removed', async () => {
    await t.slack.send({
      type: 'events_api',
      team: 'T0GLOBEX',
      acceptsResponse: false,
      payload: {
        type: 'event_callback',
        team_id: 'T0GLOBEX',
        api_app_id: t.slack.world.app.id,
        event: { type: 'app_uninstalled' },
      },
    });
    // Slack was acknowledged before the message was looked into; a stop waits for that.
    await t.surface.stop();
    await expect
      .poll(async () => (await storeFor(redis).read('T0GLOBEX'))?.installation.state)
      .toMatchObject({ status: 'live' });
    expect(problems()).not.toContain('globex workspace_lost');
  });

  it('cannot be passed off as another one, and is not used with a wrong key or cut', async () => {
    const box = (await redis.client.hget(INSTALLATIONS_KEY, 'T0GLOBEX')) ?? '';
    await redis.client.hset(INSTALLATIONS_KEY, { T0ACME: box });
    const moved = await t.replica();
    const codes = (surface: typeof moved) =>
      surface.problems().map(({ tenant, code }) => `${tenant} ${code}`);
    expect(codes(moved)).toContain('acme workspace_unreadable');
    await redis.client.hdel(INSTALLATIONS_KEY, 'T0ACME');
    await redis.client.hset(INSTALLATIONS_KEY, { T0GLOBEX: box.slice(0, -10) });
    expect(codes(await t.replica())).toContain('globex workspace_unreadable');
    await redis.client.hset(INSTALLATIONS_KEY, { T0GLOBEX: box });
    const { oauth, ...config } = t.parts.config;
    if (oauth === undefined) throw new Error('it has one');
    const otherKey = { ...oauth, store: storeFor(redis, new Uint8Array(32).fill(1)) };
    const wrong = await startSlackSurface({ ...t.parts, config: { ...config, oauth: otherKey } });
    expect(codes(wrong)).toContain('globex workspace_unreadable');
    expect(wrong.problems().find(({ tenant }) => tenant === 'globex')?.message).toContain(
      'COUNTERSIGN_TOKEN_KEY',
    );
    await wrong.stop();
  });

  it('works beside a workspace whose token the configuration holds', async () => {
    const { sealed, message } = await t.card();
    await t.person('U0ANA').click(message, 'cs_approve');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    expect(GLOBEX_CHANNEL).toBe('C0GLOBEX');
  });
});
