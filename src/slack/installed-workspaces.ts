import type { Logger } from 'pino';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { type Installation, isLive } from '../core/workspace/installation.ts';
import type { InstallationStore, UnreadableInstallation } from '../core/workspace/installation-store.ts';
import {
  type Reach,
  type TokenIdentity,
  type WorkspaceClients,
  type Workspaces,
  whyTokenIsBad,
  workspaceClients,
} from './clients.ts';

/** Something that an operator has to put right about a workspace. */
export interface WorkspaceProblem {
  readonly team: string;
  readonly code: 'workspace_lost' | 'workspace_expiring' | 'workspace_unreadable' | 'token_refused';
  readonly message: string;
}

export interface InstalledWorkspacesParts {
  /** Undefined: the app is installed by hand alone, with tokens in the configuration. */
  readonly store: InstallationStore | undefined;
  readonly workspaces: Workspaces;
  readonly audit: AuditLog;
  readonly reach: Reach;
  readonly logger: Logger;
  readonly clock: () => number;
}

/** The news of an installation can be lost; this is how long a replica may not know of it. */
const RELOAD_MS = 10_000;
/** How often a token that Slack may have refused is asked about. */
const ASK_AGAIN_MS = 5_000;

/** The clients of one installation, and what stood in the store when they were made. */
interface Opened {
  readonly text: string;
  readonly clients: WorkspaceClients;
}

/** Keeps `Workspaces` as the store has them, on every replica, and finds out which of them are lost. */
export class InstalledWorkspaces {
  readonly #parts: InstalledWorkspacesParts;
  #clients: ReadonlyMap<string, Opened> = new Map();
  #installations: readonly Installation[] = [];
  readonly #problems = new Map<string, WorkspaceProblem>();
  readonly #asked = new Map<string, number>();
  #loading: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopListening: (() => Promise<void>) | undefined;

  constructor(parts: InstalledWorkspacesParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    const { store } = this.#parts;
    if (store === undefined) return;
    this.#stopListening = await store.onChanged(() => this.#reloadInBackground());
    await this.reload();
    this.#timer = setInterval(() => this.#reloadInBackground(), RELOAD_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#stopListening?.();
    await this.#loading?.catch(() => {});
  }

  problems(): readonly WorkspaceProblem[] {
    return [...this.#problems.values()];
  }

  /** What is known of the workspace beside that it cannot be used. */
  problemOf(team: string): WorkspaceProblem | undefined {
    return this.#problems.get(team) ?? this.problems().find((problem) => problem.team === team);
  }

  /** The app that any of them is of. */
  get app(): string | undefined {
    return this.#installations.find(({ app }) => app !== undefined)?.app;
  }

  /** Reads the store anew; several callers share one reading that began after each of them asked. */
  async reload(): Promise<void> {
    const { store } = this.#parts;
    if (store === undefined) return;
    const before = this.#loading;
    const loading = (before ?? Promise.resolve()).catch(() => {}).then(() => this.#load(store));
    this.#loading = loading;
    await loading.finally(() => {
      if (this.#loading === loading) this.#loading = undefined;
    });
  }

  /** A client heard from Slack that its token is bad. Believed only once Slack has said so twice. */
  readonly onTokenRefused = (team: string, token: string, why: string): void => {
    const now = this.#parts.clock();
    const asked = this.#asked.get(team);
    if (asked !== undefined && Math.abs(now - asked) < ASK_AGAIN_MS) return;
    this.#asked.set(team, now);
    this.#verify(team, token).catch((error: unknown) =>
      this.#parts.logger.warn(
        { team, why, error: error instanceof Error ? error.message : 'unknown' },
        'Slack refused the token of a workspace, and could not be asked whether it is lost',
      ),
    );
  };

  /** Slack says that the app was removed, or its tokens revoked. An old message must not end a new installation. */
  async removed(team: string): Promise<void> {
    const clients = this.#parts.workspaces.get(team);
    await this.reload();
    const token = this.#parts.workspaces.get(team)?.botToken ?? clients?.botToken;
    if (token !== undefined) await this.#verify(team, token);
  }

  async #verify(team: string, token: string): Promise<void> {
    const { store, reach, clock } = this.#parts;
    const stored = await store?.read(team);
    const state = stored?.installation.state;
    if (store !== undefined && stored !== undefined && state?.status === 'live') {
      // Replaced while the old token was still in use somewhere.
      if (state.token !== token && this.#clients.get(team)?.text !== stored.text) return this.reload();
      const why = await whyTokenIsBad(state.token, reach);
      if (why === undefined) return;
      const lost: Installation = {
        ...stored.installation,
        state: { status: 'lost', since: clock(), why },
      };
      if ((await store.replace(stored, lost)) !== undefined) await this.#recordLoss(lost, why);
      return this.reload();
    }
    if (!this.#parts.workspaces.isGiven(team)) return;
    const why = await whyTokenIsBad(token, reach);
    if (why === undefined) this.#forget(`given ${team}`);
    else {
      this.#report(`given ${team}`, {
        team,
        code: 'token_refused',
        message: `Slack no longer takes the bot token of the workspace ${team} (${why}): nothing can be decided there. Install the app there again, set its new token, and restart`,
      });
    }
  }

