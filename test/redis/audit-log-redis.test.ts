import { describe, expect, it } from 'vitest';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { auditLogContract } from '../contracts/audit-log.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();
const on = (shards: number) => async () => ({
  audit: new AuditLogRedis({ redis: redis.client, shards }),
  shards,
});

describe('on one shard', () => auditLogContract(on(1)));
describe('on four shards', () => auditLogContract(on(4)));

it('names an entry that somebody else put into the stream, and reads over none of them silently', async () => {
  const { audit } = await on(1)();
  await audit.append({ kind: 'call.forbidden', tenant: 'acme', detail: {} });
  const place = await redis.client.xadd('{s0}:audit', '*', 'seq', '1', 'kind', 'proposal.approved');
  await expect(audit.read({ limit: 10 })).rejects.toMatchObject({ code: 'store_damaged' });
  await expect(audit.read({ limit: 10 })).rejects.toThrow(`s0/${place}`);
});

it('refuses to go on where the entry cannot be written', async () => {
  const { audit } = await on(1)();
  await redis.client.set('{s0}:audit', 'garbage');
  const append = audit.append({ kind: 'call.forbidden', tenant: 'acme', detail: {} });
  await expect(append).rejects.toMatchObject({ code: 'store_damaged' });
});
