import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type CredentialProvider, Credentials } from '../../src/core/execution/credentials.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { proposalKeyOf } from '../../src/core/proposal/seal.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import {
  CallError,
  ExecutionFailed,
  InvalidArguments,
  StillPending,
  Unavailable,
} from '../../src/guard/call-errors.ts';
import { openRedis, type RedisConnections } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';

/** The guard under hosts that change their minds, a Redis that lies, and a Redis that does not answer. */

const redis = redisForTests();
const logger = pino({ level: 'silent' });
const SECRET = 'read-token-0123456789abcdef';

const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};
const POLICY = `
version: 1
tools: { allow: [ticket.read, ticket.close, ticket.note] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close]
  defaults: { approvers: ["user:U0ANA"] }
auto_approve:
  - { tools: [ticket.note], budget: { max: 100, per: 1h } }
tenants:
  acme: { slack: { team: T0ACME, channel: C0ACME }, environments: [production] }
  globex: { slack: { team: T0GLOBEX, channel: C0GLOBEX }, environments: [production] }
`;

let answered: (secret: string) => unknown = () => null;
const tools = [
  defineTool({
    name: 'ticket.read',
    description: 'Reads.',
    effect: 'read',
    timeout: 500,
    input: z.strictObject({}),
    execute: (_, run) => answered(run.credentials.get('token')),
  }),
  ...['ticket.close', 'ticket.note'].map((name) =>
    defineTool({
      name,
      description: 'Writes.',
      effect: 'write',
      input: z.strictObject({ id: z.string() }),
      execute: () => null,
    }),
  ),
];

let ends: (() => unknown)[];
let guard: OpenGuard;
let own: RedisConnections;
let store: ProposalStoreRedis;

const key = randomBytes(32);
const READ_TOKEN: CredentialProvider = { fetch: async () => new Credentials({ token: SECRET }) };

function guardOn(readCredentials = READ_TOKEN, path = redis.connectionOptions): OpenGuard {
  const opened = createGuard({
    policy: POLICY,
    tools,
    redis: path,
    proposalKey: key,
    readCredentials,
    logger,
  });
  ends.push(() => opened.close());
  return opened;
}

beforeEach(async () => {
  ends = [];
  answered = () => null;
  own = openRedis({ connection: redis.connectionOptions });
  ends.push(() => own.close());
  store = new ProposalStoreRedis({ redis: own.redis, shards: 1, keys: [proposalKeyOf(key)] });
  const writeSwitch = new WriteSwitchRedis({ redis: own.redis, shards: 1, startDeadlineMs: 5 });
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: 0 });
  const renewal = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), 500);
  ends.push(() => clearInterval(renewal));
  guard = guardOn();
});
afterEach(async () => {
  for (const end of ends.reverse()) await end();
});

const close = (id: string) => ({ tool: 'ticket.close', args: { id } });
const errorOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'no error',
    (error: unknown) => error,
  );
const proposals = async () => (await redis.client.keys('{s0}:proposal:*')).length;

describe('a host that hands over a call and goes on changing it', () => {
  it('[proposal:frozen] what was checked is what is sealed, also of the reason and the idempotency key', async () => {
    const call = { ...close('T-1'), reason: 'a duplicate', idempotencyKey: 'one' };
    const proposing = guard.propose(call, CONTEXT);
    call.reason = 'x'.repeat(100_000);
    call.idempotencyKey = 'another key, with spaces';
    call.args.id = 'T-2';
    const { id } = await proposing;
    const terms = JSON.parse((await store.read(id))?.termsText ?? '{}');
    expect(terms).toMatchObject({
      statedReason: 'a duplicate',
      idempotencyKey: 'one',
      arguments: '{"id":"T-1"}',
    });
  });

  it('[proposal:frozen] a getter that answers otherwise the second time gets nothing past the check', async () => {
    let asked = 0;
    const call = {
      ...close('T-1'),
      get reason() {
        asked += 1;
        return asked === 1 ? 'short' : 'x'.repeat(100_000);
      },
    };
    const { id } = await guard.propose(call, CONTEXT);
    expect(JSON.parse((await store.read(id))?.termsText ?? '{}').statedReason).toBe('short');
  });
});