  async #recordLoss({ team }: Installation, why: string): Promise<void> {
    await this.#parts.audit
      .append({ kind: 'alarm.raised', tenant: undefined, detail: { alarm: 'workspace_lost', team, why } })
      .catch((error: unknown) => this.#parts.logger.error({ err: error }, 'an alarm could not be audited'));
  }

  #reloadInBackground(): void {
    this.reload().catch((error: unknown) =>
      this.#parts.logger.warn(
        { err: error },
        'the installed workspaces could not be read; they stay as they are',
      ),
    );
  }

  async #load(store: InstallationStore): Promise<void> {
    const { readable, unreadable } = await store.all();
    const next = new Map<string, Opened>();
    for (const { installation, text } of readable) {
      const { state, team } = installation;
      if (state.status !== 'live') continue;
      const known = this.#clients.get(team);
      const clients =
        known?.text === text ? known.clients : this.#clientsOf(identityIn(installation), state.token);
      next.set(team, { text, clients });
    }
    this.#clients = next;
    this.#installations = readable.map(({ installation }) => installation);
    this.#parts.workspaces.setInstalled([...next.values()].map(({ clients }) => clients));
    this.#judge(
      readable.map(({ installation }) => installation),
      unreadable,
    );
  }

  #clientsOf(identity: TokenIdentity, token: string): WorkspaceClients {
    const { reach } = this.#parts;
    return workspaceClients({ ...identity, token }, { ...reach, onTokenRefused: this.onTokenRefused });
  }

  #judge(installations: readonly Installation[], unreadable: readonly UnreadableInstallation[]): void {
    const now = new Map<string, WorkspaceProblem>();
    for (const installation of installations) {
      const message = troubleOf(installation);
      const { team } = installation;
      if (message === undefined) continue;
      const code = isLive(installation) ? 'workspace_expiring' : 'workspace_lost';
      now.set(team, { team, code, message });
    }
    for (const { team, why } of unreadable) {
      now.set(team, { team, code: 'workspace_unreadable', message: unreadableText(team, why) });
    }
    for (const key of [...this.#problems.keys()]) {
      if (!now.has(key) && !key.startsWith('given ')) this.#forget(key);
    }
    for (const [key, problem] of now) this.#report(key, problem);
  }

  /** Said once, until it is put right or becomes another one. */
  #report(key: string, problem: WorkspaceProblem): void {
    const known = this.#problems.get(key);
    this.#problems.set(key, problem);
    if (known?.code === problem.code) return;
    this.#parts.logger.error({ team: problem.team, problem: problem.code }, problem.message);
  }

  #forget(key: string): void {
    const known = this.#problems.get(key);
    if (!this.#problems.delete(key) || known === undefined) return;
    this.#parts.logger.info(
      { team: known.team, problem: known.code },
      'a workspace is as it should be again',
    );
  }
}

function identityIn(installation: Installation): TokenIdentity {
  const { team, enterprise, name, url, botUser, botId, app } = installation;
  return { team, enterprise, name, url, botUser, botId, app };
}

const AGAIN =
  'Open /slack/install of this service and install the app there again; nothing has to be restarted';

function troubleOf({ team, state }: Installation): string | undefined {
  if (state.status === 'lost') {
    return `the workspace ${team} is lost: the app was removed there, or its token revoked (${state.why}). Nothing can be decided there. ${AGAIN}`;
  }
  const refused = state.expires?.refresh.refused;
  if (state.expires === undefined || refused === undefined) return undefined;
  const when = new Date(state.expires.at).toISOString();
  return `the token of the workspace ${team} ends at ${when} and Slack does not renew it (${refused.why}). ${AGAIN}`;
}

function unreadableText(team: string, why: UnreadableInstallation['why']): string {
  const said = {
    form: 'what stands there is not of the form that this service writes',
    unknown_key:
      'it was sealed with a key that COUNTERSIGN_TOKEN_KEY does not hold; set it, or add the old key behind the new one with a comma',
    not_genuine:
      'it was sealed for another workspace or another app, or it was altered: somebody wrote to Redis',
  }[why];
  return `the installation of the workspace ${team} in Redis cannot be used: ${said}. ${AGAIN}`;
}
