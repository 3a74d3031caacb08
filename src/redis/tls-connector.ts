import type { Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { AbstractConnector } from 'ioredis';
import type { NodeConnection } from './redis-address.ts';

/** An open connection to a node that is gone is cut after this time, where it does not end by itself. */
export const CUT_AFTER_MS = 1_000;

/**
 * As ioredis connects to one node with TLS, and hearing every error. A certificate that is refused and the server's last word
 * about the end of the handshake are two: ioredis listens for one, and the other would end the process of whoever holds a guard.
 */
export class TlsConnector extends AbstractConnector {
  readonly #options: ConnectionOptions;

  // As ioredis makes one: with all options of its client.
  constructor(options: unknown) {
    super(CUT_AFTER_MS);
    const { host, port, family, tls } = options as NodeConnection;
    this.#options = {
      ...(host === undefined ? {} : { host }),
      ...(port === undefined ? {} : { port }),
      ...(family === undefined ? {} : { family }),
      ...tls,
    };
  }

  override async connect(): Promise<TLSSocket> {
    this.connecting = true;
    const stream = connectTls(this.#options);
    this.stream = stream;
    stream.once('error', (error) => {
      this.firstError = error;
    });
    hearEveryError(stream);
    return stream;
  }
}

export function hearEveryError(stream: Socket | TLSSocket): void {
  stream.on('error', () => {});
}
