import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { mintAdmission } from '../../src/core/execution/admission.ts';
import { AgentId, PersonId } from '../../src/core/identity/ids.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { openRedis, type RedisClient, type RedisConnections } from '../../src/redis/connection.ts';
import { proposalKey, shardKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import {
  approved,
  armed,
  askFor,
  auditOf,
  freshTerms,
  haltedBy,
  OPERATOR,
  proposalStoreContract,
  proposed,
  ROOMY,
  type Stores,
} from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, BEN, signedDecision, testKeys } from '../sealed-terms.ts';

const redis = redisForTests({ appendOnly: 'always' });

function storesOn(shards: number, client: RedisClient = redis.client, subscriber = redis.connect()): Stores {
  const connections = { redis: client, subscriber, shards };
  return {
    shards,
    store: new ProposalStoreRedis({ ...connections, keys: [testKeys.proposal] }),
    outbox: new CardOutboxRedis(connections),
    writeSwitch: new WriteSwitchRedis({ ...connections, startDeadlineMs: 5 }),
    audit: new AuditLogRedis(connections),
  };
}

/** Everything in the server, for comparing. The clock of TTLs left out. */
async function everything(): Promise<Record<string, string>> {
  const keys = (await redis.client.keys('*')).sort();
  const dumps = await Promise.all(keys.map((key) => redis.client.dumpBuffer(key)));
  return Object.fromEntries(keys.map((key, i) => [key, dumps[i]?.toString('hex') ?? '']));
}

describe('on one shard', () => proposalStoreContract(async () => storesOn(1)));
describe('on four shards', () => proposalStoreContract(async () => storesOn(4)));

describe('races', () => {
  it('[decision:one-winner] [approval:single-use] 200 proposals under 20 simultaneous clicks each settle once and start at most once', async () => {
    const first = storesOn(1);
    await armed(first);
    const clickers = [first, ...Array.from({ length: 4 }, () => storesOn(1, redis.connect()))];
    const executors = Array.from({ length: 4 }, () => storesOn(1, redis.connect()));
    const at = (list: Stores[], i: number) => list[i % list.length] as Stores;

    const clicked = (terms: SealedTerms, n: number) =>
      Promise.all(
        Array.from({ length: 20 }, (_, i) => {
          const person = PersonId.parse(`slack:T0ACME/U${i}`);
          const decision = (i + n) % 2 === 0 ? 'approve' : 'deny';
          return at(clickers, i).store.decide(signedDecision(terms, decision, person));
        }),
      );
    const sealed: SealedTerms[] = [];
    const clicks: Awaited<ReturnType<typeof clicked>>[] = [];
    const starts: Awaited<ReturnType<Stores['store']['admit']>>[][] = [];
    // Ten proposals at a time: for all of them at once a slow machine needs longer than anybody waits for Redis.
    for (let n = 0; n < 200; n += 10) {
      await first.writeSwitch.renewPermits();
      const some = await Promise.all(Array.from({ length: 10 }, () => proposed(first)));
      clicks.push(...(await Promise.all(some.map((terms, i) => clicked(terms, n + i)))));
      starts.push(
        ...(await Promise.all(
          some.map((terms) => Promise.all(executors.map(({ store }) => store.admit(askFor(terms))))),
        )),
      );
      sealed.push(...some);
    }

    let settled = 0;
    let started = 0;
    for (const [n, terms] of sealed.entries()) {
      const answers = clicks[n] ?? [];
      expect(answers.filter((answer) => answer.ok && answer.settled)).toHaveLength(1);
      for (const answer of answers) {
        if (!answer.ok) expect(answer.refusal).toBe('already_settled');
      }
      settled += 1;
      const wins = (starts[n] ?? []).filter((answer) => answer.ok).length;
      const record = await first.store.read(terms.terms.id);
      expect(wins).toBe(record?.state.status === 'executing' ? 1 : 0);
      expect(['executing', 'denied']).toContain(record?.state.status);
      started += wins;
      const kinds = (await auditOf(first, terms)).map((entry) => entry.kind);
      expect(kinds.filter((kind) => kind === 'decision.approve' || kind === 'decision.deny')).toHaveLength(1);
      expect(kinds.filter((kind) => kind === 'admission.granted')).toHaveLength(wins);
    }
    expect(settled).toBe(200);
    expect(started).toBeGreaterThan(0);
    expect(await first.store.pending({ limit: 10 })).toEqual([]);
    expect(await first.writeSwitch.status()).toMatchObject({ pending: 0, approved: 0, executing: started });
  }, 180_000);
});

