import type { Redis } from 'ioredis';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalNews } from '../core/proposal/proposal-news.ts';
import { Channels } from './channels.ts';
import { newsChannel } from './keys.ts';

/** Over one subscriber connection a process, however many proposals are awaited. */
export class ProposalNewsRedis implements ProposalNews {
  readonly #channels: Channels;

  constructor({ subscriber }: { subscriber: Redis; shards: number }) {
    this.#channels = Channels.of(subscriber);
  }

  follow(id: ProposalId, onChange: () => void, onGap: () => void): Promise<() => Promise<void>> {
    return this.#channels.follow(newsChannel(id), { onMessage: onChange, onGap });
  }
}
