import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { postAppAnswer } from './app-answer.ts';
import { AppDelivery, type AppTransport, type Delivered, type Envelope } from './app-delivery.ts';
import { FaultActions } from './fault-actions.ts';
import { Faults } from './faults.ts';
import { receiveUpload } from './file-routes.ts';
import { UPLOAD_PATH } from './file-shelf.ts';
import { HttpDelivery } from './http-delivery.ts';
import { readBody, sendJson } from './http-exchange.ts';
import { removalPayload } from './interaction-payload.ts';
import { AUTHORIZE_PATH } from './oauth.ts';
import { servePageFile } from './page-files.ts';
import { PersonActions } from './person-actions.ts';
import { PersonRoutes } from './person-routes.ts';
import { SandboxClock } from './sandbox-clock.ts';
import { SLACK_LIMITS } from './slack-limits.ts';
import { type SlackState, slackState } from './slack-state.ts';
import type { SlackWorld } from './slack-world.ts';
import { SOCKET_PATH, SocketMode } from './socket-mode.ts';
import type { Traffic } from './traffic.ts';
import { WebApi } from './web-api.ts';

/** How the app hears of clicks and commands: as its manifest says in a real workspace. */
export type Delivery = { mode: 'socket' } | { mode: 'http'; url: string };

export interface LocalSlackOptions {
  world: SlackWorld;
  delivery: Delivery;
  /** 0 or nothing: any free port of 127.0.0.1. */
  port?: number;
  /** Milliseconds. Every limit that has to do with time is judged by this clock; the limits themselves never change. */
  now?: () => number;
  /** Asked first about a path that is neither Slack's API nor the person's interface. False: the web page's own files. */
  page?: (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>;
}

export interface LocalSlack {
  /** `http://127.0.0.1:PORT`, for people. */
  url: string;
  /** `http://127.0.0.1:PORT/api/`, for `clientOptions.slackApiUrl`. */
  apiUrl: string;
  /** Live: what a test changes here is true for the next call. */
  world: SlackWorld;
  faults: Faults;
  traffic: Traffic;
  /** Socket Mode connections that are open now. */
  connections(): number;
  /** Another way of delivery from now on. */
  deliverTo(delivery: Delivery): void;
  /** An administrator takes the app out of a workspace, or out of a whole organisation; the app is told, twice over. */
  uninstall(target: string): Promise<void>;
  /** Sends the app any envelope, a forged one too, and answers with its ack. */
  send(envelope: Envelope): Promise<Delivered>;
  close(): Promise<void>;
}

/** A Slack of its own on 127.0.0.1. It keeps nothing when it closes, and shares nothing with another one. */
export async function startLocalSlack(options: LocalSlackOptions): Promise<LocalSlack> {
  const clock = new SandboxClock(options.now);
  let port = 0;
  const url = () => `http://127.0.0.1:${port}`;
  const state = slackState(structuredClone(options.world), clock, url);
  const socketMode = new SocketMode(clock, () => state.world.app.id);
  const sockets = { drop: () => socketMode.drop(), refresh: () => socketMode.refresh() };
  const faults = new Faults(clock, sockets, () => state.live.publish({ kind: 'faults' }));
  let transport: AppTransport = transportFor(options.delivery, state, socketMode);
  const delivery = new AppDelivery({ clock, faults, traffic: state.traffic, transport: () => transport });
  const people = new PersonRoutes(state, new PersonActions(state, delivery), new FaultActions(state, faults));
  const api = new WebApi({ state, faults, socketMode });

  const server = createServer((request, response) => {
    route({ state, api, people, page: options.page }, request, response).catch((error: unknown) => {
      if (!response.headersSent)
        sendJson(response, 500, { ok: false, error: 'internal_error', detail: String(error) });
      else response.destroy();
    });
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.url?.startsWith(SOCKET_PATH)) socketMode.handleUpgrade(request, socket, head);
    else socket.destroy();
  });
  await listen(server, options.port ?? 0);
  port = (server.address() as AddressInfo).port;

  return {
    url: url(),
    apiUrl: `${url()}/api/`,
    world: state.world,
    faults,
    traffic: state.traffic,
    connections: () => socketMode.connections,
    deliverTo: (to) => {
      transport = transportFor(to, state, socketMode);
    },
    uninstall: async (target) => {
      const gone = state.world.workspaces.filter(
        ({ team, enterprise }) => team === target || enterprise?.id === target,
      );
      const bots = gone.flatMap(({ installation }) => installation?.botUser ?? []);
      state.oauth.remove(target);
      for (const workspace of gone) {
        for (const event of [
          { type: 'tokens_revoked', tokens: { oauth: [], bot: bots } },
          { type: 'app_uninstalled' },
        ] as const) {
          if (!state.world.app.events.includes(event.type)) continue;
          const payload = removalPayload(state, workspace, event);
          const envelope = {
            type: 'events_api',
            team: workspace.team,
            payload,
            acceptsResponse: false,
          } as const;
          await delivery.deliver(envelope, SLACK_LIMITS.ackMs);
        }
      }
    },
    send: (envelope) => delivery.deliver(envelope, SLACK_LIMITS.ackMs),
    close: async () => {
      people.close();
      await transport.close();
      await socketMode.close();
      clock.close();
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeAllConnections();
      await closed;
    },
  };
}

function transportFor(delivery: Delivery, state: SlackState, socketMode: SocketMode): AppTransport {
  if (delivery.mode === 'socket') return socketMode;
  return new HttpDelivery({
    url: delivery.url,
    signingSecret: () => state.world.app.signingSecret,
    clock: state.clock,
  });
}

interface Parts {
  state: SlackState;
  api: WebApi;
  people: PersonRoutes;
  page: LocalSlackOptions['page'];
}

async function route(parts: Parts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const method = /^\/api\/([A-Za-z0-9.]+)$/.exec(url.pathname)?.[1];
  if (method !== undefined) await parts.api.handle(method, request, response);
  else if (url.pathname.startsWith(UPLOAD_PATH))
    await receiveUpload(parts.state.files, url.pathname, request, response);
  else if (url.pathname === AUTHORIZE_PATH) await parts.state.oauth.authorize(url, request, response);
  else if (url.pathname.startsWith('/sandbox/')) await parts.people.handle(url, request, response);
  else if (/^\/(actions|commands)\//.test(url.pathname)) await answerUrl(parts.state, url, request, response);
  else if (!(await parts.page?.(request, response)) && !servePageFile(request, response))
    sendJson(response, 404, { ok: false, error: 'not_found' });
}

async function answerUrl(
  state: SlackState,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readBody(request);
  const used = state.responseUrls.use(url.pathname);
  if (!used.ok) {
    sendJson(response, 404, { ok: false, error: used.refusal });
    return;
  }
  let json: unknown;
  try {
    json = body.ok ? JSON.parse(body.text) : undefined;
  } catch {
    json = undefined;
  }
  const result = postAppAnswer(state, used.target, json);
  const { team } = used.target;
  state.traffic.add({ kind: 'response_url', at: state.clock.now(), team, body: json, result });
  sendJson(response, result.ok ? 200 : 400, result);
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve());
  });
}
