import type { AddressInfo } from 'node:net';
import { HTTPReceiver, type Receiver, SocketModeReceiver } from '@slack/bolt';
import type { Logger } from 'pino';
import { SlackTokenRejected, slackError } from './clients.ts';
import { HttpGuard } from './http-guard.ts';
import { sdkLogger } from './sdk-logger.ts';

/** How Slack reaches this process: over a socket that it opens itself, or over HTTP with a signing secret. */
export type SlackTransport =
  | { readonly mode: 'socket'; readonly appToken: string }
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
  /** In HTTP mode alone. */
  readonly port: number | undefined;
  stop(): Promise<void>;
}

const DEFAULT_PATH = '/slack/events';
const DISCONNECT_MS = 2_000;

interface Reach {
  readonly apiUrl: string | undefined;
  readonly logger: Logger;
}

/** The receiver for Bolt, and how to start it; `listen` rejects with SlackTokenRejected where Slack refuses the app token. */
export function receiverFor(
  config: { readonly transport: SlackTransport; readonly appId?: string | undefined },
  reach: Reach,
  clock: () => number,
): { receiver: Receiver; listen: () => Promise<Listening> } {
  const { transport } = config;
  return transport.mode === 'socket'
    ? socketReceiver(transport, reach)
    : httpReceiver(transport, config.appId, reach, clock);
}

function socketReceiver(
  transport: Extract<SlackTransport, { mode: 'socket' }>,
  { apiUrl, logger }: Reach,
): { receiver: Receiver; listen: () => Promise<Listening> } {
  const receiver = new SocketModeReceiver({
    appToken: transport.appToken,
    logger: sdkLogger(logger),
    // An object of its own: the SDK writes its 100 retries into it, which is right for reconnecting and wrong for posts.
    installerOptions: { clientOptions: apiUrl === undefined ? {} : { slackApiUrl: apiUrl } },
  });
  const listen = async () => {
    try {
      await receiver.start();
    } catch (error) {
      throw new SlackTokenRejected(
        `Slack refused the app token (xapp-…): ${slackError(error) ?? 'no answer'}. Copy it again from the app's page, Basic Information, App-Level Tokens; it needs the scope connections:write, and Socket Mode must be on`,
        { cause: error },
      );
    }
    return { port: undefined, stop: () => disconnect(receiver) };
  };
  return { receiver, listen };
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
  appId: string | undefined,
  { logger }: Reach,
  clock: () => number,
): { receiver: Receiver; listen: () => Promise<Listening> } {
  const path = transport.path ?? DEFAULT_PATH;
  const { signingSecret, host } = transport;
  const receiver = new HTTPReceiver({ signingSecret, endpoints: path, logger: sdkLogger(logger) });
  const guard = new HttpGuard({ signingSecret, appId, path, clock, logger });
  receiver.requestListener = guard.before(receiver.requestListener);
  const listen = async () => {
    const server = await receiver.start({ port: transport.port, host });
    return {
      port: (server.address() as AddressInfo).port,
      stop: async () => {
        const stopped = receiver.stop();
        server.closeIdleConnections();
        const force = setTimeout(() => server.closeAllConnections(), DISCONNECT_MS);
        await stopped;
        clearTimeout(force);
      },
    };
  };
  return { receiver, listen };
}
