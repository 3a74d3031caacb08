import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { AgentId, PersonId } from '../../src/core/identity/ids.ts';
import type { CardClaim } from '../../src/core/proposal/proposal-store.ts';
import { ArmingRequestsRedis } from '../../src/redis/arming-requests-redis.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import {
  admitted,
  approved,
  armed,
  askFor,
  freshTerms,
  OPERATOR,
  proposed,
  ROOMY,
  type Stores,
} from '../contracts/proposal-store.contract.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ANA, BEN, signedDecision, testKeys } from '../sealed-terms.ts';

const STREAM = '{s0}:audit';
const redis = redisForTests();

let writeSwitch: WriteSwitchRedis | undefined;
// Ends the attempts to confirm an off that could not be recorded.
afterEach(() => writeSwitch?.stop());

function stores(auditBacklogMax?: number): Stores {
  const connections = { redis: redis.client, subscriber: redis.connect(), shards: 1 };
  writeSwitch = new WriteSwitchRedis({ ...connections, startDeadlineMs: 5 });
  return {
    shards: 1,
    store: new ProposalStoreRedis({
      ...connections,
      keys: [testKeys.proposal],
      ...(auditBacklogMax === undefined ? {} : { auditBacklogMax }),
    }),
    outbox: new CardOutboxRedis(connections),
    writeSwitch,
    audit: new AuditLogRedis(connections),
  };
}

async function everything(): Promise<Record<string, string>> {
  const keys = (await redis.client.keys('*')).sort();
  const dumps = await Promise.all(keys.map((key) => redis.client.dumpBuffer(key)));
  return Object.fromEntries(keys.map((key, i) => [key, dumps[i]?.toString('hex') ?? '']));
}

const IMPOSSIBLE: Record<string, () => Promise<unknown>> = {
  'something else stands where the stream belongs': async () => {
    await redis.client.del(STREAM);
    await redis.client.set(STREAM, 'garbage');
  },
  'the stream takes no entry any more': () =>
    redis.client.xadd(STREAM, '18446744073709551615-18446744073709551615', 'the', 'last'),
};

/** Each makes ready what it needs, and gives back the step. */
const STEPS: Record<string, (s: Stores) => Promise<() => Promise<unknown>>> = {
  'a proposal': async (s) => {
    const fresh = await freshTerms(s);
    return () => s.store.create(fresh, ROOMY);
  },
  'a proposal that the policy approves': async (s) => {
    const budget = { counterKey: 'c', max: 3, perMs: 3_600_000 };
    const fresh = await freshTerms(s, { automatic: { budget } });
    return () => s.store.create(fresh, ROOMY);
  },
  'an approval of two': async (s) => {
    const sealed = await proposed(s, { rule: { quorum: 2 } });
    return () => s.store.decide(signedDecision(sealed, 'approve', ANA));
  },
  'the approval that settles': async (s) => {
    const sealed = await proposed(s);
    return () => s.store.decide(signedDecision(sealed, 'approve', ANA));
  },
  'a denial': async (s) => {
    const sealed = await proposed(s);
    return () => s.store.decide(signedDecision(sealed, 'deny', BEN));
  },
  'an approval that is taken back': async (s) => {
    const sealed = await proposed(s, { rule: { quorum: 2 } });
    await s.store.decide(signedDecision(sealed, 'approve', ANA));
    return () => s.store.revoke(sealed.terms.id, { person: PersonId.parse(ANA), why: 'left' });
  },
  'an edit': async (s) => {
    const sealed = await proposed(s);
    const edited = await freshTerms(s, { arguments: { ticket: 'T-2' } });
    return () => s.store.edit(sealed, edited);
  },
  'an expiry': async (s) => {
    const { id } = (await proposed(s, { rule: { expiresInMs: 1 } })).terms;
    await pastDeadline();
    return () => s.store.expire(id);
  },
  'a reminder': async (s) => {
    const { id } = (await proposed(s, { rule: { remindAfterMs: 1 } })).terms;
    await pastDeadline();
    return () => s.store.fireTimers(id);
  },
  'a withdrawal': async (s) => {
    const { id, context } = (await proposed(s)).terms;
    return () => s.store.withdraw(id, { agent: AgentId.parse(context.agent), principal: context.principal });
  },
  'an admission': async (s) => {
    const ask = askFor(await approved(s));
    return () => s.store.admit(ask);
  },
  'an admission that is given back': async (s) => {
    const { admission } = await admitted(s);
    return () => s.store.giveBack(admission, 'too slow');
  },
  'an outcome': async (s) => {
    const { admission } = await admitted(s);
    return () => s.store.finish(admission, { outcome: 'succeeded', result: '{}' });
  },
  'an outcome that nobody knows': async (s) => {
    const { sealed } = await admitted(s, 1);
    await pastDeadline();
    return () => s.store.declareUnknown(sealed.terms.id, 'its lease lapsed');
  },
  'a refusal with an alarm': async (s) => {
    const { id } = (await approved(s)).terms;
    return () => s.store.refuse(id, { refusal: 'x', message: 'x', alarm: true });
  },
  'a card that was posted': async (s) => {
    await proposed(s);
    const claim = await firstCard(s);
    await s.outbox.begin(claim);
    const card = { team: 'T0ACME', channel: 'C0ACMEAPP', ts: '1.2' };
    return () => s.outbox.drawn(claim, { revision: 1, card, posted: { shows: [] } });
  },
  'a card that is given up': async (s) => {
    await proposed(s);
    const claim = await firstCard(s);
    return () => s.outbox.abandon(claim, 'the channel is archived');
  },
  'a call that was refused': async (s) => () =>
    s.audit.append({ kind: 'call.forbidden', tenant: 'acme', detail: {} }),
  'a first word for writes on again': async (s) => {
    await s.writeSwitch.off({ scope: {}, by: OPERATOR });
    const { epoch } = await s.writeSwitch.status();
    const arming = new ArmingRequestsRedis({ redis: redis.client });
    return () => arming.ask({ scope: {}, why: 'again', epoch, person: PersonId.parse(ANA), quorum: 2 });
  },
  'writes on again': async (s) => {
    await s.writeSwitch.off({ scope: {}, by: OPERATOR });
    const { epoch } = await s.writeSwitch.status();
    return () => s.writeSwitch.on({ scope: {}, by: OPERATOR, why: 'again', expectedEpoch: epoch });
  },
};

