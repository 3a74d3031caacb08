import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { verifyLines } from '../../src/audit-files/verify-report.ts';
import { segmentName } from '../../src/core/audit/segment-name.ts';
import { auditKeyPair, ChainForTests, directoryForTests, keysOf } from './sealed-directory.ts';

const { path: ROOT, remove } = directoryForTests();
afterAll(remove);
const mine = auditKeyPair();
const other = auditKeyPair();
const keys = keysOf(mine.publicKey);

let audit: string;
let runs = 0;
beforeEach(() => {
  runs += 1;
  audit = join(ROOT, `audit-${runs}`);
  mkdirSync(audit);
});

const chain = (name = 'acme', key = mine.privateKey) => new ChainForTests({ root: audit, chain: name, key });
const sealed = (name = 'acme', entries = 4) => {
  const made = chain(name).segment(1_000).entries(entries);
  made.checkpoint();
  return made;
};
const pathOf = (of: ChainForTests, first: number, fence: number, ending = '.jsonl') =>
  join(of.directory, segmentName({ first, fence }) + ending);
/** What the verifier says of the one chain `acme`. */
const verify = (options: Partial<Parameters<typeof verifyAudit>[1]> = {}) => {
  const report = verifyAudit(join(audit, 'acme'), { keys, ...options });
  return { verdict: report.verdict, code: report.exitCode, ...report.chains[0]?.finding, report };
};
const kept = (...lines: string[]) => {
  const path = join(audit, 'kept.jsonl');
  writeFileSync(path, lines.join(''));
  return { checkpoints: [path] };
};

describe('an untouched chain is intact', () => {
  it('with one segment, with many, and with a key that was replaced', () => {
    const made = sealed();
    expect(verify()).toMatchObject({ verdict: 'intact', code: 0 });
    made.segment(1_000).entries(3);
    made.checkpoint();
    made.segment(2_000).entries(1);
    made.checkpoint({ key: other.privateKey });
    expect(verify({ keys: keysOf(mine.publicKey, other.publicKey) }).verdict).toBe('intact');
    expect(verify()).toMatchObject({ verdict: 'unverifiable', code: 16 });
  });

  it('of what belongs to no tenant, and with notes of what was no entry', () => {
    const made = chain('_s3').segment(1).entries(2);
    made.note({ kind: 'not_an_entry', place: 's3/1-1', sha256: 'a'.repeat(64) }).entries(1);
    made.checkpoint();
    const { chains, verdict } = verifyAudit(audit, { keys });
    expect(verdict).toBe('intact');
    expect(chains).toMatchObject([{ chain: '_s3', lines: 4, entries: 3, notEntries: 1 }]);
  });

  it('with lines that are larger than what is read at a time', () => {
    chain()
      .segment(1)
      .entries(3, () => ({ text: 'x'.repeat(1_500_000) }))
      .checkpoint();
    expect(verify()).toMatchObject({ verdict: 'intact', report: { chains: [{ lines: 3 }] } });
  });

  it('after a sealer that was stopped in the middle of a line and of a checkpoint', () => {
    const made = sealed();
    made.append('{"chain":{"hash":"').append('{"checkpoint":{"at":17', '.checkpoints.jsonl');
    made.segment(2_000).entries(2);
    made.checkpoint();
    expect(verify()).toMatchObject({ verdict: 'intact', report: { chains: [{ torn: 1 }] } });
  });

  it('where a replaced sealer wrote what the next one wrote again, byte for byte', () => {
    const made = sealed();
    const before = { n: made.n, seq: made.seq, head: made.head };
    made.entries(2);
    Object.assign(made, before);
    made.segment(2_000).entries(3);
    made.checkpoint();
    expect(verify()).toMatchObject({ verdict: 'intact', report: { chains: [{ lines: 7 }] } });
  });

  it('where a replaced sealer signed after the next one had begun', () => {
    // The files as the replaced sealer leaves them, and beside them those of the next, which knew of one checkpoint.
    const replaced = chain().segment(1_000).entries(2);
    replaced.checkpoint();
    const known = replaced.checkpointed;
    replaced.entries(1).checkpoint();
    const next = chain();
    Object.assign(next, { n: 3, seq: 3, head: replaced.head, checkpointed: known });
    next.segment(2_000).entries(1).checkpoint();
    expect(verify().verdict).toBe('intact');
  });
});

