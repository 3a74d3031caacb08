import type { Redis } from 'ioredis';
import { connectedReplicas, infoFields } from './connection.ts';

/** For how long WAIT lets replicas lag. Everything on that connection waits with it, so it is short. */
const HOLD_MS = 1_000;

/** A write of its own, also where Redis is full. */
const FENCE = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '1')";

/** When something was sent over a connection to a node: on which socket, and how much had been sent before. */
export interface Sent {
  readonly socket: Redis['stream'];
  readonly order: number;
}

/** How many replicas have to hold it; `connected`: that many, and every one more that is connected. */
export interface Needed {
  readonly replicas: number;
  readonly connected?: boolean;
}

interface Wait {
  readonly socket: Redis['stream'];
  readonly replicas: number;
  /** What was sent before it on its socket was carried out before it. */
  readonly covers: number;
  readonly fenced: boolean;
  readonly held: Promise<number>;
}

interface Gathering {
  fence: string | undefined;
  readonly sent: Promise<Wait>;
}

const ofNodes = new WeakMap<Redis, HeldByReplicas>();

/**
 * Whether replicas hold what was written over a connection to a node, so that a failover does not take it back. WAIT
 * speaks of what its own connection wrote: on a new one it answers at once, about nothing. So it counts only where the
 * write and the WAIT went over one socket. A WAIT keeps its connection from everything else meanwhile, so that calls
 * share one: of those that are answered in one turn of the event loop, and of those that had been sent before it.
 */
export class HeldByReplicas {
  readonly #node: Redis;
  #order = 0;
  readonly #inFlight = new Set<Wait>();
  readonly #gathering = new Map<number, Gathering>();

  private constructor(node: Redis) {
    this.#node = node;
  }

  /** One for each connection, whoever uses it. */
  static of(node: Redis): HeldByReplicas {
    const known = ofNodes.get(node);
    if (known) return known;
    const made = new HeldByReplicas(node);
    ofNodes.set(node, made);
    return made;
  }

  /** To be asked in the same turn of the event loop in which the command is handed to the connection, just before. */
  sending(): Sent {
    this.#order += 1;
    return { socket: this.#node.stream, order: this.#order };
  }

  /**
   * Of what was sent then and is answered now. With `fence`, a key of the same node, also of what it only read: whoever
   * wrote that. False, or an error: it is not known to be held.
   */
  async hold(sent: Sent, needed: Needed, fence?: string): Promise<boolean> {
    if (!this.#stands(sent)) return false;
    const replicas = needed.connected ? await this.#all(needed.replicas) : needed.replicas;
    if (replicas === 0) return this.#stands(sent);
    if (!this.#stands(sent)) return false;
    const wait = this.#underWay(sent, replicas, fence) ?? (await this.#next(replicas, fence));
    if (wait.socket !== sent.socket) return false;
    const held = await wait.held;
    // A connection that broke meanwhile may have sent the WAIT anew.
    return held >= replicas && this.#stands(sent);
  }

  /** The connection is the one that it was. */
  #stands({ socket }: Sent): boolean {
    return this.#node.status === 'ready' && this.#node.stream === socket;
  }

  async #all(atLeast: number): Promise<number> {
    const info = infoFields(await this.#node.info('replication'));
    return Math.max(atLeast, connectedReplicas(info));
  }

  #underWay(sent: Sent, replicas: number, fence: string | undefined): Wait | undefined {
    for (const wait of this.#inFlight) {
      const covered = wait.socket === sent.socket && wait.covers >= sent.order;
      if (covered && wait.replicas === replicas && (wait.fenced || fence === undefined)) return wait;
    }
    return undefined;
  }

  #next(replicas: number, fence: string | undefined): Promise<Wait> {
    const gathering = this.#gathering.get(replicas) ?? this.#gather(replicas);
    gathering.fence ??= fence;
    return gathering.sent;
  }

  #gather(replicas: number): Gathering {
    const gathering: Gathering = {
      fence: undefined,
      sent: new Promise((sent) => {
        // After the answers that came together with this one.
        setImmediate(() => {
          this.#gathering.delete(replicas);
          sent(this.#send(replicas, gathering.fence));
        });
      }),
    };
    this.#gathering.set(replicas, gathering);
    return gathering;
  }

  #send(replicas: number, fence: string | undefined): Wait {
    const node = this.#node;
    const covers = this.#order;
    const socket = node.stream;
    const fencing = fence === undefined ? undefined : node.eval(FENCE, 1, fence);
    const waiting = node.wait(replicas, HOLD_MS);
    const held = Promise.all([waiting, fencing]).then(([count]) => count);
    const wait: Wait = { socket, replicas, covers, fenced: fence !== undefined, held };
    this.#inFlight.add(wait);
    const ended = () => this.#inFlight.delete(wait);
    held.then(ended, ended);
    return wait;
  }
}
