import { describe, expect, it } from 'vitest';
import { TenantId } from '../../src/core/identity/ids.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import type { WriteSwitch } from '../../src/core/switch/write-switch.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
import type { Subcommand } from '../../src/slack/subcommand.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { seenIn } from './card-views.ts';
import { CHANNEL, GLOBEX_CHANNEL, type Mode, surfaceForTests } from './surface-for-tests.ts';

const redis = redisForTests();

const TWO_TO_ARM = `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals: { required_for: [ticket.close], defaults: { approvers: ["usergroup:S0SUPPORT"] } }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production, staging] }
switch:
  operators: ["usergroup:S0ONCALL", "user:U0LEAD"]
  arming: { operators: ["user:U0LEAD", "user:U0ANA"], quorum: 2 }
`;

describe.each<Mode>(['socket', 'http'])('/agent-writes, in %s mode', (mode) => {
  const t = surfaceForTests(mode, redis);
  const type = (user: string, text: string, channel = CHANNEL, team = 'T0ACME') =>
    t.person(user, team).command(`/agent-writes ${text}`, channel);
  const state = async () => (await t.writeSwitch.status()).state;

  it('off halts what waits, redraws its card, answers with the whole truth, and tells the channels', async () => {
    const { sealed, message } = await t.card();
    expect(await type('U0CHEN', 'off too many closes <!channel>')).toEqual({ ok: true });
    const answer = await t.told('U0CHEN', 'Writes are off');
    const seen = seenIn(answer.blocks);
    expect(seen).toContain('no write in it starts any more');
    expect(seen).toContain(`Halted for good: 1 call (\`${sealed.terms.id}\`)`);
    expect(seen).toContain('1 of 1 part of the switch confirmed');
    expect(seen).toContain('too many closes <!channel>');
    expect(answer.text).not.toContain('<!channel>');
    const card = await t.cardSaying(sealed.terms.id, 'Halted');
    expect(seenIn(card.blocks)).toContain('switched off by <@U0CHEN>');
    expect(card.ts).toBe(message.ts);
    await expect.poll(() => state()).toBe('off');
    const announced = ({ text, ephemeral }: { text: string; ephemeral: boolean }) =>
      !ephemeral && text.startsWith('*Writes are off*');
    const here = await t.person('U0RITA').waitForMessage(CHANNEL, announced);
    expect(here.text).toContain('switched off by <@U0CHEN>');
    expect(seenIn(here.blocks)).toContain('too many closes <!channel>');
    const there = await t.person('U0OMAR', 'T0GLOBEX').waitForMessage(GLOBEX_CHANNEL, announced);
    // Neither the people nor the words of one company are shown in another one's channel.
    expect(there.text).toContain('by an operator of another workspace');
    expect(seenIn(there.blocks)).not.toContain('too many closes');
  });

  it('off is taken from whoever may, in whatever form', async () => {
    await type('U0CHEN', '  OFF;on ');
    await t.told('U0CHEN', 'Writes are off');
    await expect.poll(() => state()).toBe('off');
  });

  it('off is not taken from anybody else', async () => {
    for (const user of ['U0ANA', 'U0GUEST']) {
      await type(user, 'off');
      await t.told(user, 'Nothing changed');
    }
    await expect.poll(() => state()).toBe('on');
    await expect.poll(() => t.entries('switch.refused')).toHaveLength(2);
  });

  it('off keeps to the scope that is named', async () => {
    const production = await t.card();
    const staging = await t.card({ context: { environment: 'staging' } });
    await type('U0CHEN', 'off env staging');
    await t.cardSaying(staging.sealed.terms.id, 'Halted');
    expect(await t.status(production.sealed.terms.id)).toBe('pending');
    await type('U0LEAD', 'on env staging the flood is over');
    await t.told('U0LEAD', 'Writes are on');
  });

  it('never names a tenant of another workspace', async () => {
    await type('U0CHEN', 'off tenant globex');
    await t.told('U0CHEN', 'does not belong to this workspace');
    expect((await t.writeSwitch.status()).off).toEqual([]);
    await expect.poll(() => state()).toBe('on');
  });

  it('off with a scope that names nothing switches everything off, and says so', async () => {
    await type('U0CHEN', 'off tenant acmee');
    const answer = await t.told('U0CHEN', 'Writes are off');
    expect(answer.text).toContain('`tenant acmee` names nothing that is there, so *everything* is off');
    await expect.poll(() => state()).toBe('off');
  });

  it('on needs an arming operator and a reason', async () => {
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0CHEN', 'on please');
    await t.told('U0CHEN', 'does not let you turn writes on');
    await type('U0LEAD', 'on');
    await t.told('U0LEAD', 'needs a reason');
    await expect.poll(() => state()).toBe('off');
    await type('U0LEAD', 'on the prompt was fixed');
    await t.told('U0LEAD', 'Writes are on');
    await expect.poll(() => state()).toBe('on');
    const entry = (await t.entries('switch.on')).at(-1);
    expect(JSON.stringify(entry?.detail)).toContain('the prompt was fixed');
  });

  it('on brings nothing back, and says what it did not turn on', async () => {
    const { sealed } = await t.card();
    await type('U0CHEN', 'off');
    await t.cardSaying(sealed.terms.id, 'Halted');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'Writes are on');
    await expect.poll(() => t.status(sealed.terms.id)).toBe('halted');
    await type('U0LEAD', 'on fixed again');
    await t.told('U0LEAD', 'writes are not switched off for *everything*');
  });

  it('a command that is delivered twice flips once', async () => {
    t.slack.faults.deliverTwice();
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    await expect.poll(() => t.entries('switch.off')).toHaveLength(1);
  });

  it('an old on that is delivered again after a new off turns nothing on', async () => {
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'Writes are on');
    const [old] = t.slack.traffic.deliveries('slash_commands').slice(-1);
    await type('U0CHEN', 'off again');
    await expect.poll(state).toBe('off');
    await t.slack.send({
      type: 'slash_commands',
      team: 'T0ACME',
      payload: old?.payload as Record<string, unknown>,
      acceptsResponse: true,
    });
    // Slack is answered before the work is done: stopping waits for it.
    await t.surface.stop();
    await expect.poll(() => state()).toBe('off');
  });

  it('an on that another replica has carried out is not carried out again, not even after a restart', async () => {
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'Writes are on');
    const [old] = t.slack.traffic.deliveries('slash_commands').slice(-1);
    await type('U0CHEN', 'off again');
    await expect.poll(state).toBe('off');
    const replica = await t.replica();
    await t.surface.stop();
    if (mode === 'http') t.slack.deliverTo({ mode, url: `http://127.0.0.1:${replica.port}/slack/events` });
    await t.slack.send({
      type: 'slash_commands',
      team: 'T0ACME',
      payload: old?.payload as Record<string, unknown>,
      acceptsResponse: true,
    });
    await replica.stop();
    await expect.poll(() => state()).toBe('off');
    await expect.poll(() => t.entries('switch.on')).toHaveLength(2);
  });

  it('off is carried out also where it is not known whether it was heard before; on is not', async () => {
    const heard = { firstTime: () => Promise.reject(new Error('no answer')) };
    const replica = await t.replica({ heard });
    await t.surface.stop();
    if (mode === 'http') t.slack.deliverTo({ mode, url: `http://127.0.0.1:${replica.port}/slack/events` });
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'Something failed');
    await expect.poll(() => state()).toBe('off');
  });

  it('the tenant that a stranger company or another workspace names is nobody to them', async () => {
    for (const line of ['off tenant acme', 'on tenant acme fixed', 'off TENANT: ａｃｍｅ']) {
      await type('U0NIA', line, GLOBEX_CHANNEL, 'T0GLOBEX');
    }
    await t.told('U0NIA', 'Nothing changed', GLOBEX_CHANNEL);
    await expect.poll(() => state()).toBe('on');
    expect((await t.writeSwitch.status()).off).toEqual([]);
    await expect.poll(async () => (await t.entries('switch.refused')).length).toBe(3);
  });

  it('an operator who has become a guest, or was deactivated, turns nothing off or on', async () => {
    for (const change of [{ isRestricted: true }, { deleted: true }]) {
      const chen = findWorkspace(t.slack.world, 'T0ACME')?.users.find(({ id }) => id === 'U0CHEN');
      await t.slack.send({
        type: 'slash_commands',
        team: 'T0ACME',
        payload: {
          command: '/agent-writes',
          text: 'off',
          team_id: 'T0ACME',
          channel_id: CHANNEL,
          user_id: 'U0CHEN',
          api_app_id: 'A0COUNTERSIGN',
          trigger_id: JSON.stringify(Object.assign(chen ?? {}, change)),
          response_url: `${t.slack.url}/nowhere`,
        },
        acceptsResponse: true,
      });
    }
    await expect.poll(async () => (await t.entries('switch.refused')).length).toBe(2);
    await expect.poll(() => state()).toBe('on');
  });

  it('a flip from a terminal is told in the channels too, once', async () => {
    const terminal = new WriteSwitchRedis({ redis: redis.connect(), shards: 1, startDeadlineMs: 5 });
    await t.replica();
    await terminal.off({ scope: EVERYTHING, by: 'cli:root', why: 'from the terminal' });
    const off = await t
      .person('U0RITA')
      .waitForMessage(CHANNEL, ({ text }) => text.startsWith('*Writes are off*'));
    expect(off.text).toContain('switched off by `cli:root`');
    expect(seenIn(off.blocks)).toContain('from the terminal');
    const { epoch } = await terminal.status();
    await terminal.on({ scope: EVERYTHING, by: 'cli:root', why: 'fine again', expectedEpoch: epoch });
    await t
      .person('U0OMAR', 'T0GLOBEX')
      .waitForMessage(GLOBEX_CHANNEL, ({ text }) => text.startsWith('*Writes are on again*'));
    await expect.poll(() => redis.client.zcard('{s0}:switch-notices-due')).toBe(0);
    const told = (await t.person('U0RITA').messages(CHANNEL)).filter(({ text }) =>
      text.startsWith('*Writes are'),
    );
    // The test's own first on, the off, and the on.
    expect(told.map(({ text }) => text.split('*')[1])).toEqual([
      'Writes are on again',
      'Writes are off',
      'Writes are on again',
    ]);
  });

  it('a flip while no approval service ran is told when one runs again, also where Slack fails at first', async () => {
    await t.surface.stop();
    await t.writeSwitch.off({ scope: { tenant: TenantId.parse('acme') }, by: 'cli:root' });
    t.slack.faults.unavailable(1, 'chat.postMessage');
    await t.replica();
    await t
      .person('U0RITA')
      .waitForMessage(CHANNEL, ({ text }) => text.startsWith('*Writes are off* for *tenant acme*'));
    const there = await t.person('U0OMAR', 'T0GLOBEX').messages(GLOBEX_CHANNEL);
    expect(there.filter(({ text }) => text.startsWith('*Writes are off*'))).toEqual([]);
  });

  it('off for a time reminds once, after a restart too, and turns nothing on', async () => {
    await type('U0CHEN', 'off env staging for 2h wrong tickets');
    await t.told('U0CHEN', 'Writes are off');
    await t.surface.stop();
    const [reminder] = await redis.client.zrange('{s0}:switch-notices-due', '-1', '-1');
    expect(reminder).toMatch(/:reminder$/);
    // Two hours later.
    await redis.client.zadd('{s0}:switch-notices-due', Date.now() - 1, reminder ?? '');
    await Promise.all([t.replica(), t.replica()]);
    const isReminder = ({ text }: { text: string }) => text.startsWith('*Writes are still off*');
    const told = await t.person('U0RITA').waitForMessage(CHANNEL, isReminder);
    expect(told.text).toContain('`/agent-writes on environment staging &lt;reason&gt;`');
    await expect.poll(() => redis.client.zcard('{s0}:switch-notices-due')).toBe(0);
    expect((await t.person('U0RITA').messages(CHANNEL)).filter(isReminder)).toHaveLength(1);
    await expect.poll(async () => (await t.writeSwitch.status()).off).toHaveLength(1);
  });

  it('does not remind of what is on again, or was switched off anew', async () => {
    await type('U0CHEN', 'off for 2h');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'Writes are on');
    await type('U0CHEN', 'off once more');
    await expect.poll(state).toBe('off');
    await t.person('U0RITA').waitForMessage(CHANNEL, ({ blocks }) => seenIn(blocks).includes('once more'));
    const [reminder] = await redis.client.zrange('{s0}:switch-notices-due', '-1', '-1');
    await redis.client.zadd('{s0}:switch-notices-due', Date.now() - 1, reminder ?? '');
    await expect.poll(() => redis.client.zcard('{s0}:switch-notices-due')).toBe(0);
    const messages = await t.person('U0RITA').messages(CHANNEL);
    expect(messages.filter(({ text }) => text.includes('still off'))).toEqual([]);
  });

  it('status says in words why writes are off where nobody switched them off', async () => {
    await redis.client.del('{s0}:switch', '{s0}:armed');
    await type('U0ANA', 'status');
    await t.told('U0ANA', 'nobody has turned them on yet');
    await redis.client.hset('{s0}:switch', { state: 'on', epoch: 'x' });
    await type('U0BEN', 'status');
    await t.told('U0BEN', 'cannot be read');
  });

  it('status tells a lapsed permit apart, which comes back by itself', async () => {
    await redis.client.del('{s0}:armed');
    await type('U0ANA', 'status');
    await t.told('U0ANA', 'come back by themselves');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'writes are not switched off');
  });

  it('status says what is off, by whom, since when and why', async () => {
    await type('U0CHEN', 'off env staging wrong tickets');
    await t.told('U0CHEN', 'Writes are off');
    await t.card();
    await type('U0ANA', 'status');
    const answer = await t.told('U0ANA', 'off: *environment staging* by <@U0CHEN>');
    expect(answer.text).toContain('1 call waiting for people');
    expect(answer.text).toContain('1 of 1 part of the switch answered');
    expect(seenIn(answer.blocks)).toContain('wrong tickets');
  });

  it('pending lists what waits here and nothing of another tenant', async () => {
    const own = await t.card();
    const other = await t.card({ context: { tenant: 'globex', principal: 'slack:T0GLOBEX/U0NIA' } });
    await type('U0ANA', 'pending');
    const answer = await t.told('U0ANA', 'Waiting for people');
    expect(answer.text).toContain('`ticket.close` for `acme` in `production`');
    expect(answer.text).toContain(`archives/${CHANNEL}/p${own.message.ts.replace('.', '')}`);
    expect(answer.text).not.toContain('globex');
    expect(answer.text).not.toContain(other.sealed.terms.id);
  });

  it('pending has the oldest deadline first, over all tenants, and as much of it as Slack takes', async () => {
    const late = await t.card({ rule: { expiresInMs: 900_000 } });
    const soon = await t.card({ rule: { expiresInMs: 60_000 } });
    await t.writeSwitch.renewPermits();
    await Promise.all(Array.from({ length: 30 }, () => t.propose({ rule: { expiresInMs: 300_000 } })));
    await type('U0ANA', 'pending');
    const answer = await t.told('U0ANA', 'Waiting for people');
    const [, first = ''] = answer.text.split('\n');
    expect(first).toContain(`/p${soon.message.ts.replace('.', '')}`);
    expect(answer.text).toContain('and more');
    expect(answer.text).not.toContain(`/p${late.message.ts.replace('.', '')}`);
    expect(answer.text.split('\n')).toHaveLength(22);
  });

  it('pending shows nothing that is not sealed by us, and links to no other place', async () => {
    const { sealed } = await t.card();
    const key = `{s0}:proposal:${sealed.terms.id}`;
    await redis.client.hset(
      key,
      'card',
      JSON.stringify({ team: 'T0ACME', channel: 'C0EVIL|x> <!channel', ts: '1.2' }),
    );
    await type('U0ANA', 'pending');
    const answer = await t.told('U0ANA', 'Waiting for people');
    expect(answer.text).not.toContain('EVIL');
    await redis.client.hset(key, 'seal', '0'.repeat(64));
    await type('U0BEN', 'pending');
    await t.told('U0BEN', 'No call is waiting');
  });

  it('has room for the words of others, and lists them', async () => {
    const asked: unknown[] = [];
    const grants: Subcommand = {
      name: 'grants',
      help: '`/agent-writes grants` lists the standing grants.',
      run: async ({ person, tenants }, words) => {
        asked.push({ person, tenants, words });
        return { text: 'No grants.' };
      },
    };
    const replica = await t.replica({ subcommands: [grants] });
    await t.surface.stop();
    if (mode === 'http') t.slack.deliverTo({ mode, url: `http://127.0.0.1:${replica.port}/slack/events` });
    await type('U0RITA', 'help');
    await t.told('U0RITA', 'lists the standing grants');
    await type('U0RITA', 'Grants revoke g1');
    await t.told('U0RITA', 'No grants.');
    expect(asked).toEqual([{ person: 'slack:T0ACME/U0RITA', tenants: ['acme'], words: 'revoke g1' }]);
    await type('U0GUEST', 'grants');
    await t.told('U0GUEST', 'guests cannot');
    expect(asked).toHaveLength(1);
  });

  it('help and words that it does not know explain themselves and change nothing', async () => {
    await type('U0RITA', 'help');
    await t.told('U0RITA', '`/agent-writes off` stops all writes');
    await type('U0RITA', 'explode');
    await t.told('U0RITA', 'does not know that word');
    await expect.poll(() => state()).toBe('on');
  });

  /** From now on commands come to a replica whose switch does this in place of off. */
  const offIs = async (off: WriteSwitch['off']) => {
    const replica = await t.replica({ switch: Object.create(t.writeSwitch, { off: { value: off } }) });
    await t.surface.stop();
    if (mode === 'http') {
      t.slack.deliverTo({ mode, url: `http://127.0.0.1:${replica.port}/slack/events` });
    }
  };

  it('off says that it is not confirmed where the switch cannot be written', async () => {
    await offIs(() => Promise.reject(new Error('no answer')));
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'NOT CONFIRMED');
  });

  it('off that is not confirmed is confirmed later, and whoever typed it is told', async () => {
    await redis.client.rename('{s0}:audit', 'aside');
    await redis.client.set('{s0}:audit', 'garbage');
    await type('U0CHEN', 'off wrong tickets');
    await t.told('U0CHEN', 'you are told here when all have');
    await redis.client.rename('aside', '{s0}:audit');
    const later = seenIn((await t.told('U0CHEN', 'Confirmed now')).blocks);
    expect(later).toContain('no write in it starts any more');
    expect(later).toContain('wrong tickets');
  });

  it('off says how far it is where it did not look at everything yet', async () => {
    const { sealed } = await t.card();
    await offIs(async (flip) => ({ ...(await t.writeSwitch.off(flip)), complete: false }));
    await type('U0CHEN', 'off too many');
    const some = seenIn((await t.told('U0CHEN', 'Writes are off')).blocks);
    expect(some).toContain(`Halted for good so far: 1 call (\`${sealed.terms.id}\`); that goes on.`);
    expect(some).toContain('What is running is not known yet.');
    await type('U0CHEN', 'off again');
    const none = seenIn((await t.told('U0CHEN', 'What was waiting is not halted yet')).blocks);
    expect(none).toContain('that goes on');
    expect(none).not.toContain('Nothing was');
  });
});

