import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { momentOf } from '../../src/audit-files/export-period.ts';
import { populationOf } from '../../src/audit-files/export-population.ts';
import { csvSafe } from '../../src/audit-files/export-rows.ts';
import { Sealer } from '../../src/audit-files/sealer.ts';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { digestOf } from '../../src/core/tool/digest.ts';
import { AuditStreamRedis } from '../../src/redis/audit-stream-redis.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { askFor } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { CHANNEL, surfaceForTests } from '../slack/surface-for-tests.ts';
import { auditKeyPair, ChainForTests, directoryForTests, keysOf } from './sealed-directory.ts';

const redis = redisForTests({ emptied: 'once' });
const t = surfaceForTests('socket', redis, { shared: true });
const { path: ROOT, remove } = directoryForTests();
afterAll(remove);
const AUDIT = join(ROOT, 'audit');
const { privateKey, publicKey, publicText } = auditKeyPair();
const CLI = join(import.meta.dirname, '..', '..', 'dist', 'cli.js');

/** The product's own program, without Redis and without any configuration. */
async function countersign(...words: string[]): Promise<{ code: number; out: string; errors: string }> {
  const env = { PATH: process.env.PATH ?? '' };
  const run = promisify(execFile)(process.execPath, [CLI, 'audit', ...words], { cwd: ROOT, env });
  const ended = await run.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  return { code: ended.code, out: ended.stdout, errors: ended.stderr };
}

const seen: Record<string, SeenMessage> = {};
const ids: Record<string, string> = {};
let lateFrom: number;

/** A week in short: approved by two, denied, allowed by the policy, withdrawn, refused at the start, still waiting. */
beforeAll(async () => {
  const { store } = t;
  const two = await t.card({ rule: { quorum: 2, reason: { approve: 'required', deny: 'required' } } });
  ids.two = two.sealed.terms.id;
  seen.ana = two.message;
  await approveWithReason('U0ANA', two.message, 'checked with the customer; both wrote twice');
  seen.ben = await t
    .person('U0CHEN')
    .waitForMessage(CHANNEL, ({ blocks }) => JSON.stringify(blocks).includes('1 of 2 approved'));
  await approveWithReason('U0BEN', seen.ben, '=HYPERLINK("http://evil.example","ok")\u202e');
  await t.cardSaying(two.sealed.terms.id, 'Approved');
  const admitted = await store.admit(askFor(two.sealed));
  if (!admitted.ok) throw new Error(admitted.refusal);
  await store.finish(admitted.admission, { outcome: 'succeeded', result: '{}' });

  const no = await t.card({ arguments: { ticket: 'T-2' } });
  ids.denied = no.sealed.terms.id;
  seen.denied = no.message;
  await t.person('U0BEN').click(no.message, 'cs_deny');
  const modal = await t.person('U0BEN').waitForView();
  await t.person('U0BEN').submit(modal, { cs_reason: 'not a duplicate, "T-2" is new' });
  await vi.waitFor(async () => expect(await t.status(no.sealed.terms.id)).toBe('denied'), 20_000);

  const auto = await t.propose({ automatic: {}, arguments: { ticket: 'T-3' } });
  ids.auto = auto.terms.id;
  const started = await store.admit(askFor(auto));
  if (!started.ok) throw new Error(started.refusal);
  await store.finish(started.admission, { outcome: 'failed', code: 'rejected', message: 'no such ticket' });

  const refused = await t.propose({ automatic: {}, arguments: { ticket: 'T-4' } });
  ids.refused = refused.terms.id;
  await store.refuse(refused.terms.id, {
    refusal: 'policy',
    message: 'the policy forbids it now',
    alarm: false,
  });

  lateFrom = (await store.now()) + 1;
  await vi.waitFor(async () => expect(await store.now()).toBeGreaterThan(lateFrom), 20_000);
  const gone = await t.propose({ arguments: { ticket: 'T-5' } });
  ids.withdrawn = gone.terms.id;
  const { agent, principal } = gone.terms.context;
  await store.withdraw(gone.terms.id, { agent, principal });
  ids.globex = (
    await t.propose({ context: { tenant: 'globex', run: 'run-9' }, rule: { approvers: ['user:U0OMAR'] } })
  ).terms.id;

  const sealer = new Sealer({
    stream: new AuditStreamRedis({ redis: redis.client, shards: 1 }),
    directory: AUDIT,
    key: privateKey,
    logger: pino({ level: 'silent' }),
    pollMs: 10,
  });
  await sealer.start();
  await vi.waitFor(
    () => expect(readdirSync(AUDIT)).toEqual(expect.arrayContaining(['acme', 'globex'])),
    20_000,
  );
  await sealer.stop();
}, 60_000);

