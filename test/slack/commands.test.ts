import { describe, expect, it } from 'vitest';
import { findWorkspace } from '../../src/sandbox/slack/slack-world.ts';
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
    expect(await state()).toBe('off');
    const announced = ({ text, ephemeral }: { text: string; ephemeral: boolean }) =>
      !ephemeral && text.startsWith('*Writes are off*');
    await t.person('U0RITA').waitForMessage(CHANNEL, announced);
    await t.person('U0OMAR', 'T0GLOBEX').waitForMessage(GLOBEX_CHANNEL, announced);
  });

  it('off is taken from whoever may, in whatever form', async () => {
    await type('U0CHEN', '  OFF;on ');
    await t.told('U0CHEN', 'Writes are off');
    expect(await state()).toBe('off');
  });

  it('off is not taken from anybody else', async () => {
    for (const user of ['U0ANA', 'U0GUEST']) {
      await type(user, 'off');
      await t.told(user, 'Nothing changed');
    }
    expect(await state()).toBe('on');
    expect(await t.entries('switch.refused')).toHaveLength(2);
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
    expect(await state()).toBe('on');
  });

  it('off with a scope that names nothing switches everything off, and says so', async () => {
    await type('U0CHEN', 'off tenant acmee');
    const answer = await t.told('U0CHEN', 'Writes are off');
    expect(answer.text).toContain('`tenant acmee` names nothing that is there, so *everything* is off');
    expect(await state()).toBe('off');
  });

  it('on needs an arming operator and a reason', async () => {
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    await type('U0CHEN', 'on please');
    await t.told('U0CHEN', 'does not let you turn writes on');
    await type('U0LEAD', 'on');
    await t.told('U0LEAD', 'needs a reason');
    expect(await state()).toBe('off');
    await type('U0LEAD', 'on the prompt was fixed');
    await t.told('U0LEAD', 'Writes are on');
    expect(await state()).toBe('on');
    const [entry] = (await t.entries('switch.on')).slice(-1);
    expect(JSON.stringify(entry?.detail)).toContain('the prompt was fixed');
  });

  it('on brings nothing back, and says what it did not turn on', async () => {
    const { sealed } = await t.card();
    await type('U0CHEN', 'off');
    await t.cardSaying(sealed.terms.id, 'Halted');
    await type('U0LEAD', 'on fixed');
    await t.told('U0LEAD', 'Writes are on');
    expect(await t.status(sealed.terms.id)).toBe('halted');
    await type('U0LEAD', 'on fixed again');
    await t.told('U0LEAD', 'writes are not switched off for *everything*');
  });

  it('a command that is delivered twice flips once', async () => {
    t.slack.faults.deliverTwice();
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'Writes are off');
    expect(await t.entries('switch.off')).toHaveLength(1);
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
    expect(await state()).toBe('off');
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

  it('help and words that it does not know explain themselves and change nothing', async () => {
    await type('U0RITA', 'help');
    await t.told('U0RITA', '`/agent-writes off` stops all writes');
    await type('U0RITA', 'explode');
    await t.told('U0RITA', 'does not know that word');
    expect(await state()).toBe('on');
  });

  it('off says that it is not confirmed where the switch cannot be written', async () => {
    const broken = Object.create(t.writeSwitch, {
      off: { value: () => Promise.reject(new Error('no answer')) },
    });
    const replica = await t.replica({ switch: broken });
    await t.surface.stop();
    if (mode === 'http') {
      t.slack.deliverTo({ mode, url: `http://127.0.0.1:${replica.port}/slack/events` });
    }
    await type('U0CHEN', 'off');
    await t.told('U0CHEN', 'NOT CONFIRMED');
  });
});

describe('where the policy asks for more', () => {
  const t = surfaceForTests('socket', redis, {
    policy: TWO_TO_ARM,
  });

  it('on says that it takes two people, and turns nothing on', async () => {
    await t.person('U0CHEN').command('/agent-writes off', CHANNEL);
    await t.told('U0CHEN', 'Writes are off');
    await t.person('U0LEAD').command('/agent-writes on fixed', CHANNEL);
    await t.told('U0LEAD', 'the policy asks for 2 people');
    expect((await t.writeSwitch.status()).state).toBe('off');
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
    expect((await t.writeSwitch.status()).state).toBe('on');
  });
});
