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
});

/**
 * Asks Slack whose each token is.
 * @throws SlackTokenRejected naming every token that is wrong, and what to do.
 */
export async function connectWorkspaces(
  tokens: readonly string[],
  options: { apiUrl: string | undefined; logger: Logger },
): Promise<Workspaces> {
  if (tokens.length === 0) {
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
  if (problems.length > 0) throw new SlackTokenRejected(problems.join('\n'));
  return new Workspaces(found);
}

export class Workspaces {
  readonly #byTeam: ReadonlyMap<string, WorkspaceClients>;

  constructor(workspaces: readonly WorkspaceClients[]) {
    this.#byTeam = new Map(workspaces.map((workspace) => [workspace.team, workspace]));
  }

  /** `team` may be a workspace's `T…`, or the `E…` of an organisation that exactly one of them belongs to. */
  get(team: string | undefined): WorkspaceClients | undefined {
    if (team === undefined) return undefined;
    const direct = this.#byTeam.get(team);
    if (direct !== undefined) return direct;
    const inOrganisation = [...this.#byTeam.values()].filter(({ enterprise }) => enterprise === team);
    return inOrganisation.length === 1 ? inOrganisation[0] : undefined;
  }

  [Symbol.iterator](): IterableIterator<WorkspaceClients> {
    return this.#byTeam.values();
  }
}

async function connect(
  token: string,
  index: number,
  count: number,
  options: { apiUrl: string | undefined; logger: Logger },
): Promise<WorkspaceClients | { problem: string }> {
  const which = `bot token ${index + 1} of ${count} (${masked(token)})`;
  try {
    const client = new WebClient(token, clientOptions(options, START_TIMEOUT_MS, 2));
    const auth = AuthTest.parse(await client.auth.test());
    return {
      team: auth.team_id,
      enterprise: auth.enterprise_id,
      name: auth.team,
      url: auth.url,
      botToken: token,
      botUser: auth.user_id,
      botId: auth.bot_id,
      posting: new WebClient(token, clientOptions(options, POST_TIMEOUT_MS)),
      views: new WebClient(token, clientOptions(options, QUICK_TIMEOUT_MS)),
      asking: new WebClient(token, clientOptions(options, QUICK_TIMEOUT_MS)),
    };
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

/**
 * A fresh object each time, because the SDK writes into what it is given; and never `headers`: the SDK puts the token
 * there, and the next client would send the token of the first.
 */
export function clientOptions(
  options: { apiUrl: string | undefined; logger: Logger },
  timeout: number,
  retries = 0,
): WebClientOptions {
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
