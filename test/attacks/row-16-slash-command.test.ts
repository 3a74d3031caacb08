import { expect } from 'vitest';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { NOTICES } from '../../src/slack/notices.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { CHANNEL, GLOBEX_CHANNEL, surfaceForTests } from '../slack/surface-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/** What is typed after `/agent-writes`, by whom, and how often it is delivered. */

const redis = redisForTests({ emptied: 'once' });
const t = surfaceForTests('socket', redis, { shared: true });

interface Typed {
  readonly user?: string;
  readonly team?: string;
  readonly channel?: string;
}

/** Types, waits for the answer that only the typist sees, and answers with its text. */
async function type(text: string, { user = 'U0CHEN', team = 'T0ACME', channel = CHANNEL }: Typed = {}) {
  const before = answers().length;
  await t.person(user, team).command(`/agent-writes ${text}`, channel);
  return answerAfter(before);
}
/** What Slack would never let through its own box: the text as it is, in a command that is delivered by hand. */
async function deliver(payload: Record<string, unknown>): Promise<string> {
  const typed = await genuine();
  const before = answers().length;
  await t.slack.send({
    type: 'slash_commands',
    team: 'T0ACME',
    payload: { ...typed, trigger_id: `t.${Math.random()}`, ...payload },
    acceptsResponse: true,
  });
  return answerAfter(before);
}
const answers = () => t.slack.traffic.all.filter(({ kind }) => kind === 'response_url');
async function answerAfter(count: number): Promise<string> {
  await expect.poll(() => answers().length).toBe(count + 1);
  const last = answers().at(-1);
  return last?.kind === 'response_url' ? ((last.body as { text?: string }).text ?? '') : '';
}

/** The payload of a command that Chen really typed, with a new address to answer to. */
async function genuine(): Promise<Record<string, unknown>> {
  await type('help');
  const sent = t.slack.traffic.deliveries('slash_commands').at(-1)?.payload as Record<string, unknown>;
  return { ...sent };
}

const state = async () => (await t.writeSwitch.status()).state;
async function turn(wanted: 'on' | 'off'): Promise<void> {
  const status = await t.writeSwitch.status();
  if (wanted === 'off') {
    await t.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test' });
    return;
  }
  let { epoch } = status;
  for (const scope of [EVERYTHING, ...status.off.map((entry) => entry.scope)]) {
    await t.writeSwitch.on({ scope, by: 'cli:test', why: 'the test', expectedEpoch: epoch });
    epoch = (await t.writeSwitch.status()).epoch;
  }
  await t.writeSwitch.renewPermits();
  expect(await t.writeSwitch.status()).toMatchObject({ state: 'on', off: [] });
}

const shown = (text: string) => JSON.stringify(text).slice(1, -1);

/** Whatever it looks like: writes stop. */
function stops(text: string): AttackCase {
  return [
    `[switch:off-means-no-start] “${shown(text)}” stops everything`,
    async () => {
      await turn('on');
      const said = await deliver({ text });
      expect(said).toContain('*Writes are off* for *everything*');
      expect(await state()).toBe('off');
      expect((await t.entries('switch.off')).at(-1)?.detail).toMatchObject({ by: 'slack:T0ACME/U0CHEN' });
    },
  ];
}

/** Whatever it looks like: nothing starts again. */
function staysOff(text: string, more: Record<string, unknown> = {}): AttackCase {
  return [
    `“${shown(text)}” turns nothing on${more.user_id === undefined ? '' : `, typed by ${more.user_id}`}`,
    async () => {
      await turn('off');
      const on = (await t.entries('switch.on')).length;
      const said = await deliver({ text, user_id: 'U0LEAD', ...more });
      expect(said).not.toContain('Writes are on');
      expect(await state()).toBe('off');
      expect(await t.entries('switch.on')).toHaveLength(on);
    },
  ];
}

