import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { z } from 'zod';
import { type AppTransport, type Delivered, type Envelope, TIMED_OUT, UNDELIVERED } from './app-delivery.ts';
import type { SandboxClock } from './sandbox-clock.ts';
import { SLACK_LIMITS } from './slack-limits.ts';

export const SOCKET_PATH = '/link/';

const PING_MS = 10_000;
/** How long a connection may take over its closing handshake when the server goes. */
const CLOSE_MS = 300;

const Ack = z.object({ envelope_id: z.string(), payload: z.unknown().optional() });

interface Pending {
  envelope: Envelope;
  id: string;
  /** Where the newest copy went; undefined while no connection is there to take it. */
  sentTo: WebSocket | undefined;
  deadline: number;
  settle: (outcome: Delivered) => void;
}

/**
 * Socket Mode: up to ten WebSockets of one app, each envelope to any one of them. An envelope whose connection breaks
 * before the ack goes to another one: at least once, never exactly once.
 */
export class SocketMode implements AppTransport {
  readonly #clock: SandboxClock;
  readonly #appId: () => string;
  readonly #server = new WebSocketServer({ noServer: true });
  readonly #tickets = new Map<string, number>();
  readonly #sockets: WebSocket[] = [];
  readonly #pending = new Map<string, Pending>();
  readonly #ping: NodeJS.Timeout;
  #turn = 0;

  constructor(clock: SandboxClock, appId: () => string) {
    this.#clock = clock;
    this.#appId = appId;
    this.#ping = setInterval(() => {
      for (const socket of this.#sockets) socket.ping('Ping from applink');
    }, PING_MS);
    this.#ping.unref();
  }

  get connections(): number {
    return this.#sockets.length;
  }

  /** A single-use address for one connection, as `apps.connections.open` hands out. */
  open(base: string): { ok: true; url: string } | { ok: false; error: 'too_many_websockets' } {
    if (this.#sockets.length >= SLACK_LIMITS.socketConnections)
      return { ok: false, error: 'too_many_websockets' };
    const ticket = randomUUID();
    this.#tickets.set(ticket, this.#clock.now());
    return {
      ok: true,
      url: `${base.replace(/^http/, 'ws')}${SOCKET_PATH}?ticket=${ticket}&app_id=${this.#appId()}`,
    };
  }

  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const ticket = new URL(request.url ?? '/', 'http://localhost').searchParams.get('ticket') ?? '';
    const issuedAt = this.#tickets.get(ticket);
    this.#tickets.delete(ticket);
    const fresh = issuedAt !== undefined && this.#clock.now() - issuedAt <= SLACK_LIMITS.socketTicketMs;
    if (!fresh || this.#sockets.length >= SLACK_LIMITS.socketConnections) {
      socket.end(
        `HTTP/1.1 ${fresh ? '429 Too Many Requests' : '401 Unauthorized'}\r\nConnection: close\r\n\r\n`,
      );
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (accepted) => this.#welcome(accepted));
  }

  deliver(envelope: Envelope, copies: 1 | 2, deadline: number): Promise<Delivered> {
    const first = this.#next();
    if (!first) return Promise.resolve(UNDELIVERED);
    const id = randomUUID();
    return new Promise((resolve) => {
      const cancel = this.#clock.after(deadline - this.#clock.now(), () => settle(TIMED_OUT));
      const settle = (outcome: Delivered) => {
        cancel();
        this.#pending.delete(id);
        resolve(outcome);
      };
      const pending: Pending = { envelope, id, sentTo: undefined, deadline, settle };
      this.#pending.set(id, pending);
      this.#send(pending, first);
      if (copies === 2) this.#send(pending, this.#next() ?? first);
    });
  }

  /** Breaks every connection without a close frame. */
  drop(): void {
    for (const socket of [...this.#sockets]) socket.terminate();
  }

  /** Asks the app to connect anew; the old connections stay usable until it does. */
  refresh(): void {
    for (const socket of this.#sockets) {
      socket.send(
        JSON.stringify({
          type: 'disconnect',
          reason: 'refresh_requested',
          debug_info: { host: 'applink-local' },
        }),
      );
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#ping);
    for (const pending of [...this.#pending.values()]) pending.settle(UNDELIVERED);
    const closed = this.#sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    for (const socket of this.#sockets) socket.close(1001, 'going away');
    const hurry = setTimeout(() => this.drop(), CLOSE_MS);
    await Promise.all(closed);
    clearTimeout(hurry);
    this.#server.close();
  }

  #welcome(socket: WebSocket): void {
    this.#sockets.push(socket);
    socket.on('error', () => socket.terminate());
    socket.on('message', (data) => this.#acknowledge(String(data)));
    socket.on('close', () => this.#lost(socket));
    socket.send(
      JSON.stringify({
        type: 'hello',
        num_connections: this.#sockets.length,
        debug_info: { host: 'applink-local', build_number: 1, approximate_connection_time: 18_060 },
        connection_info: { app_id: this.#appId() },
      }),
    );
    for (const pending of this.#pending.values()) if (!pending.sentTo) this.#send(pending, socket);
  }

  #lost(socket: WebSocket): void {
    const index = this.#sockets.indexOf(socket);
    if (index >= 0) this.#sockets.splice(index, 1);
    for (const pending of this.#pending.values()) {
      if (pending.sentTo !== socket) continue;
      pending.sentTo = undefined;
      const other = this.#next();
      if (other) this.#send(pending, other);
    }
  }

  #next(): WebSocket | undefined {
    const ready = this.#sockets.filter((socket) => socket.readyState === WebSocket.OPEN);
    this.#turn += 1;
    return ready[this.#turn % ready.length];
  }

  #send(pending: Pending, socket: WebSocket): void {
    const { envelope, id } = pending;
    pending.sentTo = socket;
    socket.send(
      JSON.stringify({
        envelope_id: id,
        type: envelope.type,
        payload: envelope.payload,
        accepts_response_payload: envelope.acceptsResponse,
        ...(envelope.type === 'events_api' ? { retry_attempt: 0, retry_reason: '' } : {}),
      }),
    );
  }

  #acknowledge(data: string): void {
    let json: unknown;
    try {
      json = JSON.parse(data);
    } catch {
      return;
    }
    const ack = Ack.safeParse(json);
    if (!ack.success) return;
    // The first ack counts; one for a copy, or after the deadline, finds nothing here any more.
    const pending = this.#pending.get(ack.data.envelope_id);
    if (!pending) return;
    const { acceptsResponse } = pending.envelope;
    const late = this.#clock.now() >= pending.deadline;
    const response = acceptsResponse ? emptyAsNothing(ack.data.payload) : undefined;
    pending.settle(late ? TIMED_OUT : { ok: true, response });
  }
}

/** The SDK sends `{}` for `ack()` and `{ text: '' }` for `ack('')`. */
function emptyAsNothing(payload: unknown): unknown {
  if (typeof payload !== 'object' || payload === null) return payload === '' ? undefined : payload;
  return Object.values(payload).every((value) => value === '') ? undefined : payload;
}
