import { readdir } from 'node:fs/promises';
import {
  type AuditStream,
  comparePlaces,
  SEALER_LEASE_MS,
  type SealedChain,
  type SealedShard,
  type StreamItem,
} from '../core/audit/audit-stream.ts';
import {
  type AuditPrivateKey,
  checkpointDigest,
  NO_CHECKPOINT,
  signCheckpoint,
} from '../core/audit/checkpoint.ts';
import { ChainName, chainOf, genesisOf } from '../core/audit/sealed-line.ts';
import { TenantId } from '../core/identity/ids.ts';
import { shardOfTenant } from '../core/proposal/proposal-id.ts';
import { StoreUnavailable } from '../core/proposal/proposal-store.ts';
import { type ChainEnd, ChainFiles } from './chain-files.ts';
import { GrowingChain } from './growing-chain.ts';
import type { UnsealedShards } from './unsealed-shards.ts';

/** Of one round: small enough that clicks in Slack are answered meanwhile. */
const ROUND_ENTRIES = 2_000;
/** With no more than this left, the next round waits: a sync of the disk for every entry would slow everything. */
const SMALL_BACKLOG = 200;
/** Sealed entries that stay in a shard's stream, for people to read. */
export const KEPT_ENTRIES = 10_000;
/** Also where nothing happens: how old a chain's newest checkpoint may be. */
export const IDLE_CHECKPOINT_MS = 10 * 60 * 1000;
/** Chains that are written to at the same time. */
const CHAINS_AT_ONCE = 8;

/** Microseconds, a year: whoever put a file with such a name there is not followed. Nor are such fences in Redis. */
const FAR_AHEAD = 365 * 24 * 60 * 60 * 1_000_000;

/** Where a round stands: after each, a crash must lose nothing and double nothing. */
export type SealingPoint = 'claimed' | 'recovered' | 'read' | 'written' | 'advanced' | 'signed' | 'trimmed';

export type SealingAlarm = 'audit_files_behind' | 'audit_files_differ' | 'audit_lines_unreadable';

export interface SealingOptions {
  readonly stream: AuditStream;
  /** One directory a chain in it. */
  readonly directory: string;
  readonly key: AuditPrivateKey;
  /** Every signed line, newline included. */
  readonly onCheckpoint: (chain: ChainName, line: string) => void;
  readonly onAlarm: (alarm: SealingAlarm, chain: ChainName, facts: Readonly<Record<string, unknown>>) => void;
  /** Is told of shards that cannot be sealed. */
  readonly unsealed: UnsealedShards;
  readonly kept?: number | undefined;
  readonly idleCheckpointMs?: number | undefined;
  readonly leaseMs?: number | undefined;
  readonly roundEntries?: number | undefined;
  readonly segmentBytes?: number | undefined;
  /** For tests that crash or freeze here. */
  readonly reached?: ((point: SealingPoint) => Promise<void>) | undefined;
}

/** Somebody else has the lease: nothing may be written, signed or trimmed any more. */
export class SealerReplaced extends Error {
  override readonly name = 'SealerReplaced';
  readonly code = 'sealer_replaced';
}

/** A shard that was given up can be read again: what its files hold has to be looked at anew, as after a crash. */
export class ShardReadable extends Error {
  override readonly name = 'ShardReadable';
  readonly code = 'shard_readable';
}

/** What this shard holds is none of ours; of the others nothing is known by that. */
class ShardUnfit extends Error {
  override readonly name = 'ShardUnfit';
  override readonly cause: unknown;
  readonly shard: number;

  constructor(shard: number, cause: unknown) {
    super(`shard ${shard} cannot be sealed`);
    this.shard = shard;
    this.cause = cause;
  }
}

interface Chain {
  readonly name: ChainName;
  readonly files: ChainFiles;
  readonly growing: GrowingChain;
  /** The chain's end is as the files have it, and not only as Redis remembers. */
  known: boolean;
  checkpoint: { digest: string; count: number; at: number };
}

interface Shard {
  through: string | undefined;
  /** Ends of rounds, and how many places each of them moved on: what may be trimmed, once enough stands behind it. */
  readonly rounds: { readonly through: string; readonly entries: number }[];
}

/** One sealer's time with the lease, from the claim until it is replaced, fails or stops. */
export class Sealing {
  readonly #options: SealingOptions;
  readonly #fence: number;
  readonly #chains = new Map<ChainName, Chain>();
  /** undefined: it cannot be sealed, and its chains are left as they are. */
  readonly #shards: (Shard | undefined)[] = [];
  #lease: { readonly now: number; readonly since: number };

