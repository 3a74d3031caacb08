/** Of a logger, what an outage is said with. */
interface OutageLogger {
  warn(facts: { readonly err: unknown }, message: string): void;
  info(message: string): void;
}

/** An outage may have more than one cause; one whose words change each time says no more after so many. */
const CAUSES_MOST = 5;

/**
 * Failures in a row of something that is tried again and again: said when they begin, when their cause is another one,
 * and when they are over, and not each time.
 */
export class Outage {
  readonly #logger: OutageLogger;
  readonly #says: { readonly began: string; readonly over: string };
  readonly #causes = new Set<string>();

  constructor(logger: OutageLogger, says: { readonly began: string; readonly over: string }) {
    this.#logger = logger;
    this.#says = says;
  }

  /** Never rejects: where the work does, resolves with `otherwise`. */
  async attempt<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      const done = await work();
      if (this.#causes.size > 0) this.#logger.info(this.#says.over);
      this.#causes.clear();
      return done;
    } catch (err) {
      const cause = String(err);
      if (!this.#causes.has(cause) && this.#causes.size < CAUSES_MOST) {
        this.#causes.add(cause);
        this.#logger.warn({ err }, this.#says.began);
      }
      return otherwise;
    }
  }
}
