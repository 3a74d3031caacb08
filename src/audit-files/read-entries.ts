import { join } from 'node:path';
import { z } from 'zod';
import { AuditEntry } from '../core/audit/audit-entry.ts';
import { ChainName } from '../core/audit/sealed-line.ts';
import { chainsIn, fileOf, readChainDirectory, type Segment } from './read-directory.ts';
import { linesOf, NotReadable } from './read-lines.ts';

export interface FoundEntry {
  readonly chain: string;
  /** The line of the chain. */
  readonly n: number;
  readonly entry: AuditEntry;
}

const EntryLine = z.object({ chain: z.object({ n: z.int().positive() }), entry: AuditEntry });
const NoteLine = z.object({ note: z.unknown() });

export interface Unread {
  readonly file: string;
  readonly line: number;
}

/**
 * The entries of one chain, oldest first, as they stand there: nothing is verified here.
 * @param onUnread is told of every line that cannot be read.
 */
export function* entriesOfChain(directory: string, onUnread: (line: Unread) => void): Generator<FoundEntry> {
  const { segments } = readChainDirectory(directory);
  for (const index of segments.keys()) yield* entriesOfSegment(segments, index, onUnread);
}

/** The newest entries of each chain that are wanted, at most `limit` of them in all, oldest first. */
export function newestEntries(
  directory: string,
  wanted: {
    readonly tenant?: string | undefined;
    readonly proposal?: string | undefined;
    readonly limit: number;
  },
  onUnread: (line: Unread) => void,
): AuditEntry[] {
  const found = chainDirectories(directory, wanted.tenant).flatMap((path) => {
    const { segments } = readChainDirectory(path);
    let newest: AuditEntry[] = [];
    for (let index = segments.length - 1; index >= 0 && newest.length < wanted.limit; index -= 1) {
      const here: AuditEntry[] = [];
      for (const { entry } of entriesOfSegment(segments, index, onUnread)) {
        if (wanted.tenant !== undefined && entry.tenant !== wanted.tenant) continue;
        if (wanted.proposal === undefined || entry.proposal === wanted.proposal) here.push(entry);
        if (here.length >= wanted.limit * 2) here.splice(0, wanted.limit);
      }
      newest = [...here, ...newest].slice(-wanted.limit);
    }
    return newest;
  });
  return found.sort((a, b) => a.at - b.at).slice(-wanted.limit);
}

/**
 * The directories of the chains in an audit, or the directory itself where it is one chain's.
 * @param tenant leaves out the chains of others. @throws NotReadable
 */
export function chainDirectories(directory: string, tenant?: string): string[] {
  const found = chainsIn(directory);
  if (found === undefined) return [directory];
  const chains = found.chains.filter((name) => ChainName.safeParse(name).success);
  if (chains.length === 0) throw new NotReadable('there is no audit in it', { path: directory });
  const isIts = (name: string) =>
    tenant === undefined || (tenant === '-' ? name.startsWith('_s') : name === tenant);
  return chains.filter(isIts).map((name) => join(directory, name));
}

/** Where a replaced sealer wrote too much, the next segment has it. */
function* entriesOfSegment(
  segments: readonly Segment[],
  index: number,
  onUnread: (line: Unread) => void,
): Generator<FoundEntry> {
  const segment = segments[index];
  if (segment?.lines === undefined) return;
  const until = segments[index + 1]?.first ?? Number.POSITIVE_INFINITY;
  let line = 0;
  for (const text of linesOf(segment.lines)) {
    line += 1;
    if (segment.first + line > until) return;
    const json = jsonOf(text);
    const read = EntryLine.safeParse(json).data;
    if (read === undefined) {
      if (!NoteLine.safeParse(json).success) onUnread({ file: fileOf(segment, 'lines'), line });
      continue;
    }
    yield { chain: read.entry.tenant, n: read.chain.n, entry: read.entry };
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
