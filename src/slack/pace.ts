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
