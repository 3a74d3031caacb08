import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import type { AuditVerdict, Finding } from '../../src/audit-files/verify-finding.ts';
import type { AuditPrivateKey } from '../../src/core/audit/checkpoint.ts';
import { ChainName, genesisOf } from '../../src/core/audit/sealed-line.ts';
import { isIntact } from './outside-verifier.ts';
import { AT, auditKeyPair, ChainForTests, directoryForTests, keysOf } from './sealed-directory.ts';

const { path: ROOT, remove } = directoryForTests();
afterAll(remove);

const mine = auditKeyPair();
const foreign = auditKeyPair();
const keys = keysOf(mine.publicKey);

type Files = ReadonlyMap<string, Buffer>;
type Step = (chain: ChainForTests) => unknown;

/** Three segments: one that was rotated, and one of a sealer that took over; idle checkpoints; a note. */
const STEPS: readonly Step[] = [
  (chain) => chain.segment(1_000),
  (chain) => chain.entries(2),
  (chain) => chain.checkpoint(),
  (chain) => chain.note({ kind: 'not_an_entry', place: 's0/9-9', sha256: 'ab'.repeat(32) }),
  (chain) => chain.checkpoint(),
  (chain) => chain.checkpoint({ at: AT + 900_000 }),
  (chain) => chain.segment(1_000).entries(2),
  (chain) => chain.checkpoint(),
  (chain) => chain.segment(2_000),
  (chain) => chain.checkpoint({ at: AT + 1_900_000 }),
  (chain) => chain.entries(1),
  (chain) => chain.checkpoint(),
  (chain) => chain.entries(2),
  (chain) => chain.checkpoint(),
];
const LINES = 8;
const GENESIS = genesisOf(ChainName.parse('acme'));

let built = 0;
function build(
  steps: readonly Step[],
  key: AuditPrivateKey = mine.privateKey,
): { chain: ChainForTests; files: Files } {
  built += 1;
  const root = join(ROOT, `built-${built}`);
  const chain = new ChainForTests({ root, chain: 'acme', key });
  for (const step of steps) step(chain);
  const files = new Map(
    readdirSync(chain.directory)
      .sort()
      .map((name) => [name, readFileSync(join(chain.directory, name))]),
  );
  rmSync(root, { recursive: true });
  return { chain, files };
}

const { files: ORIGINAL } = build(STEPS);
const NAMES = [...ORIGINAL.keys()];
const LINE_FILES = NAMES.filter((name) => !name.includes('checkpoints'));
const CHECKPOINT_FILES = NAMES.filter((name) => name.includes('checkpoints'));
const KEPT = join(ROOT, 'kept.jsonl');

const DIRECTORY = join(ROOT, 'acme');
let onDisk: Files = new Map();
/** What the verifier says of these files; only those that differ from the last ones are written. */
function verify(
  files: Files,
  checkpoints: string[] = [],
): { verdict: AuditVerdict; finding: Finding | undefined } {
  mkdirSync(DIRECTORY, { recursive: true });
  for (const name of onDisk.keys()) if (!files.has(name)) rmSync(join(DIRECTORY, name));
  for (const [name, bytes] of files) {
    if (onDisk.get(name) !== bytes) writeFileSync(join(DIRECTORY, name), bytes);
  }
  onDisk = files;
  const report = verifyAudit(DIRECTORY, { keys, checkpoints });
  verifications += 1;
  if (checkpoints.length === 0 && (report.verdict === 'intact' || verifications % 4 === 0)) {
    expect(outsiderBelieves(), JSON.stringify(report.chains[0])).toBe(report.verdict === 'intact');
  }
  return { verdict: report.verdict, finding: report.chains[0]?.finding };
}

/** Whoever writes a verifier from docs/audit.md has to come to the same end. */
let verifications = 0;
function outsiderBelieves(): boolean {
  try {
    return isIntact(DIRECTORY, Buffer.from(mine.publicText, 'base64'));
  } catch {
    return false;
  }
}

