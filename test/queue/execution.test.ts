import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CredentialsUnavailable } from '../../src/core/execution/credentials.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { newProposalId } from '../../src/core/proposal/proposal-id.ts';
import { type ProposalStore, StoreUnavailable } from '../../src/core/proposal/proposal-store.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import type { ToolDefinition, ToolRun } from '../../src/core/tool/tool.ts';
import { Execution, type ExecutionParts } from '../../src/queue/execution.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { RunningParts, SECRET, START_DEADLINE_MS, TOKENS, until } from './running-parts.ts';
import { BEN, closeTicketWith, createTicket, POLICY_TEXT, TOOLS, writeDatabase } from './sealed-call.ts';

const server = redisForTests();
let parts: RunningParts;
let runs: { args: unknown; run: ToolRun }[];

const counting = (then: (run: ToolRun) => unknown = () => ({ closed: true })) =>
  closeTicketWith((args, run) => {
    runs.push({ args, run });
    return then(run);
  });

const executionOf = (tool: ToolDefinition, changes: Partial<ExecutionParts> = {}) =>
  // How soon it has to start is the subject of tests of its own.
  new Execution(parts.executionParts(tool, { startDeadlineMs: 20_000, ...changes }));

/** The real store, some of its methods wrapped. */
function storeWith(wrapped: Partial<ProposalStore>): ProposalStore {
  return new Proxy(parts.store, {
    get: (store, name) => {
      const own: unknown = Reflect.get(wrapped, name);
      if (own !== undefined) return own;
      const method: unknown = Reflect.get(store, name);
      return typeof method === 'function' ? method.bind(store) : method;
    },
  });
}

async function auditKinds(proposal: string): Promise<string[]> {
  const entries = await parts.redis.xrange('{s0}:audit', '-', '+');
  const others = await parts.redis.xrange('{s1}:audit', '-', '+');
  return [...entries, ...others]
    .map(([, fields]) => fields)
    .filter((fields) => fields.includes(proposal))
    .map((fields) => fields[fields.indexOf('kind') + 1] ?? '');
}

beforeEach(async () => {
  runs = [];
  parts = new RunningParts(server.connectionOptions);
  await parts.armWrites();
});
afterEach(() => parts.close());

