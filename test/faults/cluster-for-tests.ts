import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { infoFields } from '../../src/redis/connection.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { freePorts } from './free-ports.ts';

const SLOTS = 16_384;
const MASTERS = 3;
/** A node that says nothing for this long is taken for dead by the others; its replica stands for election then. */
const NODE_TIMEOUT_MS = 1_500;
const WHOLE_WITHIN_MS = 60_000;
/** What the test itself asks of a node that is alive. */
const ANSWER_MS = 5_000;
const KEYS_AT_A_TIME = 50;
/** A master votes for a replica of the same master once in two node timeouts: asked for sooner, the failover does not come. */
const FAILOVER_AGAIN_MS = 2 * NODE_TIMEOUT_MS + 300;
/**
 * Below those that the kernel gives to outgoing connections: else a port of a dead node could be taken before it is
 * back, and a client that goes on dialling it could even meet itself there.
 */
const PORTS = { from: 20_000, to: 32_000 };

/** One server of the Cluster. What the test asks goes over a unix socket, not through what the faults are about. */
export interface ClusterNode {
  readonly port: number;
  /** As CLUSTER NODES names it; the same after a restart. */
  readonly id: string;
  readonly pid: number;
  readonly client: Redis;
  /** Neither killed nor frozen. */
  readonly answers: boolean;
  kill9(): Promise<void>;
  /** With what it had on its disk: as a replica where another has taken over meanwhile. */
  restart(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** What a node says of itself. */
interface SelfView {
  readonly master: boolean;
  readonly masterId: string;
  readonly configEpoch: number;
  /** Inclusive. */
  readonly slots: readonly (readonly [from: number, to: number])[];
}

/**
 * A Redis Cluster of real servers on free ports of this machine, each a child that ends with this process. Three
 * masters, and as many replicas of each as asked for.
 */
export class ClusterForTests {
  readonly nodes: readonly ClusterNode[];
  readonly replicas: number;
  readonly #servers: readonly Server[];
  readonly #directory: string;

  private constructor(servers: readonly Server[], replicas: number, directory: string) {
    this.nodes = servers;
    this.#servers = servers;
    this.replicas = replicas;
    this.#directory = directory;
  }

  /** @param options.replicas of each master: none for a quick test. */
  static async start({
    replicas = 1,
    appendOnly = 'always',
  }: {
    replicas?: number;
    appendOnly?: 'always' | 'everysec';
  } = {}): Promise<ClusterForTests> {
    const directory = mkdtempSync(join(tmpdir(), 'cs-cluster-'));
    const servers: Server[] = [];
    const count = MASTERS * (1 + replicas);
    try {
      const ports = await freePorts(2 * count, PORTS);
      await Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const [port = 0, bus = 0] = ports.slice(2 * i);
          servers[i] = await Server.start(join(directory, `node-${i}`), port, bus, appendOnly);
        }),
      );
      const cluster = new ClusterForTests(servers, replicas, directory);
      await cluster.#form();
      return cluster;
    } catch (error) {
      for (const server of servers) await server?.stop();
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** For REDIS_URL and `createGuard`. */
  get address(): string {
    return `redis+cluster://${this.nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  /** For `new Cluster(…)`. */
  get startupNodes(): { host: string; port: number }[] {
    return this.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
  }

  /** Those that serve slots now, as far as they answer. */
  async masters(): Promise<ClusterNode[]> {
    const views = await this.#views();
    return this.nodes.filter((node) => {
      const view = views.get(node);
      return view?.master === true && view.slots.length > 0;
    });
  }

  async replicasOf(master: ClusterNode): Promise<ClusterNode[]> {
    const views = await this.#views();
    return this.nodes.filter((node) => views.get(node)?.masterId === master.id);
  }

  /** The node that serves a shard's slot now. @throws Error where none does that answers. */
  async masterOf(shard: number): Promise<ClusterNode> {
    const slot = await this.slotOf(shard);
    const views = await this.#views();
    // One that comes back believes for a moment that it is what it was: the higher epoch is the newer one.
    const [found] = this.nodes
      .filter((node) => serves(views.get(node), slot))
      .sort((a, b) => (views.get(b)?.configEpoch ?? 0) - (views.get(a)?.configEpoch ?? 0));
    if (found === undefined) throw new Error(`no node that answers serves shard ${shard}`);
    return found;
  }

  async slotOf(shard: number): Promise<number> {
    return await this.#anyNode().client.cluster('KEYSLOT', `{s${shard}}`);
  }

  /** Resolves when every node that was not killed or frozen says that all is well, and each master has its replicas in step. */
  async whole(withinMs = WHOLE_WITHIN_MS): Promise<void> {
    const until = performance.now() + withinMs;
    for (let problem = await this.#problem(); problem !== undefined; problem = await this.#problem()) {
      if (performance.now() > until)
        throw new Error(`the Cluster is not whole in ${withinMs} ms: ${problem}`);
      await sleep(50);
    }
  }

  /** Resolves when every node that answers says that it takes nothing: those that do hear too few masters. */
  async withoutMajority(): Promise<void> {
    await this.#until('every node that is left says that the Cluster is down', async () => {
      const running = this.nodes.filter(({ answers }) => answers);
      const infos = await Promise.all(running.map(({ client }) => client.cluster('INFO')));
      return infos.every((info) => infoFields(String(info)).get('cluster_state') === 'fail');
    });
  }

  /**
   * A replica takes its master's place on command: with the master's help (`gently`), so that nothing is lost, or without
   * asking anybody (`TAKEOVER`). The masters vote once in a while only, so it is asked again until it is so.
   */
  async failover(replica: ClusterNode, how: 'gently' | 'TAKEOVER' = 'gently'): Promise<void> {
    const asked = how === 'gently' ? ['FAILOVER'] : ['FAILOVER', how];
    let again = Number.NEGATIVE_INFINITY;
    await this.#until(`node ${replica.port} is a master`, async () => {
      if ((await this.#views()).get(replica)?.master === true) return true;
      if (performance.now() - again > FAILOVER_AGAIN_MS) {
        again = performance.now();
        await replica.client.call('CLUSTER', ...asked);
      }
      return false;
    });
  }

  /** Resolves with the node that serves the shard once it is another one than that. */
  async takenOver(shard: number, from: ClusterNode): Promise<ClusterNode> {
    let found: ClusterNode | undefined;
    await this.#until(`shard ${shard} is served by another node`, async () => {
      found = await this.masterOf(shard).catch(() => undefined);
      return found !== undefined && found !== from;
    });
    return found as ClusterNode;
  }

  /** As whoever reshards does it: key by key, while everybody goes on. Ends also what `beginMove` began. */
  async moveShard(shard: number, to: ClusterNode): Promise<void> {
    const slot = await this.slotOf(shard);
    const from = await this.masterOf(shard);
    if (from === to) return;
    await this.beginMove(shard, to);
    for (;;) {
      const keys = (await from.client.cluster('GETKEYSINSLOT', slot, KEYS_AT_A_TIME)) as string[];
      if (keys.length === 0) break;
      await from.client.migrate('127.0.0.1', to.port, '', 0, ANSWER_MS, 'KEYS', ...keys);
    }
    // The target first: were it the source, and the target died, nobody would have the slot.
    const others = (await this.masters()).filter((node) => node !== to && node !== from);
    for (const node of [to, from, ...others]) await node.client.cluster('SETSLOT', slot, 'NODE', to.id);
  }

  /** From here on its slot is on its way, with no key moved yet. */
  async beginMove(shard: number, to: ClusterNode): Promise<void> {
    const slot = await this.slotOf(shard);
    const from = await this.masterOf(shard);
    await to.client.cluster('SETSLOT', slot, 'IMPORTING', from.id);
    await from.client.cluster('SETSLOT', slot, 'MIGRATING', to.id);
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) await server.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #form(): Promise<void> {
    const masters = this.nodes.slice(0, MASTERS);
    const share = Math.ceil(SLOTS / MASTERS);
    for (const [i, { client }] of masters.entries()) {
      await client.cluster('ADDSLOTSRANGE', i * share, Math.min((i + 1) * share, SLOTS) - 1);
    }
    for (const [i, { client }] of this.nodes.entries()) await client.cluster('SET-CONFIG-EPOCH', i + 1);
    const [first] = this.#servers;
    for (const server of this.#servers.slice(1)) {
      await server.client.call('CLUSTER', 'MEET', '127.0.0.1', String(first?.port), String(first?.bus));
    }
    await this.#until('everybody knows everybody', async () => {
      const known = await Promise.all(this.nodes.map(({ client }) => client.cluster('NODES')));
      return known.every((text) => this.nodes.every(({ id }) => String(text).includes(id)));
    });
    for (const [i, { client }] of this.nodes.slice(MASTERS).entries()) {
      await client.cluster('REPLICATE', (masters[i % MASTERS] as ClusterNode).id);
    }
    await this.whole();
  }

  async #problem(): Promise<string | undefined> {
    const running = this.nodes.filter(({ answers }) => answers);
    try {
      const views = await this.#views();
      let covered = 0;
      for (const node of running) {
        const cluster = infoFields(String(await node.client.cluster('INFO')));
        if (cluster.get('cluster_state') !== 'ok') return `node ${node.port} says that the Cluster is down`;
        for (const [from, to] of views.get(node)?.slots ?? []) covered += to - from + 1;
        const replication = infoFields(await node.client.info('replication'));
        if (views.get(node)?.master) {
          const inStep = [...replication].filter(
            ([key, value]) => /^slave\d+$/.test(key) && value.includes('state=online'),
          );
          const wanted = running.length < this.nodes.length ? 0 : this.replicas;
          if (inStep.length < wanted) return `master ${node.port} has ${inStep.length} replicas in step`;
        } else if (replication.get('master_link_status') !== 'up') {
          return `replica ${node.port} has no link to its master`;
        }
      }
      return covered === SLOTS ? undefined : `${covered} of ${SLOTS} slots are served`;
    } catch (error) {
      return String(error);
    }
  }

  async #views(): Promise<Map<ClusterNode, SelfView>> {
    const running = this.nodes.filter(({ answers }) => answers);
    const views = await Promise.all(
      running.map(async (node) => {
        // One that takes over its master's data says nothing else meanwhile.
        const text = await node.client.cluster('NODES').catch(() => undefined);
        return text === undefined ? [] : [[node, selfView(String(text))] as const];
      }),
    );
    return new Map(views.flat());
  }

  #anyNode(): ClusterNode {
    const node = this.nodes.find(({ answers }) => answers);
    if (node === undefined) throw new Error('no node of the Cluster answers');
    return node;
  }

  async #until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + WHOLE_WITHIN_MS;
    while (!(await holds())) {
      if (performance.now() > until) throw new Error(`not in ${WHOLE_WITHIN_MS} ms: ${what}`);
      await sleep(50);
    }
  }
}

class Server implements ClusterNode {
  readonly port: number;
  readonly bus: number;
  readonly client: Redis;
  readonly #server: EmbeddedRedis;
  #id = '';
  #state: 'running' | 'frozen' | 'killed' = 'running';

  private constructor(server: EmbeddedRedis, port: number, bus: number) {
    this.#server = server;
    this.port = port;
    this.bus = bus;
    this.client = new Redis({ ...server.connectionOptions, commandTimeout: ANSWER_MS });
    // What is asked of a node that is gone says so itself.
    this.client.on('error', () => {});
  }

  static async start(
    directory: string,
    port: number,
    bus: number,
    appendOnly: 'always' | 'everysec',
  ): Promise<Server> {
    const settings = {
      port,
      bind: '127.0.0.1',
      'cluster-enabled': 'yes',
      'cluster-port': bus,
      'cluster-node-timeout': NODE_TIMEOUT_MS,
      'repl-diskless-sync-delay': 0,
    };
    const extraArgs = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const embedded = await startEmbeddedRedis({ directory, appendOnly, extraArgs });
    const server = new Server(embedded, port, bus);
    server.#id = String(await server.client.cluster('MYID'));
    return server;
  }

  get id(): string {
    return this.#id;
  }

  get pid(): number {
    return this.#server.pid;
  }

  get answers(): boolean {
    return this.#state === 'running';
  }

  async kill9(): Promise<void> {
    this.#state = 'killed';
    await this.#server.kill9();
  }

  async restart(): Promise<void> {
    this.thaw();
    await this.#server.restart();
    this.#state = 'running';
  }

  freeze(): void {
    this.#state = 'frozen';
    process.kill(this.pid, 'SIGSTOP');
  }

  thaw(): void {
    if (this.#state !== 'frozen') return;
    process.kill(this.pid, 'SIGCONT');
    this.#state = 'running';
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    // Nobody needs its data any more, and an orderly end would wait for its replicas.
    await this.#server.kill9();
    await this.#server.stop();
  }
}

/** From the line of CLUSTER NODES that a node writes of itself: `<id> <address> myself,master - 0 0 <epoch> connected 0-5460 …`. */
function selfView(text: string): SelfView {
  const line = text.split('\n').find((one) => one.includes('myself')) ?? '';
  const [, , flags = '', masterId = '-', , , epoch = '0', , ...ranges] = line.trim().split(' ');
  // `[93-<-node]` is a slot on its way.
  const slots = ranges
    .filter((range) => !range.startsWith('['))
    .map((range) => {
      const [from = '0', to = from] = range.split('-');
      return [Number(from), Number(to)] as const;
    });
  return { master: flags.split(',').includes('master'), masterId, configEpoch: Number(epoch), slots };
}

function serves(view: SelfView | undefined, slot: number): boolean {
  return view?.master === true && view.slots.some(([from, to]) => from <= slot && slot <= to);
}
