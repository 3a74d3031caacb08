import type { IncomingMessage, ServerResponse } from 'node:http';
import { CHAT_METHODS } from './chat-methods.ts';
import { CONVERSATION_METHODS } from './conversation-methods.ts';
import type { ApiFault, Faults } from './faults.ts';
import { FILE_METHODS } from './file-methods.ts';
import { readBody, sendJson } from './http-exchange.ts';
import { PEOPLE_METHODS } from './people-methods.ts';
import type { SlackState } from './slack-state.ts';
import type { Workspace } from './slack-world.ts';
import { findUser } from './slack-world.ts';
import type { SocketMode } from './socket-mode.ts';
import { VIEW_METHODS } from './view-methods.ts';
import {
  type ApiAnswer,
  ApiArguments,
  type ApiCall,
  type ApiMethod,
  failure,
  missingScope,
} from './web-api-call.ts';

const METHODS: Record<string, ApiMethod> = {
  'auth.test': { tier: 'special', scopes: [], run: authTest },
  'auth.revoke': { tier: 'tier3', scopes: [], run: authRevoke },
  ...CHAT_METHODS,
  ...CONVERSATION_METHODS,
  ...FILE_METHODS,
  ...PEOPLE_METHODS,
  ...VIEW_METHODS,
};

/** Who a token belongs to. An app-level token belongs to no workspace. */
type Caller =
  | { kind: 'bot'; workspace: Workspace }
  | { kind: 'app' }
  | { kind: 'nobody' }
  | { kind: 'expired' }
  | { kind: 'unknown' };

type Outcome = { answer: ApiAnswer; retryAfterMs?: number };

/** The Web API under /api/, as far as an approval app uses it. */
export class WebApi {
  readonly #state: SlackState;
  readonly #faults: Faults;
  readonly #socketMode: SocketMode;

  constructor(parts: { state: SlackState; faults: Faults; socketMode: SocketMode }) {
    this.#state = parts.state;
    this.#faults = parts.faults;
    this.#socketMode = parts.socketMode;
  }

  async handle(method: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const given = await givenArguments(request);
    const token = given.ok ? tokenOf(request, given) : undefined;
    const args = given.ok ? given.args : {};
    const caller = this.#caller(token, args);
    const fault = this.#faults.forCall(method);
    const { answer, retryAfterMs } = this.#outcome(method, caller, given, fault);
    const status = fault.kind === 'unavailable' ? 503 : retryAfterMs === undefined ? 200 : 429;
    const lost = fault.kind === 'lose_reply';
    this.#state.traffic.add({
      kind: 'api',
      at: this.#state.clock.now(),
      method,
      team: caller.kind === 'bot' ? caller.workspace.team : null,
      body: args,
      status,
      result: answer,
      lost,
    });
    if (lost) {
      response.destroy();
      return;
    }
    sendJson(response, status, answer, {
      ...(caller.kind === 'bot'
        ? { 'x-oauth-scopes': caller.workspace.installation?.scopes.join(',') ?? '' }
        : {}),
      ...(retryAfterMs === undefined
        ? {}
        : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }),
    });
  }

  #caller(token: string | undefined, args: Record<string, unknown>): Caller {
    if (token === undefined) return { kind: 'nobody' };
    if (token === this.#state.world.app.appToken) return { kind: 'app' };
    const holder = this.#state.oauth.holderOf(token);
    if (holder === 'expired') return { kind: 'expired' };
    // The token of an organisation is good in all its workspaces: what is asked about tells which is meant.
    const workspace = holder?.workspaces.find((candidate) => isIn(candidate, args)) ?? holder?.workspaces[0];
    return workspace ? { kind: 'bot', workspace } : { kind: 'unknown' };
  }

  #outcome(method: string, caller: Caller, given: Given, fault: ApiFault): Outcome {
    if (fault.kind === 'unavailable') return { answer: failure('service_unavailable') };
    if (fault.kind === 'rate_limited') return limited(fault.retryAfterMs);
    if (!given.ok) return { answer: failure(given.error) };
    if (method === 'api.test') return { answer: apiTest(given.args) };
    if (method === 'apps.connections.open') return this.#openConnection(caller);
    if (method === 'oauth.v2.access') return { answer: this.#state.oauth.access(given.args) };
    if (method === 'oauth.v2.exchange') return { answer: this.#state.oauth.exchange(given.args) };
    const known = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
    if (!known) return { answer: { ok: false, error: 'unknown_method', req_method: method } };
    if (caller.kind !== 'bot') return { answer: notABot(caller) };
    const { installation } = caller.workspace;
    if (!installation) return { answer: failure('account_inactive') };
    const call: ApiCall = {
      state: this.#state,
      workspace: caller.workspace,
      installation,
      args: new ApiArguments(given.args),
    };
    const waitMs = this.#mustWait(method, known, call);
    if (waitMs > 0) return limited(waitMs);
    if (known.scopes.length > 0 && !known.scopes.some((scope) => installation.scopes.includes(scope))) {
      return { answer: missingScope(known.scopes, installation.scopes) };
    }
    return { answer: known.run(call) };
  }

  #mustWait(method: string, known: ApiMethod, call: ApiCall): number {
    const { team } = call.workspace;
    const channel = call.args.text('channel');
    const waitMs = this.#state.rates.takeCall(team, method, known.tier);
    if (waitMs > 0 || method !== 'chat.postMessage' || channel === undefined) return waitMs;
    return this.#state.rates.takePost(team, channel);
  }

  #openConnection(caller: Caller): Outcome {
    if (caller.kind === 'bot') return { answer: failure('not_allowed_token_type') };
    if (caller.kind !== 'app') return { answer: notABot(caller) };
    const { appTokenScopes, id } = this.#state.world.app;
    if (!appTokenScopes.includes('connections:write')) {
      return { answer: missingScope(['connections:write'], appTokenScopes) };
    }
    // Documented as Tier 1 with bursts: what matters is that reconnecting in a tight loop is noticed.
    const waitMs = this.#state.rates.takeCall(id, 'apps.connections.open', 'tier3');
    if (waitMs > 0) return limited(waitMs);
    const opened = this.#socketMode.open(this.#state.url());
    return { answer: opened.ok ? { ok: true, url: opened.url } : failure(opened.error) };
  }
}