  private constructor(options: SealingOptions, fence: number, lease: { now: number; since: number }) {
    this.#options = options;
    this.#fence = fence;
    this.#lease = lease;
  }

  /** Takes the lease, and goes on where the files end; undefined: somebody else has it. */
  static async begin(options: SealingOptions): Promise<Sealing | undefined> {
    const { stream } = options;
    for (let above = 0; ; ) {
      const since = performance.now();
      const claimed = await stream.claim(above);
      if (claimed === 'held') return undefined;
      const sealing = new Sealing(options, claimed.fence, { now: claimed.now, since });
      try {
        await options.reached?.('claimed');
        const higher = await sealing.#begin();
        if (higher === undefined) return sealing;
        above = higher;
      } catch (error) {
        await sealing.release();
        throw error;
      }
      await sealing.release();
    }
  }

  /**
   * One round of every shard; true: there is more to seal at once. Answers with what is left as well, where it is known.
   * @param how.last no shard that was given up is looked at again.
   * @throws ShardReadable
   */
  async round({ last = false } = {}): Promise<{ more: boolean; backlog: number }> {
    const { unsealed } = this.#options;
    let [more, backlog] = [false, 0];
    for (const [number, shard] of this.#shards.entries()) {
      if (shard === undefined) {
        if (!last) await this.#lookAgain(number);
        continue;
      }
      const left = await this.#unlessUnfit(() => this.#sealShard(number, shard));
      if (left === undefined) continue;
      unsealed.sealed(number);
      backlog += left;
      more ||= left >= SMALL_BACKLOG;
    }
    await this.#checkpointIdle();
    return { more, backlog };
  }

  /** The last word on every chain that this sealer wrote to. */
  async end(): Promise<void> {
    await this.#sign([...this.#chains.values()].filter(({ files }) => files.begun));
  }

  /** Whoever claims next need not wait. Never fails: the lease lapses by itself. */
  async release(): Promise<void> {
    await this.#options.stream.release(this.#fence).catch(() => {});
  }

  /** @returns a fence that was seen and is not below ours. */
  async #begin(): Promise<number | undefined> {
    const { stream, directory, segmentBytes, reached } = this.#options;
    const remembered = new Map<number, SealedShard>();
    for (let shard = 0; shard < stream.shards; shard += 1) {
      this.#shards.push(undefined);
      const begun = await this.#unlessUnfit(() => this.#of(shard, () => stream.begin(shard, this.#fence)));
      if (begun === undefined) continue;
      if ('higher' in begun) return begun.higher;
      remembered.set(shard, begun);
    }
    // From here on no other sealer can record anything: what the files hold now is what there is.
    const files = await allChainFiles(directory, segmentBytes);
    const newest = Math.max(
      0,
      ...files.map(({ fence }) => fence).filter((fence) => fence < this.#fence + FAR_AHEAD),
    );
    if (newest >= this.#fence) return newest;
    for (const [shard, memory] of remembered) {
      await this.#unlessUnfit(() => this.#recover(shard, memory, files));
    }
    await reached?.('recovered');
    return undefined;
  }

  async #recover(shard: number, memory: SealedShard, all: readonly ChainFiles[]): Promise<void> {
    const { stream, directory, segmentBytes } = this.#options;
    const files = all.filter(({ chain }) => shardOfChain(chain, stream.shards) === shard);
    const missing = [...memory.chains.keys()].filter((name) => !files.some(({ chain }) => chain === name));
    for (const name of missing) files.push(await ChainFiles.open(directory, name, segmentBytes));
    const ends: { files: ChainFiles; end: ChainEnd; behind: boolean }[] = [];
    for (const file of files) {
      await this.#stillMine();
      const end = await file.end();
      ends.push({ files: file, end, behind: this.#compare(file.chain, end, memory.chains.get(file.chain)) });
    }
    const through = ends.some(({ behind }) => behind) ? memory.through : earlier(shard, memory.through, ends);
    const [oldest] = await this.#of(shard, () => stream.read(shard, through, 1));
    for (const { files: file, end, behind } of ends) {
      const remembered = memory.chains.get(file.chain);
      const places = oldest === undefined ? new Set<string>() : await file.placesSince(oldest.place);
      this.#chains.set(file.chain, {
        name: file.chain,
        files: file,
        growing: new GrowingChain(behind && remembered ? remembered : end, places),
        known: !behind,
        checkpoint: end.checkpoint ?? { digest: NO_CHECKPOINT, count: 0, at: 0 },
      });
    }
    this.#shards[shard] = { through, rounds: [] };
  }

