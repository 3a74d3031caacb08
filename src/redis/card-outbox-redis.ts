import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { CardRef } from '../core/proposal/proposal.ts';
import { ProposalId, shardOfProposal } from '../core/proposal/proposal-id.ts';
import type { CardOutbox } from '../core/proposal/proposal-store.ts';
import { Channels } from './channels.ts';
import { cardsChannel, proposalKey } from './keys.ts';
import { Scripts } from './scripts.ts';

/** The marks that every transition leaves; a publisher takes them by lease and hands them back drawn. */
export class CardOutboxRedis implements CardOutbox {
  readonly #shards: number;
  readonly #scripts: Scripts;
  readonly #channels: Channels;
  /** Where the next claim begins, so that a shard with a flood does not starve the others. */
  #next = 0;

  constructor({ redis, subscriber, shards }: { redis: Redis; subscriber: Redis; shards: number }) {
    this.#shards = shards;
    this.#scripts = new Scripts(redis);
    this.#channels = Channels.of(subscriber);
  }

  async claim(limit: number, leaseMs: number): Promise<ProposalId[]> {
    const claimed: ProposalId[] = [];
    const first = this.#next;
    this.#next = (first + 1) % this.#shards;
    for (let i = 0; i < this.#shards && claimed.length < limit; i += 1) {
      const shard = (first + i) % this.#shards;
      const ids = await this.#scripts.run('cardClaim', {
        shard,
        ask: { limit: limit - claimed.length, leaseMs },
      });
      for (const id of z.array(z.string()).parse(ids)) {
        const parsed = ProposalId.safeParse(id);
        if (parsed.success) claimed.push(parsed.data);
      }
    }
    return claimed;
  }

  async drawn(id: ProposalId, revision: number, card: CardRef): Promise<void> {
    const text = JSON.stringify({ team: card.team, channel: card.channel, ts: card.ts });
    await this.#run('cardDrawn', id, { revision }, [text]);
  }

  async postpone(id: ProposalId, delayMs: number): Promise<void> {
    await this.#run('cardPostpone', id, { delayMs }, []);
  }

  async abandon(id: ProposalId, why: string): Promise<void> {
    await this.#run('cardAbandon', id, {}, [JSON.stringify({ why })]);
  }

  async onMarked(callback: () => void): Promise<() => Promise<void>> {
    const listener = { onMessage: callback, onGap: callback };
    const stops = await Promise.all(
      Array.from({ length: this.#shards }, (_, shard) =>
        this.#channels.follow(cardsChannel(shard), listener),
      ),
    );
    return async () => {
      await Promise.all(stops.map((stop) => stop()));
    };
  }

  #run(
    name: 'cardDrawn' | 'cardPostpone' | 'cardAbandon',
    id: ProposalId,
    ask: Readonly<Record<string, unknown>>,
    texts: readonly string[],
  ): Promise<unknown> {
    return this.#scripts.run(name, {
      shard: shardOfProposal(id),
      keys: [proposalKey(id)],
      ask: { id, ...ask },
      texts,
    });
  }
}
