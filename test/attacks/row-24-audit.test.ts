import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect } from 'vitest';
import { type AuditPrivateKey, parseCheckpoint, signCheckpoint } from '../../src/core/audit/checkpoint.ts';
import { parseSealedLine, type Sealed, sealLine } from '../../src/core/audit/sealed-line.ts';
import type { Admission } from '../../src/core/execution/admission.ts';
import { AgentId, PrincipalId, TenantId } from '../../src/core/identity/ids.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { proposalKey, shardKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { auditKeyPair } from '../audit-files/sealed-directory.ts';
import { sealedWorld } from '../audit-files/sealed-world.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, sealedTerms, signedDecision, testKeys } from '../sealed-terms.ts';
import { type AttackCase, attackRow } from './attack-row.ts';

/**
 * The attacker writes the sealed files, or the stream in Redis before it is sealed, or keeps the audit from being
 * written at all. The verifier has the files, the public key, and the last checkpoint that was kept elsewhere.
 */

const redis = redisForTests();
const world = sealedWorld(redis);
const AUDIT = shardKey(0, 'audit');
const SEQ = shardKey(0, 'audit-seq');

/* ---- the sealed files ---- */

const CHAIN = 'acme';
const directory = () => join(world.directory, CHAIN);

interface Files {
  /** Of acme's one segment, without newlines. */
  lines: string[];
  checkpoints: string[];
}
function names(): { lines: string; checkpoints: string } {
  const [lines = ''] = world.segments(CHAIN);
  return { lines, checkpoints: lines.replace(/\.jsonl$/, '.checkpoints.jsonl') };
}
function read(): Files {
  const of = (name: string) => readFileSync(join(directory(), name), 'utf8').split('\n').slice(0, -1);
  return { lines: of(names().lines), checkpoints: of(names().checkpoints) };
}
function write({ lines, checkpoints }: Files): void {
  const put = (name: string, of: string[]) =>
    writeFileSync(join(directory(), name), of.map((line) => `${line}\n`).join(''));
  put(names().lines, lines);
  put(names().checkpoints, checkpoints);
}

/** From line `from` on, counted from 0, hashed anew, so that every line fits the one before it. */
function hashedAnew(lines: readonly string[], from: number): string[] {
  const done = lines.slice(0, from);
  let prev =
    from === 0
      ? parseSealedLine(lines[0] ?? '').chain.prev
      : parseSealedLine(lines[from - 1] ?? '').chain.hash;
  for (const [i, line] of lines.slice(from).entries()) {
    const { chain: _, ...sealed } = JSON.parse(line) as Record<string, unknown>;
    const next = sealLine({ n: from + i + 1, prev }, sealed as unknown as Sealed);
    done.push(next.line.slice(0, -1));
    prev = next.hash;
  }
  return done;
}
const bend = (line: string) => line.replace('"i":', '"j":');

/** The checkpoints signed anew, with any key, over other lines. */
function signedAnew(files: Files, key: AuditPrivateKey): string[] {
  let prev = '0'.repeat(64);
  return files.checkpoints.map((line) => {
    const { version: _v, key: _k, ...checkpoint } = parseCheckpoint(line).checkpoint;
    const head = parseSealedLine(files.lines[checkpoint.count - 1] ?? '').chain.hash;
    const signed = signCheckpoint(key, { ...checkpoint, head, prev }).slice(0, -1);
    prev = createHash('sha256').update(signed).digest('hex');
    return signed;
  });
}

/** Thirty entries, ten of them acme's, sealed and signed in two goes. */
async function sealed(): Promise<void> {
  const sealer = world.sealer({ roundEntries: 15 });
  await world.append(30);
  await sealer.start();
  await expect.poll(() => sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 });
  await sealer.stop();
  expect(world.verify()).toMatchObject({ verdict: 'intact' });
  expect(read().lines).toHaveLength(10);
  expect(read().checkpoints.length).toBeGreaterThan(1);
}

/** The newest checkpoint as somebody else has kept it. */
function kept(): string {
  const file = join(world.elsewhere, 'kept.jsonl');
  writeFileSync(file, `${read().checkpoints.at(-1)}\n`);
  return file;
}

type Verdict = ReturnType<typeof world.verify>['verdict'];

