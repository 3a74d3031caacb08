/** Above this a timer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * One signal that fires after a time, or as soon as one of several others does, until it is released.
 *
 * Not AbortSignal.any over AbortSignal.timeout: Node 20 holds a timeout in there only weakly, and once the garbage
 * collector has run it never fires. Here a timer and listeners hold on, and `release` lets go of both.
 */
export class TimeLimit {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #onAbort: () => void;
  #timedOut = false;

  constructor({ ms, or }: { ms: number | undefined; or: readonly AbortSignal[] }) {
    this.#sources = or;
    this.#onAbort = () => this.#end(or.find(({ aborted }) => aborted)?.reason);
    for (const source of or) source.addEventListener('abort', this.#onAbort, { once: true });
    if (or.some(({ aborted }) => aborted)) this.#onAbort();
    else if (ms !== undefined) {
      this.#timer = setTimeout(() => this.#timeOut(), Math.min(Math.ceil(ms), LONGEST_TIMER_MS));
    }
  }

  /** Its reason is the one of the signal that fired, or a `TimeoutError`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** It was the time that ran out, and no other signal before it. */
  get timedOut(): boolean {
    return this.#timedOut;
  }

  /** What `work` gives, or the signal's reason as soon as it fires: a tool that ignores its signal must not hold us. */
  async within<T>(work: Promise<T>): Promise<T> {
    const { signal } = this;
    let abort = () => {};
    const fired = new Promise<never>((_, reject) => {
      abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
    });
    try {
      return await Promise.race([fired, work]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** From now on it does not fire any more. */
  release(): void {
    clearTimeout(this.#timer);
    for (const source of this.#sources) source.removeEventListener('abort', this.#onAbort);
  }

  #timeOut(): void {
    this.#timedOut = true;
    this.#end(new DOMException('The time is up', 'TimeoutError'));
  }

  #end(reason: unknown): void {
    this.release();
    this.#controller.abort(reason);
  }
}
