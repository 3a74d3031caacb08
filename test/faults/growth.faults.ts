import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, expect, it } from 'vitest';
import { verifyAudit } from '../../src/audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../../src/core/audit/checkpoint.ts';
import { EVERYTHING } from '../../src/core/switch/scope.ts';
import { type Installation, startInstallation } from '../../src/demo/installation.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { ACTIONS } from '../../src/slack/card.ts';
import { CHANNEL, CONTEXT } from '../scenarios/ledger-installation.ts';
import { PreloadedParts } from './preloaded-parts.ts';
import { tally } from './tally.ts';

/**
 * The parts of an installation, watched from outside while calls are proposed, decided, run, expire, are taken back and
 * halted, for as long as `--seconds` says: an hour where somebody wants to know. What would grow without end grows here.
 */

const SECONDS = Number(process.env.COUNTERSIGN_FAULTS_SECONDS ?? 150);
const SAMPLE_MS = 3_000;
/** What is kept for days is ended after this; else two minutes would look like growth. */
const KEPT_MS = 15_000;
const FLIP_MS = 20_000;
const WAIT = { timeout: 60_000, interval: 200 };
const MIB = 1024 * 1024;

const POLICY = `
version: 1
tools: { allow: [ledger.note, ledger.write, ledger.slip] }
write_tools: { enabled: true }
approvals:
  required_for: [ledger.write, ledger.slip]
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 10m }
  rules:
    - { tools: [ledger.slip], approvers: ["usergroup:S0SUPPORT"], expires_in: 10s }
auto_approve:
  - { tools: [ledger.note], budget: { max: 1000000, per: 10s } }
tenants:
  acme:
    slack: { team: T0ACME, channel: ${CHANNEL} }
    environments: [production]
    limits: { fold_above: 3 }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

it('cycle after cycle: no process keeps memory, files or connections, and Redis nothing that has no end', async () => {
  const row = tally('cycle after cycle, in real processes');
  const { world, directory } = await started();
  const redis = new Redis(world.redis.connectionOptions);
  stops.push(() => redis.disconnect());
  const writeSwitch = new WriteSwitchRedis({ redis, shards: 1 });
  await writeSwitch.on({ scope: EVERYTHING, by: 'cli:test', why: 'the test begins', expectedEpoch: 0 });
  const parts = new PreloadedParts(directory, new URL('./gauge.mjs', import.meta.url), (part) => ({
    GAUGE: join(directory, `${part}.gauge`),
  }));
  stops.push(() => parts.end('SIGKILL'));
  await Promise.all([world.approvals.stop(), world.executor.stop()]);
  const [approvals, executor] = await Promise.all([
    parts.cli('approvals', world.approvals.envPath, 'start'),
    parts.cli('executor', world.executor.envPath, 'executor'),
  ]);
  const agent = parts.program('agent', 'tireless-agent.mjs', {
    createGuardFrom: new URL('../../src/create-guard.ts', import.meta.url).href,
    policyPath: world.policyPath,
    toolsPath: world.toolsPath,
    redis: world.redis.connectionOptions,
    proposalKey: world.keys.COUNTERSIGN_PROPOSAL_KEY,
    context: CONTEXT,
  });
  const people = new People(world, agent);
  row.injected();

  const watched = new Map(Object.entries({ approvals: approvals.child, executor: executor.child, agent }));
  const series = new Series();
  const until = performance.now() + SECONDS * 1_000;
  let flippedAt = performance.now();
  while (performance.now() < until) {
    for (const [part, child] of watched)
      series.add(part, await lookAt(child, join(directory, `${part}.gauge`)));
    series.add('Redis', await lookAtRedis(redis));
    await lapse(redis);
    if (performance.now() - flippedAt > FLIP_MS) {
      flippedAt = performance.now();
      await people.flip(writeSwitch);
    }
    await sleep(SAMPLE_MS);
  }

  agent.stdin?.end();
  await once(agent, 'exit');
  await people.end();
  print(`in ${SECONDS} s: ${JSON.stringify(people.counts)}`);
  for (const line of series.told()) print(line);
  // Each kind of cycle was really gone through.
  for (const kind of [
    'noted succeeded',
    'decided succeeded',
    'decided approval_denied',
    'expired approval_expired',
  ]) {
    expect(people.counts?.[kind], kind).toBeGreaterThan(0);
  }
  expect(series.grown()).toEqual([]);

  const open = async () => {
    const { pending, approved, executing } = await writeSwitch.status();
    return pending + approved + executing;
  };
  await expect.poll(open, { ...WAIT, timeout: 20_000 }).toBe(0);
  row.stuck(await open());
  const ledger = readFileSync(join(directory, 'ledger'), 'utf8').split('\n').filter(Boolean);
  row.doubled(ledger.length - new Set(ledger).size);
  expect(new Set(ledger).size).toBe(ledger.length);
  await parts.end('SIGTERM');
  const key = auditPublicKeyOf(world.keys.COUNTERSIGN_AUDIT_PUBLIC_KEY);
  const report = verifyAudit(world.auditDirectory, { keys: new Map([[auditKeyId(key), key]]) });
  row.audit(report.verdict === 'intact');
  expect(report).toMatchObject({ verdict: 'intact' });
});

const print = (line: string) => process.stdout.write(`  growth: ${line}\n`);

async function started(): Promise<{ world: Installation; directory: string }> {
  // Inside the package, so that the tools module finds its dependencies.
  const root = join(import.meta.dirname, '..', '..', '.countersign');
  mkdirSync(root, { recursive: true });
  const directory = mkdtempSync(join(root, 'growth-'));
  stops.push(() => rmSync(directory, { recursive: true, force: true }));
  const credentials = join(directory, 'credentials');
  mkdirSync(join(credentials, 'acme', 'production'), { recursive: true, mode: 0o700 });
  writeFileSync(join(credentials, 'acme', 'production', 'write.json'), '{"token":"t"}', { mode: 0o600 });
  const toolsModule = toolsOver(join(directory, 'ledger'));
  const world = await startInstallation({ directory, port: 0, policyText: POLICY, toolsModule, credentials });
  stops.push(() => world.stop());
  return { world, directory };
}

function toolsOver(ledgerPath: string): string {
  const tool = new URL('../../src/core/tool/tool.ts', import.meta.url).href;
  return `
