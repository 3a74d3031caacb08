import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { beforeAll, expect } from 'vitest';
import type { ExportedProposal, RecordedApproval } from '../../src/audit-files/export-population.ts';
import { csvRows, jsonRows } from '../../src/audit-files/export-rows.ts';
import { auditLines } from '../../src/audit-lines.ts';
import { AuditEntry } from '../../src/core/audit/audit-entry.ts';
import { formatProblems, loadPolicy } from '../../src/core/policy/policy-load.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { LOG_TEXTS, markOf } from './log-texts.ts';

/**
 * Texts made for whatever shows them: the log of a real process, `countersign audit show` and `writes status` as an
 * operator types them, the auditor's spreadsheet, and what is said of a broken policy.
 */

const redis = redisForTests({ emptied: 'once' });
let logged: string[] = [];
let shown: string[] = [];
let shownJson: string[] = [];
let status: string[] = [];

/** A program of its own, as it runs: every line that it prints. */
async function printed(args: readonly string[], env: Record<string, string> = {}): Promise<string[]> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [output, errors] = await Promise.all([textOf(child.stdout), textOf(child.stderr)]);
  expect(errors).toBe('');
  // Not by what else ends a line somewhere: that is for the checks to find.
  return output.split('\n').slice(0, -1);
}

beforeAll(async () => {
  const writeSwitch = new WriteSwitchRedis({ redis: redis.client, shards: 1, startDeadlineMs: 5 });
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: 0 });
  const socket = redis.connectionOptions.path;
  logged = await printed(['--import', 'tsx', join(import.meta.dirname, 'log-texts.ts'), 'run', socket]);

  // Whoever can write Redis, and every operator, puts texts into the switch and the audit.
  for (const [, text] of LOG_TEXTS.slice(0, 24)) {
    const by = `cli:${text.slice(0, 100)}` as const;
    await writeSwitch.off({ scope: { agent: `a${markOf(text).slice(0, -1)}` as never }, by, why: text });
  }
  await writeSwitch.stop();
  const cli = join(import.meta.dirname, '..', '..', 'dist', 'cli.js');
  const env = { REDIS_URL: socket };
  const asTyped = (...args: string[]) => printed([cli, '--env', '/nonexistent.env', ...args], env);
  [shown, shownJson, status] = await Promise.all([
    asTyped('audit', 'show', '--limit', '10000'),
    asTyped('audit', 'show', '--limit', '10000', '--json'),
    asTyped('writes', 'status'),
  ]);
});

/** What a terminal acts on, what ends a line for somebody, and what nobody sees. */
const ACTING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

/** There is such a line, it is one line, and it says no more than it should. */
function isOnOneLine(lines: readonly string[], mark: string): string[] {
  const about = lines.filter((line) => line.includes(mark));
  expect(about.length).toBeGreaterThan(0);
  for (const line of about) expect(line).not.toMatch(ACTING);
  return about;
}

const approval = (text: string): RecordedApproval => ({
  person: text,
  as: text,
  reason: text,
  at: 1,
  shown: text,
});

/** As it would be read from files that somebody altered: every text in it is hostile. */
function rowOf(text: string): ExportedProposal {
  const texts = { proposal: text, tenant: text, environment: text, tool: text, argumentsSha256: text };
  const people = { requester: text, agent: text, run: text, policyVersion: text, basis: text, rule: text };
  return {
    ...texts,
    ...people,
    requestedAt: 1,
    quorum: 1,
    approvals: [approval(text), approval(text)],
    denial: approval(text),
    approvedAt: 1,
    startedAt: 2,
    approvedBeforeStart: 'yes',
    outcome: text,
    outcomeAt: 3,
    finalState: text,
    haltedCause: text,
    lines: [1, 2],
  };
}

/** RFC 4180, by letter. */
function cellsOf(csv: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let quoted = false;
  for (let at = 0; at < csv.length; at += 1) {
    const letter = csv[at];
    if (quoted && letter === '"' && csv[at + 1] === '"') {
      cell += '"';
      at += 1;
    } else if (letter === '"' && (quoted || cell === '')) quoted = !quoted;
    else if (!quoted && letter === ',') {
      row.push(cell);
      cell = '';
    } else if (!quoted && csv.startsWith('\r\n', at)) {
      rows.push([...row, cell]);
      [row, cell] = [[], ''];
      at += 1;
    } else cell += letter;
  }
  expect([row, cell, quoted]).toEqual([[], '', false]);
  return rows;
}