/** Named for what it is, with the first line that is bad. */
function found(
  title: string,
  verdict: Verdict,
  first: number | undefined,
  attack: (files: Files) => Files | undefined,
  { withKept = false } = {},
): AttackCase {
  return [
    `[audit:tamper-evident] sealed files: ${title} is ${verdict}`,
    async () => {
      await sealed();
      const elsewhere = withKept ? [kept()] : [];
      const changed = attack(read());
      if (changed !== undefined) write(changed);
      const report = world.verify(elsewhere);
      const finding = report.chains.find(({ chain }) => chain === CHAIN)?.finding;
      expect([report.verdict, finding?.trouble]).toEqual([verdict, verdict]);
      expect(report.exitCode).toBeGreaterThanOrEqual(10);
      expect(finding?.says.length).toBeGreaterThan(10);
      if (first !== undefined) expect(finding?.n).toBe(first);
      const others = report.chains.filter(({ chain }) => chain !== CHAIN);
      expect(others.map((chain) => chain.verdict)).toEqual(others.map(() => 'intact'));
    },
  ];
}

/* ---- the stream in Redis ---- */

const idsOf = async () => (await redis.client.xrange(AUDIT, '-', '+')).map(([id]) => id);
const tenantOf = (fields: readonly string[]) => fields[fields.indexOf('tenant') + 1];
async function acmeIds(): Promise<string[]> {
  const entries = await redis.client.xrange(AUDIT, '-', '+');
  return entries.flatMap(([id, fields]) => (tenantOf(fields) === CHAIN ? [id] : []));
}
const forged = (changes: Record<string, string> = {}): string[] =>
  Object.entries({
    seq: '11',
    at: String(Date.now()),
    kind: 'call.forbidden',
    tenant: CHAIN,
    proposal: '',
    detail: '{}',
    ...changes,
  }).flat();

/** What was done to the stream before it was sealed stands in the sealed chain as what it is: a remark, signed. */
function remarked(
  title: string,
  remark: { readonly kind: 'gap' | 'not_an_entry'; readonly expected?: number; readonly found?: number },
  attack: () => Promise<unknown>,
): AttackCase {
  return [
    `[audit:tamper-evident] stream: ${title} is remarked in the chain`,
    async () => {
      await world.append(30);
      await attack();
      await world.append(3);
      await world.seal();
      const notes = world.lines(CHAIN).flatMap((line) => ('note' in line ? line.note : []));
      const general = world.lines('_s0').flatMap((line) => ('note' in line ? line.note : []));
      expect([...notes, ...general]).toContainEqual(expect.objectContaining(remark));
      // Everything that was sealed is there; what is said to have been missing before is a finding all the same.
      const verdict = remark.kind === 'gap' ? 'missing' : 'intact';
      expect(world.verify()).toMatchObject({ verdict });
    },
  ];
}

/* ---- no record, no action ---- */

interface Stage {
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly call: SealedTerms;
  readonly admission: Admission | undefined;
}

type Status = 'none' | 'off' | 'pending' | 'voted' | 'approved' | 'executing';

/** An `off` that could not be recorded is tried again and again: in its own test, and not in those behind it. */
const switches: WriteSwitchRedis[] = [];
afterEach(async () => {
  await Promise.all(switches.splice(0).map((writeSwitch) => writeSwitch.stop()));
});

async function stage(status: Status): Promise<Stage> {
  const parts = { redis: redis.client, shards: 1 };
  const store = new ProposalStoreRedis({ ...parts, keys: [testKeys.proposal] });
  const writeSwitch = new WriteSwitchRedis({ ...parts, startDeadlineMs: 0 });
  switches.push(writeSwitch);
  await writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'x', expectedEpoch: 0 });
  await writeSwitch.renewPermits();
  if (status === 'off') await writeSwitch.off({ scope: ACME, by: 'cli:test' });
  const { epoch } = await writeSwitch.status();
  const rule = { quorum: status === 'voted' ? 2 : 1 };
  const call = sealedTerms({ now: await store.now(), epoch, rule });
  const made: Stage = { store, writeSwitch, call, admission: undefined };
  if (status === 'none' || status === 'off') return made;
  await store.create(call, { pendingPerAgent: 9, pendingPerTenant: 9 });
  if (status === 'pending') return made;
  await store.decide(signedDecision(call, 'approve', ANA));
  if (status === 'approved' || status === 'voted') return made;
  const admitted = await store.admit(admissionOf(call));
  if (!admitted.ok) throw new Error('it was not admitted');
  return { ...made, admission: admitted.admission };
}
const ACME = { tenant: TenantId.parse('acme') };
const admissionOf = ({ terms, termsDigest }: SealedTerms) => ({
  id: terms.id,
  termsDigest,
  admission: 'a'.repeat(32),
  executor: 'e',
  leaseMs: 60_000,
});