describe('an approved call', () => {
  it('runs once, with its arguments, context, credentials and idempotency key', async () => {
    const sealed = await parts.approvedCall({ args: { ticket: 'T-7' } });
    const attempt = await executionOf(counting()).attempt(sealed.terms.id);
    expect(attempt).toEqual({
      next: 'done',
      status: 'succeeded',
      outcome: { outcome: 'succeeded', result: '{"closed":true}' },
    });
    expect(runs).toHaveLength(1);
    const { args, run } = runs[0] ?? { run: undefined, args: undefined };
    expect(args).toEqual({ ticket: 'T-7' });
    expect(run?.context).toEqual(sealed.terms.context);
    expect(run?.credentials.get('token')).toBe(SECRET);
    expect(run?.idempotencyKey).toMatch(/^[0-9a-f]{32}$/);
    expect(await auditKinds(sealed.terms.id)).toEqual([
      'proposal.created',
      'decision.approve',
      'proposal.approved',
      'admission.granted',
      'outcome.succeeded',
    ]);
  });

  it('[approval:single-use] admits nothing when it is attempted again, here or elsewhere', async () => {
    const sealed = await parts.approvedCall();
    const execution = executionOf(counting());
    await execution.attempt(sealed.terms.id);
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ next: 'done', status: 'succeeded' });
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
    expect(runs).toHaveLength(1);
  });

  it('[execution:at-most-once] of twenty attempts at once runs in one', async () => {
    const sealed = await parts.approvedCall();
    let others = 0;
    const slow = counting(() => until('all others have ended', () => others === 19));
    const attempts = Array.from({ length: 20 }, async () => {
      const attempt = await executionOf(slow).attempt(sealed.terms.id);
      others += 1;
      return attempt;
    });
    const ended = await Promise.all(attempts);
    expect(runs).toHaveLength(1);
    expect(ended.filter(({ next }) => next === 'done')).toHaveLength(1);
  });

  it('[approval:single-use] is not run again where somebody puts the record back to approved', async () => {
    const sealed = await parts.approvedCall();
    const key = `{s${sealed.terms.id.slice(6, 7)}}:proposal:${sealed.terms.id}`;
    const dumped = await parts.redis.dumpBuffer(key);
    const execution = executionOf(counting());
    await execution.attempt(sealed.terms.id);
    await parts.redis.restore(key, 0, dumped, 'REPLACE');
    expect(await parts.statusOf(sealed.terms.id)).toBe('approved');
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ next: 'done', status: 'halted' });
    expect(runs).toHaveLength(1);
    expect(await auditKinds(sealed.terms.id)).toContain('alarm.raised');
  });

  it('[execution:the-executor-judges-again] halts under a policy that was tightened since', async () => {
    const sealed = await parts.approvedCall();
    parts.policy.replace(POLICY_TEXT.replace('enabled: true', 'enabled: false'), TOOLS);
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(runs).toHaveLength(0);
  });

  it('[execution:the-executor-judges-again] halts under a policy that was tightened while credentials were fetched', async () => {
    const sealed = await parts.approvedCall();
    const credentials = {
      fetch: async () => {
        parts.policy.replace(POLICY_TEXT.replace('enabled: true', 'enabled: false'), TOOLS);
        return TOKENS.fetch({} as never, new AbortController().signal);
      },
    };
    const execution = executionOf(counting(), { credentials });
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(runs).toHaveLength(0);
  });

  it('[proposal:frozen] halts, with an alarm, where the stored terms were changed', async () => {
    const sealed = await parts.approvedCall();
    const key = `{s${sealed.terms.id.slice(6, 7)}}:proposal:${sealed.terms.id}`;
    const boxed = (await parts.redis.hget(key, 'terms')) ?? '';
    const other = boxed.at(-30) === 'A' ? 'B' : 'A';
    await parts.redis.hset(key, 'terms', `${boxed.slice(0, -30)}${other}${boxed.slice(-29)}`);
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(runs).toHaveLength(0);
    expect(await auditKinds(sealed.terms.id)).toContain('alarm.raised');
  });

  it('[approval:signed-outside-redis] halts, with an alarm, where Redis says approved and nobody signed', async () => {
    const sealed = await parts.propose();
    const key = `{s${sealed.terms.id.slice(6, 7)}}:proposal:${sealed.terms.id}`;
    const inAnHour = (await parts.store.now()) + 3_600_000;
    await parts.redis.hset(key, { status: 'approved', approvedAt: '1', startBefore: String(inAnHour) });
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(runs).toHaveLength(0);
    expect(await auditKinds(sealed.terms.id)).toContain('alarm.raised');
  });

  it('expires where nothing started it in time', async () => {
    const sealed = await parts.approvedCall({
      change: (terms) => ({ ...terms, startWithinMs: 40 }),
    });
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({
      next: 'done',
      status: 'expired',
    });
    expect(runs).toHaveLength(0);
  });

  it('[switch:off-means-no-start] does not start once the switch is off, and stays so when it is on again', async () => {
    const sealed = await parts.approvedCall();
    await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test', why: 'incident' });
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    await parts.armWrites();
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(runs).toHaveLength(0);
  });

  it('waits, and fetches no credentials, while no approval service is alive to hear off', async () => {
    const sealed = await parts.approvedCall();
    await parts.losePermits();
    let fetched = 0;
    const credentials = {
      fetch: async () => {
        fetched += 1;
        throw new CredentialsUnavailable('none');
      },
    };
    const execution = executionOf(counting(), { credentials, switch: parts.writeSwitch });
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ next: 'again', status: 'approved' });
    expect(fetched).toBe(0);
    expect(runs).toHaveLength(0);
  });
});