describe('crashes', () => {
  /** A whole life, with something done to Redis between any two steps. */
  async function lifeWith(between: () => Promise<void>): Promise<string[]> {
    const stores = storesOn(1);
    const { store, outbox } = stores;
    await armed(stores);
    await between();
    await stores.writeSwitch.renewPermits();
    const sealed = await proposed(stores, { rule: { quorum: 2 } });
    const { id } = sealed.terms;
    await between();
    await store.decide(signedDecision(sealed, 'approve', ANA));
    await between();
    await store.decide(signedDecision(sealed, 'approve', BEN));
    await between();
    expect((await store.due(10)).ready).toEqual([id]);
    await stores.writeSwitch.renewPermits();
    const first = await store.admit(askFor(sealed));
    if (!first.ok) throw new Error(first.refusal);
    await between();
    await store.giveBack(first.admission, 'too slow');
    await between();
    await stores.writeSwitch.renewPermits();
    const second = await store.admit(askFor(sealed, 0));
    if (!second.ok) throw new Error(second.refusal);
    await between();
    expect((await store.due(10)).lapsed).toEqual([id]);
    await store.finish(second.admission, { outcome: 'succeeded', result: '1' });
    await between();
    const { revision = 0 } = (await store.read(id)) ?? {};
    const [claim] = (await outbox.claim(10, 60_000)).claims;
    if (claim === undefined) throw new Error('nothing was marked');
    expect(claim).toMatchObject({ id, lane: 'post' });
    await between();
    const card = { team: 'T0ACME', channel: 'C0ACMEAPP', ts: '1.1' };
    await outbox.drawn(claim, { revision, card, posted: { shows: [] } });
    await between();
    expect(await store.read(id)).toMatchObject({ state: { status: 'succeeded' }, cardRevision: revision });
    return (await auditOf(stores, sealed)).map((entry) => entry.kind);
  }

  const WHOLE_LIFE = [
    'proposal.created',
    'decision.approve',
    'decision.approve',
    'proposal.approved',
    'admission.granted',
    'admission.returned',
    'admission.granted',
    'outcome.succeeded',
    'card.posted',
  ];

  it('[audit:every-transition] loses no step where Redis is killed and started again between any two', async () => {
    expect(
      await lifeWith(async () => {
        await redis.server.kill9();
        await redis.server.restart();
      }),
    ).toEqual(WHOLE_LIFE);
  });

  it('goes on where the script cache is lost between any two steps', async () => {
    expect(
      await lifeWith(async () => {
        await redis.client.script('FLUSH', 'SYNC');
      }),
    ).toEqual(WHOLE_LIFE);
  });
});

