import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type GeneratedKeys, generateKeys } from '../../src/generate-keys.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const READY_MS = 30_000;
/** Longer than an agent is ever frozen. */
const ANSWER_MS = 20_000;

/** A channel, a tenant and two approvers of their own: what one lane does holds up no other. */
export interface Lane {
  readonly tenant: string;
  readonly channel: string;
  readonly approvers: readonly [string, string];
}

/** In the last but one, many calls share one card; in the last one the switch is flipped. */
export const LANES: readonly Lane[] = Array.from({ length: 5 }, (_, i) => ({
  tenant: `lane${i}`,
  channel: `C0LANE${i}`,
  approvers: [`U0ANA${i}`, `U0BEN${i}`],
}));
export const FLOODED = LANES.length - 2;
export const SWITCHED = LANES.length - 1;

export const PARTS = ['approvals', 'executor', 'agent'] as const;
export type PartName = (typeof PARTS)[number];

export interface Fault {
  readonly what: string;
  readonly when: 'before' | 'after';
  readonly nth: number;
  readonly signal: 'SIGKILL' | 'SIGSTOP';
}

export interface SweepInstallation {
  readonly directory: string;
  readonly redis: EmbeddedRedis;
  readonly slack: LocalSlack;
  readonly keys: GeneratedKeys;
  readonly auditDirectory: string;
  readonly parts: Readonly<Record<PartName, SweptPart>>;
  readonly agent: AgentPart;
  /** Each run of a tool: when, for whom, and what. */
  ledger(): { at: number; tenant: string; entry: string }[];
  /** With `keep`, what was written stays, for whoever looks for what went wrong. */
  stop(options?: { keep: boolean }): Promise<void>;
}

export async function startSweepInstallation(): Promise<SweepInstallation> {
  mkdirSync(join(ROOT, '.countersign'), { recursive: true });
  const directory = mkdtempSync(join(ROOT, '.countersign', 'sweep-'));
  const redis = await startEmbeddedRedis({ directory: join(directory, 'redis'), appendOnly: 'always' });
  const world = worldOfLanes();
  const slack = await startLocalSlack({ world, delivery: { mode: 'socket' }, port: 0 });
  // Compiled, since that starts fastest; a copy, since whoever works on the sources meanwhile compiles anew.
  const dist = join(directory, 'dist');
  cpSync(join(ROOT, 'dist'), dist, { recursive: true });
  const keys = generateKeys();
  const ledgerPath = join(directory, 'ledger');
  writeFileSync(ledgerPath, '');
  const policy = policyText();
  const tools = join(directory, 'tools.mjs');
  writeFileSync(tools, toolsModule(dist, ledgerPath));
  writeFileSync(join(directory, 'policy.yaml'), policy);
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
  const token = world.workspaces.find(({ team }) => team === 'T0ACME')?.installation?.botToken ?? '';
  const place = { directory, dist, audit: auditDirectory, api: slack.apiUrl };
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
    place,
    cli('start', {
      ...common,
      SLACK_API_URL: slack.apiUrl,
      SLACK_BOT_TOKEN: token,
      SLACK_APP_TOKEN: world.app.appToken,
      COUNTERSIGN_APPROVAL_PRIVATE_KEY: keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
      COUNTERSIGN_AUDIT_DIR: auditDirectory,
      COUNTERSIGN_AUDIT_PRIVATE_KEY: keys.COUNTERSIGN_AUDIT_PRIVATE_KEY,
    }),
  );
  const executor = new SweptPart(
    'executor',
    place,
    cli('executor', {
      ...common,
      COUNTERSIGN_CREDENTIALS: join(directory, 'credentials'),
      COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
    }),
  );
  const agent = new AgentPart(place, {
    modules: { createGuard: join(dist, 'create-guard.js') },
    tools,
    options: { policy, redis: redis.connectionOptions, proposalKey: keys.COUNTERSIGN_PROPOSAL_KEY },
  });
  await Promise.all([approvals.start(), executor.start(), agent.start()]);
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
          const [at, tenant, ...entry] = line.split(' ');
          return { at: Number(at), tenant: tenant ?? '', entry: entry.join(' ') };
        }),
    async stop({ keep } = { keep: false }) {
      for (const part of Object.values(parts)) await part.kill9();
      await slack.close();
      await redis.stop();
      if (!keep) rmSync(directory, { recursive: true, force: true });
    },
  };
}

interface Place {
  readonly directory: string;
  readonly dist: string;
  readonly audit: string;
  readonly api: string;
}

/** A part as its operator runs it, with test/faults/fault-points.mjs around its writes. */
export class SweptPart {
  readonly name: PartName;
  readonly logPath: string;
  readonly #place: Place;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #pointsPath: string;
  #child: ChildProcess | undefined;
  #isReady = false;
  #read = 0;
  readonly #passed = new Set<string>();
  readonly #fired = new Set<number>();
  readonly #disarmed = new Set<number>();
  #faults = 0;

