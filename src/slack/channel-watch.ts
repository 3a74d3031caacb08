import type { Logger } from 'pino';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { Channels, SlackProblem } from './channels.ts';
import type { Workspaces } from './clients.ts';

export interface ChannelWatchParts {
  readonly policy: PolicyHolder;
  readonly workspaces: Workspaces;
  readonly channels: Channels;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly logger: Logger;
}

const LOOK_EVERY_MS = 60_000;

/** Looks at each tenant's channel at the start and every minute, and keeps what an operator has to put right. */
export class ChannelWatch {
  readonly #parts: ChannelWatchParts;
  readonly #problems = new Map<string, SlackProblem>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ChannelWatchParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    await this.#lookAtAll();
    this.#timer = setInterval(() => {
      this.#lookAtAll().catch((error: unknown) =>
        this.#parts.logger.warn({ err: error }, 'channels were not looked at'),
      );
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  problems(): readonly SlackProblem[] {
    return [...this.#problems.values()];
  }

  /** Said once for each tenant and kind of problem, until it is put right. */
  report(problem: SlackProblem): void {
    const known = this.#problems.get(problem.tenant);
    this.#problems.set(problem.tenant, problem);
    if (known?.code === problem.code) return;
    const { tenant, code, message } = problem;
    this.#parts.logger.error({ tenant, problem: code }, message);
    // That Slack does not answer is not for an operator to put right.
    if (code === 'cannot_check') return;
    this.#parts.audit
      .append({ kind: 'alarm.raised', tenant, detail: { alarm: code, message } })
      .catch((error: unknown) =>
        this.#parts.logger.error({ err: error, tenant }, 'an alarm could not be audited'),
      );
  }

  async #lookAtAll(): Promise<void> {
    const { policy, workspaces, channels } = this.#parts;
    const { tenants } = policy.current.policy;
    for (const tenant of this.#problems.keys()) {
      if (![...tenants.keys()].some((known) => known === tenant)) this.#problems.delete(tenant);
    }
    for (const [tenant, { slack }] of tenants) {
      const workspace = workspaces.get(slack.team);
      if (workspace === undefined) {
        const message = `no bot token is set for the workspace ${slack.team} of the tenant ${tenant}; install the app there and set its token`;
        this.report({ tenant, code: 'workspace_not_installed', message });
        continue;
      }
      const look = await channels.look(workspace, slack.channel);
      if (look.ok) this.#problems.delete(tenant);
      else this.report({ tenant, code: look.code, message: look.message });
    }
  }
}
