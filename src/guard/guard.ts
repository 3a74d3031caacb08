import type { AuditKind } from '../core/audit/audit-entry.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import {
  type CredentialProvider,
  type Credentials,
  CredentialsUnavailable,
} from '../core/execution/credentials.ts';
import { ToolRejected } from '../core/execution/tool-rejected.ts';
import type { SignedGrant } from '../core/grant/grant.ts';
import { grantRefusal } from '../core/grant/grant-judgement.ts';
import type { GrantStore } from '../core/grant/grant-store.ts';
import { CallContext, type CallContextInput } from '../core/identity/call-context.ts';
import { evaluate } from '../core/policy/evaluate.ts';
import { tenantOf } from '../core/policy/policy.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { Allow, RequireApproval } from '../core/policy/verdict.ts';
import type { ProposalRecord } from '../core/proposal/proposal.ts';
import {
  newProposalId,
  PROPOSAL_ID_RANDOM_BYTES,
  ProposalId,
  shardOfTenant,
} from '../core/proposal/proposal-id.ts';
import { type Created, type ProposalLimits, StoreUnavailable } from '../core/proposal/proposal-store.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import { type SealedTerms, sealTerms, unseal } from '../core/proposal/seal.ts';
import { scrub, scrubbedError, scrubJson } from '../core/secrets/scrub.ts';
import { describeScope } from '../core/switch/scope.ts';
import type { SwitchReading, WriteSwitch } from '../core/switch/write-switch.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import { resultFrom, toolDigest } from '../core/tool/tool.ts';
import { type FrozenArguments, freezeArguments } from '../core/tool/tool-call.ts';
import type { ToolRegistry } from '../core/tool/tool-registry.ts';
import { brief, visibleText } from '../core/tool/visible-text.ts';
import {
  CoolingDown,
  ExecutionFailed,
  InvalidArguments,
  PendingLimit,
  PermissionDenied,
  Unavailable,
  WritesDisabled,
} from './call-errors.ts';
import { type HandleParts, ProposalHandle } from './proposal-handle.ts';
import { available } from './store-answer.ts';
import { checkWait, limitOf, type WaitOptions } from './waiting.ts';

/** A tool call as an agent makes it. Nothing in it says who calls: that is the context's, from the host. */
export interface ToolCallInput {
  readonly tool: string;
  /** A plain value, or `{ json }` with the model's text as it came (then duplicate keys are seen). */
  readonly args: unknown;
  /** The agent's own words for people to read, at most 2,000 characters. Shown as the agent's, never believed. */
  readonly reason?: string;
  /** The same key and the same call join the same proposal; with different arguments it is a conflict. */
  readonly idempotencyKey?: string;
}

export interface GuardParts extends HandleParts {
  readonly policy: PolicyHolder;
  readonly registry: ToolRegistry;
  readonly writeSwitch: WriteSwitch;
  /** Where people may have allowed a call before it was made. Left out: every call asks them. */
  readonly grants?: Pick<GrantStore, 'openFor'>;
  readonly audit: AuditLog;
  /** Credentials for reads alone. The guard has none for writes. */
  readonly readCredentials: CredentialProvider;
  /** 0 to 1: which part of the reads that went well are in the log. Those that failed all are. */
  readonly readLogSample: number;
  readonly shards: number;
  readonly random: (bytes: number) => Uint8Array;
}

export const STATED_REASON_LIMIT = 2_000;
export const IDEMPOTENCY_KEY_LIMIT = 200;
/** Each try reads the switch anew; more flips than this while one proposal is made is not a race but a fault. */
const CREATE_TRIES = 5;
/** Grants that turned out to be used up, or ended, before people are asked after all. */
const GRANT_TRIES = 5;

/** The guard in front of every tool call: judges, runs allowed reads, and turns writes into proposals. */
export class Guard {
  readonly #parts: GuardParts;

  constructor(parts: GuardParts) {
    this.#parts = parts;
  }

