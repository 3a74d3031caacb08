import type { CardOutbox } from '../core/proposal/proposal-store.ts';

const POLL_MS = 1_000;

/**
 * One round after the other: at each mark, and at the latest a second after the last, since marks can be missed. A mark
 * that comes during a round begins the next one at once.
 */
export class MarkedRounds {
  readonly #outbox: Pick<CardOutbox, 'onMarked'>;
  readonly #round: () => Promise<void>;
  #stopped = false;
  #stopListening: (() => Promise<void>) | undefined;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  /** @param round must not reject: nothing would begin the next one. */
  constructor(outbox: Pick<CardOutbox, 'onMarked'>, round: () => Promise<void>) {
    this.#outbox = outbox;
    this.#round = round;
  }

  /** For a round that has parts, to end between two of them. */
  get stopped(): boolean {
    return this.#stopped;
  }

  async start(): Promise<void> {
    this.#stopListening = await this.#outbox.onMarked(() => this.#wake());
    this.#running = this.#run();
  }

  /** Finishes the round in hand. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#stopListening?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const marked = this.#nextMark();
      await this.#round();
      await marked;
    }
  }

  #nextMark(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
