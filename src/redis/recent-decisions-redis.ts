import type { RecentDecisions } from '../core/approval/recent-decisions.ts';
import type { PersonId } from '../core/identity/ids.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import { answerOf, type RedisClient } from './connection.ts';
import { recentDecisionsKey } from './keys.ts';

/** What `decide.lua` keeps of each person's last decisions, in each shard. */
export class RecentDecisionsRedis implements RecentDecisions {
  readonly #redis: RedisClient;
  readonly #shards: number;

  constructor({ redis, shards }: { redis: RedisClient; shards: number }) {
    this.#redis = redis;
    this.#shards = shards;
  }

  async of(person: PersonId, limit: number): Promise<ProposalId[]> {
    const shards = Array.from({ length: this.#shards }, (_, shard) => shard);
    const found = await Promise.all(shards.map((shard) => this.#newestIn(shard, person, limit)));
    return found
      .flat()
      .sort((a, b) => b.at - a.at)
      .slice(0, limit)
      .map(({ id }) => id);
  }

  async #newestIn(shard: number, person: PersonId, limit: number): Promise<{ id: ProposalId; at: number }[]> {
    const key = recentDecisionsKey(shard, person);
    const flat = await answerOf(this.#redis, () =>
      this.#redis.zrange(key, '0', String(limit - 1), 'REV', 'WITHSCORES'),
    );
    const found: { id: ProposalId; at: number }[] = [];
    for (let i = 0; i + 1 < flat.length; i += 2) {
      const id = ProposalId.safeParse(flat[i]);
      if (id.success) found.push({ id: id.data, at: Number(flat[i + 1]) });
    }
    return found;
  }
}
