import { basename } from 'node:path';
import { z } from 'zod';
import {
  type AuditPublicKey,
  type Checkpoint,
  CheckpointInvalid,
  checkpointDigest,
  checkpointIsGenuine,
  NO_CHECKPOINT,
  parseCheckpoint,
  type SignedCheckpoint,
} from '../core/audit/checkpoint.ts';
import type { ChainName } from '../core/audit/sealed-line.ts';
import { brief } from '../core/tool/visible-text.ts';
import { LineReader, linesOf, NotReadable } from './read-lines.ts';
import type { Finding } from './verify-finding.ts';

/** By the id under which checkpoints name them. */
export type AuditKeys = ReadonlyMap<string, AuditPublicKey>;

/** A checkpoint as the walk along a chain meets it. */
export interface Mark {
  readonly count: number;
  readonly head: string;
  readonly at: number;
  /** Of the whole line. */
  readonly digest: string;
  readonly file: string;
  readonly line: number;
}

/** What a segment's file of checkpoints holds, read to its end. */
export interface CheckpointFile {
  readonly path: string;
  readonly lines: number;
  readonly last: Checkpoint | undefined;
  /** Ends in the middle of a line. */
  readonly torn: boolean;
  readonly finding: Finding | undefined;
}

/**
 * Which checkpoint the first one of a file may follow: the last of an earlier file, or the one before that, since a
 * replaced sealer may sign what it had sealed after the next one began.
 */
export class KnownCheckpoints {
  readonly #digests = new Set([NO_CHECKPOINT]);
  #empty = true;
  torn = false;

  has(prev: string): boolean {
    return this.#digests.has(prev);
  }