  /**
   * Runs a read at once; proposes a write and waits for its result.
   * @throws CallError, always one of the classes in call-errors.ts
   */
  async call(call: ToolCallInput, context: CallContextInput, wait: WaitOptions = {}): Promise<unknown> {
    checkWait(wait);
    const judged = await this.#judge(call, context);
    if (judged.verdict.verdict === 'allow' && judged.verdict.basis === 'read')
      return this.#read(judged, wait);
    // Who has stopped waiting already is not asking for a write any more.
    wait.signal?.throwIfAborted();
    const handle = await this.#propose(judged, judged.verdict);
    return handle.result(wait);
  }

  /** Proposes a write without waiting. @throws CallError; PermissionDenied (`not_a_write`) for a read. */
  async propose(call: ToolCallInput, context: CallContextInput): Promise<ProposalHandle> {
    const judged = await this.#judge(call, context);
    if (judged.verdict.verdict === 'allow' && judged.verdict.basis === 'read') {
      throw new PermissionDenied(
        'not_a_write',
        `${judged.tool.name} only reads and needs no proposal; use call() for it.`,
      );
    }
    return this.#propose(judged, judged.verdict);
  }

  /**
   * Takes hold of a proposal again: after a restart, in another process.
   * @throws PermissionDenied where there is none, or it is another caller's: the two are not told apart.
   */
  async attach(id: string, context: CallContextInput): Promise<ProposalHandle> {
    const read = readContext(context);
    if (!read.ok) throw await this.#contextRefused(read);
    const caller = read.context;
    const proposal = ProposalId.safeParse(id);
    const record = proposal.success
      ? await available(() => this.#parts.store.readHeld(proposal.data))
      : undefined;
    const sealed = record && this.#opened(record);
    if (sealed === undefined || !sameCaller(sealed.terms.context, caller)) {
      throw new PermissionDenied('not_found', 'There is no such proposal of this agent and principal.');
    }
    return this.#handle(sealed);
  }

  #opened(record: ProposalRecord): SealedTerms | undefined {
    const opened = unseal(this.#parts.proposalKeys, record.termsText, record.seal);
    return opened.ok && opened.sealed.terms.id === record.id ? opened.sealed : undefined;
  }

  async #judge(input: ToolCallInput, contextInput: CallContextInput): Promise<Judged> {
    const read = readContext(contextInput);
    // Nothing is awaited before the arguments are frozen: the caller may change them meanwhile.
    if (!read.ok) throw await this.#contextRefused(read);
    const { context } = read;
    const { policy, registry } = this.#parts;
    const loaded = policy.current;
    // Read once: what a getter answers the second time, or the caller changes while this waits, was never checked.
    const { tool: named, args, reason, idempotencyKey } = input;
    const extras = { reason, idempotencyKey };
    const toolName = typeof named === 'string' ? named : '';
    const tool = registry.get(toolName);
    if (tool === undefined) {
      const shown = brief(toolName);
      await this.#note('call.forbidden', context, { tool: shown, reason: 'unknown_tool' });
      throw new PermissionDenied('unknown_tool', `There is no tool named "${shown}".`);
    }
    const unfit = issuesOf(extras);
    const frozen: FrozenArguments =
      unfit.length > 0 ? { ok: false, refusal: 'malformed', issues: unfit } : freezeArguments(tool, args);
    if (!frozen.ok) {
      await this.#note('call.malformed', context, {
        tool: tool.name,
        reason: frozen.refusal,
        issues: frozen.issues,
      });
      throw new InvalidArguments(frozen.refusal, frozen.issues);
    }
    const verdict = evaluate(loaded, { context, tool, toolName, args: frozen.value });
    if (verdict.verdict === 'forbid') {
      await this.#note('call.forbidden', context, {
        tool: tool.name,
        reason: verdict.reason,
        by: verdict.by,
        argumentsDigest: frozen.digest,
        policyVersion: loaded.version,
      });
      throw new PermissionDenied(verdict.reason, verdict.message);
    }
    return { extras, context, tool, frozen, verdict, policyVersion: loaded.version };
  }

  /** In no tenant's audit: who the caller is, is not known. */
  async #contextRefused({ fields, claimed }: ContextReading & { ok: false }): Promise<PermissionDenied> {
    await this.#note('call.forbidden', undefined, { reason: 'context_invalid', fields, claimed });
    return new PermissionDenied(
      'context_invalid',
      `The call's context is incomplete or malformed (${fields.join(', ')}); the host must take tenant, environment, agent, principal and run from its authenticated request.`,
    );
  }

  async #read(judged: Judged, wait: WaitOptions): Promise<unknown> {
    const { tool, context, frozen } = judged;
    const limit = limitOf(Math.min(tool.timeout, wait.timeout ?? tool.timeout), wait);
    const { signal } = limit;
    const { tenant, environment, agent, principal, run } = context;
    const entry = {
      tool: tool.name,
      tenant,
      environment,
      agent,
      principal,
      run,
      argumentsDigest: frozen.digest,
    };
    let credentials: Credentials | undefined;
    try {
      const fetched = await limit.within(
        this.#parts.readCredentials.fetch({ tenant, environment, tool: tool.name, access: 'read' }, signal),
      );
      credentials = fetched;
      const value = await limit.within(
        tool.execute(frozen.value, { context, credentials: fetched, signal, idempotencyKey: frozen.digest }),
      );
      const result = resultFrom(value, (json) => scrubJson(json, fetched));
      if (!result.ok) throw new Error('the tool answered with something that is not JSON');
      this.#noteRead(entry);
      return JSON.parse(result.json);
    } catch (thrown) {
      const cause = credentials ? scrubbedError(thrown, credentials) : beforeRead(thrown, signal);
      this.#parts.logger.warn({ ...entry, failed: errorName(cause) }, 'read failed');
      const rejected = credentials && rejectionOf(thrown, credentials);
      const said = rejected ?? errorName(cause);
      throw new ExecutionFailed(
        `${tool.name} could not be read: ${said}. It only reads, so trying once more is safe.`,
        {
          cause,
          retryable: true,
        },
      );
    } finally {
      limit.release();
    }
  }

  /** Of many reads that went well a part is enough, and each line says which part. */
  #noteRead(entry: Readonly<Record<string, unknown>>): void {
    const { readLogSample: sample, random, logger } = this.#parts;
    const drawn = sample === 1 ? 0 : Buffer.from(random(4)).readUInt32BE(0) / 2 ** 32;
    if (drawn < sample) logger.info(sample === 1 ? entry : { ...entry, sample }, 'read');
  }

  async #propose(judged: Judged, verdict: Allow | RequireApproval): Promise<ProposalHandle> {
    const { dispatch, logger } = this.#parts;
    const limits = this.#pendingLimits(judged.context);
    let standing = verdict;
    const unfit = new Set<string>();
    for (let attempt = 0; attempt < CREATE_TRIES + unfit.size; attempt += 1) {
      const reading = await available(() => this.#parts.writeSwitch.read(judged.context, judged.tool.name));
      if (reading.writes.state !== 'on') throw writesDisabled(reading.writes);
      const grant = await this.#grantFor(judged, standing, reading, unfit);
      const sealed = sealTerms(this.#parts.proposalKeys[0], this.#terms(judged, standing, reading, grant));
      const created = await available(() => this.#create(sealed, limits));
      switch (created.created) {
        case 'new': {
          const { id, deadline, basis } = sealed.terms;
          // A job that could not be added is found missing and added by the sweeper; the proposal stands.
          await (basis.kind === 'people'
            ? dispatch.schedule(id, deadline - reading.now)
            : dispatch.wake(id)
          ).catch((err: unknown) =>
            logger.warn({ err, proposal: id }, 'no job yet; the sweeper will add it'),
          );
          return this.#handle(sealed);
        }
        case 'joined': {
          const standing = this.#opened(created.record);
          // The store said which one it is, and the store is not believed: its result would be another caller's.
          if (standing === undefined || !isSameCall(standing.terms, sealed.terms)) {
            const detail = { alarm: 'joined_another', joined: created.record.id };
            await this.#note('alarm.raised', judged.context, detail);
            throw new Unavailable(
              'The proposal that this call would join is damaged. Nothing was done. Tell an operator.',
              { retryable: false },
            );
          }
          return this.#handle(standing);
        }
        case 'conflict':
          throw new InvalidArguments(
            'idempotency_conflict',
            ['this idempotency key was used for a different call'],
            created.id,
          );
        case 'writes_off':
          throw writesDisabled(
            created.entry === undefined
              ? { state: 'closed', why: 'permit_lapsed' }
              : { state: 'off', entry: created.entry },
          );
        case 'over_budget':
          standing = peopleInstead(standing, created.retryAfterMs);
          break;
        case 'budget_missing':
          throw new Unavailable(
            'The budget counter of this tool is damaged, and a missing count is not zero.',
          );
        case 'grant_missing':
          await this.#note('alarm.raised', judged.context, {
            alarm: 'grant_missing',
            grant: grant?.statement.grant,
          });
          if (grant !== undefined) unfit.add(grant.signature);
          break;
        case 'grant_void':
        case 'grant_expired':
        case 'grant_spent':
          // Not this one any more: another one, or people.
          if (grant !== undefined) unfit.add(grant.signature);
          break;
        case 'audit_behind':
          throw new Unavailable(
            `The audit is not being sealed (${created.unsealed} entries wait), and what cannot be recorded is not done. Nothing was proposed. Tell an operator; try again once it is.`,
          );
        case 'too_many_pending':
          throw new PendingLimit(
            `There are already ${created.limit} proposals waiting for people. Wait until some are decided, or withdraw some.`,
          );
        case 'cooling_down':
          throw coolingDown(created.record, created.retryAfterMs);
        case 'stale_terms':
          break;
      }
    }
    throw new Unavailable(
      'The switch kept changing while this was proposed. Nothing was proposed; try again later.',
    );
  }

  /** The same terms again make nothing twice, so an answer that was lost is asked for once more. */
  async #create(sealed: SealedTerms, limits: ProposalLimits): Promise<Created> {
    const { store } = this.#parts;
    const { id } = sealed.terms;
    try {
      return await store.create(sealed, limits);
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
    }
    try {
      const again = await store.create(sealed, limits);
      const ours = again.created === 'joined' && again.record.id === id;
      return ours ? { created: 'new', record: again.record } : again;
    } catch (cause) {
      if (!(cause instanceof StoreUnavailable)) throw cause;
      throw new Unavailable(
        `Whether this call was proposed is not known: the store stopped answering. If it was, it stands as ${id}. Ask for the result of ${id} before you call again, or it may be done twice.`,
        { proposal: id, cause },
      );
    }
  }

  /**
   * What somebody allowed before and covers this call, or undefined: then people are asked. Not believed here: the grant
   * goes into the terms as it is, and the executor checks its signature.
   */
  async #grantFor(
    judged: Judged,
    verdict: Allow | RequireApproval,
    reading: SwitchReading,
    unfit: ReadonlySet<string>,
  ): Promise<SignedGrant | undefined> {
    const { grants } = this.#parts;
    const { context, tool, frozen } = judged;
    const askable = verdict.verdict === 'require_approval' && verdict.rule.grants !== undefined;
    if (grants === undefined || !askable || unfit.size >= GRANT_TRIES) return undefined;
    const open = await available(() => grants.openFor(context, tool.name, reading.now));
    const team = tenantOf(this.#parts.policy.current, context.tenant)?.slack.team;
    const call = { context, tool, args: frozen.value, verdict, team, now: reading.now };
    return open.find(
      (grant) => !unfit.has(grant.signature) && grantRefusal(grant.statement, call) === undefined,
    );
  }

  #terms(
    judged: Judged,
    verdict: Allow | RequireApproval,
    reading: SwitchReading,
    grant: SignedGrant | undefined,
  ): ProposalTerms {
    const { extras, context, tool, frozen, policyVersion } = judged;
    const { shards, random } = this.#parts;
    const shard = shardOfTenant(context.tenant, shards);
    return {
      v: 1,
      id: newProposalId(shard, random(PROPOSAL_ID_RANDOM_BYTES)),
      nonce: Buffer.from(random(16)).toString('hex'),
      tool: tool.name,
      toolDigest: toolDigest(tool),
      arguments: frozen.canonical,
      argumentsDigest: frozen.digest,
      context,
      policyVersion,
      ...basisOf(verdict, grant),
      ...(extras.reason === undefined ? {} : { statedReason: extras.reason }),
      ...(extras.idempotencyKey === undefined ? {} : { idempotencyKey: extras.idempotencyKey }),
      switchEpoch: reading.epoch,
      createdAt: reading.now,
      deadline:
        reading.now + (verdict.verdict === 'allow' ? POLICY_START_WITHIN_MS : verdict.rule.expiresInMs),
    };
  }

  #pendingLimits({ tenant }: CallContext): ProposalLimits {
    const limits = tenantOf(this.#parts.policy.current, tenant)?.limits;
    // A reload took the tenant away since the verdict: what is asked now is refused.
    if (limits === undefined)
      throw new PermissionDenied('unknown_tenant', 'The policy no longer has this tenant.');
    return {
      pendingPerAgent: limits.pending_per_agent,
      pendingPerTenant: limits.pending_per_tenant,
      cooldownMs: limits.cooldown,
    };
  }

  #handle(sealed: SealedTerms): ProposalHandle {
    return new ProposalHandle(sealed, this.#parts);
  }

  /** A refusal stands whether or not it could be audited; that it could not is said loudly. */
  async #note(
    kind: AuditKind,
    context: CallContext | undefined,
    detail: Record<string, unknown>,
  ): Promise<void> {
    const { tenant, ...caller } = context ?? {};
    const entry = { ...detail, ...caller };
    this.#parts.logger.warn({ tenant, ...entry }, kind);
    try {
      await this.#parts.audit.append({ kind, tenant, detail: entry });
    } catch (err) {
      this.#parts.logger.error({ err, kind, tenant }, 'a refused call could not be audited');
    }
  }
}

