/**
 * A segment of a chain is two files: `000000000001-1700000000000000.jsonl` with its lines, and the same name with
 * `.checkpoints.jsonl`. `first` is the number of its first line, `fence` the fencing token of the sealer that began it.
 */
export interface SegmentName {
  readonly first: number;
  readonly fence: number;
}

export const LINES_ENDING = '.jsonl';
export const CHECKPOINTS_ENDING = '.checkpoints.jsonl';

/** Without an ending. */
export function segmentName({ first, fence }: SegmentName): string {
  return `${String(first).padStart(12, '0')}-${String(fence).padStart(16, '0')}`;
}

/** What a file of a chain's directory is, or undefined for a file that is none of the sealer's. */
export function parseSegmentFile(
  fileName: string,
): { readonly name: SegmentName; readonly holds: 'lines' | 'checkpoints' } | undefined {
  const match = /^([0-9]{12})-([0-9]{16})(\.checkpoints)?\.jsonl$/.exec(fileName);
  if (match === null) return undefined;
  const name = { first: Number(match[1]), fence: Number(match[2]) };
  // A fence is microseconds: below 2^53 until the year 2255.
  if (name.first < 1 || !Number.isSafeInteger(name.fence)) return undefined;
  return { name, holds: match[3] === undefined ? 'lines' : 'checkpoints' };
}

/** The order in which a chain is read: the later sealer wins where two overlap. */
export function inSealingOrder(a: SegmentName, b: SegmentName): number {
  return a.fence - b.fence || a.first - b.first;
}
