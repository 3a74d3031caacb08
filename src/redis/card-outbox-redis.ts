import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { CardRef } from '../core/proposal/proposal.ts';
import { ProposalId, shardOfProposal } from '../core/proposal/proposal-id.ts';
import type { CardClaim, CardOutbox, Rate } from '../core/proposal/proposal-store.ts';
import { Channels } from './channels.ts';
import type { RedisClient } from './connection.ts';
import { EveryShard } from './every-shard.ts';
import { cardsChannel, paceKey, proposalKey } from './keys.ts';
import { Scripts } from './scripts.ts';

/** Read at a time while repairing, so that no script holds Redis for long. */
const REPAIR_PAGE = 200;
/** Whatever may have a card: what is open, and what was admitted or settled lately. */
const REPAIRED = ['pending', 'ready', 'executing', 'spent'] as const;

/** The marks that every transition leaves; a publisher takes them by lease and hands them back drawn. */
export class CardOutboxRedis implements CardOutbox {
  readonly #shards: number;
  readonly #scripts: Scripts;
  readonly #channels: Channels;
  readonly #claiming: EveryShard;
  readonly #repairing: EveryShard;

  constructor({ redis, subscriber, shards }: { redis: RedisClient; subscriber: Redis; shards: number }) {
    this.#shards = shards;
    this.#scripts = new Scripts(redis);
    this.#channels = Channels.of(subscriber);
    this.#claiming = new EveryShard(redis, shards, 'cards that are to be drawn');
    this.#repairing = new EveryShard(redis, shards, 'cards that are missing');
  }

  async claim(
    limit: number,
    leaseMs: number,
  ): Promise<{ claims: readonly CardClaim[]; nextInMs: number | undefined }> {
    let nextInMs: number | undefined;
    const claims = await this.#claiming.inTurn(limit, async (shard, most) => {
      const answer = await this.#scripts.run('cardClaim', { shard, ask: { limit: most, leaseMs } });
      const [wait, ...flat] = Claimed.parse(answer);
      if (wait >= 0) nextInMs = Math.min(nextInMs ?? wait, wait);
      return claimsIn(flat);
    });
    return { claims, nextInMs };
  }

  async begin(claim: CardClaim, telling?: readonly string[]): Promise<boolean> {
    const text = telling === undefined ? '' : JSON.stringify(telling);
    return (await this.#held('cardBegin', claim, {}, [text])).word === 'begun';
  }

  async drawn(
    claim: CardClaim,
    { revision, card, posted, untold = false }: Parameters<CardOutbox['drawn']>[1],
  ): Promise<CardRef | undefined> {
    const shows = posted === undefined ? '' : JSON.stringify(posted.shows);
    const ask = { revision, posted: posted !== undefined, untold };
    const { extra } = await this.#held('cardDrawn', claim, ask, [textOf(card), shows]);
    return extra === '' ? undefined : CardText.safeParse(extra).data;
  }

  async skip(claim: CardClaim, revision: number): Promise<void> {
    await this.#held('cardSkip', claim, { revision }, []);
  }

  async told(claim: CardClaim): Promise<void> {
    await this.#held('cardTold', claim, {}, []);
  }

  async postpone(
    claim: CardClaim,
    delayMs: number,
    { all = false, unsent = false, told }: { all?: boolean; unsent?: boolean; told?: readonly string[] } = {},
  ): Promise<void> {
    const before = told === undefined ? '' : JSON.stringify(told);
    await this.#held('cardPostpone', claim, { delayMs: Math.ceil(delayMs), all, unsent }, [before]);
  }

  async abandon(claim: CardClaim, why: string): Promise<void> {
    await this.#held('cardAbandon', claim, {}, [JSON.stringify({ why })]);
  }

  async seen(id: ProposalId, card: CardRef): Promise<'live' | 'copy' | 'unknown'> {
    const shard = shardOfProposal(id);
    const ask = { shard, keys: [proposalKey(id)], ask: { id }, texts: [textOf(card)] };
    const [word] = Answer.parse(await this.#scripts.run('cardSeen', ask));
    return z.enum(['live', 'copy', 'unknown']).parse(word);
  }

  async lost(id: ProposalId, card: CardRef): Promise<void> {
    const shard = shardOfProposal(id);
    const ask = { shard, keys: [proposalKey(id)], ask: { id }, texts: [textOf(card)] };
    Answer.parse(await this.#scripts.run('cardLost', ask));
  }

  async repair(): Promise<void> {
    await this.#repairing.answers((shard) => this.#repairIn(shard));
  }

  async #repairIn(shard: number): Promise<void> {
    for (const index of REPAIRED) {
      for (let from = 0, read = REPAIR_PAGE; read === REPAIR_PAGE; from += read) {
        const ask = { index, from, count: REPAIR_PAGE };
        read = z.number().parse(await this.#scripts.run('cardRepair', { shard, ask }));
      }
    }
  }

  async turn(name: string, { burst, everyMs }: Rate): Promise<number> {
    const { shard, key } = paceKey(this.#shards, name);
    return z.number().parse(await this.#scripts.run('pace', { shard, keys: [key], ask: { burst, everyMs } }));
  }

  async pause(name: string, { burst, everyMs }: Rate, ms: number): Promise<void> {
    const { shard, key } = paceKey(this.#shards, name);
    const ask = { burst, everyMs, pauseMs: Math.ceil(ms) };
    await this.#scripts.run('pace', { shard, keys: [key], ask });
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

  async #held(
    name: 'cardBegin' | 'cardDrawn' | 'cardSkip' | 'cardTold' | 'cardPostpone' | 'cardAbandon',
    { id, lane, tenant, lease }: CardClaim,
    ask: Readonly<Record<string, unknown>>,
    texts: readonly string[],
  ): Promise<{ word: string; extra: string }> {
    const answer = await this.#scripts.run(name, {
      shard: shardOfProposal(id),
      keys: [proposalKey(id)],
      ask: { id, lane, tenant, lease, ...ask },
      texts,
    });
    const [word, , extra] = Answer.parse(answer);
    return { word, extra };
  }
}

const Answer = z.tuple([z.string(), z.unknown(), z.string()], z.unknown());
const Claimed = z.tuple([z.number()], z.string());
const ClaimFields = z
  .tuple([ProposalId, z.enum(['post', 'update', 'thread']), z.string().max(200), z.string().max(40)])
  .transform(([id, lane, tenant, lease]): CardClaim => ({ id, lane, tenant, lease }));

function claimsIn(flat: readonly string[]): CardClaim[] {
  const claims: CardClaim[] = [];
  for (let at = 0; at + 3 < flat.length; at += 4) {
    // Somebody else's members in our sets are no cards.
    const claim = ClaimFields.safeParse(flat.slice(at, at + 4));
    if (claim.success) claims.push(claim.data);
  }
  return claims;
}

/** Always in this order: the scripts compare the text. */
function textOf({ team, channel, ts }: CardRef): string {
  return JSON.stringify({ team, channel, ts });
}

const CardText = z
  .string()
  .transform((text, ctx): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      ctx.addIssue({ code: 'custom', message: 'not JSON' });
      return z.NEVER;
    }
  })
  .pipe(z.strictObject({ team: z.string(), channel: z.string(), ts: z.string() }));
