import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { patternOf } from '../../src/core/grant/argument-pattern.ts';
import { GrantStatement, grantIdOf, signGrant } from '../../src/core/grant/grant.ts';
import { openPreview, sealPreview } from '../../src/core/proposal/preview.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { proposalKeyOf, recordBoxKeys, type SealedTerms } from '../../src/core/proposal/seal.ts';
import { boxKeyId } from '../../src/core/secrets/sealed-box.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { Boxes } from '../../src/redis/boxes.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { GrantStoreRedis } from '../../src/redis/grant-store-redis.ts';
import { grantKey, proposalKey } from '../../src/redis/keys.ts';
import { keysInUse } from '../../src/redis/keys-in-use-redis.ts';
import { PreviewTasksRedis } from '../../src/redis/preview-tasks-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { approved, armed, askFor, proposed, type Stores } from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, testKeys } from '../sealed-terms.ts';

const redis = redisForTests();
const subscriber = () => redis.connect();
const boxes = new Boxes(recordBoxKeys([testKeys.proposal]));
const other = proposalKeyOf(randomBytes(32));

let stores: Stores;
beforeEach(async () => {
  const given = { redis: redis.client, subscriber: subscriber(), shards: 1 };
  stores = {
    shards: 1,
    store: new ProposalStoreRedis({ ...given, keys: [testKeys.proposal] }),
    outbox: new CardOutboxRedis(given),
    writeSwitch: new WriteSwitchRedis({ ...given, startDeadlineMs: 5 }),
    audit: new AuditLogRedis(given),
  };
  await armed(stores);
});

const storeWith = (...keys: Parameters<typeof recordBoxKeys>[0]) =>
  new ProposalStoreRedis({ redis: redis.client, shards: 1, keys });
const field = async (id: ProposalId, name: string) => (await redis.client.hget(proposalKey(id), name)) ?? '';
const SECRET = 'hunter2-in-the-arguments';
const withSecret = () => proposed(stores, { arguments: { note: SECRET } });

async function finished(result = `"${SECRET}"`): Promise<SealedTerms> {
  const sealed = await approved(stores, { arguments: { note: SECRET } });
  const admitted = await stores.store.admit(askFor(sealed));
  if (!admitted.ok) throw new Error(admitted.refusal);
  await stores.store.finish(admitted.admission, { outcome: 'succeeded', result });
  return sealed;
}

