import { z } from 'zod';
import { GrantId, grantDigest, SignedGrant, shardOfGrant } from '../core/grant/grant.ts';
import {
  type GrantEnd,
  GrantMalformed,
  type GrantStore,
  type Made,
  type Revoked,
  type StoredGrant,
} from '../core/grant/grant-store.ts';
import type { CallContext } from '../core/identity/call-context.ts';
import type { PersonId, TenantId } from '../core/identity/ids.ts';
import type { CardRef } from '../core/proposal/proposal.ts';
import { ProposalId, shardOfTenant } from '../core/proposal/proposal-id.ts';
import type { GrantUse } from '../core/proposal/proposal-store.ts';
import { type ProposalKeys, recordBoxKeys } from '../core/proposal/seal.ts';
import { Boxes } from './boxes.ts';
import { answerOf, type RedisClient } from './connection.ts';
import { grantIndexKey, grantKey, grantUsesKey, proposalKey, tenantGrantsKey } from './keys.ts';
import { Scripts } from './scripts.ts';

/** What a tenant can have open at once: more than people can keep in mind. */
const MOST_OPEN = 100;
/** Of one caller and tool; the rest is found once these are used up. */
const MOST_TRIED = 20;

/** The five fields that scripts compare: from the signed statement, never from the hash. */
export function grantUseOf({ statement }: SignedGrant): GrantUse {
  return {
    id: statement.grant,
    digest: grantDigest(statement),
    epoch: statement.switchEpoch,
    maxUses: statement.maxUses,
    expires: statement.expires,
  };
}

export class GrantStoreRedis implements GrantStore {
  readonly #redis: RedisClient;
  readonly #shards: number;
  readonly #scripts: Scripts;
  readonly #boxes: Boxes;

  constructor(options: {
    redis: RedisClient;
    shards: number;
    keys: ProposalKeys;
    /** How many of a master's have to hold a grant, or its end, before it counts. Default 0. */
    replicas?: number;
  }) {
    const { redis, shards, keys, replicas } = options;
    this.#redis = redis;
    this.#shards = shards;
    this.#scripts = new Scripts(redis, replicas);
    this.#boxes = new Boxes(recordBoxKeys(keys));
  }

