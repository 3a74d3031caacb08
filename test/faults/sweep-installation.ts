import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type GeneratedKeys, generateKeys } from '../../src/generate-keys.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import type { SlackWorld } from '../../src/sandbox/slack/slack-world.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const READY_MS = 120_000;
/** Longer than an agent is ever frozen. */
const ANSWER_MS = 20_000;

/** A tenant in a workspace of its own: what one lane does holds up no other, and Slack's limits are a workspace's. */
export interface Lane {
  readonly tenant: string;
  readonly team: string;
  /** What happens in it, again and again. */
  readonly scenarios: readonly Scenario[];
}

const SCENARIOS_OF_LANES = [
  ['two', 'fail'],
  ['deny', 'edit'],
  ['withdraw', 'short', 'forbidden', 'refused'],
  ['auto', 'auto', 'long'],
  ['grant'],
  ['left'],
  ['flood'],
  ['switch'],
  ['deleted', 'two'],
  ['archived'],
] as const;
export type Scenario = (typeof SCENARIOS_OF_LANES)[number][number];

export const LANES: readonly Lane[] = SCENARIOS_OF_LANES.map((scenarios, i) => ({
  tenant: `lane${i}`,
  team: `T0LANE${i}`,
  scenarios,
}));
export const CHANNEL = 'C0LANE';
export const APPROVERS = ['U0ANA', 'U0BEN'] as const;

export const PARTS = ['approvals', 'executor', 'agent'] as const;
export type PartName = (typeof PARTS)[number];

export interface Fault {
  readonly what: string;
  readonly when: 'before' | 'after';
  readonly nth: number;
  readonly signal: 'SIGKILL' | 'SIGSTOP';
}

/** A process that a fault has met, and when. */
export interface Hit {
  readonly pid: number;
  readonly at: number;
}

/** Texts of the product that stand in a built file once, and what stands there instead. */
export interface Change {
  /** Below `src`; it is made in what was built from it. */
  readonly file: string;
  readonly line: string;
  readonly becomes: string;
}

/**
 * How long things take that only time ends. Of what happens then nothing is changed: a sweep waits for the end of each
 * of them some hundred times. And entries of the audit are trimmed in a stream that is not yet long.
 */
export const SHORTER: readonly Change[] = [
  { file: 'queue/execution.ts', line: 'LEASE_MS = 10_000', becomes: 'LEASE_MS = 5_000' },
  { file: 'queue/execution-worker.ts', line: 'JOB_LOCK_MS = 10_000', becomes: 'JOB_LOCK_MS = 5_000' },
  { file: 'queue/previewer.ts', line: ' LEASE_MS = 30_000', becomes: ' LEASE_MS = 11_000' },
  { file: 'slack/digest-publisher.ts', line: 'LEASE_MS = 45_000', becomes: 'LEASE_MS = 8_000' },
  { file: 'slack/grant-publisher.ts', line: 'LEASE_MS = 45_000', becomes: 'LEASE_MS = 8_000' },
  { file: 'slack/pace.ts', line: 'repairEveryMs: 60_000', becomes: 'repairEveryMs: 6_000' },
  { file: 'core/audit/audit-stream.ts', line: 'LEASE_MS = 10_000', becomes: 'LEASE_MS = 4_000' },
  { file: 'audit-files/sealing.ts', line: 'KEPT_ENTRIES = 10_000', becomes: 'KEPT_ENTRIES = 50' },
];

export interface SweepInstallation {
  readonly directory: string;
  readonly redis: EmbeddedRedis;
  readonly slack: LocalSlack;
  readonly keys: GeneratedKeys;
  readonly auditDirectory: string;
  readonly parts: Readonly<Record<PartName, SweptPart>>;
  readonly agent: AgentPart;
  /** Each run of a tool: when, in which process, for whom, and what. */
  ledger(): { at: number; pid: number; tenant: string; entry: string }[];
  /** Executors that were killed or frozen. */
  hit(): readonly Hit[];
  /** With `keep`, what was written stays, for whoever looks for what went wrong. */
  stop(options?: { keep: boolean }): Promise<void>;
}

