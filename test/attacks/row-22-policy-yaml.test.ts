import { mkdtempSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect } from 'vitest';
import { CallContext } from '../../src/core/identity/call-context.ts';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import { PolicyInvalidError } from '../../src/core/policy/policy-load.ts';
import { PolicyFile } from '../../src/policy-file.ts';
import { ACME } from '../sealed-terms.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/**
 * Whoever may propose changes to the policy's file, but not without a reviewer. Each text reads as harmless to some reader
 * and enables the write for another. In force is a policy that forbids it, in a file that the service watches.
 */

const TOOLS = [
  { name: 'kb.read', effect: 'read', irreversible: false },
  { name: 'ticket.close', effect: 'write', irreversible: false },
] as const;
const [, close] = TOOLS;

/** A whole policy in which writes are as `writes` says, with `more` before everything. */
const policy = (writes: string, more = '') => `${more}tools: { allow: [kb.read, ticket.close] }
write_tools: ${writes}
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"], quorum: 2 }
tenants:
  acme: { slack: { team: T0ACME, channel: C0ACME }, environments: [production] }
`;
const OFF = '{ enabled: false }';
const ON = '{ enabled: true, require_approval: false }';
const GOOD = policy(OFF, '# The last good one.\n');
/** Sound but for what an attack does to it. */
const quorum = (number: string) => policy(ON).replace('quorum: 2', `quorum: ${number}`);
const nested = (levels: number) => `${'{ a: '.repeat(levels)}1${' }'.repeat(levels)}`;

const directory = mkdtempSync(join(tmpdir(), 'cs-policy-'));
const path = join(directory, 'policy.yaml');
const logged: string[] = [];
let file: PolicyFile;

