import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterEach, beforeEach } from 'vitest';
import { z } from 'zod';
import { type ApprovalPrivateKey, publicKeyFor } from '../../src/core/approval/decision.ts';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { patternOf } from '../../src/core/grant/argument-pattern.ts';
import { type GrantStatement, grantIdOf, type SignedGrant, signGrant } from '../../src/core/grant/grant.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import { proposalKeyOf, type SealedTerms, unseal } from '../../src/core/proposal/seal.ts';
import { parseStrictJson } from '../../src/core/tool/strict-json.ts';
import { defineTool, type ToolDefinition } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { DispatchBullMQ } from '../../src/queue/dispatch-bullmq.ts';
import { Execution } from '../../src/queue/execution.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { GrantStoreRedis } from '../../src/redis/grant-store-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import type { RedisForTests } from '../redis-for-tests.ts';
import { ANA, signedDecision } from '../sealed-terms.ts';

export const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};

export const POLICY = `
version: 1
tools: { allow: [ticket.label, ticket.tag, db.drop] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["user:U0ANA", "user:U0BEN"], expires_in: 10m, reason: { deny: required } }
  rules:
    - tools: [ticket.label, ticket.tag]
      grants: { max_uses: 20, for: 1h }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACMEAPP }
    environments: [production, staging]
    limits: { pending_per_agent: 100 }
  globex:
    slack: { team: T0GLOBEX, channel: C0GLOBEX }
    environments: [production]
switch: { operators: ["user:U0CHEN"], arming: { operators: ["user:U0LEAD"] } }
`;

export const key = randomBytes(32);
const approvalKey = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
export const keys = {
  proposal: proposalKeyOf(key),
  approvalPrivate: approvalKey,
  approvalPublic: publicKeyFor(approvalKey),
};

/** What a policy's tools do is noted, and nothing else happens. */
export function toolsNoting(ran: unknown[], labelled: { irreversible?: boolean; description?: string } = {}) {
  const label = (name: string, more: typeof labelled = {}) =>
    defineTool({
      name,
      description: more.description ?? 'Puts a label on a ticket.',
      effect: 'write',
      irreversible: more.irreversible ?? false,
      input: z.strictObject({
        ticket: z.string(),
        label: z.string(),
        options: z.strictObject({ notify: z.boolean(), list: z.array(z.string()) }).optional(),
      }),
      execute: (args) => {
        ran.push(args);
        return { labelled: args.ticket };
      },
    });
  const drop = defineTool({
    name: 'db.drop',
    description: 'Drops a database.',
    effect: 'write',
    irreversible: true,
    input: z.strictObject({ name: z.string() }),
    execute: (args) => {
      ran.push(args);
    },
  });
  return [label('ticket.label', labelled), label('ticket.tag'), drop];
}

export interface GrantsWorld {
  readonly redis: Redis;
  readonly guard: OpenGuard;
  readonly store: ProposalStoreRedis;
  readonly grants: GrantStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly audit: AuditLogRedis;
  readonly dispatch: DispatchBullMQ;
  readonly tools: ToolDefinition[];
  /** What has run, by its arguments. */
  readonly ran: unknown[];
  readonly policy: PolicyHolder;
  /** Starts an executor; each has its own memory. */
  executor(change?: { tools?: ToolDefinition[]; policy?: PolicyHolder }): Promise<void>;
  execution(change?: { tools?: ToolDefinition[]; policy?: PolicyHolder }): Execution;
  guardWith(change: { tools?: ToolDefinition[]; policy?: PolicyHolder }): OpenGuard;
  /** What a person sees and approves: the sealed terms of a proposal. */
  sealed(handle: ProposalHandle): Promise<SealedTerms>;
  /** Approves a call of the agent, and signs what Ana allows beyond it. */
  approvedWith(
    call: { tool?: string; args?: Record<string, unknown>; context?: Partial<CallContextInput> },
    terms?: { free?: string[]; change?: (statement: GrantStatement) => GrantStatement; maxUses?: number },
  ): Promise<{ signed: SignedGrant; sealed: SealedTerms }>;
  kinds(): Promise<string[]>;
  off(): Promise<void>;
  on(): Promise<void>;
}

export function grantsWorld(server: RedisForTests): GrantsWorld {
  let made: { world: GrantsWorld; close: () => Promise<void> } | undefined;
  beforeEach(async () => {
    made = await open(server);
  });
  afterEach(async () => made?.close());
  return new Proxy({} as GrantsWorld, {
    get: (_, name) => {
      if (made === undefined) throw new Error('grantsWorld: use it inside a test');
      return Reflect.get(made.world, name);
    },
  });
}

export function policyOf(text: string, tools: ToolDefinition[]): PolicyHolder {
  return new PolicyHolder(loadPolicyOrThrow(text, { tools, fileName: 'policy' }));
}

