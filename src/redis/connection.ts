import { Cluster, Redis } from 'ioredis';
import { StoreUnavailable } from '../core/proposal/proposal-store.ts';
import { ClusterClient } from './cluster-client.ts';
import { clusterListener } from './cluster-listener.ts';
import { type MasterView, masterView, notServing } from './cluster-state.ts';
import { SHARD_COUNT_KEY, shardKey } from './keys.ts';
import {
  type ClusterConnection,
  isCluster,
  type NodeConnection,
  REPLICAS_AT_MOST,
  type RedisConnection,
  redisAddressOf,
  replicasByDefault,
} from './redis-address.ts';
import { refusedCertificate, rememberRefusedCertificates } from './refused-certificate.ts';
import { RepeatingSentinelConnector } from './sentinel-connector.ts';
import { TlsConnector } from './tls-connector.ts';

/** How long anything waits for Redis before it says `StoreUnavailable`. */
export const ANSWER_TIMEOUT_MS = 2_000;
/** What waits has its own, shorter limit; this one clears away what nobody waits for any more. */
const COMMAND_TIMEOUT_MS = 3 * ANSWER_TIMEOUT_MS;
/**
 * A connection can die without a word: a firewall forgets it, a machine in between freezes. One that owes an answer and
 * says nothing for this long is thrown away for a new one. Shorter than the life of a permit, so that one dead
 * connection does not turn writes off; longer than ANSWER_TIMEOUT_MS, so that nobody waits for its answers any more.
 */
const SILENT_AT_MOST_MS = 3_000;
/** How often one is asked that nothing else is asked on, as that of the subscriptions: it owes an answer then. */
const CANARY_EVERY_MS = 2_000;
const RECONNECT_AT_MOST_EVERY_MS = 500;
/** A Sentinel that does not answer is passed over for the next one. */
const SENTINEL_ANSWER_MS = 700;
const SENTINEL_RECONNECT_MS = 2_000;

/** One Redis or what Sentinels say is the master, or a Cluster. */
export type RedisClient = Redis | ClusterClient;

/** Own connections for commands and for subscriptions: a subscribing connection takes no commands. */
export interface RedisConnections {
  readonly redis: RedisClient;
  /** Of a Cluster: to any of its nodes. */
  readonly subscriber: Redis;
  /** How many replicas of each master have to hold a write before it counts. */
  readonly replicas: number;
  /** False: nobody said how many, and it is the default. */
  readonly replicasChosen: boolean;
  close(): void;
}

export interface OpenRedisOptions {
  /** In any of the forms that `redisAddressOf` reads; or everything in `connection`. */
  url?: string | undefined;
  connection?: RedisConnection | undefined;
  /** 0 to 5. Default: 1 with Sentinel and in a Cluster, else 0. */
  replicas?: number | undefined;
  /** Shown by `CLIENT LIST`. */
  name?: string | undefined;
  /** Connection errors, for the log. What was asked meanwhile is rejected anyway. */
  onError?: ((error: Error) => void) | undefined;
}

/**
 * Connects in the background and goes on connecting; what is asked meanwhile fails within ANSWER_TIMEOUT_MS.
 * @throws RedisAddressInvalid, RangeError
 */
export function openRedis(options: OpenRedisOptions): RedisConnections {
  requireReplicas(options.replicas);
  const connection =
    options.url === undefined ? (options.connection ?? {}) : redisAddressOf(options.url).connection;
  const settings: NodeConnection = {
    connectionName: options.name ?? 'countersign',
    connectTimeout: ANSWER_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SILENT_AT_MOST_MS,
    // A command that was given up must not be sent after all when Redis comes back: an admission nobody waits for
    // would be a call in doubt.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // Channels subscribes anew. ioredis awaits its own attempt nowhere: where the connection breaks once more before the
    // answer, that is an unhandled rejection, which ends the process of whoever holds a guard.
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(attempt * 50, RECONNECT_AT_MOST_EVERY_MS),
  };
  const { redis, subscriber } = isCluster(connection)
    ? toCluster(connection, settings)
    : toNode(connection, settings);
  const onError = (error: Error) => options.onError?.(error);
  redis.on('error', onError);
  subscriber.on('error', onError);
  if (redis instanceof ClusterClient) redis.on('node error', onError);
  const canaries = [
    sendCanaries(redis),
    isCluster(connection) ? watchCluster(subscriber) : sendCanaries(subscriber),
  ];
  return {
    redis,
    subscriber,
    replicas: options.replicas ?? replicasByDefault(connection),
    replicasChosen: options.replicas !== undefined,
    close() {
      for (const canary of canaries) canary.stop();
      redis.disconnect();
      subscriber.disconnect();
    },
  };
}

