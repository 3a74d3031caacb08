import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  ErrorCode,
  type Installation as GivenInstallation,
  InstallProvider,
  InvalidStateError,
  type StateStore,
} from '@slack/oauth';
import { WebClient } from '@slack/web-api';
import type { Logger } from 'pino';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { Installation } from '../core/workspace/installation.ts';
import type { InstallationStore } from '../core/workspace/installation-store.ts';
import type { OnceMemory } from '../core/workspace/once.ts';
import { clientOptions, identityOf, type Reach, slackError, type TokenIdentity } from './clients.ts';
import {
  INSTALL_PAGES,
  type InstallPage,
  installedPage,
  notInPolicyPage,
  sendPage,
} from './install-pages.ts';
import { BOT_SCOPES } from './install-scopes.ts';
import { sdkLogger } from './sdk-logger.ts';

export interface InstallFlowParts {
  readonly store: InstallationStore;
  readonly once: OnceMemory;
  readonly client: { readonly id: string; readonly secret: string };
  /** Where Slack sends people back to. Undefined: the one address that the app's settings name. */
  readonly redirectUri: string | undefined;
  readonly policy: PolicyHolder;
  /** `A…`, where it is known: what Slack confirms has to be of it. */
  readonly appId: () => string | undefined;
  /** Workspaces whose tokens the configuration holds: those tokens are never revoked from here. */
  readonly isGiven: (team: string) => boolean;
  /** The new installation is in the store. */
  readonly onInstalled: () => Promise<void>;
  readonly audit: AuditLog;
  readonly reach: Reach;
  readonly logger: Logger;
  readonly clock: () => number;
}

export const INSTALL_PATH = '/slack/install';
export const REDIRECT_PATH = '/slack/oauth_redirect';

const STATE_LIFE_MS = 10 * 60_000;
const STATE_BYTES = 32;
const TIMEOUT_MS = 10_000;
/** Each beginning leaves ten minutes of a key in Redis, and anybody can begin. */
const BEGINNINGS = { most: 60, withinMs: 60_000 } as const;

/**
 * Lets people install the app in the workspaces that the policy names. The library does the protocol; here are what it
 * keeps (a state that counts once, installations in a box) and who may.
 */
export class InstallFlow {
  readonly #parts: InstallFlowParts;
  readonly #provider: InstallProvider;
  #beginnings: readonly number[] = [];
  /** What was found out about an installation between its two steps. */
  readonly #accepted = new WeakMap<object, Installation>();

