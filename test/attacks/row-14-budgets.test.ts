import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { z } from 'zod';
import { TenantId } from '../../src/core/identity/ids.ts';
import { PolicyInvalidError } from '../../src/core/policy/policy-load.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import { shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { InvalidArguments, PermissionDenied } from '../../src/guard/call-errors.ts';
import { budgetKey, shardKey } from '../../src/redis/keys.ts';
import { SHARDS } from '../queue/running-parts.ts';
import {
  createTicket,
  POLICY_TEXT,
  policyOf,
  REQUESTER,
  sealedCall,
  TOOLS,
  writeDatabase,
} from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const parts = attackedParts(redisForTests({ emptied: 'once' }));
const LIMITS = { pendingPerAgent: 1_000, pendingPerTenant: 1_000 };
const SHARD = shardOfTenant(TenantId.parse('acme'), SHARDS);

/** Three an hour for each agent, of either tool; what is over goes to people. */
const THREE = POLICY_TEXT.replace('[ticket.create]', '[ticket.create, db.write]').replace(
  'max: 20',
  'max: 3',
);
const policy = policyOf(THREE);

/** An agent with a counter of its own. */
const newAgent = () => `bot-${randomBytes(6).toString('hex')}`;

async function sealedFor(agent: string, tool = createTicket): Promise<SealedTerms> {
  const { epoch } = await parts.writeSwitch.status();
  const args = tool === writeDatabase ? { row: 1 } : { title: 'printer' };
  return sealedCall({
    tool,
    args,
    policy,
    shards: SHARDS,
    now: await parts.store.now(),
    switchEpoch: epoch,
    context: { agent },
  });
}

async function tried(agent: string, tool = createTicket): Promise<string> {
  return (await parts.store.create(await sealedFor(agent, tool), LIMITS)).created;
}

async function reserved(agent: string): Promise<SealedTerms> {
  const sealed = await sealedFor(agent);
  expect((await parts.store.create(sealed, LIMITS)).created).toBe('new');
  return sealed;
}

function counterOf({ terms }: SealedTerms): string {
  const { basis } = terms;
  if (basis.kind !== 'policy' || basis.budget === undefined) throw new Error('no budget');
  return basis.budget.counterKey;
}

const counting = (created: string[]) => created.filter((one) => one === 'new').length;

const races: AttackCase[] = [
  [
    'thirty calls at once, where three are left',
    async () => {
      const agent = newAgent();
      const created = await Promise.all(Array.from({ length: 30 }, () => tried(agent)));
      expect(counting(created)).toBe(3);
      expect(created.filter((one) => one === 'over_budget')).toHaveLength(27);
    },
  ],
  [
    'twenty calls at once through four guards: three run alone, people are asked about the rest',
    async () => {
      const context = {
        tenant: 'acme',
        environment: 'production',
        agent: newAgent(),
        principal: REQUESTER as string,
        run: 'run-1',
      };
      const guards = Array.from({ length: 4 }, () => parts.guard({ policy: THREE, tools: TOOLS }));
      const handles = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          guards[i % 4]?.propose({ tool: 'ticket.create', args: { title: `n ${i}` } }, context),
        ),
      );
      const statuses = await Promise.all(handles.map((handle) => handle?.status()));
      expect(statuses.filter((status) => status === 'approved')).toHaveLength(3);
      expect(statuses.filter((status) => status === 'pending')).toHaveLength(17);
    },
  ],
  [
    'calls of another tool that the same entry covers',
    async () => {
      const agent = newAgent();
      const created: string[] = [];
      for (const tool of [createTicket, writeDatabase, createTicket, writeDatabase]) {
        created.push(await tried(agent, tool));
      }
      expect(created).toEqual(['new', 'new', 'new', 'over_budget']);
    },
  ],
  [
    'small calls, one after the other, from many runs',
    async () => {
      const agent = newAgent();
      const created: string[] = [];
      for (let i = 0; i < 8; i += 1) created.push(await tried(agent));
      expect(counting(created)).toBe(3);
      expect(created.lastIndexOf('new')).toBe(2);
    },
  ],
  [
    'calls that were refused at the start give nothing back',
    async () => {
      const agent = newAgent();
      for (let i = 0; i < 3; i += 1) {
        const { terms } = await reserved(agent);
        await parts.store.refuse(terms.id, { refusal: 'x', message: 'x', alarm: false });
      }
      expect(await tried(agent)).toBe('over_budget');
    },
  ],
  [
    'one proposal, written five times, takes one and is one',
    async () => {
      const agent = newAgent();
      const sealed = await sealedFor(agent);
      const created = await Promise.all([1, 2, 3, 4, 5].map(() => parts.store.create(sealed, LIMITS)));
      expect(counting(created.map((one) => one.created))).toBe(1);
      await reserved(agent);
      await reserved(agent);
      expect(await tried(agent)).toBe('over_budget');
    },
  ],
];