it.each(Object.keys(STEPS))('[audit:every-transition] an entry comes of %s', async (name) => {
  const s = stores();
  await armed(s);
  const step = await STEPS[name]?.(s);
  const before = await redis.client.xlen(STREAM);
  await step?.();
  expect(await redis.client.xlen(STREAM)).toBeGreaterThan(before);
});

describe.each(Object.keys(IMPOSSIBLE))('where %s', (how) => {
  it.each(Object.keys(STEPS))('[audit:every-transition] nothing at all comes of %s', async (name) => {
    const s = stores();
    await armed(s);
    const step = await STEPS[name]?.(s);
    await IMPOSSIBLE[how]?.();
    const before = await everything();
    await expect(step?.() ?? Promise.resolve()).rejects.toThrow();
    expect(await everything()).toEqual(before);
  });

  it('[switch:fails-closed] off still turns writes off, and does not say that all is well', async () => {
    const s = stores();
    await armed(s);
    const sealed = await approved(s);
    await IMPOSSIBLE[how]?.();
    const answer = await s.writeSwitch.off({ scope: {}, by: OPERATOR });
    expect(answer.confirmed).toBe(false);
    expect(await s.writeSwitch.read(sealed.terms.context, 'ticket.close')).toMatchObject({
      writes: { state: 'off' },
    });
  });
});

describe('where too much waits to be sealed', () => {
  const sealAll = async () => {
    const length = await redis.client.xlen(STREAM);
    await redis.client.hset('{s0}:audit-sealed', 'kept', String(length));
  };

  it('[audit:every-transition] no proposal is taken, and what has begun goes on to its end', async () => {
    const s = stores(12);
    await armed(s);
    const [waiting, begun] = [await proposed(s), await admitted(s)];
    for (let i = 0; i < 12; i += 1)
      await s.audit.append({ kind: 'call.forbidden', tenant: 'acme', detail: {} });
    const unsealed = await redis.client.xlen(STREAM);
    const fresh = await freshTerms(s);
    expect(await s.store.create(fresh, ROOMY)).toEqual({ created: 'audit_behind', unsealed });
    expect(await s.store.read(fresh.terms.id)).toBeUndefined();
    // An answer that was lost is given again all the same.
    expect(await s.store.create(waiting, ROOMY)).toMatchObject({ created: 'joined' });
    expect(await s.store.decide(signedDecision(waiting, 'deny', BEN))).toMatchObject({
      ok: true,
      settled: true,
    });
    await s.store.finish(begun.admission, { outcome: 'succeeded', result: '{}' });
    expect(await s.writeSwitch.off({ scope: {}, by: OPERATOR })).toMatchObject({ confirmed: true });
    await armed(s);

    await sealAll();
    expect(await s.store.create(await freshTerms(s), ROOMY)).toMatchObject({ created: 'new' });
  });

  it('nothing that stands there instead of a count makes room', async () => {
    const s = stores(1);
    await armed(s);
    await s.audit.append({ kind: 'call.forbidden', tenant: 'acme', detail: {} });
    for (const kept of ['nan', 'inf', '-5', '1e9', '0x99', '9999999999999999']) {
      await redis.client.hset('{s0}:audit-sealed', 'kept', kept);
      expect(await s.store.create(await freshTerms(s), ROOMY)).toMatchObject({ created: 'audit_behind' });
    }
    await redis.client.del('{s0}:audit-sealed');
    await redis.client.set('{s0}:audit-sealed', '99');
    expect(await s.store.create(await freshTerms(s), ROOMY)).toMatchObject({ created: 'audit_behind' });
  });
});

/** Of what lapses a millisecond after it was made. */
const pastDeadline = () => sleep(10);

async function firstCard({ outbox }: Stores): Promise<CardClaim> {
  const { claims } = await outbox.claim(1, 60_000);
  if (claims[0] === undefined) throw new Error('no card waits');
  return claims[0];
}