  add(last: { digest: string; prev: string }): void {
    if (this.#empty) this.#digests.clear();
    this.#empty = false;
    this.#digests.add(last.digest).add(last.prev);
  }
}

/**
 * Each checkpoint carries the digest of the one before, so that the signature of the last one of a file stands for
 * all of them.
 */
export function readCheckpointFile(
  path: string,
  { chain, keys, known }: { chain: ChainName; keys: AuditKeys; known: KnownCheckpoints },
): CheckpointFile {
  const file = basename(path);
  let before: { text: string; read: SignedCheckpoint; digest: string } | undefined;
  let lines = 0;
  let torn = false;
  const done = (finding?: Finding): CheckpointFile => {
    known.torn = torn;
    if (before !== undefined) known.add({ digest: before.digest, prev: before.read.checkpoint.prev });
    return { path, lines, last: before?.read.checkpoint, torn, finding };
  };
  let reader: LineReader;
  try {
    reader = new LineReader(path);
  } catch (error) {
    if (!(error instanceof NotReadable)) throw error;
    return done({ trouble: 'unverifiable', says: error.message, file });
  }
  try {
    for (let kind = reader.next(); kind !== 'end'; kind = reader.next()) {
      if (kind !== 'line') {
        torn = true;
        break;
      }
      const at = { file, line: reader.line };
      const text = reader.text();
      const read = readOne(text);
      if ('trouble' in read) return done({ ...read, ...at });
      const { checkpoint } = read;
      if (checkpoint.chain !== chain) {
        return done({
          trouble: 'altered',
          says: `this is a checkpoint of the chain ${checkpoint.chain}`,
          ...at,
        });
      }
      const follows = before === undefined ? known.has(checkpoint.prev) : checkpoint.prev === before.digest;
      if (!follows)
        return done({ ...brokenLink({ path, keys, known, before, read }), ...whereBroken(at, before, keys) });
      if (before !== undefined && checkpoint.count < before.read.checkpoint.count) {
        const says = `it counts ${checkpoint.count} lines, and the one before it counted more`;
        return done({ trouble: 'reordered', says, ...at });
      }
      before = { text, read, digest: checkpointDigest(text) };
      lines = reader.line;
    }
  } finally {
    reader.close();
  }
  const unsigned = before === undefined ? undefined : whyNotGenuine(before.read, keys);
  if (unsigned === undefined) return done();
  return done({ trouble: 'unverifiable', says: unsigned, file, line: lines, doThis: ASK_FOR_KEY });
}

/** The marks of a file that was read to its end; none that was added since. */
export function* marksOf({ path, lines }: CheckpointFile): Generator<Mark, undefined> {
  const file = basename(path);
  let line = 0;
  for (const text of linesOf(path)) {
    line += 1;
    if (line > lines) return;
    const { count, head, at } = parseCheckpoint(text).checkpoint;
    yield { count, head, at, digest: checkpointDigest(text), file, line };
  }
}

/** Undefined for a genuine one. Without any key nothing is judged here; the chain as a whole is unverifiable then. */
export function whyNotGenuine(signed: SignedCheckpoint, keys: AuditKeys): string | undefined {
  if (keys.size === 0) return undefined;
  const id = signed.checkpoint.key;
  const key = keys.get(id);
  if (key === undefined) {
    return `it is signed with the key ${id}, and you gave ${[...keys.keys()].join(', ')}`;
  }
  return checkpointIsGenuine(key, signed) ? undefined : `its signature is not that of the key ${id}`;
}

export const ASK_FOR_KEY =
  'Give every public audit key that was ever used, from a place that the writer of these files cannot change: --key may be repeated. If none of yours fits, somebody else signed this.';

const OtherVersion = z.object({ checkpoint: z.object({ version: z.unknown() }) });

export function readOne(text: string): SignedCheckpoint | Finding {
  try {
    return parseCheckpoint(text);
  } catch (error) {
    if (!(error instanceof CheckpointInvalid)) throw error;
  }
  const odd = oddBytes(text);
  if (odd !== undefined) return { trouble: 'altered', says: odd };
  try {
    const { version } = OtherVersion.parse(JSON.parse(text)).checkpoint;
    if (version !== 1) {
      const says = `it is of version ${brief(JSON.stringify(version) ?? 'none')}, and this countersign reads version 1`;
      return { trouble: 'unverifiable', says, doThis: 'Verify with the countersign that wrote these files.' };
    }
  } catch {
    // Then it is not even near to a checkpoint.
  }
  return { trouble: 'altered', says: 'this line is not a checkpoint as the sealer writes it' };
}

/** What editors and copying between systems do to files, in words. */
export function oddBytes(text: string): string | undefined {
  if (text === '') return 'this line is blank';
  if (text.startsWith('\ufeff')) return 'the file begins with a byte order mark, as some editors add it';
  if (text.endsWith('\r'))
    return 'the line ends with a carriage return, as some editors and transfers add it';
  return undefined;
}

function brokenLink({
  path,
  keys,
  known,
  before,
  read,
}: {
  path: string;
  keys: AuditKeys;
  known: KnownCheckpoints;
  before: { read: SignedCheckpoint } | undefined;
  read: SignedCheckpoint;
}): Finding {
  if (before !== undefined && whyNotGenuine(before.read, keys) !== undefined) {
    return {
      trouble: 'altered',
      says: 'the next checkpoint does not follow it, and its signature does not hold',
    };
  }
  if (whyNotGenuine(read, keys) !== undefined) {
    return { trouble: 'altered', says: 'it does not follow the one before, and its signature does not hold' };
  }
  for (const text of linesOf(path)) {
    if (checkpointDigest(text) === read.checkpoint.prev) {
      return { trouble: 'reordered', says: 'the checkpoint that it follows stands elsewhere in this file' };
    }
  }
  if (before === undefined && known.torn) {
    return {
      trouble: 'truncated',
      says: 'the checkpoint that it follows was cut off at the end of the file before',
    };
  }
  return { trouble: 'missing', says: 'the checkpoint that it follows is not there' };
}

function whereBroken(
  at: { file: string; line: number },
  before: { read: SignedCheckpoint } | undefined,
  keys: AuditKeys,
): { file: string; line: number } {
  const earlier = before !== undefined && whyNotGenuine(before.read, keys) !== undefined;
  return earlier ? { ...at, line: at.line - 1 } : at;
}