  async make(signed: SignedGrant): Promise<Made> {
    const { statement } = signed;
    const shard = shardOfGrant(statement.grant);
    const word = z.enum(['new', 'again', 'not_approved', 'writes_off', 'too_late', 'too_many']).parse(
      await this.#scripts.run('grantMake', {
        shard,
        keys: [
          proposalKey(statement.proposal),
          tenantGrantsKey(shard, statement.tenant),
          grantIndexKey(shard, statement, statement.tool),
        ],
        ask: {
          ...grantUseOf(signed),
          tenant: statement.tenant,
          environment: statement.environment,
          agent: statement.agent,
          tool: statement.tool,
          person: statement.person,
          proposal: statement.proposal,
          termsDigest: statement.termsDigest,
          mostOpen: MOST_OPEN,
          seen: 0,
        },
        // What is fixed in it are arguments of a call.
        texts: [
          this.#boxes.seal(JSON.stringify(signed), statement.grant, 'grant'),
          JSON.stringify(madeDetail(signed)),
        ],
      }),
    );
    if (word !== 'new' && word !== 'again') return { made: word };
    const grant = await this.read(statement.grant);
    if (grant === undefined) throw new Error(`the grant ${statement.grant} vanished as it was made`);
    return { made: word, grant };
  }

  async read(id: GrantId): Promise<StoredGrant | undefined> {
    const shard = shardOfGrant(id);
    const [hash, uses] = await Promise.all([
      answerOf(this.#redis, () => this.#redis.hgetall(grantKey(shard, id))),
      answerOf(this.#redis, () => this.#redis.zrange(grantUsesKey(shard, id), '0', '-1', 'WITHSCORES')),
    ]);
    if (Object.keys(hash).length === 0) return undefined;
    const grant = storedGrant(id, hash, { signed: this.#opened(id, hash.grant), uses });
    if (grant === undefined) throw new GrantMalformed(id);
    return grant;
  }

  async openFor(context: CallContext, tool: string, now: number): Promise<SignedGrant[]> {
    const shard = shardOfTenant(context.tenant, this.#shards);
    const key = grantIndexKey(shard, context, tool);
    const ids = await answerOf(this.#redis, () =>
      this.#redis.zrangebyscore(key, `(${now}`, '+inf', 'LIMIT', 0, MOST_TRIED),
    );
    const grants = await this.#readAll(ids);
    return grants
      .filter(({ end, uses, signed }) => end === undefined && uses.length < signed.statement.maxUses)
      .map(({ signed }) => signed);
  }

  async open(tenant: TenantId, limit: number): Promise<StoredGrant[]> {
    const shard = shardOfTenant(tenant, this.#shards);
    const now = await this.#now();
    const ids = await answerOf(this.#redis, () =>
      this.#redis.zrangebyscore(tenantGrantsKey(shard, tenant), `(${now}`, '+inf', 'LIMIT', 0, limit),
    );
    const grants = await this.#readAll(ids);
    return grants.filter(({ end, signed }) => end === undefined && signed.statement.tenant === tenant);
  }

  revoke(id: GrantId, by: PersonId): Promise<Revoked> {
    return this.#end(id, { state: 'revoked', by });
  }

  voidGrant(id: GrantId, why: string): Promise<Revoked> {
    return this.#end(id, { state: 'voided', why });
  }

  async voidSwitchedOff(tenant: TenantId): Promise<number> {
    const grants = await this.open(tenant, MOST_OPEN);
    if (grants.length === 0) return 0;
    const shard = shardOfTenant(tenant, this.#shards);
    const voided = await this.#scripts.run('grantSweep', {
      shard,
      keys: [tenantGrantsKey(shard, tenant)],
      ask: {
        grants: grants.map(({ signed }) => {
          const { environment, agent, tool } = signed.statement;
          return { ...grantUseOf(signed), tenant, environment, agent, tool };
        }),
      },
    });
    return z.number().parse(voided);
  }

  shardOf(tenant: TenantId): number {
    return shardOfTenant(tenant, this.#shards);
  }

  async claimCards(tenant: TenantId, limit: number, leaseMs: number): Promise<GrantId[]> {
    const shard = shardOfTenant(tenant, this.#shards);
    const ids = await this.#scripts.run('grantCardClaim', { shard, ask: { tenant, limit, leaseMs } });
    return knownIds(z.array(z.string()).parse(ids));
  }

  async cardDrawn(id: GrantId, drawn: { revision: number; uses: number; card: CardRef }): Promise<void> {
    const grant = await this.read(id);
    if (grant === undefined) return;
    const { tenant, expires } = grant.signed.statement;
    const { team, channel, ts } = drawn.card;
    await this.#scripts.run('grantCardDrawn', {
      shard: shardOfGrant(id),
      ask: { id, tenant, expires, revision: drawn.revision, uses: drawn.uses },
      texts: [JSON.stringify({ team, channel, ts })],
    });
  }

  async postponeCard(id: GrantId, tenant: TenantId, delayMs: number | null): Promise<void> {
    await this.#scripts.run('grantCardDrawn', {
      shard: shardOfGrant(id),
      ask: { id, tenant, delayMs: delayMs ?? false },
    });
  }

  #opened(id: GrantId, box: string | undefined): unknown {
    const opened = this.#boxes.open(box ?? '', id, 'grant');
    return opened.ok ? jsonIn(opened.text) : undefined;
  }

  async #end(
    id: GrantId,
    end: { state: 'revoked'; by: string } | { state: 'voided'; why: string },
  ): Promise<Revoked> {
    const word = await this.#scripts.run('grantEnd', { shard: shardOfGrant(id), ask: { id, ...end } });
    return z.enum(['revoked', 'already_ended', 'not_found']).parse(word);
  }

  async #readAll(ids: readonly string[]): Promise<StoredGrant[]> {
    const grants = await Promise.all(knownIds(ids).map((id) => this.#readOrNone(id)));
    return grants.filter((grant) => grant !== undefined);
  }

  /** One that is none of ours covers nothing; the others stand. */
  async #readOrNone(id: GrantId): Promise<StoredGrant | undefined> {
    try {
      return await this.read(id);
    } catch (error) {
      if (error instanceof GrantMalformed) return undefined;
      throw error;
    }
  }

  async #now(): Promise<number> {
    const time: unknown = await answerOf(this.#redis, () => this.#redis.time());
    const [seconds, micros] = z.tuple([z.coerce.number(), z.coerce.number()]).parse(time);
    return seconds * 1_000 + Math.floor(micros / 1_000);
  }
}

/** Somebody else's members in our sets are not ids, and are nobody's business here. */
function knownIds(ids: readonly string[]): GrantId[] {
  return ids.flatMap((id) => {
    const parsed = GrantId.safeParse(id);
    return parsed.success ? [parsed.data] : [];
  });
}

const Card = z.strictObject({ team: z.string(), channel: z.string(), ts: z.string() });

/** Undefined: nobody of ours wrote it. */
function storedGrant(
  id: GrantId,
  hash: Record<string, string>,
  { signed: opened, uses }: { signed: unknown; uses: readonly string[] },
): StoredGrant | undefined {
  const signed = SignedGrant.safeParse(opened);
  if (!signed.success || signed.data.statement.grant !== id) return undefined;
  const card = Card.safeParse(jsonIn(hash.card));
  return {
    id,
    signed: signed.data,
    end: endOf(hash),
    uses: usesOf(uses),
    revision: Number(hash.revision ?? 0),
    card: card.success ? card.data : undefined,
    cardUses: Number(hash.cardUses ?? 0),
  };
}

/** Whatever is not plainly open has ended. */
function endOf(hash: Record<string, string>): GrantEnd | undefined {
  if (hash.state === 'open') return undefined;
  const at = Number(hash.endedAt ?? 0);
  const said = hash.endedBy ?? 'unknown';
  return hash.state === 'revoked' ? { state: 'revoked', by: said, at } : { state: 'voided', why: said, at };
}

function usesOf(flat: readonly string[]): StoredGrant['uses'] {
  return flat.flatMap((member, index) => {
    const proposal = index % 2 === 0 ? ProposalId.safeParse(member) : undefined;
    return proposal?.success ? [{ proposal: proposal.data, at: Number(flat[index + 1]) }] : [];
  });
}

function jsonIn(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Digests and names: what the free arguments are, not what the fixed ones hold. */
function madeDetail({ statement, signature }: SignedGrant): Record<string, unknown> {
  const { pattern, approvers: _, ...rest } = statement;
  return {
    ...rest,
    free: pattern.flatMap(({ name, may }) => (may === 'be_anything' ? [name] : [])),
    digest: grantDigest(statement),
    signature,
  };
}