const changed = (name: string, bytes: Buffer | undefined, of: Files = ORIGINAL): Files => {
  const files = new Map(of);
  if (bytes === undefined) files.delete(name);
  else files.set(name, bytes);
  return files;
};
const linesIn = (name: string, of: Files = ORIGINAL) =>
  (of.get(name)?.toString() ?? '').split('\n').slice(0, -1);
const withLines = (name: string, lines: readonly string[], of: Files = ORIGINAL) =>
  changed(name, Buffer.from(lines.map((line) => `${line}\n`).join('')), of);
writeFileSync(KEPT, `${linesIn(CHECKPOINT_FILES.at(-1) ?? '').at(-1)}\n`);
const nOf = (line: string) => (JSON.parse(line) as { chain: { n: number } }).chain.n;

/** Every line of the chain, and where it stands. */
const PLACES = LINE_FILES.flatMap((name) =>
  linesIn(name).map((text, index) => ({ name, index, text, n: nOf(text) })),
);

/** The lines put into these places instead. */
function replaced(texts: readonly string[], of: Files = ORIGINAL): Files {
  let files = of;
  for (const name of LINE_FILES) {
    const at = PLACES.flatMap((place, i) => (place.name === name ? [texts[i] as string] : []));
    files = withLines(name, at, files);
  }
  return files;
}

/** What somebody without the key can do: the hashes anew, from line `from` on. */
function rehashed(texts: readonly string[], from: number): string[] {
  let prev: string | undefined;
  return texts.map((text, i) => {
    const line = JSON.parse(text) as { chain: { n: number; prev: string; hash?: string } };
    const { chain, ...body } = line;
    if (i + 1 < from) {
      prev = chain.hash;
      return text;
    }
    const link = { n: i + 1, prev: prev ?? GENESIS };
    const rest = JSON.stringify(body).slice(1);
    const unhashed = `{"chain":{"n":${link.n},"prev":"${link.prev}"},${rest}`;
    prev = createHash('sha256').update(unhashed).digest('hex');
    return `{"chain":{"hash":"${prev}",${unhashed.slice('{"chain":{'.length)}`;
  });
}
const TEXTS = PLACES.map(({ text }) => text);

function expectFirstBad(finding: Finding | undefined, n: number, what: string): void {
  expect(finding?.n, what).toBeLessThanOrEqual(n);
  expect(finding?.through ?? finding?.n, what).toBeGreaterThanOrEqual(n);
}

/** Every length around the ends of lines, and every seventh between. */
function cutsOf(bytes: Buffer): number[] {
  return [...bytes.keys()].filter(
    (at) => at % 7 === 0 || bytes.indexOf(10, at) - at < 12 || at - bytes.lastIndexOf(10, at) < 30,
  );
}

it('has three segments, a note, and checkpoints beside each', () => {
  expect(NAMES).toHaveLength(6);
  expect(TEXTS).toHaveLength(LINES);
  expect(CHECKPOINT_FILES.map((name) => linesIn(name).length)).toEqual([3, 1, 3]);
});

it('[audit:tamper-evident] believes the untouched files, with the copied checkpoint and without', () => {
  expect(verify(ORIGINAL)).toEqual({ verdict: 'intact', finding: undefined });
  expect(verify(ORIGINAL, [KEPT])).toEqual({ verdict: 'intact', finding: undefined });
  expect(replaced(TEXTS)).toEqual(ORIGINAL);
  expect(replaced(rehashed(TEXTS, 1))).toEqual(ORIGINAL);
});

