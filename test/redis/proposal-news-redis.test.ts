import { afterEach, expect, it } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { openRedis, type RedisConnections } from '../../src/redis/connection.ts';
import { ProposalNewsRedis } from '../../src/redis/proposal-news-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { armed, proposed, type Stores } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { signedDecision, testKeys } from '../sealed-terms.ts';

const redis = redisForTests();
const opened: RedisConnections[] = [];
afterEach(() => {
  for (const connections of opened.splice(0)) connections.close();
});

function setUp(): { stores: Stores; news: ProposalNewsRedis; subscriber: RedisConnections['subscriber'] } {
  const connections = openRedis({ connection: redis.connectionOptions });
  opened.push(connections);
  const given = { ...connections, shards: 1 };
  const stores = {
    shards: 1,
    store: new ProposalStoreRedis({ ...given, keys: [testKeys.proposal] }),
    outbox: new CardOutboxRedis(given),
    writeSwitch: new WriteSwitchRedis({ ...given, startDeadlineMs: 0 }),
    audit: new AuditLogRedis(given),
  };
  return { stores, news: new ProposalNewsRedis(given), subscriber: connections.subscriber };
}

async function counted(news: ProposalNewsRedis, id: ProposalId) {
  const count = { changes: 0, gaps: 0 };
  const stop = await news.follow(
    id,
    () => {
      count.changes += 1;
    },
    () => {
      count.gaps += 1;
    },
  );
  return { count, stop };
}

it('tells everybody who follows a proposal of its changes, and of nothing else', async () => {
  const { stores, news } = setUp();
  await armed(stores);
  const [sealed, other] = [await proposed(stores), await proposed(stores)];
  const followers = [await counted(news, sealed.terms.id), await counted(news, sealed.terms.id)];
  const bystander = await counted(news, other.terms.id);
  await stores.store.decide(signedDecision(sealed, 'approve'));
  for (const { count } of followers) await expect.poll(() => count.changes).toBe(1);
  expect(bystander.count.changes).toBe(0);
});

it('goes on telling the others when one stops, and the server nothing when all have', async () => {
  const { stores, news } = setUp();
  await armed(stores);
  const sealed = await proposed(stores, { rule: { quorum: 3 } });
  const [first, second] = [await counted(news, sealed.terms.id), await counted(news, sealed.terms.id)];
  await first.stop();
  await first.stop();
  await stores.store.decide(signedDecision(sealed, 'deny'));
  await expect.poll(() => second.count.changes).toBe(1);
  expect(first.count.changes).toBe(0);
  await second.stop();
  expect(await redis.client.pubsub('CHANNELS', '*')).toEqual([]);
});

it('hears again after it stopped and follows anew, at whatever moment', async () => {
  const { stores, news } = setUp();
  await armed(stores);
  const sealed = await proposed(stores);
  for (let i = 0; i < 20; i += 1) {
    const { stop } = await counted(news, sealed.terms.id);
    void stop();
  }
  const last = await counted(news, sealed.terms.id);
  await expect.poll(() => redis.client.pubsub('CHANNELS', '*')).toHaveLength(1);
  await stores.store.decide(signedDecision(sealed, 'approve'));
  await expect.poll(() => last.count.changes).toBe(1);
});

it('tells of a gap after the connection was lost, once word comes through again', async () => {
  const { stores, news, subscriber } = setUp();
  await armed(stores);
  const sealed = await proposed(stores);
  const { count } = await counted(news, sealed.terms.id);
  expect(count.gaps).toBe(0);
  subscriber.disconnect(true);
  await expect.poll(() => count.gaps).toBe(1);
  await stores.store.decide(signedDecision(sealed, 'approve'));
  await expect.poll(() => count.changes).toBe(1);

  await redis.server.kill9();
  await redis.server.restart();
  await expect.poll(() => count.gaps).toBe(2);
});

it('[redis:down-means-no] says so where nothing can be followed, and leaves nothing behind', async () => {
  const { stores, news } = setUp();
  await armed(stores);
  const sealed = await proposed(stores);
  await redis.server.stop();
  try {
    await expect(counted(news, sealed.terms.id)).rejects.toMatchObject({ code: 'store_unavailable' });
  } finally {
    await redis.server.restart();
  }
});