describe('what a call holds, at rest in Redis', () => {
  it('is read as it was written, and stands there in boxes alone', async () => {
    const sealed = await finished();
    const { id } = sealed.terms;
    const record = await stores.store.read(id);
    expect(record?.termsText).toBe(sealed.text);
    expect(record?.state).toMatchObject({ outcome: { result: `"${SECRET}"` } });
    const hash = JSON.stringify(await redis.client.hgetall(proposalKey(id)));
    expect(hash).not.toContain(SECRET);
    for (const name of ['terms', 'outcome']) expect(boxKeyId(await field(id, name))).toBe(boxes.keyId);
    // Two boxes of one text have nothing in common.
    expect(boxes.seal('x', id, 'terms')).not.toBe(boxes.seal('x', id, 'terms'));
  });

  const forgeries: [string, (one: SealedTerms, two: SealedTerms) => Promise<string> | string][] = [
    ['in plain text', () => JSON.stringify({ outcome: 'succeeded', result: '"forged"' })],
    ['the box of another proposal', async (_one, two) => field(two.terms.id, 'outcome')],
    ['the box of another field', async (one) => field(one.terms.id, 'terms')],
    [
      'a box of another key',
      (one) =>
        new Boxes(recordBoxKeys([other])).seal(
          JSON.stringify({ outcome: 'succeeded', result: '"forged"' }),
          one.terms.id,
          'outcome',
        ),
    ],
    ['a box that is cut', async (one) => (await field(one.terms.id, 'outcome')).slice(0, -4)],
    ['no text', () => ''],
  ];
  it.each(forgeries)('an outcome that somebody else put there is none: %s', async (_, forged) => {
    const [one, two] = [await finished(), await finished('"another"')];
    await redis.client.hset(proposalKey(one.terms.id), 'outcome', await forged(one, two));
    await expect(stores.store.read(one.terms.id)).rejects.toMatchObject({ code: 'record_malformed' });
  });

  it('a success that is called a failure is no record of ours', async () => {
    const { terms } = await finished();
    await redis.client.hset(proposalKey(terms.id), 'status', 'failed');
    await expect(stores.store.read(terms.id)).rejects.toMatchObject({ code: 'record_malformed' });
  });

  it('[proposal:frozen] terms that do not open are nobody’s terms', async () => {
    const [one, two] = [await withSecret(), await withSecret()];
    for (const terms of [
      one.text,
      await field(two.terms.id, 'terms'),
      boxes.seal(one.text, one.terms.id, 'outcome'),
    ]) {
      await redis.client.hset(proposalKey(one.terms.id), { terms, seal: one.seal });
      expect((await stores.store.read(one.terms.id))?.termsText).toBe('');
    }
  });

  it('opens with an old key beside the new one, and not without it', async () => {
    const sealed = await finished();
    const { id } = sealed.terms;
    expect((await storeWith(other, testKeys.proposal).read(id))?.termsText).toBe(sealed.text);
    await expect(storeWith(other).read(id)).rejects.toMatchObject({ code: 'record_malformed' });
  });

  it('holds previews and grants as well, and says by which key each was sealed', async () => {
    const sealed = await approved(stores, { arguments: { note: SECRET } });
    const waiting = await withSecret();
    const previews = new PreviewTasksRedis({ redis: redis.client, shards: 1, keys: [testKeys.proposal] });
    const preview = sealPreview(testKeys.proposal, waiting, { kind: 'text', text: SECRET, cut: 0 });
    expect(await previews.keep(waiting.terms.id, waiting.termsDigest, preview, false)).toBe(true);
    const kept = (await stores.store.read(waiting.terms.id))?.preview;
    expect(kept && openPreview([testKeys.proposal], waiting, kept)).toMatchObject({ text: SECRET });

    const grants = new GrantStoreRedis({ redis: redis.client, shards: 1, keys: [testKeys.proposal] });
    const { terms, termsDigest } = sealed;
    const { run: _, ...caller } = terms.context;
    const signed = signGrant(
      testKeys.approvalPrivate,
      GrantStatement.parse({
        v: 1,
        grant: grantIdOf(terms.id),
        ...caller,
        tool: terms.tool,
        toolDigest: terms.toolDigest,
        pattern: patternOf({ note: SECRET }, new Set()),
        maxUses: 2,
        expires: terms.createdAt + 600_000,
        at: terms.createdAt + 2,
        person: ANA,
        as: 'user:U0ANA',
        approvers: ['user:U0ANA'],
        shown: termsDigest,
        proposal: terms.id,
        termsDigest,
        policyVersion: terms.policyVersion,
        switchEpoch: terms.switchEpoch,
      }),
    );
    expect(await grants.make(signed)).toMatchObject({ made: 'new', grant: { signed } });
    for (const key of await redis.client.keys('{s0}:*')) {
      if ((await redis.client.type(key)) !== 'hash') continue;
      expect(JSON.stringify(await redis.client.hgetall(key)), key).not.toContain(SECRET);
    }

    const newer = storeWith(other, testKeys.proposal);
    const late = await proposed({ ...stores, store: newer }, {});
    const use = { open: 0, settled: 0, grants: 0, installations: 0 };
    expect(await keysInUse(redis.client)).toEqual(
      expect.arrayContaining([
        { ...use, key: boxes.keyId, open: 2, grants: 1 },
        { ...use, key: boxKeyId(await field(late.terms.id, 'terms')), open: 1 },
      ]),
    );

    await redis.client.hset(grantKey(0, grantIdOf(terms.id)), 'grant', JSON.stringify(signed));
    await expect(grants.read(grantIdOf(terms.id))).rejects.toMatchObject({ code: 'grant_malformed' });
    expect(await grants.openFor(terms.context, terms.tool, terms.createdAt + 3)).toEqual([]);
  });
});