interface Extras {
  readonly reason: string | undefined;
  readonly idempotencyKey: string | undefined;
}

interface Judged {
  readonly extras: Extras;
  readonly context: CallContext;
  readonly tool: ToolDefinition;
  readonly frozen: FrozenArguments & { ok: true };
  readonly verdict: Allow | RequireApproval;
  readonly policyVersion: string;
}

/** Time for an automatically approved call to be started. */
const POLICY_START_WITHIN_MS = 5 * 60_000;

function basisOf(
  verdict: Allow | RequireApproval,
  grant: SignedGrant | undefined,
): Pick<ProposalTerms, 'basis' | 'startWithinMs'> {
  if (verdict.verdict === 'require_approval') {
    const { by, why, rule } = verdict;
    if (grant !== undefined) {
      return { basis: { kind: 'grant', by, why, rule, grant }, startWithinMs: rule.startWithinMs };
    }
    return { basis: { kind: 'people', by, why, rule }, startWithinMs: rule.startWithinMs };
  }
  const { by, budget } = verdict;
  return {
    basis: {
      kind: 'policy',
      by,
      ...(budget === undefined
        ? {}
        : { budget: { counterKey: budget.counterKey, max: budget.max, perMs: budget.perMs } }),
    },
    startWithinMs: POLICY_START_WITHIN_MS,
  };
}