  constructor(parts: InstallFlowParts) {
    this.#parts = parts;
    const { apiUrl } = parts.reach;
    this.#provider = new InstallProvider({
      clientId: parts.client.id,
      clientSecret: parts.client.secret,
      directInstall: true,
      stateCookieName: 'countersign-install',
      stateCookieExpirationSeconds: STATE_LIFE_MS / 1_000,
      stateStore: this.#stateStore(),
      installationStore: {
        storeInstallation: (installation) => this.#store(installation),
        fetchInstallation: () => Promise.reject(new Error('installations are read from our own store')),
      },
      logger: sdkLogger(parts.logger),
      // A code and a token exchange count once: nothing is sent twice.
      clientOptions: clientOptions(parts.reach, TIMEOUT_MS),
      ...(apiUrl === undefined
        ? {}
        : { authorizationUrl: new URL('../oauth/v2/authorize', apiUrl).toString() }),
    });
  }

  /** `GET /slack/install`: on to Slack, with a state that only this browser can bring back. */
  readonly begin = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (!this.#mayBegin()) return sendPage(response, INSTALL_PAGES.tooMany);
    try {
      response.setHeader('cache-control', 'no-store');
      await this.#provider.handleInstallPath(request, response, undefined, this.#asked());
    } catch {
      sendPage(response, INSTALL_PAGES.unavailable);
    }
  };

  /** `GET /slack/oauth_redirect`: back from Slack. */
  readonly finish = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    await this.#provider.handleCallback(request, response, {
      afterInstallation: async (installation) => {
        const refusal = await this.#refusalOf(installation);
        if (refusal !== undefined) sendPage(response, refusal);
        return refusal === undefined;
      },
      success: (installation) => {
        const accepted = this.#accepted.get(installation);
        sendPage(response, installedPage(accepted?.name ?? '', accepted?.team ?? ''));
      },
      failure: (error) => {
        this.#parts.logger.warn(
          { code: error.code, slack: slackError(error) },
          'an installation did not come about',
        );
        sendPage(response, pageFor(error.code));
      },
    });
  };

  #mayBegin(): boolean {
    const now = this.#parts.clock();
    this.#beginnings = this.#beginnings.filter((at) => Math.abs(now - at) < BEGINNINGS.withinMs);
    if (this.#beginnings.length >= BEGINNINGS.most) return false;
    this.#beginnings = [...this.#beginnings, now];
    return true;
  }

  #asked(): { scopes: string[]; redirectUri?: string } {
    const { redirectUri } = this.#parts;
    return { scopes: [...BOT_SCOPES], ...(redirectUri === undefined ? {} : { redirectUri }) };
  }

  /** The library compares the state with the browser's cookie before it asks here, and here it counts once. */
  #stateStore(): StateStore {
    const { once } = this.#parts;
    return {
      generateStateParam: async () => {
        const state = randomBytes(STATE_BYTES).toString('base64url');
        await once.firstTime(stateKey(state), STATE_LIFE_MS);
        return state;
      },
      verifyStateParam: async (_now, state) => {
        if (!(await once.take(stateKey(state)))) {
          throw new InvalidStateError('the state was used, is too old, or is not ours');
        }
        return this.#asked();
      },
    };
  }

  /** The page that says why not; undefined: it may be stored. */
  async #refusalOf(given: GivenInstallation<'v1' | 'v2', boolean>): Promise<InstallPage | undefined> {
    const token = given.bot?.token;
    if (token === undefined) return INSTALL_PAGES.missingScopes;
    const identity = await identityOf(token, this.#parts.reach);
    const refusal = this.#judge(given, identity);
    if (refusal === undefined) {
      this.#accepted.set(given, this.#installationOf(given, token, identity));
      return undefined;
    }
    const { team } = identity;
    this.#parts.logger.error(
      { team, page: refusal.text },
      'an installation was refused, and nothing of it kept',
    );
    await this.#revoke(token, team);
    return refusal;
  }

  #judge(
    given: GivenInstallation<'v1' | 'v2', boolean>,
    { team, enterprise, app }: TokenIdentity,
  ): InstallPage | undefined {
    const said = given.isEnterpriseInstall === true ? given.enterprise?.id : given.team?.id;
    // Two answers of Slack about one token: where they differ, neither is believed.
    if (said !== team) return INSTALL_PAGES.slackRefused;
    const apps = new Set([this.#parts.appId(), given.appId, app].filter((id) => id !== undefined));
    if (apps.size > 1) return INSTALL_PAGES.otherApp;
    const { tenants } = this.#parts.policy.current.policy;
    const named = [...tenants.values()].some(({ slack }) => slack.team === team || slack.team === enterprise);
    if (!named) return notInPolicyPage(team);
    const granted = new Set(given.bot?.scopes);
    return BOT_SCOPES.every((scope) => granted.has(scope)) ? undefined : INSTALL_PAGES.missingScopes;
  }

  #installationOf(
    given: GivenInstallation<'v1' | 'v2', boolean>,
    token: string,
    identity: TokenIdentity,
  ): Installation {
    const { refreshToken, expiresAt } = given.bot ?? {};
    const now = this.#parts.clock();
    const { team, enterprise, name, url, botUser, botId } = identity;
    // The library counts from the machine's clock; what Slack said is how long from now.
    const lifeMs = expiresAt === undefined ? undefined : expiresAt * 1_000 - Date.now();
    const expires =
      refreshToken === undefined || lifeMs === undefined
        ? undefined
        : { at: now + lifeMs, refresh: { token: refreshToken } };
    return {
      v: 1,
      team,
      enterprise,
      name,
      url,
      app: given.appId ?? identity.app,
      botUser,
      botId,
      installedBy: given.user.id,
      installedAt: now,
      state: { status: 'live', token, ...(expires === undefined ? {} : { expires }) },
    };
  }

  async #store(given: object): Promise<void> {
    const installation = this.#accepted.get(given);
    if (installation === undefined) throw new Error('an installation was to be stored that nobody judged');
    const { team, installedBy } = installation;
    // Recorded first: a workspace that can decide must not appear without a trace.
    await this.#parts.audit.append({
      kind: 'workspace.installed',
      tenant: undefined,
      detail: { team, by: installedBy, ...(installation.app === undefined ? {} : { app: installation.app }) },
    });
    await this.#parts.store.put(installation);
    this.#parts.logger.info({ team, by: installedBy }, 'the app was installed in a workspace');
    await this.#parts.onInstalled();
  }

  /** A token that is not kept must not go on being good, unless it is one that the operator holds anyway. */
  async #revoke(token: string, team: string): Promise<void> {
    if (this.#parts.isGiven(team)) return;
    const client = new WebClient(token, clientOptions(this.#parts.reach, TIMEOUT_MS));
    await client.auth.revoke().catch(() => {
      this.#parts.logger.warn({ team }, 'the token of a refused installation could not be revoked');
    });
  }
}

function stateKey(state: string): string {
  return `install-state\n${state}`;
}

function pageFor(code: string): InstallPage {
  switch (code) {
    case ErrorCode.AuthorizationError:
      return INSTALL_PAGES.cancelled;
    case ErrorCode.InvalidStateError:
      return INSTALL_PAGES.stale;
    case ErrorCode.MissingCodeError:
    case ErrorCode.MissingStateError:
    case ErrorCode.UnknownError:
      return INSTALL_PAGES.malformed;
    case 'store_unavailable':
      return INSTALL_PAGES.unavailable;
    default:
      return INSTALL_PAGES.slackRefused;
  }
}