beforeAll(async () => {
  writeFileSync(path, GOOD);
  const logger = pino({ level: 'info' }, { write: (line: string) => void logged.push(line) });
  file = await PolicyFile.open(path, TOOLS, logger);
  // Each look is taken here, and none in between.
  file.close();
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

const verdict = () =>
  evaluate(file.holder.current, {
    context: CallContext.parse(ACME),
    tool: close,
    toolName: close.name,
    args: {},
  });

/** What the file holds now changes nothing but the log, which says it once, on one line. */
async function changesNothing(said: string | RegExp): Promise<void> {
  const { version } = file.holder.current;
  logged.length = 0;
  await file.look();
  expect(file.holder.current.version).toBe(version);
  expect(verdict()).toMatchObject({ verdict: 'forbid', reason: 'writes_disabled' });
  expect(logged.length).toBe(1);
  expect(logged[0]?.trimEnd()).not.toContain('\n');
  const line: unknown = JSON.parse(logged[0] ?? '');
  expect(line).toMatchObject({ level: 50, msg: expect.stringContaining('last good') });
  expect(JSON.stringify(line)).toMatch(said);
}

const texts: readonly (readonly [what: string, text: string, said: RegExp])[] = [
  ['an alias', policy('{ enabled: *on }', 'version: &on 1\n'), /aliases are not supported/],
  ['an anchor', policy('&writes { enabled: true }'), /anchors are not supported/],
  [
    'aliases that multiply',
    `a: &a [x]\n${Array.from({ length: 20 }, (_, i) => `b${i}: &b${i} [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n`).join('')}${policy(ON)}`,
    /aliases are not supported/,
  ],
  ['an alias to itself', policy(ON, 'a: &a [*a]\n'), /aliases are not supported/],
  ['a merge key', policy('{ enabled: false, <<: { enabled: true } }'), /merge keys are not supported/],
  [
    'a merge key in quotes',
    policy('{ enabled: false, "<<": { enabled: true } }'),
    /merge keys are not supported/,
  ],
  ['a tag that makes a boolean', policy('{ enabled: !!bool "true" }'), /tags are not supported/],
  ['a tag that makes a text', policy('{ enabled: !!str false }'), /tags are not supported/],
  [
    'a tag by its whole name',
    policy('{ enabled: !<tag:yaml.org,2002:bool> "true" }'),
    /tags are not supported/,
  ],
  [
    'a tag that runs code',
    policy('{ enabled: !!js/function "function () { return true }" }'),
    /tags are not supported/,
  ],
  ['a tag that includes a file', policy('!include other.yaml'), /tags are not supported/],
  ['a bare tag', policy('{ enabled: ! true }'), /tags are not supported/],
  ['YAML 1.1', `%YAML 1.1\n---\n${policy('{ enabled: yes }')}`, /directives are not supported/],
  ['YAML 1.3', `%YAML 1.3\n---\n${policy(ON)}`, /directives are not supported/],
  ['a tag directive', `%TAG ! tag:evil.example,2026:\n---\n${policy(ON)}`, /directives are not supported/],
  ['a directive that nobody knows', `%POLICY trusted\n---\n${policy(ON)}`, /directives are not supported/],
  ['a second document', `${policy(OFF)}---\n${policy(ON)}`, /one document/],
  ['a second document after an end', `${policy(OFF)}...\n---\n${policy(ON)}`, /one document/],
  ['something after the end', `${policy(OFF)}...\n${policy(ON)}`, /one document|directive|Unexpected/],
  ...['yes', 'on', 'y', 'On', 'YES'].map(
    (word) =>
      [`the boolean ${word}`, policy(`{ enabled: ${word} }`), new RegExp(`${word} is a text`)] as const,
  ),
  ['a boolean in quotes', policy('{ enabled: "true" }'), /expected boolean/],
  ['a number as a boolean', policy('{ enabled: 1 }'), /expected boolean/],
  ['a boolean on two lines', policy('\n  enabled: tr\n    ue'), /expected boolean/],
  ['a comment without a space before it', policy('\n  enabled: true# false'), /expected boolean/],
  ['an octal number', quorum('010'), /another number to other readers/],
  ['an octal number of YAML 1.2', quorum('0o2'), /another number to other readers/],
  ['a hexadecimal number', quorum('0x1'), /another number to other readers/],
  ['a number with an exponent', quorum('1e0'), /another number to other readers/],
  ['a number with a sign', quorum('+1'), /another number to other readers/],
  ['a number with separators', quorum('1_0'), /expected number/],
  ['a number by sixties', quorum('1:30'), /expected number/],
  ['infinity', quorum('.inf'), /expected (?:number|int)/],
  ['a key twice', policy(`${OFF}\nwrite_tools: ${ON}`), /keys must be unique/],
  ['a key twice, once in quotes', policy('{ enabled: false, "enabled": true }'), /keys must be unique/],
  [
    'a key twice, once by an escape',
    policy('{ enabled: false, "\\x65nabled": true }'),
    /keys must be unique/,
  ],
  ['a tenant twice', policy(ON) + policy('x').slice(policy('x').indexOf('  acme')), /keys must be unique/],
  ['__proto__', policy('{ enabled: false, __proto__: { enabled: true } }'), /__proto__ is no key/],
  [
    '__proto__ in quotes, as a tenant',
    `${policy(ON)}  "__proto__": { environments: [production] }\n`,
    /__proto__ is no key/,
  ],
  ['constructor', policy(ON, 'constructor: { prototype: { enabled: true } }\n'), /unknown key/],
  ['a list as a key', policy(ON, '? [a, b]\n: 1\n'), /keys must be strings/],
  ['a number as a key', policy(ON, '1: x\n'), /keys must be strings|unknown key/],
  ['look-alike letters in a key', `${policy(OFF)}writе_tools: { enabled: true }\n`, /unknown key/],
  ['a key in capitals', policy(ON, 'Version: 1\n'), /unknown key/],
  ['NUL', policy('{ enabled: true\0 }'), /U\+0000/],
  ['a tab as indentation', policy('\n\tenabled: true'), /[Tt]abs/],
  ['a byte order mark in the middle', policy(ON, '# a\n\ufeff'), /U\+FEFF/],
  [
    'a line that only some readers see',
    policy(OFF, '# harmless\u2028write_tools: { enabled: true }\n'),
    /U\+2028/,
  ],
  ['a next-line control', policy(OFF, '# harmless\u0085x\n'), /U\+0085/],
  ['a carriage return alone', policy(OFF, '# harmless\rversion: 1\n'), /U\+000D/],
  ['text that runs from right to left', policy(`${ON} # \u202e} eslaf :delbane {`), /U\+202E/],
  ['letters that nobody sees', policy('{ ena\u200bbled: true }'), /U\+200B/],
  ['Unicode tags', policy(`${ON} # \u{e0041}`), /U\+E0041/],
  ['colours for the terminal', policy(`${ON} # \u001b[8m`), /U\+001B/],
  ['quotes that never end', policy('{ enabled: true, x: "'), /./],
  ['brackets that never end', policy('{ enabled: true'), /./],
  ['33 levels', policy(nested(33)), /nested deeper than 32/],
  ['20,000 levels', policy('['.repeat(20_000)), /nested deeper than 32/],
  ['100,000 questions', policy(ON, '? '.repeat(100_000)), /nested deeper than 32/],
  [
    '3,000 keys',
    policy(ON, Array.from({ length: 3_000 }, (_, i) => `k${i}: 1\n`).join('')),
    /more than 2000/,
  ],
  ['50,000 commas', policy(`[${','.repeat(50_000)}]`), /more than 2000/],
  ['20,000 directives', `${'%A\n'.repeat(20_000)}---\n${policy(ON)}`, /directives are not supported/],
  ['20,000 documents', `${'---\n'.repeat(20_000)}${policy(ON)}`, /one document/],
  ['a quarter of a megabyte of comments', policy(ON, '# x\n'.repeat(66_000)), /larger than 256 KiB/],
  ['two megabytes of blanks', `${policy(ON)}${' '.repeat(2_000_000)}`, /larger than 256 KiB/],
  ['nothing', '', /the policy is empty/],
  ['null', 'null\n', /the policy is empty/],
  ['a list', '- kb.read\n', /expected a mapping/],
];

/** What no text can be, but a file can. */
const files: readonly (readonly [what: string, put: () => void, said: RegExp])[] = [
  [
    'bytes that are no UTF-8',
    () => writeFileSync(path, Buffer.from(policy(`${ON} # \xff`), 'latin1')),
    /U\+FFFD/,
  ],
  ['UTF-16', () => writeFileSync(path, `\ufeff${policy(ON)}`, 'utf16le'), /U\+(?:FFFD|0000)/],
  [
    'a file of four gigabytes, mostly hole',
    () => {
      writeFileSync(path, policy(ON));
      truncateSync(path, 2 ** 32);
    },
    /larger than 256 KiB/,
  ],
  ['no file', () => unlinkSync(path), /cannot be read/],
  [
    'a device that never ends',
    () => {
      rmSync(path, { force: true });
      symlinkSync('/dev/zero', path);
    },
    /cannot be read/,
  ],
];

const attacks: AttackCase[] = [
  ...texts.map(
    ([what, text, said]): AttackCase => [
      `[policy:writes-disabled-by-default] ${what}`,
      async () => {
        writeFileSync(path, text);
        await changesNothing(said);
      },
    ],
  ),
  ...files.map(
    ([what, put, said]): AttackCase => [
      `[policy:writes-disabled-by-default] ${what}`,
      async () => {
        rmSync(path, { force: true });
        writeFileSync(path, '');
        put();
        await changesNothing(said);
        rmSync(path, { force: true });
      },
    ],
  ),
  [
    '[policy:writes-disabled-by-default] a service that starts with such a file does not start',
    async () => {
      writeFileSync(path, policy('{ enabled: yes }'));
      await expect(PolicyFile.open(path, TOOLS, pino({ level: 'silent' }))).rejects.toThrow(
        PolicyInvalidError,
      );
    },
  ],
];

/** In force after the next look. */
const inForce = (text: string) => async () => {
  writeFileSync(path, text);
  await file.look();
  expect(verdict()).toMatchObject({ verdict: 'require_approval', rule: { quorum: 2 } });
  writeFileSync(path, GOOD);
  await file.look();
  expect(verdict()).toMatchObject({ verdict: 'forbid', reason: 'writes_disabled' });
};
const WRITES = '{ enabled: true }';

const twins: AttackCase[] = [
  ['the plain text', inForce(policy(WRITES))],
  ['in a block', inForce(policy('\n  enabled: true # with a comment'))],
  ['keys in quotes', inForce(policy('{ "enabled": true }'))],
  ['TRUE, which is a boolean everywhere', inForce(policy('{ enabled: TRUE }'))],
  ['a byte order mark at the start', inForce(`\ufeff${policy(WRITES)}`)],
  ['lines that end as on Windows', inForce(policy(WRITES).replaceAll('\n', '\r\n'))],
  ['the start of a document', inForce(`---\n${policy(WRITES)}`)],
  [
    'comments of many kilobytes, in any language',
    inForce(policy(WRITES, '# Wer hier liest: 日本語 ✅\n'.repeat(1_500))),
  ],
  [
    'thirty tenants',
    inForce(
      `${policy(WRITES)}${Array.from({ length: 30 }, (_, i) => `  t${i}: { slack: { team: T0ACME, channel: C0T${i} }, environments: [production] }\n`).join('')}`,
    ),
  ],
  [
    'words that are booleans elsewhere, as text',
    inForce(
      policy(WRITES).replace(
        'quorum: 2',
        'quorum: 2, denial_reasons: [{ text: no }, { text: "010" }, { text: off }]',
      ),
    ),
  ],
];

attackRow(22, { attacks, twins });