/** A budget that is spent takes the automatic approval away; people can still say yes, where the policy names any. */
function peopleInstead(verdict: Allow | RequireApproval, retryAfterMs: number): RequireApproval {
  if (verdict.verdict === 'allow' && verdict.whenSpent !== undefined) return verdict.whenSpent;
  throw new PendingLimit(
    `The budget for automatic approval is spent. Try again in ${Math.ceil(retryAfterMs / 1000)} seconds.`,
  );
}

type ContextReading =
  | { readonly ok: true; readonly context: CallContext }
  | {
      readonly ok: false;
      /** Which of its fields are missing or malformed; `context`: it as a whole. */
      readonly fields: readonly string[];
      readonly claimed: Readonly<Record<string, string>>;
    };

function readContext(input: unknown): ContextReading {
  try {
    const parsed = CallContext.safeParse(input);
    if (parsed.success) return { ok: true, context: parsed.data };
    const fields = [...new Set(parsed.error.issues.map((issue) => issue.path.join('.') || 'context'))];
    return { ok: false, fields, claimed: claimedIn(input) };
  } catch {
    return { ok: false, fields: ['context'], claimed: {} };
  }
}

/** For whoever has to find out which host calls like this. */
function claimedIn(input: unknown): Record<string, string> {
  if (typeof input !== 'object' || input === null) return {};
  const claims = Object.keys(CallContext.shape).map((field) => [field, Reflect.get(input, field)] as const);
  return Object.fromEntries(
    claims.flatMap(([field, claim]) => (typeof claim === 'string' ? [[field, brief(claim)]] : [])),
  );
}