function authRevoke({ state, workspace, installation }: ApiCall): ApiAnswer {
  state.oauth.remove((installation.orgWide && workspace.enterprise?.id) || workspace.team);
  return { ok: true, revoked: true };
}

function isIn(
  { channels, users, team }: Workspace,
  { channel, user, team_id }: Record<string, unknown>,
): boolean {
  if (team_id !== undefined) return team === team_id;
  if (channel !== undefined) return channels.some(({ id }) => id === channel);
  return user !== undefined && users.some(({ id }) => id === user);
}

function limited(retryAfterMs: number): Outcome {
  return { answer: failure('ratelimited'), retryAfterMs };
}

function notABot(caller: Caller): ApiAnswer {
  if (caller.kind === 'nobody') return failure('not_authed');
  if (caller.kind === 'expired') return failure('token_expired');
  return failure(caller.kind === 'app' ? 'not_allowed_token_type' : 'invalid_auth');
}

function apiTest(args: Record<string, unknown>): ApiAnswer {
  return typeof args.error === 'string' ? { ok: false, error: args.error, args } : { ok: true, args };
}

function authTest({ state, workspace, installation }: ApiCall): ApiAnswer {
  return {
    ok: true,
    url: `${state.url()}/`,
    team: workspace.name,
    user: findUser(workspace, installation.botUser)?.name ?? 'bot',
    team_id: (installation.orgWide && workspace.enterprise?.id) || workspace.team,
    user_id: installation.botUser,
    bot_id: installation.botId,
    is_enterprise_install: installation.orgWide === true,
    ...(workspace.enterprise ? { enterprise_id: workspace.enterprise.id } : {}),
  };
}

type Given =
  | { ok: true; args: Record<string, unknown>; tokenArgument: string | undefined }
  | { ok: false; error: string };

/** From the query, a form, or a JSON object. A token in a JSON body does not count, as in Slack. */
async function givenArguments(request: IncomingMessage): Promise<Given> {
  const query = new URL(request.url ?? '/', 'http://localhost').searchParams;
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const body = await readBody(request);
  if (!body.ok) return { ok: false, error: 'request_too_large' };
  if (body.text === '' || request.method === 'GET') return fromForm(query);
  if (type === 'application/x-www-form-urlencoded') return fromForm(new URLSearchParams(body.text));
  if (type !== 'application/json')
    return { ok: false, error: type === '' ? 'missing_post_type' : 'invalid_post_type' };
  try {
    const json: unknown = JSON.parse(body.text);
    if (typeof json !== 'object' || json === null || Array.isArray(json))
      return { ok: false, error: 'json_not_object' };
    const { token: _token, ...args } = json as Record<string, unknown>;
    return { ok: true, args, tokenArgument: undefined };
  } catch {
    return { ok: false, error: 'invalid_json' };
  }
}

function fromForm(form: URLSearchParams): Given {
  const { token, ...args } = Object.fromEntries(form);
  return { ok: true, args, tokenArgument: token };
}

function tokenOf(request: IncomingMessage, given: Extract<Given, { ok: true }>): string | undefined {
  const header = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  return header ?? given.tokenArgument;
}
