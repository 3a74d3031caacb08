import fc from 'fast-check';
import { expect, it } from 'vitest';
import { AgentId, EnvironmentId, TenantId } from '../../src/core/identity/ids.ts';
import { budgetKey, idempotencyKey, shardKeys, tenantIndexKey } from '../../src/redis/keys.ts';
import { testContext } from '../sealed-terms.ts';

const id = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,8}$/);
/** Texts that look like keys, where a host may choose a text. */
const hostile = fc.oneof(fc.string(), fc.stringMatching(/^[a-z:{}*= ]{0,12}$/));

it('builds different keys of different parts', () => {
  const scope = fc.record({ tenant: id, environment: id, agent: id, key: hostile });
  const keyOf = ({
    tenant,
    environment,
    agent,
    key,
  }: {
    tenant: string;
    environment: string;
    agent: string;
    key: string;
  }) => idempotencyKey(0, testContext({ tenant, environment, agent }), key);
  fc.assert(
    fc.property(scope, scope, (a, b) => {
      const same = JSON.stringify(a) === JSON.stringify(b);
      expect(keyOf(a) === keyOf(b)).toBe(same);
    }),
  );
  fc.assert(
    fc.property(hostile, hostile, (a, b) => {
      expect(budgetKey(0, a) === budgetKey(0, b)).toBe(a === b);
    }),
  );
});

it('keeps all keys of a shard under its one hash tag, whatever a host puts into them', () => {
  fc.assert(
    fc.property(id, hostile, (tenant, text) => {
      const keys = [
        ...shardKeys(3),
        budgetKey(3, text),
        idempotencyKey(3, testContext({ tenant }), text),
        tenantIndexKey(3, TenantId.parse(tenant), 'pending'),
      ];
      // Redis takes what stands between the first { and the next }.
      for (const key of keys) expect(/\{([^}]*)\}/.exec(key)?.[1]).toBe('s3');
    }),
  );
});

it.each(['a:b', 'a{b}', 'a b', 'a\nb', 'A', 'ä', '', '{s0}', 'a'.repeat(100), '__proto__', 'a*'])(
  'no id %j gets as far as a key',
  (text) => {
    for (const schema of [TenantId, EnvironmentId, AgentId])
      expect(schema.safeParse(text).success).toBe(false);
  },
);
