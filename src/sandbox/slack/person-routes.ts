import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import { isVisibleTo } from './conversations.ts';
import type { FaultActions } from './fault-actions.ts';
import { sendFile } from './file-routes.ts';
import { readBody, sendJson } from './http-exchange.ts';
import type { PersonActions } from './person-actions.ts';
import {
  ActingPerson,
  type ActionFailed,
  Click,
  CloseView,
  Command,
  FaultWish,
  MessagesQuery,
  type PersonEvent,
  Post,
  PERSON_ROUTES as ROUTES,
  Submit,
} from './person-interface.ts';
import {
  canAct,
  seenChannel,
  seenEvent,
  seenFile,
  seenHome,
  seenMessage,
  seenTop,
  seenUser,
  seenWorkspace,
  visibleChannels,
  visibleMessages,
} from './person-sight.ts';
import type { SlackState } from './slack-state.ts';
import { findChannel, findUser, findWorkspace, type SlackUser, type Workspace } from './slack-world.ts';

const HEARTBEAT_MS = 15_000;

/** The person's interface over HTTP: see person-interface.ts for the routes. */
export class PersonRoutes {
  readonly #state: SlackState;
  readonly #actions: PersonActions;
  readonly #faults: FaultActions;
  readonly #streams = new Set<ServerResponse>();

  constructor(state: SlackState, actions: PersonActions, faults: FaultActions) {
    this.#state = state;
    this.#faults = faults;
    this.#actions = actions;
  }

  async handle(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isLocal(request)) {
      sendJson(response, 403, invalid('The local Slack answers this machine only.'));
      return;
    }
    if (url.pathname === ROUTES.events) this.#stream(url, request, response);
    else if (url.pathname === ROUTES.file) this.#download(url, response);
    else if (request.method === 'GET') sendJson(response, 200, this.#look(url));
    else if (request.method === 'POST') await this.#act(url, request, response);
    else sendJson(response, 405, invalid('GET or POST.'));
  }