/** @param broken the product with these changes, which the sweep has to find. */
export async function startSweepInstallation(broken: readonly Change[] = []): Promise<SweepInstallation> {
  mkdirSync(join(ROOT, '.countersign'), { recursive: true });
  const directory = mkdtempSync(join(ROOT, '.countersign', 'sweep-'));
  const redis = await startEmbeddedRedis({ directory: join(directory, 'redis'), appendOnly: 'always' });
  const world = worldOfLanes();
  const slack = await startLocalSlack({ world, delivery: { mode: 'socket' }, port: 0 });
  // Compiled, since that starts fastest; a copy, since whoever works on the sources meanwhile compiles anew.
  const dist = join(directory, 'dist');
  cpSync(join(ROOT, 'dist'), dist, { recursive: true });
  for (const change of [...SHORTER, ...broken]) changed(dist, change);
  const keys = generateKeys();
  const ledgerPath = join(directory, 'ledger');
  writeFileSync(ledgerPath, '');
  const policy = policyText();
  const tools = join(directory, 'tools.mjs');
  writeFileSync(tools, toolsModule(dist, ledgerPath));
  writeFileSync(join(directory, 'policy.yaml'), policy);
  // For staging there are none.
  for (const { tenant } of LANES) {
    mkdirSync(join(directory, 'credentials', tenant, 'production'), { recursive: true, mode: 0o700 });
    for (const access of ['read', 'write']) {
      const path = join(directory, 'credentials', tenant, 'production', `${access}.json`);
      writeFileSync(path, '{"token":"t"}', { mode: 0o600 });
    }
  }
  const auditDirectory = join(directory, 'audit');
  const common = {
    REDIS_URL: redis.socketPath,
    COUNTERSIGN_POLICY: join(directory, 'policy.yaml'),
    COUNTERSIGN_TOOLS: tools,
    COUNTERSIGN_PROPOSAL_KEY: keys.COUNTERSIGN_PROPOSAL_KEY,
    LOG_LEVEL: 'info',
  };
  const tokens = world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []);
  const place = { directory, dist, audit: auditDirectory, api: slack.apiUrl };
  const service = [join(dist, 'service.js'), tools];
  const cli = (command: string, variables: Record<string, string>) => {
    const env = join(directory, `${command}.env`);
    writeFileSync(
      env,
      Object.entries(variables)
        .map(([key, value]) => `${key}=${value}\n`)
        .join(''),
      { mode: 0o600 },
    );
    return [join(dist, 'cli.js'), '--env', env, command];
  };
  const approvals = new SweptPart(
    'approvals',
    { ...place, ahead: service },
    cli('start', {
      ...common,
      SLACK_API_URL: slack.apiUrl,
      SLACK_BOT_TOKEN: tokens.join(','),
      SLACK_APP_TOKEN: world.app.appToken,
      COUNTERSIGN_APPROVAL_PRIVATE_KEY: keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
      COUNTERSIGN_AUDIT_DIR: auditDirectory,
      COUNTERSIGN_AUDIT_PRIVATE_KEY: keys.COUNTERSIGN_AUDIT_PRIVATE_KEY,
    }),
  );
  const execute = cli('executor', {
    ...common,
    COUNTERSIGN_CREDENTIALS: join(directory, 'credentials'),
    COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
  });
  const executor = new SweptPart('executor', { ...place, ahead: service }, execute);
  // Nothing befalls it: what the other one has begun and cannot end, it must not begin again.
  const otherExecutor = new SweptPart('other-executor', { ...place, ahead: service, spare: false }, execute);
  const agent = new AgentPart(
    { ...place, ahead: [join(dist, 'create-guard.js'), tools] },
    {
      modules: { createGuard: join(dist, 'create-guard.js') },
      tools,
      options: { policy, redis: redis.connectionOptions, proposalKey: keys.COUNTERSIGN_PROPOSAL_KEY },
    },
  );
  await Promise.all([approvals.start(), executor.start(), otherExecutor.start(), agent.start()]);
  const parts = { approvals, executor, agent };
  return {
    directory,
    redis,
    slack,
    keys,
    auditDirectory,
    parts,
    agent,
    ledger: () =>
      readFileSync(ledgerPath, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => {
          const [at, pid, tenant, ...entry] = line.split(' ');
          return { at: Number(at), pid: Number(pid), tenant: tenant ?? '', entry: entry.join(' ') };
        }),
    hit: () => executor.hit,
    async stop({ keep } = { keep: false }) {
      for (const part of [...Object.values(parts), otherExecutor]) await part.end();
      await slack.close();
      await redis.stop();
      if (!keep) rmSync(directory, { recursive: true, force: true });
    },
  };
}

