import type { AuditEntry, AuditKind } from '../core/audit/audit-entry.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { placeIn } from '../core/audit/audit-stream.ts';
import { TenantId } from '../core/identity/ids.ts';
import { ProposalId, shardOfProposal, shardOfTenant } from '../core/proposal/proposal-id.ts';
import { answerOf, type RedisClient, StoreDamaged } from './connection.ts';
import { shardKey } from './keys.ts';
import { Scripts } from './scripts.ts';
import { StreamPage, storedAuditEntry } from './stored-audit-entry.ts';

/** Entries fetched at a time while looking for those that match. */
const PAGE = 500;

/** What belongs to no tenant lives here. */
const COMMON_SHARD = 0;

export class AuditLogRedis implements AuditLog {
  readonly #redis: RedisClient;
  readonly #shards: number;
  readonly #scripts: Scripts;

  constructor({ redis, shards }: { redis: RedisClient; shards: number }) {
    this.#redis = redis;
    this.#shards = shards;
    this.#scripts = new Scripts(redis);
  }

  /** @throws StoreUnavailable: then nothing may be done that should have been recorded. */
  async append(entry: {
    kind: AuditKind;
    tenant: string | undefined;
    proposal?: string;
    detail: Readonly<Record<string, unknown>>;
  }): Promise<void> {
    // A refused call may claim any tenant. What is no tenant id is told in the detail, and has no count of its own.
    const tenant = TenantId.safeParse(entry.tenant);
    const detail =
      tenant.success || entry.tenant === undefined
        ? entry.detail
        : { ...entry.detail, claimedTenant: entry.tenant };
    await this.#scripts.run('auditAppend', {
      shard: tenant.success ? shardOfTenant(tenant.data, this.#shards) : COMMON_SHARD,
      ask: {
        kind: entry.kind,
        tenant: tenant.success ? tenant.data : '-',
        proposal: ProposalId.safeParse(entry.proposal).data,
      },
      texts: [JSON.stringify(detail)],
    });
  }

  async read(filter: {
    tenant?: string;
    proposal?: string;
    limit: number;
    newest?: boolean;
  }): Promise<AuditEntry[]> {
    const found = await Promise.all(this.#shardsOf(filter).map((shard) => this.#readShard(shard, filter)));
    const merged = found.flat().sort((a, b) => a.at - b.at);
    return filter.newest ? merged.slice(-filter.limit) : merged.slice(0, filter.limit);
  }

  #shardsOf({ tenant, proposal }: { tenant?: string; proposal?: string }): number[] {
    const id = ProposalId.safeParse(proposal);
    if (id.success) return [shardOfProposal(id.data)].filter((shard) => shard < this.#shards);
    const known = TenantId.safeParse(tenant);
    if (known.success) return [shardOfTenant(known.data, this.#shards)];
    return Array.from({ length: this.#shards }, (_, shard) => shard);
  }

  /** Oldest first, also where the newest are wanted. */
  async #readShard(
    shard: number,
    filter: { tenant?: string; proposal?: string; limit: number; newest?: boolean },
  ): Promise<AuditEntry[]> {
    const key = shardKey(shard, 'audit');
    const entries: AuditEntry[] = [];
    let from = filter.newest ? '+' : '-';
    while (entries.length < filter.limit) {
      const page = StreamPage.parse(
        await answerOf(this.#redis, () =>
          filter.newest
            ? this.#redis.xrevrange(key, from, '-', 'COUNT', PAGE)
            : this.#redis.xrange(key, from, '+', 'COUNT', PAGE),
        ),
      );
      for (const [place, fields] of page) {
        const entry = entryOf(shard, place, fields);
        if (filter.tenant !== undefined && entry.tenant !== filter.tenant) continue;
        if (filter.proposal !== undefined && entry.proposal !== filter.proposal) continue;
        entries.push(entry);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) break;
      from = `(${last[0]}`;
    }
    const wanted = entries.slice(0, filter.limit);
    return filter.newest ? wanted.reverse() : wanted;
  }
}

/** @throws StoreDamaged */
function entryOf(shard: number, id: string, flat: readonly string[]): AuditEntry {
  try {
    return storedAuditEntry(shard, id, flat);
  } catch (cause) {
    const place = placeIn(shard, id);
    throw new StoreDamaged(`the audit entry ${place} is none that Countersign wrote`, { cause });
  }
}