function issuesOf({ reason, idempotencyKey: key }: Extras): string[] {
  const issues: string[] = [];
  if (reason !== undefined && (typeof reason !== 'string' || reason.length > STATED_REASON_LIMIT)) {
    issues.push(`reason must be text of at most ${STATED_REASON_LIMIT} characters`);
  } else if (reason !== undefined && !reason.isWellFormed()) {
    issues.push('reason has half a surrogate pair');
  }
  if (key !== undefined && (typeof key !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(key))) {
    issues.push(
      `idempotencyKey must be 1 to ${IDEMPOTENCY_KEY_LIMIT} printable ASCII characters without spaces`,
    );
  }
  return issues;
}

/** What makes a second call the same one under one idempotency key. Another run may ask for it again. */
function isSameCall(standing: ProposalTerms, asked: ProposalTerms): boolean {
  return (
    sameCaller(standing.context, asked.context) &&
    standing.tool === asked.tool &&
    standing.argumentsDigest === asked.argumentsDigest &&
    standing.idempotencyKey === asked.idempotencyKey
  );
}

function sameCaller(a: CallContext, b: CallContext): boolean {
  return (
    a.tenant === b.tenant &&
    a.environment === b.environment &&
    a.agent === b.agent &&
    a.principal === b.principal
  );
}