function changed(dist: string, { file, line, becomes }: Change): void {
  const path = join(dist, file.replace(/\.ts$/, '.js'));
  const whole = readFileSync(path, 'utf8');
  const found = whole.split(line).length - 1;
  if (found !== 1) throw new Error(`${file} has this ${found} times, not once: ${line}`);
  writeFileSync(
    path,
    whole.replace(line, () => becomes),
  );
}

interface Place {
  readonly directory: string;
  readonly dist: string;
  readonly audit: string;
  readonly api: string;
  /** Modules to be imported while nobody waits for it. */
  readonly ahead: readonly string[];
  /** Whether a process stands by for when this one ends: unless it is said, yes. */
  readonly spare?: boolean;
}

/** A part as its operator runs it, with test/faults/fault-points.mjs around its writes. */
export class SweptPart {
  readonly name: string;
  /** Those of its processes that were killed, or frozen. */
  readonly hit: Hit[] = [];
  readonly logPath: string;
  readonly #place: Place;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #pointsPath: string;
  #child: ChildProcess | undefined;
  #spare: ChildProcess | undefined;
  #isReady = false;
  #read = 0;
  readonly #points: number;
  readonly #passed = new Set<string>();
  readonly #fired = new Set<number>();
  readonly #disarmed = new Set<number>();
  readonly #buffer = Buffer.alloc(1 << 16);
  #faults = 0;