async function approveWithReason(user: string, message: SeenMessage, reason: string): Promise<void> {
  const person = t.person(user);
  await person.click(message, 'cs_approve');
  await person.submit(await person.waitForView(), { cs_reason: reason });
  await t.told(user, 'is recorded');
}

const always = ['--from', '2000-01-01', '--to', '2100-01-01', '--dir', AUDIT, '--key', publicText];
type Row = Record<string, unknown>;
const parsed = (lines: Iterable<string>) => [...lines].map((line) => JSON.parse(line) as Row);
/** As the program prints them; for a part of the period, as it would. */
let rows: Row[];
beforeAll(async () => {
  const { code, out, errors } = await countersign('export', ...always, '--format', 'jsonl');
  expect(code, errors).toBe(0);
  rows = parsed(out.trim().split('\n'));
}, 60_000);
const idsOf = (period: { from?: number; to?: number; tenant?: string }) =>
  populationOf(AUDIT, { from: 0, to: Date.UTC(2100, 0, 1), ...period }).proposals.map(
    ({ proposal }) => proposal,
  );

describe('the population of a period', () => {
  it('[decision:why-is-recorded] is a row for each proposal: who asked, who decided, when, why and on what policy', () => {
    expect(rows.map(({ proposal }) => proposal)).toEqual([
      ids.two,
      ids.denied,
      ids.auto,
      ids.refused,
      ids.withdrawn,
      ids.globex,
    ]);
    const [two, denied, auto, refused, withdrawn, globex] = rows;
    expect(two).toMatchObject({
      tenant: 'acme',
      environment: 'production',
      tool: 'ticket.close',
      requester: 'slack:T0ACME/U0ASKER',
      agent: 'support-bot',
      run: 'run-1',
      approved_by: 'people',
      rule: 'approvals.required_for',
      quorum: 2,
      approvals: [
        {
          person: 'slack:T0ACME/U0ANA',
          as: 'usergroup:S0SUPPORT',
          reason: 'checked with the customer; both wrote twice',
        },
        { person: 'slack:T0ACME/U0BEN', reason: '=HYPERLINK("http://evil.example","ok")\u202e' },
      ],
      approved_before_start: 'yes',
      outcome: 'succeeded',
      final_state: 'succeeded',
      audit_verified: true,
    });
    expect(two?.policy_version).toMatch(/^[0-9a-f]{64}$/);
    expect(two?.arguments_sha256).toBe(digestOf('arguments', '{"ticket":"T-1"}'));
    const times = ['requested_at', 'approved_at', 'started_at', 'outcome_at'].map((name) =>
      String(two?.[name]),
    );
    expect(times).toEqual([...times].sort());
    expect(denied).toMatchObject({
      denied_by: 'slack:T0ACME/U0BEN',
      denial_reason: 'not a duplicate, "T-2" is new',
      approved_before_start: 'not executed',
      final_state: 'denied',
      approvals: [],
    });
    expect(auto).toMatchObject({
      approved_by: 'policy',
      approved_before_start: 'yes',
      outcome: 'failed',
      approvals: [],
    });
    expect(refused).toMatchObject({ final_state: 'halted', started_at: null });
    expect(String(refused?.halted_cause)).toContain('the policy forbids it now');
    expect(withdrawn).toMatchObject({ final_state: 'withdrawn', outcome: null });
    expect(globex).toMatchObject({ tenant: 'globex', run: 'run-9', final_state: 'pending' });
  });

  it('[decision:why-is-recorded] names the digest of the very card that each approver had before them', () => {
    const [two, denied] = rows;
    const shown = (two?.approvals ?? []) as { shown_sha256: string }[];
    expect(runsOfBlocks(seen.ana)).toContain(shown[0]?.shown_sha256);
    expect(runsOfBlocks(seen.ben)).toContain(shown[1]?.shown_sha256);
    expect(runsOfBlocks(seen.denied)).toContain(denied?.denial_shown_sha256);
    expect(runsOfBlocks(seen.denied)).not.toContain(shown[0]?.shown_sha256);
  });

  it('rests on lines of the chain that anybody can look up', () => {
    const [two] = rows;
    const lines = readdirSync(join(AUDIT, 'acme'))
      .filter((name) => !name.includes('checkpoints'))
      .sort()
      .flatMap((name) =>
        readFileSync(join(AUDIT, 'acme', name), 'utf8')
          .trim()
          .split('\n'),
      )
      .map(
        (line) => JSON.parse(line) as { chain: { n: number }; entry: { kind: string; proposal?: string } },
      );
    const its = lines.filter(({ entry }) => entry.proposal === ids.two);
    expect(two?.audit_lines).toEqual(its.map(({ chain }) => chain.n));
    expect(its.map(({ entry }) => entry.kind)).toEqual(
      expect.arrayContaining(['decision.approve', 'admission.granted']),
    );
  });

  it('holds what was asked for from the first moment on, up to but not including the second', () => {
    expect(idsOf({ to: lateFrom })).toEqual([ids.two, ids.denied, ids.auto, ids.refused]);
    expect(idsOf({ from: lateFrom })).toEqual([ids.withdrawn, ids.globex]);
    expect(idsOf({ from: lateFrom, tenant: 'globex' })).toEqual([ids.globex]);
    const at = Date.parse(String(rows[4]?.requested_at));
    expect(idsOf({ from: at })[0]).toBe(ids.withdrawn);
    expect(idsOf({ to: at })).not.toContain(ids.withdrawn);
  });

  it('is CSV that a spreadsheet takes for text, one row a line under one header', async () => {
    const file = join(ROOT, 'population.csv');
    const { code, out, errors } = await countersign('export', ...always, '--out', file);
    expect({ code, out }, errors).toEqual({ code: 0, out: '' });
    expect(errors).toContain('6 proposals, asked for from 2000-01-01T00:00:00.000Z until before 2100-01-01');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, 'utf8');
    expect(text.replaceAll('\r\n', '')).not.toMatch(/[\u0000-\u001f\u202e]/);
    const [header, ...cells] = csvOf(text);
    expect(header?.slice(0, 6)).toEqual([
      'proposal',
      'tenant',
      'environment',
      'tool',
      'arguments_sha256',
      'requester',
    ]);
    expect(cells).toHaveLength(6);
    expect(new Set([header, ...cells].map((row) => row?.length))).toEqual(new Set([header?.length]));
    const cell = (row: string[] | undefined, name: string) => row?.[header?.indexOf(name) ?? -1];
    expect(cell(cells[0], 'approvers')).toBe('slack:T0ACME/U0ANA; slack:T0ACME/U0BEN');
    expect(cell(cells[0], 'approval_reasons')).toBe(
      'checked with the customer, both wrote twice; =HYPERLINK("http://evil.example","ok")\\u{202E}',
    );
    expect(cell(cells[1], 'denial_reason')).toBe('not a duplicate, "T-2" is new');
    expect(cell(cells[0], 'audit_verified')).toBe('yes');
    const again = await countersign('export', ...always, '--out', file);
    expect(again.code).toBe(2);
    expect(again.errors).toContain('is there already');
  });
});

