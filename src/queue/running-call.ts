import type { Logger } from 'pino';
import type { Admission } from '../core/execution/admission.ts';
import type { Credentials } from '../core/execution/credentials.ts';
import { doubtOf, type Outcome } from '../core/execution/outcome.ts';
import { ToolRejected } from '../core/execution/tool-rejected.ts';
import type { CallContext } from '../core/identity/call-context.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import { redactedValues } from '../core/secrets/redacted-values.ts';
import { scrub, scrubJson } from '../core/secrets/scrub.ts';
import type { JsonValue } from '../core/tool/strict-json.ts';
import { resultFrom, type ToolDefinition } from '../core/tool/tool.ts';

export interface RunningCallParts {
  readonly admission: Admission;
  readonly tool: ToolDefinition;
  readonly args: JsonValue;
  readonly context: CallContext;
  readonly credentials: Credentials;
  readonly store: Pick<ProposalStore, 'extendLease' | 'finish'>;
  readonly leaseMs: number;
  readonly logger: Logger;
}

/** Why a call was told to stop. */
class Stopped extends Error {
  override readonly name = 'Stopped';
}

/** How often a lease is extended within its length: one lost answer does not lose it. */
const EXTENSIONS_A_LEASE = 3;
export const MESSAGE_MAX_LENGTH = 500;

/**
 * One admitted call. The constructor starts it, in the same turn of the event loop; `outcome` says how it ended. The
 * lease is extended all the while, so that nobody takes this executor for dead.
 */
export class RunningCall {
  readonly admission: Admission;
  readonly tool: string;
  /** Never rejects. */
  readonly outcome: Promise<Outcome>;
  readonly #parts: RunningCallParts;
  readonly #stop = new AbortController();
  readonly #timeout: NodeJS.Timeout;
  readonly #lease: NodeJS.Timeout;
  #extending = false;
  #ended = false;

  constructor(parts: RunningCallParts) {
    const { admission, tool, args, context, credentials } = parts;
    this.#parts = parts;
    this.admission = admission;
    this.tool = tool.name;
    const { signal } = this.#stop;
    const run = { context, credentials, signal, idempotencyKey: admission.id };
    const ended = outcomeOf(tool, { credentials, redacted: redactedValues(tool, args) }, () =>
      tool.execute(args, run),
    );
    this.outcome = Promise.race([ended, this.#stopped(ended)]).finally(() => {
      this.#ended = true;
      clearTimeout(this.#timeout);
    });
    this.#timeout = setTimeout(() => this.abort(`no answer within ${tool.timeout} ms`), tool.timeout);
    this.#lease = setInterval(() => void this.#extend(), parts.leaseMs / EXTENSIONS_A_LEASE);
  }

  abort(why: string): void {
    this.#stop.abort(new Stopped(why));
  }

  /** Ends the lease's extension: the outcome is recorded, or will never be. */
  release(): void {
    clearTimeout(this.#timeout);
    clearInterval(this.#lease);
  }

  /** A tool that ignores its signal must not hold the executor; what it says later goes to the audit all the same. */
  #stopped(ended: Promise<Outcome>): Promise<Outcome> {
    const { tool, admission, store, logger } = this.#parts;
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      signal.addEventListener(
        'abort',
        () => {
          if (this.#ended) return;
          const why = signal.reason instanceof Error ? signal.reason.message : 'stopped';
          resolve(inDoubt(tool, 'stopped', why));
          void ended
            .then((late) => store.finish(admission, late))
            .catch((err) =>
              logger.warn({ proposal: admission.proposal, err }, 'a late outcome was not recorded'),
            );
        },
        { once: true },
      );
    });
  }

  async #extend(): Promise<void> {
    if (this.#extending) return;
    this.#extending = true;
    const { store, admission, leaseMs, logger } = this.#parts;
    try {
      const held = await store.extendLease(admission, leaseMs);
      if (!held && !this.#ended) this.abort('it was settled as unknown while it ran: its lease had lapsed');
    } catch (err) {
      // Redis is away. The call goes on: stopping it now would only put its outcome in doubt.
      logger.warn({ proposal: admission.proposal, err }, 'the lease could not be extended; tries again');
    } finally {
      this.#extending = false;
    }
  }
}

/** What no word of an outcome may hold: credentials, and what the tool's definition keeps from view. */
interface Hidden {
  readonly credentials: Credentials;
  readonly redacted: Credentials;
}

async function outcomeOf(
  tool: ToolDefinition,
  hidden: Hidden,
  execute: () => Promise<unknown>,
): Promise<Outcome> {
  let value: unknown;
  try {
    value = await execute();
  } catch (error) {
    return outcomeOfError(tool, hidden, error);
  }
  // Whatever it answered, it did it: a result that cannot be kept is still a success. It is for the agent alone, which
  // knows what it asked for.
  return {
    outcome: 'succeeded',
    result: resultFrom(value, (json) => scrubJson(json, hidden.credentials)).json,
  };
}

/** What was thrown is the tool's, and may itself throw when it is looked at. */
function outcomeOfError(tool: ToolDefinition, hidden: Hidden, error: unknown): Outcome {
  // Before it is cut, because half a secret is no longer recognised.
  const clean = (text: unknown) => bounded(scrub(scrub(String(text), hidden.credentials), hidden.redacted));
  try {
    if (error instanceof ToolRejected) {
      return { outcome: 'failed', code: clean(error.code), message: clean(error.message) };
    }
    if (error instanceof Error) {
      return inDoubt(
        tool,
        'error',
        'the tool threw an error',
        `${clean(error.name)}: ${clean(error.message)}`,
      );
    }
    return inDoubt(tool, 'error', 'the tool threw what is no error', clean(error));
  } catch {
    return inDoubt(tool, 'error', 'the tool threw something that cannot be read');
  }
}

/** A read that broke has changed nothing; of a write nobody can say, unless the tool says so with ToolRejected. */
function inDoubt(tool: ToolDefinition, code: string, why: string, said?: string): Outcome {
  const unknown = {
    outcome: 'unknown',
    why: bounded(why),
    ...(said === undefined ? {} : { said: bounded(said) }),
  } as const;
  return tool.effect === 'read' ? { outcome: 'failed', code, message: bounded(doubtOf(unknown)) } : unknown;
}

export function bounded(text: string): string {
  return text.length <= MESSAGE_MAX_LENGTH ? text : `${text.slice(0, MESSAGE_MAX_LENGTH - 1)}…`;
}
