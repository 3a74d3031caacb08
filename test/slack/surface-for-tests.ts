import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest';
import { z } from 'zod';
import { approvalKeysOf } from '../../src/core/approval/decision.ts';
import type { AuditEntry } from '../../src/core/audit/audit-entry.ts';
import { loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { PERMIT_RENEWAL_MS } from '../../src/core/switch/write-switch.ts';
import { defineTool, type ToolDefinition } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { withSafeErrors } from '../../src/create-guard.ts';
import { DispatchBullMQ } from '../../src/queue/dispatch-bullmq.ts';
import { ArmingRequestsRedis } from '../../src/redis/arming-requests-redis.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { CardOutboxRedis } from '../../src/redis/card-outbox-redis.ts';
import { FoldingRedis } from '../../src/redis/folding-redis.ts';
import { GrantStoreRedis } from '../../src/redis/grant-store-redis.ts';
import { HeardCommandsRedis } from '../../src/redis/heard-commands-redis.ts';
import { OnceMemoryRedis } from '../../src/redis/once-memory-redis.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { RecentDecisionsRedis } from '../../src/redis/recent-decisions-redis.ts';
import { SwitchNoticesRedis } from '../../src/redis/switch-notices-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { type SlackSurface, type SlackSurfaceParts, startSlackSurface } from '../../src/slack/app.ts';
import type { RedisForTests } from '../redis-for-tests.ts';
import { sealedTerms, type TermsOverrides, testKeys } from '../sealed-terms.ts';

/** A click as Slack delivered it, open to be forged. */
export interface ClickPayload {
  user: { id: string; team_id: string };
  team: { id: string; enterprise_id?: string };
  api_app_id: string;
  channel: { id: string };
  container: { message_ts: string; channel_id: string };
  actions: { action_id: string; value: string; type: string }[];
  [key: string]: unknown;
}

export type Mode = 'socket' | 'http';

export const CHANNEL = 'C0ACMEAPP';
export const GLOBEX_CHANNEL = 'C0GLOBEX';
export const APP_ID = 'A0COUNTERSIGN';

const POLICY = `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals:
  required_for: [ticket.close]
  defaults: { approvers: ["usergroup:S0SUPPORT", "user:U0LEAD"] }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production, staging], limits: { fold_above: 50 } }
  globex: { slack: { team: T0GLOBEX, channel: ${GLOBEX_CHANNEL} }, environments: [production] }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;

/** The rule that most tests decide under; one person of the support group, or the lead. */
const RULE = { approvers: ['usergroup:S0SUPPORT', 'user:U0LEAD'] };

export const TICKET_CLOSE = defineTool({
  name: 'ticket.close',
  description: 'Closes a ticket',
  input: z.strictObject({ ticket: z.string() }),
  redact: ['secret'],
  execute: () => ({}),
});

export interface SurfaceForTests {
  readonly slack: LocalSlack;
  readonly surface: SlackSurface;
  readonly parts: SlackSurfaceParts;
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly audit: AuditLogRedis;
  /** Where Slack sends to in HTTP mode. */
  readonly url: string;
  readonly logged: string[];
  person(user: string, team?: string): SlackPerson;
  /** Writes a proposal, as a guard does. */
  propose(given?: Partial<TermsOverrides>): Promise<SealedTerms>;
  /** Writes a proposal and waits for its card. */
  card(given?: Partial<TermsOverrides>): Promise<{ sealed: SealedTerms; message: SeenMessage }>;
  /** The card of a proposal as soon as its headline says so. */
  cardSaying(id: ProposalId, headline: string, channel?: string): Promise<SeenMessage>;
  /** The newest words that only this person sees. */
  told(user: string, containing: string, channel?: string): Promise<SeenMessage>;
  status(id: ProposalId): Promise<string | undefined>;
  /** What stands there now; for what is yet to come, poll. */
  entries(kind: AuditEntry['kind']): Promise<AuditEntry[]>;
  /** The first entry of its kind, as soon as there is one. */
  entry(kind: AuditEntry['kind']): Promise<AuditEntry>;
  /** The newest click that Slack delivered, sent once more with something changed. */
  resend(change: (payload: ClickPayload) => void): Promise<unknown>;
  /** Why clicks did not count, in the order of the audit. */
  refusals(): Promise<unknown[]>;
  /** One more surface over the same Slack and Redis: another replica. */
  replica(more?: Partial<SlackSurfaceParts>): Promise<SlackSurface>;
}

export function policyOf(text = POLICY, tools: readonly ToolDefinition[] = [TICKET_CLOSE]): PolicyHolder {
  return new PolicyHolder(loadPolicyOrThrow(text, { fileName: 'policy.yaml', tools }));
}

interface SurfaceChange {
  readonly policy?: string;
  /** In place of the one tool that most tests need. */
  readonly tools?: readonly ToolDefinition[];
  readonly before?: (slack: LocalSlack) => void;
  /** The last word on what the surface is started with. */
  readonly adjust?: (parts: SlackSurfaceParts, slack: LocalSlack) => SlackSurfaceParts;
  /** Milliseconds; the local Slack's clock. */
  readonly now?: () => number;
  /** One for all tests of the `describe`, over a Redis that is not emptied between them. */
  readonly shared?: boolean;
}

const PATIENCE = { timeout: 20_000, interval: 25 };

/** A real Bolt App in front of the local Slack, over a real Redis; new for each test, unless it is shared. */
export function surfaceForTests(
  mode: Mode,
  redis: RedisForTests,
  change: SurfaceChange = {},
): SurfaceForTests {
  let made: Awaited<ReturnType<typeof make>> | undefined;
  const [before, after] = change.shared ? [beforeAll, afterAll] : [beforeEach, afterEach];
  before(async () => {
    made = await make(mode, redis, change);
  });
  after(async () => {
    await made?.close();
    made = undefined;
  });
  const now = () => {
    if (made === undefined) throw new Error('surfaceForTests: use it inside a test');
    return made.tools;
  };
  return new Proxy({} as SurfaceForTests, { get: (_, name) => Reflect.get(now(), name) });
}

async function make(mode: Mode, redis: RedisForTests, change: SurfaceChange) {
  const { now } = change;
  const slack = await startLocalSlack({
    world: demoWorld(),
    delivery: { mode: 'socket' },
    ...(now === undefined ? {} : { now }),
  });
  change.before?.(slack);
  const logged: string[] = [];
  const client = redis.client;
  const shards = 1;
  const keys = [testKeys.proposal] as const;
  const store = new ProposalStoreRedis({ redis: client, shards, keys });
  const writeSwitch = new WriteSwitchRedis({ redis: client, shards, startDeadlineMs: 5 });
  const audit = new AuditLogRedis({ redis: client, shards });
  const dispatch = new DispatchBullMQ({ connection: redis.connect(), shards });
  const given: SlackSurfaceParts = {
    config: {
      transport:
        mode === 'socket'
          ? { mode, appToken: slack.world.app.appToken }
          : { mode, signingSecret: slack.world.app.signingSecret, host: '127.0.0.1', port: 0 },
      botTokens: slack.world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []),
      appId: APP_ID,
      apiUrl: slack.apiUrl,
    },
    store,
    grants: new GrantStoreRedis({ redis: client, shards, keys }),
    outbox: new CardOutboxRedis({ redis: client, subscriber: redis.connect(), shards }),
    folding: new FoldingRedis({ redis: client, shards }),
    switch: writeSwitch,
    recentDecisions: new RecentDecisionsRedis({ redis: client, shards }),
    switchNotices: new SwitchNoticesRedis({ redis: client, shards }),
    arming: new ArmingRequestsRedis({ redis: client }),
    heard: new HeardCommandsRedis({ redis: client }),
    audit,
    dispatch,
    policy: policyOf(change.policy, change.tools),
    registry: new ToolRegistry(change.tools ?? [TICKET_CLOSE]),
    keys: { proposal: keys, approval: approvalKeysOf(testKeys.approvalPrivate) },
    logger: withSafeErrors(pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) })),
    once: new OnceMemoryRedis({ redis: client }),
    clock: Date.now,
    monotonic: () => performance.now(),
  };
  const parts = change.adjust?.(given, slack) ?? given;
  await arm(writeSwitch);
  // As the approval service does: a busy machine must not turn writes off in the middle of a test.
  const renewing = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), PERMIT_RENEWAL_MS);
  const surface = await startSlackSurface(parts);
  const url = `http://127.0.0.1:${surface.port}/slack/events`;
  if (mode === 'http') slack.deliverTo({ mode, url });
  const replicas: SlackSurface[] = [];

  const person = (user: string, team = 'T0ACME') => new SlackPerson(slack.url, { team, user });
  const watcherOf = (channel: string) =>
    channel === GLOBEX_CHANNEL ? person('U0OMAR', 'T0GLOBEX') : person('U0CHEN');

  const tools: SurfaceForTests = {
    slack,
    surface,
    parts,
    store,
    writeSwitch,
    audit,
    url,
    logged,
    person,
    async propose(given = {}) {
      await writeSwitch.renewPermits();
      const { epoch } = await writeSwitch.status();
      const sealed = sealedTerms({
        now: await store.now(),
        epoch,
        ...given,
        rule: { ...RULE, ...given.rule },
      });
      const created = await store.create(sealed, { pendingPerAgent: 100, pendingPerTenant: 100 });
      expect(created.created).toBe('new');
      return sealed;
    },
    async card(given = {}) {
      const sealed = await tools.propose(given);
      const channel = sealed.terms.context.tenant === 'globex' ? GLOBEX_CHANNEL : CHANNEL;
      const message = await tools.cardSaying(sealed.terms.id, 'Approval needed', channel);
      return { sealed, message };
    },
    cardSaying: (id, headline, channel = CHANNEL) =>
      watcherOf(channel).waitForMessage(
        channel,
        ({ blocks, threadTs, ephemeral }) =>
          threadTs === undefined &&
          !ephemeral &&
          JSON.stringify(blocks).includes(id) &&
          JSON.stringify(blocks[0]).includes(headline),
      ),
    told: (user, containing, channel = CHANNEL) =>
      person(user, channel === GLOBEX_CHANNEL ? 'T0GLOBEX' : 'T0ACME').waitForMessage(
        channel,
        ({ ephemeral, text }) => ephemeral && text.includes(containing),
      ),
    status: async (id) => (await store.read(id))?.state.status,
    entries: async (kind) => (await audit.read({ limit: 1000 })).filter((entry) => entry.kind === kind),
    entry: (kind) =>
      vi.waitFor(async () => {
        const [first] = await tools.entries(kind);
        if (first === undefined) throw new Error(`no entry ${kind}`);
        return first;
      }, PATIENCE),
    resend(change) {
      const { team, payload } = slack.traffic.deliveries('block_actions').at(-1) ?? {};
      const forged = structuredClone(payload) as ClickPayload;
      change(forged);
      return slack.send({ type: 'interactive', team: team ?? '', payload: forged, acceptsResponse: false });
    },
    refusals: async () => (await tools.entries('decision.refused')).map(({ detail }) => detail.refusal),
    async replica(more = {}) {
      const started = await startSlackSurface({ ...parts, ...more });
      replicas.push(started);
      return started;
    },
  };
  const close = async () => {
    clearInterval(renewing);
    await Promise.all([surface, ...replicas].map((started) => started.stop()));
    await dispatch.close();
    await slack.close();
  };
  return { tools, close };
}

/** Writes are on, as after an operator's first `on`. */
async function arm(writeSwitch: WriteSwitchRedis): Promise<void> {
  const { epoch } = await writeSwitch.status();
  const armed = await writeSwitch.on({
    scope: EVERYTHING,
    by: 'cli:test',
    why: 'the test begins',
    expectedEpoch: epoch,
  });
  expect(armed).toMatchObject({ ok: true });
}

/** What one line of the log has of an error, as soon as it is there. */
export async function loggedError(t: SurfaceForTests, message: string): Promise<unknown> {
  const lines = () => t.logged.map((line) => JSON.parse(line) as { msg: string; err?: unknown });
  await expect.poll(() => lines().map(({ msg }) => msg)).toContain(message);
  return lines().find(({ msg }) => msg === message)?.err;
}

/** What the log has of a call that Slack answered with 503. */
export const SLACK_FAILED = {
  type: 'WebAPIHTTPError',
  message: expect.stringContaining('503'),
  stack: expect.stringContaining('at '),
};
export const A_TOKEN = /xox[a-z]-|xapp-|Bearer/;