describe('what others put into Redis', () => {
  it('treats a hash that is no record of ours as not genuine, and lets it be refused with an alarm', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const damage: ((key: string) => Promise<unknown>)[] = [
      (key) => redis.client.hset(key, 'status', 'approved'),
      (key) => redis.client.hset(key, 'status', 'constructor'),
      (key) => redis.client.hdel(key, 'seal'),
      (key) => redis.client.hset(key, 'revision', '1e3'),
      (key) => redis.client.hset(key, 'id', 'prop_00000000000000000000000000'),
      (key) => redis.client.hset(key, 'card', '{"team":1}'),
      (key) => redis.client.hset(key, 'voters', '["slack:T0ACME/U0EVE"]'),
      (key) => redis.client.hset(key, 'voters', '{"__proto__":1}'),
    ];
    for (const harm of damage) {
      const sealed = await proposed(stores);
      const { id } = sealed.terms;
      await harm(proposalKey(id));
      await expect(stores.store.read(id)).rejects.toMatchObject({ code: 'record_malformed', proposal: id });
      await stores.store.refuse(id, { refusal: 'record_malformed', message: 'not ours', alarm: true });
      expect((await auditOf(stores, sealed)).map(({ kind }) => kind)).toContain('alarm.raised');
      expect((await stores.store.admit(askFor(sealed)).catch(() => ({ ok: false }))).ok).toBe(false);
    }
  });

  it('a vote copied under another name is no second vote', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const sealed = await proposed(stores, { rule: { quorum: 2 } });
    await stores.store.decide(signedDecision(sealed, 'approve', ANA));
    const key = proposalKey(sealed.terms.id);
    const vote = (await redis.client.hget(key, `vote:${ANA}`)) ?? '';
    await redis.client.hset(key, { [`vote:${BEN}`]: vote, voters: JSON.stringify([ANA, BEN]) });
    await expect(stores.store.read(sealed.terms.id)).rejects.toMatchObject({ code: 'record_malformed' });
  });

  it('[audit:every-transition] half-applies nothing where one of its keys is of another kind', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const names = ['pending', 'ready', 'executing', 'cards', 'card-leases', 'audit', 'audit-seq'] as const;
    for (const name of names) {
      const sealed = await proposed(stores);
      const ready = await approved(stores);
      const key = shardKey(0, name);
      if ((await redis.client.exists(key)) === 1) await redis.client.rename(key, 'aside');
      await redis.client.rpush(key, 'garbage');
      const before = await everything();
      const fresh = await freshTerms(stores);
      for (const attempt of [
        () => stores.store.create(fresh, ROOMY),
        () => stores.store.decide(signedDecision(sealed, 'approve')),
        () => stores.store.decide(signedDecision(sealed, 'deny')),
        () => stores.store.admit(askFor(ready)),
        () => stores.store.refuse(ready.terms.id, { refusal: 'x', message: 'x', alarm: false }),
      ]) {
        await expect(attempt()).rejects.toMatchObject({ code: 'store_damaged' });
      }
      expect(await everything()).toEqual(before);
      await redis.client.del(key);
      if ((await redis.client.exists('aside')) === 1) await redis.client.rename('aside', key);
    }
  });

  it('keeps hostile names inside their own keys', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const keys = new Set(await redis.client.keys('*'));
    for (const idempotencyKey of ['*', '{s9}:switch', 'a:b\n\u0000', 'k'.repeat(10_000), '\ud800', '']) {
      await proposed(stores, { idempotencyKey: idempotencyKey.replace(/[\ud800-\udfff]/gu, '\ufffd') });
    }
    const added = (await redis.client.keys('*')).filter((key) => !keys.has(key));
    expect(added.filter((key) => key.includes(':idem:'))).toHaveLength(6);
    for (const key of added) expect(key).toMatch(/^\{s0\}:[a-z0-9_.:-]+$/);
  });

  it('a counter that was deleted, or lost a member, is missing and not zero', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const create = async (counterKey: string) => {
      const automatic = { budget: { counterKey, max: 3, perMs: 3_600_000 } };
      const sealed = await freshTerms(stores, { automatic });
      return { sealed, answer: await stores.store.create(sealed, ROOMY) };
    };
    const { sealed } = await create('whole');
    await redis.client.del('{s0}:budget:whole');
    expect((await create('whole')).answer).toEqual({ created: 'budget_missing' });
    expect(await stores.store.admit(askFor(sealed))).toMatchObject({ ok: false, refusal: 'budget_missing' });

    await create('member');
    const taken = (await create('member')).sealed.terms.id;
    await redis.client.zrem('{s0}:budget:member', taken);
    expect((await create('member')).answer).toEqual({ created: 'budget_missing' });

    await create('companion');
    await redis.client.del('{s0}:budgets');
    expect((await create('companion')).answer).toEqual({ created: 'budget_missing' });
  });

  it('of counters that no window reaches back to nothing is kept: agents come and go', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const now = await stores.store.now();
    const day = 24 * 60 * 60 * 1000;
    const counters = Array.from({ length: 20 }, (_, i) => [`gone-${i}`, `1 ${now - 32 * day}`] as const);
    await redis.client.hset('{s0}:budgets', new Map(counters));
    await redis.client.hset('{s0}:budgets', 'lately', `0 ${now - 30 * day}`);
    const automatic = { budget: { counterKey: 'here', max: 1_000, perMs: 3_600_000 } };
    for (let i = 0; i < 500 && (await redis.client.hlen('{s0}:budgets')) > 2; i += 1) {
      await stores.store.create(await freshTerms(stores, { automatic }), ROOMY);
    }
    expect((await redis.client.hkeys('{s0}:budgets')).toSorted()).toEqual(['here', 'lately']);
  });

  it('[switch:off-then-on-resurrects-nothing] a proposal restored from before the flip is halted when it is touched', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const pending = await proposed(stores);
    const ready = await approved(stores);
    const snapshots = await Promise.all(
      [pending, ready].map(
        async ({ terms }) =>
          [proposalKey(terms.id), await redis.client.dumpBuffer(proposalKey(terms.id))] as const,
      ),
    );
    await stores.writeSwitch.off({ scope: {}, by: OPERATOR, why: 'incident' });
    const { epoch } = await stores.writeSwitch.status();
    await stores.writeSwitch.on({ scope: {}, by: OPERATOR, why: 'over', expectedEpoch: epoch });
    for (const [key, dump] of snapshots) {
      if (dump) await redis.client.restore(key, '0', dump, 'REPLACE');
    }
    for (const refused of [
      await stores.store.decide(signedDecision(pending, 'approve')),
      await stores.store.admit(askFor(ready)),
    ]) {
      expect(refused).toMatchObject({
        ok: false,
        refusal: 'writes_off',
        record: { state: { status: 'halted', cause: { by: OPERATOR, why: 'incident' } } },
      });
    }
  });
});