describe('a call that the policy itself allows', () => {
  const automatic = { tool: createTicket, args: { title: 'printer' } };

  it('runs without people, within its budget', async () => {
    const { id } = (await parts.propose(automatic)).terms;
    expect(await executionOf(counting()).attempt(id)).toMatchObject({ next: 'done', status: 'succeeded' });
  });

  it('is refused where the counter of its budget is gone: a missing count is not zero', async () => {
    const { id } = (await parts.propose(automatic)).terms;
    const counters = await parts.redis.keys('*budget:*');
    expect(counters).toHaveLength(1);
    await parts.redis.del(...counters);
    expect(await executionOf(counting()).attempt(id)).toMatchObject({ next: 'done', status: 'halted' });
  });
});

describe('a call that is not approved', () => {
  it.each([
    ['pending', () => parts.propose()],
    [
      'pending with one of two approvals',
      () => parts.approvedCall({ tool: writeDatabase, args: { row: 1 } }),
    ],
  ])('is left alone while it is %s', async (_, make) => {
    const sealed = await make();
    const attempt = await executionOf(counting()).attempt(sealed.terms.id);
    expect(attempt).toMatchObject({ next: 'again', status: 'pending' });
    expect(attempt.next === 'again' && attempt.inMs).toBeGreaterThan(60_000);
    expect(runs).toHaveLength(0);
  });

  it('runs once the second of two people has approved', async () => {
    const sealed = await parts.approvedCall({ tool: writeDatabase, args: { row: 1 } });
    await parts.decide(sealed, BEN);
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
  });

  it('expires at its deadline', async () => {
    const sealed = await parts.propose({ change: (terms) => ({ ...terms, deadline: terms.createdAt + 30 }) });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toEqual({
      next: 'done',
      status: 'expired',
    });
  });

  it('is nothing at all where its id is made up', async () => {
    expect(await executionOf(counting()).attempt(newProposalId(0, randomBytes(24)))).toEqual({
      next: 'done',
      status: 'not_found',
    });
  });
});

