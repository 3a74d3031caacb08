import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { StillPending } from '../../src/guard/call-errors.ts';
import { Execution } from '../../src/queue/execution.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { RunningParts, SHARDS } from '../queue/running-parts.ts';
import { closeTicket, closeTicketWith, POLICY_TEXT, TOOLS } from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';

/** A Redis that is there and does not answer: the connection stands, and nothing ever comes back. */

const server = redisForTests();
let parts: RunningParts;
let guard: OpenGuard;

const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0REQ',
  run: 'run-1',
};
const CALL = { tool: closeTicket.name, args: { ticket: 'T-1' } };
const freeze = () => process.kill(server.server.pid, 'SIGSTOP');
const thaw = () => process.kill(server.server.pid, 'SIGCONT');

beforeEach(async () => {
  parts = new RunningParts(server.connectionOptions);
  await parts.armWrites();
  guard = createGuard({
    policy: POLICY_TEXT,
    tools: TOOLS,
    redis: server.connectionOptions,
    proposalKey: randomBytes(32),
    readCredentials: { fetch: async () => new Credentials({}) },
    shards: SHARDS,
    logger: pino({ level: 'silent' }),
  });
});
afterEach(async () => {
  thaw();
  await guard.close();
  await parts.close();
});

/** Redis stays frozen until the test is over: what ends, ends without it. */
const ended = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

describe('[redis:down-means-no] with Redis frozen', () => {
  it('every ask of a guard ends, and so does closing it while calls wait', async () => {
    const handle = await guard.propose(CALL, CONTEXT);
    const waiting = handle.result().catch((error: unknown) => error);
    freeze();
    expect(await ended(guard.propose(CALL, CONTEXT))).toMatchObject({ code: 'unavailable' });
    expect(await ended(handle.status())).toMatchObject({ code: 'unavailable' });
    expect(await ended(handle.withdraw())).toMatchObject({ code: 'unavailable' });
    expect(await ended(handle.result({ timeout: 100 }))).toBeInstanceOf(StillPending);
    await ended(guard.close());
    expect(await waiting).toBeInstanceOf(StillPending);
  });

  it('off says that it is not confirmed, and is confirmed after all when Redis answers again', async () => {
    freeze();
    const flip = { scope: EVERYTHING, by: 'cli:test', why: 'incident' } as const;
    expect(await ended(parts.writeSwitch.off(flip))).toMatchObject({
      confirmed: false,
      confirmedShards: 0,
    });
    thaw();
    await expect.poll(async () => (await parts.writeSwitch.status()).state).toBe('off');
    await ended(parts.writeSwitch.stop());
  });

  it('an admission whose answer comes too late starts nothing, then or later', async () => {
    let runs = 0;
    const tool = closeTicketWith(() => ({ runs: ++runs }));
    const sealed = await parts.approvedCall({ tool });
    const { store } = parts;
    const freezing = new Proxy(store, {
      get(_, name: keyof typeof store) {
        if (name === 'admit') freeze();
        return (store[name] as (...given: unknown[]) => unknown).bind(store);
      },
    });
    const execution = new Execution(parts.executionParts(tool, { store: freezing, leaseMs: 200 }));
    expect(await ended(execution.attempt(sealed.terms.id))).toMatchObject({
      code: 'store_unavailable',
    });
    thaw();
    const settled = async () => {
      await parts.store.declareUnknown(sealed.terms.id, 'nobody answers').catch(() => {});
      return parts.statusOf(sealed.terms.id).catch(() => undefined);
    };
    await expect.poll(settled).toMatch(/unknown|approved/);
    expect(runs).toBe(0);
  });

  it('executor and sweeper stop', async () => {
    const worker = new ExecutionWorker({
      ...parts.executionParts(closeTicket),
      dispatch: parts.dispatch,
      connection: parts.redis,
      shards: SHARDS,
    });
    worker.start();
    await worker.ready();
    const sweeper = new Sweeper({
      store: parts.store,
      dispatch: parts.dispatch,
      logger: parts.logger,
      intervalMs: 10,
    });
    sweeper.start();
    freeze();
    await ended(sweeper.stop());
    await ended(worker.stop({ graceMs: 500 }));
  });
});

describe('[switch:dead-man] a permit', () => {
  it('that would never lapse is none', async () => {
    const context = { ...CONTEXT };
    for (let shard = 0; shard < SHARDS; shard += 1) await server.client.persist(`{s${shard}}:armed`);
    expect(await guard.propose(CALL, context).catch((error: unknown) => error)).toMatchObject({
      code: 'writes_disabled',
    });
  });
});