describe('limits of the server', () => {
  afterEach(async () => {
    await redis.client.config('SET', 'maxmemory', '0');
  });

  it('out of memory it refuses what allows, and still does what stops and what settles', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const [toApprove, toDeny, ready, other] = [
      await proposed(stores),
      await proposed(stores),
      await approved(stores),
      await approved(stores),
    ];
    const running = await stores.store.admit(askFor(other));
    if (!running.ok) throw new Error(running.refusal);
    const fresh = await freshTerms(stores);
    await redis.client.config('SET', 'maxmemory', '100kb');

    await expect(stores.store.create(fresh, ROOMY)).rejects.toMatchObject({ code: 'store_unavailable' });
    await expect(stores.store.decide(signedDecision(toApprove, 'approve'))).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    await expect(stores.store.admit(askFor(ready))).rejects.toMatchObject({ code: 'store_unavailable' });
    expect((await stores.store.read(toApprove.terms.id))?.state).toEqual({
      status: 'pending',
      approvals: [],
    });
    expect(await stores.store.decide(signedDecision(toDeny, 'deny'))).toMatchObject({ settled: true });
    expect(await stores.store.finish(running.admission, { outcome: 'succeeded', result: '1' })).toBe(
      'settled',
    );
    const off = await stores.writeSwitch.off({ scope: {}, by: OPERATOR });
    expect(off).toMatchObject({ confirmed: true });
    expect(await haltedBy(off)).toEqual([toApprove.terms.id, ready.terms.id].sort());
  });

  it('keeps what is settled for a week, and what is open for ever', async () => {
    const stores = storesOn(1);
    await armed(stores);
    const sealed = await proposed(stores, { idempotencyKey: 'k' });
    const keys = [proposalKey(sealed.terms.id), ...(await redis.client.keys('*:idem:*'))];
    for (const key of keys) expect(await redis.client.pttl(key)).toBe(-1);
    await stores.store.decide(signedDecision(sealed, 'deny'));
    for (const key of keys) {
      const left = (await redis.client.pttl(key)) / 3_600_000;
      expect(left).toBeGreaterThan(167.9);
      expect(left).toBeLessThanOrEqual(168);
    }
  });
});