describe('[audit:tamper-evident] what two sealers disagree on', () => {
  const twice = (detail: Record<string, unknown>) => {
    const made = sealed();
    const before = { n: made.n, seq: made.seq, head: made.head };
    made.entries(2, () => detail);
    Object.assign(made, before);
    made.segment(2_000).entries(3);
    made.checkpoint();
    return made;
  };

  it('is a fork where both lines are genuine, and an alteration where one is not', () => {
    twice({ other: true });
    expect(verify()).toMatchObject({ verdict: 'forked', code: 14, n: 5, line: 5 });
  });

  it('is an alteration where the old file holds no line of any sealer', () => {
    sealed().append('{"chain":{"hash":"00"}}\n').segment(2_000).entries(3).checkpoint();
    expect(verify()).toMatchObject({ verdict: 'altered', n: 5, line: 5 });
  });

  it('is unverifiable where only the replaced one wrote a line', () => {
    const made = sealed();
    const before = { n: made.n, seq: made.seq, head: made.head };
    made.entries(2);
    Object.assign(made, before);
    made.segment(2_000).entries(1);
    made.checkpoint();
    expect(verify()).toMatchObject({ verdict: 'unverifiable', n: 6 });
  });

  it('is a fork where two checkpoints of one count were signed', () => {
    const made = sealed();
    made.checkpoint({ head: 'f'.repeat(64) });
    expect(verify()).toMatchObject({ verdict: 'forked', through: 4 });
  });
});

describe('[audit:tamper-evident] what is gone', () => {
  it('is missing where the chain does not begin at its beginning', () => {
    const made = chain();
    Object.assign(made, { n: 10, seq: 10, head: 'a'.repeat(64) });
    made.segment(1).entries(2).checkpoint();
    expect(verify()).toMatchObject({ verdict: 'missing', code: 11, n: 1, through: 10 });
  });

  it('is missing where the sealer noted a gap, or that the count began anew', () => {
    const made = sealed();
    made.note({ kind: 'gap', expected: 5, found: 8, place: 's0/8-0' }).entries(1);
    made.note({ kind: 'gap', expected: 9, found: 1, place: 's0/9-0' }).entries(1);
    made.checkpoint();
    const { report, verdict } = verify();
    expect(verdict).toBe('missing');
    expect(report.chains[0]).toMatchObject({
      finding: undefined,
      gapCount: 2,
      gaps: [
        { n: 5, expected: 5, found: 8 },
        { n: 7, expected: 9, found: 1 },
      ],
    });
    const said = verifyLines(report, { compared: false }).join('\n');
    expect(said).toContain('entries 5 to 7 had gone from Redis before it came to seal them');
    expect(said).toContain('The count began anew');
  });

  it('is missing where a number is left out and no note tells of it', () => {
    const made = sealed();
    made.seq += 2;
    made.entries(1).checkpoint();
    expect(verify()).toMatchObject({ verdict: 'missing', n: 5, says: expect.stringContaining('entry 5') });
  });

  it('is a whole chain that only the checkpoint elsewhere knows of', () => {
    const { directory } = sealed('globex');
    const line = sealed('acme').checkpoint();
    rmSync(join(audit, 'acme'), { recursive: true });
    const report = verifyAudit(audit, { keys, ...kept(line) });
    expect(report).toMatchObject({ verdict: 'rolled_back', exitCode: 15 });
    expect(report.chains.map(({ chain: name, verdict }) => [name, verdict])).toEqual([
      ['acme', 'rolled_back'],
      ['globex', 'intact'],
    ]);
    expect(directory).toContain('globex');
  });
});

