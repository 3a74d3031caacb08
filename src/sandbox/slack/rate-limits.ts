import type { SandboxClock } from './sandbox-clock.ts';

/** Slack's tiers: calls a minute, for one method and one workspace. https://docs.slack.dev/apis/web-api/rate-limits */
export const TIERS = { tier1: 1, tier2: 20, tier3: 50, tier4: 100, special: 600 } as const;
export type Tier = keyof typeof TIERS;

/** chat.postMessage: about one a second in a channel, "short bursts allowed" (the size of a burst is our reading). */
const CHANNEL_POSTS = { burst: 4, perMs: 1000 };

const MINUTE_MS = 60_000;

export class RateLimits {
  readonly #clock: SandboxClock;
  readonly #calls = new Map<string, number[]>();
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(clock: SandboxClock) {
    this.#clock = clock;
  }

  /** Counts a call; answers with the milliseconds to wait where it is one too many, else with 0. */
  takeCall(team: string, method: string, tier: Tier): number {
    const now = this.#clock.now();
    const key = `${team}/${method}`;
    const recent = (this.#calls.get(key) ?? []).filter((at) => at > now - MINUTE_MS);
    this.#calls.set(key, recent);
    const oldest = recent[0];
    if (recent.length >= TIERS[tier] && oldest !== undefined) return oldest + MINUTE_MS - now;
    recent.push(now);
    return 0;
  }

  takePost(team: string, channel: string): number {
    const now = this.#clock.now();
    const key = `${team}/${channel}`;
    const last = this.#buckets.get(key) ?? { tokens: CHANNEL_POSTS.burst, at: now };
    const tokens = Math.min(CHANNEL_POSTS.burst, last.tokens + (now - last.at) / CHANNEL_POSTS.perMs);
    if (tokens < 1) {
      this.#buckets.set(key, { tokens, at: now });
      return (1 - tokens) * CHANNEL_POSTS.perMs;
    }
    this.#buckets.set(key, { tokens: tokens - 1, at: now });
    return 0;
  }
}