/** Of what is no such number nobody would be waited for, and nobody would say so. */
function requireReplicas(replicas: number | undefined): void {
  if (replicas === undefined) return;
  if (Number.isInteger(replicas) && replicas >= 0 && replicas <= REPLICAS_AT_MOST) return;
  throw new RangeError(
    `replicas is a whole number from 0 to ${REPLICAS_AT_MOST}: how many replicas of each master have to hold a write before it counts; or leave it out`,
  );
}

function toCluster(connection: ClusterConnection, settings: NodeConnection) {
  const redis = new ClusterClient(connection, connection.tls ? { ...settings, ...WITH_TLS } : settings);
  const subscriber = clusterListener(redis, connection);
  rememberRefusedCertificates(subscriber);
  return { redis, subscriber };
}

function toNode(connection: NodeConnection, settings: NodeConnection) {
  const reaching = connection.sentinels ? FAILING_OVER : connection.tls ? WITH_TLS : {};
  const all = { ...connection, ...settings, ...reaching };
  // Else ioredis asks the Sentinels, and talks to the master without TLS, whatever `tls` says.
  if (connection.sentinels && connection.tls) all.enableTLSForSentinelMode = true;
  const both = { redis: new Redis(all), subscriber: new Redis(all) };
  for (const one of Object.values(both)) rememberRefusedCertificates(one);
  return both;
}

const WITH_TLS: NodeConnection = { Connector: TlsConnector };

/** With Sentinels, the connection has to leave a master that is none any more: also one that is merely frozen. */
const FAILING_OVER: NodeConnection = {
  connectTimeout: SENTINEL_ANSWER_MS,
  sentinelCommandTimeout: SENTINEL_ANSWER_MS,
  sentinelRetryStrategy: (attempt) => Math.min(attempt * 50, RECONNECT_AT_MOST_EVERY_MS),
  // They tell of a new master; without being asked, and also while the old one still answers.
  failoverDetector: true,
  Connector: RepeatingSentinelConnector,
  sentinelReconnectStrategy: () => SENTINEL_RECONNECT_MS,
  // Only connected anew. What was refused is not asked again here.
  reconnectOnError: (error) => error.message.startsWith('READONLY'),
};

/** Asks now and then, so that a connection with a `socketTimeout` is found to be dead also where nobody asks anything. */
export function sendCanaries(connection: Redis | Cluster): { stop(): void } {
  return every(CANARY_EVERY_MS, () => {
    for (const node of connection instanceof Cluster ? connection.nodes() : [connection]) {
      if (node.status === 'ready') node.ping().catch(() => {});
    }
  });
}

/** A node that is cut off from the others answers, and passes on nothing of what they publish: it says so itself. */
function watchCluster(subscriber: Redis): { stop(): void } {
  return every(CANARY_EVERY_MS, () => {
    if (subscriber.status !== 'ready') return;
    subscriber.cluster('INFO').then(
      (info) => {
        if (/^cluster_state:fail/m.test(String(info))) subscriber.disconnect(true);
      },
      () => {},
    );
  });
}

