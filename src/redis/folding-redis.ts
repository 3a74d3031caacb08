import { z } from 'zod';
import { AgentId, TenantId } from '../core/identity/ids.ts';
import {
  ALIKE_MAX,
  alikeDigest,
  type DigestMark,
  type Folding,
  type Gathering,
  type Placement,
} from '../core/proposal/folding.ts';
import type { CardRef, ProposalStatus } from '../core/proposal/proposal.ts';
import { ProposalId, shardOfProposal, shardOfTenant } from '../core/proposal/proposal-id.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import type { RedisClient } from './connection.ts';
import { EveryShard } from './every-shard.ts';
import { proposalKey } from './keys.ts';
import { Scripts } from './scripts.ts';

/** Where people meet proposals, for any number of publishers. */
export class FoldingRedis implements Folding {
  readonly #shards: number;
  readonly #scripts: Scripts;
  readonly #claiming: EveryShard;

  constructor({ redis, shards }: { redis: RedisClient; shards: number }) {
    this.#shards = shards;
    this.#scripts = new Scripts(redis);
    this.#claiming = new EveryShard(redis, shards, 'digest cards that are to be drawn');
  }

  async place(terms: ProposalTerms, foldAbove: number): Promise<Placement> {
    const [on, alike] = PlaceReply.parse(
      await this.#scripts.run('foldPlace', {
        shard: shardOfProposal(terms.id),
        keys: [proposalKey(terms.id)],
        ask: {
          id: terms.id,
          foldAbove,
          alike: alikeDigest(terms),
          alikeMax: ALIKE_MAX,
          tenant: terms.context.tenant,
          agent: terms.context.agent,
          tool: terms.tool,
          createdAt: terms.createdAt,
          deadline: terms.deadline,
        },
      }),
    );
    return on === 'own_card' ? { on, alike: idsIn(alike) } : { on };
  }

  async waiting(
    { tenant, agent }: Gathering,
    { offset, limit }: { offset: number; limit: number },
  ): Promise<{ ids: ProposalId[]; count: number }> {
    const [ids, count] = z.tuple([z.array(z.string()), z.coerce.number()]).parse(
      await this.#scripts.run('foldWaiting', {
        shard: shardOfTenant(tenant, this.#shards),
        ask: { tenant, agent, offset, limit },
      }),
    );
    return { ids: idsIn(ids), count };
  }

  async claimDigests(limit: number, leaseMs: number): Promise<DigestMark[]> {
    return this.#claiming.inTurn(limit, async (shard, most) => {
      const ask = { limit: most, leaseMs };
      return Claimed.parse(await this.#scripts.run('digestClaim', { shard, ask })).map(digestMarkOf);
    });
  }

  async digestDrawn(mark: DigestMark, card: CardRef): Promise<void> {
    const text = JSON.stringify({ team: card.team, channel: card.channel, ts: card.ts });
    await this.#handBack(mark, { drawn: true, againMs: REDRAW_MS }, text);
  }

  async postponeDigest(mark: DigestMark, delayMs: number): Promise<void> {
    await this.#handBack(mark, { drawn: false, againMs: delayMs }, '');
  }

  async #handBack(
    { tenant, agent, version, episode }: DigestMark,
    how: { drawn: boolean; againMs: number },
    card: string,
  ): Promise<void> {
    await this.#scripts.run('digestHandBack', {
      shard: shardOfTenant(tenant, this.#shards),
      ask: { tenant, agent, version, episode, ...how },
      texts: [card],
    });
  }
}

/** A flood changes the digest with each call: it is drawn anew no more often than this. */
const REDRAW_MS = 1_500;

const PlaceReply = z.tuple([
  z.enum(['own_card', 'other_card', 'digest_card', 'no_card']),
  z.array(z.string()),
]);

const Claimed = z.array(
  z.tuple([
    TenantId,
    AgentId,
    z.array(z.string()),
    z.array(z.tuple([z.string(), z.coerce.number(), ProposalId])),
  ]),
);

const CardText = z.strictObject({ team: z.string(), channel: z.string(), ts: z.string() });
const CauseText = z.looseObject({ kind: z.literal('switch'), by: z.string().max(200) });

function digestMarkOf([tenant, agent, flat, waiting]: z.infer<typeof Claimed>[number]): DigestMark {
  const hash = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) hash.set(flat[i] as string, flat[i + 1] as string);
  const count = (field: string) => z.coerce.number().int().min(0).catch(0).parse(hash.get(field));
  const settled: Partial<Record<ProposalStatus, number>> = {};
  for (const status of STATUSES) {
    const times = count(`settled:${status}`);
    if (times > 0) settled[status] = times;
  }
  return {
    tenant,
    agent,
    version: count('version'),
    episode: count('episode'),
    waiting: waiting.map(([tool, waits, first]) => ({ tool, count: waits, first })),
    settled,
    haltedBy: CauseText.safeParse(jsonOrNothing(hash.get('cause'))).data?.by,
    card: CardText.safeParse(jsonOrNothing(hash.get('card'))).data,
  };
}

const STATUSES: readonly ProposalStatus[] = [
  'approved',
  'executing',
  'succeeded',
  'failed',
  'unknown',
  'denied',
  'expired',
  'withdrawn',
  'halted',
];

function idsIn(texts: readonly string[]): ProposalId[] {
  return texts.flatMap((text) => {
    const parsed = ProposalId.safeParse(text);
    return parsed.success ? [parsed.data] : [];
  });
}

function jsonOrNothing(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
