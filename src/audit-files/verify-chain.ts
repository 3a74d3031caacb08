import { hash } from 'node:crypto';
import { basename } from 'node:path';
import { z } from 'zod';
import {
  type ChainName,
  genesisOf,
  HASH_FIELD_LENGTH,
  LINE_START,
  SealNote,
  tenantOfChain,
} from '../core/audit/sealed-line.ts';
import { brief } from '../core/tool/visible-text.ts';
import { type ChainDirectory, fileOf, type Segment } from './read-directory.ts';
import { LineReader, NotReadable } from './read-lines.ts';
import {
  type AuditKeys,
  type CheckpointFile,
  KnownCheckpoints,
  type Mark,
  marksOf,
  oddBytes,
  readCheckpointFile,
} from './verify-checkpoints.ts';
import type { Finding } from './verify-finding.ts';

/** What the sealer itself found missing, or foreign, in the stream that it sealed. */
export interface DeclaredGap {
  readonly n: number;
  readonly expected: number;
  readonly found: number;
}

export interface Walked {
  readonly finding: Finding | undefined;
  readonly lines: number;
  readonly entries: number;
  /** So many lines are vouched for, by the checkpoint of this time. */
  readonly signed: { readonly count: number; readonly at: number } | undefined;
  readonly gaps: readonly DeclaredGap[];
  readonly gapCount: number;
  readonly notEntries: number;
  /** Checkpoints that a crash cut off, with another sealer going on after it. */
  readonly torn: number;
}

const MOST_GAPS_TOLD = 20;

