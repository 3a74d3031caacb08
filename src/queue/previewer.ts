import type { Logger } from 'pino';
import { type CredentialProvider, Credentials } from '../core/execution/credentials.ts';
import { judgePreview, type StartJudgement } from '../core/execution/judgement.ts';
import { TimeLimit } from '../core/execution/time-limit.ts';
import { Outage } from '../core/outage.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import {
  PREVIEW_CHARACTERS,
  type PreviewTask,
  type PreviewTasks,
  type ShownPreview,
  sealPreview,
} from '../core/proposal/preview.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import type { ProposalKeys } from '../core/proposal/seal.ts';
import { redactedValues } from '../core/secrets/redacted-values.ts';
import { scrub, scrubbedError } from '../core/secrets/scrub.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import type { ToolRegistry } from '../core/tool/tool-registry.ts';

export interface PreviewerParts {
  readonly tasks: PreviewTasks;
  readonly store: Pick<ProposalStore, 'read'>;
  readonly registry: ToolRegistry;
  readonly policy: Pick<PolicyHolder, 'current'>;
  /** More than one while keys are rotated; previews are sealed with the first. */
  readonly proposalKeys: ProposalKeys;
  readonly credentials: CredentialProvider;
  readonly logger: Logger;
  readonly intervalMs?: number;
  readonly limitMs?: number;
  readonly leaseMs?: number;
}

const INTERVAL_MS = 500;
const AT_ONCE = 4;
/** A person waits: a tool that needs longer to say what it would do has not said it. */
export const PREVIEW_LIMIT_MS = 10_000;
/** Longer than credentials and preview together, so that a claim is repeated only where its executor died. */
const LEASE_MS = 30_000;
/** A preview that takes its executor down with it is not tried for ever. */
const CLAIMS_MOST = 3;

/**
 * Asks the tools of proposals that wait for people what they would do, with read credentials alone. It changes nothing
 * about who may decide or when: a preview that fails, or never comes, leaves the card as it is.
 */
export class Previewer {
  readonly #parts: PreviewerParts;
  readonly #stopping = new AbortController();
  readonly #outage: Outage;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<unknown> = Promise.resolve();

  constructor(parts: PreviewerParts) {
    this.#parts = parts;
    this.#outage = new Outage(parts.logger, {
      began: 'previews: the store does not answer; keeps trying',
      over: 'previews: the store answers again',
    });
  }

  start(): void {
    this.#next();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the executor is stopping'));
    clearTimeout(this.#timer);
    await this.#round;
  }

  /** One round; `start` does one every `intervalMs`. Resolves with how many it took in hand. */
  async round(): Promise<number> {
    const tasks = await this.#parts.tasks.claim(AT_ONCE, this.#parts.leaseMs ?? LEASE_MS);
    await Promise.all(
      tasks.map((task) =>
        this.#take(task).catch((err: unknown) =>
          this.#parts.logger.warn({ proposal: task.id, err }, 'a preview was not kept; it is tried again'),
        ),
      ),
    );
    return tasks.length;
  }

  async #take({ id, claims }: PreviewTask): Promise<void> {
    const { store, tasks, logger, proposalKeys, policy, registry } = this.#parts;
    const record = await store.read(id);
    if (record === undefined || record.state.status !== 'pending') return tasks.drop(id);
    const judged = judgePreview({ record, proposalKeys, policy: policy.current, registry });
    if (!judged.ok) {
      // Whoever draws the card, or starts the call, meets the same and says it; here nothing is run for it.
      logger[judged.alarm ? 'error' : 'info']({ proposal: id, refusal: judged.refusal }, 'not previewed');
      return tasks.drop(id);
    }
    if (judged.tool.preview === undefined) return tasks.drop(id);
    const shown = claims > CLAIMS_MOST ? FAILED : await this.#preview(judged, judged.tool.preview);
    // What ended because we are ending is for another executor to try.
    if (this.#stopping.signal.aborted && shown === FAILED) return;
    const preview = sealPreview(proposalKeys[0], judged.sealed, shown);
    await tasks.keep(id, judged.sealed.termsDigest, preview, shown === FAILED);
  }

  /** Never rejects: what went wrong stays in the log, by name, because a tool's error may quote anything. */
  async #preview(
    { sealed, tool, args }: Judged,
    preview: NonNullable<ToolDefinition['preview']>,
  ): Promise<ShownPreview> {
    const limitMs = Math.min(tool.timeout, this.#parts.limitMs ?? PREVIEW_LIMIT_MS);
    const limit = new TimeLimit({ ms: limitMs, or: [this.#stopping.signal] });
    const { signal } = limit;
    const { terms } = sealed;
    const { tenant, environment } = terms.context;
    let credentials = new Credentials({});
    try {
      const scope = { tenant, environment, tool: tool.name, access: 'read' } as const;
      credentials = await limit.within(this.#parts.credentials.fetch(scope, signal));
      const run = { context: terms.context, credentials, signal, idempotencyKey: `preview-${terms.id}` };
      const said: unknown = await limit.within(preview(args, run));
      if (typeof said !== 'string') throw new TypeError('a preview is text');
      // Before it is cut, because half a secret is no longer recognised.
      const clean = scrub(scrub(said.toWellFormed(), credentials), redactedValues(tool, args));
      const points = [...clean];
      const cut = Math.max(0, points.length - PREVIEW_CHARACTERS);
      return { kind: 'text', text: cut === 0 ? clean : points.slice(0, PREVIEW_CHARACTERS).join(''), cut };
    } catch (error) {
      const failed = scrub(scrubbedError(error, credentials).name, redactedValues(tool, args));
      this.#parts.logger.warn({ proposal: terms.id, tool: tool.name, failed }, 'a preview failed');
      return FAILED;
    } finally {
      limit.release();
    }
  }

  #next(): void {
    if (this.#stopping.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#round = this.#outage.attempt(() => this.#rounds(), undefined).finally(() => this.#next());
    }, this.#parts.intervalMs ?? INTERVAL_MS);
  }

  async #rounds(): Promise<void> {
    while ((await this.round()) === AT_ONCE && !this.#stopping.signal.aborted);
  }
}

const FAILED: ShownPreview = { kind: 'failed' };
type Judged = StartJudgement & { ok: true };
