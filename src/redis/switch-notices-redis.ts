import { z } from 'zod';
import type { TenantId } from '../core/identity/ids.ts';
import { shardOfTenant } from '../core/proposal/proposal-id.ts';
import { type ClaimedNotice, SwitchNotice, type SwitchNotices } from '../core/switch/switch-notice.ts';
import type { RedisClient } from './connection.ts';
import { EveryShard } from './every-shard.ts';
import { switchNoticeKeys } from './keys.ts';
import { Scripts } from './scripts.ts';

export class SwitchNoticesRedis implements SwitchNotices {
  readonly #shards: number;
  readonly #scripts: Scripts;
  readonly #claiming: EveryShard;

  constructor({ redis, shards }: { redis: RedisClient; shards: number }) {
    this.#shards = shards;
    this.#scripts = new Scripts(redis);
    this.#claiming = new EveryShard(redis, shards, 'what channels have to be told of the switch');
  }

  async claim(limit: number, leaseMs: number): Promise<ClaimedNotice[]> {
    const claimed = await this.#claiming.answers((shard) => this.#claimIn(shard, limit, leaseMs));
    return claimed.flat();
  }

  async split(
    { id, shard, notice }: ClaimedNotice,
    places: readonly { readonly team: string; readonly channel: string }[],
  ): Promise<void> {
    const parts = places.map(({ team, channel }) => ({ ...notice, place: { team, channel } }));
    const ids = parts.map(({ place }) => `${id}:${place.team}/${place.channel}`);
    await this.#handBack(shard, { id, ids }, parts);
  }

  async done({ id, shard }: ClaimedNotice): Promise<void> {
    await this.#handBack(shard, { id, ids: [] }, []);
  }

  async postpone({ id, shard, notice }: ClaimedNotice, delayMs: number): Promise<void> {
    const again = { ...notice, failures: (notice.failures ?? 0) + 1 };
    await this.#handBack(shard, { id, ids: [id], delayMs }, [again]);
  }

  shardOf(tenant: TenantId): number {
    return shardOfTenant(tenant, this.#shards);
  }

  async #claimIn(shard: number, limit: number, leaseMs: number): Promise<ClaimedNotice[]> {
    const keys = switchNoticeKeys(shard);
    const flat = z
      .array(z.string())
      .parse(await this.#scripts.run('switchNoticeClaim', { shard, keys, ask: { limit, leaseMs } }));
    const claimed: ClaimedNotice[] = [];
    for (let i = 0; i + 1 < flat.length; i += 2) {
      const id = flat[i] as string;
      const notice = noticeOf(flat[i + 1] as string);
      // Nothing that we wrote, and nothing that anybody could be told.
      if (notice === undefined) await this.#handBack(shard, { id, ids: [] }, []);
      else claimed.push({ id, shard, notice });
    }
    return claimed;
  }

  async #handBack(
    shard: number,
    ask: { id: string; ids: readonly string[]; delayMs?: number },
    notices: readonly SwitchNotice[],
  ): Promise<void> {
    const texts = notices.map((notice) => JSON.stringify(notice));
    await this.#scripts.run('switchNoticeHandBack', { shard, keys: switchNoticeKeys(shard), ask, texts });
  }
}

function noticeOf(text: string): SwitchNotice | undefined {
  try {
    return SwitchNotice.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
