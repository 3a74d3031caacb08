import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Command, type Redis } from 'ioredis';
import type { ClusterConnection, NodeAddress, NodeConnection } from './redis-address.ts';
import { certificateProblem, rememberRefusedCertificates } from './refused-certificate.ts';

const SLOTS = 16_384;
/** How long a command waits for the connection to its node. Afterwards it is refused, and is never sent. */
const SEND_WITHIN_MS = 1_000;
const LOOK_AGAIN_MS = 20;
/** Who holds which slots is asked again this often while something is amiss. */
const REFRESH_AT_MOST_EVERY_MS = 250;
const REFRESH_EVERY_MS = 5_000;
const REFRESH_TIMEOUT_MS = 500;
/** A node says that it is not the one, or not yet, or not now. Nothing was done. */
const ELSEWHERE = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b(?: \d+ (\S+))?/;
const ELSEWHERE_PAUSE_MS = 50;

/** There is no connection to the node that a command is for. It was not sent. */
class NodeAway extends Error {
  override readonly name = 'NodeAway';
}

/**
 * ioredis' Cluster, made as strict as our connection to one Redis: a command whose answer was lost is not sent again, and
 * one that was given up is not sent after all. ioredis lets commands wait without end in a queue of the node that is being
 * connected to; here they wait before they are handed over, for a time, and each node is connected to at once.
 */
export class ClusterClient extends Cluster {
  /** The nodes that the address names. */
  readonly known: readonly NodeAddress[];
  readonly nodeSettings: NodeConnection;
  /** By the names of nodes: where a connection is refused it ends, and another one takes its place. */
  readonly #refused = new Map<string, string>();
  #refreshedAt = Number.NEGATIVE_INFINITY;
  #refreshing: NodeJS.Timeout | undefined;

  constructor({ cluster, ...login }: ClusterConnection, settings: NodeConnection) {
    const nodeSettings = { ...settings, ...login };
    super([...cluster], {
      redisOptions: nodeSettings,
      // As the nodes name themselves: certificates are for names.
      dnsLookup: (host, found) => found(null, host),
      enableOfflineQueue: false,
      // Ready as soon as it is known who holds what: where some slots have no master, the others still serve.
      enableReadyCheck: false,
      // Not sent again where its connection was lost: what became of it is not known.
      retryDelayOnFailover: 0,
      slotsRefreshTimeout: REFRESH_TIMEOUT_MS,
      slotsRefreshInterval: REFRESH_EVERY_MS,
      clusterRetryStrategy: (attempt) => Math.min(attempt * 50, 500),
    });
    this.known = cluster;
    this.nodeSettings = nodeSettings;
    rememberRefusedCertificates(this, 'node error');
    this.on('node error', (error: unknown, name: string) => {
      const problem = certificateProblem(error);
      if (problem !== undefined) this.#refused.set(name, problem);
    });
    this.on('+node', (node: Redis) => {
      rememberRefusedCertificates(node);
      node.on('ready', () => this.#refused.delete(nodeText(node)));
      if (node.status === 'wait') node.connect().catch(() => {});
    });
    // Its place may be taken by another node, or it comes back: ioredis itself would wait for the next command's MOVED.
    this.on('-node', () => this.refreshSlotsSoon());
  }

  /** The connection to the node that holds this key, once it stands. @throws where it does not stand in time. */
  async nodeOf(key: string): Promise<Redis> {
    return this.#standing(slotOf(key), performance.now() + SEND_WITHIN_MS);
  }

  /** The masters that hold slots, by name, and the connection to each: undefined where it is lost. */
  masters(): Map<string, Redis | undefined> {
    const connections = new Map(this.nodes('all').map((node) => [nodeText(node), node]));
    const names = new Set(this.slots.flatMap(([holder]) => (holder === undefined ? [] : [holder])));
    return new Map([...names].sort().map((name) => [name, connections.get(name)]));
  }

  /** Why there is no connection to the node of this name, where its certificate is why. */
  refusedCertificateOf(name: string): string | undefined {
    return this.#refused.get(name);
  }

  /** The slot of a key, and the name of the master that its commands go to. */
  placeOf(key: string): { slot: number; holder: string | undefined } {
    const slot = slotOf(key);
    return { slot, holder: this.slots[slot]?.[0] };
  }

  /** Whether every slot has a master, or had one: what ioredis knows of a slot it keeps until it hears of another master. */
  get whole(): boolean {
    for (let slot = 0; slot < SLOTS; slot += 1) if (!this.slots[slot]?.length) return false;
    return true;
  }

  /** Which of them answer, as far as is known: those whose connection stands. */
  standingNodes(): NodeAddress[] {
    return this.nodes('all').filter(isReady).map(addressOfNode);
  }

  override sendCommand(...[command, stream, node]: Parameters<Cluster['sendCommand']>): unknown {
    // Of a pipeline, which has chosen its node; or ioredis' own, while it connects.
    if (stream !== undefined || node !== undefined || this.status !== 'ready') {
      return super.sendCommand(command, stream, node);
    }
    this.#send(command, command.getSlot(), performance.now() + SEND_WITHIN_MS);
    return command.promise;
  }

  override disconnect(reconnect = false): void {
    clearTimeout(this.#refreshing);
    super.disconnect(reconnect);
  }

  /**
   * A node that does not hold the slot says so, and has done nothing: the one that does is asked. ioredis would do that as
   * well, but not wait for a connection to it.
   */
  #send(command: Command, slot: number | null, until: number): void {
    const reject = command.reject;
    const refuse = (error: Error) => reject.call(command, error);
    const send = (node: Redis) => {
      // Else nobody waits for it any more.
      if (!command.isSettled) node.sendCommand(command);
    };
    const find = () => void this.#standing(slot, until).then(send).catch(refuse);
    command.reject = (error) => {
      const [, why, to] = ELSEWHERE.exec(error.message) ?? [];
      if (slot === null || why === undefined || performance.now() > until) return refuse(error);
      if (why === 'MOVED' && to !== undefined) this.slots[slot] = [to];
      this.refreshSlotsSoon();
      setTimeout(find, why === 'MOVED' ? 0 : ELSEWHERE_PAUSE_MS);
    };
    const holder = this.#holderOf(slot);
    if (holder?.status === 'ready') send(holder);
    else find();
  }

  /** What has no key goes to a master that answers. */
  #holderOf(slot: number | null): Redis | undefined {
    if (slot === null) return leastBusy(this.nodes('master').filter(isReady));
    const key = this.slots[slot]?.[0];
    return this.nodes('all').find((node) => nodeText(node) === key);
  }

