import type { ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { CheckpointCopies } from './audit-files/checkpoint-copies.ts';
import { Sealer } from './audit-files/sealer.ts';
import type { ExecutorConfig, StartConfig } from './config.ts';
import { approvalKeysOf } from './core/approval/decision.ts';
import { StoreUnavailable } from './core/proposal/proposal-store.ts';
import { recordBoxKeys } from './core/proposal/seal.ts';
import { PERMIT_RENEWAL_MS, type WriteSwitch } from './core/switch/write-switch.ts';
import { onceAnOutage, withSafeErrors } from './create-guard.ts';
import { ExecutorHealth, Health } from './health.ts';
import { PolicyFile } from './policy-file.ts';
import { credentialProviderOf } from './queue/credentials-of-config.ts';
import { DispatchBullMQ } from './queue/dispatch-bullmq.ts';
import { ExecutionWorker } from './queue/execution-worker.ts';
import { Previewer } from './queue/previewer.ts';
import { Sweeper } from './queue/sweeper.ts';
import { ArmingRequestsRedis } from './redis/arming-requests-redis.ts';
import { AuditLogRedis } from './redis/audit-log-redis.ts';
import { AuditStreamRedis } from './redis/audit-stream-redis.ts';
import { CardOutboxRedis } from './redis/card-outbox-redis.ts';
import {
  agreeOnReplicas,
  agreeOnShards,
  checkRedis,
  openRedis,
  RedisAway,
  type RedisConnections,
} from './redis/connection.ts';
import { DamagedShards } from './redis/damaged-shards.ts';
import { FoldingRedis } from './redis/folding-redis.ts';
import { GrantStoreRedis } from './redis/grant-store-redis.ts';
import { HeardCommandsRedis } from './redis/heard-commands-redis.ts';
import { InstallationStoreRedis } from './redis/installation-store-redis.ts';
import { OnceMemoryRedis } from './redis/once-memory-redis.ts';
import { PreviewTasksRedis } from './redis/preview-tasks-redis.ts';
import { ProposalStoreRedis } from './redis/proposal-store-redis.ts';
import { RecentDecisionsRedis } from './redis/recent-decisions-redis.ts';
import { SwitchNoticesRedis } from './redis/switch-notices-redis.ts';
import { WriteSwitchRedis } from './redis/write-switch-redis.ts';
import { HEALTH_PATHS, startSlackSurface } from './slack/app.ts';
import type { SlackOAuth } from './slack/installing.ts';
import { listenOn } from './slack/receiver.ts';
import { loadTools } from './tools-module.ts';

/** A part that runs until it is stopped. */
export interface RunningPart {
  /** Where it listens, if it does: for Slack in HTTP mode, and for whoever asks how it is. */
  readonly port?: number | undefined;
  /** Finishes what is in hand, within a limit, and ends the connections. Resolves with what it left, in words. */
  stop(): Promise<readonly string[]>;
}

/** The stores of one process, over its own connections. */
interface Stores {
  readonly connections: RedisConnections;
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly audit: AuditLogRedis;
  readonly dispatch: DispatchBullMQ;
}

/** The approval service: Slack, the cards, the permits of the switch, the sweeper, the audit's sealer. Holds the signing keys. */
export async function startApprovalService(config: StartConfig, given: Logger): Promise<RunningPart> {
  const logger = withSafeErrors(given);
  sayKeys(config, logger);
  const registry = await loadTools(config.toolsPath);
  const policy = await PolicyFile.open(config.policyPath, registry, logger);
  const stores = await openStores(config, 'countersign-approvals', logger).catch((error: unknown) => {
    policy.close();
    throw error;
  });
  const { connections, store, writeSwitch, audit, dispatch } = stores;
  const sealer = sealerOf(config, connections, logger);
  try {
    const { transport } = config.slack;
    const health = new Health({
      redis: connections.redis,
      needs: { replicas: connections.replicas, shards: config.shards },
      audit: () => sealer.health(),
    });
    // What cannot be recorded must not begin: before anything else does.
    await sealer.start();
    const surface = await startSlackSurface({
      config: {
        botTokens: config.slack.botTokens.map((token) => token.reveal()),
        apiUrl: config.slack.apiUrl,
        appId: config.slack.appId,
        oauth: await oauthOf(config, connections, logger),
        transport:
          transport.mode === 'socket'
            ? {
                mode: 'socket',
                appToken: transport.appToken.reveal(),
                ...(config.listen === undefined ? {} : { listen: config.listen }),
              }
            : { mode: 'http', signingSecret: transport.signingSecret.reveal(), ...transport.listen },
      },
      store,
      grants: new GrantStoreRedis({
        redis: connections.redis,
        shards: config.shards,
        replicas: connections.replicas,
        keys: config.proposalKeys.reveal(),
      }),
      outbox: new CardOutboxRedis({
        redis: connections.redis,
        subscriber: connections.subscriber,
        shards: config.shards,
      }),
      folding: new FoldingRedis({ redis: connections.redis, shards: config.shards }),
      switch: writeSwitch,
      recentDecisions: new RecentDecisionsRedis({ redis: connections.redis, shards: config.shards }),
      switchNotices: new SwitchNoticesRedis({ redis: connections.redis, shards: config.shards }),
      arming: new ArmingRequestsRedis({ redis: connections.redis }),
      heard: new HeardCommandsRedis({ redis: connections.redis }),
      audit,
      dispatch,
      policy: policy.holder,
      registry,
      keys: {
        proposal: config.proposalKeys.reveal(),
        approval: approvalKeysOf(config.approvalPrivateKey, config.approvalPublicKeys),
      },
      logger,
      once: new OnceMemoryRedis({ redis: connections.redis }),
      health: health.answer,
      clock: Date.now,
      monotonic: () => performance.now(),
    });
    const permits = renewPermits(writeSwitch, { health, shards: config.shards, logger });
    const sweeper = new Sweeper({ store, dispatch, logger });
    sweeper.start();
    return {
      port: surface.port,
      async stop() {
        health.stopping();
        // The permits first: from here on writes stop by themselves unless another replica renews them.
        permits.stop();
        const left = [...(await surface.stop())];
        await sweeper.stop();
        await writeSwitch.stop();
        // After everything of ours that could still write an entry.
        left.push(...(await sealer.stop()));
        policy.close();
        await closeStores(stores);
        return left;
      },
    };
  } catch (error) {
    await sealer.stop();
    policy.close();
    await closeStores(stores);
    throw error;
  }
}

function sealerOf({ audit, shards }: StartConfig, connections: RedisConnections, logger: Logger): Sealer {
  const { redis, replicas } = connections;
  const { directory, privateKey: key, copy } = audit;
  return new Sealer({
    stream: new AuditStreamRedis({ redis, shards, replicas }),
    directory,
    key,
    copies: copy && new CheckpointCopies({ target: copy.reveal(), logger }),
    logger,
  });
}

async function oauthOf(
  config: StartConfig,
  { redis, subscriber }: RedisConnections,
  logger: Logger,
): Promise<SlackOAuth | undefined> {
  const { oauth } = config.slack;
  if (oauth === undefined) return undefined;
  const { clientId, redirectUri } = oauth;
  const keys = oauth.tokenKeys.reveal();
  const store = new InstallationStoreRedis({ redis, subscriber, keys, app: clientId });
  const sealedAnew = await store.sealAnew();
  logger.info({ tokenKeys: [...keys.opening.keys()], sealedAnew }, 'token keys: the first seals');
  return { clientId, clientSecret: oauth.clientSecret.reveal(), redirectUri, store };
}

/** The names that boxes in Redis have on them, and `countersign keys in-use` counts by. */
function sayKeys(config: Pick<StartConfig, 'proposalKeys'>, logger: Logger): void {
  const proposalKeys = [...recordBoxKeys(config.proposalKeys.reveal()).opening.keys()];
  logger.info({ proposalKeys }, 'proposal keys: the first seals');
}

/** The executor: the one process that holds credentials for writes. */
export async function startExecutor(config: ExecutorConfig, given: Logger): Promise<RunningPart> {
  const logger = withSafeErrors(given);
  sayKeys(config, logger);
  const registry = await loadTools(config.toolsPath);
  // May refuse, so before anything is open.
  const credentials = credentialProviderOf(config.credentials);
  const policy = await PolicyFile.open(config.policyPath, registry, logger);
  const stores = await openStores(config, 'countersign-executor', logger).catch((error: unknown) => {
    policy.close();
    throw error;
  });
  const { connections, store, writeSwitch, dispatch } = stores;
  const worker = new ExecutionWorker({
    store,
    switch: writeSwitch,
    registry,
    policy: policy.holder,
    keys: { proposal: config.proposalKeys.reveal(), approval: config.approvalPublicKeys },
    credentials,
    dispatch,
    connection: connections.redis,
    shards: config.shards,
    startDeadlineMs: config.startDeadlineMs,
    executorId: `${hostname()}:${process.pid}`,
    logger,
  });
  const health = new ExecutorHealth({
    redis: connections.redis,
    needs: { replicas: connections.replicas, shards: config.shards },
    takesJobs: () => worker.takesJobs(),
    startsInTime: () => worker.startsInTime,
    policyInForce: () => policy.inForce,
  });
  // A port that is taken refuses before any call is.
  const door = await openHealth(config, health).catch(async (error: unknown) => {
    policy.close();
    await closeStores(stores);
    throw error;
  });
  worker.start();
  const previewer = new Previewer({
    tasks: new PreviewTasksRedis({
      redis: connections.redis,
      shards: config.shards,
      keys: config.proposalKeys.reveal(),
    }),
    store,
    registry,
    policy: policy.holder,
    proposalKeys: config.proposalKeys.reveal(),
    credentials,
    logger,
  });
  previewer.start();
  const sweeper = new Sweeper({ store, dispatch, logger });
  sweeper.start();
  return {
    port: door?.port,
    async stop() {
      health.stopping();
      await sweeper.stop();
      await previewer.stop();
      const left = await worker.stop();
      policy.close();
      await door?.close();
      await closeStores(stores);
      return left;
    },
  };
}

/** An executor is asked nothing but how it is. */
async function openHealth(
  { listen }: Pick<ExecutorConfig, 'listen'>,
  health: ExecutorHealth,
): Promise<{ port: number; close(): Promise<void> } | undefined> {
  if (listen === undefined) return undefined;
  const doors = HEALTH_PATHS.map(
    (path) => [path, (_: unknown, response: ServerResponse) => health.answer(path, response)] as const,
  );
  return await listenOn(listen, new Map(doors));
}

type StoreConfig = Pick<StartConfig, 'redis' | 'shards' | 'startDeadlineMs' | 'proposalKeys'>;

async function openStores(config: StoreConfig, name: string, logger: Logger): Promise<Stores> {
  const { shards, startDeadlineMs } = config;
  const connections = openRedis({
    connection: config.redis.connection.reveal(),
    replicas: config.redis.replicas,
    name,
    onError: onceAnOutage(logger),
  });
  const { redis, replicas } = connections;
  DamagedShards.of(redis).tell({
    damaged: (shard, looked, err) =>
      logger.error({ alarm: 'shard_damaged', shard, looked, err }, SHARD_DAMAGED),
    mended: (shard) => logger.info({ shard }, 'the shard gives answers again'),
  });
  try {
    const { warnings, refusesWrites } = await checkRedis(redis, { replicas, shards });
    for (const warning of warnings) logger.warn(warning);
    if (refusesWrites !== undefined) logger.error(refusesWrites);
    await agreeOnShards(redis, shards);
    await agreeOnReplicas(connections);
  } catch (error) {
    connections.close();
    if (!(error instanceof StoreUnavailable)) throw error;
    const { address } = config.redis;
    const problem =
      error instanceof RedisAway
        ? `Redis at ${address} does not serve us: ${error.problem}`
        : `Redis at ${address} does not answer. Start it, or set REDIS_URL.`;
    throw new StoreUnavailable(problem, { cause: error });
  }
  return {
    connections,
    store: new ProposalStoreRedis({ redis, shards, replicas, keys: config.proposalKeys.reveal() }),
    writeSwitch: new WriteSwitchRedis({ redis, shards, replicas, startDeadlineMs }),
    audit: new AuditLogRedis({ redis, shards }),
    dispatch: new DispatchBullMQ({ connection: redis, shards }),
  };
}

async function closeStores({ connections, dispatch, writeSwitch }: Stores): Promise<void> {
  await writeSwitch.stop();
  await dispatch.close();
  connections.close();
}

const SHARD_DAMAGED =
  'a shard holds what Countersign did not write: calls of its tenants are refused and wait, the other shards go on. Restore, or rename, the key that err names; it is looked at again and again';

const SWITCH_FORGOTTEN =
  'Redis does not know the switch any more, or an older one: it was emptied, or an older copy took over. Writes stay off until somebody turns them on';

/** Every second, while this process lives: with nobody left to hear `off`, writes are off within a permit's life. */
function renewPermits(
  writeSwitch: WriteSwitch,
  { health, shards, logger }: { health: Health; shards: number; logger: Logger },
): { stop(): void } {
  let failing = false;
  let forgot = false;
  const renew = async () => {
    try {
      const { failed, forgotten } = await writeSwitch.renewPermits();
      if (forgotten > 0 && !forgot) logger.error({ alarm: 'switch_forgotten', forgotten }, SWITCH_FORGOTTEN);
      forgot = forgotten > 0;
      if (failed > 0 && !failing) logger.error({ failed }, 'permits were not renewed; writes stop there');
      if (failed === 0 && failing) logger.info('permits are renewed again');
      failing = failed > 0;
      if (failed < shards) health.permitsRenewed({ forgotten: forgot, some: failing });
    } catch (err) {
      if (!failing) logger.error({ err }, 'permits were not renewed; writes stop');
      failing = true;
    }
  };
  void renew();
  const timer = setInterval(() => void renew(), PERMIT_RENEWAL_MS);
  return { stop: () => clearInterval(timer) };
}
