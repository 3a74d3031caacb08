import type { SandboxClock } from './sandbox-clock.ts';

export type ApiFault =
  | { kind: 'none' }
  | { kind: 'unavailable' }
  | { kind: 'rate_limited'; retryAfterMs: number }
  | { kind: 'lose_reply' };

/** What a network and a big service do now and then, on demand. Methods that name no method mean every method. */
export class Faults {
  readonly #clock: SandboxClock;
  readonly #sockets: { drop: () => void; refresh: () => void };
  #twice = 0;
  #late = { left: 0, ms: 0 };
  #losing: string[] = [];
  #unavailable: { method: string | undefined; left: number }[] = [];
  #limited: { method: string | undefined; until: number }[] = [];

  constructor(clock: SandboxClock, sockets: { drop: () => void; refresh: () => void }) {
    this.#clock = clock;
    this.#sockets = sockets;
  }

  /** The next `count` envelopes reach the app twice, over two connections where there are two. */
  deliverTwice(count = 1): void {
    this.#twice += count;
  }

  /** The next `count` envelopes reach the app only after `ms`. The person's three seconds run meanwhile. */
  deliverLate(ms: number, count = 1): void {
    this.#late = { left: count, ms };
  }

  /** The next call to the method is carried out, and its answer lost: the connection breaks. */
  loseReply(method: string): void {
    this.#losing.push(method);
  }

  /** Calls are answered with 429 for `ms`. */
  rateLimit(ms: number, method?: string): void {
    this.#limited.push({ method, until: this.#clock.now() + ms });
  }

  /** The next `count` calls are answered with 503 and not carried out. */
  unavailable(count = 1, method?: string): void {
    this.#unavailable.push({ method, left: count });
  }

  /** Every Socket Mode connection breaks without a close frame. */
  dropSockets(): void {
    this.#sockets.drop();
  }

  /** Every connection is told to make way (`disconnect`, `refresh_requested`), as Slack does every few hours. */
  refreshSockets(): void {
    this.#sockets.refresh();
  }

  /** For the server: what befalls this call. */
  forCall(method: string): ApiFault {
    const broken = this.#unavailable.find((fault) => fault.left > 0 && (fault.method ?? method) === method);
    if (broken) {
      broken.left -= 1;
      return { kind: 'unavailable' };
    }
    const now = this.#clock.now();
    this.#limited = this.#limited.filter((fault) => fault.until > now);
    const limited = this.#limited.find((fault) => (fault.method ?? method) === method);
    if (limited) return { kind: 'rate_limited', retryAfterMs: limited.until - now };
    const losing = this.#losing.indexOf(method);
    if (losing < 0) return { kind: 'none' };
    this.#losing.splice(losing, 1);
    return { kind: 'lose_reply' };
  }

  /** For the server: how the next envelope travels. */
  forEnvelope(): { copies: 1 | 2; delayMs: number } {
    const copies = this.#twice > 0 ? 2 : 1;
    if (copies === 2) this.#twice -= 1;
    if (this.#late.left === 0) return { copies, delayMs: 0 };
    this.#late.left -= 1;
    return { copies, delayMs: this.#late.ms };
  }
}