describe('[audit:tamper-evident] one byte is another', () => {
  const flipped = (name: string, at: number, mask: number) => {
    const bytes = Buffer.from(ORIGINAL.get(name) ?? '');
    bytes[at] = (bytes[at] ?? 0) ^ mask;
    return changed(name, bytes);
  };

  it.each(LINE_FILES)('in any place of the lines of %s: altered, and the line is named', (name) => {
    const bytes = ORIGINAL.get(name) ?? Buffer.alloc(0);
    for (let at = 0, index = 0; at < bytes.length; at += 1) {
      const what = `byte ${at}`;
      const { verdict, finding } = verify(flipped(name, at, at % 3 === 0 ? 0xff : 1 << (at % 8)));
      expect(verdict, what).toBe('altered');
      const place = PLACES.find((one) => one.name === name && one.index === index);
      expect(finding, what).toMatchObject({ n: place?.n, file: name, line: index + 1 });
      if (bytes[at] === 10) index += 1;
    }
  });

  it.each(CHECKPOINT_FILES)('in any place of %s: it is no longer believed', (name) => {
    const bytes = ORIGINAL.get(name) ?? Buffer.alloc(0);
    const next = CHECKPOINT_FILES[CHECKPOINT_FILES.indexOf(name) + 1];
    const last = bytes.lastIndexOf(10, bytes.length - 2) + 1;
    for (let at = 0; at < bytes.length; at += 1) {
      const { verdict, finding } = verify(flipped(name, at, at % 3 === 0 ? 0xff : 1 << (at % 8)));
      const words = at < last ? ['altered', 'unverifiable'] : ['altered', 'unverifiable', 'truncated'];
      expect(words, `byte ${at}`).toContain(verdict);
      expect([name, next], `byte ${at}`).toContain(finding?.file);
    }
  });

  it('anywhere, in any bit, several at once (random)', () => {
    const flip = fc.record({
      file: fc.constantFrom(...NAMES),
      at: fc.nat(),
      mask: fc.integer({ min: 1, max: 255 }),
    });
    fc.assert(
      fc.property(fc.array(flip, { minLength: 1, maxLength: 4 }), (flips) => {
        const files = new Map([...ORIGINAL].map(([name, bytes]) => [name, Buffer.from(bytes)]));
        for (const { file, at, mask } of flips) {
          const bytes = files.get(file) as Buffer;
          bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ mask;
        }
        const same = NAMES.every((name) => files.get(name)?.equals(ORIGINAL.get(name) as Buffer));
        expect(verify(files).verdict === 'intact').toBe(same);
      }),
      { numRuns: 300 },
    );
  });
});

describe('[audit:tamper-evident] lines', () => {
  it('one is dropped: missing, or the end is cut off', () => {
    for (const { name, index, n } of PLACES) {
      const lines = linesIn(name);
      const isLastOfFile = index === lines.length - 1;
      const { verdict, finding } = verify(withLines(name, lines.toSpliced(index, 1)));
      expect(verdict, `line ${n}`).toBe(isLastOfFile ? 'truncated' : 'missing');
      expect(finding, `line ${n}`).toMatchObject({ n, file: name });
      expectFirstBad(finding, n, `line ${n}`);
    }
  });

  it('one stands twice, anywhere: reordered, at the second place', () => {
    for (const { text, n } of PLACES) {
      for (const { name, index, n: before } of PLACES.slice(n - 1)) {
        const { verdict, finding } = verify(withLines(name, linesIn(name).toSpliced(index + 1, 0, text)));
        const what = `line ${n} again after ${before}`;
        // Behind the last line of a segment that another follows, it is a line too many.
        expect(['reordered', 'altered', 'forked'], what).toContain(verdict);
        expect(finding, what).toMatchObject({ n: before + 1, file: name, line: index + 2 });
      }
    }
  });

  it('two change places, also across files: reordered, at the first of them', () => {
    for (let a = 0; a < LINES; a += 1) {
      for (let b = a + 1; b < LINES; b += 1) {
        const texts = TEXTS.with(a, TEXTS[b] as string).with(b, TEXTS[a] as string);
        const { verdict, finding } = verify(replaced(texts));
        expect(verdict, `${a + 1} and ${b + 1}`).toBe('reordered');
        expect(finding).toMatchObject({ n: a + 1, file: PLACES[a]?.name, line: (PLACES[a]?.index ?? 0) + 1 });
      }
    }
  });

  it('all stand in any other order (random)', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(TEXTS, { minLength: LINES, maxLength: LINES }), (texts) => {
        const same = texts.every((text, i) => text === TEXTS[i]);
        expect(verify(replaced(texts)).verdict).toBe(same ? 'intact' : 'reordered');
      }),
      { numRuns: 100 },
    );
  });

  it('are cut off at any byte: truncated, from the first line that is not whole', () => {
    for (const name of LINE_FILES) {
      const bytes = ORIGINAL.get(name) ?? Buffer.alloc(0);
      for (const length of cutsOf(bytes)) {
        const whole = bytes.subarray(0, length).toString('latin1').split('\n').length - 1;
        const n = PLACES.find((place) => place.name === name && place.index === whole)?.n;
        const { verdict, finding } = verify(changed(name, bytes.subarray(0, length)));
        expect(verdict, `${name} to ${length}`).toBe('truncated');
        expect(finding, `${name} to ${length}`).toMatchObject({ n, file: name });
      }
    }
  });
});