describe('a wait that cannot be', () => {
  it.each([Number.NaN, -1, '5' as unknown as number])(
    'of %s ms is refused before anything is proposed',
    async (timeout) => {
      expect(await errorOf(guard.call(close('T-1'), CONTEXT, { timeout }))).toBeInstanceOf(InvalidArguments);
      expect(await proposals()).toBe(0);
    },
  );

  it.each([2 ** 31, 2 ** 40, Number.POSITIVE_INFINITY])('of %s ms does not end at once', async (timeout) => {
    const handle = await guard.propose(close('T-1'), CONTEXT);
    const ended = await Promise.race([
      errorOf(handle.result({ timeout })),
      new Promise((resolve) => setTimeout(() => resolve('waits'), 100)),
    ]);
    expect(ended).toBe('waits');
  });

  it('whose signal was aborted before proposes nothing', async () => {
    const gone = errorOf(guard.call(close('T-1'), CONTEXT, { signal: AbortSignal.abort(new Error('left')) }));
    expect(await gone).toMatchObject({ message: 'left' });
    expect(await proposals()).toBe(0);
  });
});

describe('closing the guard', () => {
  it('ends every wait, and says that the proposals stand', async () => {
    const handles = await Promise.all(
      Array.from({ length: 15 }, (_, i) => guard.propose(close(`T-${i}`), CONTEXT)),
    );
    const waiting = handles.map((handle) => errorOf(handle.result()));
    const calling = errorOf(guard.call(close('T-x'), CONTEXT));
    await expect.poll(proposals).toBe(16);
    await guard.close();
    for (const error of await Promise.all([...waiting, calling])) expect(error).toBeInstanceOf(StillPending);
    expect(await errorOf((handles[0] as (typeof handles)[0]).result())).toBeInstanceOf(StillPending);
    expect(await errorOf(guard.propose(close('T-y'), CONTEXT))).toBeInstanceOf(Unavailable);
  });

  it('[redis:down-means-no] ends also where Redis never came', async () => {
    const alone = guardOn(READ_TOKEN, { path: '/nonexistent/redis.sock' });
    expect(await errorOf(alone.call(close('T-1'), CONTEXT))).toBeInstanceOf(Unavailable);
    await alone.close();
  });
});

describe('a Redis that lies about the idempotency key', () => {
  it.each([
    ['of another tenant', { tenant: 'globex', principal: 'slack:T0GLOBEX/U0GIL' }],
    ['of another principal', { principal: 'slack:T0ACME/U0OTHER' }],
    ['of another agent', { agent: 'another-bot' }],
  ])('never hands out the proposal %s', async (_, other) => {
    const call = { ...close('T-1'), idempotencyKey: 'k' };
    const theirs = await guard.propose(call, { ...CONTEXT, ...other });
    const ours = await guard.propose({ ...call, idempotencyKey: 'mine' }, CONTEXT);
    for (const name of await redis.client.keys('{s0}:idem:acme:production:support-bot:*')) {
      if ((await redis.client.get(name)) === ours.id) await redis.client.set(name, theirs.id);
    }
    const hash = `{s0}:proposal:${theirs.id}`;
    await redis.client.hset(hash, 'principal', CONTEXT.principal);
    const error = await errorOf(guard.propose({ ...call, idempotencyKey: 'mine' }, CONTEXT));
    expect(error).toBeInstanceOf(Unavailable);
    expect(String(error)).not.toContain(theirs.id);

    // Without a trace beside the sealed terms: the digest that stands beside them is another, too.
    await redis.client.hset(hash, 'digest', '0'.repeat(64));
    expect(await errorOf(guard.propose({ ...call, idempotencyKey: 'mine' }, CONTEXT))).toBeInstanceOf(
      Unavailable,
    );
  });

  it.each(['', 'prop_', '../switch', 'x'.repeat(1_000)])(
    'answers an entry %j with no error of its own',
    async (planted) => {
      const call = { ...close('T-1'), idempotencyKey: 'k' };
      await guard.propose(call, CONTEXT);
      const [name = ''] = await redis.client.keys('{s0}:idem:*');
      await redis.client.set(name, planted);
      await redis.client.hset(`{s0}:proposal:${planted}`, 'tool', 'other');
      expect(await errorOf(guard.propose(call, CONTEXT))).toBeInstanceOf(CallError);
    },
  );

  it('answers keys of another kind with no error of its own', async () => {
    await redis.client.rename('{s0}:audit', '{s0}:aside').catch(() => {});
    await redis.client.set('{s0}:audit', 'x');
    const error = await errorOf(guard.propose(close('T-1'), CONTEXT));
    expect(error).toMatchObject({ code: 'unavailable', retryable: false });
    expect(String(error)).not.toMatch(/\{s0\}|WRONGTYPE|STORE_DAMAGED/);
  });
});

