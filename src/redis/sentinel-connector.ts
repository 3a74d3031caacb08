import { type Redis, type SentinelConnectionOptions, SentinelConnector } from 'ioredis';
import type { NodeConnection } from './redis-address.ts';
import { hearEveryError, TlsConnector } from './tls-connector.ts';

type Connecting = Parameters<SentinelConnector['connect']>;
type Connected = ReturnType<SentinelConnector['connect']>;

/**
 * Word of a new master, where it comes while a connection is being made, ends that connection for good in ioredis: it takes
 * it for a disconnect that somebody asked for, and never connects again. Here the sentinels are asked once more.
 */
export class RepeatingSentinelConnector extends SentinelConnector {
  #making = false;
  #again = false;
  #heeded: object | null = null;
  /** What a sentinel could not be reached for. */
  #cause: Error | undefined;

  // As ioredis makes one: with all options of its client.
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
    const parts = this as unknown as {
      connectToSentinel(endpoint: unknown, settings?: NodeConnection): Redis;
    };
    const connectToSentinel = parts.connectToSentinel.bind(this);
    const own: NodeConnection = this.options.sentinelTLS ? { Connector: TlsConnector } : {};
    parts.connectToSentinel = (endpoint, settings) => {
      const sentinel = connectToSentinel(endpoint, { ...settings, ...own });
      sentinel.on('error', (error) => {
        this.#cause = error;
      });
      return sentinel;
    };
  }

  override async connect(...[emit]: Connecting): Connected {
    this.#making = true;
    // ioredis says of each sentinel that the connection was closed, whatever it was closed for.
    const emitWithCause: typeof emit = (type, error) => {
      if (type === 'error') error.cause ??= this.#cause;
      emit(type, error);
    };
    try {
      for (;;) {
        this.#again = false;
        this.#cause = undefined;
        const stream = await super.connect(emitWithCause);
        hearEveryError(stream);
        if (!this.#again) return stream;
        stream.destroy();
      }
    } finally {
      this.#making = false;
    }
  }

  override disconnect(): void {
    // It is set by a detector that disconnects, and then says so once; whoever else calls this wants the end.
    const { failoverDetector: detector } = this as unknown as {
      failoverDetector: { isDisconnected: boolean } | null;
    };
    const told = detector?.isDisconnected === true && detector !== this.#heeded;
    this.#heeded = detector;
    if (told && this.#making) {
      this.#again = true;
      return;
    }
    super.disconnect();
    // One that is still connecting would only be ended: it goes on trying, and keeps the process until the system gives up.
    const stream: Awaited<Connected> | undefined = this.stream;
    if (stream?.connecting) stream.destroy();
  }
}