function every(ms: number, act: () => void): { stop(): void } {
  const timer = setInterval(act, ms);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** A node that takes writes: the one Redis, or each master of a Cluster. */
export interface Master {
  /** In a Cluster, for people: `10.0.0.1:6379`. */
  readonly name: string | undefined;
  readonly node: Redis;
}

/** @throws RedisAway naming each master to which there is no connection. */
export async function mastersOf(redis: RedisClient): Promise<readonly Master[]> {
  if (!(redis instanceof ClusterClient)) return [{ name: undefined, node: redis }];
  // Only then it is known who they are.
  await answerOf(redis, async () => {});
  const masters = [...redis.masters()];
  const lost = masters.flatMap(([name, node]) => (node === undefined ? [name] : []));
  if (lost.length > 0) {
    const problems = lost.map((name) => {
      const refused = redis.refusedCertificateOf(name);
      return refused === undefined ? `no connection to ${name}: ${BRING_BACK}` : `${name}: ${refused}`;
    });
    throw new RedisAway(problems.join('\n'));
  }
  if (!redis.whole) {
    throw new RedisAway('some slots of the Cluster have no master. Type: redis-cli --cluster fix HOST:PORT');
  }
  return masters.flatMap(([name, node]) => (node === undefined ? [] : [{ name, node }]));
}

/** A record, an index or an entry in Redis has a form that no script of ours writes. Nothing was changed. */
export class StoreDamaged extends Error {
  override readonly name = 'StoreDamaged';
  readonly code = 'store_damaged';
}

const BRING_BACK = 'start it, or let a replica take its place';

/** Redis, or a node of it, does not serve us, and it is known why. */
export class RedisAway extends StoreUnavailable {
  override readonly name = 'RedisAway';
  /** Which node, its state, and what to do; for anybody, so it holds nothing that Redis holds. */
  readonly problem: string;

  constructor(problem: string, options?: ErrorOptions) {
    super(notServed(problem), options);
    this.problem = problem;
  }
}

/** Waits for the connection and for the answer, and for both together no longer than `timeoutMs`. */
export async function answerOf<T>(
  redis: Redis | Cluster,
  ask: () => Promise<T>,
  timeoutMs: number = ANSWER_TIMEOUT_MS,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    const giveUp = () => reject(late(redis, timeoutMs));
    // Where it was we who were busy, the answer has come and was not read yet: that happens between these two.
    timer = setTimeout(() => setImmediate(giveUp), timeoutMs);
  });
  let given = false;
  const answer = async () => {
    if (redis.status !== 'ready') await ready(redis);
    // Given up while it waited for the connection: asking now would do what the caller was told is unknown.
    if (given) throw unavailable('given up before it was asked');
    return ask();
  };
  try {
    return await Promise.race([answer(), tooLate]);
  } catch (error) {
    throw explained(error);
  } finally {
    given = true;
    clearTimeout(timer);
  }
}

function late(redis: Redis | Cluster, timeoutMs: number): StoreUnavailable {
  return notStanding(redis, `no answer in ${timeoutMs} ms (connection: ${redis.status})`);
}

function closed(redis: Redis | Cluster): StoreUnavailable {
  return notStanding(redis, 'the connection is closed');
}

function notStanding(redis: Redis | Cluster, what: string): StoreUnavailable {
  const refused = redis.status === 'ready' ? undefined : refusedCertificate(redis);
  return refused === undefined ? unavailable(what) : new RedisAway(refused);
}

const waitingForReady = new WeakMap<Redis | Cluster, Promise<void>>();

/** One set of listeners a connection, however many wait. */
function ready(redis: Redis | Cluster): Promise<void> {
  const waiting = waitingForReady.get(redis);
  if (waiting) return waiting;
  if (redis.status === 'end') return Promise.reject(closed(redis));
  if (redis.status === 'wait') redis.connect().catch(() => {});
  const stands = new Promise<void>((resolve, reject) => {
    const done = () => {
      redis.off('ready', isReady);
      redis.off('end', isEnd);
      waitingForReady.delete(redis);
    };
    const isReady = () => {
      done();
      resolve();
    };
    const isEnd = () => {
      done();
      reject(closed(redis));
    };
    redis.on('ready', isReady);
    redis.on('end', isEnd);
  });
  // Whoever waits races it with a timer; left alone, a late rejection must not end the process.
  stands.catch(() => {});
  waitingForReady.set(redis, stands);
  return stands;
}

/** Replies by which Redis says that it does not serve us now, not that we asked for nonsense. */
const NOT_SERVING =
  /^(?:OOM|LOADING|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|BUSY|NOAUTH|NOPERM|WRONGPASS)\b/;

function explained(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof StoreUnavailable) return error;
  // Everything that is not a reply of the server is a connection that failed.
  if (error.name !== 'ReplyError') return unavailable(error.message, error);
  if (NOT_SERVING.test(error.message)) return unavailable(error.message, error);
  if (/^(?:STORE_DAMAGED|WRONGTYPE)\b/.test(error.message)) {
    return new StoreDamaged(
      `${error.message} — something else wrote to our keys in Redis, or an older version did`,
      { cause: error },
    );
  }
  return error;
}