const attacks: AttackCase[] = [
  ...LOG_TEXTS.map(
    ([what, text]): AttackCase => [
      `[audit:every-transition] ${what}, in the log and in audit show`,
      () => {
        const mark = markOf(text);
        for (const line of isOnOneLine(logged, mark)) {
          // Nothing that was logged has made a field, or a line, of its own.
          const entry = JSON.parse(line) as Record<string, unknown>;
          expect(entry).toMatchObject({
            name: expect.stringMatching(/^countersign-(?:guard|executor)$/),
            pid: expect.any(Number),
          });
          expect(entry.level).toBeLessThan(60);
          expect(['call.forbidden', 'call.malformed', 'read failed', 'it failed']).toContain(entry.msg);
        }
        const lines = isOnOneLine(shown, mark);
        for (const line of lines)
          expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z {2}(?:acme|-) +\d+ {2}(?:call|switch)\./);
        for (const line of isOnOneLine(shownJson, mark))
          expect(AuditEntry.safeParse(JSON.parse(line)).success).toBe(true);
      },
    ],
  ),
  ...LOG_TEXTS.slice(0, 24).map(
    ([what, text]): AttackCase => [
      `[switch:fails-closed] ${what}, as the reason and the operator in writes status`,
      () => {
        const [line = ''] = isOnOneLine(status, `agent a${markOf(text).slice(0, -1)} `);
        expect(line).toMatch(/^ {2}off: agent amark\d+ \(cli:/);
      },
    ],
  ),
  ...LOG_TEXTS.map(
    ([what, text]): AttackCase => [
      `[audit:tamper-evident] ${what}, in every field of an entry that somebody altered`,
      () => {
        const short = text.slice(0, 3_000);
        const detail = { [short]: short, nested: { [short]: [short] } };
        const entry = {
          place: short,
          seq: 1,
          at: 1,
          kind: 'call.forbidden',
          tenant: short,
          proposal: short,
          detail,
        } as const;
        for (const json of [false, true]) {
          const [line = '', ...more] = auditLines([entry], { json });
          expect(more).toEqual([]);
          expect(line).not.toMatch(ACTING);
          if (json) expect(JSON.parse(line)).toEqual(entry);
          // What stands in quotes is somebody's text.
          else expect(line.replaceAll(/"(?:[^"\\]|\\.)*"/g, '')).not.toMatch(/approver=|kind=/);
        }
      },
    ],
  ),
  ...LOG_TEXTS.map(
    ([what, text]): AttackCase => [
      `[audit:tamper-evident] ${what}, in every cell of the auditor’s export`,
      () => {
        const row = rowOf(text.slice(0, 3_000));
        const csv = [...csvRows([row], true)].join('');
        expect(csv.replaceAll('\r\n', '')).not.toMatch(ACTING);
        const [header = [], cells = [], ...more] = cellsOf(csv);
        expect([more, cells.length, header.at(-1), cells.at(-1)]).toEqual([
          [],
          header.length,
          'audit_verified',
          'yes',
        ]);
        for (const cell of cells) expect(cell).not.toMatch(/^\s*[=+\-@|＝＋－＠]/u);
        // A separator of another country stays within its cell.
        for (const line of csv.split('\r\n'))
          expect(line.replaceAll(/"(?:[^"]|"")*"/g, '')).not.toContain(';');

        const [json = '', ...others] = [...jsonRows([row], true)];
        expect([others, json.trimEnd().match(ACTING), json.at(-1)]).toEqual([[], null, '\n']);
        expect(JSON.parse(json)).toMatchObject({
          tool: row.tool,
          requester: row.requester,
          audit_verified: true,
        });
      },
    ],
  ),
  ...LOG_TEXTS.slice(0, 24).map(
    ([what, text]): AttackCase => [
      `[policy:unlisted-tool-is-forbidden] ${what}, in what is said of a broken policy`,
      () => {
        const load = loadPolicy(`${JSON.stringify(text)}: 1\ntools: { allow: [${JSON.stringify(text)}] }\n`);
        const problems = load.ok ? [] : load.problems;
        expect(problems.length).toBeGreaterThanOrEqual(2);
        const lines = formatProblems(problems, 'policy.yaml').split('\n');
        expect(lines).toHaveLength(problems.length);
        for (const line of lines)
          expect(line).toMatch(/^policy\.yaml:\d+:\d+ [^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u);
      },
    ],
  ),
];

const asItIs = (text: string) => () => {
  const row = rowOf(text);
  const [header = [], cells = []] = cellsOf([...csvRows([row], true)].join(''));
  expect(cells[header.indexOf('denial_reason')]).toBe(text);
  const [json = ''] = [...jsonRows([row], false)];
  expect(json).toContain(JSON.stringify(text));
  const entry = {
    place: 's0/1-1',
    seq: 1,
    at: 1,
    kind: 'call.forbidden',
    tenant: 'acme',
    detail: { why: text },
  } as const;
  expect(auditLines([entry], { json: true })[0]).toContain(JSON.stringify(text));
  expect(auditLines([entry], { json: false })[0]).toContain(
    `why=${/^[\w./:@-]+$/.test(text) ? text : JSON.stringify(text)}`,
  );
};

const twins: AttackCase[] = [
  ['a reason in other alphabets', asItIs('Größe 100 €, Ελληνικά, 日本語, 😀')],
  ['a word', asItIs('duplicate')],
  ['a sum within a sentence', asItIs('2 + 2 = 4, said ana@example.com - twice')],
  ['quotes, commas and semicolons', asItIs('he said "no", then; "yes"')],
  ['a person', asItIs('slack:T0ACME/U0ANA')],
  ['a short call and its entry', () => expect(isOnOneLine(shown, 'switch.on').length).toBe(1)],
];

attackRow(18, { attacks, twins });
