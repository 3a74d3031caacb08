import { WebClient, type WebClientOptions } from '@slack/web-api';
import type { Logger } from 'pino';
import { z } from 'zod';
import { sdkLogger } from './sdk-logger.ts';

/**
 * One workspace that the app is installed in, with a client for each kind of call: a 429 pauses a whole client, and a
 * modal has three seconds.
 */
export interface WorkspaceClients {
  readonly team: string;
  readonly enterprise: string | undefined;
  readonly name: string;
  /** `https://acme.slack.com/` */
  readonly url: string;
  readonly botToken: string;
  readonly botUser: string;
  readonly botId: string | undefined;
  /** `A…`; undefined where Slack does not tell. */
  readonly app: string | undefined;
  readonly posting: WebClient;
  readonly views: WebClient;
  /** For looking things up. */
  readonly asking: WebClient;
}

export class SlackTokenRejected extends Error {
  override readonly name = 'SlackTokenRejected';
  readonly code = 'slack_token_rejected';
}

const POST_TIMEOUT_MS = 10_000;
const QUICK_TIMEOUT_MS = 2_000;
const START_TIMEOUT_MS = 10_000;

const AuthTest = z.looseObject({
  team_id: z.string(),
  team: z.string().default(''),
  url: z.string().default(''),
  user_id: z.string(),
  bot_id: z.string().optional(),
  enterprise_id: z.string().optional(),
  is_enterprise_install: z.boolean().optional(),
});

const BotsInfo = z.looseObject({ bot: z.looseObject({ app_id: z.string() }) });

export interface Reach {
  readonly apiUrl: string | undefined;
  readonly logger: Logger;
}

/** Slack said of a token that it is not good (any more). */
export type OnTokenRefused = (team: string, token: string, why: string) => void;

export interface ConnectOptions extends Reach {
  /** Workspaces can also be installed while the service runs, so that it may start with none. */
  readonly mayBeNone?: boolean;
  /** `A…`: what each token has to be of. */
  readonly appId?: string | undefined;
  readonly onTokenRefused?: OnTokenRefused;
}

/**
 * Asks Slack whose each token is, and which app's.
 * @throws SlackTokenRejected naming every token that is wrong, and what to do.
 */
export async function connectWorkspaces(
  tokens: readonly string[],
  options: ConnectOptions,
): Promise<Workspaces> {
  if (tokens.length === 0 && options.mayBeNone !== true) {
    throw new SlackTokenRejected(
      'no bot token is set: install the app in a workspace and set its xoxb-… token',
    );
  }
  const answers = await Promise.all(
    tokens.map((token, index) => connect(token, index, tokens.length, options)),
  );
  const problems = answers.flatMap((answer) => ('problem' in answer ? [answer.problem] : []));
  const found = answers.flatMap((answer) => ('problem' in answer ? [] : [answer]));
  for (const [index, workspace] of found.entries()) {
    if (found.findIndex(({ team }) => team === workspace.team) !== index) {
      problems.push(`two bot tokens are for the same workspace ${workspace.team}; keep one of them`);
    }
  }
  const apps = new Set([options.appId, ...found.map(({ app }) => app)].filter((app) => app !== undefined));
  if (apps.size > 1) {
    problems.push(
      `the bot tokens${options.appId === undefined ? '' : ' and SLACK_APP_ID'} are of different apps (${[...apps].join(', ')}); set those of one app`,
    );
  }
  if (problems.length > 0) throw new SlackTokenRejected(problems.join('\n'));
  return new Workspaces(found);
}

/** Every workspace that can be talked to now: those whose tokens were given, and those installed meanwhile. */
export class Workspaces {
  readonly #given: ReadonlyMap<string, WorkspaceClients>;
  #installed: ReadonlyMap<string, WorkspaceClients> = new Map();

  constructor(given: readonly WorkspaceClients[]) {
    this.#given = byTeam(given);
  }

  /** `team` may be a workspace's `T…`, or the `E…` of an organisation that exactly one of them belongs to. */
  get(team: string | undefined): WorkspaceClients | undefined {
    if (team === undefined) return undefined;
    const direct = this.#installed.get(team) ?? this.#given.get(team);
    if (direct !== undefined) return direct;
    const inOrganisation = [...this].filter(({ enterprise }) => enterprise === team);
    return inOrganisation.length === 1 ? inOrganisation[0] : undefined;
  }

  isGiven(team: string): boolean {
    return this.#given.has(team);
  }

  /** An installation is newer than a token in a file, and wins over it. */
  setInstalled(workspaces: readonly WorkspaceClients[]): void {
    this.#installed = byTeam(workspaces);
  }

  /** The app that they are all of; undefined where Slack has not told. */
  get app(): string | undefined {
    return [...this].find(({ app }) => app !== undefined)?.app;
  }

