import type { Message } from './conversations.ts';

/** What changed, with enough to work out who may see it. The content is read when it is sent, so it is never stale. */
export type Change =
  | { kind: 'message'; message: Message }
  | { kind: 'message_deleted'; message: Message }
  | { kind: 'view'; team: string; user: string }
  | { kind: 'home'; team: string; user: string }
  | { kind: 'channel'; team: string; channel: string }
  | { kind: 'faults' };

export type LiveEvent = Change & { cursor: number };

const KEPT = 10_000;

/** One growing number for the whole server orders every change; `since` cursors of all routes are this number. */
export class LiveEvents {
  #cursor = 0;
  #kept: LiveEvent[] = [];
  readonly #listeners = new Set<(event: LiveEvent) => void>();

  get cursor(): number {
    return this.#cursor;
  }

  publish(change: Change): void {
    this.#cursor += 1;
    if (change.kind === 'message' || change.kind === 'message_deleted') change.message.cursor = this.#cursor;
    const event: LiveEvent = { ...change, cursor: this.#cursor };
    this.#kept.push(event);
    if (this.#kept.length > KEPT) this.#kept = this.#kept.slice(-KEPT / 2);
    for (const listener of this.#listeners) listener(event);
  }

  /** `undefined` where some of what followed the cursor is no longer held. */
  since(cursor: number): LiveEvent[] | undefined {
    const oldest = this.#kept[0]?.cursor ?? this.#cursor + 1;
    if (cursor > this.#cursor || cursor + 1 < oldest) return undefined;
    return this.#kept.filter((event) => event.cursor > cursor);
  }

  subscribe(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