describe('an answer that was lost', () => {
  /** Redis does it and the answer never comes, as often as said. */
  function losing(times: number) {
    const create = ProposalStoreRedis.prototype.create;
    let lost = 0;
    ProposalStoreRedis.prototype.create = async function (this: ProposalStoreRedis, ...given) {
      const created = await create.apply(this, given);
      lost += 1;
      if (lost <= times) throw new StoreUnavailable('no answer');
      return created;
    };
    ends.push(() => {
      ProposalStoreRedis.prototype.create = create;
    });
  }

  it('once is asked for again, and is one proposal', async () => {
    losing(1);
    const handle = await guard.propose({ tool: 'ticket.note', args: { id: 'T-1' } }, CONTEXT);
    expect(await proposals()).toBe(1);
    expect(await handle.status()).toBe('approved');
  });

  it('for good is never told as "nothing was done": the call says which proposal may stand', async () => {
    losing(2);
    const error = await errorOf(guard.call({ tool: 'ticket.note', args: { id: 'T-1' } }, CONTEXT));
    expect(error).toBeInstanceOf(Unavailable);
    const { proposal, retryable, message } = error as Unavailable;
    expect(retryable).toBe(false);
    expect(message).not.toContain('Nothing was done');
    await expect((await guard.attach(proposal ?? '', CONTEXT)).status()).resolves.toBe('approved');
    expect(await proposals()).toBe(1);
  });
});

describe('reads', () => {
  it('[execution:credentials-at-the-boundary] never answer with the credential, whole, encoded, or cut', async () => {
    const answers: ((secret: string) => unknown)[] = [
      (secret) => ({ echoed: `Bearer ${secret}` }),
      (secret) => ({ [secret]: 1 }),
      (secret) => ({ url: `https://x/?t=${encodeURIComponent(secret)}` }),
      (secret) => Buffer.from(`user:${secret}`).toString('base64'),
      (secret) => 'x'.repeat(65_420) + secret.repeat(20),
    ];
    for (const answer of answers) {
      answered = answer;
      const text = JSON.stringify(await guard.call({ tool: 'ticket.read', args: {} }, CONTEXT));
      expect(text).not.toContain(SECRET.slice(0, 12));
      expect(text).not.toContain(Buffer.from(`user:${SECRET}`).toString('base64').slice(8, 24));
    }
  });

  it('[execution:credentials-at-the-boundary] that are refused say so without the credential, and briefly', async () => {
    answered = (secret) => {
      throw new ToolRejected(`no_${secret}`, `${'x'.repeat(480)}${secret}${'\u202e'.repeat(10_000)}`);
    };
    const error = await errorOf(guard.call({ tool: 'ticket.read', args: {} }, CONTEXT));
    expect(error).toBeInstanceOf(ExecutionFailed);
    const { message } = error as ExecutionFailed;
    expect(message).not.toContain(SECRET.slice(0, 8));
    expect(message.length).toBeLessThan(1_000);
  });

  it('end although the credential provider never answers', async () => {
    const stuck = guardOn({ fetch: () => new Promise(() => {}) });
    expect(await errorOf(stuck.call({ tool: 'ticket.read', args: {} }, CONTEXT))).toBeInstanceOf(
      ExecutionFailed,
    );
  });
});
