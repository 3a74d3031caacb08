import { StoreUnavailable } from '../core/proposal/proposal-store.ts';

/**
 * Of one look at every shard: those on a node of a Cluster that is away are passed over. They must not keep the others
 * waiting, least of all what was claimed there already, which nobody else gets until its lease is over.
 */
export class ShardsAway {
  #others: number;

  constructor(shards: number) {
    this.#others = shards;
  }

  /** @throws the error, where it tells of something else, or where it is that of the last shard and none has answered. */
  passOver(error: unknown): void {
    this.#others -= 1;
    if (!(error instanceof StoreUnavailable) || this.#others === 0) throw error;
  }
}

/** The same, of all shards at once. */
export async function answersOfShards<T>(shards: number, ask: (shard: number) => Promise<T>): Promise<T[]> {
  const away = new ShardsAway(shards);
  const results = await Promise.allSettled(Array.from({ length: shards }, (_, shard) => ask(shard)));
  return results.flatMap((result) => {
    if (result.status === 'fulfilled') return [result.value];
    away.passOver(result.reason);
    return [];
  });
}
