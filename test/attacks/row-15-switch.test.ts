import { afterEach, beforeEach, expect } from 'vitest';
import { z } from 'zod';
import { TenantId } from '../../src/core/identity/ids.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import { shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { ToolName } from '../../src/core/tool/tool-name.ts';
import { CallError } from '../../src/guard/call-errors.ts';
import { shardKey } from '../../src/redis/keys.ts';
import { SHARDS, TOKENS } from '../queue/running-parts.ts';
import { POLICY_TEXT, policyOf, REQUESTER, sealedCall, TOOLS } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { AttackedParts } from './attacked-parts.ts';

const redis = redisForTests();
let parts: AttackedParts;
const SHARD = shardOfTenant(TenantId.parse('acme'), SHARDS);
const SWITCH = shardKey(SHARD, 'switch');
const CLOSING = { tool: ToolName.parse('ticket.close') };
const PERMIT = shardKey(SHARD, 'armed');

/** Nobody renews the permits here: what a test did to them stays so. */
beforeEach(async () => {
  parts = new AttackedParts(redis.connectionOptions);
  clearInterval(parts.renewal);
  await parts.armWrites();
});
afterEach(async () => {
  for (const guard of parts.guards) await guard.close();
  await parts.close();
});

const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: REQUESTER as string,
  run: 'run-1',
};

const approved = () => parts.approvedCall({ args: parts.ticket() });

/** What was approved before does not start, and nothing new is proposed. */
async function closed(sealed: SealedTerms): Promise<void> {
  const before = parts.ran.length;
  await parts.attempt(sealed.terms.id).catch(() => undefined);
  expect(parts.ran).toHaveLength(before);
  const proposing = parts.guard().propose({ tool: 'ticket.close', args: parts.ticket() }, CONTEXT);
  await expect(proposing).rejects.toBeInstanceOf(CallError);
  await expect(proposing).rejects.toMatchObject({
    code: expect.stringMatching(/^(writes_disabled|unavailable)$/),
  });
}

const fields: [string, () => Promise<unknown>][] = [
  ...['ON', 'true', '1', 'on ', 'armed', '', 'on\u0000', 'offon', '{"state":"on"}'].map(
    (state): [string, () => Promise<unknown>] => [
      `a state ${JSON.stringify(state)}`,
      () => parts.redis.hset(SWITCH, 'state', state),
    ],
  ),
  ...['', '-1', '1e3', 'nan', 'inf', '0x10', ' 1', '1 ', '1.0', '٣', '9'.repeat(40), '0'].map(
    (epoch): [string, () => Promise<unknown>] => [
      `an epoch ${JSON.stringify(epoch.slice(0, 12))}, on the permit as well`,
      async () => {
        await parts.redis.hset(SWITCH, 'epoch', epoch);
        await parts.redis.set(PERMIT, epoch, 'KEEPTTL');
      },
    ],
  ),
  ['no state', () => parts.redis.hdel(SWITCH, 'state')],
  ['no epoch', () => parts.redis.hdel(SWITCH, 'epoch')],
  ['no switch', () => parts.redis.del(SWITCH)],
];