/** Somebody who may not: nothing changes, they are told, and it is in the audit. */
function mayNot(title: string, flip: 'off' | 'on', refusal: string, send: () => Promise<string>): AttackCase {
  return [
    title,
    async () => {
      await turn(flip === 'off' ? 'on' : 'off');
      const before = (await t.entries('switch.refused')).length;
      expect(await send()).toContain('Nothing changed');
      const refused = await t.entries('switch.refused');
      expect(refused).toHaveLength(before + 1);
      expect(refused.at(-1)?.detail).toMatchObject({ flip, refusal });
      const { state: now, off } = await t.writeSwitch.status();
      expect(now).toBe(flip === 'off' ? 'on' : 'off');
      if (flip === 'off') expect(off).toEqual([]);
    },
  ];
}

const GLOBEX = { team: 'T0GLOBEX', channel: GLOBEX_CHANNEL };

attackRow(16, {
  attacks: [
    ...[
      'OFF',
      'oFf',
      '  off  ',
      'off;on',
      'off on',
      'off && on fixed',
      'off\non everything is fine',
      'off\u2028on fixed',
      'off!!!',
      '"off"',
      '`off`',
      '*off*',
      '<off>',
      '- off',
      'ｏｆｆ',
      '\u200boff',
      '\u202eoff',
      '\ufeffOFF',
      'off\u0000on',
      'stop',
      'HALT now',
      'off all',
      'off everything because it closes the wrong tickets',
      'off tenant acmee',
      'off tenant {s0}:switch',
      'off tenant __proto__',
      'off env prod',
      'off tool ticket.clos',
      'off tenant acme tenant acme',
      `off ${'x'.repeat(10_000)}`,
      'off \ud800',
    ].map(stops),

    ...[
      'on',
      'on ',
      'on everything',
      'on;off',
      'on;fixed',
      'on! fixed',
      '"on" fixed',
      'turn on fixed',
      'please on fixed',
      'yes on fixed',
      'onn fixed',
      'оn fixed',
      'οn fixed',
      'ｏｎ fixed',
      '\u200bon fixed',
      'on\u200b fixed',
      'on\u00a0fixed',
      'on\u3000fixed',
      'on\u2028fixed',
      'on\u0000fixed',
      'on tenant acmee fixed',
      'on tenant аcme fixed',
      'on tenant ａｃｍｅ fixed',
      'on tenant ACME fixed',
      'on tenant acme\u200b fixed',
      'on env Production fixed',
      'on tenant acme tenant acme fixed',
      'on agent is fine',
      'unoff fixed',
      'arm fixed',
      '{"verb":"on","why":"fixed"}',
      '/agent-writes on fixed',
    ].map((text) => staysOff(text)),
    staysOff('on fixed', { text: ['on fixed'] }),
    staysOff('on fixed', { user_id: ['U0LEAD'] }),

    mayNot('off, by an approver who is no operator', 'off', 'not_an_approver', () =>
      type('off', { user: 'U0ANA' }),
    ),
    mayNot('off, by a guest', 'off', 'guest', () => type('off', { user: 'U0GUEST' })),
    mayNot('off, by somebody of the other workspace', 'off', 'cannot_check', () =>
      type('off', { user: 'U0NIA', ...GLOBEX }),
    ),
    mayNot('off, by an account that is deactivated', 'off', 'deactivated', () =>
      deliver({ text: 'off', user_id: 'U0GONE' }),
    ),
    mayNot('off, by a bot', 'off', 'not_a_person', () => deliver({ text: 'off', user_id: 'U0WORKFLOW' })),
    mayNot('off, by a stranger', 'off', 'stranger', () => deliver({ text: 'off', user_id: 'U0STRANGER' })),
    mayNot('off, for a tenant of another workspace', 'off', 'other_workspace', () =>
      type('off tenant globex'),
    ),
    mayNot('off, for a tenant of another workspace, spelled otherwise', 'off', 'other_workspace', () =>
      type('off Tenant: ｇｌｏｂｅｘ'),
    ),
    mayNot('on, by on-call, who may turn off alone', 'on', 'not_an_approver', () => type('on fixed')),
    mayNot('on, by an operator’s id in the other workspace', 'on', 'stranger', () =>
      deliver({ text: 'on fixed', user_id: 'U0LEAD', team_id: 'T0GLOBEX' }),
    ),
    mayNot('on, for a tenant of another workspace', 'on', 'other_workspace', () =>
      type('on tenant globex fixed', { user: 'U0LEAD' }),
    ),
    [
      'from a workspace that the app is not installed in',
      async () => {
        await turn('off');
        const said = await deliver({ text: 'on fixed', user_id: 'U0LEAD', team_id: 'T0OTHER' });
        expect(said).toBe(NOTICES.workspaceUnknown);
        expect(await state()).toBe('off');
      },
    ],
    [
      '[switch:off-then-on-resurrects-nothing] an old on, delivered again after a new off',
      async () => {
        await turn('off');
        expect(await type('on it was a false alarm', { user: 'U0LEAD' })).toContain('Writes are on');
        const old = t.slack.traffic.deliveries('slash_commands').at(-1)?.payload as Record<string, unknown>;
        await type('off again');
        const on = (await t.entries('switch.on')).length;
        await t.slack.send({ type: 'slash_commands', team: 'T0ACME', payload: old, acceptsResponse: true });
        // Of another command, typed after it, the answer came: the old one would have been carried out by now.
        expect(await type('status')).toContain('off');
        expect(await state()).toBe('off');
        expect(await t.entries('switch.on')).toHaveLength(on);
      },
    ],
    [
      'an on that Slack delivers twice at once',
      async () => {
        await turn('off');
        const on = (await t.entries('switch.on')).length;
        t.slack.faults.deliverTwice();
        expect(await type('on fixed', { user: 'U0LEAD' })).toContain('Writes are on');
        expect(await type('status')).toContain('on');
        expect(await t.entries('switch.on')).toHaveLength(on + 1);
      },
    ],
    [
      'an off whose write is not durable is not answered as done',
      async () => {
        await turn('on');
        const before = answers().length;
        // Not the service's own connection, whose writes are held back from here on.
        const other = redis.connect();
        await other.call('CLIENT', 'PAUSE', '60000', 'WRITE');
        try {
          expect(await t.person('U0CHEN').command('/agent-writes off now', CHANNEL)).toEqual({ ok: true });
          // It is with the service, and Redis answers no write: nobody is told that it is done.
          for (const told of answers().slice(before)) {
            expect(JSON.stringify(told)).not.toContain('Writes are off');
          }
        } finally {
          await other.call('CLIENT', 'UNPAUSE');
        }
        await expect.poll(state).toBe('off');
        await expect.poll(() => answers().length).toBe(before + 1);
      },
    ],
  ],
  twins: [
    [
      'off, typed by on-call',
      async () => {
        await turn('on');
        expect(await type('off')).toContain('Writes are off');
        expect(await state()).toBe('off');
      },
    ],
    [
      'off with a scope that is there stops that alone',
      async () => {
        await turn('on');
        expect(await type('off tenant acme wrong tickets')).toContain('*tenant acme*');
        const { state: now, off } = await t.writeSwitch.status();
        expect([now, off.map(({ scope }) => scope)]).toEqual(['on', [{ tenant: 'acme' }]]);
      },
    ],
    [
      'on with a reason, by whom the policy lets',
      async () => {
        await turn('off');
        expect(await type('on fixed', { user: 'U0LEAD' })).toContain('Writes are on');
        expect(await state()).toBe('on');
      },
    ],
    [
      'ON, in capitals and with more spaces: it is the word still',
      async () => {
        await turn('off');
        expect(await type('  ON   fixed  ', { user: 'U0LEAD' })).toContain('Writes are on');
        expect(await state()).toBe('on');
      },
    ],
    [
      'on for the tenant that is off',
      async () => {
        await turn('on');
        await type('off tenant acme');
        expect(await type('on tenant acme fixed', { user: 'U0LEAD' })).toContain('Writes are on');
        expect((await t.writeSwitch.status()).off).toEqual([]);
      },
    ],
    [
      'offline and offer are no off',
      async () => {
        await turn('on');
        for (const text of ['offline?', 'offer', 'status']) await type(text);
        expect(await state()).toBe('on');
      },
    ],
  ],
});