const HASH_AT = LINE_START.length + '"hash":"'.length;
const HASHED_FROM = LINE_START.length + HASH_FIELD_LENGTH;
const START_BYTES = Buffer.from(LINE_START);
const OPENING = `${LINE_START}"hash":"`;
const HEADER =
  /^\{"chain":\{"hash":"([0-9a-f]{64})","n":([1-9][0-9]{0,14}),"prev":"([0-9a-f]{64})"\},"(entry|note)":\{/;
/** Longer than any header. */
const HEADER_BYTES = 256;

interface Cursor {
  readonly marks: Generator<Mark, undefined>;
  mark: Mark | undefined;
}

interface Overlap {
  readonly index: number;
  /** Of the file, from 1: the first that a later segment has as well. */
  readonly line: number;
  readonly n: number;
}

/**
 * Walks along one chain, line by line, and stops at the first bad one. Memory does not grow with the files: one line
 * is held, and one checkpoint of each file that is still ahead.
 */
export class ChainWalk {
  readonly #directory: ChainDirectory;
  readonly #chain: ChainName;
  readonly #keys: AuditKeys;
  /** Kept elsewhere, with good signatures, by count. */
  readonly #kept: readonly Mark[];
  readonly #tail: string;

  #n = 0;
  #head: string;
  #entries = 0;
  /** Undefined behind a note that this version does not know. */
  #nextSeq: number | undefined = 1;
  #unknownNote: number | undefined;
  #keptIndex = 0;
  #cursors: Cursor[] = [];
  #nextMark = Number.POSITIVE_INFINITY;
  #signed: Mark | undefined;
  /** The newest of those that were kept elsewhere stands here as well. */
  #keptIsHere = false;
  /** The first line that no checkpoint vouches for so far. */
  #unsigned: { file: string; path: string; line: number } | undefined;
  /** Kept elsewhere, and of another history. */
  #fork: Mark | undefined;
  /** So far it was the same. */
  #agreed = 0;
  readonly #known = new KnownCheckpoints();
  readonly #overlaps: Overlap[] = [];
  readonly #gaps: DeclaredGap[] = [];
  #gapCount = 0;
  #notEntries = 0;
  #torn = 0;

  constructor(
    directory: ChainDirectory,
    { chain, keys, kept }: { chain: ChainName; keys: AuditKeys; kept: readonly Mark[] },
  ) {
    this.#directory = directory;
    this.#chain = chain;
    this.#keys = keys;
    this.#kept = kept;
    this.#head = genesisOf(chain);
    this.#tail = `,"tenant":"${tenantOfChain(chain)}"}}`;
  }

  walk(): Walked {
    let finding = this.#meetMarks();
    for (let index = 0; finding === undefined && index < this.#segments.length; index += 1) {
      finding = this.#segment(index);
    }
    finding ??= this.#ending();
    for (const { marks } of this.#cursors) marks.return(undefined);
    return {
      finding,
      lines: this.#n,
      entries: this.#entries,
      signed:
        this.#keys.size === 0
          ? undefined
          : this.#signed && { count: this.#signed.count, at: this.#signed.at },
      gaps: this.#gaps,
      gapCount: this.#gapCount,
      notEntries: this.#notEntries,
      torn: this.#torn,
    };
  }

  get #segments(): readonly Segment[] {
    return this.#directory.segments;
  }

  #segment(index: number): Finding | undefined {
    const segment = this.#segments[index] as Segment;
    const before = this.#segments[index - 1];
    if (before !== undefined && segment.first < before.first) {
      const says = `by their names, ${before.name} was sealed earlier and begins later`;
      return { trouble: 'reordered', says, file: fileOf(segment, 'lines') };
    }
    if (segment.first > this.#n + 1) return this.#nothingUpTo(segment, before);
    const checkpoints = this.#openCheckpoints(segment, index);
    if (checkpoints !== undefined && 'trouble' in checkpoints) return checkpoints;
    const late = checkpoints?.finding;
    if (segment.lines !== undefined) return this.#lines(segment, index) ?? late;
    if (late !== undefined || (checkpoints?.last?.count ?? 0) < segment.first) return late;
    const file = fileOf(segment, 'lines');
    return {
      trouble: 'missing',
      says: 'its checkpoints are here, and the file itself is not',
      n: segment.first,
      file,
    };
  }

  /** The lines before a segment are not where they should be. */
  #nothingUpTo(segment: Segment, before: Segment | undefined): Finding {
    const where = {
      n: this.#n + 1,
      through: segment.first - 1,
      file: fileOf(before ?? segment, 'lines'),
    };
    if (before === undefined) {
      const says = `the chain does not begin at its beginning: the first file begins with line ${segment.first}`;
      return { trouble: 'missing', says, ...where };
    }
    const promised = Math.max(0, ...this.#cursors.map(({ mark }) => mark?.count ?? 0));
    if (promised > this.#n && before.lines !== undefined) {
      const says = `the file ends with line ${this.#n}, and its own checkpoint counts ${promised}`;
      return { trouble: 'truncated', says, ...where };
    }
    const says = `after line ${this.#n}, the next file (${segment.name}) begins with line ${segment.first}`;
    return { trouble: 'missing', says, ...where };
  }

  #openCheckpoints(segment: Segment, index: number): CheckpointFile | Finding | undefined {
    if (segment.checkpoints === undefined) return undefined;
    const read = readCheckpointFile(segment.checkpoints, {
      chain: this.#chain,
      keys: this.#keys,
      known: this.#known,
    });
    if (read.torn && index === this.#segments.length - 1 && read.finding === undefined) {
      const says = 'the file ends in the middle of a checkpoint';
      const finding: Finding = {
        trouble: 'truncated',
        says,
        file: basename(read.path),
        line: read.lines + 1,
      };
      return { ...read, finding };
    }
    if (read.torn) this.#torn += 1;
    if (read.finding !== undefined || read.last === undefined) return read;
    const marks = marksOf(read);
    const mark = marks.next().value;
    if (mark !== undefined && mark.count < segment.first - 1) {
      const says = `it counts ${mark.count} lines, and belongs to an earlier file than this`;
      return { trouble: 'reordered', says, file: mark.file, line: mark.line };
    }
    this.#cursors.push({ marks, mark });
    return this.#meetMarks() ?? read;
  }

  #lines(segment: Segment, index: number): Finding | undefined {
    const path = segment.lines as string;
    const file = basename(path);
    const until = (this.#segments[index + 1]?.first ?? Number.POSITIVE_INFINITY) - 1;
    const reader = openOr(path);
    if (!(reader instanceof LineReader)) return { ...reader, file };
    try {
      for (let kind = reader.next(); kind !== 'end'; kind = reader.next()) {
        if (this.#n >= until) {
          this.#overlaps.push({ index, line: reader.line, n: this.#n + 1 });
          return undefined;
        }
        const at = { n: this.#n + 1, file, line: reader.line };
        if (kind !== 'line') return { ...this.#cutOff(reader, kind), ...at, ...readable(reader) };
        const bad = this.#accept(reader);
        if (bad === 'chain') return this.#misfit(reader, index, at);
        if (bad !== undefined) return { ...bad, ...at, ...readable(reader) };
        this.#unsigned ??= { file, path, line: reader.line };
        if (this.#n >= this.#nextMark) {
          const finding = this.#meetMarks();
          if (finding !== undefined) return finding;
        }
      }
    } finally {
      reader.close();
    }
    return undefined;
  }

  /**
   * Takes the line as the next of the chain. The hash is taken where the line stands: the opening is written over the
   * end of the hash field, so that the hashed bytes lie in one piece.
   */
  #accept(reader: LineReader): 'chain' | Finding | undefined {
    const { buffer, start, end } = reader;
    const n = this.#n + 1;
    const header = `","n":${n},"prev":"${this.#head}"},"`;
    const bodyAt = start + HASH_AT + 64 + header.length;
    if (
      end - start < HEADER_BYTES / 2 ||
      buffer.toString('latin1', start, start + HASH_AT) !== OPENING ||
      buffer.toString('latin1', start + HASH_AT + 64, bodyAt) !== header
    ) {
      return 'chain';
    }
    const claimed = buffer.toString('latin1', start + HASH_AT, start + HASH_AT + 64);
    const digest = hashOf(reader);
    if (digest !== claimed) return 'chain';
    const body = buffer.toString('latin1', bodyAt, bodyAt + 5);
    const wrong = body === 'entry' ? this.#entry(reader) : body === 'note"' ? this.#note(reader) : 'chain';
    if (wrong !== undefined) return wrong;
    this.#n = n;
    this.#head = claimed;
    return undefined;
  }

  #entry({ buffer, start, end }: LineReader): Finding | undefined {
    const tailAt = end - this.#tail.length;
    if (buffer.toString('latin1', tailAt, end) !== this.#tail) {
      return { trouble: 'altered', says: `it is no entry of ${tenantOfChain(this.#chain)}` };
    }
    let digits = tailAt;
    while (digits > start && isDigit(buffer[digits - 1])) digits -= 1;
    const seq = Number(buffer.toString('latin1', digits, tailAt));
    const expected = this.#nextSeq ?? seq;
    if (buffer.toString('latin1', digits - 6, digits) !== '"seq":' || seq !== expected) {
      const says = `entry ${expected} should stand here, and ${seq} does; no note of the sealer tells of a gap`;
      return { trouble: 'missing', says };
    }
    this.#nextSeq = expected + 1;
    this.#entries += 1;
    return undefined;
  }

  #note(reader: LineReader): Finding | undefined {
    const note = Note.safeParse(jsonOf(reader.text())).data?.note;
    if (note === undefined) {
      this.#unknownNote ??= this.#n + 1;
      this.#nextSeq = undefined;
      return undefined;
    }
    if (note.kind === 'not_an_entry') {
      this.#notEntries += 1;
      return undefined;
    }
    if (note.expected !== (this.#nextSeq ?? note.expected)) {
      const says = `entry ${this.#nextSeq} should come here, and the sealer noted a gap from ${note.expected} on`;
      return { trouble: 'missing', says };
    }
    this.#gapCount += 1;
    if (this.#gaps.length < MOST_GAPS_TOLD) {
      this.#gaps.push({ n: this.#n + 1, expected: note.expected, found: note.found });
    }
    this.#nextSeq = note.found;
    return undefined;
  }

  /** A line that is not the next one of the chain: tells why. */
  #misfit(reader: LineReader, index: number, at: { n: number; file: string; line: number }): Finding {
    const entry = readable(reader);
    const frame = frameOf(reader);
    if (frame === undefined) return { trouble: 'altered', says: whyNoFrame(reader), ...at, ...entry };
    const hashed = hashOf(reader);
    if (hashed !== frame.hash) {
      const says = 'the line does not fit its own hash: something in it was changed after it was sealed';
      return { trouble: 'altered', says, ...at, ...entry };
    }
    const tenant = frame.body === 'entry' ? tenantIn(reader) : undefined;
    if (tenant !== undefined && tenant !== tenantOfChain(this.#chain)) {
      const says = `an entry of ${brief(tenant)} stands among those of ${tenantOfChain(this.#chain)}`;
      return { trouble: 'altered', says, ...at, ...entry };
    }
    if (frame.n === at.n) return { ...this.#sinceTheLastMark(at), ...entry };
    if (frame.n < at.n) {
      const says = `line ${frame.n} stands here, and belongs further up`;
      return { trouble: 'reordered', says, ...at, ...entry };
    }
    const later = this.#findLater(reader, index);
    if (later !== undefined) {
      const says = `line ${frame.n} stands here, and line ${at.n} in ${later.file}, line ${later.line}`;
      return { trouble: 'reordered', says, ...at, ...entry };
    }
    const says = `line ${frame.n} stands where line ${at.n} should`;
    return { trouble: 'missing', says, ...at, through: frame.n - 1 };
  }

  /** Lines that fit themselves and not each other: somebody computed hashes anew, and where that began cannot be told. */
  #sinceTheLastMark(at: { n: number; file: string; line: number }): Finding {
    const first = (this.#signed?.count ?? 0) + 1;
    const says = 'the line does not follow the one before it: hashes were computed anew';
    return {
      trouble: 'altered',
      says,
      ...at,
      n: first,
      through: at.n,
      ...(first === at.n ? {} : this.#whereUnsigned()),
    };
  }

  #whereUnsigned(): Pick<Finding, 'file' | 'line' | 'entry'> {
    if (this.#unsigned === undefined) return {};
    const { file, path, line } = this.#unsigned;
    const reader = openOr(path);
    if (!(reader instanceof LineReader)) return { file, line };
    try {
      while (reader.line < line && reader.next() === 'line');
      return { file, line, ...readable(reader) };
    } finally {
      reader.close();
    }
  }

  #findLater(reader: LineReader, index: number): { file: string; line: number } | undefined {
    const header = `","n":${this.#n + 1},"prev":"${this.#head}"},"`;
    const isIt = (at: LineReader) =>
      at.buffer.toString('latin1', at.start + HASH_AT + 64, at.start + HASH_AT + 64 + header.length) ===
        header && frameOf(at)?.hash === hashOf(at);
    const search = (at: LineReader, file: string) => {
      while (at.next() === 'line') if (isIt(at)) return { file, line: at.line };
      return undefined;
    };
    const here = search(reader, fileOf(this.#segments[index] as Segment, 'lines'));
    if (here !== undefined) return here;
    for (const segment of this.#segments.slice(index + 1)) {
      const other = segment.lines === undefined ? undefined : openOr(segment.lines);
      if (!(other instanceof LineReader)) continue;
      try {
        const there = search(other, fileOf(segment, 'lines'));
        if (there !== undefined) return there;
      } finally {
        other.close();
      }
    }
    return undefined;
  }

  /** What stands after the last newline. */
  #cutOff(reader: LineReader, kind: 'rest' | 'too_long'): Finding {
    if (kind === 'too_long')
      return { trouble: 'altered', says: 'no line that the sealer writes is as long as this one' };
    const text = reader.buffer.toString('latin1', reader.start, reader.end);
    const isLine = (line: string) => {
      const claimed = HEADER.exec(line)?.[1];
      return (
        claimed !== undefined && claimed === hash('sha256', Buffer.from(unhashed(line), 'latin1'), 'hex')
      );
    };
    if (isLine(text)) return { trouble: 'truncated', says: 'the newline at the end of the file is gone' };
    if (isLine(text.slice(0, -1)))
      return { trouble: 'altered', says: 'another byte stands in place of its newline' };
    const opening = OPENING.slice(0, text.length);
    if (text.startsWith(opening))
      return { trouble: 'truncated', says: 'the file ends in the middle of this line' };
    return { trouble: 'altered', says: 'what stands at the end of the file is no part of any line' };
  }

  /** Compares with every checkpoint that counts as many lines as there are so far. */
  #meetMarks(): Finding | undefined {
    const n = this.#n;
    for (let kept = this.#kept[this.#keptIndex]; kept?.count === n; kept = this.#kept[this.#keptIndex]) {
      this.#keptIndex += 1;
      if (kept.head !== this.#head) this.#fork ??= kept;
      else if (this.#fork === undefined) this.#agreed = n;
    }
    for (const cursor of this.#cursors) {
      while (cursor.mark?.count === n) {
        if (cursor.mark.head !== this.#head) return this.#mismatch(cursor.mark);
        if (this.#fork !== undefined) return this.#forked(this.#fork, this.#agreed);
        if (cursor.mark.digest === this.#kept.at(-1)?.digest) this.#keptIsHere = true;
        this.#signed = cursor.mark;
        this.#unsigned = undefined;
        cursor.mark = cursor.marks.next().value;
      }
    }
    this.#cursors = this.#cursors.filter(({ mark }) => mark !== undefined);
    this.#nextMark = Math.min(
      this.#kept[this.#keptIndex]?.count ?? Number.POSITIVE_INFINITY,
      ...this.#cursors.map(({ mark }) => mark?.count ?? Number.POSITIVE_INFINITY),
    );
    return undefined;
  }

  #mismatch(mark: Mark): Finding {
    const signedTwice =
      this.#keys.size > 0 &&
      this.#marksOfHere().some(({ count, head }) => count === this.#n && head === this.#head);
    if (signedTwice) return this.#forked(mark, this.#signed?.count ?? 0);
    const n = (this.#signed?.count ?? 0) + 1;
    const says = `the checkpoint in ${mark.file}, line ${mark.line}, vouches for another line ${mark.count} than the one that stands here, though the hashes fit each other: they were computed anew`;
    const where = n <= this.#n ? this.#whereUnsigned() : { file: mark.file, line: mark.line };
    return { trouble: 'altered', says, n: Math.min(n, this.#n), through: this.#n, ...where };
  }

  /** Every checkpoint of the directory that can be read, for the one question whether two were signed. */
  #marksOfHere(): Mark[] {
    const known = new KnownCheckpoints();
    return this.#segments.flatMap(({ checkpoints }) => {
      if (checkpoints === undefined) return [];
      const read = readCheckpointFile(checkpoints, { chain: this.#chain, keys: this.#keys, known });
      return read.finding === undefined ? [...marksOf(read)].filter(({ count }) => count === this.#n) : [];
    });
  }

  #forked(mark: Mark, agreed: number): Finding {
    const says = `two signed checkpoints of ${mark.count} lines disagree: the other one is in ${mark.file}, line ${mark.line}`;
    return { trouble: 'forked', says, n: Math.min(agreed + 1, mark.count), through: mark.count };
  }

  /** Nothing bad was met on the way; is everything there, and does anybody vouch for it? */
  #ending(): Finding | undefined {
    const n = this.#n;
    const promised = this.#cursors.flatMap(({ mark }) => mark ?? []).sort((a, b) => b.count - a.count)[0];
    const last = this.#segments.findLast(({ lines }) => lines !== undefined);
    if (promised !== undefined) {
      const says = `the file ends with line ${n}, and a signed checkpoint counts ${promised.count}`;
      const file = last === undefined ? promised.file : fileOf(last, 'lines');
      return { trouble: 'truncated', says, n: n + 1, through: promised.count, file };
    }
    return this.#rolledBack() ?? this.#overlapping() ?? this.#unvouched();
  }

  #rolledBack(): Finding | undefined {
    const kept = this.#kept.at(-1);
    if (this.#fork !== undefined) {
      const { count, file, line } = this.#fork;
      const says = `the checkpoint that was kept elsewhere (${file}, line ${line}) vouches for another line ${count}`;
      return {
        trouble: 'altered',
        says,
        n: (this.#signed?.count ?? 0) + 1,
        through: count,
        ...this.#whereUnsigned(),
      };
    }
    if (kept === undefined) return undefined;
    if (kept.count > this.#n) {
      const says = `${kept.file}, line ${kept.line}, tells of ${kept.count} lines on ${isoTime(kept.at)}, and here are ${this.#n}`;
      return { trouble: 'rolled_back', says, n: this.#n + 1, through: kept.count };
    }
    if (this.#keptIsHere) return undefined;
    const says = `${kept.file}, line ${kept.line}, of ${isoTime(kept.at)}, is not among the checkpoints here, though the lines that it counts are`;
    return { trouble: 'rolled_back', says };
  }

  /** What a replaced sealer wrote too much must be the very bytes that the next one wrote. */
  #overlapping(): Finding | undefined {
    for (const { index, line, n } of this.#overlaps) {
      const finding = this.#sameAgain(index, line, n);
      if (finding !== undefined) return finding;
    }
    return undefined;
  }

  #sameAgain(index: number, line: number, first: number): Finding | undefined {
    const segment = this.#segments[index] as Segment;
    const file = fileOf(segment, 'lines');
    const old = new LineReader(segment.lines as string);
    const now = this.#readOn(index + 1);
    try {
      while (old.line < line - 1 && old.next() === 'line');
      for (let n = first, kind = old.next(); kind !== 'end'; n += 1, kind = old.next()) {
        const at = { n, file, line: old.line };
        const bytes = old.buffer.subarray(old.start, old.end);
        const same = now.next().value;
        if (same === undefined) {
          const says = 'a replaced sealer wrote this line, and no later one did';
          return { trouble: 'unverifiable', says, ...at, ...readable(old), doThis: WAIT_FOR_SEALER };
        }
        if (kind === 'rest' ? isPrefix(bytes, same) : bytes.equals(same)) continue;
        const frame = kind === 'line' ? frameOf(old) : undefined;
        const genuine = frame !== undefined && frame.hash === hashOf(old);
        const says = genuine
          ? 'two sealers wrote different lines under this number'
          : 'what a replaced sealer left here is not what the next one wrote under this number';
        return { trouble: genuine ? 'forked' : 'altered', says, ...at, ...readable(old) };
      }
    } finally {
      old.close();
      now.return(undefined);
    }
    return undefined;
  }

  /** The lines from a segment's first on, as the chain has them. */
  *#readOn(index: number): Generator<Buffer, undefined> {
    for (let at = index; at < this.#segments.length; at += 1) {
      const segment = this.#segments[at] as Segment;
      const until = this.#segments[at + 1]?.first ?? Number.POSITIVE_INFINITY;
      if (segment.lines === undefined) continue;
      const reader = new LineReader(segment.lines);
      try {
        for (let n = segment.first; n < until && reader.next() === 'line'; n += 1) {
          yield reader.buffer.subarray(reader.start, reader.end);
        }
      } finally {
        reader.close();
      }
    }
  }

  #unvouched(): Finding | undefined {
    if (this.#n === 0) return { trouble: 'unverifiable', says: 'there is not one line in it' };
    if (this.#keys.size === 0) {
      const says =
        'no key was given: the lines fit each other, which whoever wrote all of them anew could bring about as well';
      return {
        trouble: 'unverifiable',
        says,
        doThis:
          'Give the public audit key: --key FILE, from a place that the writer of these files cannot change.',
      };
    }
    const signed = this.#signed?.count ?? 0;
    if (signed === this.#n) return this.#unknown();
    const says =
      signed === 0
        ? `no checkpoint vouches for any of its ${this.#n} lines`
        : `no checkpoint vouches for the lines after ${signed}`;
    return {
      trouble: 'unverifiable',
      says,
      n: signed + 1,
      through: this.#n,
      ...this.#whereUnsigned(),
      doThis: WAIT_FOR_SEALER,
    };
  }

  #unknown(): Finding | undefined {
    if (this.#unknownNote === undefined) return undefined;
    const says = 'it is a note of the sealer that this version of countersign does not know';
    const doThis = 'Verify with the countersign that wrote these files.';
    return { trouble: 'unverifiable', says, n: this.#unknownNote, doThis };
  }
}

const WAIT_FOR_SEALER =
  'If the approval service is running, it is about to sign them: verify again in a few seconds. Else start it; if they are unsigned after that, their checkpoints were removed.';

const Note = z.object({ note: SealNote });

function openOr(path: string): LineReader | Finding {
  try {
    return new LineReader(path);
  } catch (error) {
    if (!(error instanceof NotReadable)) throw error;
    return { trouble: 'unverifiable', says: error.message };
  }
}

/** Of a line whose opening is as it should be; puts back what it wrote over. */
function hashOf({ buffer, start, end }: LineReader): string {
  const at = start + HASHED_FROM - START_BYTES.length;
  const kept = buffer.toString('latin1', at, start + HASHED_FROM);
  START_BYTES.copy(buffer, at);
  const digest = hash('sha256', buffer.subarray(at, end), 'hex');
  buffer.write(kept, at, 'latin1');
  return digest;
}

function unhashed(line: string): string {
  return LINE_START + line.slice(HASHED_FROM);
}

function frameOf({ buffer, start, end }: LineReader) {
  const header = HEADER.exec(buffer.toString('latin1', start, Math.min(end, start + HEADER_BYTES)));
  if (header === null || buffer.toString('latin1', end - 2, end) !== '}}') return undefined;
  const [, hashField = '', n, prev = '', body] = header;
  return { hash: hashField, n: Number(n), prev, body };
}

function whyNoFrame(reader: LineReader): string {
  return (
    oddBytes(reader.end - reader.start > HEADER_BYTES ? edges(reader) : reader.text()) ??
    'this is not a line as the sealer writes it'
  );
}

function edges({ buffer, start, end }: LineReader): string {
  return buffer.toString('utf8', start, start + 8) + buffer.toString('utf8', end - 1, end);
}

function tenantIn(reader: LineReader): string | undefined {
  const { buffer, start, end } = reader;
  return /,"tenant":"([^"\\]{1,100})"\}\}$/.exec(
    buffer.toString('latin1', Math.max(start, end - 128), end),
  )?.[1];
}

const ReadableEntry = z.object({
  entry: z.object({
    seq: z.number().optional().catch(undefined),
    kind: z.string().optional().catch(undefined),
    proposal: z.string().optional().catch(undefined),
  }),
});

/** What a bad line seems to tell of: found by its looks alone where it is no JSON any more. */
function readable({ buffer, start, end }: LineReader): Pick<Finding, 'entry'> {
  const text = buffer.toString('utf8', start, Math.min(end, start + 1024 * 1024));
  const parsed = ReadableEntry.safeParse(jsonOf(text)).data?.entry;
  const seq = parsed?.seq ?? /"seq":([0-9]{1,15})\b/.exec(text)?.[1];
  const kind = parsed?.kind ?? /"kind":"([a-z.]{1,40})"/.exec(text)?.[1];
  const proposal = parsed?.proposal ?? /"(prop_[0-9a-z]{26})"/.exec(text)?.[1];
  if (kind === undefined && proposal === undefined) return {};
  return {
    entry: {
      ...(seq === undefined ? {} : { seq: Number(seq) }),
      ...(kind === undefined ? {} : { kind: brief(kind) }),
      ...(proposal === undefined ? {} : { proposal: brief(proposal) }),
    },
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isPrefix(part: Buffer, whole: Buffer): boolean {
  return part.length <= whole.length && part.equals(whole.subarray(0, part.length));
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57;
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}