describe('[audit:tamper-evident] somebody without the key computes the hashes anew', () => {
  const edited = (n: number) =>
    TEXTS.with(
      n - 1,
      (TEXTS[n - 1] as string).replace(/"(kind|place)":"[^"]/, (found) => `${found.slice(0, -1)}x`),
    );

  it('of one line, or from it to the end: altered, and it is among the lines that are named', () => {
    for (let n = 1; n <= LINES; n += 1) {
      const all = rehashed(edited(n), n);
      for (let to = n; to <= LINES; to += 1) {
        const texts = [...all.slice(0, to), ...TEXTS.slice(to)];
        const { verdict, finding } = verify(replaced(texts));
        expect(verdict, `${n} to ${to}`).toBe('altered');
        expectFirstBad(finding, n, `${n} to ${to}`);
      }
    }
  });

  it('after dropping an entry: it is missed by its number', () => {
    for (const { n, text } of PLACES) {
      if (!text.includes('"entry"') || n === LINES) continue;
      const shorter = rehashed(TEXTS.toSpliced(n - 1, 1), n);
      const files = replaced([...shorter, shorter.at(-1) as string]);
      const { verdict, finding } = verify(files);
      const next = PLACES[n]?.text ?? '';
      // A note has no number, so that what is missing shows at the entry after it.
      expect(verdict, `line ${n}`).toBe(next.includes('"note"') ? 'altered' : 'missing');
      expectFirstBad(finding, n, `line ${n}`);
    }
  });

  it('and signs with another key, or leaves the checkpoints out: unverifiable', () => {
    for (let n = 1; n <= LINES; n += 1) {
      const texts = rehashed(edited(n), n);
      const bare = CHECKPOINT_FILES.reduce(
        (files, name) => changed(name, Buffer.alloc(0), files),
        replaced(texts),
      );
      expect(verify(bare), `line ${n}`).toMatchObject({
        verdict: 'unverifiable',
        finding: { n: 1, through: LINES },
      });
    }
    expect(verify(build(STEPS, foreign.privateKey).files)).toMatchObject({
      verdict: 'unverifiable',
      finding: { file: CHECKPOINT_FILES[0], says: expect.stringContaining('you gave') },
    });
  });

  it('and leaves out the checkpoints from there on: unverifiable from the first line without one', () => {
    for (let n = 1; n <= LINES; n += 1) {
      let files = replaced(rehashed(edited(n), n));
      let signed = 0;
      for (const name of CHECKPOINT_FILES) {
        const earlier = linesIn(name).filter((line) => JSON.parse(line).checkpoint.count < n);
        signed = Math.max(signed, ...earlier.map((line) => JSON.parse(line).checkpoint.count as number));
        files = withLines(name, earlier, files);
      }
      expect(verify(files), `line ${n}`).toMatchObject({
        verdict: 'unverifiable',
        finding: { n: signed + 1 },
      });
    }
  });
});