import { appendFileSync } from 'node:fs';
import { z } from 'zod';
import { defineTool } from ${JSON.stringify(tool)};
const writing = (name) => defineTool({
  name,
  description: 'Writes a line.',
  effect: 'write',
  input: z.strictObject({ entry: z.string() }),
  execute: ({ entry }) => {
    appendFileSync(${JSON.stringify(ledgerPath)}, entry + '\\n');
    return { written: entry };
  },
});
export const tools = ['ledger.note', 'ledger.write', 'ledger.slip'].map(writing);
`;
}

/** Who decides what the agents say, and who turns writes off and on. */
class People {
  counts: Record<string, number> | undefined;
  readonly #world: Installation;
  readonly #toDecide: string[] = [];
  readonly #ending = new AbortController();
  readonly #deciding: Promise<void>;
  #decided = 0;

  constructor(world: Installation, agent: ChildProcess) {
    this.#world = world;
    if (agent.stdout === null) throw new Error('the agent has no output');
    createInterface({ input: agent.stdout }).on('line', (line) => {
      const said = JSON.parse(line) as { propose?: string; counts?: Record<string, number> };
      if (said.propose !== undefined) this.#toDecide.push(said.propose);
      this.counts ??= said.counts;
    });
    this.#deciding = this.#decide();
  }

  async flip(writeSwitch: WriteSwitchRedis): Promise<void> {
    const { slack } = this.#world;
    const says = async (user: string, command: string, off: number) => {
      const person = new SlackPerson(slack.url, { team: 'T0ACME', user });
      // Whoever was told by Slack that it did not work types it again.
      const typed = async () => {
        const done = (await writeSwitch.status()).off.length === off;
        if (!done) await person.command(command, CHANNEL);
        return done;
      };
      await expect.poll(typed, { ...WAIT, interval: 2_000 }).toBe(true);
    };
    await says('U0CHEN', '/agent-writes off a look', 1);
    await says('U0LEAD', '/agent-writes on looked', 0);
  }

  async end(): Promise<void> {
    this.#ending.abort();
    await this.#deciding;
  }

  async #decide(): Promise<void> {
    const ana = new SlackPerson(this.#world.slack.url, { team: 'T0ACME', user: 'U0ANA' });
    while (!this.#ending.signal.aborted) {
      await sleep(500);
      const id = this.#toDecide.shift();
      if (id === undefined) continue;
      const card = await ana
        .waitForMessage(CHANNEL, ({ blocks }) => JSON.stringify(blocks).includes(id), 15_000)
        .catch(() => undefined);
      // Halted before it was shown.
      if (card === undefined) continue;
      this.#decided += 1;
      const deny = this.#decided % 3 === 0;
      const answer = await ana.click(card, deny ? ACTIONS.deny : ACTIONS.approve).catch(() => undefined);
      if (!deny || answer?.ok !== true) continue;
      const form = await ana.waitForView(undefined, 3_000).catch(() => undefined);
      if (form !== undefined) await ana.submit(form, { cs_reason: 'no' });
    }
  }
}

type Look = Readonly<Record<string, number>>;

async function lookAt(child: ChildProcess, gauge: string): Promise<Look> {
  const { pid } = child;
  if (pid === undefined || child.exitCode !== null) throw new Error('a part has ended');
  const told = () => linesOf(gauge).length;
  const before = told();
  child.kill('SIGUSR2');
  await expect.poll(told, WAIT).toBeGreaterThan(before);
  const { heap, held } = JSON.parse(linesOf(gauge).at(-1) ?? '{}') as { heap: number; held: number };
  const resident = Number(/VmRSS:\s+([0-9]+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const files = readdirSync(`/proc/${pid}/fd`).length;
  return {
    'heap bytes': heap,
    'resident bytes': resident * 1_024,
    'open files': files,
    'timers and sockets': held,
  };
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}

/** Connections, memory, and for each kind of key without an end how much is in all of them. */
async function lookAtRedis(redis: Redis): Promise<Look> {
  const look: Record<string, number> = {
    connections: String(await redis.client('LIST'))
      .trim()
      .split('\n').length,
    'memory bytes': Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]),
  };
  for await (const keys of redis.scanStream({ count: 1_000 }) as AsyncIterable<string[]>) {
    for (const key of new Set(keys)) {
      if ((await redis.pttl(key)) !== -1) continue;
      const kind = `in ${generic(key)}`;
      look[kind] = (look[kind] ?? 0) + (kind.includes('<id>') ? 1 : await sizeOf(redis, key));
    }
  }
  return look;
}

/** One name for all keys that differ by whose they are. */
function generic(key: string): string {
  return key
    .replace(/prop_[A-Za-z0-9_-]+/, '<id>')
    .replace(/[0-9a-f]{64}$/, '<id>')
    .replace(/(noted|decided|expired|withdrawn)-[0-9]+/, '<id>');
}

async function sizeOf(redis: Redis, key: string): Promise<number> {
  const type = await redis.type(key);
  if (type === 'stream') return redis.xlen(key);
  if (type === 'zset') return redis.zcard(key);
  if (type === 'set') return redis.scard(key);
  if (type === 'list') return redis.llen(key);
  return type === 'hash' ? redis.hlen(key) : 1;
}

/** Days go by: what has an end that is days away has it now, but for what has just come. */
async function lapse(redis: Redis): Promise<void> {
  const now = Number((await redis.time())[0]) * 1_000;
  for await (const keys of redis.scanStream({ count: 1_000 }) as AsyncIterable<string[]>) {
    for (const key of new Set(keys)) {
      const left = await redis.pttl(key);
      const days = [7, 1].find((life) => Math.abs(left - life * DAY_MS) < 10 * 60_000);
      if (days !== undefined && days * DAY_MS - left > KEPT_MS) await redis.unlink(key);
    }
  }
  for (const [counter, said] of Object.entries(await redis.hgetall('{s0}:budgets'))) {
    const [live, newest] = said.split(' ').map(Number);
    if (newest === undefined || now - newest < KEPT_MS) continue;
    await redis.hset('{s0}:budgets', counter, `${live} ${newest - LONGEST_WINDOW_MS}`);
  }
  // Ids stay spent for two days.
  await redis.zremrangebyscore('{s0}:spent', '-inf', now - KEPT_MS);
}

const DAY_MS = 24 * 60 * 60_000;
/** Of a budget. */
const LONGEST_WINDOW_MS = 31 * DAY_MS;

/** What has a bound of its own, further away than a short run gets. */
const BOUNDS: readonly [kind: RegExp, most: number][] = [
  // The sealer leaves ten thousand entries behind, and what came since it last looked.
  [/:audit$/, 13_000],
  // BullMQ: about ten thousand events, and a thousand finished jobs of each kind.
  [/:events$/, 11_000],
  [/:(completed|failed)$/, 1_100],
  [/:bull:proposals:<id>$/, 2_300],
  // Every id of the last days, which here are seconds.
  [/:spent$/, 3_000],
];

class Series {
  readonly #values = new Map<string, number[]>();
  #length = 0;

  add(of: string, look: Look): void {
    this.#length = Math.max(this.#length, (this.#values.get(`${of}: open files`)?.length ?? 0) + 1);
    for (const [kind, value] of Object.entries(look)) {
      const name = `${of}: ${kind}`;
      const values = this.#values.get(name) ?? [];
      // A key that was not there was empty.
      while (values.length < this.#length - 1) values.push(0);
      values.push(value);
      this.#values.set(name, values);
    }
  }

  told(): string[] {
    return [...this.#values].flatMap(([name, values]) => {
      const [middle, last] = this.#thirds(values);
      return name.includes(': in ') ? [] : [`${name}: ${shown(name, middle)} → ${shown(name, last)}`];
    });
  }

  /** What was more in the last third than in the one before, in words. */
  grown(): string[] {
    const grown: string[] = [];
    for (const [name, values] of this.#values) {
      const [middle, last] = this.#thirds(values);
      const bound = BOUNDS.find(([kind]) => kind.test(name))?.[1] ?? 0;
      if (last > bound && last > mostAfter(name, middle)) {
        grown.push(`${name}: ${shown(name, middle)} → ${shown(name, last)}`);
      }
    }
    return grown;
  }

  #thirds(values: readonly number[]): [middle: number, last: number] {
    const all = [...values, ...Array<number>(Math.max(0, this.#length - values.length)).fill(0)];
    const third = Math.floor(all.length / 3);
    return [median(all.slice(third, 2 * third)), median(all.slice(2 * third))];
  }
}

/** The heap is what is held; what a process has of the machine, and Redis of its memory, comes and goes by more. */
function mostAfter(name: string, before: number): number {
  if (name.endsWith('heap bytes')) return before * 1.05 + 4 * MIB;
  if (name.endsWith('bytes')) return before * 1.1 + 8 * MIB;
  return before * 1.1 + (name.includes(': in ') ? 50 : 5);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function shown(name: string, value: number): string {
  return name.endsWith('bytes') ? `${(value / MIB).toFixed(1)} MiB` : String(value);
}
