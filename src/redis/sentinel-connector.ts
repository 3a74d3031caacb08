import { type SentinelConnectionOptions, SentinelConnector } from 'ioredis';

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

  // As ioredis makes one: with all options of its client.
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override async connect(...given: Connecting): Connected {
    this.#making = true;
    try {
      for (;;) {
        this.#again = false;
        const stream = await super.connect(...given);
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