async function open(server: RedisForTests) {
  const ends: (() => unknown)[] = [];
  const redis = new Redis({ ...server.connectionOptions, maxRetriesPerRequest: null });
  ends.push(() => redis.disconnect());
  const parts = { redis, shards: 1, keys: [keys.proposal] as const };
  const store = new ProposalStoreRedis(parts);
  const grants = new GrantStoreRedis(parts);
  const writeSwitch = new WriteSwitchRedis({ ...parts, startDeadlineMs: 5 });
  const dispatch = new DispatchBullMQ({ connection: redis, shards: 1 });
  ends.push(() => dispatch.close());
  const renewal = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), 1_000);
  ends.push(() => clearInterval(renewal));
  const ran: unknown[] = [];
  const tools = toolsNoting(ran);
  const policy = policyOf(POLICY, tools);
  const logger = pino({ level: 'silent' });

  const on = async () => {
    const { epoch } = await writeSwitch.status();
    await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: epoch });
  };
  await on();
  const guardWith: GrantsWorld['guardWith'] = (change) => {
    const opened = createGuard({
      policy: change.policy ?? policy,
      tools: change.tools ?? tools,
      redis: server.connectionOptions,
      proposalKey: key,
      logger,
    });
    ends.push(() => opened.close());
    return opened;
  };
  const executionParts = (change: { tools?: ToolDefinition[]; policy?: PolicyHolder } = {}) => ({
    store,
    registry: new ToolRegistry(change.tools ?? tools),
    policy: change.policy ?? policy,
    keys: { proposal: [keys.proposal], approval: [keys.approvalPublic] },
    credentials: { fetch: async () => new Credentials({ token: 'write' }) },
    executorId: 'test',
    startDeadlineMs: 1_000,
    logger,
  });
  const guard = guardWith({});
  const sealedOf = async (handle: ProposalHandle) => {
    const record = await store.read(handle.id);
    const opened = record && unseal([keys.proposal], record.termsText, record.seal);
    if (!opened?.ok) throw new Error('the proposal cannot be opened');
    return opened.sealed;
  };
  const world: GrantsWorld = {
    redis,
    guard,
    store,
    grants,
    writeSwitch,
    audit: new AuditLogRedis(parts),
    dispatch,
    tools,
    ran,
    policy,
    guardWith,
    sealed: sealedOf,
    execution: (change) => new Execution(executionParts(change)),
    async executor(change) {
      const worker = new ExecutionWorker({
        ...executionParts(change),
        dispatch,
        connection: server.client,
        shards: 1,
      });
      worker.start();
      ends.push(() => worker.stop());
      await worker.ready();
    },
    async approvedWith({ tool = 'ticket.label', args = LABEL, context = {} }, terms = {}) {
      const handle = await guard.propose({ tool, args }, { ...CONTEXT, ...context });
      const sealed = await sealedOf(handle);
      const decided = await store.decide(signedDecision(sealed, 'approve', ANA, { keys }));
      if (!decided.ok) throw new Error(decided.refusal);
      const signed = signGrant(
        keys.approvalPrivate,
        (terms.change ?? ((same) => same))(statementFor(sealed, await store.now(), terms)),
      );
      return { signed, sealed };
    },
    async kinds() {
      return (await world.audit.read({ limit: 1_000 })).map(({ kind }) => kind);
    },
    async off() {
      await writeSwitch.off({ scope: {}, by: 'cli:test' });
    },
    on,
  };
  const close = async () => {
    for (const end of ends.reverse()) await end();
  };
  return { world, close };
}

export const LABEL = { ticket: 'T-1', label: 'billing' };

export function statementFor(
  { terms, termsDigest }: SealedTerms,
  at: number,
  { free = ['ticket'], maxUses = 10 }: { free?: string[]; maxUses?: number } = {},
): GrantStatement {
  const args = parseStrictJson(terms.arguments);
  const pattern = args.ok ? patternOf(args.value, new Set(free)) : undefined;
  if (pattern === undefined || terms.basis.kind !== 'people') throw new Error('nothing to grant');
  const { tenant, environment, agent, principal } = terms.context;
  return {
    v: 1,
    grant: grantIdOf(terms.id),
    tenant,
    environment,
    agent,
    principal,
    tool: terms.tool,
    toolDigest: terms.toolDigest,
    pattern,
    maxUses,
    expires: at + 30 * 60_000,
    at,
    person: ANA,
    as: 'user:U0ANA',
    approvers: [...terms.basis.rule.approvers],
    shown: 'a'.repeat(64),
    proposal: terms.id,
    termsDigest,
    policyVersion: terms.policyVersion,
    switchEpoch: terms.switchEpoch,
  };
}
