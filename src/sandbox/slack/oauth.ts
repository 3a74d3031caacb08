import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readBody, sendJson } from './http-exchange.ts';
import type { SandboxClock } from './sandbox-clock.ts';
import { SLACK_LIMITS } from './slack-limits.ts';
import type { Installation, OAuthSettings, SlackWorld, Workspace } from './slack-world.ts';
import { type ApiAnswer, ApiArguments, failure } from './web-api-call.ts';

export const AUTHORIZE_PATH = '/oauth/v2/authorize';

/** https://docs.slack.dev/authentication/using-token-rotation: twelve hours. */
const TOKEN_LIFE_S = 43_200;

interface Grant {
  readonly redirectUri: string;
  /** False: the address was not named in the request, and need not be named for the code either. */
  readonly named: boolean;
  readonly scopes: string[];
  /** `T…`, or `E…` for a whole organisation. */
  readonly target: string;
  readonly user: string;
  readonly until: number;
  used: boolean;
}

/** Whose a token is, or that its time is over. */
export type Holder = { readonly workspaces: readonly Workspace[] } | 'expired' | undefined;

/** Installing the app: the page where people agree, codes that count once, and tokens that expire where the app rotates. */
export class OAuth {
  readonly #world: SlackWorld;
  readonly #clock: SandboxClock;
  readonly #codes = new Map<string, Grant>();
  readonly #retired = new Set<string>();

  constructor(world: SlackWorld, clock: SandboxClock) {
    this.#world = world;
    this.#clock = clock;
  }

  holderOf(token: string): Holder {
    const now = this.#clock.now();
    const holding = this.#world.workspaces.filter(({ installation }) => holds(installation, token));
    const [first] = holding;
    if (first?.installation === undefined) return undefined;
    const until = untilOf(first.installation, token);
    return until !== undefined && now >= until ? 'expired' : { workspaces: holding };
  }

