import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'vitest';
import { patternCovers, patternOf } from '../../src/core/grant/argument-pattern.ts';
import { CallContext } from '../../src/core/identity/call-context.ts';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import type { LoadedPolicy } from '../../src/core/policy/policy.ts';
import { loadPolicy } from '../../src/core/policy/policy-load.ts';
import type { JsonValue } from '../../src/core/tool/strict-json.ts';
import { ACME } from '../sealed-terms.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { readers } from './worst-texts.ts';

/** An expression that takes longer than anybody waits, in a policy; and texts that make our own take so long. */

const close = { name: 'ticket.close', effect: 'write', irreversible: false } as const;
const policy = (bound: string, tool = 'ticket.close') => `tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
resources:
  ${tool}: { properties: { queue: ${bound} } }
tenants: { acme: { slack: { team: T0ACME, channel: C0ACME }, environments: [production] } }
`;

function loaded(text: string): LoadedPolicy {
  const load = loadPolicy(text, { tools: [close] });
  if (!load.ok) throw new Error(load.problems.map(({ message }) => message).join('; '));
  return load;
}

const verdictOn = (bound: string, queue: JsonValue) =>
  evaluate(loaded(policy(bound)), {
    context: CallContext.parse(ACME),
    tool: close,
    toolName: close.name,
    args: { queue },
  }).verdict;

/** Each would hold a backtracking engine for ever on the text below. */
const ENDLESS = ['(a+)+$', '^(a|aa)+$', '(.*a){25}', '(x+x+)+y', '^(([a-z])+.)+[A-Z]$', '(?=(a+))a*b\\1'];
const TEXT = `${'a'.repeat(7_900)}!`;

const keywords = [
  'pattern',
  'regex',
  'regexp',
  'matches',
  'match',
  'glob',
  'format',
  'like',
  'not',
  'contains',
];
const elsewhere: readonly (readonly [what: string, text: string])[] = [
  ['patternProperties', policy('{ const: 1 }').replace('properties', 'patternProperties')],
  ['properties of a pattern', policy('{ properties: { "^(a+)+$": { pattern: x } } }')],
  ['a tool of tools.allow', policy('{ const: 1 }').replace('allow: [ticket.close]', 'allow: ["^(a+)+$"]')],
  ['a glob of tools', policy('{ const: 1 }').replace('allow: [ticket.close]', 'allow: ["ticket.*"]')],
  ['a tool of resources', policy('{ const: 1 }', '"(a+)+"')],
  [
    'a tool of a rule',
    policy('{ const: 1 }').replace('} }\nresources', '}, rules: [{ tools: ["(a+)+"] }] }\nresources'),
  ],
  ['an environment', policy('{ const: 1 }').replace('[production]', '["(a+)+"]')],
  ['an approver', policy('{ const: 1 }').replace('user:U0ANA', 'user:(U+)+$')],
  ['a regular expression by a tag', policy('{ const: !!js/regexp /(a+)+$/ }')],
];

const attacks: AttackCase[] = [
  ...keywords.map(
    (keyword): AttackCase => [
      `[policy:writes-disabled-by-default] the keyword ${keyword}`,
      () => {
        for (const endless of ENDLESS) {
          const load = loadPolicy(policy(`{ ${keyword}: ${JSON.stringify(endless)} }`), { tools: [close] });
          const problems = load.ok ? [] : load.problems.map(({ path, message }) => `${path} ${message}`);
          expect(problems.join('\n')).toContain(`${keyword} unknown key`);
        }
      },
    ],
  ),
  ...elsewhere.map(
    ([what, text]): AttackCase => [
      `[policy:writes-disabled-by-default] in place of ${what}`,
      () => expect(loadPolicy(text, { tools: [close] })).toMatchObject({ ok: false }),
    ],
  ),
  ...ENDLESS.map(
    (endless): AttackCase => [
      `[policy:unlisted-tool-is-forbidden] ${endless} where a text is expected is that text, letter by letter`,
      () => {
        const bounds = [
          `{ prefix: ${JSON.stringify(endless)} }`,
          `{ enum: [${JSON.stringify(endless)}] }`,
          `{ const: ${JSON.stringify(endless)} }`,
        ];
        for (const bound of bounds) {
          expect(verdictOn(bound, TEXT)).toBe('forbid');
          expect(verdictOn(bound, 'aaaa')).toBe('forbid');
          expect(verdictOn(bound, endless)).toBe('require_approval');
        }
      },
    ],
  ),
  ...ENDLESS.map(
    (endless): AttackCase => [
      `[approval:bound-to-everything] a grant for ${endless} covers that text and no other`,
      () => {
        const pattern = patternOf({ queue: endless }, new Set()) ?? [];
        expect(patternCovers(pattern, { queue: TEXT })).toBe(false);
        expect(patternCovers(pattern, { queue: 'aaaa' })).toBe(false);
        expect(patternCovers(pattern, { queue: endless })).toBe(true);
      },
    ],
  ),
  ...Object.keys(readers).map(
    (reader): AttackCase => [
      `[display:nothing-hidden] ${reader} comes to an end, whatever it is fed with`,
      async () => expect(await ended()).toContain(reader),
    ],
  ),
];

let asked: Promise<string[]> | undefined;

/** Seconds of computing, however long a busy machine takes for them: all together need four. */
const CPU_LIMIT = 20;

/** Those that came to an end. What is not linear would go on, and is stopped. */
function ended(): Promise<string[]> {
  asked ??= new Promise((resolve, reject) => {
    const program = join(import.meta.dirname, 'worst-texts.ts');
    const command = [
      `ulimit -t ${CPU_LIMIT}; exec "$0" "$@"`,
      process.execPath,
      '--import',
      'tsx',
      program,
      'run',
    ];
    const child = spawn('sh', ['-c', ...command]);
    let printed = '';
    let failed = '';
    child.stdout.on('data', (data: Buffer) => {
      printed += data.toString();
    });
    child.stderr.on('data', (data: Buffer) => {
      failed += data.toString();
    });
    child.on('error', reject);
    child.on('close', () => (failed === '' ? resolve(printed.split('\n')) : reject(new Error(failed))));
  });
  return asked;
}

const twins: AttackCase[] = [
  [
    'a list of values',
    () => expect(verdictOn('{ enum: [support, sales] }', 'support')).toBe('require_approval'),
  ],
  ['a prefix', () => expect(verdictOn('{ prefix: "support/" }', 'support/eu')).toBe('require_approval')],
  ['a limit to the length', () => expect(verdictOn('{ max_length: 7901 }', TEXT)).toBe('require_approval')],
  [
    'a list of many values, and a long text that is none',
    () => {
      const values = Array.from({ length: 1_500 }, (_, i) => `queue-${i}`);
      expect(verdictOn(`{ enum: [${values.join(', ')}] }`, 'queue-1499')).toBe('require_approval');
      expect(verdictOn(`{ enum: [${values.join(', ')}] }`, TEXT)).toBe('forbid');
    },
  ],
];

attackRow(21, { attacks, twins });
