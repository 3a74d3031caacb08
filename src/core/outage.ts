/** Of a logger, what an outage is said with. */
interface OutageLogger {
  warn(facts: { readonly err: unknown }, message: string): void;
  info(message: string): void;
}

/**
 * Failures in a row of something that is tried again every second: said when they begin and when they are over, and not
 * every second.
 */
export class Outage {
  readonly #logger: OutageLogger;
  readonly #says: { readonly began: string; readonly over: string };
  #lasts = false;

  constructor(logger: OutageLogger, says: { readonly began: string; readonly over: string }) {
    this.#logger = logger;
    this.#says = says;
  }

  /** Never rejects: where the work does, resolves with `otherwise`. */
  async attempt<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      const done = await work();
      if (this.#lasts) this.#logger.info(this.#says.over);
      this.#lasts = false;
      return done;
    } catch (err) {
      if (!this.#lasts) this.#logger.warn({ err }, this.#says.began);
      this.#lasts = true;
      return otherwise;
    }
  }
}
