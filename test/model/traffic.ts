import { Redis } from 'ioredis';

/** What becomes of one command on its way to Redis and back. */
export type Fate =
  | 'answered'
  /** The connection broke before it was sent, or before its answer came; whoever asked cannot tell which. */
  | 'never sent'
  | 'answer lost'
  /** The answer comes, and late: longer than an executor may take to start. */
  | 'slow';

type Command = Parameters<Redis['sendCommand']>[0];

/**
 * Between the processes of a sequence and one real Redis. Commands reach Redis one at a time, and answers reach whoever
 * asked, in an order that is drawn: so that an interleaving is found again by its seed, and does not depend on how fast
 * the machine is.
 */
export class Traffic {
  readonly #redis: Redis;
  readonly #drawn: () => number;
  readonly #slowMs: number;
  /** Commands to be sent, and answers to be handed over: each of them may be next. */
  readonly #next: (() => Promise<void> | void)[] = [];
  #running = false;
  commands = 0;
  lost = 0;

  constructor({ redis, drawn, slowMs }: { redis: Redis; drawn: () => number; slowMs: number }) {
    this.#redis = redis;
    this.#drawn = drawn;
    this.#slowMs = slowMs;
  }

  carry(command: Command, fateOf: () => Fate, alive: () => boolean): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#later(async () => {
        // Who died while it waited here sends nothing any more, and is told nothing.
        if (!alive()) return;
        const fate = fateOf();
        if (fate === 'never sent' || fate === 'answer lost') this.lost += 1;
        const tellLost = () => {
          if (alive()) reject(lost());
        };
        if (fate === 'never sent') return this.#later(tellLost);
        this.commands += 1;
        const answer = await (this.#redis.sendCommand(command) as Promise<unknown>).then(
          (value: unknown) => () => resolve(value),
          (error: unknown) => () => reject(error),
        );
        const handOver = () => {
          if (alive()) answer();
        };
        if (fate === 'answer lost') this.#later(tellLost);
        else if (fate === 'slow') setTimeout(() => this.#later(handOver), this.#slowMs);
        else if (this.#drawn() < 0.3) this.#later(handOver);
        else handOver();
      });
    });
  }

  #later(move: () => Promise<void> | void): void {
    this.#next.push(move);
    if (this.#running) return;
    this.#running = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    // A turn for everybody who has just been told something, so that what they ask next takes part in the draw.
    for (await turn(); this.#next.length > 0; await turn()) {
      const [move] = this.#next.splice(Math.floor(this.#drawn() * this.#next.length), 1);
      await move?.();
    }
    this.#running = false;
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function lost(): Error {
  return new Error('Connection is closed.');
}

/** What may befall a process at one of its commands. */
export type Blow = Fate | 'dies before' | 'dies after';

/** What a process of a sequence holds for a connection. */
export interface Line extends Redis {
  readonly dead: boolean;
  readonly death: Promise<'died'>;
  /** What befalls the command after the next `after` ones. */
  doom(after: number, fate: Blow): void;
  /** Nothing befalls it any more. */
  spare(): void;
  die(): void;
}

/** A line on which nothing happens but what is drawn: the real client's commands, carried by the traffic. */
export class Wire extends Redis implements Line {
  readonly #traffic: Traffic;
  /** Commands that are left until something befalls one of them. */
  #doom: { after: number; fate: Blow } | undefined;
  #dead = false;
  #died!: () => void;
  readonly death: Promise<'died'>;

  constructor(traffic: Traffic) {
    super({ lazyConnect: true });
    this.#traffic = traffic;
    this.status = 'ready';
    this.death = new Promise((resolve) => {
      this.#died = () => resolve('died');
    });
  }

  get dead(): boolean {
    return this.#dead;
  }

  doom(after: number, fate: Blow): void {
    this.#doom = { after, fate };
  }

  spare(): void {
    this.#doom = undefined;
  }

  /** Nothing is sent and nothing is heard from now on; who waits for an answer waits for ever. */
  die(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.status = 'end';
    this.#died();
  }

  override sendCommand(command: Command): Promise<unknown> {
    return this.#traffic.carry(
      command,
      () => this.#fate(),
      () => !this.#dead,
    );
  }

  #fate(): Fate {
    if (this.#doom === undefined) return 'answered';
    if (this.#doom.after > 0) {
      this.#doom.after -= 1;
      return 'answered';
    }
    const { fate } = this.#doom;
    this.#doom = undefined;
    if (fate !== 'dies before' && fate !== 'dies after') {
      if (fate !== 'slow') this.emit('close');
      return fate;
    }
    this.die();
    return fate === 'dies before' ? 'never sent' : 'answered';
  }
}

/** A real connection of its own, for processes with real queues. Whatever befalls it, its socket breaks in the middle. */
export class Cable extends Redis implements Line {
  #breaksAfter: number | undefined;
  #dead = false;
  #died!: () => void;
  readonly death: Promise<'died'>;

  constructor(options: { path: string; db: number }) {
    super({
      ...options,
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: () => 5,
    });
    this.on('error', () => {});
    this.death = new Promise((resolve) => {
      this.#died = () => resolve('died');
    });
    this.connect().catch(() => {});
  }

  get dead(): boolean {
    return this.#dead;
  }

  doom(after: number): void {
    this.#breaksAfter = after;
  }

  spare(): void {
    this.#breaksAfter = undefined;
  }

  /** Retired: what it has in hand may end, and nobody asks it for more. */
  die(): void {
    this.#dead = true;
    this.#died();
  }

  override sendCommand(...sent: Parameters<Redis['sendCommand']>): unknown {
    const answer = super.sendCommand(...sent);
    if (this.#breaksAfter === undefined) return answer;
    this.#breaksAfter -= 1;
    if (this.#breaksAfter < 0) {
      this.#breaksAfter = undefined;
      this.stream.destroy();
    }
    return answer;
  }
}
