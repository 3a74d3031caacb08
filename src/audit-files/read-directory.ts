import { type Dirent, lstatSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ChainName } from '../core/audit/sealed-line.ts';
import {
  CHECKPOINTS_ENDING,
  inSealingOrder,
  LINES_ENDING,
  parseSegmentFile,
  type SegmentName,
  segmentName,
} from '../core/audit/segment-name.ts';
import { NotReadable } from './read-lines.ts';

export interface Segment extends SegmentName {
  /** Without an ending. */
  readonly name: string;
  readonly lines: string | undefined;
  readonly checkpoints: string | undefined;
}

export interface ChainDirectory {
  readonly path: string;
  /** In the order in which they were sealed. */
  readonly segments: readonly Segment[];
  /** Names of what the sealer did not put there. */
  readonly strays: readonly string[];
}

/** @throws NotReadable */
export function readChainDirectory(path: string): ChainDirectory {
  const found = new Map<string, { name: SegmentName; lines?: string; checkpoints?: string }>();
  const strays: string[] = [];
  for (const { name: file } of entriesOf(path)) {
    const parsed = parseSegmentFile(file);
    if (parsed === undefined) {
      strays.push(file);
      continue;
    }
    const name = segmentName(parsed.name);
    const segment = found.get(name) ?? { name: parsed.name };
    segment[parsed.holds] = join(path, file);
    found.set(name, segment);
  }
  const segments = [...found.entries()]
    .map(([name, { name: parts, lines, checkpoints }]) => ({ ...parts, name, lines, checkpoints }))
    .sort(inSealingOrder);
  return { path, segments, strays: strays.sort() };
}

/** The chains in an audit directory; undefined where the directory is one chain's own. */
export function chainsIn(path: string): { chains: string[]; strays: string[] } | undefined {
  const entries = entriesOf(path);
  if (entries.some(({ name }) => parseSegmentFile(name) !== undefined)) return undefined;
  const named = (wanted: (entry: Dirent) => boolean) =>
    entries
      .filter(wanted)
      .map(({ name }) => name)
      .sort();
  // What a link or a strange name might hide must not be passed over in silence: it is verified, and fails.
  const isChain = (entry: Dirent) =>
    entry.isSymbolicLink() ||
    (entry.isDirectory() &&
      (ChainName.safeParse(entry.name).success || holdsSegments(join(path, entry.name))));
  return { chains: named(isChain), strays: named((entry) => !isChain(entry)) };
}

function holdsSegments(path: string): boolean {
  return entriesOf(path).some(({ name }) => parseSegmentFile(name) !== undefined);
}

/** @throws NotReadable */
export function entriesOf(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : '';
    const what = {
      ENOENT: 'it is not there',
      ENOTDIR: 'it is no directory',
      EACCES: 'this user may not read it',
    };
    throw new NotReadable(what[code as keyof typeof what] ?? `it cannot be read (${code})`, { cause, path });
  }
}

export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

export function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

/** The file in which a segment's lines or checkpoints stand, or would. */
export function fileOf(segment: Segment, holds: 'lines' | 'checkpoints'): string {
  return segment.name + (holds === 'lines' ? LINES_ENDING : CHECKPOINTS_ENDING);
}
