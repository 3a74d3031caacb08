import { beforeEach, describe, expect, it } from 'vitest';
import { redisForTests } from '../redis-for-tests.ts';
import { Browser, consent, installable, withInstalling, workspaceIn } from './install-for-tests.ts';
import { CHANNEL, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();
const ORG = 'E0ACMEORG';

const policy = (team: string) => `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close]
  defaults: { approvers: ["user:U0ANA", "user:U0BEN"] }
tenants:
  acme: { slack: { team: ${team}, channel: ${CHANNEL} }, environments: [production, staging] }
switch:
  operators: ["user:U0CHEN"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;
const RULE = { approvers: ['user:U0ANA', 'user:U0BEN'] };

describe.each([
  ['the workspace', 'T0ACME'],
  ['the organisation', ORG],
])('on Enterprise Grid, with %s in the policy', (_, team) => {
  const t = surfaceForTests('socket', redis, {
    policy: policy(team),
    before: (slack) => {
      workspaceIn(slack, 'T0ACME').enterprise = { id: ORG, name: 'Acme Inc.' };
    },
  });

  it('counts a click under the organisation, and one under the workspace, as the same person of the tenant', async () => {
    const { sealed, message } = await t.card({ rule: { ...RULE, quorum: 2 } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await expect.poll(async () => (await t.entries('decision.approve')).length).toBe(1);
    await t.resend((payload) => {
      payload.user.team_id = ORG;
    });
    await expect.poll(() => t.told('U0ANA', 'already').then(() => true)).toBe(true);
    await expect.poll(() => t.entries('decision.approve')).toHaveLength(1);
    await t.resend((payload) => {
      payload.user = { id: 'U0BEN', team_id: ORG };
    });
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    const people = (await t.entries('decision.approve')).map(({ detail }) => JSON.stringify(detail));
    expect(people[1]).toContain(`slack:${team}/U0BEN`);
  });

  it('[decision:identity-from-the-signed-body] refuses the click of another organisation, or of another workspace', async () => {
    const { sealed, message } = await t.card({ rule: RULE });
    await t.person('U0CHEN').click(message, 'cs_approve');
    await expect.poll(async () => (await t.refusals()).length).toBe(1);
    for (const [n, other] of ['E0OTHERORG', 'T0OTHER', 'T0GLOBEX'].entries()) {
      await t.resend((payload) => {
        payload.user = { id: 'U0ANA', team_id: other };
      });
      await expect.poll(async () => (await t.refusals()).length).toBe(n + 2);
    }
    await expect.poll(async () => (await t.refusals()).slice(1)).toEqual(Array(3).fill('other_workspace'));
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});

describe.each(['socket', 'http'] as const)('an app installed in a whole organisation, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis, {
    policy: policy(ORG),
    before: (slack) => {
      installable(slack);
      const acme = workspaceIn(slack, 'T0ACME');
      acme.enterprise = { id: ORG, name: 'Acme Inc.' };
      delete acme.installation;
      for (const user of acme.users) if (user.home === 'T0ACME') user.home = ORG;
    },
    adjust: withInstalling(redis),
  });

  beforeEach(async () => {
    const base = `http://127.0.0.1:${t.surface.port}`;
    const { oauth } = t.slack.world.app;
    if (oauth) oauth.redirectUrls = [`${base}/slack/oauth_redirect`];
    const browser = new Browser();
    const page = await browser.get(await consent(browser, base, ORG));
    expect(page).toMatchObject({ status: 200, text: expect.stringContaining(ORG) });
  });

  it('posts, and takes clicks that name the organisation alone', async () => {
    const { sealed, message } = await t.card({ rule: RULE });
    await t.person('U0ANA').click(message, 'cs_approve');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('approved');
    const { payload } = t.slack.traffic.deliveries('block_actions').at(-1) ?? {};
    expect(payload).toMatchObject({ team: null, enterprise: { id: ORG }, user: { team_id: ORG } });
  });

  it('refuses people whom Slack does not name as the organisation’s', async () => {
    const { sealed, message } = await t.card({ rule: RULE });
    await t.person('U0CHEN').click(message, 'cs_approve');
    await expect.poll(async () => (await t.refusals()).length).toBe(1);
    await t.resend((payload) => {
      payload.user = { id: 'U0ANA', team_id: 'T0OTHER' };
    });
    await expect.poll(async () => (await t.refusals()).length).toBe(2);
    expect((await t.refusals())[1]).toBe('other_workspace');
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});
