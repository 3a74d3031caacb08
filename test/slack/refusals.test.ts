import { describe, expect, it } from 'vitest';
import { DECISION_REFUSALS } from '../../src/core/approval/refusal.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { findChannel, findUser, findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
import { REFUSAL_NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, GLOBEX_CHANNEL, type Mode, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

describe('the notices', () => {
  it('have for every refusal one of their own, which says what to do next', () => {
    expect(Object.keys(REFUSAL_NOTICES).sort()).toEqual([...DECISION_REFUSALS].sort());
    expect(new Set(Object.values(REFUSAL_NOTICES)).size).toBe(DECISION_REFUSALS.length);
    for (const notice of Object.values(REFUSAL_NOTICES)) {
      expect(notice).toMatch(/^Nothing (was decided|changed): /);
      expect(notice).not.toMatch(/[<>*_`]/);
    }
  });
});

describe.each<Mode>(['socket', 'http'])('a click that does not count, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis);

  async function expectRefused(id: Parameters<typeof t.status>[0], refusal: string): Promise<void> {
    await expect.poll(() => t.refusals()).toEqual([refusal]);
    expect(await t.status(id)).toBe('pending');
    expect(await t.entries('decision.approve')).toEqual([]);
  }

  /** Where the machine was too busy to draw it in time, the next one has more. */
  async function cardPastItsDeadline(): Promise<SeenMessage> {
    for (let expiresInMs = 800; ; expiresInMs *= 4) {
      const { terms } = await t.propose({ rule: { expiresInMs }, arguments: { ticket: `T-${expiresInMs}` } });
      await expect.poll(() => t.store.now()).toBeGreaterThan(terms.deadline);
      const messages = await t.person('U0CHEN').messages(CHANNEL);
      const card = messages.find(({ blocks }) => JSON.stringify(blocks).includes(terms.id));
      if (card !== undefined) return card;
    }
  }

  it('is one of a guest', async () => {
    const { sealed, message } = await t.card({ rule: { approvers: ['user:U0GUEST'] } });
    await t.person('U0GUEST').click(message, 'cs_approve');
    await t.told('U0GUEST', REFUSAL_NOTICES.guest);
    await expectRefused(sealed.terms.id, 'guest');
  });

  it('is one of somebody whom the rule does not name', async () => {
    const { sealed, message } = await t.card();
    await t.person('U0CHEN').click(message, 'cs_approve');
    await t.told('U0CHEN', REFUSAL_NOTICES.not_an_approver);
    await expectRefused(sealed.terms.id, 'not_an_approver');
  });

  it('is one of somebody who was taken out of the group', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    const group = findWorkspace(t.slack.world, 'T0ACME')?.groups.find(({ id }) => id === 'S0SUPPORT');
    if (group) group.users = group.users.filter((user) => user !== 'U0BEN');
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.told('U0BEN', REFUSAL_NOTICES.not_an_approver);
    await expectRefused(sealed.terms.id, 'not_an_approver');
  });

  it('[decision:quorum-counts-distinct-people] is one of the person on whose behalf the agent calls', async () => {
    const { sealed, message } = await t.card({ context: { principal: 'slack:T0ACME/U0ANA' } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.own_call);
    await expectRefused(sealed.terms.id, 'own_call');
  });

  it('[decision:quorum-counts-distinct-people] is one of that person under another spelling of the team', async () => {
    const { sealed, message } = await t.card({ context: { principal: 'slack:E0GRID/U0ANA' } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await expectRefused(sealed.terms.id, 'own_call');
  });

  it('is one of an owner of the service that calls', async () => {
    const { sealed, message } = await t.card({
      context: { principal: 'service:nightly-triage' },
      rule: { excluded: ['slack:T0ACME/U0ANA'] },
    });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.owner_of_the_service);
    await expectRefused(sealed.terms.id, 'owner_of_the_service');
  });

  it('[decision:identity-from-the-signed-body] is one of a stranger, a deactivated account, a bot, or another workspace', async () => {
    const rule = { approvers: ['user:U0STRANGER', 'user:U0GONE', 'user:U0WORKFLOW', 'user:U0OMAR'] };
    const { sealed, message } = await t.card({ rule });
    // Chen's real click, and then the same one with somebody else's name in the signed body.
    await t.person('U0CHEN').click(message, 'cs_approve');
    await expectRefused(sealed.terms.id, 'not_an_approver');
    for (const [id, team] of [
      ['U0STRANGER', 'T0OTHER'],
      ['U0STRANGER', 'T0ACME'],
      ['U0GONE', 'T0ACME'],
      ['U0WORKFLOW', 'T0ACME'],
      ['U0OMAR', 'T0GLOBEX'],
      ['U0OMAR', 'T0ACME'],
    ] as const) {
      await t.resend(({ user }) => Object.assign(user, { id, team_id: team }));
    }
    await expect
      .poll(async () => (await t.refusals()).map(String).sort())
      .toEqual([
        'deactivated',
        'not_a_person',
        'not_an_approver',
        'other_workspace',
        'other_workspace',
        'stranger',
        'stranger',
      ]);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('[decision:identity-from-the-signed-body] is one whose value names somebody, or another proposal', async () => {
    const mine = await t.card();
    const other = await t.card({ context: { tenant: 'globex', principal: 'slack:T0GLOBEX/U0NIA' } });
    await t.person('U0CHEN').click(mine.message, 'cs_approve');
    await expect.poll(() => t.refusals()).toHaveLength(1);
    const values: [string, string][] = [
      // Ana of Acme clicks on her own card, whose value names Globex's proposal.
      [`${other.sealed.terms.id} ${'0'.repeat(64)}`, 'other_workspace'],
      [`${mine.sealed.terms.id} ${'0'.repeat(64)}`, 'not_this_card'],
      [mine.sealed.terms.id, 'not_this_card'],
    ];
    for (const [value] of values) {
      await t.resend(({ user, actions }) => {
        user.id = 'U0ANA';
        for (const action of actions) action.value = value;
      });
    }
    for (const value of ['', 'prop_zz', '__proto__', '{"proposal":"x","user":"U0LEAD"}']) {
      await t.resend(({ actions }) => {
        for (const action of actions) action.value = value;
      });
    }
    await expect
      .poll(async () => (await t.refusals()).map(String).sort())
      .toEqual(['not_an_approver', ...values.map(([, refusal]) => refusal)].sort());
    expect(await t.status(mine.sealed.terms.id)).toBe('pending');
    expect(await t.status(other.sealed.terms.id)).toBe('pending');
  });

  it('is one on another card, in another channel, or for another app', async () => {
    const first = await t.card();
    const second = await t.card({ arguments: { ticket: 'T-2' } });
    await t.person('U0CHEN').click(first.message, 'cs_approve');
    await expect.poll(() => t.refusals()).toHaveLength(1);
    await t.resend(({ user, container }) => {
      user.id = 'U0ANA';
      container.message_ts = second.message.ts;
    });
    await t.resend(({ user, channel }) => {
      user.id = 'U0ANA';
      channel.id = 'C0ACMEGEN';
    });
    const forOther = await t.resend((payload) => {
      payload.user.id = 'U0ANA';
      payload.api_app_id = 'A0EVIL';
    });
    expect(forOther).toMatchObject({ ok: false });
    await expect.poll(() => t.refusals()).toEqual(['not_an_approver', 'not_this_card', 'not_this_card']);
    expect(await t.status(first.sealed.terms.id)).toBe('pending');
    expect(await t.status(second.sealed.terms.id)).toBe('pending');
  });

  it('is one that holds several actions, or none', async () => {
    const { sealed, message } = await t.card();
    await t.person('U0CHEN').click(message, 'cs_approve');
    await expect.poll(() => t.refusals()).toHaveLength(1);
    await t.resend((payload) => {
      payload.user.id = 'U0ANA';
      payload.actions = [...payload.actions, ...payload.actions];
    });
    await expect.poll(() => t.logged.join('')).toContain('did not have the form that Slack gives it');
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });

  it('is one in a channel that has become shared with another company', async () => {
    const { sealed, message } = await t.card();
    const workspace = findWorkspace(t.slack.world, 'T0ACME');
    const channel = workspace && findChannel(workspace, CHANNEL);
    if (channel) channel.isExtShared = true;
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.shared_channel);
    await expectRefused(sealed.terms.id, 'shared_channel');
  });

  it('is one that Slack does not vouch for just now', async () => {
    const { sealed, message } = await t.card();
    t.slack.faults.unavailable(1, 'users.info');
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.cannot_check);
    await expectRefused(sealed.terms.id, 'cannot_check');
  });

  it('is one whose group Slack does not list just now', async () => {
    const { sealed, message } = await t.card();
    t.slack.faults.unavailable(1, 'usergroups.users.list');
    await t.person('U0ANA').click(message, 'cs_approve');
    await expectRefused(sealed.terms.id, 'cannot_check');
  });

  it('is one on a proposal whose record was changed, and raises an alarm', async () => {
    const { sealed, message } = await t.card();
    const [key] = (await redis.client.keys('*')).filter((name) => name.endsWith(sealed.terms.id));
    await redis.client.hset(key ?? '', 'terms', sealed.text.replace('T-1', 'T-9'));
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.seal_broken);
    await expectRefused(sealed.terms.id, 'seal_broken');
    await expect.poll(() => t.entries('alarm.raised')).toHaveLength(1);
  });

  it('is one on a proposal whose record was replaced by that of another, genuine one', async () => {
    const { sealed, message } = await t.card();
    const other = await t.propose({ context: { environment: 'staging' } });
    const keys = await redis.client.keys('*');
    const keyOf = (id: string) => keys.find((name) => name.endsWith(id)) ?? '';
    const { id: _id, ...genuine } = await redis.client.hgetall(keyOf(other.terms.id));
    await redis.client.hset(keyOf(sealed.terms.id), genuine);
    await t.person('U0ANA').click(message, 'cs_approve');
    await expectRefused(sealed.terms.id, 'seal_broken');
  });

  it('is one on a record that no script of ours wrote', async () => {
    const { sealed, message } = await t.card();
    const keys = await redis.client.keys('*');
    const key = keys.find((name) => name.endsWith(sealed.terms.id)) ?? '';
    await redis.client.hset(key, { environment: 'staging', status: 'pending' });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.seal_broken);
    await expect.poll(() => t.refusals()).toEqual(['seal_broken']);
    expect(await t.entries('alarm.raised')).not.toEqual([]);
    expect(await redis.client.hget(key, 'status')).toBe('pending');
  });

  it('is one made from a card that does not show the call whole', async () => {
    const { sealed, message } = await t.card({ arguments: { body: 'word '.repeat(1500) } });
    const ana = t.person('U0ANA');
    await ana.click(message, 'cs_review');
    await ana.waitForView();
    await t.resend(({ actions }) => {
      for (const action of actions) action.action_id = 'cs_approve';
    });
    await expectRefused(sealed.terms.id, 'not_shown_whole');
  });

  it('[decision:late-click-loses] is one at or after the deadline', async () => {
    const message = await cardPastItsDeadline();
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', REFUSAL_NOTICES.too_late);
    await expect.poll(() => t.refusals()).toEqual(['too_late']);
    expect(await t.entries('decision.approve')).toEqual([]);
  });

  it('never shows one tenant what belongs to another', async () => {
    const { sealed } = await t.card({ context: { tenant: 'globex', principal: 'slack:T0GLOBEX/U0NIA' } });
    const acme = await t.person('U0CHEN').messages(CHANNEL);
    expect(seenIn(acme.map(({ blocks }) => blocks))).not.toContain(sealed.terms.id);
    await t.cardSaying(sealed.terms.id, 'Approval needed', GLOBEX_CHANNEL);
  });
});

describe('a person who was taken for another one', () => {
  const t = surfaceForTests('socket', redis);

  it('is looked up at each click: a deactivated approver no longer decides', async () => {
    const { sealed, message } = await t.card({ rule: { quorum: 2 } });
    await t.person('U0ANA').click(message, 'cs_approve');
    await t.told('U0ANA', 'is recorded');
    const workspace = findWorkspace(t.slack.world, 'T0ACME');
    const ben = workspace && findUser(workspace, 'U0BEN');
    if (ben) ben.isRestricted = true;
    await t.person('U0BEN').click(message, 'cs_approve');
    await t.told('U0BEN', REFUSAL_NOTICES.guest);
    expect(await t.status(sealed.terms.id)).toBe('pending');
  });
});