  /** True: the files end before what was sealed. They were cut, restored, or are those of another machine. */
  #compare(chain: ChainName, end: ChainEnd, remembered: SealedChain | undefined): boolean {
    const { onAlarm } = this.#options;
    if (end.unreadable > 0) onAlarm('audit_lines_unreadable', chain, { lines: end.unreadable });
    const sealed = Math.max(remembered?.count ?? 0, end.checkpoint?.count ?? 0);
    if (sealed > end.count) onAlarm('audit_files_behind', chain, { sealed, inTheFiles: end.count });
    if (remembered === undefined || remembered.count < end.count) return false;
    if (remembered.count > end.count) return true;
    if (remembered.head !== end.head) onAlarm('audit_files_differ', chain, { line: end.count });
    return false;
  }

  /**
   * One shard's answer. That the store is away concerns all of them, and so does the lease, which is no shard's; whatever
   * else goes wrong concerns this one.
   */
  async #of<T>(shard: number, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw error instanceof StoreUnavailable ? error : new ShardUnfit(shard, error);
    }
  }

  /** undefined: the shard cannot be sealed, and the others go on without it. @throws the cause, where there is no other. */
  async #unlessUnfit<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ShardUnfit)) throw error;
      const { shard, cause } = error;
      const { stream, unsealed } = this.#options;
      if (stream.shards === 1) throw cause;
      unsealed.failed(shard, cause);
      this.#shards[shard] = undefined;
      // Lines may be in the files that are recorded nowhere: as they are here, nothing may be signed of them.
      for (const name of this.#chains.keys()) {
        if (shardOfChain(name, stream.shards) === shard) this.#chains.delete(name);
      }
      return undefined;
    }
  }

  async #lookAgain(shard: number): Promise<void> {
    const { stream, unsealed } = this.#options;
    if (!unsealed.isDue(shard)) return;
    await this.#stillMine();
    const readable = await this.#unlessUnfit(() =>
      this.#of(shard, async () => {
        await stream.begin(shard, this.#fence);
        await stream.read(shard, undefined, 1);
        return true;
      }),
    );
    if (readable) throw new ShardReadable(`shard ${shard} can be read again`);
  }

  /** Answers with how much is left. */
  async #sealShard(number: number, shard: Shard): Promise<number> {
    const { stream, roundEntries = ROUND_ENTRIES, reached } = this.#options;
    await this.#stillMine();
    const items = await this.#of(number, () => stream.read(number, shard.through, roundEntries));
    const last = items.at(-1);
    if (last === undefined) return 0;
    await reached?.('read');

    const touched = new Set<Chain>();
    for (const item of items) touched.add(this.#add(number, item));
    await eachOf([...touched], (chain) => this.#write(chain));
    await reached?.('written');

    const chains = new Map([...touched].map(({ name, growing }) => [name, growing.end]));
    const through = last.place;
    const sealed = { through, entries: items.length, chains };
    const advanced = await this.#of(number, () => stream.advance(number, this.#fence, sealed));
    if (advanced === 'replaced') throw new SealerReplaced('another sealer has taken over');
    shard.through = through;
    shard.rounds.push({ through, entries: items.length });
    await reached?.('advanced');

    await this.#sign([...touched].filter(isUnsigned));
    await reached?.('signed');
    await this.#trim(number, shard);
    return advanced.backlog;
  }

  #add(shard: number, item: StreamItem): Chain {
    if (item.entry !== undefined) {
      const own = this.#chain(chainOf(item.entry.tenant, shard));
      if (own.growing.addEntry(item.entry)) return own;
    }
    const common = this.#chain(chainOf('-', shard));
    common.growing.addOther(item);
    return common;
  }

  /** Nothing is read here: what is new to a sealer that was frozen may have been sealed by another meanwhile. */
  #chain(name: ChainName): Chain {
    const known = this.#chains.get(name);
    if (known !== undefined) return known;
    const { directory, segmentBytes } = this.#options;
    const made: Chain = {
      name,
      files: ChainFiles.begin(directory, name, segmentBytes),
      growing: new GrowingChain({ count: 0, head: genesisOf(name), seq: 0 }, new Set()),
      known: true,
      checkpoint: { digest: NO_CHECKPOINT, count: 0, at: 0 },
    };
    this.#chains.set(name, made);
    return made;
  }

  async #write(chain: Chain): Promise<void> {
    const lines = chain.growing.takeLines();
    if (lines === undefined) return;
    await chain.files.append(this.#fence, lines.first, lines.text);
    chain.known = true;
  }

  /** Whoever was replaced meanwhile finds out here, at the latest; what is signed has been recorded before. */
  async #sign(chains: readonly Chain[]): Promise<void> {
    if (chains.length === 0) return;
    await this.#stillMine();
    await eachOf(chains, async (chain) => {
      const { key, onCheckpoint } = this.#options;
      const { count, head } = chain.growing.end;
      const at = this.#now();
      const line = signCheckpoint(key, { at, chain: chain.name, count, head, prev: chain.checkpoint.digest });
      await chain.files.appendCheckpoint(this.#fence, count, line);
      chain.checkpoint = { digest: checkpointDigest(line.slice(0, -1)), count, at };
      onCheckpoint(chain.name, line);
    });
  }

  async #checkpointIdle(): Promise<void> {
    const { idleCheckpointMs = IDLE_CHECKPOINT_MS } = this.#options;
    const before = this.#now() - idleCheckpointMs;
    await this.#sign(
      [...this.#chains.values()].filter(
        (chain) =>
          chain.known && chain.growing.end.count > 0 && (isUnsigned(chain) || chain.checkpoint.at <= before),
      ),
    );
  }

  async #trim(number: number, { rounds }: Shard): Promise<void> {
    const { stream, kept = KEPT_ENTRIES, reached } = this.#options;
    let behind = rounds.reduce((sum, { entries }) => sum + entries, 0);
    let place: string | undefined;
    for (let oldest = rounds[0]; oldest && behind - oldest.entries >= kept; oldest = rounds[0]) {
      behind -= oldest.entries;
      place = oldest.through;
      rounds.shift();
    }
    if (place === undefined) return;
    const before = place;
    const trimmed = await this.#of(number, () => stream.trim(number, this.#fence, before));
    if (trimmed === 'replaced') {
      throw new SealerReplaced('another sealer has taken over');
    }
    await reached?.('trimmed');
  }

  async #stillMine(): Promise<void> {
    const { stream, leaseMs = SEALER_LEASE_MS } = this.#options;
    const since = performance.now();
    if (since - this.#lease.since < leaseMs / 3) return;
    const renewed = await stream.renew(this.#fence);
    if (renewed === 'replaced') throw new SealerReplaced('another sealer has taken over');
    this.#lease = { now: renewed.now, since };
  }

  /** Redis's clock, as entries have it. */
  #now(): number {
    return Math.round(this.#lease.now + performance.now() - this.#lease.since);
  }
}

