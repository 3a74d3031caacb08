import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import type { InstallationStore } from '../../src/core/workspace/installation-store.ts';
import { CLAIM_MS, REFRESH_AHEAD_MS, TokenRotation } from '../../src/slack/install-rotation.ts';
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
import { surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const HOUR = 60 * 60_000;
const TEAM = 'T0GLOBEX';

describe('a token that expires', () => {
  let now = Date.now();
  const clock = () => now;
  const t = surfaceForTests('socket', redis, {
    now: clock,
    before: (slack) => {
      installable(slack);
      if (slack.world.app.oauth) slack.world.app.oauth.tokenRotation = true;
    },
    adjust: (parts) => ({ ...withInstalling(redis)(parts), clock }),
  });

  beforeEach(async () => {
    const base = `http://127.0.0.1:${t.surface.port}`;
    const { oauth } = t.slack.world.app;
    if (oauth) oauth.redirectUrls = [`${base}/slack/oauth_redirect`];
    const browser = new Browser();
    expect((await browser.get(await consent(browser, base, TEAM))).status).toBe(200);
    // The app rotates from now on: acme's token in the configuration does not.
    await expect.poll(() => standing()).toMatchObject({ status: 'live', expires: { refresh: {} } });
  });

  function rotation(store: InstallationStore = storeFor(redis)): TokenRotation {
    const logger = pino({ level: 'debug' }, { write: (line: string) => void t.logged.push(line) });
    const reach = { apiUrl: t.slack.apiUrl, logger };
    return new TokenRotation({ store, client: CLIENT, audit: t.audit, reach, logger, clock });
  }

  const standing = async () => {
    const state = (await storeFor(redis).read(TEAM))?.installation.state;
    if (state?.status !== 'live') throw new Error(`it is ${state?.status}`);
    return state;
  };
  const refreshes = () =>
    t.slack.traffic
      .calls('oauth.v2.access')
      .filter(({ body }) => (body as { grant_type?: string }).grant_type === 'refresh_token');
  const alarms = async () => (await t.entries('alarm.raised')).map(({ detail }) => detail.alarm);
  const nearItsEnd = async () => {
    now += 12 * HOUR - REFRESH_AHEAD_MS + 60_000;
  };

  it('is renewed ahead of its end, and not before', async () => {
    const before = await standing();
    now += 9 * HOUR;
    await rotation().rotateDue();
    expect(refreshes()).toHaveLength(0);
    now += HOUR + 60_000;
    await rotation().rotateDue();
    const after = await standing();
    expect(after.token).not.toBe(before.token);
    expect(after.expires?.at).toBe(now + 12 * HOUR);
    expect(after.token).toBe(workspaceIn(t.slack, TEAM).installation?.botToken);
    // The surface has taken it up, and goes on beyond the end of the old one.
    now += 5 * HOUR;
    const { sealed, message } = await t.card({
      context: { tenant: 'globex', principal: 'service:nightly' },
      rule: { approvers: ['user:U0OMAR'] },
      now: await t.store.now(),
    });
    await t.person('U0OMAR', TEAM).click(message, 'cs_approve');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    const log = t.logged.join('');
    for (const secret of [before.token, after.token, after.expires?.refresh.token ?? '?']) {
      expect(log).not.toContain(secret);
    }
  });

  it('is renewed by one of many replicas, each refresh token once', async () => {
    for (let round = 1; round <= 3; round += 1) {
      await nearItsEnd();
      await Promise.all(Array.from({ length: 8 }, () => rotation().rotateDue()));
      expect(refreshes()).toHaveLength(round);
    }
    const used = refreshes().map(({ body }) => (body as { refresh_token: string }).refresh_token);
    expect(new Set(used).size).toBe(3);
    expect(refreshes().every(({ result }) => (result as { ok: boolean }).ok)).toBe(true);
    expect(await alarms()).not.toContain('workspace_expiring');
  });

  it('is renewed once more where a process ended after it claimed and before it asked', async () => {
    await nearItsEnd();
    const dies = storeFor(redis);
    const replace = dies.replace.bind(dies);
    dies.replace = async (...given) => {
      await replace(...given);
      throw new Error('the process ends here');
    };
    await rotation(dies)
      .rotateDue()
      .catch(() => {});
    await rotation().rotateDue();
    expect(refreshes()).toHaveLength(0);
    now += CLAIM_MS;
    await rotation().rotateDue();
    expect(refreshes()).toHaveLength(1);
    await expect.poll(() => standing()).toMatchObject({ expires: { at: now + 12 * HOUR } });
  });

  it('ends after a crash between the renewal and the store: operators are told while it still works', async () => {
    await nearItsEnd();
    const dies = storeFor(redis);
    let writes = 0;
    const replace = dies.replace.bind(dies);
    dies.replace = (...given) => {
      writes += 1;
      if (writes === 1) return replace(...given);
      return Promise.reject(new Error('the process ends here'));
    };
    await rotation(dies).rotateDue();
    expect(refreshes()).toHaveLength(1);
    now += CLAIM_MS;
    await rotation().rotateDue();
    expect(refreshes()).toHaveLength(2);
    await expect
      .poll(() => standing())
      .toMatchObject({
        expires: { refresh: { refused: { why: expect.stringContaining('never finished') } } },
      });
    await expect.poll(() => t.surface.problems().map(({ code }) => code)).toContain('workspace_expiring');
    await expect.poll(() => alarms()).toContain('workspace_expiring');
    expect(t.logged.join('')).toContain('Slack does not renew it');
    // It is not asked again and again, and the token before works to its end.
    now += 10 * CLAIM_MS;
    await rotation().rotateDue();
    expect(refreshes()).toHaveLength(2);
    await t.propose({ context: { tenant: 'globex', principal: 'service:nightly' } });
    now += 3 * HOUR;
    await t.propose({
      context: { tenant: 'globex', principal: 'service:nightly' },
      arguments: { ticket: 'after-the-end' },
    });
    await expect.poll(() => t.surface.problems().map(({ code }) => code)).toContain('workspace_lost');
  });

  it('is kept in memory while the store does not take it, and stored as soon as it does', async () => {
    await nearItsEnd();
    const flaky = storeFor(redis);
    const replace = flaky.replace.bind(flaky);
    let writes = 0;
    flaky.replace = (...given) => {
      writes += 1;
      return writes === 2 || writes === 3 ? Promise.reject(new Error('Redis is away')) : replace(...given);
    };
    const one = rotation(flaky);
    await one.rotateDue();
    await one.rotateDue();
    await expect.poll(() => standing()).toMatchObject({ expires: { refresh: { begun: {} } } });
    await one.rotateDue();
    await expect
      .poll(async () => (await standing()).token)
      .toBe(workspaceIn(t.slack, TEAM).installation?.botToken);
    expect(refreshes()).toHaveLength(1);
  });

  it('is asked for again where Slack does not answer, or the answer is lost', async () => {
    await nearItsEnd();
    t.slack.faults.unavailable(1, 'oauth.v2.access');
    await rotation().rotateDue();
    await rotation().rotateDue();
    expect(refreshes()).toHaveLength(1);
    now += CLAIM_MS;
    t.slack.faults.loseReply('oauth.v2.access');
    await rotation().rotateDue();
    now += CLAIM_MS;
    await rotation().rotateDue();
    // The answer that was lost held the only good token: somebody has to install again, and is told so.
    await expect.poll(() => standing()).toMatchObject({ expires: { refresh: { refused: {} } } });
    await expect.poll(() => alarms()).toContain('workspace_expiring');
    const browser = new Browser();
    await browser.get(await consent(browser, `http://127.0.0.1:${t.surface.port}`, TEAM));
    expect(await standing()).not.toMatchObject({ expires: { refresh: { refused: {} } } });
    await expect.poll(() => t.surface.problems().map(({ code }) => code)).not.toContain('workspace_expiring');
  });
});
