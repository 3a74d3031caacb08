const POLL_MS = 10;

/**
 * Time for one local Slack. Deadlines are judged by `now()` alone, which a test may drive, so a timer does not wait for
 * its length: it looks at the clock until the clock says so.
 */
export class SandboxClock {
  readonly now: () => number;
  readonly #waiting = new Map<() => void, number>();
  #poll: NodeJS.Timeout | undefined;

  constructor(now: () => number = Date.now) {
    this.now = now;
  }

  /** Runs `action` once `ms` have passed; answers with the function that calls it off. */
  after(ms: number, action: () => void): () => void {
    this.#waiting.set(action, this.now() + ms);
    this.#poll ??= setInterval(() => this.#runDue(), POLL_MS);
    return () => this.#forget(action);
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve);
    });
  }

  close(): void {
    this.#waiting.clear();
    clearInterval(this.#poll);
    this.#poll = undefined;
  }

  #runDue(): void {
    const now = this.now();
    for (const [action, at] of [...this.#waiting]) {
      if (at > now) continue;
      this.#forget(action);
      action();
    }
  }

  #forget(action: () => void): void {
    this.#waiting.delete(action);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#poll);
    this.#poll = undefined;
  }
}