describe('[audit:tamper-evident] checkpoints', () => {
  const all = CHECKPOINT_FILES.flatMap((name) => linesIn(name).map((text, index) => ({ name, index, text })));

  it('one is dropped: the next one misses it; the last one: lines without a signature', () => {
    for (const [i, { name, index }] of all.entries()) {
      const { verdict, finding } = verify(withLines(name, linesIn(name).toSpliced(index, 1)));
      const last = i === all.length - 1;
      expect(verdict, `checkpoint ${i + 1}`).toBe(last ? 'unverifiable' : 'missing');
      if (last) expect(finding).toMatchObject({ n: 7, through: 8 });
      else expect(finding?.file).toBe(all[i + 1]?.name);
    }
  });

  it('some are dropped from the end: only with an idle one is nothing lost, and a copy tells of that', () => {
    for (let left = 0; left < all.length; left += 1) {
      let files = ORIGINAL;
      for (const name of CHECKPOINT_FILES) {
        const kept = all.slice(0, left).filter((one) => one.name === name);
        files = withLines(
          name,
          kept.map(({ text }) => text),
          files,
        );
      }
      expect(verify(files).verdict, `${left} left`).toBe('unverifiable');
      expect(verify(files, [KEPT]).verdict, `${left} left`).toBe('rolled_back');
    }
  });

  it('two change places, or one stands twice', () => {
    for (const [i, { name, index, text }] of all.entries()) {
      expect(verify(withLines(name, linesIn(name).toSpliced(index, 0, text))).verdict, `${i} twice`).not.toBe(
        'intact',
      );
      for (const other of all.slice(i + 1)) {
        const files = withLines(name, linesIn(name).with(index, other.text));
        const swapped = withLines(other.name, linesIn(other.name, files).with(other.index, text), files);
        expect(['reordered', 'missing'], `${text} with ${other.text}`).toContain(verify(swapped).verdict);
      }
    }
  });

  it('are cut off at any byte', () => {
    for (const name of CHECKPOINT_FILES) {
      const bytes = ORIGINAL.get(name) ?? Buffer.alloc(0);
      for (const length of cutsOf(bytes)) {
        const { verdict } = verify(changed(name, bytes.subarray(0, length)));
        expect(['truncated', 'missing', 'unverifiable'], `${name} to ${length}`).toContain(verdict);
      }
    }
  });
});

describe('[audit:tamper-evident] anything at all, several times', () => {
  const file = fc.constantFrom(...NAMES);
  type Change = (files: Map<string, Buffer>) => void;
  const change = fc.oneof(
    fc.tuple(file, fc.nat(), fc.integer({ min: 1, max: 255 })).map(
      ([name, at, mask]): Change =>
        (files) => {
          const bytes = Buffer.from(files.get(name) ?? '');
          if (bytes.length > 0) bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ mask;
          if (files.has(name)) files.set(name, bytes);
        },
    ),
    fc.tuple(file, fc.nat()).map(
      ([name, length]): Change =>
        (files) => {
          const bytes = files.get(name);
          if (bytes !== undefined) files.set(name, bytes.subarray(0, length % (bytes.length + 1)));
        },
    ),
    fc.tuple(file, fc.nat(), fc.nat(), fc.nat(2)).map(
      ([name, at, from, removed]): Change =>
        (files) => {
          const lines = (files.get(name)?.toString('latin1') ?? '').split(/(?<=\n)/);
          const added = lines[from % lines.length] ?? '';
          lines.splice(at % lines.length, removed, added);
          if (files.has(name)) files.set(name, Buffer.from(lines.join(''), 'latin1'));
        },
    ),
    fc.tuple(file, file).map(
      ([a, b]): Change =>
        (files) => {
          const [first, second] = [files.get(a), files.get(b)];
          if (first !== undefined && second !== undefined) files.set(a, second).set(b, first);
        },
    ),
    file.map(
      (name): Change =>
        (files) =>
          void files.delete(name),
    ),
  );

  it('is found, unless all of it comes to nothing (random)', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const files = new Map(ORIGINAL);
        for (const apply of changes) apply(files);
        const same = NAMES.every((name) => files.get(name)?.equals(ORIGINAL.get(name) as Buffer));
        expect(verify(files, [KEPT]).verdict === 'intact').toBe(same);
      }),
      { numRuns: 150 },
    );
  });
});