describe('[audit:tamper-evident] an export', () => {
  it('is refused where the audit does not verify, unless every row may say so', async () => {
    const key = auditKeyPair();
    const chain = new ChainForTests({ root: join(ROOT, 'bad'), chain: 'acme', key: key.privateKey })
      .segment(1)
      .entries(2);
    chain.checkpoint();
    const [file = ''] = readdirSync(chain.directory).filter((name) => !name.includes('checkpoints'));
    const path = join(chain.directory, file);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"seq":2', '"seq":3'));
    const words = ['export', '--from', '2026-01-01', '--to', '2026-01-02', '--dir', join(ROOT, 'bad')];
    const refused = await countersign(...words, '--key', key.publicText);
    expect(refused).toMatchObject({ code: 10, out: '' });
    expect(refused.errors).toContain('acme: ALTERED');
    expect(refused.errors).toContain('Nothing was exported');
    const anyway = await countersign(...words, '--key', key.publicText, '--unverified');
    expect(anyway.code).toBe(0);
    expect(csvOf(anyway.out).map((row) => row.at(-1))).toEqual(['audit_verified', 'no']);
    const unasked = await countersign(...words);
    expect(unasked.errors).toContain('Not verified, and each row says so');
    expect(csvOf(unasked.out)[1]?.at(-1)).toBe('no');
  });
});

it('[audit:tamper-evident] what the real sealer wrote: any line that is changed, left out or moved is found', () => {
  const keys = keysOf(publicKey);
  const directory = join(AUDIT, 'acme');
  expect(verifyAudit(AUDIT, { keys }).verdict).toBe('intact');
  const [file = ''] = readdirSync(directory).filter((name) => !name.includes('checkpoints'));
  const text = readFileSync(join(directory, file), 'utf8');
  const lines = text.split(/(?<=\n)/);
  expect(lines.length).toBeGreaterThan(15);
  const found = (changed: readonly string[]) => {
    writeFileSync(join(directory, file), changed.join(''));
    const [report] = verifyAudit(directory, { keys }).chains;
    return [report?.verdict, report?.finding?.n];
  };
  for (const [index, line] of lines.entries()) {
    const n = index + 1;
    const at = (n * 97) % line.length;
    const flipped = line.slice(0, at) + String.fromCharCode(line.charCodeAt(at) ^ 1) + line.slice(at + 1);
    expect(found(lines.with(index, flipped)), `line ${n}`).toEqual(['altered', n]);
    const last = n === lines.length;
    expect(found(lines.toSpliced(index, 1)), `line ${n}`).toEqual([last ? 'truncated' : 'missing', n]);
    if (!last) {
      const swapped = lines.with(index, lines[n] ?? '').with(n, line);
      expect(found(swapped), `line ${n}`).toEqual(['reordered', n]);
    }
  }
  expect(found(lines)).toEqual(['intact', undefined]);
});

