import { StoreUnavailable } from '../core/proposal/proposal-store.ts';
import type { RedisClient } from './connection.ts';
import { DamagedShards } from './damaged-shards.ts';

/** How long a shard may keep the next one waiting. */
const PATIENCE_MS = 50;

/**
 * One kind of look at every shard. A shard that gives no answer keeps the others from nothing: what was claimed in those
 * already, nobody else gets until its lease is over. One whose node is away is passed over; one that is damaged as well,
 * and that is said.
 */
export class EveryShard {
  readonly #shards: number;
  readonly #damaged: DamagedShards;
  readonly #look: string;
  /** Where the next claim begins, so that a shard with a flood does not starve the others. */
  #next = 0;

  /** @param look what is looked at, for people. */
  constructor(redis: RedisClient, shards: number, look: string) {
    this.#shards = shards;
    this.#damaged = DamagedShards.of(redis);
    this.#look = look;
  }

  /** All at once: any number of shards that do not answer cost the time for one answer. @throws where none answers. */
  async answers<T>(ask: (shard: number) => Promise<T>): Promise<T[]> {
    const results = await Promise.allSettled(
      Array.from({ length: this.#shards }, (_, i) => this.#asked(i, ask)),
    );
    return answersIn(results);
  }

  /**
   * Of one after the other, until there is as much as is wanted. A shard that is slow to answer keeps the next one waiting
   * for a moment only, and may then answer beside it: rarely this gives more than was wanted.
   * @throws where none answers.
   */
  async inTurn<T>(
    limit: number,
    claim: (shard: number, limit: number) => Promise<readonly T[]>,
  ): Promise<T[]> {
    const first = this.#next;
    this.#next = (first + 1) % this.#shards;
    const asked: Promise<readonly T[]>[] = [];
    let claimed = 0;
    for (let i = 0; i < this.#shards && claimed < limit; i += 1) {
      const shard = (first + i) % this.#shards;
      const wanted = limit - claimed;
      const answer = this.#asked(shard, () => claim(shard, wanted));
      asked.push(answer);
      const counted = answer.then(
        ({ length }) => {
          claimed += length;
        },
        () => {},
      );
      await withinPatience(counted);
    }
    return answersIn(await Promise.allSettled(asked)).flat();
  }

  async #asked<T>(shard: number, ask: (shard: number) => Promise<T>): Promise<T> {
    try {
      const answer = await ask(shard);
      this.#damaged.answered(shard, this.#look);
      return answer;
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) this.#damaged.heard(shard, this.#look, error);
      throw error;
    }
  }
}

/** Where none has answered it is told by the error, and best by one that says more than that nobody is there. */
function answersIn<T>(results: readonly PromiseSettledResult<T>[]): T[] {
  const answers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  if (answers.length > 0) return answers;
  const errors = results.flatMap((result): unknown[] =>
    result.status === 'rejected' ? [result.reason] : [],
  );
  throw errors.find((error) => !(error instanceof StoreUnavailable)) ?? errors[0];
}

async function withinPatience(answer: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((over) => {
    timer = setTimeout(over, PATIENCE_MS);
  });
  await Promise.race([answer, patience]);
  clearTimeout(timer);
}
