import type { CardOutbox, Rate } from '../core/proposal/proposal-store.ts';
import { SLACK_RATES } from './limits.ts';

/** How fast is written to Slack, and how long a publisher may take over one card. */
export interface CardPace {
  readonly posts: Rate;
  readonly updates: Rate;
  /** Longer than all the calls to Slack that one drawing makes; after a crash a channel waits for so long. */
  readonly leaseMs: number;
  /** How often what is missing is looked for: cards that were never marked, and cards that somebody deleted. */
  readonly repairEveryMs: number;
}

export const SLACK_PACE: CardPace = {
  posts: { burst: SLACK_RATES.postBurst, everyMs: SLACK_RATES.postEveryMs },
  updates: { burst: SLACK_RATES.updateBurst, everyMs: SLACK_RATES.updateEveryMs },
  leaseMs: 30_000,
  repairEveryMs: 60_000,
};

/** Everything that is posted to a channel takes its turn here: cards, threads, announcements. */
export function postsIn(team: string, channel: string): string {
  return `posts ${team} ${channel}`;
}

/** A workspace's updates are counted together. */
export function updatesIn(team: string): string {
  return `updates ${team}`;
}

/** Turns that all replicas take from the same count, with the two rates that Slack sets. */
export class SharedPace {
  readonly posts: Turns;
  readonly updates: Turns;

  constructor(outbox: Pick<CardOutbox, 'turn' | 'pause'>, pace: CardPace) {
    this.posts = new Turns(outbox, pace.posts);
    this.updates = new Turns(outbox, pace.updates);
  }
}

class Turns {
  readonly #outbox: Pick<CardOutbox, 'turn' | 'pause'>;
  readonly #rate: Rate;

  constructor(outbox: Pick<CardOutbox, 'turn' | 'pause'>, rate: Rate) {
    this.#outbox = outbox;
    this.#rate = rate;
  }

  /** Takes a turn, and answers 0; or takes none, and answers with the milliseconds to wait. */
  take(name: string): Promise<number> {
    return this.#outbox.turn(name, this.#rate);
  }

  /** After a 429: nobody writes until Slack's time is over. */
  pause(name: string, ms: number): Promise<void> {
    return this.#outbox.pause(name, this.#rate, ms);
  }
}

/** A bucket of calls of this process alone: `burst` at once, then one every `everyMs`. After a 429 nothing at all until Slack's time is over. */
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
