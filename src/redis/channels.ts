import type { Redis } from 'ioredis';
import { answerOf } from './connection.ts';

interface Listener {
  readonly onMessage: () => void;
  /** Word may have been lost: the connection was gone for a while and stands again. */
  readonly onGap: () => void;
}

/** The channels of one subscriber connection, each subscribed once however many listen. */
export class Channels {
  static readonly #known = new WeakMap<Redis, Channels>();

  static of(subscriber: Redis): Channels {
    const known = Channels.#known.get(subscriber) ?? new Channels(subscriber);
    Channels.#known.set(subscriber, known);
    return known;
  }

  readonly #subscriber: Redis;
  readonly #listeners = new Map<string, Set<Listener>>();
  /** Was there a connection before the one that stands now? */
  #broken = false;

  private constructor(subscriber: Redis) {
    this.#subscriber = subscriber;
    subscriber.on('message', (channel: string) => {
      for (const listener of [...(this.#listeners.get(channel) ?? [])]) listener.onMessage();
    });
    subscriber.on('close', () => {
      this.#broken = true;
    });
    subscriber.on('ready', () => {
      if (this.#broken) void this.#mend();
    });
  }

  /**
   * Resolves once the subscription stands.
   * @throws StoreUnavailable
   */
  async follow(channel: string, listener: Listener): Promise<() => Promise<void>> {
    const listeners = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, listeners.add(listener));
    const stop = async () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      if (this.#listeners.get(channel) === listeners) this.#listeners.delete(channel);
      // Nobody listens any more: that the server may go on sending for a while harms nobody.
      if (this.#subscriber.status === 'ready') await this.#subscriber.unsubscribe(channel).catch(() => {});
      // Somebody came in the meantime, and their subscribe may have gone out before our unsubscribe.
      if (this.#listeners.has(channel)) await this.#subscribe([channel]);
    };
    try {
      await this.#subscribe([channel]);
    } catch (error) {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(channel);
      throw error;
    }
    return stop;
  }

  async #subscribe(channels: readonly string[]): Promise<void> {
    await answerOf(this.#subscriber, () => this.#subscriber.subscribe(...channels));
  }

  /** Tells of the gap only after the subscriptions stand: what is read before that could change unheard. */
  async #mend(): Promise<void> {
    const channels = [...this.#listeners.keys()];
    this.#broken = false;
    try {
      if (channels.length > 0) await this.#subscribe(channels);
    } catch {
      // Gone again. The next connection mends this one's gap too.
      this.#broken = true;
      return;
    }
    for (const listeners of [...this.#listeners.values()]) {
      for (const listener of [...listeners]) listener.onGap();
    }
  }
}
