/** Work that has begun. Bolt's `stop` does not wait for it. */
export class InFlight {
  readonly #running = new Set<Promise<unknown>>();

  track<T>(work: Promise<T>): Promise<T> {
    const settled = work.then(
      () => undefined,
      () => undefined,
    );
    this.#running.add(settled);
    settled.then(() => this.#running.delete(settled));
    return work;
  }

  /** Resolves when nothing runs any more, or after `ms`: with how much still does. */
  async drain(ms: number): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    const idle = async () => {
      while (this.#running.size > 0) await Promise.all(this.#running);
    };
    await Promise.race([idle(), late]);
    clearTimeout(timer);
    return this.#running.size;
  }
}