/** Somebody who can write Redis, with three reserved: nothing new comes in. */
const damages: [string, (key: string, field: string) => Promise<unknown>][] = [
  ['the counter is deleted', (key) => parts.redis.del(key)],
  ['one reservation is taken out', (key) => parts.redis.zpopmin(key)],
  ['two reservations are taken out', (key) => parts.redis.zpopmax(key, 2)],
  ['a reservation is added', (key) => parts.redis.zadd(key, Date.now(), 'x')],
  ['what it is compared with is deleted', (_, field) => companion('hdel', field)],
  ['what it is compared with says none', (_, field) => companion('hset', field, `0 ${Date.now()}`)],
  ['what it is compared with says fewer', (_, field) => companion('hset', field, `1 ${Date.now()}`)],
  ['what it is compared with is no count', (_, field) => companion('hset', field, 'nan inf')],
  ['what it is compared with is below zero', (_, field) => companion('hset', field, '-3 1')],
  ['what it is compared with is empty', (_, field) => companion('hset', field, '')],
];
function companion(how: 'hset' | 'hdel', field: string, value = ''): Promise<unknown> {
  const key = shardKey(SHARD, 'budgets');
  return how === 'hset' ? parts.redis.hset(key, field, value) : parts.redis.hdel(key, field);
}
const damaged: AttackCase[] = damages.map(([title, damage]) => [
  `a missing count is not zero: ${title}`,
  async () => {
    const agent = newAgent();
    const [sealed] = [await reserved(agent), await reserved(agent), await reserved(agent)];
    const counter = counterOf(sealed);
    await damage(budgetKey(SHARD, counter), counter);
    expect(await tried(agent)).toBe('budget_missing');
  },
]);

const atTheStart: AttackCase[] = [
  [
    '[execution:the-executor-judges-again] the reservation of an approved call is gone',
    async () => {
      const sealed = await reserved(newAgent());
      await parts.redis.zrem(budgetKey(SHARD, counterOf(sealed)), sealed.terms.id);
      await parts.refused(sealed.terms.id, 'budget_missing', parts.under(policy));
    },
  ],
  [
    '[execution:the-executor-judges-again] counter and companion are deleted after each three: the executor counts its own starts',
    async () => {
      const agent = newAgent();
      const executor = parts.executor(parts.under(policy));
      const statuses: string[] = [];
      for (let i = 0; i < 6; i += 1) {
        const sealed = await reserved(agent);
        statuses.push((await executor.attempt(sealed.terms.id)).status);
        const counter = counterOf(sealed);
        if (i % 3 !== 2) continue;
        await parts.redis.del(budgetKey(SHARD, counter));
        await companion('hdel', counter);
      }
      expect(statuses.slice(0, 3)).toEqual(['succeeded', 'succeeded', 'succeeded']);
      expect(statuses.slice(3)).toEqual(['halted', 'halted', 'halted']);
      expect(parts.ran).toHaveLength(3);
    },
  ],
  [
    '[execution:the-executor-judges-again] the same, with the later calls started first',
    async () => {
      const agent = newAgent();
      const executor = parts.executor(parts.under(policy));
      const sealed: SealedTerms[] = [];
      for (let i = 0; i < 6; i += 1) {
        sealed.push(await reserved(agent));
        const counter = counterOf(sealed[0] as SealedTerms);
        if (i !== 2) continue;
        await parts.redis.rename(budgetKey(SHARD, counter), `{s${SHARD}}:aside`);
        await companion('hdel', counter);
      }
      const counter = budgetKey(SHARD, counterOf(sealed[0] as SealedTerms));
      await parts.redis.zunionstore(counter, 2, [counter, `{s${SHARD}}:aside`]);
      for (const one of sealed.reverse()) await executor.attempt(one.terms.id);
      expect(parts.ran).toHaveLength(3);
      expect(await parts.alarms((sealed[5] as SealedTerms).terms.id)).toEqual(['budget_overused']);
    },
  ],
  [
    '[execution:the-executor-judges-again] the policy allows fewer since',
    async () => {
      const { terms } = await reserved(newAgent());
      const fewer = policyOf(THREE.replace('max: 3', 'max: 2'));
      await parts.refused(terms.id, 'budget_changed', parts.under(fewer));
    },
  ],
  [
    '[execution:the-executor-judges-again] the policy counts all agents together since',
    async () => {
      const { terms } = await reserved(newAgent());
      const together = policyOf(THREE.replace('per: 1h', 'per: 1h, by: [tenant]'));
      await parts.refused(terms.id, 'budget_changed', parts.under(together));
    },
  ],
  [
    '[execution:the-executor-judges-again] the policy allows none by itself since',
    async () => {
      const { terms } = await reserved(newAgent());
      const none = policyOf(POLICY_TEXT.replace('tools: [ticket.create]', 'tools: [db.write]'));
      await parts.refused(terms.id, 'quorum_missing', parts.under(none));
    },
  ],
];

