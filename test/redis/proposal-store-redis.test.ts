import { describe } from 'vitest';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { proposalStoreContract, type Stores } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();

function storesOn(shards: number): Stores {
  const connections = { redis: redis.client, subscriber: redis.connect(), shards };
  return {
    shards,
    store: new ProposalStoreRedis(connections),
    outbox: new CardOutboxRedis(connections),
    writeSwitch: new WriteSwitchRedis({ ...connections, startDeadlineMs: 5 }),
    audit: new AuditLogRedis(connections),
  };
}

describe('one shard', () => proposalStoreContract(async () => storesOn(1)));
describe('four shards', () => proposalStoreContract(async () => storesOn(4)));
