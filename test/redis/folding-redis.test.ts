import { describe, expect, it } from 'vitest';
import { AgentId, TenantId } from '../../src/core/identity/ids.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { FoldingRedis } from '../../src/redis/folding-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { armed, proposed, type Stores } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { BEN, signedDecision, testKeys } from '../sealed-terms.ts';

const redis = redisForTests();
const shards = 1;
const OF = { tenant: TenantId.parse('acme'), agent: AgentId.parse('support-bot') };

async function world() {
  const client = redis.client;
  const stores: Stores = {
    shards,
    store: new ProposalStoreRedis({ redis: client, shards, keys: [testKeys.proposal] }),
    outbox: new CardOutboxRedis({ redis: client, subscriber: redis.connect(), shards }),
    writeSwitch: new WriteSwitchRedis({ redis: client, shards, startDeadlineMs: 5 }),
    audit: new AuditLogRedis({ redis: client, shards }),
  };
  await armed(stores);
  const replicas = [client, redis.connect()].map(
    (connection) => new FoldingRedis({ redis: connection, shards }),
  );
  const [folding, other] = replicas as [FoldingRedis, FoldingRedis];
  const flood = async (count: number, overrides: Parameters<typeof proposed>[1] = {}) => {
    const all: SealedTerms[] = [];
    for (let i = 0; i < count; i += 1) {
      all.push(await proposed(stores, { arguments: { ticket: `T-${i}` }, ...overrides }));
    }
    return all;
  };
  const placed = async (all: readonly SealedTerms[], foldAbove = 5) =>
    Promise.all(
      all.map(async ({ terms }, i) => (await (i % 2 ? folding : other).place(terms, foldAbove)).on),
    );
  return { stores, folding, other, flood, placed };
}

const count = (words: readonly string[], word: string) => words.filter((one) => one === word).length;

describe('where people meet proposals', () => {
  it('gives no more than so many their own card, whoever asks and however many at once', async () => {
    const { flood, placed, folding } = await world();
    const all = await flood(40);
    const first = await placed(all);
    expect(count(first, 'own_card')).toBe(5);
    expect(count(first, 'digest_card')).toBe(35);
    expect(await placed(all)).toEqual(first);
    expect((await folding.waiting(OF, { offset: 0, limit: 10 })).count).toBe(35);
  });

  it('takes no agent’s and no tool’s place for another’s', async () => {
    const { flood, placed } = await world();
    await placed(await flood(20));
    expect(await placed(await flood(5, { context: { agent: 'other-bot' } }))).not.toContain('digest_card');
    expect(await placed(await flood(5, { tool: 'ticket.merge' }))).not.toContain('digest_card');
  });

  it('lists every folded call once over its pages', async () => {
    const { flood, placed, folding } = await world();
    const all = [...(await flood(23)), ...(await flood(9, { tool: 'ticket.merge' }))];
    const words = await placed(all);
    const folded = all.filter((_, i) => words[i] === 'digest_card').map(({ terms }) => terms.id);
    const seen: string[] = [];
    for (let offset = 0; offset < 40; offset += 10) {
      seen.push(...(await folding.waiting(OF, { offset, limit: 10 })).ids);
    }
    expect(seen.toSorted()).toEqual(folded.toSorted());
  });

  it('lets a publisher take a digest card alone, and notices what happens while it draws', async () => {
    const { flood, placed, folding, other, stores } = await world();
    const all = await flood(8);
    await placed(all);
    const [mark, ...more] = await folding.claimDigests(5, 45_000);
    expect(more).toEqual([]);
    expect(mark).toMatchObject({ ...OF, waiting: [{ tool: 'ticket.close', count: 3 }], card: undefined });
    expect(await other.claimDigests(5, 45_000)).toEqual([]);
    if (mark === undefined) throw new Error('no mark');
    const { ids } = await folding.waiting(OF, { offset: 0, limit: 10 });
    const settled = all.find(({ terms }) => terms.id === ids[0]);
    if (settled === undefined) throw new Error('none folded');
    await stores.store.decide(signedDecision(settled, 'deny', BEN));
    expect((await folding.place(settled.terms, 5)).on).toBe('no_card');
    const card = { team: 'T0ACME', channel: 'C0ACMEAPP', ts: '1.2' };
    await folding.digestDrawn(mark, card);
    await expect
      .poll(() => other.claimDigests(5, 45_000))
      .toMatchObject([{ waiting: [{ count: 2 }], settled: { denied: 1 }, card }]);
  });

  it('joins identical calls on the oldest one’s card, up to a number, and finds them another when it is gone', async () => {
    const { stores, folding } = await world();
    const all: SealedTerms[] = [];
    const words: string[] = [];
    for (let i = 0; i < 12; i += 1) {
      const sealed = await proposed(stores);
      all.push(sealed);
      words.push((await folding.place(sealed.terms, 5)).on);
    }
    expect(words[0]).toBe('own_card');
    expect(count(words, 'other_card')).toBe(9);
    const [first, second, third] = all as [SealedTerms, SealedTerms, SealedTerms];
    const leader = await folding.place(first.terms, 5);
    expect(leader).toMatchObject({ on: 'own_card' });
    if (leader.on !== 'own_card') throw new Error(leader.on);
    expect(leader.alike).toHaveLength(10);
    expect(leader.alike[0]).toBe(first.terms.id);
    await stores.store.decide(signedDecision(first, 'approve', BEN));
    expect(await folding.place(first.terms, 5)).toEqual({ on: 'own_card', alike: [] });
    expect((await folding.place(second.terms, 5)).on).toBe('own_card');
    expect((await folding.place(third.terms, 5)).on).toBe('other_card');
    expect(await folding.place(second.terms, 5)).toMatchObject({ on: 'own_card' });
  });

  it('makes no record of what is not there', async () => {
    const { stores, folding } = await world();
    const sealed = await proposed(stores);
    await redis.client.del(...(await redis.client.keys(`*${sealed.terms.id}`)));
    await folding.place(sealed.terms, 5);
    expect(await redis.client.keys(`*${sealed.terms.id}`)).toEqual([]);
  });
});