  /** The page, and what its buttons send. */
  async authorize(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = request.method === 'POST' ? await formOf(request) : url.searchParams;
    const problem = this.#problemOf(asked);
    if (problem !== undefined) return sendJson(response, 400, { ok: false, error: problem });
    if (request.method !== 'POST') return sendPage(response, this.#page(asked));
    response.writeHead(302, { location: this.#answered(asked), 'cache-control': 'no-store' }).end();
  }

  /** `oauth.v2.access`. */
  access(given: Record<string, unknown>): ApiAnswer {
    const args = new ApiArguments(given);
    const refused = this.#clientProblem(args);
    if (refused !== undefined) return failure(refused);
    return args.text('grant_type') === 'refresh_token' ? this.#refresh(args) : this.#exchangeCode(args);
  }

  /** `oauth.v2.exchange`: a token that never ends for one that does. */
  exchange(given: Record<string, unknown>): ApiAnswer {
    const args = new ApiArguments(given);
    const refused = this.#clientProblem(args);
    if (refused !== undefined) return failure(refused);
    if (this.#settings()?.tokenRotation !== true) return failure('token_rotation_not_enabled');
    const token = args.text('token') ?? '';
    const holder = this.holderOf(token);
    if (holder === undefined || holder === 'expired') {
      return failure(this.#retired.has(token) ? 'token_already_exchanged' : 'invalid_token');
    }
    if (holder.workspaces[0]?.installation?.expiresAt !== undefined) return failure('invalid_token');
    this.#retired.add(token);
    return this.#renewed(holder.workspaces, false);
  }

  /** Takes the app out of a workspace, or out of a whole organisation. */
  remove(target: string): void {
    for (const workspace of this.#targeted(target)) delete workspace.installation;
  }

  #settings(): OAuthSettings | undefined {
    return this.#world.app.oauth;
  }

  #targeted(target: string): Workspace[] {
    return this.#world.workspaces.filter(
      ({ team, enterprise }) => team === target || enterprise?.id === target,
    );
  }

  #problemOf(asked: URLSearchParams): string | undefined {
    const settings = this.#settings();
    if (settings === undefined || asked.get('client_id') !== settings.clientId) return 'invalid_client_id';
    if ((asked.get('scope') ?? '') === '') return 'invalid_scope';
    const named = asked.get('redirect_uri');
    if (named !== null && !settings.redirectUrls.includes(named)) return 'bad_redirect_uri';
    return settings.redirectUrls.length === 0 ? 'bad_redirect_uri' : undefined;
  }

  #page(asked: URLSearchParams): string {
    const organisations = new Map(
      this.#world.workspaces.flatMap(({ enterprise }) =>
        enterprise ? [[enterprise.id, enterprise.name]] : [],
      ),
    );
    const places = [
      ...this.#world.workspaces.map(({ team, name }) => [team, name] as const),
      ...organisations,
    ].filter(([id]) => !asked.get('team') || asked.get('team') === id);
    const hidden = [...asked].map(
      ([name, value]) => `<input type="hidden" name="${html(name)}" value="${html(value)}">`,
    );
    const buttons = places.map(
      ([id = '', name = '']) =>
        `<button name="target" value="${html(id)}">Allow in ${html(name)} (${html(id)})</button>`,
    );
    return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Install ${html(this.#world.app.name)}</title></head><body><h1>${html(this.#world.app.name)} asks to be installed</h1><p>It asks for: ${html(asked.get('scope') ?? '')}</p><form method="post" action="${AUTHORIZE_PATH}">${hidden.join('')}${buttons.join(' ')} <button name="target" value="cancel">Cancel</button></form></body></html>`;
  }

  #answered(asked: URLSearchParams): string {
    const redirectUri = asked.get('redirect_uri') ?? this.#settings()?.redirectUrls[0] ?? '';
    const back = new URL(redirectUri);
    const state = asked.get('state');
    if (state !== null) back.searchParams.set('state', state);
    const target = asked.get('target') ?? '';
    const [workspace] = this.#targeted(target);
    if (workspace === undefined) {
      back.searchParams.set('error', 'access_denied');
      return back.href;
    }
    const code = randomBytes(12).toString('hex');
    this.#codes.set(code, {
      redirectUri,
      named: asked.get('redirect_uri') !== null,
      scopes: (asked.get('scope') ?? '').split(',').filter(Boolean),
      target,
      user: asked.get('user') ?? workspace.users.find(({ isBot }) => isBot !== true)?.id ?? '',
      until: this.#clock.now() + SLACK_LIMITS.oauthCodeMs,
      used: false,
    });
    back.searchParams.set('code', code);
    return back.href;
  }

  #clientProblem(args: ApiArguments): string | undefined {
    const settings = this.#settings();
    if (settings === undefined || args.text('client_id') !== settings.clientId) return 'invalid_client_id';
    return args.text('client_secret') === settings.clientSecret ? undefined : 'bad_client_secret';
  }

  #exchangeCode(args: ApiArguments): ApiAnswer {
    const grant = this.#codes.get(args.text('code') ?? '');
    if (grant === undefined || this.#clock.now() >= grant.until) return failure('invalid_code');
    if (grant.used) return failure('code_already_used');
    const named = args.text('redirect_uri');
    if ((grant.named || named !== undefined) && named !== grant.redirectUri)
      return failure('bad_redirect_uri');
    grant.used = true;
    const workspaces = this.#targeted(grant.target);
    const orgWide = grant.target.startsWith('E');
    for (const workspace of workspaces) this.#install(workspace, grant.scopes, orgWide);
    const answer = this.#renewed(workspaces, true);
    return { ...answer, authed_user: { id: grant.user } };
  }

  /** A workspace that already has the app keeps its token, as in Slack, unless tokens rotate. */
  #install(workspace: Workspace, scopes: string[], orgWide: boolean): void {
    const { team, users, installation } = workspace;
    const botUser =
      installation?.botUser ?? users.find(({ isBot, isWorkflowBot }) => isBot && !isWorkflowBot)?.id;
    const added = `U0BOT${team.slice(2)}`;
    if (botUser === undefined) {
      users.push({ id: added, home: team, name: 'countersign', realName: this.#world.app.name, isBot: true });
    }
    workspace.installation = {
      botToken: installation?.botToken ?? newToken(),
      scopes,
      botUser: botUser ?? added,
      botId: installation?.botId ?? `B0${team.slice(2)}`,
      ...(orgWide ? { orgWide } : {}),
    };
  }

  #refresh(args: ApiArguments): ApiAnswer {
    const token = args.text('refresh_token') ?? '';
    const workspaces = this.#world.workspaces.filter(
      ({ installation }) => installation?.refreshToken !== undefined && installation.refreshToken === token,
    );
    // It counts once: what it was exchanged for has one of its own.
    if (workspaces.length === 0) return failure('invalid_refresh_token');
    return this.#renewed(workspaces, false);
  }

  /** What Slack answers about them; with new tokens where the app rotates, and in an organisation one for all. */
  #renewed(workspaces: readonly Workspace[], fresh: boolean): ApiAnswer {
    const rotates = this.#settings()?.tokenRotation === true;
    const token = rotates ? `xoxe.${newToken()}` : (workspaces[0]?.installation?.botToken ?? '');
    const refreshToken = `xoxe-1-${randomBytes(12).toString('hex')}`;
    const now = this.#clock.now();
    for (const { installation } of workspaces) {
      if (installation === undefined) continue;
      if (rotates) {
        const old = { token: installation.botToken, until: installation.expiresAt ?? now };
        // The token before goes on to its own end; a new installation ends what was there.
        installation.olderTokens = fresh ? [] : [...(installation.olderTokens ?? []), old];
        installation.expiresAt = now + TOKEN_LIFE_S * 1_000;
        installation.refreshToken = refreshToken;
      }
      installation.botToken = token;
    }
    const [first] = workspaces;
    const { installation } = first ?? {};
    const orgWide = installation?.orgWide === true;
    return {
      ok: true,
      app_id: this.#world.app.id,
      access_token: token,
      token_type: 'bot',
      scope: installation?.scopes.join(',') ?? '',
      bot_user_id: installation?.botUser,
      team: orgWide || first === undefined ? null : { id: first.team, name: first.name },
      enterprise: first?.enterprise ?? null,
      is_enterprise_install: orgWide,
      authed_user: {},
      ...(rotates ? { refresh_token: refreshToken, expires_in: TOKEN_LIFE_S } : {}),
    };
  }
}

function holds(installation: Installation | undefined, token: string): boolean {
  if (installation === undefined) return false;
  return (
    installation.botToken === token || (installation.olderTokens ?? []).some((old) => old.token === token)
  );
}

function untilOf(installation: Installation, token: string): number | undefined {
  if (installation.botToken === token) return installation.expiresAt;
  return installation.olderTokens?.find((old) => old.token === token)?.until;
}

function newToken(): string {
  return `xoxb-${randomBytes(8).toString('hex')}`;
}

async function formOf(request: IncomingMessage): Promise<URLSearchParams> {
  const body = await readBody(request);
  return new URLSearchParams(body.ok ? body.text : '');
}

function sendPage(response: ServerResponse, page: string): void {
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  response.end(page);
}

function html(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