const irreversible = () =>
  parts.tool('ticket.create', z.strictObject({ title: z.string() }), { irreversible: true });
const policies: AttackCase[] = [
  [
    'a budget for what cannot be undone',
    () => {
      const tools = [...TOOLS.filter(({ name }) => name !== 'ticket.create'), irreversible()];
      expect(() => policyOf(POLICY_TEXT, tools)).toThrow(PolicyInvalidError);
    },
  ],
  ...['max: 0', 'max: -1', 'max: 1.5', 'max: 1e999', 'max: "20"', 'max: .nan'].map(
    (max): AttackCase => [
      `a budget of ${max}`,
      () => {
        expect(() => policyOf(POLICY_TEXT.replace('max: 20', max))).toThrow(PolicyInvalidError);
      },
    ],
  ),
];

/** Money in minor units, at most 50.00. */
const PAYING = POLICY_TEXT.replace('ticket.create, db.write]', 'ticket.create, db.write, refund.pay]').concat(
  'resources:\n  refund.pay: { properties: { cents: { minimum: 1, maximum: 5000 } } }\n',
);
const refund = () => parts.tool('refund.pay', z.strictObject({ cents: z.int() }));
const pay = (json: string) => {
  const guard = parts.guard({ policy: PAYING, tools: [...TOOLS, refund()] });
  const context = { tenant: 'acme', environment: 'production', agent: newAgent(), run: 'run-1' };
  return guard.propose(
    { tool: 'refund.pay', args: { json } },
    { ...context, principal: REQUESTER as string },
  );
};
const money: AttackCase[] = [
  '5001',
  '50.5',
  '0',
  '-1',
  '5000.0000001',
  '"5000"',
  '9007199254740993',
  '[5000]',
  '1e999',
  '-0',
].map((cents) => [
  `an amount of ${cents} cents, where 5000 is the most`,
  async () => {
    const refused = await pay(`{"cents":${cents}}`).catch((error: unknown) => error);
    expect(refused instanceof InvalidArguments || refused instanceof PermissionDenied).toBe(true);
  },
]);

attackRow(14, {
  attacks: [...races, ...damaged, ...atTheStart, ...policies, ...money],
  twins: [
    [
      'three calls, and each of them runs',
      async () => {
        const agent = newAgent();
        const executor = parts.executor(parts.under(policy));
        for (let i = 0; i < 3; i += 1) {
          const { terms } = await reserved(agent);
          expect(await executor.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
        }
      },
    ],
    [
      'another agent has a budget of its own',
      async () => {
        const agent = newAgent();
        for (let i = 0; i < 3; i += 1) await reserved(agent);
        expect(await tried(newAgent())).toBe('new');
      },
    ],
    [
      'a counter whose whole window is over counts from the beginning',
      async () => {
        const agent = newAgent();
        const short = policyOf(THREE.replace('per: 1h', 'per: 1s'));
        const { epoch } = await parts.writeSwitch.status();
        const once = async () => {
          const now = await parts.store.now();
          const given = { tool: createTicket, args: { title: 'x' }, policy: short, shards: SHARDS };
          const sealed = sealedCall({ ...given, now, switchEpoch: epoch, context: { agent } });
          return (await parts.store.create(sealed, LIMITS)).created;
        };
        for (let i = 0; i < 3; i += 1) expect(await once()).toBe('new');
        await expect.poll(once, { timeout: 15_000 }).toBe('new');
      },
    ],
    [
      'an executor whose policy allows more since runs what was counted under fewer',
      async () => {
        const { terms } = await reserved(newAgent());
        const holder = new PolicyHolder(policyOf(THREE.replace('max: 3', 'max: 30')));
        expect(await parts.attempt(terms.id, { policy: holder })).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'an amount of 5000 cents, where 5000 is the most',
      async () => {
        expect(await (await pay('{"cents":5000}')).status()).toBe('pending');
      },
    ],
  ],
});