  [Symbol.iterator](): IterableIterator<WorkspaceClients> {
    return new Map([...this.#given, ...this.#installed]).values();
  }
}

function byTeam(workspaces: readonly WorkspaceClients[]): ReadonlyMap<string, WorkspaceClients> {
  return new Map(workspaces.map((workspace) => [workspace.team, workspace]));
}

async function connect(
  token: string,
  index: number,
  count: number,
  options: ConnectOptions,
): Promise<WorkspaceClients | { problem: string }> {
  const which = `bot token ${index + 1} of ${count} (${masked(token)})`;
  try {
    return workspaceClients({ token, ...(await identityOf(token, options)) }, options);
  } catch (error) {
    const said = slackError(error);
    return {
      problem:
        said === undefined
          ? `Slack could not be asked whose ${which} is (${error instanceof Error ? error.message : String(error)}); check the network and SLACK_API_URL`
          : `Slack refused ${which}: ${said}. Copy the bot token (xoxb-…) again from the app's page, OAuth & Permissions`,
    };
  }
}

/** Who a bot token is, as Slack tells. */
export interface TokenIdentity {
  readonly team: string;
  readonly enterprise: string | undefined;
  readonly name: string;
  readonly url: string;
  readonly botUser: string;
  readonly botId: string | undefined;
  readonly app: string | undefined;
}

/** @throws what the SDK throws; `slackError` tells Slack's own word for it. */
export async function identityOf(token: string, reach: Reach): Promise<TokenIdentity> {
  const client = new WebClient(token, clientOptions(reach, START_TIMEOUT_MS, 2));
  const auth = AuthTest.parse(await client.auth.test());
  // Installed in a whole organisation at once: whatever workspace Slack names beside it, the token is the organisation's.
  const organisation = auth.is_enterprise_install === true ? auth.enterprise_id : undefined;
  return {
    team: organisation ?? auth.team_id,
    enterprise: auth.enterprise_id,
    name: auth.team,
    url: auth.url,
    botUser: auth.user_id,
    botId: auth.bot_id,
    app: auth.bot_id === undefined ? undefined : await appOf(client, auth.bot_id),
  };
}

/** Servers that only speak the better known part of Slack's API do not tell. */
async function appOf(client: WebClient, bot: string): Promise<string | undefined> {
  try {
    const answer = BotsInfo.safeParse(await client.bots.info({ bot }));
    return answer.success ? answer.data.bot.app_id : undefined;
  } catch {
    return undefined;
  }
}

export function workspaceClients(
  { token, ...identity }: TokenIdentity & { readonly token: string },
  reach: Reach & { readonly onTokenRefused?: OnTokenRefused },
): WorkspaceClients {
  const refused = (why: string) => reach.onTokenRefused?.(identity.team, token, why);
  const client = (timeout: number) => new WatchedClient(token, clientOptions(reach, timeout), refused);
  return {
    ...identity,
    botToken: token,
    posting: client(POST_TIMEOUT_MS),
    views: client(QUICK_TIMEOUT_MS),
    asking: client(QUICK_TIMEOUT_MS),
  };
}

/** What Slack says of a token that was revoked, of an app that was removed, or of a token whose time is over. */
const TOKEN_IS_BAD: ReadonlySet<string> = new Set([
  'invalid_auth',
  'account_inactive',
  'token_revoked',
  'token_expired',
]);

/** A client that says so where Slack no longer takes its token, whoever uses it. */
class WatchedClient extends WebClient {
  readonly #refused: (why: string) => void;

  constructor(token: string, options: WebClientOptions, refused: (why: string) => void) {
    super(token, options);
    this.#refused = refused;
  }

  override async apiCall(...call: Parameters<WebClient['apiCall']>): ReturnType<WebClient['apiCall']> {
    try {
      return await super.apiCall(...call);
    } catch (error) {
      const said = slackError(error);
      if (said !== undefined && TOKEN_IS_BAD.has(said)) this.#refused(said);
      throw error;
    }
  }
}

/** Undefined: Slack takes the token. @throws where Slack does not answer, or says something else. */
export async function whyTokenIsBad(token: string, reach: Reach): Promise<string | undefined> {
  try {
    const client = new WebClient(token, clientOptions(reach, QUICK_TIMEOUT_MS));
    await client.auth.test();
    return undefined;
  } catch (error) {
    const said = slackError(error);
    if (said !== undefined && TOKEN_IS_BAD.has(said)) return said;
    throw error;
  }
}

/**
 * A fresh object each time, because the SDK writes into what it is given; and never `headers`: the SDK puts the token
 * there, and the next client would send the token of the first.
 */
export function clientOptions(options: Reach, timeout: number, retries = 0): WebClientOptions {
  return {
    ...(options.apiUrl === undefined ? {} : { slackApiUrl: options.apiUrl }),
    logger: sdkLogger(options.logger),
    timeout,
    retryConfig: { retries, minTimeout: 200, maxTimeout: 1_000 },
    rejectRateLimitedCalls: true,
  };
}

/** Slack's own name for what is wrong (`channel_not_found`); undefined where Slack gave no answer at all. */
export function slackError(error: unknown): string | undefined {
  const parsed = PlatformError.safeParse(error);
  return parsed.success ? parsed.data.data.error : undefined;
}

const PlatformError = z.looseObject({ data: z.looseObject({ error: z.string() }) });

/** How long Slack wants us to wait, ms; undefined where it is not about rates. */
export function rateLimitedForMs(error: unknown): number | undefined {
  const parsed = RateLimited.safeParse(error);
  return parsed.success ? Math.max(1, parsed.data.retryAfter) * 1_000 : undefined;
}

const RateLimited = z.looseObject({ retryAfter: z.number() });

function masked(token: string): string {
  return token.length < 12 ? 'too short to be one' : `${token.slice(0, 5)}…${token.slice(-4)}`;
}
