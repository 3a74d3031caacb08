import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { AbstractConnector, Redis } from 'ioredis';
import type { ClusterClient } from './cluster-client.ts';
import type { ClusterConnection, NodeAddress } from './redis-address.ts';
import { CUT_AFTER_MS, hearEveryError } from './tls-connector.ts';

/**
 * Every node of a Cluster passes on what is published on any of them. So one connection listens, to any node; where that
 * is lost it is opened anew to another one, and whoever listens sees what he sees of one Redis: `close`, then `ready`.
 * ioredis' own subscriber of a Cluster notices no node that merely fell silent, and tells nobody of the gap.
 */
export function clusterListener(client: ClusterClient, { cluster, tls }: ClusterConnection): Redis {
  return new Redis({
    ...client.nodeSettings,
    retryStrategy: (attempt) => Math.min(attempt * 50, 500),
    Connector: listeningTo(() => nextNode(client, cluster), tls),
  });
}

/** In turn, so that one which takes connections and then says nothing is not chosen for ever. */
const turns = new WeakMap<ClusterClient, number>();

function nextNode(client: ClusterClient, known: readonly NodeAddress[]): NodeAddress {
  const standing = client.standingNodes();
  const nodes = standing.length > 0 ? standing : known;
  const turn = turns.get(client) ?? Math.floor(Math.random() * nodes.length);
  turns.set(client, turn + 1);
  const node = nodes[turn % nodes.length];
  if (node === undefined) throw new Error('the address of a Cluster names no node');
  return node;
}

function listeningTo(next: () => NodeAddress, tls: ClusterConnection['tls']) {
  return class extends AbstractConnector {
    constructor() {
      super(CUT_AFTER_MS);
    }

    override async connect(): Promise<Socket | TLSSocket> {
      this.connecting = true;
      const node = next();
      this.stream = tls === undefined ? connectTcp(node) : connectTls({ ...tls, ...node });
      this.stream.once('error', (error) => {
        this.firstError = error;
      });
      hearEveryError(this.stream);
      return this.stream;
    }
  };
}
