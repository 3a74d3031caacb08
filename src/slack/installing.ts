import type { Logger } from 'pino';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { InstallationStore } from '../core/workspace/installation-store.ts';
import type { OnceMemory } from '../core/workspace/once.ts';
import { connectWorkspaces, type Reach, type Workspaces } from './clients.ts';
import { INSTALL_PATH, InstallFlow, REDIRECT_PATH } from './install-flow.ts';
import { TokenRotation } from './install-rotation.ts';
import { InstalledWorkspaces } from './installed-workspaces.ts';
import type { Doors } from './receiver.ts';

export interface SlackOAuth {
  readonly clientId: string;
  readonly clientSecret: string;
  /** The address of `/slack/oauth_redirect` as people's browsers reach it; one of those in the app's settings. */
  readonly redirectUri?: string | undefined;
  readonly store: InstallationStore;
}

export interface InstallingParts {
  readonly botTokens: readonly string[];
  readonly appId: string | undefined;
  readonly oauth: SlackOAuth | undefined;
  readonly once: OnceMemory;
  readonly policy: PolicyHolder;
  readonly audit: AuditLog;
  readonly reach: Reach;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** Every workspace that the service is in, whichever way it came there. */
export interface Installing {
  readonly workspaces: Workspaces;
  readonly installed: InstalledWorkspaces;
  /** The app that every payload must be for; undefined where Slack has not told and nobody set it. */
  readonly appId: () => string | undefined;
  readonly doors: Doors;
  stop(): Promise<void>;
}

/** @throws SlackTokenRejected, StoreUnavailable; nothing is left open then. */
export async function startInstalling(parts: InstallingParts): Promise<Installing> {
  const { oauth, reach, logger } = parts;
  const late: { installed?: InstalledWorkspaces } = {};
  const workspaces = await connectWorkspaces(parts.botTokens, {
    ...reach,
    mayBeNone: oauth !== undefined,
    appId: parts.appId,
    onTokenRefused: (team, token, why) => late.installed?.onTokenRefused(team, token, why),
  });
  const installed = new InstalledWorkspaces({ ...parts, store: oauth?.store, workspaces });
  late.installed = installed;
  const appId = () => parts.appId ?? workspaces.app ?? installed.app;
  const client = oauth && { id: oauth.clientId, secret: oauth.clientSecret };
  const rotation = oauth && client && new TokenRotation({ ...parts, store: oauth.store, client });
  const stop = async () => {
    await rotation?.stop();
    await installed.stop();
  };
  try {
    await rotation?.start();
    await installed.start();
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
  if (appId() === undefined && parts.botTokens.length > 0) {
    logger.warn(
      'Slack does not tell which app the bot tokens are of, so payloads are not compared with it; set SLACK_APP_ID',
    );
  }
  return { workspaces, installed, appId, doors: doorsOf(parts, workspaces, installed, appId), stop };
}

function doorsOf(
  parts: InstallingParts,
  workspaces: Workspaces,
  installed: InstalledWorkspaces,
  appId: () => string | undefined,
): Doors {
  const { oauth } = parts;
  if (oauth === undefined) return new Map();
  const flow = new InstallFlow({
    ...parts,
    store: oauth.store,
    client: { id: oauth.clientId, secret: oauth.clientSecret },
    redirectUri: oauth.redirectUri,
    appId,
    isGiven: (team) => workspaces.isGiven(team),
    onInstalled: () => installed.reload(),
  });
  return new Map([
    [INSTALL_PATH, flow.begin],
    [REDIRECT_PATH, flow.finish],
  ]);
}
