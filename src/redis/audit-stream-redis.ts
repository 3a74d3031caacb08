import { z } from 'zod';
import type { AuditEntry } from '../core/audit/audit-entry.ts';
import {
  type AuditStream,
  idOfPlace,
  placeIn,
  type Replaced,
  SEALER_LEASE_MS,
  type SealedChain,
  type SealedShard,
  type StreamItem,
} from '../core/audit/audit-stream.ts';
import { ChainName } from '../core/audit/sealed-line.ts';
import { TenantId } from '../core/identity/ids.ts';
import { shardOfTenant } from '../core/proposal/proposal-id.ts';
import type { RedisClient } from './connection.ts';
import { Scripts } from './scripts.ts';
import { StreamPage, storedAuditEntry } from './stored-audit-entry.ts';

/** Of one answer: entries of any size are read, none of them too late for the time that an answer has. */
const ANSWER_BYTES = 8 * 1024 * 1024;

const ELECTION_SHARD = 0;

export class AuditStreamRedis implements AuditStream {
  readonly shards: number;
  readonly #scripts: Scripts;
  readonly #leaseMs: number;

  /** @param options.replicas how many of a master's have to hold entries before they are read. Default 0. */
  constructor(options: { redis: RedisClient; shards: number; replicas?: number; leaseMs?: number }) {
    this.shards = options.shards;
    this.#scripts = new Scripts(options.redis, options.replicas);
    this.#leaseMs = options.leaseMs ?? SEALER_LEASE_MS;
  }

  async claim(above: number): Promise<{ fence: number; now: number } | 'held'> {
    const ask = { above: String(above), lifeMs: this.#leaseMs };
    const reply = ClaimReply.parse(await this.#scripts.run('sealClaim', { shard: ELECTION_SHARD, ask }));
    return reply[0] === 'held' ? 'held' : { fence: reply[1], now: reply[2] };
  }

  async renew(fence: number): Promise<{ now: number } | Replaced> {
    return this.#renew(fence, this.#leaseMs);
  }

  async release(fence: number): Promise<void> {
    await this.#renew(fence, 0);
  }

  async begin(shard: number, fence: number): Promise<SealedShard | { higher: number }> {
    const ask = { fence: String(fence) };
    const reply = BeginReply.parse(await this.#scripts.run('sealBegin', { shard, ask }));
    return reply[0] === 'replaced' ? { higher: reply[1] } : sealedShardOf(shard, reply[1]);
  }

  async read(shard: number, after: string | undefined, limit: number): Promise<StreamItem[]> {
    const ask = {
      after: after === undefined ? '0-0' : idOfPlace(shard, after),
      entries: limit,
      bytes: ANSWER_BYTES,
    };
    const page = StreamPage.parse(await this.#scripts.run('sealRead', { shard, ask }));
    return page.map(([id, fields]) => this.#itemOf(shard, id, fields));
  }

  async advance(
    shard: number,
    fence: number,
    sealed: { through: string; entries: number; chains: ReadonlyMap<ChainName, SealedChain> },
  ): Promise<{ backlog: number } | Replaced> {
    const { through, entries, chains } = sealed;
    const ask = { fence: String(fence), through: idOfPlace(shard, through), entries };
    const texts = [...chains].flatMap(([name, { count, head, seq }]) => [name, `${count} ${head} ${seq}`]);
    const reply = AdvanceReply.parse(await this.#scripts.run('sealAdvance', { shard, ask, texts }));
    return reply[0] === 'replaced' ? 'replaced' : { backlog: reply[1] };
  }

  async trim(shard: number, fence: number, place: string): Promise<{ removed: number } | Replaced> {
    const ask = { fence: String(fence), before: idOfPlace(shard, place) };
    const reply = TrimReply.parse(await this.#scripts.run('sealTrim', { shard, ask }));
    return reply[0] === 'replaced' ? 'replaced' : { removed: reply[1] };
  }

  async #renew(fence: number, lifeMs: number): Promise<{ now: number } | Replaced> {
    const ask = { fence: String(fence), lifeMs };
    const reply = RenewReply.parse(await this.#scripts.run('sealRenew', { shard: ELECTION_SHARD, ask }));
    return reply[0] === 'replaced' ? 'replaced' : { now: reply[1] };
  }

  #itemOf(shard: number, id: string, fields: readonly string[]): StreamItem {
    const entry = entryIn(shard, id, fields);
    const ours = entry !== undefined && this.#belongs(shard, entry);
    return { place: placeIn(shard, id), fields, entry: ours ? entry : undefined };
  }

  /** Our scripts write a tenant's entries into its own shard; and only a tenant's id may become the name of a directory. */
  #belongs(shard: number, { tenant }: AuditEntry): boolean {
    if (tenant === '-') return true;
    const known = TenantId.safeParse(tenant);
    return known.success && shardOfTenant(known.data, this.shards) === shard;
  }
}

function entryIn(shard: number, id: string, fields: readonly string[]): AuditEntry | undefined {
  try {
    return storedAuditEntry(shard, id, fields);
  } catch {
    return undefined;
  }
}

const Fence = z
  .string()
  .regex(/^\d{1,16}$/)
  .transform(Number)
  .refine(Number.isSafeInteger);
const ClaimReply = z.union([z.tuple([z.literal('held')]), z.tuple([z.literal('claimed'), Fence, z.int()])]);
const RenewReply = z.union([z.tuple([z.literal('replaced')]), z.tuple([z.literal('renewed'), z.int()])]);
const BeginReply = z.union([
  z.tuple([z.literal('replaced'), Fence]),
  z.tuple([z.literal('begun'), z.array(z.string())]),
]);
const AdvanceReply = z.union([z.tuple([z.literal('replaced')]), z.tuple([z.literal('advanced'), z.int()])]);
const TrimReply = z.union([z.tuple([z.literal('replaced')]), z.tuple([z.literal('trimmed'), z.int()])]);

const CHAIN = 'chain:';

/** What cannot be read is forgotten: the files know better. */
function sealedShardOf(shard: number, flat: readonly string[]): SealedShard {
  const chains = new Map<ChainName, SealedChain>();
  let through: string | undefined;
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const [field, value] = [flat[i] as string, flat[i + 1] as string];
    if (field === 'through' && /^\d{1,20}-\d{1,20}$/.test(value)) through = placeIn(shard, value);
    const [, count, head, seq] = /^(\d{1,12}) ([0-9a-f]{64}) (\d{1,15})$/.exec(value) ?? [];
    const chain = field.startsWith(CHAIN) ? ChainName.safeParse(field.slice(CHAIN.length)).data : undefined;
    if (chain === undefined || count === undefined || head === undefined) continue;
    chains.set(chain, { count: Number(count), head, seq: Number(seq) });
  }
  return { through, chains };
}
