import type { Redis } from 'ioredis';
import { type Logger, pino } from 'pino';
import { type CredentialProvider, Credentials } from '../../src/core/execution/credentials.ts';
import { CallContext } from '../../src/core/identity/call-context.ts';
import type { PersonId } from '../../src/core/identity/ids.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import type { ToolDefinition } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { DispatchBullMQ } from '../../src/queue/dispatch-bullmq.ts';
import type { ExecutionParts } from '../../src/queue/execution.ts';
import { openRedis, type RedisClient } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import type { RedisConnection } from '../../src/redis/redis-address.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import {
  ANA,
  APPROVAL_PUBLIC_KEY,
  approvalOf,
  attestationOf,
  type CallCase,
  createTicket,
  PROPOSAL_KEY,
  policyOf,
  sealedCall,
  writeDatabase,
} from './sealed-call.ts';

export const SECRET = 'hunter2-the-write-token';
export const SHARDS = 2;
/** Longer than the product's: on a busy machine an admission's answer may take its time. For the switch and the executor. */
export const START_DEADLINE_MS = 300;
const LIMITS = { pendingPerAgent: 1_000, pendingPerTenant: 1_000 };

/** The real store, switch and dispatch over one Redis, and what a guard and an approval service do with them. */
export class RunningParts {
  readonly redis: RedisClient;
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly dispatch: DispatchBullMQ;
  readonly policy = new PolicyHolder(policyOf());
  readonly logged: string[] = [];
  readonly logger: Logger;
  readonly #connections: ReturnType<typeof openRedis>;
  /** As the approval service renews the permits; a test may stop it. */
  readonly renewal: NodeJS.Timeout;

  constructor(connection: RedisConnection, { replicas = 0 }: { replicas?: number } = {}) {
    this.#connections = openRedis({ connection, replicas, name: 'test', onError: () => {} });
    this.redis = this.#connections.redis;
    this.store = new ProposalStoreRedis({
      redis: this.redis,
      shards: SHARDS,
      keys: [PROPOSAL_KEY],
      replicas,
    });
    this.writeSwitch = new WriteSwitchRedis({
      redis: this.redis,
      shards: SHARDS,
      replicas,
      startDeadlineMs: START_DEADLINE_MS,
    });
    this.dispatch = new DispatchBullMQ({ connection: this.redis, shards: SHARDS });
    this.logger = pino({ level: 'trace' }, { write: (line: string) => void this.logged.push(line) });
    this.renewal = setInterval(() => void this.writeSwitch.renewPermits().catch(() => {}), 1_000);
  }

  get subscriber(): Redis {
    return this.#connections.subscriber;
  }

  async armWrites(): Promise<void> {
    const { epoch } = await this.writeSwitch.status();
    const on = await this.writeSwitch.on({
      scope: EVERYTHING,
      by: 'cli:test',
      why: 'test',
      expectedEpoch: epoch,
    });
    if (!on.ok) throw new Error(`could not arm: ${on.refusal}`);
    await this.writeSwitch.renewPermits();
  }

  /** As a guard does it. */
  async propose(call: CallCase = {}): Promise<SealedTerms> {
    const context = CallContext.parse(sealedCall(call).terms.context);
    const reading = await this.writeSwitch.read(context, call.tool?.name ?? 'ticket.close');
    const sealed = sealedCall({ shards: SHARDS, now: reading.now, switchEpoch: reading.epoch, ...call });
    const created = await this.store.create(sealed, LIMITS);
    if (created.created !== 'new') throw new Error(`not created: ${created.created}`);
    await this.dispatch.schedule(sealed.terms.id, sealed.terms.deadline - reading.now);
    return sealed;
  }

  /** As the approval service does it, without the waking. */
  async decide(sealed: SealedTerms, person: PersonId = ANA): Promise<void> {
    const at = await this.store.now();
    const decided = await this.store.decide(approvalOf(sealed, person, { at, reason: 'checked' }));
    if (!decided.ok) throw new Error(`not decided: ${decided.refusal}`);
    const { state } = decided.record;
    if (state.status !== 'approved') return;
    await this.attest(
      sealed,
      state.approvals.map(({ statement }) => statement.person),
    );
  }

  /** As the approval service does it right after the decision and from then on. */
  async attest(sealed: SealedTerms, people: readonly PersonId[] = [ANA]): Promise<void> {
    const attested = attestationOf(sealed, people, { at: await this.store.now() });
    await this.store.attest(sealed.terms.id, attested);
  }

  async approvedCall(call: CallCase = {}): Promise<SealedTerms> {
    const sealed = await this.propose(call);
    await this.decide(sealed);
    return sealed;
  }

  async statusOf(id: ProposalId): Promise<string | undefined> {
    return (await this.store.read(id))?.state.status;
  }

  executionParts(tool: ToolDefinition, changes: Partial<ExecutionParts> = {}): ExecutionParts {
    return {
      store: this.store,
      registry: new ToolRegistry([tool, createTicket, writeDatabase]),
      policy: this.policy,
      keys: { proposal: [PROPOSAL_KEY], approval: [APPROVAL_PUBLIC_KEY] },
      credentials: TOKENS,
      executorId: 'test:1',
      startDeadlineMs: START_DEADLINE_MS,
      logger: this.logger,
      ...changes,
    };
  }

  /** No approval service is alive any more to hear `off`. */
  async losePermits(): Promise<void> {
    clearInterval(this.renewal);
    await this.redis.del('{s0}:armed', '{s1}:armed');
  }

  async close(): Promise<void> {
    clearInterval(this.renewal);
    await this.dispatch.close();
    this.#connections.close();
  }
}

export const TOKENS: CredentialProvider = {
  fetch: async () => new Credentials({ token: SECRET }),
};

export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  withinMs = 20_000,
): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