describe('what was typed', () => {
  it('is judged before anything is read, and what is wrong is said in one line', async () => {
    const dir = ['--dir', AUDIT];
    const cases = [
      [['export', '--from', '2026-02-30', '--to', '2026-03-01', ...dir], '--from 2026-02-30 is no day'],
      [['export', '--from', '2026-03-01', '--to', '2026-03-02'], 'COUNTERSIGN_AUDIT_DIR'],
      [['verify', AUDIT, '--key', 'nonsense'], 'neither a file nor a key'],
      [['verify'], "missing required argument 'dir'"],
      [['show', '--dir', join(ROOT, 'nix')], 'it is not there'],
    ] as const;
    for (const [words, says] of cases) {
      const { code, out, errors } = await countersign(...words);
      expect({ code, out }, words.join(' ')).toEqual({ code: 2, out: '' });
      expect(errors).toContain(says);
      expect(errors).not.toMatch(/\n\s+at /);
    }
  });

  it('verifies offline: in words, and as JSON for machines', async () => {
    const words = await countersign('verify', AUDIT, '--key', publicText);
    expect(words).toMatchObject({ code: 0, errors: '' });
    expect(words.out).toMatch(/acme +intact +\d+ entries +signed up to line (\d+) of \1,/);
    expect(words.out).toContain('The audit is intact.');
    const json = JSON.parse((await countersign('verify', AUDIT, '--json')).out);
    expect(json).toMatchObject({ verdict: 'unverifiable', exitCode: 16 });
  });

  it('shows entries from sealed files, as from Redis', async () => {
    const { out } = await countersign('show', '--dir', AUDIT, '--proposal', ids.two ?? '', '--json');
    const sealed = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const live = await t.audit.read({ proposal: ids.two ?? '', limit: 200 });
    expect(sealed).toEqual(live);
    expect(
      (await countersign('show', '--dir', AUDIT, '--tenant', 'acme', '--limit', '2')).out.trim().split('\n'),
    ).toHaveLength(2);
    rmSync(join(ROOT, 'bad'), { recursive: true, force: true });
  });
});

it('takes a day or a time, in UTC unless it says otherwise, and nothing else', () => {
  expect(momentOf('2026-01-01')).toBe(Date.UTC(2026, 0, 1));
  expect(momentOf('2026-01-01T08:30')).toBe(Date.UTC(2026, 0, 1, 8, 30));
  expect(momentOf('2026-01-01T08:30:00.5Z')).toBe(Date.UTC(2026, 0, 1, 8, 30, 0, 500));
  expect(momentOf('2026-01-01T08:30:00+02:00')).toBe(Date.UTC(2026, 0, 1, 6, 30));
  for (const text of [
    '',
    '2026',
    '2026-1-1',
    '2026-02-29',
    '2026-13-01',
    '2026-01-01T25:00',
    'now',
    '1767225600',
    ' 2026-01-01',
  ]) {
    expect(momentOf(text), text).toBeUndefined();
  }
});

it('marks every cell that a spreadsheet would compute as text, and hides nothing', () => {
  for (const cell of ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', ' =1', '\n=1', '\uff1d1']) {
    expect(csvSafe(cell), JSON.stringify(cell)).toMatch(/^'/);
  }
  expect(csvSafe('a\nb\tc\u0000\u202ed\u200b')).toBe('a\\nb\\tc\\u{0}\\u{202E}d\\u{200B}');
  expect(csvSafe('not a duplicate')).toBe('not a duplicate');
});

/** The digests of everything that stood together on a card: the part that people decide on is one of them. */
function runsOfBlocks(message: SeenMessage | undefined): string[] {
  // Slack gives each block an id.
  const blocks = (message?.blocks ?? []).map(({ block_id, ...block }) => block);
  return blocks.flatMap((_, from) =>
    blocks
      .slice(from)
      .map((_, length) => digestOf('card', JSON.stringify(blocks.slice(from, from + length + 1)))),
  );
}

/** RFC 4180, as a reader of ours would have it. */
function csvOf(text: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain ?? '');
    if (end === '\r\n') rows.push([]);
  }
  return rows.slice(0, -1);
}
