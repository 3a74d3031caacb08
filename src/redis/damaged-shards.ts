import type { RedisClient } from './connection.ts';

/** While a shard stays damaged it is said again so often. */
const AGAIN_MS = 10 * 60 * 1_000;

export interface DamageListener {
  damaged(shard: number, look: string, error: unknown): void;
  /** Everything that was looked at in vain there gives answers again. */
  mended(shard: number): void;
}

interface Damage {
  readonly looks: Set<string>;
  saidAt: number;
}

const ofClients = new WeakMap<RedisClient, DamagedShards>();

/**
 * Shards that answer something else than a script of ours: somebody wrote to their keys. Nothing happens there, the other
 * shards go on, and the same thing is asked again with the next look. So it has to be heard of here: nowhere else does
 * anything stand still.
 */
export class DamagedShards {
  readonly #damages = new Map<number, Damage>();
  #listener: DamageListener | undefined;

  private constructor() {}

  /** One for each connection, whoever looks over it. */
  static of(redis: RedisClient): DamagedShards {
    const known = ofClients.get(redis);
    if (known) return known;
    const made = new DamagedShards();
    ofClients.set(redis, made);
    return made;
  }

  /** Told of each kind of look when it begins to fail, and then now and then of the shard. */
  tell(listener: DamageListener): void {
    this.#listener = listener;
  }

  /** As this process last saw them. */
  get standing(): readonly number[] {
    return [...this.#damages.keys()].sort((a, b) => a - b);
  }

  heard(shard: number, look: string, error: unknown): void {
    const now = performance.now();
    const damage = this.#damages.get(shard) ?? { looks: new Set(), saidAt: now };
    this.#damages.set(shard, damage);
    if (damage.looks.has(look) && now - damage.saidAt < AGAIN_MS) return;
    damage.looks.add(look);
    damage.saidAt = now;
    this.#listener?.damaged(shard, look, error);
  }

  answered(shard: number, look: string): void {
    const damage = this.#damages.get(shard);
    if (!damage?.looks.delete(look) || damage.looks.size > 0) return;
    this.#damages.delete(shard);
    this.#listener?.mended(shard);
  }
}
