import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import {
  type ProposalRecord,
  type ProposalStatus,
  TERMINAL_STATUSES,
} from '../../src/core/proposal/proposal.ts';
import { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { proposalKeysIn } from '../../src/core/proposal/seal.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { PartProcess } from '../../src/demo/installation.ts';
import { type GeneratedKeys, generateKeys } from '../../src/generate-keys.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { hasButtons, SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import type { SlackWorld } from '../../src/sandbox/slack/slack-world.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { REASON_INPUT } from '../../src/slack/modals.ts';
import { NOTICES } from '../../src/slack/notices.ts';
import { eventually } from './eventually.ts';
import { health, readiness } from './part-health.ts';
import { sealedLines } from './sealed-lines.ts';
import type { Tally } from './tally.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** For what happens asynchronously, on a busy machine. */
export const IN_TIME = { timeout: 60_000, interval: 100 };
const READY_MS = 60_000;
/**
 * How long after a fault is over everything has to be settled. A card whose claim was lost with its answer is claimed again after
 * 30 s, found by a repair of each minute, and then takes its turn.
 */
const SETTLED_WITHIN_MS = 180_000;
/** For a person who gets no answer: as long as they wait until they click again. */
const PATIENCE_MS = 8_000;
/** How long one call of a tool lasts: long enough to be caught in the middle of it. */
const RUNS_FOR_MS = 120;
/**
 * Between two calls of an agent that asks people: Slack lets a workspace change some twenty cards a minute, and answer for
 * as many people. Who asks nobody goes on at once.
 */
const PAUSE_MS = { 'ledger.write': 1_500, 'ledger.auto': 150 } as const;
/** Whoever is told to click again in a few seconds. */
const CLICK_AGAIN_MS = 2_000;

type Decision = 'approve' | 'deny';
type Tool = keyof typeof PAUSE_MS;

/** A tenant, in a workspace of its own, and who decides there. */
interface Lane {
  readonly tenant: string;
  readonly team: string;
}

const CHANNEL = 'C0LANE';
const APPROVER = 'U0ANA';
const ON_CALL = 'U0CHEN';
const LEAD = 'U0LEAD';

export interface HouseOptions {
  /** REDIS_URL of every part. */
  readonly redis: string;
  readonly shards?: number;
  /** COUNTERSIGN_REDIS_REPLICAS of every part; left out: what it is by default. */
  readonly replicas?: number;
  /** Tenants, each with a workspace and an approver of its own. */
  readonly lanes?: number;
}

export interface HouseFindings {
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
  readonly stuck: readonly string[];
  readonly audit: string;
}

export const NOTHING_FOUND: HouseFindings = { lost: [], doubled: [], stuck: [], audit: 'intact' };

/** What is known of one proposal beyond what Redis says of it. */
interface Tracked {
  readonly id: ProposalId;
  readonly lane: Lane;
  readonly entry: string;
  readonly tool: Tool;
  /** When its agent first asked for it; `performance.now()`. */
  readonly askedAt: number;
  /** What its agent was told. */
  told?: ProposalStatus | undefined;
  /** Its agent waits no more, whatever it was told. */
  over?: boolean;
}

/**
 * The installation as it runs in production, two of every part, each a process of its own, on whatever Redis it is given:
 * agents that propose and wait for the result, people who click in Slack, executors, sealers. Who gets no answer tries
 * again, as people and hosts do; what was answered is what has to hold.
 */
export class ReplicatedHouse {
  readonly directory: string;
  readonly approvals: readonly PartProcess[];
  readonly executors: readonly PartProcess[];
  readonly agents: readonly HouseAgent[];
  readonly slack: LocalSlack;
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly #keys: GeneratedKeys;
  readonly #lanes: readonly Lane[];
  readonly #ledgerPath: string;
  readonly #auditDirectory: string;
  readonly #close: () => void;
  readonly #tracked = new Map<ProposalId, Tracked>();
  /** What was found while all were at work. */
  readonly #stuck: string[] = [];
  readonly #lost: string[] = [];
  /** When writes were certainly off: from the answer on, until somebody asked for on. */
  readonly #off: { from: number; to: number }[] = [];
  readonly #decided = new Map<string, number>();
  /** Who wants to know of the next click. */
  readonly #clicked: (() => void)[] = [];
  #checked = 0;
  #next = 0;
  #atWork = false;
  #failed = false;
  /** Agents that have asked and were not answered yet: what they propose may stand already. */
  #proposing = 0;
  #working: Promise<unknown>[] = [];

  private constructor(
    place: { directory: string; slack: LocalSlack; keys: GeneratedKeys; lanes: readonly Lane[] },
    options: HouseOptions,
  ) {
    const { directory, slack, keys, lanes } = place;
    const { redis, shards = 1, replicas } = options;
    this.directory = directory;
    this.slack = slack;
    this.#keys = keys;
    this.#lanes = lanes;
    this.#ledgerPath = join(directory, 'ledger');
    this.#auditDirectory = join(directory, 'audit');
    const policy = policyText(lanes);
    const policyPath = join(directory, 'policy.yaml');
    const tools = join(directory, 'tools.mjs');
    const credentials = join(directory, 'credentials');
    writeFileSync(this.#ledgerPath, '');
    writeFileSync(policyPath, policy);
    writeFileSync(tools, toolsModule(this.#ledgerPath));
    for (const { tenant } of lanes) {
      const ofTenant = join(credentials, tenant, 'production');
      mkdirSync(ofTenant, { recursive: true, mode: 0o700 });
      writeFileSync(join(ofTenant, 'write.json'), '{"token":"t"}', { mode: 0o600 });
    }
    const common = {
      REDIS_URL: redis,
      PORT: '0',
      COUNTERSIGN_SHARDS: String(shards),
      ...(replicas === undefined ? {} : { COUNTERSIGN_REDIS_REPLICAS: String(replicas) }),
      COUNTERSIGN_POLICY: policyPath,
      COUNTERSIGN_TOOLS: tools,
      COUNTERSIGN_PROPOSAL_KEY: keys.COUNTERSIGN_PROPOSAL_KEY,
    };
    const apart = (name: string) => {
      mkdirSync(join(directory, name));
      return join(directory, name);
    };
    const tokens = slack.world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []);
    this.approvals = ['approvals-a', 'approvals-b'].map(
      (name) =>
        new PartProcess('start', apart(name), {
          ...common,
          SLACK_API_URL: slack.apiUrl,
          SLACK_BOT_TOKEN: tokens.join(','),
          SLACK_APP_TOKEN: slack.world.app.appToken,
          COUNTERSIGN_APPROVAL_PRIVATE_KEY: keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
          COUNTERSIGN_AUDIT_DIR: this.#auditDirectory,
          COUNTERSIGN_AUDIT_PRIVATE_KEY: keys.COUNTERSIGN_AUDIT_PRIVATE_KEY,
        }),
    );
    this.executors = ['executor-a', 'executor-b'].map(
      (name) =>
        new PartProcess('executor', apart(name), {
          ...common,
          COUNTERSIGN_CREDENTIALS: credentials,
          COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
        }),
    );
    const guard = { policy, redis, shards, proposalKey: keys.COUNTERSIGN_PROPOSAL_KEY };
    this.agents = ['agent-a', 'agent-b'].map(
      (name) =>
        new HouseAgent(join(directory, `${name}.log`), {
          modules: { createGuard: join(ROOT, 'src', 'create-guard.ts') },
          tools,
          options: replicas === undefined ? guard : { ...guard, replicas },
        }),
    );
    const connections = openRedis({ url: redis });
    const stores = { redis: connections.redis, shards };
    this.store = new ProposalStoreRedis({ ...stores, keys: proposalKeysIn(keys.COUNTERSIGN_PROPOSAL_KEY) });
    this.writeSwitch = new WriteSwitchRedis(stores);
    this.#close = () => connections.close();
  }

  static async start(options: HouseOptions): Promise<ReplicatedHouse> {
    // Inside the package, so that the tools module finds its dependencies.
    mkdirSync(join(ROOT, '.countersign'), { recursive: true });
    const directory = mkdtempSync(join(ROOT, '.countersign', 'house-'));
    const lanes = Array.from({ length: options.lanes ?? 4 }, (_, i) => ({
      tenant: `lane${i}`,
      team: `T0LANE${i}`,
    }));
    const slack = await startLocalSlack({
      world: worldOf(lanes),
      delivery: { mode: 'socket' },
      port: 0,
    });
    const house = new ReplicatedHouse({ directory, slack, keys: generateKeys(), lanes }, options);
    try {
      // One after the other: each needs a core to itself while it loads.
      for (const part of house.#parts) await part.start();
      await eventually(() => house.#arm());
    } catch (error) {
      await house.close();
      throw error;
    }
    return house;
  }

  get #parts(): readonly (PartProcess | HouseAgent)[] {
    return [...this.executors, ...this.approvals, ...this.agents];
  }

  /** Decisions that people were told are recorded, by the last `check`. */
  get decided(): number {
    return [...this.#decided.values()].reduce((sum, told) => sum + told, 0);
  }

  /** Results that agents were told. */
  get told(): number {
    return [...this.#tracked.values()].filter(({ told }) => told !== undefined).length;
  }

  /** Of these, how many said that nobody knows. */
  get unknown(): number {
    return [...this.#tracked.values()].filter(({ told }) => told === 'unknown').length;
  }

  /**
   * Resolves when every agent's and every person's part works again: a call that nobody has to decide and one that somebody has,
   * both asked for after `since`, have run and their agents were told. With how long that took.
   */
  async recovered(since: number): Promise<number> {
    const done = (tool: Tool) =>
      [...this.#tracked.values()].some(
        (one) => one.tool === tool && one.askedAt >= since && one.told === 'succeeded',
      );
    const until = performance.now() + SETTLED_WITHIN_MS;
    while (!(done('ledger.write') && done('ledger.auto'))) {
      if (performance.now() > until) throw new Error(`nothing runs again, ${SETTLED_WITHIN_MS} ms later`);
      await sleep(20);
    }
    return performance.now() - since;
  }

  /** Resolves when a person is just clicking. */
  atDecision(): Promise<void> {
    return new Promise((resolve) => this.#clicked.push(resolve));
  }

  /** Resolves when a call has just begun to run. */
  async atRun(): Promise<void> {
    const { size } = statSync(this.#ledgerPath);
    while (statSync(this.#ledgerPath).size === size) await sleep(5);
  }

  /** Each run of a tool: when, and what. */
  ledger(): { at: number; entry: string }[] {
    return readFileSync(this.#ledgerPath, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [at, entry = ''] = line.split(' ');
        return { at: Number(at), entry };
      });
  }

  /** Everybody goes to work, until `check`. */
  begin(): void {
    this.#atWork = true;
    this.#working = this.#lanes.flatMap((lane, i) => [
      this.#person(lane),
      this.#agent(lane, i, 'ledger.write'),
      this.#agent(lane, i + 1, 'ledger.auto'),
    ]);
  }

  /**
   * On call types `/agent-writes off`. True: it was answered that writes are off, and from then on, until `on` is
   * called, nothing may start. False: it was answered that this is not confirmed, or nothing was answered.
   */
  async off(): Promise<boolean> {
    const answer = await this.#typed(ON_CALL, '/agent-writes off a look', /Writes are off|NOT CONFIRMED/);
    if (answer?.includes('*Writes are off*') !== true) return false;
    this.#off.push({ from: Date.now(), to: Number.POSITIVE_INFINITY });
    return true;
  }

  /** Resolves when writes are on again. */
  async on(): Promise<void> {
    const last = this.#off.at(-1);
    if (last?.to === Number.POSITIVE_INFINITY) last.to = Date.now();
    await eventually(async () => {
      const { state } = await this.writeSwitch.status();
      if (state === 'on') return;
      await this.#typed(LEAD, '/agent-writes on seen', /Writes are on/);
      throw new Error(`writes are ${state}`);
    });
  }

  /** Asks once, and gets whatever answer there is. */
  async proposeOnce(): Promise<void> {
    const [lane] = this.#lanes;
    const [agent] = this.agents;
    if (lane === undefined || agent === undefined) throw new Error('an empty house');
    this.#next += 1;
    const call = { tool: 'ledger.write', args: { entry: `${lane.tenant}-${this.#next}` } };
    await agent.ask({ what: 'propose', call, context: contextOf(lane) });
  }

  /** Of the approval services and the executors. */
  get pids(): number[] {
    return [...this.approvals, ...this.executors].map(({ pid }) => pid);
  }

  /** What has come of everything by now, in words. */
  get counts(): string {
    return `by now ${this.decided} decisions, ${this.told} results (${this.unknown} unknown), ${this.ledger().length} executions`;
  }

  /** Resolves when /ready and /health of all four say the same. */
  async allSay(what: 'ready' | 'not ready'): Promise<void> {
    const parts = [...this.approvals, ...this.executors];
    const each = <T>(one: T) => parts.map(() => one);
    await expect
      .poll(() => Promise.all(parts.map(readiness)), IN_TIME)
      .toEqual(each(what === 'ready' ? 200 : 503));
    const failing = async (part: PartProcess) => (await health(part)).status === 'failing';
    await expect.poll(() => Promise.all(parts.map(failing)), IN_TIME).toEqual(each(what !== 'ready'));
  }

  /**
   * Nobody proposes any more, and what is begun has to come to its end. Counts what was promised and did not hold since
   * the last time, and verifies the audit.
   */
  async check(row: Tally): Promise<HouseFindings> {
    this.#atWork = false;
    await Promise.all(this.#working);
    this.#working = [];
    const fresh = [...this.#tracked.values()].slice(this.#checked);
    this.#checked = this.#tracked.size;
    const lost = this.#lost.splice(0);
    const doubled: string[] = [];
    const stuck = this.#stuck.splice(0);
    const times = new Map<string, number>();
    for (const { at, entry } of this.ledger()) {
      times.set(entry, (times.get(entry) ?? 0) + 1);
      const off = this.#off.find(({ from, to }) => at > from && at < to);
      if (off) doubled.push(`${entry} ran ${at - off.from} ms after off was answered`);
    }
    this.#off.splice(0);
    for (const one of fresh) {
      const record = await eventually(() => this.store.read(one.id));
      const ran = times.get(one.entry) ?? 0;
      lost.push(...lostOf(one, record, ran));
      doubled.push(...doubledOf(one, record, ran));
      stuck.push(...stuckOf(one, record));
    }
    lost.push(...(await this.#unrecorded()));
    stuck.push(...(await this.#wrongCards(fresh)));
    const audit = await this.#audit(fresh);
    row.lost(lost.length);
    row.doubled(doubled.length);
    row.stuck(stuck.length);
    row.audit(audit === 'intact');
    this.#failed ||= lost.length + doubled.length + stuck.length > 0 || audit !== 'intact';
    return { lost, doubled, stuck, audit };
  }

  /** Where something was found, what was written stays, for whoever looks for what went wrong. */
  async close(): Promise<void> {
    this.#atWork = false;
    for (const part of this.#parts) await part.kill9();
    this.#close();
    await this.slack.close();
    if (this.#failed) console.log(`the logs are kept in ${this.directory}`);
    else rmSync(this.directory, { recursive: true, force: true });
  }

  /* ---- the agents ---- */

  async #agent(lane: Lane, turn: number, tool: Tool): Promise<void> {
    const agent = this.agents[turn % this.agents.length] as HouseAgent;
    while (this.#atWork) {
      this.#next += 1;
      const entry = `${lane.tenant}-${this.#next}`;
      this.#proposing += 1;
      const one = await this.#propose(agent, lane, tool, entry);
      this.#proposing -= 1;
      if (one !== undefined) {
        await this.#await(agent, one);
        one.over = true;
      }
      await sleep(PAUSE_MS[tool] * (0.5 + Math.random()));
    }
  }

  /** With the same key until it is answered, as a host does. Undefined: writes are off. */
  async #propose(agent: HouseAgent, lane: Lane, tool: Tool, entry: string): Promise<Tracked | undefined> {
    const call = { tool, args: { entry }, idempotencyKey: entry };
    const askedAt = performance.now();
    const until = askedAt + SETTLED_WITHIN_MS;
    for (;;) {
      try {
        const answer = await agent.ask({ what: 'propose', call, context: contextOf(lane) });
        const one: Tracked = { id: ProposalId.parse(answer), lane, entry, tool, askedAt };
        this.#tracked.set(one.id, one);
        return one;
      } catch (error) {
        if (codeOf(error) === 'writes_disabled') return undefined;
        if (codeOf(error) !== 'unavailable' || performance.now() > until) {
          this.#stuck.push(`${entry} could not be proposed: ${String(error)}`);
          return undefined;
        }
        await sleep(100);
      }
    }
  }

  async #await(agent: HouseAgent, one: Tracked): Promise<void> {
    const ask = { what: 'result', id: one.id, context: contextOf(one.lane), timeout: SETTLED_WITHIN_MS };
    const until = performance.now() + SETTLED_WITHIN_MS;
    for (;;) {
      try {
        await agent.ask(ask);
        one.told = 'succeeded';
        return;
      } catch (error) {
        one.told = STATUS_OF[codeOf(error)];
        if (one.told !== undefined) return;
        if (codeOf(error) !== 'unavailable' || performance.now() > until) {
          this.#stuck.push(`${named(one)}: its agent was told ${String(error)}`);
          return;
        }
        await sleep(100);
      }
    }
  }

  /* ---- the people ---- */

  /** Decides whatever card of the lane still asks, one after the other. */
  async #person(lane: Lane): Promise<void> {
    const view = this.#view(lane, APPROVER);
    /** Whose card is not clicked on again before then. */
    const again = new Map<ProposalId, number>();
    for (;;) {
      await view.look();
      const open = [...this.#tracked.values()].filter((one) => one.lane === lane && !one.over);
      if (open.length === 0 && !this.#atWork && this.#proposing === 0) return;
      const asked = open.find(
        ({ id }) => view.cardOf(id) !== undefined && performance.now() >= (again.get(id) ?? 0),
      );
      const card = asked && view.cardOf(asked.id);
      if (asked === undefined || card === undefined) {
        await sleep(150);
        continue;
      }
      const decision: Decision = Number(asked.entry.split('-')[1]) % 6 === 0 ? 'deny' : 'approve';
      const before = view.heard.length;
      for (const tell of this.#clicked.splice(0)) tell();
      await decide(view.person, card, decision).catch(() => {});
      const until = performance.now() + PATIENCE_MS;
      while (view.heard.length === before && performance.now() < until) {
        await sleep(50);
        await view.look();
      }
      const counted = view.heard.slice(before).some((text) => text.startsWith(SAID[decision]));
      again.set(asked.id, performance.now() + (counted ? PATIENCE_MS : CLICK_AGAIN_MS));
    }
  }

  /** @returns what was answered, where it is one of the answers that it can have. */
  async #typed(user: string, line: string, answer: RegExp): Promise<string | undefined> {
    const [lane] = this.#lanes;
    if (lane === undefined) throw new Error('a house without lanes');
    const view = this.#view(lane, user);
    await view.look();
    const known = view.heard.length;
    await view.person.command(line, CHANNEL);
    const until = performance.now() + READY_MS;
    while (performance.now() < until) {
      await view.look();
      const fresh = view.heard.slice(known);
      if (fresh.length > 0) return fresh.find((text) => answer.test(text));
      await sleep(50);
    }
    return undefined;
  }

  #view({ team }: Lane, user: string): ChannelView {
    return new ChannelView(new SlackPerson(this.slack.url, { team, user }));
  }

  async #arm(): Promise<void> {
    const { epoch, state } = await this.writeSwitch.status();
    if (state === 'on') return;
    await this.writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'it begins', expectedEpoch: epoch });
    throw new Error(`writes were ${state}`);
  }

  /* ---- what must be true in the end ---- */

  /** Whoever was told that a decision is recorded: it is. An answer does not say of which, but each is said once. */
  async #unrecorded(): Promise<string[]> {
    const lost: string[] = [];
    for (const lane of this.#lanes) {
      const view = this.#view(lane, APPROVER);
      await view.look();
      const asked = [...this.#tracked.values()].filter(
        (one) => one.lane === lane && one.tool === 'ledger.write',
      );
      const states: ProposalRecord['state'][] = [];
      for (const { id } of asked) {
        const record = await eventually(() => this.store.read(id));
        if (record !== undefined) states.push(record.state);
      }
      const recorded: Record<Decision, number> = {
        approve: states.filter(({ approvals }) => approvals.length > 0).length,
        deny: states.filter(({ status }) => status === 'denied').length,
      };
      for (const decision of ['approve', 'deny'] as const) {
        const told = view.heard.filter((text) => text.startsWith(SAID[decision])).length;
        this.#decided.set(`${lane.tenant} ${decision}`, told);
        if (told > recorded[decision])
          lost.push(`${lane.tenant}: ${told} answers to ${decision}, ${recorded[decision]} are recorded`);
      }
    }
    return lost;
  }

  async #wrongCards(fresh: readonly Tracked[]): Promise<string[]> {
    const until = performance.now() + SETTLED_WITHIN_MS;
    const views = new Map<Lane, ChannelView>();
    for (const lane of this.#lanes) views.set(lane, this.#view(lane, APPROVER));
    for (;;) {
      const wrong: string[] = [];
      for (const view of views.values()) await view.look();
      for (const one of fresh) {
        const record = await eventually(() => this.store.read(one.id));
        const card = record?.card && views.get(one.lane)?.message(record.card.ts);
        if (card && hasButtons(card)) wrong.push(`${named(one)}: its card still has buttons`);
      }
      if (wrong.length === 0 || performance.now() > until) return wrong;
      await sleep(500);
    }
  }

  /** While the sealer works, it may be read in the middle of a line: what is broken stays so. */
  async #audit(fresh: readonly Tracked[]): Promise<string> {
    const until = performance.now() + SETTLED_WITHIN_MS;
    for (;;) {
      const verdict = this.sealed(fresh);
      if (verdict === 'intact' || performance.now() > until) return verdict;
      await sleep(500);
    }
  }

  /** What the offline verifier says of the files; and whether all of these are in them. */
  sealed(fresh: readonly Tracked[] = [...this.#tracked.values()]): string {
    const key = auditPublicKeyOf(this.#keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
    const report = verifyAudit(this.#auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
    if (report.verdict !== 'intact') {
      const broken = report.chains.filter(({ verdict }) => verdict !== 'intact');
      return `${report.verdict}: ${JSON.stringify(broken)}`;
    }
    const sealed = sealedLines(this.#auditDirectory).join('\n');
    const missing = fresh.filter(({ id }) => !sealed.includes(id));
    return missing.length === 0 ? 'intact' : `not in the files: ${missing.map(named).join(', ')}`;
  }
}

/** A process with a guard, told by the test what to call; it ends with the test. */
export class HouseAgent {
  readonly logPath: string;
  readonly #settings: string;
  readonly #waiting = new Map<
    number,
    { resolve: (answer: unknown) => void; reject: (error: Error) => void }
  >();
  #child: ChildProcess | undefined;
  #asked = 0;

  constructor(logPath: string, settings: Readonly<Record<string, unknown>>) {
    this.logPath = logPath;
    this.#settings = JSON.stringify(settings);
  }

  async start(): Promise<void> {
    const log = openSync(this.logPath, 'a');
    const program = join(import.meta.dirname, 'agent-program.mjs');
    const child = spawn(process.execPath, ['--import', 'tsx', program], {
      cwd: ROOT,
      stdio: ['ignore', log, log, 'ipc'],
      env: { AGENT: this.#settings },
    });
    closeSync(log);
    this.#child = child;
    const ready = new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', () => reject(new Error(`an agent did not start; its log is ${this.logPath}`)));
    });
    child.once('exit', () => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`an agent ended; its log is ${this.logPath}`));
      this.#waiting.clear();
    });
    child.on('message', ({ n = 0, answer, error }: { n?: number; answer?: unknown; error?: AgentSaid }) => {
      const waiting = this.#waiting.get(n);
      this.#waiting.delete(n);
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(Object.assign(new Error(`${error.name}: ${error.message}`), { code: error.code }));
    });
    await ready;
  }

  async ask(ask: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#child?.connected !== true) throw new Error(`an agent does not run; its log is ${this.logPath}`);
    this.#asked += 1;
    const n = this.#asked;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(n, { resolve, reject }));
    this.#child?.send({ n, ask });
    return answer;
  }

  async kill9(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

interface AgentSaid {
  readonly name: string;
  readonly code?: string;
  readonly message: string;
}

/** The channel of a workspace, as one person sees it. What did not change is not asked for again. */
class ChannelView {
  readonly person: SlackPerson;
  /** What this person alone was told, oldest first. */
  readonly heard: string[] = [];
  readonly #messages = new Map<string, SeenMessage>();
  /** Those that still ask, by proposal, oldest first. */
  readonly #asking = new Map<string, Map<string, SeenMessage>>();
  #cursor = 0;

  constructor(person: SlackPerson) {
    this.person = person;
  }

  async look(): Promise<void> {
    for (const message of await this.person.messages(CHANNEL, this.#cursor)) {
      if (message.ephemeral && !this.#messages.has(message.ts)) this.heard.push(message.text);
      this.#messages.set(message.ts, message);
      this.#cursor = Math.max(this.#cursor, message.cursor);
      if (message.ephemeral || message.threadTs !== undefined) continue;
      for (const cards of this.#asking.values()) cards.delete(message.ts);
      if (!hasButtons(message)) continue;
      for (const [id] of JSON.stringify(message.blocks).matchAll(/prop_[0-9a-z]+/g)) {
        const cards = this.#asking.get(id) ?? new Map<string, SeenMessage>();
        this.#asking.set(id, cards.set(message.ts, message));
      }
    }
  }

  message(ts: string): SeenMessage | undefined {
    return this.#messages.get(ts);
  }

  /** The newest that still asks. */
  cardOf(id: ProposalId): SeenMessage | undefined {
    return [...(this.#asking.get(id)?.values() ?? [])].at(-1);
  }
}

/** Said once for a decision; whoever clicks again is told that it was recorded already. */
const SAID: Readonly<Record<Decision, string>> = { approve: NOTICES.approved, deny: NOTICES.denied };

async function decide(person: SlackPerson, card: SeenMessage, decision: Decision): Promise<void> {
  const left = await person.openView();
  if (left !== null) await person.closeView(left, true);
  await person.click(card, decision === 'approve' ? ACTIONS.approve : ACTIONS.deny);
  if (decision === 'approve') return;
  const form = await person.waitForView(({ title }) => title === 'Deny this call', PATIENCE_MS / 2);
  await person.submit(form, { [REASON_INPUT.block]: 'not now' });
}

const STATUS_OF: Readonly<Record<string, ProposalStatus>> = {
  approval_denied: 'denied',
  approval_expired: 'expired',
  halted: 'halted',
  withdrawn: 'withdrawn',
  execution_failed: 'failed',
  outcome_unknown: 'unknown',
};

function lostOf(one: Tracked, record: ProposalRecord | undefined, ran: number): string[] {
  if (record === undefined) return [`${named(one)} is gone`];
  const { state } = record;
  const lost: string[] = [];
  if (one.told !== undefined && one.told !== state.status) {
    lost.push(`${named(one)}: its agent was told ${one.told}, and it is ${state.status}`);
  }
  if (state.status === 'succeeded' && ran === 0) lost.push(`${named(one)} succeeded and never ran`);
  return lost;
}

const MAY_HAVE_RUN: ReadonlySet<ProposalStatus> = new Set(['executing', 'succeeded', 'failed', 'unknown']);

function doubledOf(one: Tracked, record: ProposalRecord | undefined, ran: number): string[] {
  if (ran > 1) return [`${named(one)} ran ${ran} times`];
  const status = record?.state.status;
  const wrongly = ran > 0 && (status === undefined || !MAY_HAVE_RUN.has(status));
  return wrongly ? [`${named(one)} ran, and is ${status}`] : [];
}

function stuckOf(one: Tracked, record: ProposalRecord | undefined): string[] {
  const status = record?.state.status;
  if (status !== undefined && !TERMINAL_STATUSES.has(status)) return [`${named(one)} is ${status}`];
  return one.told === undefined ? [`${named(one)}: its agent never heard of its end`] : [];
}

/** Each is a company of its own, as Slack counts how much is asked of it for each. */
function worldOf(lanes: readonly Lane[]): SlackWorld {
  const { app, workspaces } = demoWorld();
  const [acme] = workspaces;
  if (acme?.installation === undefined) throw new Error('the demo has no workspace');
  const { installation, users, groups = [] } = acme;
  return {
    app,
    workspaces: lanes.map(({ tenant, team }) => ({
      team,
      name: tenant,
      domain: tenant,
      users: users.map((user) => ({ ...user, home: team })),
      groups,
      channels: [{ id: CHANNEL, name: tenant, members: [APPROVER, ON_CALL, LEAD, installation.botUser] }],
      installation: { ...installation, botToken: `xoxb-${tenant}` },
    })),
  };
}

function contextOf({ tenant, team }: Lane) {
  return {
    tenant,
    environment: 'production',
    agent: 'ledger-bot',
    principal: `slack:${team}/U0RITA`,
    run: 'house',
  };
}

function named({ id, entry }: Tracked): string {
  return `${entry} (${id})`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function policyText(lanes: readonly Lane[]): string {
  const tenants = lanes.map(
    ({ tenant, team }) =>
      `  ${tenant}: { slack: { team: ${team}, channel: ${CHANNEL} }, environments: [production], limits: { pending_per_agent: 200, fold_above: 100 } }`,
  );
  return `
version: 1
tools: { allow: [ledger.write, ledger.auto] }
write_tools: { enabled: true }
approvals:
  required_for: [ledger.write]
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 30m, reason: { deny: required } }
auto_approve:
  - { tools: [ledger.auto], budget: { max: 100000, per: 1h, by: [tenant, environment, agent] } }
tenants:
${tenants.join('\n')}
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;
}

function toolsModule(ledgerPath: string): string {
  const tool = new URL('../../src/core/tool/tool.ts', import.meta.url).href;
  return `
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { defineTool } from ${JSON.stringify(tool)};
export const tools = ['ledger.write', 'ledger.auto'].map((name) => defineTool({
  name,
  description: 'Writes a line.',
  effect: 'write',
  input: z.strictObject({ entry: z.string() }),
  execute: async ({ entry }) => {
    appendFileSync(${JSON.stringify(ledgerPath)}, Date.now() + ' ' + entry + '\\n');
    await sleep(${RUNS_FOR_MS});
    return { written: entry };
  },
}));
`;
}

/** Least, middle and most. */
export function inSeconds(took: readonly number[]): string {
  const sorted = took.map((ms) => (ms / 1_000).toFixed(1)).toSorted((a, b) => Number(a) - Number(b));
  const at = (share: number) => sorted[Math.round((sorted.length - 1) * share)] ?? '-';
  return `${at(0)} / ${at(0.5)} / ${at(1)}`;
}