function unavailable(why: string, cause?: unknown): StoreUnavailable {
  return new StoreUnavailable(notServed(why), cause === undefined ? undefined : { cause });
}

function notServed(why: string): string {
  return `Redis does not serve us: ${why}. What was asked may or may not have happened; read before asking again`;
}

export class RedisUnfit extends Error {
  override readonly name = 'RedisUnfit';
  readonly code = 'redis_unfit';
}

export interface RedisCheck {
  readonly version: string;
  /** True where what was written outlives the server: an append-only file, or at least snapshots. */
  readonly persistent: boolean;
  /**
   * Why it takes no writes now, though it answers, or why none would count. It may take them again, so this does not keep
   * a part from starting.
   */
  readonly refusesWrites: string | undefined;
  /** Each one a sentence for the log and for `/health`. */
  readonly warnings: readonly string[];
}

const ASKED = ['server', 'memory', 'persistence', 'replication'];

/** `#!lua` scripts, which stop at out-of-memory instead of half-applying, came with Redis 7.0. */
const OLDEST_MAJOR = 7;
/** A replica says every second how far it is. */
const REPLICA_SILENT_AT_MOST_S = 3;

/** What this installation asks of its Redis. */
export interface RedisNeeds {
  /** How many replicas of each master have to hold a write before it counts. */
  readonly replicas: number;
  readonly shards: number;
}

/**
 * At boot, before anything else. In a Cluster each master is asked, and what is wrong with one says its address.
 * @throws RedisUnfit with every problem at once, and the line to type for each.
 * @throws StoreUnavailable; RedisAway where it is known which node it is, or why
 */
export async function checkRedis(
  redis: RedisClient,
  { replicas, shards }: RedisNeeds = { replicas: 0, shards: 1 },
): Promise<RedisCheck> {
  const masters = await mastersOf(redis);
  const looks = await Promise.all(
    masters.map(async ({ name, node }) => ({ name, look: await lookAt(node, replicas).catch(naming(name)) })),
  );
  const unserved = redis instanceof ClusterClient ? await shardsNotServed(redis, masters, shards) : [];
  const of = (sentences: (look: NodeLook) => readonly string[]) =>
    looks.flatMap(({ name, look }) =>
      sentences(look).map((said) => (name === undefined ? said : `${name}: ${said}`)),
    );
  const problems = of((look) => look.problems);
  if (problems.length > 0) throw new RedisUnfit(problems.join('\n'));
  const refuses = [...unserved, ...of((look) => look.refusesWrites)];
  const warnings = of((look) => look.warnings);
  if (redis instanceof ClusterClient && shards === 1) {
    warnings.push(
      'With one shard, one node of this Cluster does all the work. Set COUNTERSIGN_SHARDS=16 in every part, before the first of them starts',
    );
  }
  return {
    version: looks[0]?.look.version ?? 'unknown',
    persistent: looks.every(({ look }) => look.persistent),
    refusesWrites: refuses.length > 0 ? refuses.join('\n') : undefined,
    warnings,
  };
}

/** What one node said. Sentences about it do not name it. */
interface NodeLook {
  readonly version: string;
  readonly persistent: boolean;
  readonly problems: readonly string[];
  readonly refusesWrites: readonly string[];
  readonly warnings: readonly string[];
}

function naming(name: string | undefined) {
  return (error: unknown): never => {
    if (name === undefined || !(error instanceof StoreUnavailable)) throw error;
    const problem =
      error instanceof RedisAway ? `${name}: ${error.problem}` : `${name} does not answer: ${BRING_BACK}`;
    throw new RedisAway(problem, { cause: error });
  };
}

/** As the masters themselves have it. */
async function shardsNotServed(
  redis: ClusterClient,
  masters: readonly Master[],
  shards: number,
): Promise<string[]> {
  const views = await Promise.all(masters.map((master) => viewOf(master).catch(naming(master.name))));
  const places = Array.from({ length: shards }, (_, shard) => ({
    shard,
    ...redis.placeOf(shardKey(shard, 'switch')),
  }));
  // Where one may not be asked, it is not known what it serves.
  const known = views.flatMap((view) => view ?? []);
  const problems = notServing(known, known.length < views.length ? [] : places);
  // A slot that has just moved is with a master that is not known yet.
  if (problems.length > 0) redis.refreshSlotsSoon();
  return problems;
}