describe('the time between asking and starting', () => {
  const punctual = (store: ProposalStore) =>
    executionOf(counting(), { store, startDeadlineMs: START_DEADLINE_MS });

  it('over the limit gives the admission back, and the call runs later', async () => {
    const sealed = await parts.approvedCall();
    let slow = 2;
    const store = storeWith({
      admit: async (ask) => {
        const admitted = await parts.store.admit(ask);
        if (slow-- > 0) await new Promise((resolve) => setTimeout(resolve, START_DEADLINE_MS + 20));
        return admitted;
      },
    });
    const attempt = await punctual(store).attempt(sealed.terms.id);
    expect(attempt).toMatchObject({ next: 'done', status: 'succeeded' });
    expect(runs).toHaveLength(1);
    expect((await auditKinds(sealed.terms.id)).filter((kind) => kind === 'admission.returned')).toHaveLength(
      2,
    );
  });

  it('over the limit each time goes back to sleep, approved as before', async () => {
    const sealed = await parts.approvedCall();
    const store = storeWith({
      admit: async (ask) => {
        const admitted = await parts.store.admit(ask);
        await new Promise((resolve) => setTimeout(resolve, START_DEADLINE_MS + 20));
        return admitted;
      },
    });
    const attempt = await punctual(store).attempt(sealed.terms.id);
    expect(attempt).toMatchObject({ next: 'again', status: 'approved' });
    expect(await parts.statusOf(sealed.terms.id)).toBe('approved');
    expect(runs).toHaveLength(0);
    expect(await executionOf(counting()).attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
  });

  it('[switch:off-means-no-start] during which the switch goes off starts nothing, and the call is halted', async () => {
    const sealed = await parts.approvedCall();
    const store = storeWith({
      admit: async (ask) => {
        const admitted = await parts.store.admit(ask);
        await parts.writeSwitch.off({ scope: EVERYTHING, by: 'cli:test' });
        return admitted;
      },
    });
    expect(await punctual(store).attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(runs).toHaveLength(0);
  });
});

describe('the outcome', () => {
  it('is failed, with its code, where the tool says that it was certainly not done', async () => {
    const sealed = await parts.approvedCall();
    const tool = counting(() => {
      throw new ToolRejected('already_closed', 'the ticket is closed');
    });
    expect(await executionOf(tool).attempt(sealed.terms.id)).toMatchObject({
      status: 'failed',
      outcome: { code: 'already_closed', message: 'the ticket is closed' },
    });
  });

  it.each([
    ['throws', () => Promise.reject(new Error('socket hang up'))],
    [
      'throws at once',
      () => {
        throw new TypeError('undefined is not a function');
      },
    ],
    ['throws no error', () => Promise.reject('nothing')],
  ])('[execution:at-most-once] is unknown where the tool %s, and it is not tried again', async (_, then) => {
    const sealed = await parts.approvedCall();
    const execution = executionOf(counting(then));
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ status: 'unknown' });
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ status: 'unknown' });
    expect(runs).toHaveLength(1);
  });

  it('is unknown where the tool does not answer in time, and what it says later is audited', async () => {
    const sealed = await parts.approvedCall();
    let answer: (value: string) => void = () => {};
    const tool = closeTicketWith(
      (args, run) => {
        runs.push({ args, run });
        return new Promise((resolve) => {
          answer = resolve;
        });
      },
      { timeout: 80 },
    );
    expect(await executionOf(tool).attempt(sealed.terms.id)).toMatchObject({
      status: 'unknown',
      outcome: { why: 'no answer within 80 ms' },
    });
    expect(runs[0]?.run.signal.aborted).toBe(true);
    answer('closed after all');
    await until('the late outcome is audited', async () =>
      (await auditKinds(sealed.terms.id)).includes('outcome.late'),
    );
    expect(await parts.statusOf(sealed.terms.id)).toBe('unknown');
  });

  it('is recorded once Redis is back', async () => {
    const sealed = await parts.approvedCall();
    let away = 4;
    const store = storeWith({
      finish: async (admission, outcome) => {
        if (away-- > 0) throw new StoreUnavailable('away');
        return parts.store.finish(admission, outcome);
      },
    });
    expect(await executionOf(counting(), { store }).attempt(sealed.terms.id)).toMatchObject({
      status: 'succeeded',
    });
    expect(runs).toHaveLength(1);
  });

  it('keeps its lease while the tool runs longer than it', async () => {
    const sealed = await parts.approvedCall();
    const tool = counting(() => new Promise((resolve) => setTimeout(() => resolve('done'), 2_000)));
    const attempt = executionOf(tool, { leaseMs: 1_500 }).attempt(sealed.terms.id);
    await new Promise((resolve) => setTimeout(resolve, 1_700));
    expect(await parts.store.declareUnknown(sealed.terms.id, 'test')).toBe('not_due');
    expect(await attempt).toMatchObject({ status: 'succeeded' });
  });

  it('is unknown where the lease was lost, and the tool is told to stop', async () => {
    const sealed = await parts.approvedCall();
    const tool = counting(() => new Promise(() => {}));
    const store = storeWith({ extendLease: async () => false });
    const attempt = await executionOf(tool, { store, leaseMs: 150 }).attempt(sealed.terms.id);
    expect(attempt).toMatchObject({ status: 'unknown' });
    expect(runs[0]?.run.signal.aborted).toBe(true);
  });

  it('[execution:at-most-once] is unknown where an executor went silent, and nobody runs it again', async () => {
    const sealed = await parts.approvedCall();
    const admitted = await parts.store.admit({
      id: sealed.terms.id,
      termsDigest: sealed.termsDigest,
      admission: randomBytes(16).toString('hex'),
      executor: 'dead:1',
      leaseMs: 60_000,
    });
    if (!admitted.ok) throw new Error(admitted.refusal);
    const execution = executionOf(counting());
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ next: 'again', status: 'executing' });
    await parts.store.extendLease(admitted.admission, 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ next: 'done', status: 'unknown' });
    expect(runs).toHaveLength(0);
  });
});