describe('[audit:tamper-evident] what is put in another place', () => {
  it('is altered: the chain of another tenant under this name, with or without a matching name', () => {
    sealed('globex');
    renameSync(join(audit, 'globex'), join(audit, 'acme'));
    expect(verify()).toMatchObject({ verdict: 'altered', code: 10 });
    expect(verify({ chain: 'globex' }).verdict).toBe('intact');
  });

  it('is altered: a line of another tenant, or another chain of the same number', () => {
    const made = sealed();
    made.entry({ tenant: 'globex' }).checkpoint();
    expect(verify()).toMatchObject({
      verdict: 'altered',
      n: 5,
      says: expect.stringContaining('no entry of acme'),
    });
  });

  it('is altered by editors and transfers: named for what it is', () => {
    for (const [name, change, says] of [
      ['a byte order mark', (text: string) => `\ufeff${text}`, 'byte order mark'],
      ['carriage returns', (text: string) => text.replaceAll('\n', '\r\n'), 'carriage return'],
      ['a blank line', (text: string) => text.replace('\n', '\n\n'), 'blank'],
      ['spaces', (text: string) => text.replaceAll('":', '": '), 'as the sealer writes it'],
      ['a byte at the end', (text: string) => `${text}x`, 'no part of any line'],
    ] as const) {
      const made = new ChainForTests({
        root: join(audit, name.replaceAll(' ', '-')),
        chain: 'acme',
        key: mine.privateKey,
      });
      const path = pathOf(made, 1, 1);
      made.segment(1).entries(2).checkpoint();
      const text = Buffer.from(change(readText(path)));
      writeFileSync(path, text);
      const report = verifyAudit(made.directory, { keys });
      expect(report.verdict, name).toBe('altered');
      expect(report.chains[0]?.finding?.says, name).toContain(says);
    }
  });
});

