import type { Message } from './conversations.ts';
import type { SandboxClock } from './sandbox-clock.ts';
import { SLACK_LIMITS } from './slack-limits.ts';

/** Where an answer sent to a response_url goes. */
export interface ResponseTarget {
  team: string;
  channel: string;
  user: string;
  threadTs?: string;
  /** The message that carried the button; absent for a slash command. */
  original?: Message;
}

export type ResponseUrlRefusal = 'invalid_url' | 'used_url' | 'expired_url';

/** Good for five answers in thirty minutes. Whoever holds the URL may use it: it needs no token. */
export class ResponseUrls {
  readonly #clock: SandboxClock;
  readonly #newId: () => string;
  readonly #base: () => string;
  readonly #issued = new Map<string, { target: ResponseTarget; at: number; left: number }>();

  constructor(clock: SandboxClock, newId: () => string, base: () => string) {
    this.#clock = clock;
    this.#newId = newId;
    this.#base = base;
  }

  issue(kind: 'actions' | 'commands', target: ResponseTarget): string {
    const now = this.#clock.now();
    for (const [path, { at }] of this.#issued) {
      if (at + 2 * SLACK_LIMITS.responseUrlMs > now) break;
      this.#issued.delete(path);
    }
    const path = `/${kind}/${target.team}/${this.#newId()}/${this.#newId()}${this.#newId()}`;
    this.#issued.set(path, { target, at: now, left: SLACK_LIMITS.responseUrlUses });
    return `${this.#base()}${path}`;
  }

  use(path: string): { ok: true; target: ResponseTarget } | { ok: false; refusal: ResponseUrlRefusal } {
    const issued = this.#issued.get(path);
    if (!issued) return { ok: false, refusal: 'invalid_url' };
    if (this.#clock.now() - issued.at > SLACK_LIMITS.responseUrlMs)
      return { ok: false, refusal: 'expired_url' };
    if (issued.left === 0) return { ok: false, refusal: 'used_url' };
    issued.left -= 1;
    return { ok: true, target: issued.target };
  }
}