async function viewOf({ name = '', node }: Master): Promise<MasterView | undefined> {
  const asked = await answerOf(node, () =>
    Promise.all([node.cluster('INFO'), node.cluster('NODES')]).catch(orForbidden),
  );
  return asked && masterView(name, String(asked[0]), String(asked[1]));
}

async function lookAt(node: Redis, replicas: number): Promise<NodeLook> {
  const info = infoFields(
    await answerOf(node, async () =>
      (await Promise.all(ASKED.map((section) => node.info(section)))).join('\n'),
    ),
  );
  const problems: string[] = [];
  // Valkey reports 7.2.4 as redis_version, for just this use, and its own version beside it.
  const version = info.get('redis_version') ?? 'unknown';
  if (!(Number.parseInt(version, 10) >= OLDEST_MAJOR)) {
    problems.push(`Redis ${version} is too old: install Redis 7.0 or later, or Valkey`);
  }
  const policy = info.get('maxmemory_policy') ?? 'unknown';
  if (policy !== 'noeviction') {
    problems.push(
      `maxmemory-policy is ${policy}, under which Redis throws approvals away when it is full. ` +
        'Type: redis-cli CONFIG SET maxmemory-policy noeviction (and write it to redis.conf)',
    );
  }
  const appendOnly = info.get('aof_enabled') === '1';
  const persistent = appendOnly || (await savesSnapshots(node));
  return {
    version,
    persistent,
    problems,
    refusesWrites: [...whyNoWrites(info), ...missingReplicas(info, replicas)],
    warnings: [...(await keptBadly(node, appendOnly, persistent)), ...unawaitedReplicas(info, replicas)],
  };
}

async function keptBadly(node: Redis, appendOnly: boolean, persistent: boolean): Promise<string[]> {
  if (!persistent) {
    return [
      'Redis keeps nothing on disk: a restart loses what is pending and the audit stream, and leaves writes off. ' +
        'Type: redis-cli CONFIG SET appendonly yes',
    ];
  }
  if (!appendOnly) {
    return [
      'Redis keeps snapshots only: a crash loses what was decided since the last one. ' +
        'Type: redis-cli CONFIG SET appendonly yes',
    ];
  }
  const written = await appendFsync(node);
  if (written === undefined || written === 'always') return [];
  return [
    `Redis answers before what it was told is on the disk (appendfsync ${written}): a crash loses the decisions of the last ` +
      `${written === 'everysec' ? 'second' : 'half minute'}. Type: redis-cli CONFIG SET appendfsync always (and write it to redis.conf)`,
  ];
}

function whyNoWrites(info: ReadonlyMap<string, string>): string[] {
  const most = Number(info.get('maxmemory') ?? 0);
  if (most > 0 && Number(info.get('used_memory') ?? 0) >= most) {
    return [
      'Redis is full: nothing new is taken; off, deny and what ends a call still work. Raise maxmemory',
    ];
  }
  if (info.get('role') === 'slave') return ['Redis is a read-only replica here: connect to its master'];
  if (info.get('aof_last_write_status') === 'err')
    return ['Redis cannot write its append-only file: look at its disk'];
  return [];
}

function missingReplicas(info: ReadonlyMap<string, string>, replicas: number): string[] {
  if (replicas === 0 || info.get('role') === 'slave') return [];
  const inSync = [...info].filter(([field, value]) => /^slave\d+$/.test(field) && isInSync(value)).length;
  if (inSync >= replicas) return [];
  return [
    `${inSync} of ${replicas} ${replicas === 1 ? 'replica is' : 'replicas are'} in sync, so nothing that is written counts: ` +
      'start the missing ones and let them catch up, or set COUNTERSIGN_REDIS_REPLICAS in every part',
  ];
}

function unawaitedReplicas(info: ReadonlyMap<string, string>, replicas: number): string[] {
  const connected = connectedReplicas(info);
  if (replicas > 0 || connected === 0 || info.get('role') === 'slave') return [];
  return [
    `Redis has ${connected} ${connected === 1 ? 'replica' : 'replicas'}, and nothing waits for any: where one of them takes over, decisions of the last moments are lost, an \`off\` among them, ` +
      'and a call may run twice. Set COUNTERSIGN_REDIS_REPLICAS in every part (`replicas` of createGuard)',
  ];
}