const kinds: [string, () => Promise<unknown>][] = [
  ['a switch that is a text', () => parts.redis.set(SWITCH, 'on')],
  ['a switch that is a list', () => replaced(SWITCH, () => parts.redis.rpush(SWITCH, 'state', 'on'))],
  ['a switch that is a set', () => replaced(SWITCH, () => parts.redis.zadd(SWITCH, 1, 'on'))],
  ['no permit', () => parts.redis.del(PERMIT)],
  ['a permit that has lapsed', () => parts.redis.pexpire(PERMIT, 0)],
  ['a permit that never lapses', () => parts.redis.persist(PERMIT)],
  ['a permit of an earlier epoch', () => parts.redis.set(PERMIT, '0', 'KEEPTTL')],
  ['a permit of a later epoch', () => parts.redis.set(PERMIT, '9999', 'KEEPTTL')],
  ['a permit that says on', () => parts.redis.set(PERMIT, 'on', 'KEEPTTL')],
  ['a permit with a zero before', permitWith((text) => `0${text}`)],
  ['a permit with a space after', permitWith((text) => `${text} `)],
  ['a permit that is a hash', () => replaced(PERMIT, () => parts.redis.hset(PERMIT, 'epoch', '1'))],
  ['a permit that is a list', () => replaced(PERMIT, () => parts.redis.rpush(PERMIT, '1'))],
];
function permitWith(change: (text: string) => string) {
  return async () => {
    const text = (await parts.redis.get(PERMIT)) ?? '';
    return parts.redis.set(PERMIT, change(text), 'KEEPTTL');
  };
}
async function replaced(key: string, put: () => Promise<unknown>): Promise<void> {
  await parts.redis.del(key);
  await put();
  await parts.redis.pexpire(key, 5_000);
}

const scopes: [string, () => Promise<unknown>][] = [
  ['an entry for everything that is garbage', () => parts.redis.hset(SWITCH, 'off:*', 'x')],
  ['an entry for the tenant that is empty', () => parts.redis.hset(SWITCH, 'off:tenant=acme', '')],
  ['an entry for the tool that is no JSON', () => parts.redis.hset(SWITCH, 'off:tool=ticket.close', '{')],
];

const garbage: AttackCase[] = [...fields, ...kinds, ...scopes].map(([title, damage]) => [
  `[switch:fails-closed] ${title}`,
  async () => {
    const sealed = await approved();
    await damage();
    await closed(sealed);
  },
]);

