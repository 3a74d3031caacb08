import { describe, expect, it } from 'vitest';
import { parseSwitchCommand } from '../../src/slack/switch-command.ts';

const known = {
  tenant: (name: string) => ['acme', 'globex'].includes(name),
  environment: (name: string) => ['production', 'staging'].includes(name),
  tool: (name: string) => ['ticket.close', 'db.write'].includes(name),
};
const parse = (text: string) => parseSwitchCommand(text, known);
const off = (more: object) => ({
  verb: 'off',
  scope: {},
  unclear: undefined,
  forMs: undefined,
  why: undefined,
  ...more,
});

describe('off is forgiving', () => {
  it.each([
    'off',
    'OFF',
    ' off ',
    '  Off.',
    'off!',
    'oFf\n',
    '"off"',
    '`off`',
    'ｏｆｆ',
    'stop',
    'HALT',
    '- off',
  ])('takes %j for everything', (text) => {
    expect(parse(text)).toEqual(off({}));
  });

  it.each([
    ['off;on', 'on'],
    ['off on', 'on'],
    ['off too many closes', 'too many closes'],
    ['off, because it closes everything', 'it closes everything'],
    ['off everything: wrong tickets', 'wrong tickets'],
    ['off all agents are crazy', 'agents are crazy'],
  ])('takes %j for everything, with the rest as the reason', (text, why) => {
    expect(parse(text)).toEqual(off({ why }));
  });

  it.each([
    ['off tenant acme', { tenant: 'acme' }],
    ['off tenant=acme', { tenant: 'acme' }],
    ['off Tenant: acme', { tenant: 'acme' }],
    ['off env staging', { environment: 'staging' }],
    ['off environment production', { environment: 'production' }],
    ['off tool ticket.close', { tool: 'ticket.close' }],
    ['off agent support-bot', { agent: 'support-bot' }],
    ['off tenant acme, env production', { tenant: 'acme', environment: 'production' }],
    ['off tenant acme and tool db.write', { tenant: 'acme', tool: 'db.write' }],
  ])('takes the scope of %j', (text, scope) => {
    expect(parse(text)).toEqual(off({ scope }));
  });

  it('takes a time and a reason after the scope', () => {
    expect(parse('off tenant acme for 2h wrong tickets')).toEqual(
      off({ scope: { tenant: 'acme' }, forMs: 7_200_000, why: 'wrong tickets' }),
    );
    expect(parse('off for 30 minutes')).toEqual(off({ forMs: 1_800_000 }));
    expect(parse('off for ever')).toEqual(off({ why: 'for ever' }));
  });

  it.each([
    'off tenant acmee',
    'off tenant',
    'off tool tickets',
    'off env Production',
    'off agent is closing everything',
    'off tenant acme tenant globex',
    'off tenant {s0}:switch',
  ])('takes %j, whose scope names nothing, for everything, and knows that it did', (text) => {
    const command = parse(text);
    expect(command).toMatchObject({ verb: 'off', scope: {} });
    expect(command.verb === 'off' && command.unclear).toBeTruthy();
  });
});

describe('on is strict', () => {
  it('takes exactly the word, a scope that is there, and a reason', () => {
    expect(parse('on all is well')).toEqual({ verb: 'on', scope: {}, why: 'is well' });
    expect(parse('on fixed')).toEqual({ verb: 'on', scope: {}, why: 'fixed' });
    expect(parse('on tenant acme fixed')).toEqual({ verb: 'on', scope: { tenant: 'acme' }, why: 'fixed' });
    expect(parse('on')).toEqual({ verb: 'on', scope: {}, why: undefined });
  });

  it.each(['on tenant acmee fixed', 'on tool x fixed', 'on agent is fine'])(
    'does not guess at %j',
    (text) => {
      expect(parse(text).verb).toBe('on_unclear');
    },
  );

  it.each(['on;off', '"on"', 'turn on', 'onward', 'on!', 'yes on'])('does not take %j for on', (text) => {
    expect(['unknown', 'other']).toContain(parse(text).verb);
  });
});

describe('[switch:off-means-no-start] what is thrown at the line', () => {
  it.each([
    '\u00a0off\u00a0',
    '\u3000off',
    '\u200boff\u200b',
    'off\u2028on fixed',
    '\ufeffOFF',
    '٠off',
    'off\u0000on',
    '…off…',
  ])('takes %j for off', (text) => {
    const { verb } = parse(text);
    // A digit before it makes another word of it; nothing else does.
    expect(verb).toBe(text.startsWith('٠') ? 'unknown' : 'off');
  });

  it.each([
    'on\u00a0fixed',
    'ｏｎ fixed',
    '\u200bon fixed',
    'on\u200bfixed',
    'оn fixed',
    'on\u3000fixed',
    'on;off',
    '/agent-writes on fixed',
  ])('does not take %j for on', (text) => {
    expect(parse(text).verb).not.toBe('on');
    expect(parse(text).verb).not.toBe('on_unclear');
  });

  it.each([
    'on tenant ａｃｍｅ fixed',
    'on tenant аcme fixed',
    'on tenant acme\u200b fixed',
    'on tenant ACME fixed',
  ])('finds no tenant in %j', (text) => {
    expect(parse(text).verb).toBe('on_unclear');
  });

  it('takes the time before the scope as well', () => {
    expect(parse('off for 2h tenant acme wrong tickets')).toEqual(
      off({ scope: { tenant: 'acme' }, forMs: 7_200_000, why: 'wrong tickets' }),
    );
    expect(parse('off tenant acme for 2h for 3h')).toEqual(
      off({ scope: { tenant: 'acme' }, forMs: 7_200_000, why: 'for 3h' }),
    );
  });
});

it('hands on the other words with what follows them', () => {
  const other = (word: string, words = '') => ({ verb: 'other', word, words });
  expect(parse('status')).toEqual(other('status'));
  expect(parse(' Pending ')).toEqual(other('pending'));
  expect(parse('help')).toEqual(other('help'));
  expect(parse('')).toEqual(other('help'));
  expect(parse('grants  revoke x')).toEqual(other('grants', 'revoke x'));
  expect(parse('offline')).toEqual(other('offline'));
  expect(parse('status; off').verb).toBe('unknown');
});