/** Everything that Redis holds but the audit. */
async function snapshot({ call }: Stage): Promise<unknown> {
  const indexes = ['pending', 'ready', 'executing', 'spent'] as const;
  return [
    await redis.client.hgetall(proposalKey(call.terms.id)),
    (await redis.client.hkeys(shardKey(0, 'switch'))).filter((key) => /^off:|^state$/.test(key)).sort(),
    await Promise.all(indexes.map((name) => redis.client.zrange(shardKey(0, name), '0', '-1'))),
  ];
}

const by = { agent: AgentId.parse('support-bot'), principal: PrincipalId.parse('slack:T0ACME/U0ASKER') };
const TRANSITIONS: readonly [string, Status, (at: Stage) => Promise<unknown>][] = [
  ['propose', 'none', ({ store, call }) => store.create(call, { pendingPerAgent: 9, pendingPerTenant: 9 })],
  ['approve', 'pending', ({ store, call }) => store.decide(signedDecision(call, 'approve', ANA))],
  ['deny', 'pending', ({ store, call }) => store.decide(signedDecision(call, 'deny', ANA))],
  ['withdraw', 'pending', ({ store, call }) => store.withdraw(call.terms.id, by)],
  [
    'refuse',
    'pending',
    ({ store, call }) => store.refuse(call.terms.id, { refusal: 'x', message: 'x', alarm: true }),
  ],
  ['revoke', 'voted', ({ store, call }) => store.revoke(call.terms.id, { person: ANA, why: 'left' })],
  ['admit', 'approved', ({ store, call }) => store.admit(admissionOf(call))],
  ['give back', 'executing', ({ store, admission }) => store.giveBack(admission as Admission, 'late')],
  [
    'finish',
    'executing',
    ({ store, admission }) => store.finish(admission as Admission, { outcome: 'succeeded', result: 'null' }),
  ],
  [
    'turn on',
    'off',
    async ({ writeSwitch }) => {
      const { epoch } = await writeSwitch.status();
      return writeSwitch.on({ scope: ACME, by: 'cli:x', why: 'x', expectedEpoch: epoch });
    },
  ],
];

/** How the audit can be made impossible to write. */
const BREAKS: readonly [string, () => Promise<unknown>][] = [
  [
    'the stream is something else',
    async () => {
      await redis.client.del(AUDIT);
      await redis.client.set(AUDIT, 'no stream');
    },
  ],
  [
    'the count is something else',
    async () => {
      await redis.client.del(SEQ);
      await redis.client.set(SEQ, 'no hash');
    },
  ],
];

const refuses = (
  [what, status, act]: (typeof TRANSITIONS)[number],
  [why, breaks]: (typeof BREAKS)[number],
): AttackCase => [
  `[audit:every-transition] no record, no action: to ${what}, where ${why}`,
  async () => {
    const at = await stage(status);
    await breaks();
    const before = await snapshot(at);
    const answer = await act(at).catch((error: unknown) => error);
    expect(JSON.stringify(answer) + String(answer)).not.toMatch(/"settled"|"ok":true|"created":"new"/);
    expect(await snapshot(at)).toEqual(before);
  },
];

