import { createHmac } from 'node:crypto';
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { Delivered } from '../../src/sandbox/slack/app-delivery.ts';
import { type SlackSurfaceParts, startSlackSurface } from '../../src/slack/app.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type ClickPayload, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

describe('several replicas over HTTP', () => {
  const t = surfaceForTests('http', redis);
  const bodyOf = (payload: unknown) => new URLSearchParams({ payload: JSON.stringify(payload) }).toString();

  async function send(port: number | undefined, body: string, timestamp = Math.floor(Date.now() / 1_000)) {
    const { signingSecret } = t.slack.world.app;
    const hex = createHmac('sha256', signingSecret).update(`v0:${timestamp}:${body}`).digest('hex');
    const answer = await fetch(`http://127.0.0.1:${port}/slack/events`, {
      method: 'POST',
      body,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        'x-slack-request-timestamp': String(timestamp),
        'x-slack-signature': `v0=${hex}`,
      },
    });
    return answer.status;
  }

  /** A click that would approve, as Slack would sign it. */
  async function approval() {
    const { sealed, message } = await t.card();
    await t.person('U0CHEN').click(message, 'cs_approve');
    await expect.poll(() => t.refusals()).toContain('not_an_approver');
    const { payload } = t.slack.traffic.deliveries('block_actions').at(-1) ?? {};
    const click = structuredClone(payload) as ClickPayload;
    click.user.id = 'U0ANA';
    return { id: sealed.terms.id, click };
  }

  it('[approval:single-use] take what Slack sent once, whichever of them it reaches, also after a restart', async () => {
    const replicas = await Promise.all([t.replica(), t.replica()]);
    const { id, click } = await approval();
    const at = Math.floor(Date.now() / 1_000);
    const ports = [t.surface.port, ...replicas.map(({ port }) => port)];
    const statuses = await Promise.all([...ports, ...ports].map((port) => send(port, bodyOf(click), at)));
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
    expect(statuses.filter((status) => status === 401)).toHaveLength(5);
    await expect.poll(() => t.status(id)).toBe('approved');
    await expect.poll(() => t.entries('decision.approve')).toHaveLength(1);
    const later = await t.replica();
    expect(await send(later.port, bodyOf(click), at)).toBe(401);
  });

  it('take nothing while they cannot know whether it was taken before', async () => {
    const { id, click } = await approval();
    const once = { firstTime: () => Promise.reject(new Error('Redis is away')), take: async () => false };
    const replica = await t.replica({ once });
    expect(await send(replica.port, bodyOf(click))).toBe(503);
    expect(await t.status(id)).toBe('pending');
  });

  it('know by themselves which app they are of, and refuse what is for another', async () => {
    const { appId: _, ...config } = t.parts.config;
    const replica = await t.replica({ config });
    const { id, click } = await approval();
    click.api_app_id = 'A0EVIL';
    expect(await send(replica.port, bodyOf(click))).toBe(401);
    expect(await t.status(id)).toBe('pending');
    click.api_app_id = t.slack.world.app.id;
    expect(await send(replica.port, bodyOf(click))).toBe(200);
    await expect.poll(() => t.status(id)).toBe('approved');
  });

  it('compare nothing where the server does not tell the app, and say so', async () => {
    const { appId: _, ...config } = t.parts.config;
    t.slack.faults.unavailable(20, 'bots.info');
    const before = t.logged.length;
    await t.replica({ config });
    expect(t.logged.slice(before).join('')).toContain('set SLACK_APP_ID');
  });

  it('do not start with a token of another app than SLACK_APP_ID names', async () => {
    const config = { ...t.parts.config, appId: 'A0OTHER' };
    await expect(startSlackSurface({ ...t.parts, config })).rejects.toThrow(/different apps.*A0OTHER/);
  });

  it('leave no port open where the start fails after they listen', async () => {
    const port = await freePort();
    const { transport } = t.parts.config;
    if (transport.mode !== 'http') throw new Error('it is HTTP');
    const config = { ...t.parts.config, transport: { ...transport, port } };
    const outbox = Object.create(t.parts.outbox) as typeof t.parts.outbox;
    outbox.onMarked = () => Promise.reject(new Error('the outbox is away'));
    await expect(startSlackSurface({ ...t.parts, config, outbox })).rejects.toThrow('the outbox is away');
    await expect(fetch(`http://127.0.0.1:${port}/slack/events`)).rejects.toThrow();
    await t.replica({ config });
  });
});

describe.each(['socket', 'http'] as const)('a service that stops under load, in %s mode', (mode) => {
  const deciding = { begun: 0 };
  const t = surfaceForTests(mode, redis, {
    adjust: (parts) => {
      deciding.begun = 0;
      return { ...parts, store: slowToDecide(parts.store, deciding) };
    },
  });

  it('has finished each click that it took when it says that it stopped, and takes no other', async () => {
    const cards = [];
    for (let n = 0; n < 3; n += 1) cards.push(await t.card({ arguments: { ticket: `load-${n}` } }));
    const clicks = cards.map(({ message }) => t.person('U0ANA').click(message, 'cs_approve'));
    await expect.poll(() => deciding.begun).toBe(3);
    await t.surface.stop();
    const statuses = await Promise.all(cards.map(({ sealed }) => t.status(sealed.terms.id)));
    expect(statuses).toEqual(['approved', 'approved', 'approved']);
    await Promise.all(clicks);
    const taken = t.slack.traffic.deliveries('block_actions');
    expect(taken.map(({ outcome }) => (outcome as Delivered).ok)).toEqual([true, true, true]);
    await t.resend(() => {});
    const after = t.slack.traffic.deliveries('block_actions').at(-1);
    expect(after?.outcome).toMatchObject({ ok: false });
    await expect.poll(() => t.entries('decision.approve')).toHaveLength(3);
  });
});

const SLOW_MS = 400;

/** The store, as it is when Redis has much to do. */
function slowToDecide<Store extends SlackSurfaceParts['store']>(
  store: Store,
  deciding: { begun: number },
): Store {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (name !== 'decide') return value.bind(target);
      return async (...given: unknown[]) => {
        deciding.begun += 1;
        await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
        return value.apply(target, given);
      };
    },
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
