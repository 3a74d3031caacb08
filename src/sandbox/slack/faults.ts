import type { SandboxClock } from './sandbox-clock.ts';

export type ApiFault =
  | { kind: 'none' }
  | { kind: 'unavailable' }
  | { kind: 'rate_limited'; retryAfterMs: number }
  | { kind: 'lose_reply' };

/** A fault that something will still run into. */
export type ActiveFault =
  | { kind: 'deliver_twice'; left: number }
  | { kind: 'deliver_late'; left: number }
  | { kind: 'lose_reply'; method: string }
  | { kind: 'rate_limit'; remainingMs: number }
  | { kind: 'unavailable'; left: number }
  | { kind: 'down'; remainingMs: number };

/** What a network and a big service do now and then, on demand. Methods that name no method mean every method. */
export class Faults {
  readonly #clock: SandboxClock;
  readonly #sockets: { drop: () => void; refresh: () => void };
  readonly #changed: () => void;
  #twice = 0;
  #downUntil = 0;
  #late = { left: 0, ms: 0 };
  #losing: string[] = [];
  #unavailable: { method: string | undefined; left: number }[] = [];
  #limited: { method: string | undefined; until: number }[] = [];

  /** @param changed told whenever `active()` says something else, but for the time that passes */
  constructor(
    clock: SandboxClock,
    sockets: { drop: () => void; refresh: () => void },
    changed: () => void = () => {},
  ) {
    this.#clock = clock;
    this.#sockets = sockets;
    this.#changed = changed;
  }

  /** The next `count` envelopes reach the app twice, over two connections where there are two. */
  deliverTwice(count = 1): void {
    this.#twice += count;
    this.#changed();
  }

  /** The next `count` envelopes reach the app only after `ms`. The person's three seconds run meanwhile. */
  deliverLate(ms: number, count = 1): void {
    this.#late = { left: count, ms };
    this.#changed();
  }

  /** The next call to the method is carried out, and its answer lost: the connection breaks. */
  loseReply(method: string): void {
    this.#losing.push(method);
    this.#changed();
  }

  /** Calls are answered with 429 for `ms`. */
  rateLimit(ms: number, method?: string): void {
    this.#limited.push({ method, until: this.#clock.now() + ms });
    this.#changed();
  }

  /** The next `count` calls are answered with 503 and not carried out. */
  unavailable(count = 1, method?: string): void {
    this.#unavailable.push({ method, left: count });
    this.#changed();
  }

  /** Every Socket Mode connection breaks without a close frame. */
  dropSockets(): void {
    this.#sockets.drop();
  }

  /** Every connection is told to make way (`disconnect`, `refresh_requested`), as Slack does every few hours. */
  refreshSockets(): void {
    this.#sockets.refresh();
  }

  /** For `ms` every call is answered with 503, every connection is gone, and nothing reaches the app. */
  downFor(ms: number): void {
    this.#downUntil = this.#clock.now() + ms;
    this.#sockets.drop();
    this.#changed();
  }

  /** Everything works again, at once. */
  clear(): void {
    this.#twice = 0;
    this.#downUntil = 0;
    this.#late = { left: 0, ms: 0 };
    this.#losing = [];
    this.#unavailable = [];
    this.#limited = [];
    this.#changed();
  }

  active(): ActiveFault[] {
    const now = this.#clock.now();
    const late = this.#late.left;
    const unavailable = this.#unavailable.reduce((sum, fault) => sum + fault.left, 0);
    const limitedUntil = Math.max(0, ...this.#limited.map((fault) => fault.until));
    return [
      ...(this.#downUntil > now ? [{ kind: 'down' as const, remainingMs: this.#downUntil - now }] : []),
      ...(limitedUntil > now ? [{ kind: 'rate_limit' as const, remainingMs: limitedUntil - now }] : []),
      ...(this.#twice > 0 ? [{ kind: 'deliver_twice' as const, left: this.#twice }] : []),
      ...(late > 0 ? [{ kind: 'deliver_late' as const, left: late }] : []),
      ...(unavailable > 0 ? [{ kind: 'unavailable' as const, left: unavailable }] : []),
      ...this.#losing.map((method) => ({ kind: 'lose_reply' as const, method })),
    ];
  }

  /** For the server: what befalls this call. */
  forCall(method: string): ApiFault {
    if (this.#isDown()) return { kind: 'unavailable' };
    const broken = this.#unavailable.find((fault) => fault.left > 0 && (fault.method ?? method) === method);
    if (broken) {
      broken.left -= 1;
      this.#changed();
      return { kind: 'unavailable' };
    }
    const now = this.#clock.now();
    this.#limited = this.#limited.filter((fault) => fault.until > now);
    const limited = this.#limited.find((fault) => (fault.method ?? method) === method);
    if (limited) return { kind: 'rate_limited', retryAfterMs: limited.until - now };
    const losing = this.#losing.indexOf(method);
    if (losing < 0) return { kind: 'none' };
    this.#losing.splice(losing, 1);
    this.#changed();
    return { kind: 'lose_reply' };
  }

  /** For the server: how the next envelope travels, if it does. */
  forEnvelope(): { copies: 1 | 2; delayMs: number } | 'undelivered' {
    if (this.#isDown()) return 'undelivered';
    const copies = this.#twice > 0 ? 2 : 1;
    const delayMs = this.#late.left > 0 ? this.#late.ms : 0;
    if (copies === 2) this.#twice -= 1;
    if (this.#late.left > 0) this.#late.left -= 1;
    if (copies === 2 || delayMs > 0) this.#changed();
    return { copies, delayMs };
  }

  #isDown(): boolean {
    return this.#downUntil > this.#clock.now();
  }
}
