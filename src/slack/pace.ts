/** A bucket of calls: `burst` at once, then one every `everyMs`. After a 429 nothing at all until Slack's time is over. */
export class Pace {
  readonly #burst: number;
  readonly #everyMs: number;
  readonly #clock: () => number;
  #tokens: number;
  #at: number;
  #pausedUntil = 0;

  constructor(rate: { burst: number; everyMs: number }, clock: () => number) {
    this.#burst = rate.burst;
    this.#everyMs = rate.everyMs;
    this.#clock = clock;
    this.#tokens = rate.burst;
    this.#at = clock();
  }

  /** Takes a call, and answers 0; or takes none, and answers with the milliseconds to wait. */
  take(): number {
    const now = this.#clock();
    const since = Math.max(0, now - this.#at);
    this.#tokens = Math.min(this.#burst, this.#tokens + since / this.#everyMs);
    this.#at = now;
    if (now < this.#pausedUntil) return this.#pausedUntil - now;
    if (this.#tokens < 1) return Math.ceil((1 - this.#tokens) * this.#everyMs);
    this.#tokens -= 1;
    return 0;
  }

  pause(ms: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#clock() + ms);
  }
}

/** One pace for each name, made when it is first needed. */
export class Paces {
  readonly #rate: { burst: number; everyMs: number };
  readonly #clock: () => number;
  readonly #byName = new Map<string, Pace>();

  constructor(rate: { burst: number; everyMs: number }, clock: () => number) {
    this.#rate = rate;
    this.#clock = clock;
  }

  of(name: string): Pace {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    const pace = new Pace(this.#rate, this.#clock);
    this.#byName.set(name, pace);
    return pace;
  }
}
