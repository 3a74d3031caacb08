import type { AuditEntry } from './audit-entry.ts';
import type { ChainName } from './sealed-line.ts';

/** How long a sealer that says nothing keeps the lease. Somebody else seals after that. */
export const SEALER_LEASE_MS = 10_000;

/** With so many unsealed entries in a shard, no proposal is taken there: what cannot be sealed must not go on growing. */
export const AUDIT_BACKLOG_MAX = 250_000;

/** What stands at a place of a shard's stream. */
export interface StreamItem {
  readonly place: string;
  /** As they stand there, names and values in turn. */
  readonly fields: readonly string[];
  /** undefined: they are nothing that Countersign wrote. */
  readonly entry: AuditEntry | undefined;
}

/** How far a chain has been sealed: lines, the hash of the last one, and the `seq` of its last entry. */
export interface SealedChain {
  readonly count: number;
  readonly head: string;
  readonly seq: number;
}

/** What a shard remembers of its sealing. */
export interface SealedShard {
  /** Everything up to and with this place is sealed; undefined: nothing, or it was forgotten. */
  readonly through: string | undefined;
  readonly chains: ReadonlyMap<ChainName, SealedChain>;
}

export type Replaced = 'replaced';

/**
 * The streams into which every transition writes its entry, as the one that seals them sees them. One sealer works at
 * a time: it claims a lease and is given a fence, higher than every one before. Whatever comes with a lower fence than a
 * shard has seen changes nothing: a sealer that was frozen while another took over is told so, however long it slept.
 */
export interface AuditStream {
  readonly shards: number;
  /** `held`: by somebody else. The fence is above `above`, and every fence that the store remembers. */
  claim(above: number): Promise<{ readonly fence: number; readonly now: number } | 'held'>;
  /** For SEALER_LEASE_MS from now. Also a lease that lapsed, as long as nobody else has taken it. */
  renew(fence: number): Promise<{ readonly now: number } | Replaced>;
  /** The next claim wins at once. */
  release(fence: number): Promise<void>;
  /** From here on the shard refuses every lower fence. `higher`: one that it has seen. */
  begin(shard: number, fence: number): Promise<SealedShard | { readonly higher: number }>;
  /** Oldest first, behind `after`; all from the beginning where it is undefined. As many as fit into one answer. */
  read(shard: number, after: string | undefined, limit: number): Promise<StreamItem[]>;
  /** Records what is in the files. `entries`: how many places of the stream that is. Answers with what is left unsealed. */
  advance(
    shard: number,
    fence: number,
    sealed: { through: string; entries: number; chains: ReadonlyMap<ChainName, SealedChain> },
  ): Promise<{ readonly backlog: number } | Replaced>;
  /** Forgets what lies before `place`, which has to be sealed and behind a checkpoint. */
  trim(shard: number, fence: number, place: string): Promise<{ readonly removed: number } | Replaced>;
}

/** `s0/1700000000000-0`: two shards may give the same id in the same millisecond. */
export function placeIn(shard: number, id: string): string {
  return `s${shard}/${id}`;
}

/** @throws RangeError */
export function idOfPlace(shard: number, place: string): string {
  const prefix = `s${shard}/`;
  if (!place.startsWith(prefix)) throw new RangeError(`${place} is no place of shard ${shard}`);
  return place.slice(prefix.length);
}

/** Negative where `a` stands before `b`; both of one shard. The parts go up to 2^64, which a double does not hold. */
export function comparePlaces(a: string, b: string): number {
  const [aMs, aSeq] = partsOf(a);
  const [bMs, bSeq] = partsOf(b);
  if (aMs !== bMs) return aMs < bMs ? -1 : 1;
  return aSeq === bSeq ? 0 : aSeq < bSeq ? -1 : 1;
}

function partsOf(place: string): [bigint, bigint] {
  const [, ms, seq] = /\/(\d{1,20})-(\d{1,20})$/.exec(place) ?? [];
  if (ms === undefined || seq === undefined) throw new RangeError(`${place} is no place`);
  return [BigInt(ms), BigInt(seq)];
}
