import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { z } from 'zod';
import type { AccountEmail, Entitlement } from '../../src/core/approval/approver-directory.ts';
import { Attester } from '../../src/core/approval/attester.ts';
import type { SignedDecision } from '../../src/core/approval/decision.ts';
import { type Click, DecisionDesk } from '../../src/core/approval/decision-desk.ts';
import { EditDesk } from '../../src/core/approval/edit-desk.ts';
import { Credentials } from '../../src/core/execution/credentials.ts';
import type { Dispatch } from '../../src/core/execution/dispatch.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import type { GrantId } from '../../src/core/grant/grant.ts';
import { GrantDesk } from '../../src/core/grant/grant-desk.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { type PersonId, slackIdsOf, type TenantId } from '../../src/core/identity/ids.ts';
import { tenantOf } from '../../src/core/policy/policy.ts';
import { loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import { EndedProposals } from '../../src/core/proposal/ended-proposals.ts';
import { type ProposalId, shardOfProposal } from '../../src/core/proposal/proposal-id.ts';
import { SwitchScope, scopeKey, scopeOfKey } from '../../src/core/switch/scope.ts';
import { digestOf } from '../../src/core/tool/digest.ts';
import { defineTool, type ToolRun } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { Guard } from '../../src/guard/guard.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { DispatchBullMQ } from '../../src/queue/dispatch-bullmq.ts';
import { Execution } from '../../src/queue/execution.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { GrantStoreRedis } from '../../src/redis/grant-store-redis.ts';
import { proposalKey, shardKey } from '../../src/redis/keys.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { drawnFrom } from '../faults/seeded.ts';
import { testKeys } from '../sealed-terms.ts';
import { BUDGET, humanOf, type Mark, PENDING_PER_AGENT, PENDING_PER_TENANT } from './model.ts';
import type { Sequence } from './steps.ts';
import { Cable, type Line, Traffic, Wire } from './traffic.ts';

/** What a sequence happens in: a few processes with memories of their own, people, tools that count, and one Redis. */

/** D of the switch and of the executors. Short, since each `off` sleeps it. */
const START_DEADLINE_MS = 80;
const PATIENCE_MS = 10_000;
export const PARTS = 3;

const POLICY = `
version: 1
tools: { allow: [ticket.close, db.write, ticket.create, ticket.label] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close, db.write]
  defaults:
    approvers: ["user:U0ANA", "user:U0ANA2", "user:U0BEN", "user:U0CLEO", "user:U0RITA"]
    expires_in: 10m
  rules:
    - { tools: [ticket.close], edit: true }
    - { tools: [db.write], quorum: 2, edit: true }
    - { tools: [ticket.label], grants: { max_uses: 2, for: 1h } }
auto_approve:
  - { tools: [ticket.create], budget: { max: ${BUDGET}, per: 1h, by: [tenant] } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production, staging]
    limits: { pending_per_agent: ${PENDING_PER_AGENT}, pending_per_tenant: ${PENDING_PER_TENANT} }
  initech:
    slack: { team: T0INITECH, channel: C0INITECH }
    environments: [production]
switch: { operators: ["user:U0CHEN"], arming: { operators: ["user:U0LEAD"] } }
`;

/** Of these, U0ANA2 is a second account of U0ANA, U0RITA asks for most calls, and U0DAN decides nothing. */
export const USERS = ['U0ANA', 'U0BEN', 'U0CLEO', 'U0ANA2', 'U0RITA', 'U0DAN'] as const;
export type User = (typeof USERS)[number];

export const CALLERS: readonly Omit<CallContextInput, 'run'>[] = [
  { tenant: 'acme', environment: 'production', agent: 'support-bot', principal: 'slack:T0ACME/U0RITA' },
  { tenant: 'acme', environment: 'staging', agent: 'support-bot', principal: 'slack:T0ACME/U0RITA' },
  { tenant: 'acme', environment: 'production', agent: 'triage-bot', principal: 'slack:T0ACME/U0ANA' },
  { tenant: 'initech', environment: 'production', agent: 'support-bot', principal: 'slack:T0INITECH/U0RITA' },
];
export const TOOL_NAMES = ['ticket.close', 'db.write', 'ticket.create', 'ticket.label'] as const;
export type ToolName = (typeof TOOL_NAMES)[number];
export const ENDINGS = ['succeeds', 'is rejected', 'throws', 'hangs'] as const;

export const SCOPES: readonly SwitchScope[] = [
  {},
  { tenant: 'acme' },
  { environment: 'production' },
  { tool: 'ticket.close' },
  { agent: 'support-bot' },
  { tenant: 'acme', tool: 'db.write' },
].map((scope) => SwitchScope.parse(scope));

const worlds = new Map<string, World>();
const tools = TOOL_NAMES.map((name) =>
  defineTool({
    name,
    description: 'Counts its runs.',
    effect: 'write',
    timeout: 15 * 60_000,
    input: z.strictObject({ ticket: z.string(), ending: z.enum(ENDINGS) }),
    execute: ({ ending }, run) => worlds.get(run.context.run)?.ran(run, ending),
  }),
);
const registry = new ToolRegistry(tools);
const policy = new PolicyHolder(loadPolicyOrThrow(POLICY, { tools, fileName: 'policy' }));
const logger = pino({ level: 'silent' });
const SHOWN = digestOf('card', 'the whole of it');

/** All that one process holds; what it remembers is gone with it. */
export class Part {
  readonly name: string;
  readonly wire: Line;
  readonly dispatch: Dispatch;
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly grants: GrantStoreRedis;
  readonly guard: Guard;
  readonly desk: DecisionDesk;
  readonly editDesk: EditDesk;
  readonly grantDesk: GrantDesk;
  readonly attester: Attester;
  readonly sweeper: Sweeper;
  readonly execution: Execution;
  readonly #queued: { readonly worker: ExecutionWorker; readonly dispatch: DispatchBullMQ } | undefined;

  constructor(
    name: string,
    world: World,
    { startDeadlineMs, cable }: { startDeadlineMs: number; cable: World['cable'] },
  ) {
    const { shards } = world;
    this.name = name;
    this.wire = cable === undefined ? new Wire(world.traffic) : new Cable(cable);
    const queue = cable && new DispatchBullMQ({ connection: this.wire, shards });
    const dispatch: Dispatch = {
      schedule: async (id, delayMs) => {
        world.jobs.push(id);
        await queue?.schedule(id, delayMs);
      },
      wake: async (id) => {
        world.jobs.push(id);
        await queue?.wake(id);
      },
    };
    this.dispatch = dispatch;
    const parts = { redis: this.wire, shards, keys: [testKeys.proposal] as const };
    const store = new ProposalStoreRedis(parts);
    const writeSwitch = new WriteSwitchRedis({ ...parts, startDeadlineMs: START_DEADLINE_MS });
    const grants = new GrantStoreRedis(parts);
    const audit = new AuditLogRedis(parts);
    const ended = new EndedProposals();
    const keys = {
      proposal: parts.keys,
      approval: { signing: testKeys.approvalPrivate, genuine: [testKeys.approvalPublic] as const },
    };
    const placeOf = (tenant: TenantId) => tenantOf(policy.current, tenant)?.slack;
    const toolOf = (tool: string) => registry.get(tool);
    const attester = new Attester({ store, ended, directory: world, keys, placeOf });
    const desk = new DecisionDesk({
      ...{ store, ended, audit, dispatch, directory: world, keys, placeOf },
      mayDecideIn: async () => 'yes',
      sightsOf: () => ({ card: SHOWN, cardIsWhole: true, review: SHOWN }),
      attest: (sealed, approvers, at) => attester.attest(sealed, approvers, at),
      // The sweeps make it good.
      onWakeFailed: () => {},
    });
    this.store = store;
    this.writeSwitch = writeSwitch;
    this.grants = grants;
    this.attester = attester;
    this.desk = desk;
    this.editDesk = new EditDesk({
      ...{ desk, store, audit, dispatch, writeSwitch, policy, toolOf },
      proposalKeys: parts.keys,
      random: randomBytes,
      onDispatchFailed: () => {},
    });
    this.grantDesk = new GrantDesk({
      ...{ desk, grants, store, policy, toolOf },
      key: testKeys.approvalPrivate,
      shownOf: () => SHOWN,
    });
    this.guard = new Guard({
      ...{ policy, registry, writeSwitch, grants, audit, store, dispatch, shards, logger },
      proposalKeys: parts.keys,
      // Nobody waits in a sequence: what an agent is told in the end is what the record says.
      waiter: { waitFor: () => new Promise(() => {}) },
      readCredentials: { fetch: async () => new Credentials({}) },
      readLogSample: 1,
      closing: new AbortController().signal,
      random: randomBytes,
    });
    this.sweeper = new Sweeper({ store, dispatch, logger });
    const executor = {
      ...{ store, switch: writeSwitch, registry, policy, logger, startDeadlineMs },
      keys: { proposal: parts.keys, approval: [testKeys.approvalPublic] },
      // By its credentials the tool knows whose it is.
      credentials: { fetch: async () => new Credentials({ executor: name }) },
      executorId: name,
      leaseMs: 60 * 60_000,
    };
    this.execution = new Execution(executor);
    if (queue === undefined) return;
    const worker = new ExecutionWorker({ ...executor, dispatch, connection: this.wire, shards });
    worker.start();
    this.#queued = { worker, dispatch: queue };
  }

  /** Whether proposals are looked at by jobs of a real queue. */
  get queued(): boolean {
    return this.#queued !== undefined;
  }

  /** What goes on by itself ends: an `off` that was not confirmed, and what its worker has in hand. */
  async stop(): Promise<void> {
    await this.writeSwitch.stop();
    await this.#queued?.worker.stop();
    await this.#queued?.dispatch.close();
  }

  click(proposal: ProposalId, user: User, team: string, decision: 'approve' | 'deny'): Click {
    return {
      ...{ proposal, decision },
      user: { id: user, team },
      workspace: { team, enterprise: undefined },
      card: 'home',
      sight: { on: 'card', shown: SHOWN },
      reason: 'as agreed',
    };
  }
}

/** What somebody was told, or a tool did, in the order in which it happened here. */
export type Told =
  | { readonly is: 'started'; readonly admission: string }
  | { readonly is: 'proposed'; readonly proposal: ProposalId }
  | {
      readonly is: 'approved' | 'denied';
      readonly proposal: ProposalId;
      readonly person: PersonId;
      readonly settled: boolean;
    }
  | {
      readonly is: 'not counted';
      readonly proposal: ProposalId;
      readonly refusal: string;
      readonly person: PersonId;
      readonly decision: 'approve' | 'deny';
    }
  | { readonly is: 'withdrawn'; readonly proposal: ProposalId }
  | { readonly is: 'edited'; readonly proposal: ProposalId; readonly to: ProposalId }
  | { readonly is: 'granted'; readonly grant: GrantId }
  | { readonly is: 'grant revoked'; readonly grant: GrantId }
  | { readonly is: 'ended'; readonly proposal: ProposalId; readonly status: string }
  | {
      readonly is: 'off';
      readonly scope: string;
      readonly epoch: number;
      readonly halted: readonly ProposalId[];
    }
  | { readonly is: 'on'; readonly scope: string; readonly epoch: number; readonly expected: number };

interface HeldCall {
  readonly executor: string;
  /** Its attempt; never, where the process died. */
  readonly over: Promise<unknown>;
  end(ending: (typeof ENDINGS)[number]): void;
}

/** In whose attempt a tool runs. */
const inAttempt = new AsyncLocalStorage<InAttempt>();

interface InAttempt {
  hangs(): void;
  over: Promise<unknown>;
}

let worldsMade = 0;

export class World {
  readonly shards: number;
  readonly callers: readonly number[];
  readonly tools: readonly number[];
  readonly redis: Redis;
  readonly traffic: Traffic;
  readonly name: string;
  readonly parts: Part[];
  readonly everyPart: Part[] = [];
  readonly marks: Mark[] = [];
  readonly told: Told[] = [];
  readonly held: HeldCall[] = [];
  readonly proposals: { id: ProposalId; handle: ProposalHandle; team: string }[] = [];
  readonly decisions: SignedDecision[] = [];
  readonly grants: GrantId[] = [];
  /** Who is in no list of approvers any more, just now and ever. */
  readonly left = new Set<string>();
  readonly everLeft = new Set<string>();
  readonly jobs: ProposalId[] = [];
  /** The sequence is over: no call goes on for long any more. */
  ending = false;
  readonly #clock: Wire;
  /** Where each process has a connection and a worker of its own, and jobs go through the real queue. */
  readonly cable: { readonly path: string; readonly db: number } | undefined;
  readonly #retired: Promise<void>[] = [];

  constructor(
    redis: Redis,
    { order, shards, callers, tools }: Pick<Sequence, 'order' | 'shards' | 'callers' | 'tools'>,
    cable?: World['cable'],
  ) {
    this.cable = cable;
    this.redis = redis;
    this.shards = shards;
    this.callers = callers;
    this.tools = tools;
    this.traffic = new Traffic({ redis, drawn: drawnFrom(order), slowMs: START_DEADLINE_MS + 10 });
    this.#clock = new Wire(this.traffic);
    worldsMade += 1;
    this.name = `run-${worldsMade}`;
    worlds.set(this.name, this);
    this.parts = Array.from({ length: PARTS }, () => this.#newPart());
  }

  /** One to whom no admission is too slow: for when nobody turns anything off any more. */
  patientPart(): Part {
    return this.#newPart({ startDeadlineMs: PATIENCE_MS, cable: undefined });
  }

  #newPart(options = { startDeadlineMs: START_DEADLINE_MS, cable: this.cable }): Part {
    const part = new Part(`part-${this.everyPart.length}`, this, options);
    this.everyPart.push(part);
    return part;
  }

  part(index: number): Part {
    const place = index % PARTS;
    const part = this.parts[place];
    if (part !== undefined && !part.wire.dead) return part;
    const fresh = this.#newPart();
    this.parts[place] = fresh;
    return fresh;
  }

  isAlive(executor: string): boolean {
    return this.everyPart.some(({ name, wire }) => name === executor && !wire.dead);
  }

  /** As after SIGKILL: what it was doing is cut off where it is, and a new one takes its place. */
  restart(index: number): void {
    const part = this.part(index);
    part.wire.die();
    // A worker of a real queue cannot be cut off inside of our own process: it stops, as after SIGTERM.
    if (part.queued) this.#retired.push(this.#stop(part));
    this.part(index);
  }

  async #stop(part: Part): Promise<void> {
    for (const call of this.held) if (call.executor === part.name) call.end('throws');
    await part.stop();
    if (part.queued) part.wire.disconnect();
  }

  /** Nothing goes on by itself any more. */
  async quiet(): Promise<void> {
    await Promise.all(this.#retired);
    this.ending = this.cable !== undefined;
    await Promise.all(this.parts.map((part) => (part.queued ? this.#stop(part) : part.stop())));
  }

  close(): void {
    this.#clock.die();
    for (const { wire } of this.everyPart) wire.die();
    for (const part of this.everyPart) part.stop().catch(() => {});
    if (this.cable !== undefined) for (const { wire } of this.everyPart) wire.disconnect();
    worlds.delete(this.name);
  }

  /** An attempt: over, or in the middle of a call that goes on until it is told to end. */
  async attempt(part: Part, id: ProposalId): Promise<void> {
    if (part.queued) return part.dispatch.wake(id);
    let hangs = () => {};
    const held = new Promise<void>((resolve) => {
      hangs = resolve;
    });
    const attempt: InAttempt = { hangs, over: part.wire.death };
    const attempted = inAttempt.run(attempt, () => part.execution.attempt(id));
    const told = attempted.then((answer) => {
      if (answer.next === 'done') this.told.push({ is: 'ended', proposal: id, status: answer.status });
    });
    attempt.over = Promise.race([told, part.wire.death]);
    // Looked at by whoever ends the call.
    attempt.over.catch(() => {});
    await Promise.race([attempt.over, held]);
  }

  async ran(run: ToolRun, ending: (typeof ENDINGS)[number]): Promise<unknown> {
    this.told.push({ is: 'started', admission: run.idempotencyKey });
    let how = ending;
    if (ending === 'hangs' && !this.ending) {
      how = await new Promise((end) => {
        // Of a job's attempt nobody knows when it is over.
        const attempt = inAttempt.getStore() ?? { hangs() {}, over: Promise.resolve() };
        this.held.push({ executor: run.credentials.get('executor'), end, over: attempt.over });
        attempt.hangs();
      });
    }
    if (how === 'is rejected') throw new ToolRejected('no', 'the system said no');
    if (how === 'throws') throw new Error('the system said nothing');
    return { done: true };
  }

  // People, as a directory tells of them -----------------------------------------------------------------------

  async entitlementOf(person: PersonId, entries: readonly string[], team: string): Promise<Entitlement> {
    const { user, team: own } = slackIdsOf(person);
    const as = `user:${user}`;
    const named = own === team && entries.includes(as) && !this.left.has(user);
    return named ? { ok: true, as } : { ok: false, refusal: 'not_an_approver' };
  }

  async emailOf(person: PersonId): Promise<AccountEmail> {
    return { ok: true, email: `${humanOf(slackIdsOf(person).user).toLowerCase()}@example.com` };
  }

  // Time ----------------------------------------------------------------------------------------------------------

  /** What this proposal waits for is over now: the time to decide, to start, or to hear from its executor. */
  async leap(id: ProposalId): Promise<void> {
    const shard = shardOfProposal(id);
    const keys = [shardKey(shard, 'audit'), proposalKey(id)];
    const said = await this.#clock.eval(LEAP, keys.length, ...keys, id, `{s${shard}}:`);
    const [status, after] = z.tuple([z.string(), z.string()]).parse(said);
    this.marks.push({ is: 'late', shard, after, proposal: id, status });
  }

  /** Nobody has renewed the permits for as long as they live. */
  async lapsePermits(): Promise<void> {
    await this.#markEachShard('permits lapsed', "redis.call('DEL', KEYS[2])");
  }

  /** Renewing writes no entry: it happened somewhere between these two marks. */
  async renewPermits(part: Part): Promise<void> {
    await this.#markEachShard('a renewal begins');
    await part.writeSwitch.renewPermits();
    await this.#markEachShard('a renewal is over');
  }

  async #markEachShard(is: Exclude<Mark['is'], 'late'>, lua = ''): Promise<void> {
    for (let shard = 0; shard < this.shards; shard += 1) {
      const keys = [shardKey(shard, 'audit'), shardKey(shard, 'armed')];
      const last = await this.#clock.eval(`${lua}\n${LAST_ENTRY}\nreturn last`, keys.length, ...keys);
      this.marks.push({ is, shard, after: z.string().parse(last) });
    }
  }

  lastOff(): { scope: SwitchScope; key: string } {
    const off = this.told.findLast((told) => told.is === 'off');
    return off === undefined ? this.scopeNamed(0) : { scope: scopeOfKey(off.scope), key: off.scope };
  }

  scopeNamed(index: number): { scope: SwitchScope; key: string } {
    const scope = SCOPES[index % SCOPES.length] ?? {};
    return { scope, key: scopeKey(scope) };
  }
}

const LAST_ENTRY = `
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and newest[1][1] or ''
`;

const LEAP = `${LAST_ENTRY}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local of = redis.call('HMGET', KEYS[2], 'status', 'tenant', 'agent')
local limits = { pending = 'deadline', approved = 'startBefore', executing = 'leaseUntil' }
local names = { pending = 'pending', approved = 'ready', executing = 'executing' }
local status = of[1] or ''
if limits[status] then
  redis.call('HSET', KEYS[2], limits[status], now)
  local name = names[status]
  for _, key in ipairs({ name, 'tenant:' .. of[2] .. ':' .. name, 'agent:' .. of[2] .. ':' .. of[3] .. ':' .. name }) do
    redis.call('ZADD', ARGV[2] .. key, 'XX', now, ARGV[1])
  end
end
return { status, last }
`;