describe('[audit:tamper-evident] files', () => {
  it('one is gone: missing, from its first line on; the last one needs a copy to be missed', () => {
    for (const name of NAMES) {
      const { verdict, finding } = verify(changed(name, undefined));
      expect(verdict, name).toBe(name === CHECKPOINT_FILES.at(-1) ? 'unverifiable' : 'missing');
      const first = PLACES.find((place) => place.name === name)?.n;
      if (first !== undefined) expect(finding, name).toMatchObject({ n: first });
    }
  });

  it('both files of a segment are gone', () => {
    for (const [i, name] of LINE_FILES.entries()) {
      const files = changed(CHECKPOINT_FILES[i] ?? '', undefined, changed(name, undefined));
      const isLast = i === LINE_FILES.length - 1;
      expect(verify(files).verdict, name).toBe(isLast ? 'intact' : 'missing');
      expect(verify(files, [KEPT]).verdict, name).toBe(isLast ? 'rolled_back' : 'missing');
    }
  });

  it('two have changed their contents, or one another name', () => {
    for (const names of [LINE_FILES, CHECKPOINT_FILES]) {
      for (const [i, a] of names.entries()) {
        for (const b of names.slice(i + 1)) {
          const files = changed(a, ORIGINAL.get(b), changed(b, ORIGINAL.get(a)));
          expect(['reordered', 'missing'], `${a} and ${b}`).toContain(verify(files).verdict);
        }
        const renames = [
          a.replace('000-', '009-').replace(/^0000/, '0009'),
          a.replace(/-0+(\d)/, '-0000009$1'),
          `x${a}`,
        ];
        for (const other of renames.filter((name) => name !== a)) {
          const files = changed(other.slice(0, 60), ORIGINAL.get(a), changed(a, undefined));
          expect(verify(files).verdict, `${a} as ${other}`).not.toBe('intact');
        }
      }
    }
  });

  it('are those of any earlier time: rolled back, by the checkpoint that was kept elsewhere', () => {
    for (let steps = 1; steps < STEPS.length; steps += 1) {
      const { files } = build(STEPS.slice(0, steps));
      expect(verify(files, [KEPT]).verdict, `after ${steps} steps`).toBe('rolled_back');
    }
    expect(verify(build(STEPS).files, [KEPT]).verdict).toBe('intact');
  });

  it('are those of another history under the same key: forked', () => {
    const other = (from: number, lines: number): Step[] =>
      STEPS.map((step, i) => (i === from ? (chain) => chain.entries(lines, () => ({ other: true })) : step));
    for (const [from, n] of [
      [1, 1],
      [10, 6],
      [12, 7],
    ] as const) {
      const kept = join(ROOT, 'kept-all.jsonl');
      writeFileSync(
        kept,
        Buffer.concat(CHECKPOINT_FILES.map((name) => ORIGINAL.get(name) ?? Buffer.alloc(0))),
      );
      const { verdict, finding } = verify(build(other(from, from === 10 ? 1 : 2)).files, [kept]);
      expect(verdict, `from step ${from}`).toBe('forked');
      expectFirstBad(finding, n, `from step ${from}`);
    }
  });
});