const lost: AttackCase[] = [
  [
    '[switch:fails-closed] everything is flushed',
    async () => {
      const sealed = await approved();
      await redis.flush();
      await closed(sealed);
      expect(await parts.store.read(sealed.terms.id)).toBeUndefined();
    },
  ],
  [
    '[switch:fails-closed] the switch and the permit of one shard are flushed, and the proposals stand',
    async () => {
      const sealed = await approved();
      await parts.redis.del(SWITCH, PERMIT);
      await parts.writeSwitch.renewPermits();
      await closed(sealed);
    },
  ],
  [
    '[switch:fails-closed] the switch is put back as it was before off, before whom saw it off',
    async () => {
      const copies = await Promise.all([SWITCH, PERMIT].map((key) => parts.redis.dumpBuffer(key)));
      await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
      // Each answer of the store tells the epoch to who asked.
      expect(await parts.store.create(await freshTerms(), LIMITS)).toMatchObject({ created: 'writes_off' });
      await parts.redis.restore(SWITCH, 0, copies[0] as Buffer, 'REPLACE');
      await parts.redis.restore(PERMIT, 5_000, copies[1] as Buffer, 'REPLACE');
      expect(await parts.store.create(await freshTerms(), LIMITS)).toMatchObject({ created: 'writes_off' });
    },
  ],
  [
    '[switch:off-then-on-resurrects-nothing] the epoch of the last off is garbage',
    async () => {
      const sealed = await approved();
      await parts.redis.hset(SWITCH, 'last:*', 'nan');
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[redis:down-means-no] Redis is gone when the call is to start',
    async () => {
      const sealed = await approved();
      await redis.server.kill9();
      try {
        await expect(parts.attempt(sealed.terms.id)).rejects.toThrow();
        expect(parts.ran).toEqual([]);
      } finally {
        await redis.server.restart();
      }
    },
  ],
  [
    '[switch:dead-man] nobody renews the permit any more',
    async () => {
      const sealed = await approved();
      await parts.redis.pexpire(PERMIT, 50);
      await expect.poll(() => parts.redis.exists(PERMIT), { timeout: 10_000 }).toBe(0);
      await closed(sealed);
    },
  ],
];

const LIMITS = { pendingPerAgent: 100, pendingPerTenant: 100 };
async function freshTerms(): Promise<SealedTerms> {
  const switchEpoch = Number(await parts.redis.hget(SWITCH, 'epoch'));
  return sealedCall({ shards: SHARDS, now: await parts.store.now(), switchEpoch });
}

const races: AttackCase[] = [
  [
    '[switch:off-means-no-start] off while thirty calls start: none starts after its answer',
    async () => {
      const calls = await Promise.all(Array.from({ length: 30 }, approved));
      const executors = [1, 2, 3].map(() => parts.executor({ startDeadlineMs: 50 }));
      const attempts = calls.map(({ terms }, i) => executors[i % 3]?.attempt(terms.id));
      const off = await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
      expect(off.confirmed).toBe(true);
      const started = parts.ran.length;
      await Promise.all(attempts);
      for (const { terms } of calls) await parts.attempt(terms.id);
      expect(parts.ran).toHaveLength(started);
    },
  ],
  [
    '[switch:off-means-no-start] off while the executor fetches credentials',
    async () => {
      const sealed = await approved();
      const credentials: typeof TOKENS = {
        fetch: async (...asked) => {
          await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
          return TOKENS.fetch(...asked);
        },
      };
      expect(await parts.attempt(sealed.terms.id, { credentials })).toMatchObject({ status: 'halted' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[switch:off-then-on-resurrects-nothing] off and on while the executor fetches credentials',
    async () => {
      const sealed = await approved();
      const credentials: typeof TOKENS = {
        fetch: async (...asked) => {
          await parts.writeSwitch.off({ scope: CLOSING, by: 'cli:test', why: 'incident' });
          const { epoch } = await parts.writeSwitch.status();
          await parts.writeSwitch.on({ scope: CLOSING, by: 'cli:test', why: 'x', expectedEpoch: epoch });
          return TOKENS.fetch(...asked);
        },
      };
      expect(await parts.attempt(sealed.terms.id, { credentials })).toMatchObject({ status: 'halted' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[switch:fails-closed] two turn it on at one epoch: one of them does',
    async () => {
      await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
      const { epoch } = await parts.writeSwitch.status();
      const on = { scope: EVERYTHING, by: 'cli:test', why: 'x', expectedEpoch: epoch } as const;
      const answers = await Promise.all([parts.writeSwitch.on(on), parts.writeSwitch.on(on)]);
      expect(answers.filter(({ ok }) => ok)).toHaveLength(1);
      await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'again' });
      expect(await parts.writeSwitch.on(on)).toMatchObject({ ok: false });
    },
  ],
];

attackRow(15, {
  attacks: [...garbage, ...lost, ...races],
  twins: [
    [
      'a switch that is on, with its permit, lets an approved call start',
      async () => {
        const { terms } = await approved();
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'a permit that lapsed and was renewed lets what was approved before start',
      async () => {
        const { terms } = await approved();
        await parts.redis.del(PERMIT);
        await parts.attempt(terms.id);
        expect(parts.ran).toEqual([]);
        await parts.writeSwitch.renewPermits();
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'off for another tool stops nothing here',
      async () => {
        const { terms } = await approved();
        await parts.writeSwitch.off({
          scope: { tool: ToolName.parse('db.write') },
          by: 'cli:test',
          why: 'x',
        });
        await parts.writeSwitch.renewPermits();
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      '[switch:reads-stay-on] reads go on with no switch at all',
      async () => {
        const read = parts.tool('ticket.read', z.strictObject({ ticket: z.string() }), { effect: 'read' });
        const text = POLICY_TEXT.replace('allow: [', 'allow: [ticket.read, ');
        const policy = new PolicyHolder(policyOf(text, [...TOOLS, read]));
        await redis.flush();
        const guard = parts.guard({ policy, tools: [...TOOLS, read] });
        const answer = await guard.call({ tool: 'ticket.read', args: { ticket: 'T-1' } }, CONTEXT);
        expect(answer).toEqual({ done: true });
      },
    ],
  ],
});