  constructor(
    name: string,
    place: Place,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    this.#place = place;
    this.#args = args;
    this.#env = env;
    this.logPath = join(place.directory, `${name}.log`);
    this.#pointsPath = join(place.directory, `${name}.points`);
    writeFileSync(this.#pointsPath, '');
    this.#points = openSync(this.#pointsPath, 'r');
  }

  get running(): boolean {
    const child = this.#child;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Before that its program hears nothing yet. */
  get ready(): boolean {
    return this.running && this.#isReady;
  }

  /** Every place that this part passed: `<what> <nth>`. */
  passed(): ReadonlySet<string> {
    this.#readPoints();
    return this.#passed;
  }

  hasFired(fault: number): boolean {
    this.#readPoints();
    return this.#fired.has(fault);
  }

  /** From now on it may end or freeze at any moment, by one of them. @returns what `hasFired` is asked with, for each. */
  arm(faults: readonly Fault[]): readonly number[] {
    const armed = this.#numbered(faults);
    if (this.running && this.#child?.connected) this.#child.send({ arm: armed }, () => {});
    return armed.map(({ id }) => id);
  }

  /** Resolves when none of those that were armed together can fire any more; one may have, in this very moment. */
  async disarm(faults: readonly number[]): Promise<void> {
    const [first = -1] = faults;
    if (this.running && this.#child?.connected) this.#child.send({ disarm: first }, () => {});
    const isOver = () => this.#disarmed.has(first) || faults.some((fault) => this.hasFired(fault));
    const until = performance.now() + READY_MS;
    while (this.running && !isOver() && performance.now() < until) await sleep(10);
  }

  /** Resolves when it is ready, or has ended: `running` tells. `faults`: armed from its very first write. */
  async start(
    faults: readonly Fault[] = [],
    areArmed: (ids: readonly number[]) => void = () => {},
  ): Promise<void> {
    const armed = this.#numbered(faults);
    const child = this.#spare ?? this.#spawned();
    this.#spare = undefined;
    child.send({ begin: { armed } }, () => {});
    this.#child = child;
    this.#isReady = false;
    this.heard(child);
    areArmed(armed.map(({ id }) => id));
    // Both can be gone by while we look at neither.
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    const ready = new Promise<void>((resolve) => {
      child.on('message', (message) => {
        if (message !== null && typeof message === 'object' && 'ready' in message) {
          this.#isReady = true;
          resolve();
        }
      });
    });
    const limit = new AbortController();
    const late = sleep(READY_MS, 'late' as const, { signal: limit.signal }).catch(() => undefined);
    const first = await Promise.race([ended, ready, late]);
    limit.abort();
    if (first === 'late')
      throw new Error(`${this.name} was not ready in ${READY_MS} ms; its log is ${this.logPath}`);
    if (this.#place.spare !== false) this.#spare ??= this.#spawned();
  }

  /** Up to where it would begin to do something. */
  #spawned(): ChildProcess {
    const { directory, dist, audit, api, ahead } = this.#place;
    const points = {
      part: this.name,
      log: this.#pointsPath,
      lua: join(dist, 'redis', 'lua'),
      root: ROOT,
      audit,
      api,
      ahead,
    };
    const log = openSync(this.logPath, 'a');
    const preload = join(import.meta.dirname, 'fault-points.mjs');
    const child = spawn(process.execPath, ['--import', preload, ...this.#args], {
      cwd: directory,
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...this.#env, FAULT_POINTS: JSON.stringify(points) },
    });
    closeSync(log);
    return child;
  }

  /** Freed from where it froze. */
  thaw(): void {
    if (this.running && this.#child?.pid !== undefined) process.kill(this.#child.pid, 'SIGCONT');
  }

  async ended(): Promise<void> {
    if (this.running && this.#child) await once(this.#child, 'exit');
  }

  /** An orderly end: the parent's channel closes. */
  async stop(): Promise<void> {
    if (!this.running) return;
    const ended = this.ended();
    this.#child?.disconnect();
    await ended;
  }

  /** It, and whoever stands by. */
  async end(): Promise<void> {
    for (const child of [this.#child, this.#spare]) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    closeSync(this.#points);
  }

  protected get child(): ChildProcess | undefined {
    return this.#child;
  }

  protected heard(_child: ChildProcess): void {}

  #numbered(faults: readonly Fault[]): (Fault & { readonly id: number })[] {
    return faults.map((fault) => {
      this.#faults += 1;
      return { ...fault, id: this.#faults };
    });
  }

  #readPoints(): void {
    const bytesRead = readSync(this.#points, this.#buffer, 0, this.#buffer.length, this.#read);
    const text = this.#buffer.toString('utf8', 0, bytesRead);
    // A process that is killed in the middle of a line leaves its beginning.
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    for (const line of whole.split('\n').filter(Boolean)) {
      const said = JSON.parse(line) as { passed?: string; fired?: number; disarmed?: number };
      if (said.passed !== undefined) this.#passed.add(said.passed.slice(this.name.length + 1));
      if (said.disarmed !== undefined) this.#disarmed.add(said.disarmed);
      if (said.fired === undefined) continue;
      this.#fired.add(said.fired);
      this.hit.push({ pid: this.#child?.pid ?? 0, at: Date.now() });
    }
    this.#read += Buffer.byteLength(whole);
    if (whole !== '' && bytesRead === this.#buffer.length) this.#readPoints();
  }
}

export class AgentGone extends Error {
  override readonly name = 'AgentGone';
}

/** What the guard threw in the agent's process. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly code: string;
  constructor({ code = '', message = '', name = '' }: { code?: string; message?: string; name?: string }) {
    super(`${name}: ${message}`);
    this.code = code;
  }
}

/** A process with a guard, told by the test what to call. */
export class AgentPart extends SweptPart {
  #asked = 0;
  readonly #waiting = new Map<
    number,
    { resolve: (answer: unknown) => void; reject: (error: Error) => void }
  >();

  constructor(place: Place, agent: Readonly<Record<string, unknown>>) {
    super('agent', place, [join(import.meta.dirname, 'agent-program.mjs')], { AGENT: JSON.stringify(agent) });
  }

  /**
   * Asks again where the agent was killed meanwhile, as a host does: with the same idempotency key, the same id. With
   * `insist` also while writes are off, which they are for as long as no approval service renews the permit.
   */
  async ask(
    ask: Readonly<Record<string, unknown>>,
    { giveUpMs = 90_000, insist = true }: { giveUpMs?: number; insist?: boolean } = {},
  ): Promise<unknown> {
    const until = performance.now() + giveUpMs;
    for (;;) {
      try {
        return await this.#once(ask);
      } catch (error) {
        const again =
          error instanceof AgentGone ||
          (error instanceof AgentError &&
            (error.code === 'unavailable' || (insist && error.code === 'writes_disabled')));
        if (!again || performance.now() > until) throw error;
        await sleep(200);
      }
    }
  }

  async #once(ask: Readonly<Record<string, unknown>>): Promise<unknown> {
    const { child } = this;
    if (child === undefined || !this.ready || !child.connected) throw new AgentGone('it does not run');
    this.#asked += 1;
    const n = this.#asked;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(n, { resolve, reject }));
    child.send({ n, ask }, () => {});
    const timer = setTimeout(() => this.#waiting.get(n)?.reject(new AgentGone('no answer')), ANSWER_MS);
    return answer.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(n);
    });
  }

  protected override heard(child: ChildProcess): void {
    child.on('message', (message: { n?: number; answer?: unknown; error?: { code?: string } }) => {
      if (message.n === undefined) return;
      const waiting = this.#waiting.get(message.n);
      this.#waiting.delete(message.n);
      if (message.error === undefined) waiting?.resolve(message.answer);
      else waiting?.reject(new AgentError(message.error));
    });
    child.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new AgentGone('it was killed'));
      this.#waiting.clear();
    });
  }
}

function worldOfLanes(): SlackWorld {
  const { app, workspaces } = demoWorld();
  const [acme] = workspaces;
  if (acme?.installation === undefined) throw new Error('the demo has no workspace');
  const { installation, users, groups = [] } = acme;
  const members = [...APPROVERS, 'U0CHEN', 'U0LEAD', installation.botUser];
  return {
    app,
    workspaces: LANES.map(({ tenant, team, scenarios }) => ({
      team,
      name: tenant,
      domain: tenant,
      users: users.map((user) => ({ ...user, home: team })),
      groups: structuredClone(groups),
      channels: [{ id: CHANNEL, name: tenant, members, isArchived: scenarios.includes('archived') }],
      installation: { ...installation, botToken: `xoxb-${tenant}` },
    })),
  };
}

const ALONE = ['ledger.one', 'ledger.fail', 'ledger.short', 'ledger.edit', 'ledger.grant', 'ledger.auto'];

function policyText(): string {
  const tenants = LANES.map(
    ({ tenant, team, scenarios }) =>
      `  ${tenant}: { slack: { team: ${team}, channel: ${CHANNEL} }, environments: [production, staging], limits: { pending_per_agent: 200, fold_above: ${scenarios.includes('flood') ? 1 : 100} } }`,
  );
  return `
version: 1
tools: { allow: [${ALONE.join(', ')}, ledger.two, ledger.long] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 30m, reason: { deny: required } }
  rules:
    - { tools: [ledger.two], quorum: 2 }
    - { tools: [ledger.short], expires_in: 10s, remind_after: 2s, escalate: { after: 4s, to: ["user:U0LEAD"] } }
    - { tools: [ledger.edit], edit: true }
    - { tools: [ledger.grant], grants: { max_uses: 20, for: 1h } }
auto_approve:
  - { tools: [ledger.auto, ledger.long], budget: { max: 100000, per: 1h, by: [tenant, environment, agent] } }
tenants:
${tenants.join('\n')}
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD", "user:U0BEN"], quorum: 2 } }
`;
}

function toolsModule(dist: string, ledgerPath: string): string {
  const from = (path: string) => JSON.stringify(join(dist, path));
  return `
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from ${JSON.stringify(import.meta.resolve('zod'))};
import { defineTool } from ${from('core/tool/tool.js')};
import { ToolRejected } from ${from('core/execution/tool-rejected.js')};
const point = (what, when) => globalThis.faultPoint?.(what, when);
const write = (name, more = {}) => defineTool({
  name,
  description: 'Writes a line.',
  effect: 'write',
  input: z.strictObject({ entry: z.string() }),
  execute: async ({ entry }, { context }) => {
    point('execute', 'before');
    appendFileSync(${JSON.stringify(ledgerPath)}, [Date.now(), process.pid, context.tenant, entry].join(' ') + '\\n');
    point('execute', 'after');
    // Beyond the first time that its lease is extended.
    if (name === 'ledger.long') await sleep(2_200);
    if (name === 'ledger.fail') throw new ToolRejected('full', 'the ledger is full');
    return { written: entry };
  },
  ...more,
});
export const tools = [
  ...${JSON.stringify([...ALONE, 'ledger.long'])}.map((name) => write(name)),
  write('ledger.two', { preview: async ({ entry }) => 'one more line: ' + entry }),
];
`;
}
