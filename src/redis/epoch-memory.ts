/**
 * The highest switch epoch that this process has been told, by shard. Redis can lose the last second (a crash, a stale
 * replica that took over); whoever saw the later epoch refuses to believe an earlier one.
 */
export class EpochMemory {
  readonly #highest = new Map<number, number>();

  seen(shard: number): number {
    return this.#highest.get(shard) ?? 0;
  }

  remember(shard: number, epoch: number): void {
    if (Number.isSafeInteger(epoch) && epoch > this.seen(shard)) this.#highest.set(shard, epoch);
  }
}
