import type { Logger } from 'pino';

/** While a shard cannot be sealed it is said again so often. */
const AGAIN_MS = 10 * 60 * 1_000;

interface Unsealed {
  failures: number;
  /** Monotonic. */
  lookAgainAt: number;
  saidAt: number;
}

/**
 * Shards that cannot be sealed while others are: somebody wrote to their keys in Redis. Outlives one time with the lease,
 * so that no shard is looked at more often for having just been given up.
 */
export class UnsealedShards {
  readonly #shards = new Map<number, Unsealed>();
  readonly #logger: Logger;
  readonly #retryMs: { readonly first: number; readonly most: number };

  constructor(logger: Logger, retryMs: { readonly first: number; readonly most: number }) {
    this.#logger = logger;
    this.#retryMs = retryMs;
  }

  get standing(): readonly number[] {
    return [...this.#shards.keys()].sort((a, b) => a - b);
  }

  failed(shard: number, err: unknown): void {
    const now = performance.now();
    const known = this.#shards.get(shard);
    const failures = (known?.failures ?? 0) + 1;
    const pauseMs = Math.min(this.#retryMs.first * 2 ** Math.min(failures - 1, 10), this.#retryMs.most);
    const say = known === undefined || now - known.saidAt >= AGAIN_MS;
    this.#shards.set(shard, { failures, lookAgainAt: now + pauseMs, saidAt: say ? now : known.saidAt });
    if (!say) return;
    this.#logger.error(
      { alarm: 'audit_shard_not_sealed', shard, err },
      'the audit of this shard is not being sealed, that of the others is: somebody wrote to its keys in Redis. Restore, or rename, the key that err names; nothing is lost yet, and it is tried again and again',
    );
  }

  /** Whether it is time to see if a shard can be sealed again. */
  isDue(shard: number): boolean {
    const unsealed = this.#shards.get(shard);
    return unsealed === undefined || performance.now() >= unsealed.lookAgainAt;
  }

  sealed(shard: number): void {
    if (this.#shards.delete(shard))
      this.#logger.info({ shard }, 'the audit of this shard is being sealed again');
  }
}