  close(): void {
    for (const stream of this.#streams) stream.end();
  }

  #look(url: URL): unknown {
    const { world, live } = this.#state;
    const query = Object.fromEntries(url.searchParams);
    if (url.pathname === ROUTES.workspaces) {
      const workspaces = world.workspaces.map((workspace) => seenWorkspace(this.#state, workspace));
      return { ok: true, workspaces, cursor: live.cursor };
    }
    if (url.pathname === ROUTES.faults) return { ok: true, active: this.#faults.active() };
    const workspace = findWorkspace(world, query.team ?? '');
    if (!workspace) return invalid('Say which workspace: ?team=T…');
    if (url.pathname === ROUTES.users) {
      return { ok: true, users: workspace.users.map((user) => seenUser(workspace, user)) };
    }
    if (url.pathname === ROUTES.commands) {
      return { ok: true, commands: workspace.installation ? world.app.commands : [] };
    }
    const user = findUser(workspace, query.user ?? '');
    if (!user || !canAct(user)) return cannotLook();
    return this.#lookAs(workspace, user, url.pathname, query);
  }

  #lookAs(workspace: Workspace, user: SlackUser, path: string, query: Record<string, string>): unknown {
    const { team } = workspace;
    const { cursor } = this.#state.live;
    switch (path) {
      case ROUTES.channels: {
        const channels = visibleChannels(workspace, user.id);
        const seen = channels.map((channel) => seenChannel(this.#state, workspace, channel, user.id));
        return { ok: true, channels: seen, cursor };
      }
      case ROUTES.messages:
        return this.#messages(workspace, user, query);
      case ROUTES.view:
        return { ok: true, view: seenTop(this.#state, team, user.id) };
      case ROUTES.home:
        return { ok: true, home: seenHome(this.#state, team, user.id) };
      default:
        return invalid(`No such route: ${path}`);
    }
  }

  #messages(workspace: Workspace, user: SlackUser, query: Record<string, string>): unknown {
    const parsed = MessagesQuery.safeParse(query);
    if (!parsed.success) return invalid(parsed.error.message);
    const channel = findChannel(workspace, parsed.data.channel);
    if (!channel) return { ok: false, error: 'channel_not_found', text: 'This channel does not exist.' };
    if (!channel.members.includes(user.id)) {
      return { ok: false, error: 'not_a_member', text: 'You are not in this channel.' };
    }
    const since = parsed.data.since ?? 0;
    const messages = visibleMessages(this.#state, workspace, channel, user.id)
      .filter((message) => message.cursor > since)
      .map((message) => seenMessage(this.#state, workspace, message, user.id));
    const deleted = this.#state.conversations
      .all(workspace.team, channel.id)
      .filter((message) => message.deleted && message.cursor > since && isVisibleTo(message, user.id))
      .map((message) => message.ts);
    return { ok: true, messages, deleted, cursor: this.#state.live.cursor };
  }

  #download(url: URL, response: ServerResponse): void {
    const query = Object.fromEntries(url.searchParams);
    const workspace = findWorkspace(this.#state.world, query.team ?? '');
    const user = workspace && findUser(workspace, query.user ?? '');
    const file =
      workspace && user && canAct(user)
        ? seenFile(this.#state, workspace, user.id, query.file ?? '')
        : undefined;
    if (file === undefined) sendJson(response, 404, invalid('You see no such file.'));
    else sendFile(file, response);
  }

  async #act(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A page of another origin can send a form, but no JSON, without asking first.
    const type = request.headers['content-type'] ?? '';
    if (!type.startsWith('application/json')) {
      sendJson(response, 415, invalid('Send JSON.'));
      return;
    }
    const body = await readBody(request);
    let json: unknown;
    try {
      json = body.ok ? JSON.parse(body.text) : undefined;
    } catch {
      json = undefined;
    }
    sendJson(response, 200, await this.#perform(url.pathname, json));
  }

  #perform(path: string, body: unknown): Promise<unknown> {
    const actions = this.#actions;
    switch (path) {
      case ROUTES.click:
        return checked(Click, body, (click) => actions.click(click));
      case ROUTES.submit:
        return checked(Submit, body, (submit) => actions.submit(submit));
      case ROUTES.closeView:
        return checked(CloseView, body, (close) => actions.closeView(close));
      case ROUTES.command:
        return checked(Command, body, (command) => actions.command(command));
      case ROUTES.post:
        return checked(Post, body, (post) => actions.post(post));
      case ROUTES.openHome:
        return checked(ActingPerson, body, (person) => actions.openHome(person));
      case ROUTES.faults:
        return checked(FaultWish, body, (wish) => this.#faults.bring(wish));
      default:
        return Promise.resolve(invalid(`No such route: ${path}`));
    }
  }

  #stream(url: URL, request: IncomingMessage, response: ServerResponse): void {
    const workspace = findWorkspace(this.#state.world, url.searchParams.get('team') ?? '');
    const user = workspace && findUser(workspace, url.searchParams.get('user') ?? '');
    if (!workspace || !user || !canAct(user)) {
      sendJson(response, 400, cannotLook());
      return;
    }
    const { live } = this.#state;
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      connection: 'keep-alive',
    });
    const send = (event: PersonEvent) =>
      response.write(`id: ${event.cursor}\ndata: ${JSON.stringify(event)}\n\n`);
    const given = request.headers['last-event-id'] ?? url.searchParams.get('since') ?? undefined;
    const from = given === undefined ? live.cursor : Number(given);
    const missed = Number.isInteger(from) ? live.since(from) : undefined;
    send({ kind: missed ? 'hello' : 'reset', cursor: missed ? from : live.cursor });
    const show = (event: Parameters<typeof seenEvent>[3]) => {
      const seen = seenEvent(this.#state, workspace, user.id, event);
      if (seen) send(seen);
    };
    for (const event of missed ?? []) show(event);
    const unsubscribe = live.subscribe(show);
    const heartbeat = setInterval(() => response.write(': still here\n\n'), HEARTBEAT_MS);
    heartbeat.unref();
    this.#streams.add(response);
    response.on('close', () => {
      unsubscribe();
      clearInterval(heartbeat);
      this.#streams.delete(response);
    });
  }
}

async function checked<Schema extends z.ZodType>(
  schema: Schema,
  body: unknown,
  act: (input: z.infer<Schema>) => Promise<unknown>,
): Promise<unknown> {
  const parsed = schema.safeParse(body);
  return parsed.success ? act(parsed.data) : invalid(parsed.error.message);
}

function invalid(text: string): ActionFailed {
  return { ok: false, error: 'invalid_input', text };
}

function cannotLook(): ActionFailed {
  return { ok: false, error: 'user_cannot_act', text: 'Nobody by this name is signed in to this workspace.' };
}

/** Against a web page whose name was made to point at 127.0.0.1: it would act as anybody here. */
function isLocal(request: IncomingMessage): boolean {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '');
  return ['127.0.0.1', 'localhost', '[::1]'].includes(host);
}
