import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { comparePlaces } from '../core/audit/audit-stream.ts';
import { checkpointDigest, parseCheckpoint } from '../core/audit/checkpoint.ts';
import { type ChainName, genesisOf, parseSealedLine, type SealedLine } from '../core/audit/sealed-line.ts';
import {
  CHECKPOINTS_ENDING,
  inSealingOrder,
  LINES_ENDING,
  parseSegmentFile,
  type SegmentName,
  segmentName,
} from '../core/audit/segment-name.ts';
import { AppendFile, syncDirectory } from './append-file.ts';
import { linesBackward } from './lines-backward.ts';

/** A segment that has grown so large is followed by another. */
export const SEGMENT_BYTES = 64 * 1024 * 1024;

/** Where a chain ends, as its files tell. */
export interface ChainEnd {
  readonly count: number;
  readonly head: string;
  /** Of the last entry, or what a gap before it leads up to. */
  readonly seq: number;
  /** Of the last line. */
  readonly place: string | undefined;
  readonly checkpoint: { readonly digest: string; readonly count: number; readonly at: number } | undefined;
  /** Last lines that are none of a sealer's: whatever stood there was altered. */
  readonly unreadable: number;
}

/** One chain's directory, as one sealer sees it: it reads what others wrote, and writes into files of its own fence. */
export class ChainFiles {
  readonly chain: ChainName;
  readonly #directory: string;
  readonly #segments: readonly SegmentName[];
  readonly #segmentBytes: number;
  #lines: AppendFile | undefined;
  #checkpoints: AppendFile | undefined;

  private constructor(
    directory: string,
    { chain, segments, segmentBytes }: { chain: ChainName; segments: SegmentName[]; segmentBytes: number },
  ) {
    this.chain = chain;
    this.#directory = directory;
    this.#segments = segments;
    this.#segmentBytes = segmentBytes;
  }

  /** There is none yet. */
  static begin(root: string, chain: ChainName, segmentBytes = SEGMENT_BYTES): ChainFiles {
    return new ChainFiles(join(root, chain), { chain, segments: [], segmentBytes });
  }

  /** Also where there is none yet. */
  static async open(root: string, chain: ChainName, segmentBytes = SEGMENT_BYTES): Promise<ChainFiles> {
    const directory = join(root, chain);
    const names = await readdir(directory).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    const segments = names
      .flatMap((name) => parseSegmentFile(name) ?? [])
      .flatMap(({ name, holds }) => (holds === 'lines' ? [name] : []))
      .sort(inSealingOrder);
    return new ChainFiles(directory, { chain, segments, segmentBytes });
  }

  /** The newest fence that wrote here. */
  get fence(): number {
    return this.#segments.at(-1)?.fence ?? 0;
  }

  async end(): Promise<ChainEnd> {
    let unreadable = 0;
    let last: SealedLine | undefined;
    for await (const line of this.#linesBackward()) {
      if (line === undefined) {
        if (last === undefined) unreadable += 1;
        continue;
      }
      last ??= line;
      const seq = seqAfter(line);
      if (seq !== undefined) return this.#endAt(last, seq, unreadable);
    }
    return this.#endAt(last, 0, unreadable);
  }

  /** Of the entries and of what is none, of `oldest`'s shard, from there on: what need not be sealed again. */
  async placesSince(oldest: string): Promise<Set<string>> {
    const places = new Set<string>();
    const shard = oldest.slice(0, oldest.indexOf('/') + 1);
    for await (const line of this.#linesBackward()) {
      if (line === undefined) continue;
      const place = placeOf(line);
      if (!place.startsWith(shard) || comparePlaces(place, oldest) < 0) break;
      if ('entry' in line || line.note.kind === 'not_an_entry') places.add(place);
    }
    return places;
  }

  /** @param lines whole ones, the first of them number `first`. On the disk when this resolves. */
  async append(fence: number, first: number, lines: string): Promise<void> {
    if (this.#lines === undefined || this.#lines.size >= this.#segmentBytes)
      await this.#begin({ first, fence });
    await this.#lines?.append(lines);
  }

  /** Beside the newest segment; where this sealer has written no line yet, a segment is begun for it. */
  async appendCheckpoint(fence: number, count: number, line: string): Promise<void> {
    if (this.#checkpoints === undefined) await this.#begin({ first: count + 1, fence });
    await this.#checkpoints?.append(line);
  }

  /** This sealer has written here. */
  get begun(): boolean {
    return this.#lines !== undefined;
  }

  async #begin(segment: SegmentName): Promise<void> {
    if ((await mkdir(this.#directory, { mode: 0o700 }).catch(unlessThere)) !== 'there') {
      await syncDirectory(join(this.#directory, '..'));
    }
    this.#checkpoints = await AppendFile.create(this.#path(segment, CHECKPOINTS_ENDING));
    this.#lines = await AppendFile.create(this.#path(segment, LINES_ENDING));
  }

  #path(segment: SegmentName, ending: string): string {
    return join(this.#directory, `${segmentName(segment)}${ending}`);
  }

  /** From the newest segment to the oldest; undefined for a line that no sealer wrote. */
  async *#linesBackward(): AsyncGenerator<SealedLine | undefined> {
    for (const segment of this.#segments.toReversed()) {
      for await (const line of linesBackward(this.#path(segment, LINES_ENDING))) {
        yield readable(() => parseSealedLine(line));
      }
    }
  }

  async #endAt(last: SealedLine | undefined, seq: number, unreadable: number): Promise<ChainEnd> {
    return {
      count: last?.chain.n ?? 0,
      head: last?.chain.hash ?? genesisOf(this.chain),
      seq,
      place: last === undefined ? undefined : placeOf(last),
      checkpoint: await this.#lastCheckpoint(),
      unreadable,
    };
  }

  async #lastCheckpoint(): Promise<ChainEnd['checkpoint']> {
    for (const segment of this.#segments.toReversed()) {
      const path = this.#path(segment, CHECKPOINTS_ENDING);
      try {
        for await (const line of linesBackward(path)) {
          const signed = readable(() => parseCheckpoint(line));
          if (signed === undefined) continue;
          const { count, at } = signed.checkpoint;
          return { digest: checkpointDigest(line), count, at };
        }
      } catch (error) {
        // A crash between the two files of a segment, or somebody took it away: the verifier says which.
        if (!isMissing(error)) throw error;
      }
    }
    return undefined;
  }
}

function placeOf(line: SealedLine): string {
  return 'entry' in line ? line.entry.place : line.note.place;
}

function seqAfter(line: SealedLine): number | undefined {
  if ('entry' in line) return line.entry.seq;
  return line.note.kind === 'gap' ? line.note.found - 1 : undefined;
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function unlessThere(error: unknown): 'there' {
  if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return 'there';
  throw error;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
