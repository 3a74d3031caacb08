import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import { type CredentialProvider, Credentials } from './core/execution/credentials.ts';
import { loadPolicyOrThrow } from './core/policy/policy-load.ts';
import { PolicyHolder } from './core/policy/policy-source.ts';
import { proposalKeyOf, proposalKeysIn } from './core/proposal/seal.ts';
import { errorForLog } from './core/secrets/error-for-log.ts';
import type { ToolDefinition } from './core/tool/tool.ts';
import { ToolRegistry } from './core/tool/tool-registry.ts';
import { Guard } from './guard/guard.ts';
import { processLogger } from './process-log.ts';
import { DispatchBullMQ } from './queue/dispatch-bullmq.ts';
import { Waiter } from './queue/waiter.ts';
import { AuditLogRedis } from './redis/audit-log-redis.ts';
import {
  agreeOnReplicas,
  agreeOnShards,
  checkRedis,
  type OpenRedisOptions,
  openRedis,
} from './redis/connection.ts';
import { GrantStoreRedis } from './redis/grant-store-redis.ts';
import { ProposalNewsRedis } from './redis/proposal-news-redis.ts';
import { ProposalStoreRedis } from './redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from './redis/write-switch-redis.ts';

export interface GuardOptions {
  /** The policy's YAML text; or a holder, whose `replace` reloads it while the guard runs. */
  readonly policy: string | PolicyHolder;
  readonly tools: Iterable<ToolDefinition>;
  /**
   * `redis://…`, `redis+sentinel://…`, `redis+cluster://…` and what else REDIS_URL takes; or ioredis connection options
   * (`{ path }` for a socket, `{ sentinels, name }`), or `{ cluster: [{ host, port }] }`.
   */
  readonly redis: string | NonNullable<OpenRedisOptions['connection']>;
  /**
   * How many replicas of each master have to hold a write before it counts; the same in every part. Default: 1 with
   * Sentinel and in a Cluster, else 0; where a master has more, `ready` wants it said.
   */
  readonly replicas?: number;
  /**
   * At least 32 random bytes, or their base64; the same as the executor's and the approval service's. While it is being
   * changed: the base64 of the new one, a comma, and that of the old one.
   */
  readonly proposalKey: Uint8Array | string;
  /** Credentials for reads. Without it, only tools that ask for none can be read. Writes never use it. */
  readonly readCredentials?: CredentialProvider;
  /** Default 1; the same in every part. */
  readonly shards?: number;
  readonly logger?: Logger;
  /** 0 to 1, default 1: which part of the reads that went well are in the log. Those that failed all are. */
  readonly readLogSample?: number;
}

/** A guard with the connections under it. */
export interface OpenGuard extends Pick<Guard, 'call' | 'propose' | 'attach'> {
  /** Checks that Redis is there and fit for this. Optional: each write checks what it needs. @throws RedisUnfit, StoreUnavailable */
  ready(): Promise<void>;
  /** Ends the waiting (`StillPending`) and the connections. Proposals stand; `attach` finds them again. */
  close(): Promise<void>;
}

/**
 * The guard in front of every tool call of an agent.
 * @throws PolicyInvalidError with every problem and its line; ProposalKeyTooShort; ToolDefinitionInvalid;
 *   RedisAddressInvalid; RangeError for a number that cannot be
 */
export function createGuard(options: GuardOptions): OpenGuard {
  const registry = new ToolRegistry(options.tools);
  const policy =
    typeof options.policy === 'string'
      ? new PolicyHolder(loadPolicyOrThrow(options.policy, { tools: registry, fileName: 'policy' }))
      : options.policy;
  const key = options.proposalKey;
  const proposalKeys = typeof key === 'string' ? proposalKeysIn(key) : ([proposalKeyOf(key)] as const);
  const shards = options.shards ?? 1;
  const { readLogSample = 1 } = options;
  if (!(readLogSample >= 0 && readLogSample <= 1))
    throw new RangeError('readLogSample is a number from 0 to 1');
  const logger = withSafeErrors(options.logger ?? processLogger('guard'));

  const connections = openRedis({
    ...(typeof options.redis === 'string' ? { url: options.redis } : { connection: options.redis }),
    replicas: options.replicas,
    name: 'countersign-guard',
    onError: onceAnOutage(logger),
  });
  const { redis, subscriber, replicas } = connections;
  const store = new ProposalStoreRedis({ redis, shards, replicas, keys: proposalKeys });
  const dispatch = new DispatchBullMQ({ connection: redis, shards });
  const closing = new AbortController();
  // As many as there are calls that wait.
  setMaxListeners(0, closing.signal);
  const guard = new Guard({
    policy,
    registry,
    proposalKeys,
    store,
    writeSwitch: new WriteSwitchRedis({ redis, shards, replicas }),
    grants: new GrantStoreRedis({ redis, shards, replicas, keys: proposalKeys }),
    audit: new AuditLogRedis({ redis, shards }),
    dispatch,
    waiter: new Waiter({ store, news: new ProposalNewsRedis({ subscriber, shards }) }),
    readCredentials: options.readCredentials ?? NO_CREDENTIALS,
    readLogSample,
    closing: closing.signal,
    shards,
    random: randomBytes,
    logger,
  });
  return {
    call: (call, context, wait) => guard.call(call, context, wait),
    propose: (call, context) => guard.propose(call, context),
    attach: (id, context) => guard.attach(id, context),
    async ready() {
      const { warnings, refusesWrites } = await checkRedis(redis, { replicas: connections.replicas, shards });
      for (const warning of warnings) logger.warn(warning);
      if (refusesWrites !== undefined) logger.error(refusesWrites);
      await agreeOnShards(redis, shards);
      await agreeOnReplicas(connections);
    },
    async close() {
      closing.abort();
      await dispatch.close();
      connections.close();
    },
  };
}

/** Whatever a logger prints of errors otherwise, here it is what is safe to print. */
export function withSafeErrors(logger: Logger): Logger {
  return logger.child({}, { serializers: { err: (error: unknown) => errorForLog(error) } });
}

/** Empty: a tool that asks for a credential gets an error that names it. */
const NO_CREDENTIALS: CredentialProvider = { fetch: async () => new Credentials({}) };

/** ioredis reports each failed attempt to connect; one line an outage is enough. */
export function onceAnOutage(logger: Logger): (error: Error) => void {
  let lastAt = Number.NEGATIVE_INFINITY;
  return (error) => {
    const now = performance.now();
    if (now - lastAt > 10_000) logger.warn({ err: error }, 'Redis cannot be reached; keeps trying');
    lastAt = now;
  };
}