describe('with Redis gone', () => {
  const opened: RedisConnections[] = [];
  afterEach(async () => {
    for (const connections of opened.splice(0)) connections.close();
  });

  function everyMethod(
    stores: Stores,
    sealed: Parameters<typeof askFor>[0],
  ): [string, () => Promise<unknown>][] {
    const { store, outbox, writeSwitch, audit } = stores;
    const { id, context } = sealed.terms;
    const admission = mintAdmission({
      proposal: id,
      id: randomBytes(16).toString('hex'),
      executor: 'e',
      admittedAt: 1,
    });
    const claim = { id, lane: 'post', tenant: 'acme', lease: '1' } as const;
    const card = { team: 'T', channel: 'C', ts: '1' };
    const asker = { agent: AgentId.parse('support-bot'), principal: context.principal };
    return [
      ['create', () => store.create(sealed, ROOMY)],
      ['read', () => store.read(id)],
      ['decide', () => store.decide(signedDecision(sealed, 'approve'))],
      ['withdraw', () => store.withdraw(id, asker)],
      ['expire', () => store.expire(id)],
      ['admit', () => store.admit(askFor(sealed))],
      ['extendLease', () => store.extendLease(admission, 1_000)],
      ['giveBack', () => store.giveBack(admission, 'x')],
      ['finish', () => store.finish(admission, { outcome: 'unknown', why: 'x' })],
      ['declareUnknown', () => store.declareUnknown(id, 'x')],
      ['refuse', () => store.refuse(id, { refusal: 'x', message: 'x', alarm: true })],
      ['due', () => store.due(1)],
      ['pending', () => store.pending({ limit: 1 })],
      ['now', () => store.now()],
      ['claim', () => outbox.claim(1, 1)],
      ['begin', () => outbox.begin(claim)],
      ['drawn', () => outbox.drawn(claim, { revision: 1, card })],
      ['skip', () => outbox.skip(claim, 1)],
      ['told', () => outbox.told(claim)],
      ['postpone', () => outbox.postpone(claim, 1)],
      ['abandon', () => outbox.abandon(claim, 'x')],
      ['seen', () => outbox.seen(id, card)],
      ['lost', () => outbox.lost(id, card)],
      ['repair', () => outbox.repair()],
      ['turn', () => outbox.turn('x', { burst: 1, everyMs: 1 })],
      ['pause', () => outbox.pause('x', { burst: 1, everyMs: 1 }, 1)],
      ['onMarked', () => outbox.onMarked(() => {})],
      ['switch.read', () => writeSwitch.read(context, 'ticket.close')],
      ['switch.status', () => writeSwitch.status()],
      ['switch.on', () => writeSwitch.on({ scope: {}, by: OPERATOR, why: 'x', expectedEpoch: 0 })],
      ['switch.renewPermits', () => writeSwitch.renewPermits()],
      ['audit.append', () => audit.append({ kind: 'call.forbidden', tenant: 'acme', detail: {} })],
      ['audit.read', () => audit.read({ limit: 1 })],
    ];
  }

  it.each(['stopped', 'frozen'] as const)(
    '[redis:down-means-no] every method says so while Redis is %s, and works again after it is back',
    async (how) => {
      const connections = openRedis({ connection: redis.connectionOptions });
      opened.push(connections);
      // Also over a connection that would wait for ever by itself.
      for (const [client, subscriber] of [
        [connections.redis, connections.subscriber],
        [redis.connect(), redis.connect()],
      ] as const) {
        await redis.flush();
        const stores = storesOn(1, client, subscriber);
        await armed(stores);
        const sealed = await freshTerms(stores);
        const { pid } = redis.server;
        if (how === 'stopped') await redis.server.stop();
        else process.kill(pid, 'SIGSTOP');
        try {
          const failures = await Promise.all(
            everyMethod(stores, sealed).map(async ([name, call]) => [
              name,
              await call().then(
                () => 'answered',
                (error: { code?: string }) => error.code ?? String(error),
              ),
            ]),
          );
          expect(failures.filter(([, code]) => code !== 'store_unavailable')).toEqual([]);
        } finally {
          if (how === 'stopped') await redis.server.restart();
          else process.kill(pid, 'SIGCONT');
        }
        await expect.poll(() => stores.store.now().catch(() => 0)).toBeGreaterThan(0);
      }
    },
  );
});