describe('where the policy asks for more', () => {
  const t = surfaceForTests('socket', redis, {
    policy: TWO_TO_ARM,
  });

  const type = (user: string, text: string) => t.person(user).command(`/agent-writes ${text}`, CHANNEL);
  const state = async () => (await t.writeSwitch.status()).state;
  const asking = () =>
    t.person('U0RITA').waitForMessage(CHANNEL, ({ text }) => text.startsWith('*Turn writes on again'));
  const off = async () => {
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
  };

  it('on takes a second person, by the button in the channel, and the audit names both', async () => {
    await off();
    await type('U0LEAD', 'on fixed <!channel>');
    await t.told('U0LEAD', '1 of 2 people');
    await expect.poll(() => state()).toBe('off');
    const card = await asking();
    expect(card.text).not.toContain('<!channel>');
    expect(seenIn(card.blocks)).toContain('fixed <!channel>');

    await t.person('U0LEAD').click(card, 'cs_arm_confirm');
    await t.told('U0LEAD', 'the same person counts once');
    await t.person('U0CHEN').click(card, 'cs_arm_confirm');
    await t.told('U0CHEN', 'does not let you turn writes on');
    await expect.poll(() => state()).toBe('off');

    await t.person('U0ANA').click(card, 'cs_arm_confirm');
    await t
      .person('U0RITA')
      .waitForMessage(CHANNEL, ({ text }) => text.includes('Turned on by <@U0LEAD> and <@U0ANA>'));
    await expect.poll(() => state()).toBe('on');
    const entry = (await t.entries('switch.on')).at(-1);
    expect(entry?.detail).toMatchObject({
      by: 'slack:T0ACME/U0LEAD',
      confirmedBy: ['slack:T0ACME/U0ANA'],
      why: 'fixed <!channel>',
    });
    await t
      .person('U0RITA')
      .waitForMessage(
        CHANNEL,
        ({ text }) => text.startsWith('*Writes are on again*') && text.includes('<@U0ANA>'),
      );
    expect(
      JSON.stringify((await t.person('U0RITA').messages(CHANNEL)).map(({ blocks }) => blocks)),
    ).not.toContain('cs_arm_confirm');
  });

  it('takes no confirmation from another company, nor for a request or a scope that is not there', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    const card = await asking();
    await t.person('U0LEAD').click(card, 'cs_arm_confirm');
    await t.told('U0LEAD', 'the same person counts once');
    const [id = ''] = /"value":"([^"]+)"/.exec(JSON.stringify(card.blocks))?.slice(1) ?? [];
    for (const change of [
      { user: { id: 'U0ANA', team_id: 'T0OTHER' }, value: id },
      { user: { id: 'U0STRANGER', team_id: 'T0ACME' }, value: id },
      { user: { id: 'U0GUEST', team_id: 'T0ACME' }, value: id },
      { user: { id: 'U0ANA', team_id: 'T0ACME' }, value: `${'0'.repeat(36)} *` },
      { user: { id: 'U0ANA', team_id: 'T0ACME' }, value: id.replace('*', 'tenant=acme') },
      { user: { id: 'U0ANA', team_id: 'T0ACME' }, value: id.replace('*', '*&tenant=acme') },
      { user: { id: 'U0ANA', team_id: 'T0ACME' }, value: '' },
    ]) {
      await t.resend((payload) => {
        payload.user = change.user;
        for (const action of payload.actions) action.value = change.value;
      });
    }
    await expect
      .poll(async () => (await t.entries('switch.refused')).map(({ detail }) => detail.refusal))
      .toEqual(expect.arrayContaining(['stranger', 'guest']));
    await t.surface.stop();
    await expect.poll(() => state()).toBe('off');
    await expect.poll(() => t.entries('switch.asked')).toHaveLength(1);
  });

  it('on takes a second person who types the same, and no other words', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', '1 of 2 people');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'the same person counts once');
    await type('U0ANA', 'on something else');
    const other = await t.told('U0ANA', 'with another reason');
    expect(seenIn(other.blocks)).toContain('fixed');
    await expect.poll(() => state()).toBe('off');
    await type('U0ANA', 'on fixed');
    await t.told('U0ANA', 'Writes are on');
    await expect.poll(() => state()).toBe('on');
    await expect.poll(() => t.entries('switch.asked')).toHaveLength(2);
  });

  it('a flip in between makes the first word void', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    const card = await asking();
    await type('U0CHEN', 'off env production more trouble');
    await t.told('U0CHEN', '*environment production*');
    await t.person('U0ANA').click(card, 'cs_arm_confirm');
    await t.person('U0RITA').waitForMessage(CHANNEL, ({ text }) => text.includes('it is void'));
    await expect.poll(() => state()).toBe('off');
    await type('U0ANA', 'on fixed');
    await t.told('U0ANA', '1 of 2 people');
    await expect.poll(() => state()).toBe('off');
  });

  it('a scope takes two people of its own, and the one does not stand for the other', async () => {
    await type('U0CHEN', 'off tenant acme');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'not switched off for *everything*');
    await type('U0LEAD', 'on tenant acme fixed');
    await t.told('U0LEAD', '1 of 2 people');
    await type('U0ANA', 'on tenant acme fixed');
    await t.told('U0ANA', 'Writes are on');
    expect((await t.writeSwitch.status()).off).toEqual([]);
  });

  it('waits ten minutes and no longer, in Redis', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    const card = await asking();
    expect(await redis.client.pttl('{s0}:arming:*')).toBeGreaterThan(590_000);
    expect(await redis.client.pttl('{s0}:arming:*')).toBeLessThanOrEqual(600_000);
    await redis.client.del('{s0}:arming:*');
    await t.person('U0ANA').click(card, 'cs_arm_confirm');
    await t.person('U0RITA').waitForMessage(CHANNEL, ({ text }) => text.includes('no longer waiting'));
    await expect.poll(() => state()).toBe('off');
  });

  it('does not count somebody who may no longer turn writes on when the second person confirms', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', '1 of 2 people');
    const lead = findWorkspace(t.slack.world, 'T0ACME')?.users.find(({ id }) => id === 'U0LEAD');
    if (lead) lead.isRestricted = true;
    await type('U0ANA', 'on fixed');
    await t.told('U0ANA', 'may no longer turn writes on');
    await expect.poll(() => state()).toBe('off');
  });

  it('does not count the same person twice under two accounts', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', '1 of 2 people');
    const users = findWorkspace(t.slack.world, 'T0ACME')?.users ?? [];
    for (const user of users) if (user.id === 'U0ANA') user.email = 'LEA@acme.example';
    await type('U0ANA', 'on fixed');
    await t.told('U0ANA', 'two of these accounts');
    await expect.poll(() => state()).toBe('off');
  });

  it('takes the second person once where two confirm at the same moment', async () => {
    await off();
    await type('U0LEAD', 'on fixed');
    const card = await asking();
    await Promise.all([
      t.person('U0ANA').click(card, 'cs_arm_confirm'),
      t.person('U0ANA').command('/agent-writes on fixed', CHANNEL),
    ]);
    await expect.poll(state).toBe('on');
    await expect.poll(() => t.entries('switch.on')).toHaveLength(2);
  });

  it('off is taken from somebody named in person even where Slack does not answer', async () => {
    t.slack.faults.unavailable(1, 'users.info');
    await t.person('U0LEAD').command('/agent-writes off', CHANNEL);
    await t.told('U0LEAD', 'Writes are off');
  });

  it('off is not taken from somebody who has left', async () => {
    const lead = findWorkspace(t.slack.world, 'T0ACME')?.users.find(({ id }) => id === 'U0LEAD');
    if (lead) lead.isRestricted = true;
    await t.person('U0LEAD').command('/agent-writes off', CHANNEL);
    await t.told('U0LEAD', 'Nothing changed');
    await expect.poll(async () => (await t.writeSwitch.status()).state).toBe('on');
  });
});