describe('an admission whose answer is lost', () => {
  it('[execution:at-most-once] starts nothing, and is unknown once its lease has lapsed', async () => {
    const sealed = await parts.approvedCall();
    const store = storeWith({
      admit: async (ask) => {
        await parts.store.admit(ask);
        throw new StoreUnavailable('the connection was lost');
      },
    });
    const execution = executionOf(counting(), { store, leaseMs: 50 });
    await expect(execution.attempt(sealed.terms.id)).rejects.toThrow(StoreUnavailable);
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ status: 'unknown' });
    expect(runs).toHaveLength(0);
  });
});

describe('[execution:credentials-at-the-boundary] credentials', () => {
  it('are asked for by tenant, environment, tool and access', async () => {
    const sealed = await parts.approvedCall();
    const asked: unknown[] = [];
    const credentials = {
      fetch: (...[scope, signal]: Parameters<typeof TOKENS.fetch>) => {
        asked.push(scope);
        return TOKENS.fetch(scope, signal);
      },
    };
    await executionOf(counting(), { credentials }).attempt(sealed.terms.id);
    expect(asked).toEqual([
      { tenant: 'acme', environment: 'production', tool: 'ticket.close', access: 'write' },
    ]);
  });

  it('that are not there refuse the call before its start', async () => {
    const sealed = await parts.approvedCall();
    const credentials = {
      fetch: async () => {
        throw new CredentialsUnavailable('no token for acme/production: set it');
      },
    };
    expect(await executionOf(counting(), { credentials }).attempt(sealed.terms.id)).toMatchObject({
      status: 'halted',
    });
    const record = await parts.store.read(sealed.terms.id);
    expect(record?.state).toMatchObject({
      cause: { refusal: 'credentials_unavailable', message: 'no token for acme/production: set it' },
    });
    expect(runs).toHaveLength(0);
  });

  it('that do not come in time refuse the call, and the provider is told to stop', async () => {
    const sealed = await parts.approvedCall();
    let stopped: AbortSignal | undefined;
    const credentials = {
      fetch: (_: unknown, signal: AbortSignal) => {
        stopped = signal;
        return new Promise<never>(() => {});
      },
    };
    const execution = executionOf(counting(), { credentials, credentialsTimeoutMs: 40 });
    expect(await execution.attempt(sealed.terms.id)).toMatchObject({ status: 'halted' });
    expect(stopped?.aborted).toBe(true);
  });

  const leaks: Record<string, (run: ToolRun) => unknown> = {
    'a result': (run) => ({
      header: `Bearer ${run.credentials.get('token')}`,
      [run.credentials.get('token')]: 1,
    }),
    'an error': (run) => {
      throw new Error(`401 for ${run.credentials.get('token')}`);
    },
    'a rejection': (run) => {
      throw new ToolRejected(run.credentials.get('token'), `no: ${run.credentials.get('token')}`);
    },
    'a URL in an error': (run) => {
      throw new Error(`GET https://x/?t=${encodeURIComponent(run.credentials.get('token'))}`);
    },
    'a basic authorization in an error': (run) => {
      throw new Error(Buffer.from(`user:${run.credentials.get('token')}`).toString('base64'));
    },
  };
  it.each(Object.entries(leaks))('do not come out in %s', async (_, then) => {
    const sealed = await parts.approvedCall();
    await executionOf(counting(then)).attempt(sealed.terms.id);
    const record = JSON.stringify(await parts.store.read(sealed.terms.id));
    const audit = JSON.stringify([
      await parts.redis.xrange('{s0}:audit', '-', '+'),
      await parts.redis.xrange('{s1}:audit', '-', '+'),
    ]);
    for (const text of [record, audit, parts.logged.join('\n')]) {
      expect(text).toContain(sealed.terms.id);
      for (const form of [
        SECRET,
        'aHVudGVy',
        Buffer.from(`user:${SECRET}`).toString('base64').slice(8, -4),
      ]) {
        expect(text).not.toContain(form);
      }
    }
  });
});

describe('a judge that breaks', () => {
  it('refuses', async () => {
    const sealed = await parts.approvedCall();
    const policy = {
      get current(): never {
        throw new Error('broken');
      },
    };
    expect(await executionOf(counting(), { policy }).attempt(sealed.terms.id)).toMatchObject({
      status: 'halted',
    });
    expect(runs).toHaveLength(0);
  });
});