describe('[audit:tamper-evident] what nobody vouches for is unverifiable, in its own words', () => {
  const once = <T>(_: unknown, options: T) => options;
  const cases: [string, () => Partial<Parameters<typeof verifyAudit>[1]>, string][] = [
    ['no key', () => once(sealed(), { keys: new Map() }), 'no key was given'],
    [
      'no key, whatever a checkpoint from elsewhere says',
      () => once(sealed(), { keys: new Map(), ...kept(sealedBy(other.privateKey)) }),
      'no key was given',
    ],
    ['a foreign key', () => once(sealed(), { keys: keysOf(other.publicKey) }), 'it is signed with the key'],
    [
      'no checkpoint',
      () => once(chain().segment(1).entries(2), {}),
      'no checkpoint vouches for any of its 2 lines',
    ],
    [
      'lines after the last checkpoint',
      () => once(sealed().entries(2), {}),
      'no checkpoint vouches for the lines after 4',
    ],
    ['an empty directory', () => once(chain(), {}), 'there is no audit in this directory'],
    ['a file without a line', () => once(chain().segment(1), {}), 'not one line'],
    [
      'a checkpoint of another version',
      () => {
        const made = chain().segment(1).entries(1);
        const line = made.checkpoint();
        writeFileSync(pathOf(made, 1, 1, '.checkpoints.jsonl'), line.replace('"version":1', '"version":2'));
        return {};
      },
      'version 2',
    ],
    [
      'a signature that is none',
      () => {
        const made = chain().segment(1).entries(1);
        const line = made.checkpoint();
        const path = pathOf(made, 1, 1, '.checkpoints.jsonl');
        writeFileSync(path, line.replace(/"signature":"[^"]*"/, `"signature":"${'A'.repeat(86)}=="`));
        return {};
      },
      'its signature is not that of the key',
    ],
    ['a link', () => once(linked(), {}), 'it is a link'],
    [
      'a directory in place of a file',
      () => once(mkdirSync(pathOf(chain(), 1, 1)), {}),
      'it is no plain file',
    ],
    ['a name that no chain has', () => once(sealed(), { chain: 'ACME' }), 'no chain can be called ACME'],
    [
      'a kept checkpoint under another key',
      () => once(sealed(), kept(sealedBy(other.privateKey))),
      'signed with the key',
    ],
    [
      'a kept file of another chain',
      () => once(sealed(), kept(sealed('globex').checkpoint())),
      'no checkpoint of the chain',
    ],
    ['an empty kept file', () => once(sealed(), kept('')), 'not one checkpoint'],
    [
      'a kept file that is not there',
      () => once(sealed(), { checkpoints: [join(audit, 'nix')] }),
      'it is not there',
    ],
    ['a kept file of something else', () => once(sealed(), kept('hello\n')), 'not a checkpoint'],
  ];

  it.each(cases)('%s', (_, prepare, words) => {
    const { verdict, code, report } = verify(prepare());
    const said = verifyLines(report, { compared: false }).join('\n');
    expect({ verdict, code }, said).toEqual({ verdict: 'unverifiable', code: 16 });
    expect(said).toContain(words);
    expect(said).toContain('What to do:');
  });

  function linked(): void {
    const made = sealed();
    const path = pathOf(made, 1, 1_000);
    renameSync(path, join(audit, 'elsewhere'));
    symlinkSync(join(audit, 'elsewhere'), path);
  }

  function sealedBy(key: typeof mine.privateKey): string {
    return new ChainForTests({ root: join(audit, 'theirs'), chain: 'acme', key })
      .segment(1)
      .entries(1)
      .checkpoint();
  }
});

describe('a whole audit', () => {
  it('is as bad as the worst of its chains, and tells of each', () => {
    sealed('initech');
    sealed('globex').entries(1);
    const made = sealed('acme');
    writeFileSync(pathOf(made, 1, 1_000), readText(pathOf(made, 1, 1_000)).replace('seq":2', 'seq":3'));
    const report = verifyAudit(audit, { keys });
    expect(report).toMatchObject({ verdict: 'altered', exitCode: 10 });
    expect(report.chains.map(({ verdict }) => verdict)).toEqual(['altered', 'unverifiable', 'intact']);
    const said = verifyLines(report, { compared: false });
    expect(said.at(-1)).toBe('The audit does NOT verify: ALTERED (exit code 10).');
    expect(said.join('\n')).toContain(
      'The first bad one is line 2 of the chain (entry 3, decision.refused, prop_',
    );
  });

  it('tells of what the sealer did not put there, and does not pass over a link', () => {
    const made = sealed('acme');
    writeFileSync(join(made.directory, '000000000001-0000000000001000.jsonl.bak'), '');
    writeFileSync(join(audit, 'notes.txt'), '');
    mkdirSync(join(audit, 'lost+found'));
    const before = verifyAudit(audit, { keys });
    expect(before.verdict).toBe('intact');
    const said = verifyLines(before, { compared: false }).join('\n');
    expect(said).toContain('lost+found, notes.txt');
    expect(said).toContain('.jsonl.bak');
    symlinkSync(made.directory, join(audit, 'globex'));
    expect(verifyAudit(audit, { keys })).toMatchObject({
      verdict: 'unverifiable',
      chains: [{ chain: 'acme', verdict: 'intact' }, { chain: 'globex' }],
    });
  });

  it('is compared with a directory of copies, which may lack some and end in a cut line', () => {
    const made = chain('acme').segment(1).entries(1);
    const first = made.checkpoint();
    made.entries(1).checkpoint();
    const third = made.entries(1).checkpoint();
    const copies = join(audit, '..', `copies-${runs}`);
    mkdirSync(copies);
    writeFileSync(join(copies, 'acme.checkpoints.jsonl'), `${first}{"checkpoi\n${third}`);
    const report = verifyAudit(audit, { keys, checkpoints: [copies] });
    expect(report).toMatchObject({ verdict: 'intact', chains: [{ kept: 2 }] });
    expect(report.remarks).toEqual([expect.stringContaining('line 2, was passed over')]);
    writeFileSync(join(copies, 'acme.checkpoints.jsonl'), `${first}${third}{"checkpoi`);
    expect(verifyAudit(audit, { keys, checkpoints: [copies] }).verdict).toBe('unverifiable');
  });

  it('puts nothing on a terminal that could steer it', () => {
    const made = chain('acme').segment(1).entries(1);
    made.checkpoint();
    writeFileSync(pathOf(made, 1, 1), '{"entry":{"seq":1,"kind":"\\u001b[2J\\u202e"}}\n');
    symlinkSync(made.directory, join(audit, '\u001b]0;x\u0007'));
    const said = verifyLines(verifyAudit(audit, { keys }), { compared: true }).join('\n');
    expect(said).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  });
});

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}