  async #standing(slot: number | null, until: number): Promise<Redis> {
    for (;;) {
      const node = this.#holderOf(slot);
      if (node?.status === 'ready') return node;
      if (this.status === 'end') throw new NodeAway('the connection is closed');
      if (performance.now() > until) {
        throw new NodeAway(
          node ? this.#awayText(nodeText(node)) : 'the node that holds the key is not known',
        );
      }
      if (node?.status === 'wait') node.connect().catch(() => {});
      this.refreshSlotsSoon();
      await sleep(LOOK_AGAIN_MS);
    }
  }

  #awayText(name: string): string {
    const refused = this.#refused.get(name);
    return `no connection to the node ${name}${refused === undefined ? '' : `: ${refused}`}`;
  }

  /** Asks who holds which slots, at most every REFRESH_AT_MOST_EVERY_MS, however many want to know. */
  refreshSlotsSoon(): void {
    if (this.#refreshing !== undefined || this.status !== 'ready') return;
    const pause = Math.max(0, this.#refreshedAt + REFRESH_AT_MOST_EVERY_MS - performance.now());
    this.#refreshing = setTimeout(() => {
      this.#refreshing = undefined;
      this.#refreshedAt = performance.now();
      if (this.status === 'ready') this.refreshSlotsCache();
    }, pause);
    this.#refreshing.unref();
  }
}

export function addressOfNode({ options }: Redis): NodeAddress {
  return { host: options.host ?? '127.0.0.1', port: options.port ?? 6379 };
}

/** As ioredis names nodes, and as people read it. */
export function nodeText(node: Redis): string {
  const { host, port } = addressOfNode(node);
  return `${host}:${port}`;
}

function isReady(node: Redis): boolean {
  return node.status === 'ready';
}

/** One that fell silent owes answers, and is passed over before it is known to be dead. */
function leastBusy(nodes: readonly Redis[]): Redis | undefined {
  return [...nodes].sort((a, b) => a.commandQueue.length - b.commandQueue.length)[0];
}

function slotOf(key: string): number {
  return new Command('get', [key]).getSlot();
}
