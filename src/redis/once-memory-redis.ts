import type { OnceMemory } from '../core/workspace/once.ts';
import { answerOf, type RedisClient } from './connection.ts';
import { onceKey } from './keys.ts';

/**
 * Also where Redis is over its memory limit: without this, HTTP mode would not hear the `off` that is wanted then. What it
 * adds are a few bytes for a few minutes.
 */
const REMEMBER = `#!lua flags=allow-oom
return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'NX')`;

/** One key each, which Redis forgets by itself. */
export class OnceMemoryRedis implements OnceMemory {
  readonly #redis: RedisClient;

  constructor({ redis }: { redis: RedisClient }) {
    this.#redis = redis;
  }

  async firstTime(key: string, forMs: number): Promise<boolean> {
    const set = () => this.#redis.eval(REMEMBER, 1, onceKey(key), Math.max(1, Math.ceil(forMs)));
    return (await answerOf(this.#redis, set)) === 'OK';
  }

  async take(key: string): Promise<boolean> {
    return (await answerOf(this.#redis, () => this.#redis.del(onceKey(key)))) === 1;
  }
}
