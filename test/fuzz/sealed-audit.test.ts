import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { parseCheckpoint } from '../../src/core/audit/checkpoint.ts';
import { parseSealedLine, SealedLineInvalid, sealLine } from '../../src/core/audit/sealed-line.ts';
import { auditKeyPair, ChainForTests, directoryForTests, keysOf } from '../audit-files/sealed-directory.ts';
import { bentText, fuzz } from './fuzz.ts';

/** Sealed files that somebody bent: the verifier always answers, and says that they are intact only where they are. */

const { path: ROOT, remove } = directoryForTests();
afterAll(remove);
const { privateKey, publicKey } = auditKeyPair();
const keys = keysOf(publicKey);

const chain = new ChainForTests({ root: join(ROOT, 'built'), chain: 'acme', key: privateKey });
chain
  .segment(1_000)
  .entries(5, (seq) => ({ seq, why: 'a "reason" \\ ⟨ü⟩' }))
  .checkpoint();
chain.segment(2_000).entries(3).checkpoint();
chain.checkpoint({ at: Date.UTC(2026, 1, 1) });
const NAMES = readdirSync(chain.directory).sort();
const GENUINE = NAMES.map((name) => readFileSync(join(chain.directory, name), 'latin1'));

const PIECES = [
  ...[
    '\n',
    '{',
    '}',
    '"',
    ':',
    ',',
    '0',
    '1',
    '-',
    ' ',
    '\\',
    '\\u0000',
    '\r\n',
    '\t',
    '\0',
    '\xff',
    'e9',
    'null',
    '[]',
  ],
  ...[
    '"n":1',
    '"prev":"',
    '"hash":"',
    'f'.repeat(64),
    '"entry":',
    '"note":{"kind":"gap"}',
    '"signature":"',
    '"count":',
  ],
];
const bentFiles = fc.tuple(
  ...GENUINE.map((text) =>
    fc.oneof({ weight: 3, arbitrary: fc.constant(text) }, bentText(fc.constant(text), PIECES)),
  ),
);

const directory = join(ROOT, 'bent', 'acme');
fuzz(
  'the verifier of the sealed audit',
  fc.property(bentFiles, (texts) => {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const bytes = texts.map((text) => Buffer.from(text, 'latin1'));
    for (const [i, name] of NAMES.entries()) writeFileSync(join(directory, name), bytes[i] ?? '');
    const { verdict, exitCode, chains } = verifyAudit(directory, { keys });
    if (bytes.every((one, i) => one.equals(Buffer.from(GENUINE[i] ?? '', 'latin1')))) {
      expect(verdict).toBe('intact');
      return;
    }
    // Every byte of the lines is vouched for; of the checkpoints the last lines are, and the rest by them.
    const lines = NAMES.flatMap((name, i) =>
      name.includes('checkpoints')
        ? []
        : [(bytes[i] ?? Buffer.alloc(0)).equals(Buffer.from(GENUINE[i] ?? '', 'latin1'))],
    );
    if (lines.includes(false)) expect(verdict).not.toBe('intact');
    expect(exitCode === 0).toBe(verdict === 'intact');
    for (const { finding } of chains) if (finding !== undefined) expect(finding.says).not.toBe('');
  }),
  { atLeast: 40 },
);

const line = GENUINE.flatMap((text) => Buffer.from(text, 'latin1').toString('utf8').split('\n').slice(0, -1));
fuzz(
  'the reader of sealed lines',
  fc.property(bentText(fc.constantFrom(...line), PIECES), (text) => {
    try {
      const { chain: place, ...sealed } = parseSealedLine(text);
      expect(sealLine(place, sealed as Parameters<typeof sealLine>[1]).line).toBe(`${text}\n`);
      expect(line).toContain(text);
    } catch (error) {
      expect(error).toBeInstanceOf(SealedLineInvalid);
    }
    try {
      parseCheckpoint(text);
    } catch (error) {
      expect((error as { code?: string }).code).toBe('checkpoint_invalid');
    }
  }),
  { atLeast: 300 },
);