function isUnsigned({ growing, checkpoint }: Chain): boolean {
  return checkpoint.count !== growing.end.count;
}

async function allChainFiles(directory: string, segmentBytes?: number): Promise<ChainFiles[]> {
  const names = await readdir(directory);
  const chains = names.flatMap((name) => ChainName.safeParse(name).data ?? []);
  const files: ChainFiles[] = [];
  for (const chain of chains) files.push(await ChainFiles.open(directory, chain, segmentBytes));
  return files;
}

function shardOfChain(chain: ChainName, shards: number): number {
  const tenant = TenantId.safeParse(chain);
  return tenant.success ? shardOfTenant(tenant.data, shards) : Number(chain.slice('_s'.length));
}

/**
 * Where to read on. What Redis remembers is not believed further than the files go, as long as they hold all that it
 * remembers: whoever writes there could have entries passed over.
 */
function earlier(
  shard: number,
  remembered: string | undefined,
  ends: readonly { readonly end: ChainEnd }[],
): string | undefined {
  if (remembered === undefined) return undefined;
  const places = ends.flatMap(({ end }) => (end.place?.startsWith(`s${shard}/`) ? [end.place] : []));
  const newest = places.sort(comparePlaces).at(-1);
  if (newest === undefined) return undefined;
  return comparePlaces(newest, remembered) < 0 ? newest : remembered;
}

/** Every one, a few at a time. The first failure ends it, once those that were begun have ended. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const workers = Array.from({ length: Math.min(CHAINS_AT_ONCE, items.length) }, async () => {
    for (const item of queue) await work(item);
  });
  const failed = (await Promise.allSettled(workers)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
