import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { infoFields } from '../../src/redis/connection.ts';
import { type EmbeddedRedis, findRedisBinary, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { freePorts } from './free-ports.ts';

export const MASTER_NAME = 'countersign';
/** A node that says nothing for this long is taken for dead by a sentinel. */
const DOWN_AFTER_MS = 1_500;
/** Twice this long passes until the same master is given up again after an attempt that failed. */
const FAILOVER_TIMEOUT_MS = 3_000;
const WHOLE_WITHIN_MS = 60_000;
/** What the test itself asks of a server that is alive. */
const ANSWER_MS = 5_000;
const QUORUM = 2;
/** Below those that the kernel gives to outgoing connections: a port of a dead node is free when it comes back. */
const PORTS = { from: 32_000, to: 32_768 };

/**
 * Who comes how: with its own user each, so that one kind can be shut out. The parts may come as `app` alone; whoever
 * gives no name gets nothing.
 */
const USERS = { app: 'app-password', replication: 'replication-password', sentinel: 'sentinel-password' };
/** What a sentinel itself asks of whoever connects to it. */
const SENTINEL_PASSWORD = 'password-of-the-sentinels';

export const NODES = ['one', 'two', 'three'] as const;
export type NodeName = (typeof NODES)[number];
export const SENTINELS = ['a', 'b', 'c'] as const;
export type SentinelName = (typeof SENTINELS)[number];

/**
 * A master, two replicas and three sentinels, really started, on free ports of this machine, each a child that ends with
 * this process. The address goes through everything that an address can hold: a user, and the sentinels' own password.
 */
export class SentinelForTests {
  readonly #directory: string;
  readonly #nodes: Readonly<Record<NodeName, DataNode>>;
  readonly #sentinels: Readonly<Record<SentinelName, SentinelNode>>;

  private constructor(
    directory: string,
    nodes: Record<NodeName, DataNode>,
    sentinels: Record<SentinelName, SentinelNode>,
  ) {
    this.#directory = directory;
    this.#nodes = nodes;
    this.#sentinels = sentinels;
  }

  static async start(): Promise<SentinelForTests> {
    const directory = mkdtempSync(join(tmpdir(), 'cs-sentinel-'));
    const [one = 0, two = 0, three = 0, a = 0, b = 0, c = 0] = await freePorts(6, PORTS);
    const dataNode = (name: NodeName, port: number) => new DataNode(join(directory, name), port);
    const sentinel = (name: SentinelName, port: number) => new SentinelNode(join(directory, name), port, one);
    const nodes = { one: dataNode('one', one), two: dataNode('two', two), three: dataNode('three', three) };
    const sentinels = { a: sentinel('a', a), b: sentinel('b', b), c: sentinel('c', c) };
    const started = new SentinelForTests(directory, nodes, sentinels);
    try {
      await Promise.all(Object.values(nodes).map((node) => node.start()));
      await nodes.two.follow(one);
      await nodes.three.follow(one);
      await Promise.all(Object.values(sentinels).map((one) => one.start()));
      await started.whole();
      return started;
    } catch (error) {
      await started.stop();
      throw error;
    }
  }

  /** For REDIS_URL and `createGuard`. */
  get address(): string {
    const hosts = Object.values(this.#sentinels).map(({ port }) => `127.0.0.1:${port}`);
    return `redis+sentinel://app:${USERS.app}@${hosts.join(',')}/${MASTER_NAME}?sentinelPassword=${SENTINEL_PASSWORD}`;
  }

  /** Straight to the node, whatever anybody else can reach. */
  client(node: NodeName): Redis {
    return this.#nodes[node].client;
  }

  port(node: NodeName): number {
    return this.#nodes[node].port;
  }

  /** As most of the sentinels that answer have it. @throws Error where none does. */
  async master(): Promise<NodeName> {
    const votes = new Map<number, number>();
    for (const sentinel of Object.values(this.#sentinels).filter(({ answers }) => answers)) {
      const port = await sentinel.masterPort();
      votes.set(port, (votes.get(port) ?? 0) + 1);
    }
    const [most] = [...votes].sort(([, a], [, b]) => b - a);
    const found = NODES.find((name) => this.#nodes[name].port === most?.[0]);
    if (found === undefined) throw new Error('no sentinel names a master');
    return found;
  }

  async replicas(): Promise<NodeName[]> {
    const master = await this.master();
    return NODES.filter((name) => name !== master);
  }

  /** Asks a sentinel to make a replica the master. @throws where it does not want to. */
  async failover(): Promise<void> {
    const sentinel = Object.values(this.#sentinels).find(({ answers }) => answers);
    if (sentinel === undefined) throw new Error('no sentinel answers');
    await sentinel.client.call('SENTINEL', 'FAILOVER', MASTER_NAME);
  }

  /** Resolves with the new master when the sentinels name another one than that and it takes writes. */
  async failedOver(from: NodeName, withinMs = WHOLE_WITHIN_MS): Promise<NodeName> {
    return await until(`a master other than ${from}`, withinMs, async () => {
      const master = await this.master();
      if (master === from) return undefined;
      const role = (await this.#nodes[master].client.role()) as unknown[];
      return role[0] === 'master' ? master : undefined;
    });
  }

  /**
   * Resolves when every node and sentinel that was not killed or frozen agrees on who is the master, and all others that
   * run follow it and hold what it holds.
   */
  async whole(withinMs = WHOLE_WITHIN_MS): Promise<void> {
    let problem: string | undefined;
    await until('Sentinel as it should be', withinMs, async () => {
      problem = await this.#problem().catch(String);
      return problem === undefined ? true : undefined;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${problem}`);
    });
  }

  async kill9(node: NodeName): Promise<void> {
    await this.#nodes[node].kill9();
  }

  /** With what it had on its disk, and as what it was started as: where it is not the master any more it is told so. */
  async restart(node: NodeName): Promise<void> {
    await this.#nodes[node].start();
    const master = await this.master();
    if (master !== node) await this.#nodes[node].follow(this.#nodes[master].port);
  }

  /** What Sentinel does by itself ten seconds after a failover: whoever was the master follows the new one. */
  async demote(node: NodeName): Promise<void> {
    await this.#nodes[node].follow(this.#nodes[await this.master()].port);
  }

  freeze(node: NodeName): void {
    this.#nodes[node].freeze();
  }

  thaw(node: NodeName): void {
    this.#nodes[node].thaw();
  }

  async killSentinel(name: SentinelName): Promise<void> {
    await this.#sentinels[name].kill9();
  }

  freezeSentinel(name: SentinelName): void {
    this.#sentinels[name].freeze();
  }

  thawSentinel(name: SentinelName): void {
    this.#sentinels[name].thaw();
  }

  async restartSentinel(name: SentinelName): Promise<void> {
    await this.#sentinels[name].start();
  }

  /** Its replicas and the sentinels cannot reach it any more; whoever works with it still can. */
  async isolate(node: NodeName): Promise<void> {
    const { client } = this.#nodes[node];
    for (const user of ['replication', 'sentinel']) {
      await client.call('ACL', 'SETUSER', user, 'off');
      await client.call('CLIENT', 'KILL', 'USER', user);
    }
  }

  async rejoin(node: NodeName): Promise<void> {
    for (const user of ['replication', 'sentinel']) {
      await this.#nodes[node].client.call('ACL', 'SETUSER', user, 'on');
    }
  }

  /** Every connection of the parts to that node; those that the test, the replicas and the sentinels have stay. */
  async cutConnections(node: NodeName): Promise<void> {
    await this.#nodes[node].client.call('CLIENT', 'KILL', 'USER', 'app', 'SKIPME', 'yes');
  }

  /** How many connections of the parts a node has. */
  async connections(node: NodeName): Promise<number> {
    const lines = String(await this.#nodes[node].client.client('LIST')).split('\n');
    return lines.filter((line) => line.includes(' user=app ')).length;
  }

  async stop(): Promise<void> {
    for (const one of [...Object.values(this.#sentinels), ...Object.values(this.#nodes)]) await one.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #problem(): Promise<string | undefined> {
    const running = NODES.filter((name) => this.#nodes[name].answers);
    const sentinels = Object.entries(this.#sentinels).filter(([, { answers }]) => answers);
    const master = await this.master();
    const { port, client } = this.#nodes[master];
    for (const [name, sentinel] of sentinels) {
      if ((await sentinel.masterPort()) !== port)
        return `sentinel ${name} names another master than ${master}`;
      const seen = await sentinel.sees();
      if (seen.get('flags') !== 'master') return `sentinel ${name} sees the master as ${seen.get('flags')}`;
      if (Number(seen.get('num-slaves')) < NODES.length - 1) return `sentinel ${name} misses a replica`;
      if (Number(seen.get('num-other-sentinels')) < SENTINELS.length - 1)
        return `sentinel ${name} misses another one`;
    }
    const replication = infoFields(await client.info('replication'));
    if (replication.get('role') !== 'master') return `${master} is no master yet`;
    const inStep = [...replication].filter(
      ([key, value]) => /^slave\d+$/.test(key) && value.includes('state=online'),
    );
    if (inStep.length < running.length - 1) return `${master} has ${inStep.length} replicas in step`;
    for (const name of running.filter((one) => one !== master)) {
      const link = infoFields(await this.#nodes[name].client.info('replication'));
      if (link.get('master_port') !== String(port) || link.get('master_link_status') !== 'up')
        return `${name} has no link to ${master}`;
    }
    return undefined;
  }
}

class DataNode {
  readonly port: number;
  readonly #directory: string;
  #server: EmbeddedRedis | undefined;
  #client: Redis | undefined;
  #state: 'running' | 'frozen' | 'killed' = 'killed';

  constructor(directory: string, port: number) {
    this.#directory = directory;
    this.port = port;
  }

  get answers(): boolean {
    return this.#state === 'running';
  }

  /** Over a unix socket, as no part comes: not one of those that `cutConnections` closes. */
  get client(): Redis {
    if (this.#client === undefined) throw new Error('this node was never started');
    return this.#client;
  }

  async start(): Promise<void> {
    if (this.#server === undefined) {
      const { app, replication, sentinel } = USERS;
      const extraArgs = [
        ...['--port', String(this.port), '--bind', '127.0.0.1'],
        ...['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1', '--repl-timeout', '10'],
        ...['--masteruser', 'replication', '--masterauth', replication],
        ...['--user', 'test', 'on', 'nopass', '~*', '&*', '+@all'],
        ...['--user', 'app', 'on', `>${app}`, '~*', '&*', '+@all'],
        ...['--user', 'replication', 'on', `>${replication}`, '~*', '&*', '+@all'],
        ...['--user', 'sentinel', 'on', `>${sentinel}`, '~*', '&*', '+@all'],
      ];
      const directory = this.#directory;
      this.#server = await startEmbeddedRedis({ directory, appendOnly: 'always', extraArgs });
      const { path } = this.#server.connectionOptions;
      this.#client = new Redis({
        path,
        username: 'test',
        password: 'any',
        commandTimeout: ANSWER_MS,
        maxRetriesPerRequest: null,
        retryStrategy: () => 50,
      });
      // What is asked of a node that is gone says so itself.
      this.#client.on('error', () => {});
    } else {
      await this.#server.restart();
    }
    this.#state = 'running';
    // Not before it runs: whoever started it asks without a name whether it does.
    await this.client.call('ACL', 'SETUSER', 'default', 'off');
  }

  async follow(port: number): Promise<void> {
    await this.client.replicaof('127.0.0.1', port);
  }

  async kill9(): Promise<void> {
    this.#state = 'killed';
    await this.#server?.kill9();
  }

  freeze(): void {
    if (this.#server === undefined) return;
    process.kill(this.#server.pid, 'SIGSTOP');
    this.#state = 'frozen';
  }

  thaw(): void {
    if (this.#server === undefined || this.#state !== 'frozen') return;
    process.kill(this.#server.pid, 'SIGCONT');
    this.#state = 'running';
  }

  async stop(): Promise<void> {
    this.#client?.disconnect();
    // Nobody needs its data any more, and an orderly end would wait for its replicas.
    await this.#server?.kill9();
    await this.#server?.stop();
  }
}

/** Sits beside a sentinel and waits for the pipe from us to close, which the kernel does for us even on SIGKILL. */
const WATCHDOG = 'read -r _; kill -KILL "$1" 2>/dev/null';

class SentinelNode {
  readonly port: number;
  readonly client: Redis;
  readonly #configPath: string;
  #running: { server: ChildProcess; watchdog: ChildProcess } | undefined;
  #frozen = false;

  /** @param masterPort where the first master is. */
  constructor(directory: string, port: number, masterPort: number) {
    mkdirSync(directory);
    this.port = port;
    this.#configPath = join(directory, 'sentinel.conf');
    // Its own from here on: it writes there what it learns.
    writeFileSync(
      this.#configPath,
      `port ${port}
bind 127.0.0.1
dir ${directory}
requirepass ${SENTINEL_PASSWORD}
sentinel sentinel-pass ${SENTINEL_PASSWORD}
sentinel monitor ${MASTER_NAME} 127.0.0.1 ${masterPort} ${QUORUM}
sentinel auth-user ${MASTER_NAME} sentinel
sentinel auth-pass ${MASTER_NAME} ${USERS.sentinel}
sentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER_MS}
sentinel failover-timeout ${MASTER_NAME} ${FAILOVER_TIMEOUT_MS}
sentinel parallel-syncs ${MASTER_NAME} 2
`,
    );
    this.client = new Redis({
      port,
      host: '127.0.0.1',
      password: SENTINEL_PASSWORD,
      lazyConnect: true,
      commandTimeout: ANSWER_MS,
      enableReadyCheck: false,
      maxRetriesPerRequest: null,
      retryStrategy: () => 50,
    });
    this.client.on('error', () => {});
  }

  get answers(): boolean {
    return this.#running !== undefined && !this.#frozen;
  }

  async start(): Promise<void> {
    if (this.#running !== undefined) return;
    const server = spawn(findRedisBinary(), [this.#configPath, '--sentinel'], {
      stdio: 'ignore',
      env: {},
      detached: true,
    });
    const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', String(server.pid)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: '/usr/bin:/bin' },
      detached: true,
    });
    watchdog.stdin?.on('error', () => {});
    watchdog.unref();
    // Before anything else: the pid is free for others from then on.
    server.once('exit', () => watchdog.kill('SIGKILL'));
    this.#running = { server, watchdog };
    await until('a sentinel that answers', WHOLE_WITHIN_MS, () =>
      this.client.ping().then(
        () => true,
        () => undefined,
      ),
    );
  }

  /** The fields that SENTINEL MASTER gives. */
  async sees(): Promise<ReadonlyMap<string, string>> {
    const flat = (await this.client.call('SENTINEL', 'MASTER', MASTER_NAME)) as string[];
    return new Map(flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] ?? ''] as const] : [])));
  }

  async masterPort(): Promise<number> {
    const [, port] = (await this.client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME)) as string[];
    return Number(port);
  }

  freeze(): void {
    this.#running?.server.kill('SIGSTOP');
    this.#frozen = true;
  }

  thaw(): void {
    this.#running?.server.kill('SIGCONT');
    this.#frozen = false;
  }

  async kill9(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    this.#frozen = false;
    if (running === undefined) return;
    const ended = once(running.server, 'exit');
    running.server.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    await this.kill9();
  }
}

async function until<T>(what: string, withinMs: number, look: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = await look().catch(() => undefined);
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(50);
  }
}
