import type { Redis } from 'ioredis';
import type { OnceMemory } from '../core/workspace/once.ts';
import { answerOf } from './connection.ts';
import { onceKey } from './keys.ts';

/** One key each, which Redis forgets by itself. */
export class OnceMemoryRedis implements OnceMemory {
  readonly #redis: Redis;

  constructor({ redis }: { redis: Redis }) {
    this.#redis = redis;
  }

  async firstTime(key: string, forMs: number): Promise<boolean> {
    const set = () => this.#redis.set(onceKey(key), '1', 'PX', Math.max(1, Math.ceil(forMs)), 'NX');
    return (await answerOf(this.#redis, set)) === 'OK';
  }

  async take(key: string): Promise<boolean> {
    return (await answerOf(this.#redis, () => this.#redis.del(onceKey(key)))) === 1;
  }
}