attackRow(24, {
  attacks: [
    found('a line deleted', 'missing', 4, ({ lines, checkpoints }) => ({
      lines: lines.toSpliced(3, 1),
      checkpoints,
    })),
    found('the first line deleted', 'missing', 1, ({ lines, checkpoints }) => ({
      lines: lines.slice(1),
      checkpoints,
    })),
    found('a line changed', 'altered', 4, ({ lines, checkpoints }) => ({
      lines: lines.with(3, bend(lines[3] ?? '')),
      checkpoints,
    })),
    found('a time changed', 'altered', 7, ({ lines, checkpoints }) => ({
      lines: lines.with(6, (lines[6] ?? '').replace('"at":1', '"at":2')),
      checkpoints,
    })),
    found('two lines exchanged', 'reordered', 4, ({ lines, checkpoints }) => ({
      lines: lines.with(3, lines[4] ?? '').with(4, lines[3] ?? ''),
      checkpoints,
    })),
    found('the last lines cut off', 'truncated', undefined, ({ lines, checkpoints }) => ({
      lines: lines.slice(0, -2),
      checkpoints,
    })),
    found('a line changed and hashed anew', 'altered', undefined, ({ lines, checkpoints }) => {
      const one = hashedAnew(lines.slice(0, 3).concat(bend(lines[3] ?? '')), 3);
      return { lines: [...one, ...lines.slice(4)], checkpoints };
    }),
    found('a line changed and all behind it hashed anew', 'altered', undefined, ({ lines, checkpoints }) => ({
      lines: hashedAnew(lines.with(3, bend(lines[3] ?? '')), 3),
      checkpoints,
    })),
    found(
      'a line taken out and all behind it hashed anew',
      'missing',
      undefined,
      ({ lines, checkpoints }) => ({
        lines: hashedAnew(lines.toSpliced(3, 1), 3),
        checkpoints,
      }),
    ),
    found(
      'everything changed, hashed anew and signed with another key',
      'unverifiable',
      undefined,
      (files) => {
        const lines = hashedAnew(files.lines.with(3, bend(files.lines[3] ?? '')), 3);
        return { lines, checkpoints: signedAnew({ ...files, lines }, auditKeyPair().privateKey) };
      },
    ),
    found(
      'everything changed, hashed anew and signed with the stolen key, seen by what was kept elsewhere,',
      'forked',
      undefined,
      (files) => {
        const lines = hashedAnew(files.lines.with(3, bend(files.lines[3] ?? '')), 3);
        return { lines, checkpoints: signedAnew({ ...files, lines }, world.key) };
      },
      { withKept: true },
    ),
    found(
      'lines and checkpoints rolled back together, seen by what was kept elsewhere,',
      'rolled_back',
      undefined,
      ({ lines, checkpoints }) => {
        const [first = ''] = checkpoints;
        const { count } = parseCheckpoint(first).checkpoint;
        return { lines: lines.slice(0, count), checkpoints: [first] };
      },
      { withKept: true },
    ),
    found(
      'the whole chain gone, seen by what was kept elsewhere,',
      'rolled_back',
      undefined,
      () => {
        rmSync(directory(), { recursive: true });
        return undefined;
      },
      { withKept: true },
    ),
    found('a line put in', 'altered', undefined, ({ lines, checkpoints }) => ({
      lines: lines.toSpliced(4, 0, bend(lines[3] ?? '')),
      checkpoints,
    })),
    found('a line of another tenant put in', 'altered', undefined, ({ lines, checkpoints }) => {
      const [name = ''] = world.segments('globex');
      const theirs = readFileSync(join(world.directory, 'globex', name), 'utf8').split('\n');
      return { lines: lines.with(3, theirs[3] ?? ''), checkpoints };
    }),
    found('the chain of another tenant under this name', 'altered', undefined, () => {
      rmSync(directory(), { recursive: true });
      cpSync(join(world.directory, 'globex'), directory(), { recursive: true });
      return undefined;
    }),
    found('all signatures gone', 'unverifiable', undefined, ({ lines }) => ({ lines, checkpoints: [] })),
    found('a second segment that tells another story from the middle', 'altered', undefined, ({ lines }) => {
      const other = hashedAnew(lines.with(5, bend(lines[5] ?? '')), 5).slice(5);
      const name = names().lines.replace(
        /^\d{12}-(\d{16})/,
        (_, fence: string) => `000000000006-${String(BigInt(fence) + 1n).padStart(16, '0')}`,
      );
      writeFileSync(join(directory(), name), other.map((line) => `${line}\n`).join(''));
      return undefined;
    }),
    found('the segment under a later number', 'missing', undefined, () => {
      for (const file of readdirSync(directory())) {
        renameSync(join(directory(), file), join(directory(), file.replace(/^\d{12}/, '000000000004')));
      }
      return undefined;
    }),
    found('a line with its fields in another order', 'altered', 4, ({ lines, checkpoints }) => {
      const { chain, entry } = JSON.parse(lines[3] ?? '') as Record<string, unknown>;
      return { lines: lines.with(3, JSON.stringify({ entry, chain })), checkpoints };
    }),

    remarked('an entry taken out', { kind: 'gap', expected: 4, found: 5 }, async () => {
      await redis.client.xdel(AUDIT, (await acmeIds())[3] ?? '');
    }),
    remarked('the newest entry taken out', { kind: 'gap', expected: 10, found: 11 }, async () => {
      await redis.client.xdel(AUDIT, (await acmeIds()).at(-1) ?? '');
    }),
    remarked('everything cut off', { kind: 'gap', expected: 1, found: 11 }, () =>
      redis.client.xtrim(AUDIT, 'MAXLEN', 0),
    ),
    remarked('the whole stream deleted', { kind: 'gap', expected: 1, found: 11 }, () =>
      redis.client.del(AUDIT),
    ),
    remarked('the count moved on', { kind: 'gap', expected: 11, found: 101 }, () =>
      redis.client.hset(SEQ, CHAIN, '100'),
    ),
    remarked('the count set back', { kind: 'gap', expected: 11, found: 4 }, () =>
      redis.client.hset(SEQ, CHAIN, '3'),
    ),
    remarked('the count deleted', { kind: 'gap', expected: 11, found: 1 }, () =>
      redis.client.hdel(SEQ, CHAIN),
    ),
    remarked('a forged entry of the next number', { kind: 'gap', expected: 12, found: 11 }, () =>
      redis.client.xadd(AUDIT, '*', ...forged({ kind: 'decision.approve', proposal: 'prop_00x' })),
    ),
    remarked('a forged entry of an old number', { kind: 'gap', expected: 11, found: 5 }, () =>
      redis.client.xadd(AUDIT, '*', ...forged({ seq: '5' })),
    ),
    remarked('an entry of no known kind', { kind: 'not_an_entry' }, () =>
      redis.client.xadd(AUDIT, '*', ...forged({ kind: 'all.is.well' })),
    ),
    remarked('an entry that is none', { kind: 'not_an_entry' }, () =>
      redis.client.xadd(AUDIT, '*', 'x', 'y'),
    ),
    remarked('an entry whose detail is no JSON', { kind: 'not_an_entry' }, () =>
      redis.client.xadd(AUDIT, '*', ...forged({ detail: '{"a":' })),
    ),
    remarked('an entry for a tenant that is a path', { kind: 'not_an_entry' }, () =>
      redis.client.xadd(AUDIT, '*', ...forged({ tenant: '../../etc' })),
    ),
    [
      'stream: sealed entries replaced in Redis afterwards change nothing in the files',
      async () => {
        await world.append(30);
        await world.seal();
        const before = read();
        await redis.client.del(AUDIT, SEQ);
        await world.append(3);
        await world.seal();
        const { lines } = read();
        expect(lines).toEqual(before.lines);
        expect(world.verify()).toMatchObject({ verdict: 'missing' });
        const notes = world.lines(CHAIN).flatMap((line) => ('note' in line ? line.note : []));
        expect(notes).toContainEqual(expect.objectContaining({ kind: 'gap', expected: 11, found: 1 }));
      },
    ],

    ...TRANSITIONS.flatMap((transition) => BREAKS.map((breaks) => refuses(transition, breaks))),
    ...BREAKS.map(
      ([why, breaks]): AttackCase => [
        `no record, no action: to turn off, where ${why}, stops writes all the same, and is not reported as done`,
        async () => {
          const at = await stage('approved');
          await breaks();
          const answer = await at.writeSwitch
            .off({ scope: EVERYTHING, by: 'cli:x' })
            .catch((error: unknown) => error);
          expect(JSON.stringify(answer)).not.toContain('"confirmed":true');
          const admitted = await at.store.admit(admissionOf(at.call)).catch(() => ({ ok: false }));
          expect(admitted.ok).toBe(false);
        },
      ],
    ),
  ],
  twins: [
    [
      'sealed files as they were sealed, with what was kept elsewhere',
      async () => {
        await sealed();
        expect(world.verify([kept()])).toMatchObject({ verdict: 'intact', exitCode: 0 });
      },
    ],
    [
      'sealed files in another place, whole',
      async () => {
        await sealed();
        const moved = join(world.elsewhere, 'moved');
        mkdirSync(moved);
        renameSync(world.directory, join(moved, 'audit'));
        renameSync(join(moved, 'audit'), world.directory);
        expect(world.verify()).toMatchObject({ verdict: 'intact' });
      },
    ],
    [
      'a chain that goes on in a new segment',
      async () => {
        await sealed();
        await world.append(30);
        await world.seal();
        expect(world.segments(CHAIN).length).toBeGreaterThan(1);
        expect(world.verify([kept()])).toMatchObject({ verdict: 'intact' });
      },
    ],
    [
      'entries trimmed from Redis behind what is sealed leave no remark',
      async () => {
        await world.append(30);
        await world.seal();
        await redis.client.xtrim(AUDIT, 'MAXLEN', 0);
        await world.append(3);
        await world.seal();
        expect(world.lines(CHAIN).filter((line) => 'note' in line)).toEqual([]);
        expect((await idsOf()).length).toBeGreaterThan(0);
      },
    ],
    ...TRANSITIONS.map(
      ([what, status, act]): AttackCase => [
        `[audit:every-transition] with the audit in order: to ${what} is done, and recorded`,
        async () => {
          const at = await stage(status);
          const before = (await idsOf()).length;
          const answer = await act(at);
          expect(JSON.stringify(answer)).toMatch(/settled|"ok":true|"created":"new"/);
          expect((await idsOf()).length).toBeGreaterThan(before);
        },
      ],
    ),
  ],
});