/** `ip=10.0.0.2,port=6379,state=online,offset=9000,lag=0` */
function isInSync(replica: string): boolean {
  const fields = new Map(replica.split(',').map((part) => part.split('=', 2) as [string, string]));
  return fields.get('state') === 'online' && Number(fields.get('lag') ?? 'NaN') <= REPLICA_SILENT_AT_MOST_S;
}

/**
 * At boot. Parts that disagree put a tenant's budgets and pending calls into two shards, and an `off` of the part that
 * knows fewer reaches not all of them.
 * @throws RedisUnfit, StoreUnavailable
 */
export async function agreeOnShards(redis: RedisClient, shards: number): Promise<void> {
  const standing = await answerOf(redis, () => redis.set(SHARD_COUNT_KEY, String(shards), 'NX', 'GET'));
  if (standing === null || standing === String(shards)) return;
  throw new RedisUnfit(
    `SHARDS is ${shards} here, and ${JSON.stringify(standing.slice(0, 10))} in the parts that started first. Set it to the same everywhere. ` +
      `To change it: stop every part, let what is pending end, and type: redis-cli DEL '${SHARD_COUNT_KEY}'`,
  );
}

/**
 * At boot. With fewer replicas waited for than a master has, one kind of failover takes back what was acknowledged; with
 * all of them, one that is lost stops writes. Neither is ours to choose where it was not said.
 * @throws RedisUnfit, StoreUnavailable
 */
export async function agreeOnReplicas({
  redis,
  replicas,
  replicasChosen,
}: Pick<RedisConnections, 'redis' | 'replicas' | 'replicasChosen'>): Promise<void> {
  if (replicas === 0 || replicasChosen) return;
  const counts = (await mastersOf(redis)).map(async ({ node }) => {
    const info = infoFields(await answerOf(node, () => node.info('replication')));
    return connectedReplicas(info);
  });
  const most = Math.max(...(await Promise.all(counts)));
  if (most <= replicas) return;
  throw new RedisUnfit(
    `a master of this Redis has ${most} replicas, and nobody said how many must hold a write before it counts. ` +
      `Set COUNTERSIGN_REDIS_REPLICAS (\`replicas\` of createGuard) in every part: ${most}, and no failover takes back a decision or runs a call twice, ` +
      `but writes wait while one replica is away; or ${replicas}, and writes go on without it, but a failover by command or a split network can`,
  );
}

/** As the parts that run here have it; undefined where none has ever started, or it cannot be read. */
export async function standingShards(redis: RedisClient): Promise<number | undefined> {
  const text = await answerOf(redis, () => redis.get(SHARD_COUNT_KEY)).catch(() => null);
  return text !== null && /^[1-9][0-9]{0,2}$/.test(text) ? Number(text) : undefined;
}

/** Where it cannot be read, we say that nothing is kept. */
async function savesSnapshots(redis: Redis): Promise<boolean> {
  const save = await setting(redis, 'save');
  return save !== undefined && save !== '';
}

/** `always`, `everysec` or `no`. Where it cannot be read there is no warning: who runs a hosted Redis cannot change it. */
function appendFsync(redis: Redis): Promise<string | undefined> {
  return setting(redis, 'appendfsync');
}

/** Hosted Redis forbids CONFIG: then we do not know. */
async function setting(redis: Redis, name: string): Promise<string | undefined> {
  const answer: unknown = await answerOf(redis, () => redis.config('GET', name).catch(orForbidden));
  return Array.isArray(answer) && typeof answer[1] === 'string' ? answer[1] : undefined;
}

function orForbidden(error: unknown): undefined {
  if (!(error instanceof Error && error.name === 'ReplyError')) throw error;
}

/** Of a master, by the fields of its `INFO replication`. */
export function connectedReplicas(info: ReadonlyMap<string, string>): number {
  return Number(info.get('connected_slaves') ?? 0);
}

export function infoFields(info: string): Map<string, string> {
  return new Map(
    info.split(/\r?\n/).flatMap((line) => {
      const colon = line.indexOf(':');
      return colon > 0 ? [[line.slice(0, colon), line.slice(colon + 1)] as const] : [];
    }),
  );
}
