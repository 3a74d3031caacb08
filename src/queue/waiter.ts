import { setTimeout as sleep } from 'node:timers/promises';
import type { ProposalRecord } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalNews } from '../core/proposal/proposal-news.ts';
import { type ProposalStore, StoreUnavailable } from '../core/proposal/proposal-store.ts';

/** The store answers, and does not know the proposal: a wrong id, or a Redis that has been emptied. */
export class ProposalNotFound extends Error {
  override readonly name = 'ProposalNotFound';
  readonly code = 'proposal_not_found';
}

export interface WaitOptions {
  /** When to stop waiting. Without it a wait lasts until the proposal is as wanted. */
  readonly signal?: AbortSignal | undefined;
  /** How often to read even when there is no word: drawn anew each time from this range. */
  readonly pollMs?: { readonly min: number; readonly max: number };
}

/** Word of a change can be lost (a dropped connection, a failover), so nobody waits on word alone. */
const POLL_MS = { min: 15_000, max: 30_000 };
/** How soon to try again while Redis is away. */
const OUTAGE_RETRY_MS = 500;

/**
 * Waits for proposals: follow the news, then read, and read again at every word, after every gap in the news, and now
 * and then besides. The news is a hint; what `waitFor` gives was read from the store.
 */
export class Waiter {
  readonly #store: Pick<ProposalStore, 'read' | 'readHeld'>;
  readonly #news: ProposalNews;

  constructor(parts: { store: Pick<ProposalStore, 'read' | 'readHeld'>; news: ProposalNews }) {
    this.#store = parts.store;
    this.#news = parts.news;
  }

  /**
   * The first record read for which `until` holds. Waits through outages of Redis until the signal says stop.
   * @throws DOMException AbortError (or the signal's own reason), ProposalNotFound.
   */
  async waitFor(
    id: ProposalId,
    until: (record: ProposalRecord) => boolean,
    options: WaitOptions = {},
  ): Promise<ProposalRecord> {
    const { signal, pollMs = POLL_MS } = options;
    signal?.throwIfAborted();
    const word = new Word();
    const end = new AbortController();
    const onAbort = () => {
      end.abort(signal?.reason);
      word.say();
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    // Beside the reading, not before it: while the news is away, polling still gets there.
    const following = this.#follow(id, word, end.signal);
    try {
      for (;;) {
        const read = await this.#read(id, until, word);
        signal?.throwIfAborted();
        if (read !== 'unavailable' && until(read)) return read;
        const pauseMs = read === 'unavailable' ? OUTAGE_RETRY_MS : between(pollMs.min, pollMs.max);
        await word.heardWithin(pauseMs);
        signal?.throwIfAborted();
      }
    } finally {
      signal?.removeEventListener('abort', onAbort);
      end.abort();
      void following.then((unfollow) => unfollow?.()).catch(() => {});
    }
  }

  /** What ends the wait is read once more, as what no failover takes back: its caller goes on with it. */
  async #read(
    id: ProposalId,
    until: (record: ProposalRecord) => boolean,
    word: Word,
  ): Promise<ProposalRecord | 'unavailable'> {
    word.forget();
    let record: ProposalRecord | undefined;
    try {
      record = await this.#store.read(id);
      if (record !== undefined && until(record)) record = await this.#store.readHeld(id);
    } catch (error) {
      if (error instanceof StoreUnavailable) return 'unavailable';
      throw error;
    }
    if (record === undefined) {
      throw new ProposalNotFound(`there is no proposal ${id}: a wrong id, or Redis was emptied since`);
    }
    return record;
  }

  /** Resolves with how to stop following; tries until it stands or the wait is over. */
  async #follow(id: ProposalId, word: Word, ended: AbortSignal): Promise<(() => Promise<void>) | undefined> {
    const say = () => word.say();
    while (!ended.aborted) {
      try {
        const unfollow = await this.#news.follow(id, say, say);
        // What changed between the first read and now was not announced to us.
        word.say();
        return unfollow;
      } catch {
        await sleep(OUTAGE_RETRY_MS, undefined, { signal: ended, ref: false }).catch(() => {});
      }
    }
    return undefined;
  }
}

/** One pending word: said before anyone listens, it is heard at once. */
class Word {
  #said = false;
  #wake: (() => void) | undefined;

  say(): void {
    this.#said = true;
    this.#wake?.();
  }

  forget(): void {
    this.#said = false;
  }

  async heardWithin(ms: number): Promise<void> {
    if (this.#said) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

function between(min: number, max: number): number {
  return min + Math.random() * (max - min);
}
