import type { Faults } from './faults.ts';
import type { SandboxClock } from './sandbox-clock.ts';
import type { Traffic } from './traffic.ts';

/** Something that the app is told. `team` is for the record only. */
export interface Envelope {
  type: 'interactive' | 'slash_commands' | 'events_api';
  team: string;
  payload: Record<string, unknown>;
  /** Whether the ack may carry an answer (a modal submission, a slash command). */
  acceptsResponse: boolean;
}

export type Delivered =
  | { ok: true; response: unknown }
  /** `detail` is Slack's name for what went wrong, as it stands in the sentence that a person reads. */
  | { ok: false; error: 'operation_timeout' | 'dispatch_failed' | 'app_error'; detail: string };

export const TIMED_OUT: Delivered = { ok: false, error: 'operation_timeout', detail: 'operation_timeout' };
export const UNDELIVERED: Delivered = { ok: false, error: 'dispatch_failed', detail: 'dispatch_failed' };

/** One way to the app: Socket Mode or signed HTTP. */
export interface AppTransport {
  deliver(envelope: Envelope, copies: 1 | 2, deadline: number): Promise<Delivered>;
  close(): void | Promise<void>;
}

/** Brings envelopes to the app over the transport in use, as the faults have it, and writes down what came of it. */
export class AppDelivery {
  readonly #clock: SandboxClock;
  readonly #faults: Faults;
  readonly #traffic: Traffic;
  readonly #transport: () => AppTransport;

  constructor(parts: {
    clock: SandboxClock;
    faults: Faults;
    traffic: Traffic;
    transport: () => AppTransport;
  }) {
    this.#clock = parts.clock;
    this.#faults = parts.faults;
    this.#traffic = parts.traffic;
    this.#transport = parts.transport;
  }

  async deliver(envelope: Envelope, ackMs: number): Promise<Delivered> {
    const at = this.#clock.now();
    const deadline = at + ackMs;
    const way = this.#faults.forEnvelope();
    if (way === 'undelivered') return this.#record(envelope, at, UNDELIVERED);
    const { copies, delayMs } = way;
    const bring = () => this.#transport().deliver(envelope, copies, deadline);
    const arrival = delayMs === 0 ? bring() : this.#clock.wait(delayMs).then(bring);
    // The person's client gives up after its three seconds even where the envelope is still on its way.
    const outcome = await (delayMs < ackMs ? arrival : this.#clock.wait(ackMs).then(() => TIMED_OUT));
    return this.#record(envelope, at, outcome);
  }

  #record(envelope: Envelope, at: number, outcome: Delivered): Delivered {
    const type = typeof envelope.payload.type === 'string' ? envelope.payload.type : envelope.type;
    this.#traffic.add({
      kind: 'delivery',
      at,
      type,
      team: envelope.team,
      payload: envelope.payload,
      outcome,
    });
    return outcome;
  }
}
