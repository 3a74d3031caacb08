import type { Logger } from 'pino';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { SlackProblem } from './channels.ts';

/** Keeps in which workspaces email addresses are hidden from the app, so that second accounts go unnoticed there. */
export class EmailWatch {
  readonly #policy: PolicyHolder;
  readonly #logger: Logger;
  readonly #hidden = new Set<string>();

  constructor({ policy, logger }: { policy: PolicyHolder; logger: Logger }) {
    this.#policy = policy;
    this.#logger = logger;
  }

  note(team: string, hidden: boolean): void {
    if (!hidden) {
      this.#hidden.delete(team);
      return;
    }
    if (this.#hidden.has(team)) return;
    this.#hidden.add(team);
    this.#logger.warn({ team }, MESSAGE);
  }

  problems(): SlackProblem[] {
    return [...this.#policy.current.policy.tenants]
      .filter(([, { slack }]) => this.#hidden.has(slack.team))
      .map(([tenant]) => ({ tenant, code: 'emails_hidden', message: MESSAGE }));
  }
}

const MESSAGE =
  'the app may not see email addresses, so a second account of whoever asked for a call is not noticed: add the scope users:read.email and install the app again';
