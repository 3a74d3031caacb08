import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { HTTPReceiver, type Receiver, SocketModeReceiver } from '@slack/bolt';
import type { OnceMemory } from '../core/workspace/once.ts';
import { type Reach, SlackTokenRejected, slackError } from './clients.ts';
import { HttpGuard } from './http-guard.ts';
import { sdkLogger } from './sdk-logger.ts';

/** How Slack reaches this process: over a socket that it opens itself, or over HTTP with a signing secret. */
export type SlackTransport =
  | {
      readonly mode: 'socket';
      readonly appToken: string;
      /** Where the doors beside Slack's are (health, installing); undefined: nowhere. */
      readonly listen?: { readonly host: string; readonly port: number };
    }
  | {
      readonly mode: 'http';
      readonly signingSecret: string;
      readonly host: string;
      /** 0 takes a free one; `SlackSurface.port` says which. */
      readonly port: number;
      /** Default `/slack/events`. */
      readonly path?: string;
    };

export interface Listening {
  /** Undefined: nothing is listened on. */
  readonly port: number | undefined;
  /** Whether Slack can reach this process: over HTTP it can as long as it listens. */
  connected(): boolean;
  stop(): Promise<void>;
}

/** What is answered to a GET of exactly this path. */
export type Doors = ReadonlyMap<
  string,
  (request: IncomingMessage, response: ServerResponse) => Promise<void>
>;

const DEFAULT_PATH = '/slack/events';
const DISCONNECT_MS = 2_000;

export interface ReceiverParts {
  readonly transport: SlackTransport;
  readonly appId: () => string | undefined;
  readonly seen: OnceMemory;
  readonly doors: Doors;
  readonly reach: Reach;
  readonly clock: () => number;
}

/**
 * The receiver for Bolt, and how to start it; `listen` rejects with SlackTokenRejected where Slack refuses the app
 * token, and leaves nothing open then.
 */
export function receiverFor(parts: ReceiverParts): { receiver: Receiver; listen: () => Promise<Listening> } {
  const { transport } = parts;
  return transport.mode === 'socket' ? socketReceiver(transport, parts) : httpReceiver(transport, parts);
}

function socketReceiver(
  transport: Extract<SlackTransport, { mode: 'socket' }>,
  { reach: { apiUrl, logger }, doors }: ReceiverParts,
): { receiver: Receiver; listen: () => Promise<Listening> } {
  const receiver = new SocketModeReceiver({
    appToken: transport.appToken,
    logger: sdkLogger(logger),
    // An object of its own: the SDK writes its 100 retries into it, which is right for reconnecting and wrong for posts.
    installerOptions: { clientOptions: apiUrl === undefined ? {} : { slackApiUrl: apiUrl } },
  });
  let greeted = false;
  receiver.client.on('connecting', () => {
    greeted = false;
  });
  receiver.client.on('connected', () => {
    greeted = true;
  });
  // A socket that breaks is not announced; one that made way for another is closed after the other stands.
  const connected = () => greeted && receiver.client.websocket?.isActive() === true;
  const listen = async () => {
    const server = transport.listen === undefined ? undefined : await listenOn(transport.listen, doors);
    try {
      await receiver.start();
    } catch (error) {
      await server?.close();
      throw new SlackTokenRejected(
        `Slack refused the app token (xapp-…): ${slackError(error) ?? 'no answer'}. Copy it again from the app's page, Basic Information, App-Level Tokens; it needs the scope connections:write, and Socket Mode must be on`,
        { cause: error },
      );
    }
    return {
      port: server?.port,
      connected,
      stop: async () => {
        await disconnect(receiver);
        await server?.close();
      },
    };
  };
  return { receiver, listen };
}

/** The doors and nothing else. */
export async function listenOn(
  { host, port }: { host: string; port: number },
  doors: Doors,
): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createServer(behindDoors(doors, (_request, response) => closedDoor(response)));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const closed = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { port: (server.address() as AddressInfo).port, close: () => closeServer(server, closed()) };
}

/** Finishes what is being answered, within a limit. */
async function closeServer(server: Server, closed: Promise<unknown>): Promise<void> {
  server.closeIdleConnections();
  const force = setTimeout(() => server.closeAllConnections(), DISCONNECT_MS);
  await closed;
  clearTimeout(force);
}

function behindDoors(doors: Doors, otherwise: RequestListener): RequestListener {
  return (request, response) => {
    const door = request.method === 'GET' ? doors.get(pathOf(request)) : undefined;
    if (door === undefined) return otherwise(request, response);
    door(request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  };
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] ?? '';
}

function closedDoor(response: ServerResponse): void {
  response.writeHead(404, { connection: 'close' }).end();
}

/** The SDK's promise stays open where a reconnect was under way. */
async function disconnect(receiver: SocketModeReceiver): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, DISCONNECT_MS);
  });
  await Promise.race([receiver.client.disconnect(), late]);
  clearTimeout(timer);
}

function httpReceiver(
  transport: Extract<SlackTransport, { mode: 'http' }>,
  { appId, seen, doors, reach: { logger }, clock }: ReceiverParts,
): { receiver: Receiver; listen: () => Promise<Listening> } {
  const path = transport.path ?? DEFAULT_PATH;
  const { signingSecret, host } = transport;
  const receiver = new HTTPReceiver({ signingSecret, endpoints: path, logger: sdkLogger(logger) });
  const guard = new HttpGuard({ signingSecret, appId, seen, path, clock, logger });
  receiver.requestListener = behindDoors(doors, guard.before(receiver.requestListener));
  const listen = async () => {
    const server = await receiver.start({ port: transport.port, host });
    let open = true;
    return {
      port: (server.address() as AddressInfo).port,
      connected: () => open,
      stop: () => {
        open = false;
        return closeServer(server as Server, receiver.stop());
      },
    };
  };
  return { receiver, listen };
}
