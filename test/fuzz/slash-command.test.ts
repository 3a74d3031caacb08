import fc from 'fast-check';
import { expect } from 'vitest';
import { type KnownNames, parseSwitchCommand } from '../../src/slack/switch-command.ts';
import { bentText, fuzz } from './fuzz.ts';

/** Off wherever the line begins with it; on only where it is spelled so; a scope only where it names what is there. */

const NAMES = {
  tenant: ['acme', 'globex'],
  environment: ['production', 'staging'],
  tool: ['ticket.close', 'db.write'],
};
const known: KnownNames = {
  tenant: (name) => NAMES.tenant.includes(name),
  environment: (name) => NAMES.environment.includes(name),
  tool: (name) => NAMES.tool.includes(name),
};

const WORDS = [
  ...[
    'off',
    'OFF',
    'on',
    'On',
    'stop',
    'halt',
    'status',
    'pending',
    'everything',
    'all',
    'tenant',
    'env',
    'environment',
  ],
  ...[
    'tool',
    'agent',
    'for',
    '2h',
    '30 minutes',
    '99999d',
    'because',
    'reason',
    'and',
    'acme',
    'globex',
    'production',
  ],
  ...[
    'staging',
    'ticket.close',
    'support-bot',
    'fixed',
    ':',
    '=',
    ',',
    ';',
    '.',
    '-',
    '"',
    '`',
    '!',
    '\n',
    '\t',
    ' ',
  ],
  ...[
    '\u200b',
    '\u00a0',
    '\u3000',
    '\u2028',
    '\u202e',
    '\ufeff',
    'ｏｆｆ',
    'ｏｎ',
    'оn',
    'аcme',
    '\ud800',
    '\0',
    '__proto__',
  ],
];
const line = fc
  .array(fc.tuple(fc.constantFrom(...WORDS), fc.constantFrom(' ', ' ', ' ', '', '  ')), { maxLength: 12 })
  .map((words) => words.flat().join(''));
const text = fc.oneof(line, bentText(line, WORDS), fc.string({ unit: 'binary', maxLength: 80 }));

fuzz(
  'the slash command reader',
  fc.property(text, (typed) => {
    const command = parseSwitchCommand(typed, known);
    const plain = typed.normalize('NFKC').replace(/^[^\p{L}\p{N}]+/u, '');
    const beginsWithOff = /^(?:off|stop|halt)(?![\p{L}\p{N}])/iu.test(plain);
    expect(command.verb === 'off').toBe(beginsWithOff);
    if (command.verb === 'on') expect(typed).toMatch(/^[ \t\r\n]*on(?:[ \t\r\n]|$)/i);
    if (command.verb !== 'on' && command.verb !== 'off') return;
    const { tenant, environment, tool, agent } = command.scope;
    for (const [name, among] of [
      [tenant, NAMES.tenant],
      [environment, NAMES.environment],
      [tool, NAMES.tool],
    ] as const) {
      if (name !== undefined) expect(among).toContain(name);
    }
    // Narrowed only by what stands there as it is; `off` reads look-alikes of it as well.
    const read = command.verb === 'on' ? typed : typed.normalize('NFKC');
    for (const name of [tenant, environment, tool, agent])
      if (name !== undefined) expect(read).toContain(name);
    if (command.verb === 'off' && command.unclear !== undefined) expect(command.scope).toEqual({});
    if (command.why !== undefined) {
      expect([...command.why].length).toBeLessThanOrEqual(500);
      expect(command.why.toWellFormed()).toBe(command.why);
      expect(command.why.trim()).not.toBe('');
    }
  }),
  { atLeast: 500 },
);