  constructor(
    name: PartName,
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

  /** From now on it may end or freeze at any moment. @returns what `hasFired` is asked with. */
  arm(fault: Fault): number {
    const id = this.#nextFault();
    if (this.running && this.#child?.connected) this.#child.send({ arm: { ...fault, id } }, () => {});
    return id;
  }

  /** Resolves when it cannot fire any more; it may have, in this very moment. */
  async disarm(fault: number): Promise<void> {
    if (this.running && this.#child?.connected) this.#child.send({ disarm: fault }, () => {});
    const until = performance.now() + READY_MS;
    while (this.running && !this.hasFired(fault) && !this.#disarmed.has(fault) && performance.now() < until) {
      await sleep(10);
    }
  }

  /** Resolves when it is ready, or has ended: `running` tells. `armed`: from its very first write. */
  async start(armed?: Fault, isArmed: (id: number) => void = () => {}): Promise<void> {
    const { directory, dist, audit, api } = this.#place;
    const id = armed && this.#nextFault();
    const points = {
      part: this.name,
      log: this.#pointsPath,
      lua: join(dist, 'redis', 'lua'),
      root: ROOT,
      audit,
      api,
      ...(armed ? { armed: { ...armed, id } } : {}),
    };
    const log = openSync(this.logPath, 'a');
    const preload = join(import.meta.dirname, 'fault-points.mjs');
    const child = spawn(process.execPath, ['--import', preload, ...this.#args], {
      cwd: directory,
      stdio: ['ignore', log, log, 'ipc'],
      env: { ...this.#env, FAULT_POINTS: JSON.stringify(points) },
    });
    closeSync(log);
    this.#child = child;
    this.#isReady = false;
    this.heard(child);
    if (id !== undefined) isArmed(id);
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

  async kill9(): Promise<void> {
    if (!this.running) return;
    const ended = this.ended();
    this.#child?.kill('SIGKILL');
    await ended;
  }

  protected get child(): ChildProcess | undefined {
    return this.#child;
  }

  protected heard(_child: ChildProcess): void {}

  #nextFault(): number {
    this.#faults += 1;
    return this.#faults;
  }

  #readPoints(): void {
    const text = readFileSync(this.#pointsPath, 'utf8');
    // A process that is killed in the middle of a line leaves its beginning.
    const end = text.lastIndexOf('\n') + 1;
    for (const line of text.slice(this.#read, end).split('\n').filter(Boolean)) {
      const said = JSON.parse(line) as { passed?: string; fired?: number; disarmed?: number };
      if (said.passed !== undefined) this.#passed.add(said.passed.slice(this.name.length + 1));
      if (said.fired !== undefined) this.#fired.add(said.fired);
      if (said.disarmed !== undefined) this.#disarmed.add(said.disarmed);
    }
    this.#read = end;
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

function worldOfLanes() {
  const world = demoWorld();
  const acme = world.workspaces.find(({ team }) => team === 'T0ACME');
  if (acme === undefined) throw new Error('the demo has no Acme');
  const people = LANES.flatMap(({ approvers }) => approvers);
  return {
    ...world,
    workspaces: [
      {
        ...acme,
        users: [
          ...acme.users,
          ...people.map((id) => ({
            id,
            home: 'T0ACME',
            name: id.toLowerCase(),
            realName: id,
            title: 'Support',
            email: `${id.toLowerCase()}@acme.example`,
          })),
        ],
        groups: (acme.groups ?? []).map((group) =>
          group.id === 'S0SUPPORT' ? { ...group, users: [...group.users, ...people] } : group,
        ),
        channels: [
          ...acme.channels,
          ...LANES.map(({ channel, tenant, approvers }) => ({
            id: channel,
            name: tenant,
            members: [...approvers, 'U0CHEN', 'U0LEAD', 'U0BOTACME'],
          })),
        ],
      },
    ],
  };
}

function policyText(): string {
  const tenants = LANES.map(
    ({ tenant, channel }, i) =>
      `  ${tenant}: { slack: { team: T0ACME, channel: ${channel} }, environments: [production], limits: { pending_per_agent: 200, fold_above: ${i === FLOODED ? 1 : 100} } }`,
  );
  return `
version: 1
tools: { allow: [ledger.one, ledger.two, ledger.fail, ledger.short, ledger.auto, ledger.edit, ledger.grant] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 30m, reason: { deny: required } }
  rules:
    - { tools: [ledger.two], quorum: 2 }
    - { tools: [ledger.short], expires_in: 10s, remind_after: 2s, escalate: { after: 4s, to: ["user:U0LEAD"] } }
    - { tools: [ledger.edit], edit: true }
    - { tools: [ledger.grant], grants: { max_uses: 20, for: 1h } }
auto_approve:
  - { tools: [ledger.auto], budget: { max: 100000, per: 1h, by: [tenant, environment, agent] } }
tenants:
${tenants.join('\n')}
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;
}

function toolsModule(dist: string, ledgerPath: string): string {
  const from = (path: string) => JSON.stringify(join(dist, path));
  return `
import { appendFileSync } from 'node:fs';
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
    appendFileSync(${JSON.stringify(ledgerPath)}, Date.now() + ' ' + context.tenant + ' ' + entry + '\\n');
    point('execute', 'after');
    if (name === 'ledger.fail') throw new ToolRejected('full', 'the ledger is full');
    return { written: entry };
  },
  ...more,
});
export const tools = [
  ...['ledger.one', 'ledger.fail', 'ledger.short', 'ledger.auto', 'ledger.edit', 'ledger.grant'].map((name) => write(name)),
  write('ledger.two', { preview: async ({ entry }) => 'one more line: ' + entry }),
];
`;
}
