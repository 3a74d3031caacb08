import { setTimeout as sleep } from 'node:timers/promises';

const WITHIN_MS = 60_000;

/** Redis may be away for a moment, or take its time on a busy machine: whoever only looks at it, or prepares it, asks again. */
export async function eventually<T>(
  work: () => Promise<T>,
  isPassing: (error: unknown) => boolean = () => true,
): Promise<T> {
  const until = performance.now() + WITHIN_MS;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error) || performance.now() > until) throw error;
      await sleep(100);
    }
  }
}