function writesDisabled(writes: Exclude<SwitchReading['writes'], { state: 'on' }>): WritesDisabled {
  if (writes.state === 'closed') {
    const why = {
      never_armed: 'nobody has turned them on yet',
      permit_lapsed: 'no approval service is alive to hear "off"',
      unreadable: 'the switch cannot be read',
    }[writes.why];
    return new WritesDisabled(
      `Writes are off: ${why}. Nothing was proposed. Reads still work. Try again later; do not look for another way.`,
    );
  }
  const { entry } = writes;
  const why = entry.why === undefined ? '' : ` ("${visibleText(entry.why).text}")`;
  return new WritesDisabled(
    `${entry.by} turned agent writes off for ${describeScope(entry.scope)}${why}. Nothing was proposed. Reads still work. Wait until people turn writes on again; do not look for another way.`,
  );
}

function coolingDown({ id, state }: ProposalRecord, retryAfterMs: number): CoolingDown {
  // The store says that people denied it, and asking them again is what it keeps us from: no harm in believing it.
  const denial = state.status === 'denied' ? state.denial.statement : undefined;
  const why = denial?.reason === undefined ? undefined : visibleText(denial.reason).text;
  return new CoolingDown(id, denial?.person ?? 'A person', why, retryAfterMs);
}

function errorName({ name }: Error): string {
  return visibleText(name).text.slice(0, 64);
}

/** What a provider throws may quote the secret that it did not hand out: nothing but its own refusal is known not to. */
function beforeRead(thrown: unknown, signal: AbortSignal): Error {
  if (thrown instanceof CredentialsUnavailable) return thrown;
  if (signal.aborted && thrown === signal.reason && thrown instanceof Error) return thrown;
  return new CredentialsUnavailable('the credential provider failed');
}

const SAID_MAX_LENGTH = 500;

/** A tool's own refusal is meant for the caller; of any other error the name is enough. */
function rejectionOf(thrown: unknown, credentials: Credentials): string | undefined {
  try {
    if (!(thrown instanceof ToolRejected)) return undefined;
    const said = scrub(`${String(thrown.code)}, ${String(thrown.message)}`, credentials);
    return visibleText(said.slice(0, SAID_MAX_LENGTH)).text;
  } catch {
    return undefined;
  }
}
