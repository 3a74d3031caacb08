import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { type GeneratedKeys, generateKeys } from '../generate-keys.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../sandbox/embedded-redis.ts';
import { spawnProgram } from '../sandbox/node-program.ts';
import { demoWorld } from '../sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../sandbox/slack/local-slack.ts';

export interface InstallationOptions {
  /** An empty directory for everything that is written. */
  readonly directory: string;
  /** Of the local Slack; 0 takes a free one. */
  readonly port: number;
  /** What the local Slack's web server answers beside its page. */
  readonly page?: (request: IncomingMessage, response: ServerResponse) => boolean;
  readonly policyText: string;
  /** The source of the tools module: `export const tools = […]`. */
  readonly toolsModule: string;
  /** The executor's directory of credentials. */
  readonly credentials: string;
  /** How Slack reaches the approval service. Default `socket`. */
  readonly mode?: 'socket' | 'http';
  /** Both parts answer `/health` and `/ready`, each on a free port. In HTTP mode the approval service does anyway. */
  readonly answering?: boolean;
}

/** Redis, Slack, an approval service and an executor on this machine, each a process of its own as in production. */
export interface Installation {
  readonly redis: EmbeddedRedis;
  readonly slack: LocalSlack;
  readonly keys: GeneratedKeys;
  readonly policyPath: string;
  readonly toolsPath: string;
  /** Where the audit is sealed. */
  readonly auditDirectory: string;
  readonly approvals: PartProcess;
  readonly executor: PartProcess;
  stop(): Promise<void>;
}

/** A part did not come up. Its log says why; the end of it is in the message. */
export class PartFailed extends Error {
  override readonly name = 'PartFailed';
  readonly code = 'part_failed';
}

/** Everything up, the switch not armed. What was started is stopped again where a part fails. */
export async function startInstallation(options: InstallationOptions): Promise<Installation> {
  const { directory, mode = 'socket', answering = false } = options;
  const stops: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const redis = await startEmbeddedRedis({ directory: join(directory, 'redis'), appendOnly: 'always' });
    stops.push(() => redis.stop());
    const world = demoWorld();
    const { page, port } = options;
    const slack = await startLocalSlack({
      world,
      delivery: { mode: 'socket' },
      port,
      ...(page ? { page } : {}),
    });
    stops.push(() => slack.close());

    const keys = generateKeys();
    const policyPath = join(directory, 'policy.yaml');
    writeFileSync(policyPath, options.policyText);
    const toolsPath = join(directory, 'tools.mjs');
    writeFileSync(toolsPath, options.toolsModule);
    const auditDirectory = join(directory, 'audit');
    const common = {
      REDIS_URL: redis.socketPath,
      COUNTERSIGN_POLICY: policyPath,
      COUNTERSIGN_TOOLS: toolsPath,
      COUNTERSIGN_PROPOSAL_KEY: keys.COUNTERSIGN_PROPOSAL_KEY,
      ...(answering ? { PORT: '0' } : {}),
    };
    const tokens = world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []);
    const approvals = new PartProcess('start', directory, {
      ...common,
      SLACK_API_URL: slack.apiUrl,
      SLACK_BOT_TOKEN: tokens.join(','),
      ...(mode === 'socket'
        ? { SLACK_APP_TOKEN: world.app.appToken }
        : { SLACK_MODE: 'http', SLACK_SIGNING_SECRET: world.app.signingSecret, PORT: '0' }),
      COUNTERSIGN_APPROVAL_PRIVATE_KEY: keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
      COUNTERSIGN_AUDIT_DIR: auditDirectory,
      COUNTERSIGN_AUDIT_PRIVATE_KEY: keys.COUNTERSIGN_AUDIT_PRIVATE_KEY,
    });
    const executor = new PartProcess('executor', directory, {
      ...common,
      COUNTERSIGN_CREDENTIALS: options.credentials,
      COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
    });
    stops.push(
      () => executor.stop(),
      () => approvals.stop(),
    );
    await Promise.all([approvals.start(), executor.start()]);
    if (mode === 'http') {
      slack.deliverTo({ mode: 'http', url: `http://127.0.0.1:${approvals.port}/slack/events` });
    }
    return { redis, slack, keys, policyPath, toolsPath, auditDirectory, approvals, executor, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** `countersign start` or `countersign executor` as an operator runs it; it ends when this process does. */
export class PartProcess {
  readonly logPath: string;
  readonly envPath: string;
  readonly #command: 'start' | 'executor';
  #child: ChildProcess | undefined;
  #port: number | undefined;

  /** Its secrets go into a file that only this user can read, and to no other part. */
  constructor(command: 'start' | 'executor', directory: string, variables: Readonly<Record<string, string>>) {
    const name = command === 'start' ? 'approvals' : 'executor';
    this.#command = command;
    this.logPath = join(directory, `${name}.log`);
    this.envPath = join(directory, `${name}.env`);
    const lines = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
    writeFileSync(this.envPath, `${lines.join('\n')}\n`, { mode: 0o600 });
  }

  /** @throws Error where it does not run. */
  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.#command} does not run`);
    return this.#child.pid;
  }

  /** Where it listens for Slack, in HTTP mode, and answers `/health` and `/ready`. */
  get port(): number | undefined {
    return this.#port;
  }

  /** @throws PartFailed */
  async start(): Promise<void> {
    const log = openSync(this.logPath, 'a', 0o600);
    const child = spawnProgram('cli', ['--env', this.envPath, this.#command], {
      stdio: ['ignore', log, log, 'ipc'],
      // A Ctrl-C in the terminal is for the process that owns this one, which then stops its parts in order.
      detached: true,
      env: {},
    });
    closeSync(log);
    const ready = await Promise.race([
      once(child, 'message').then(([message]: unknown[]) => message as { port?: number }),
      once(child, 'exit').then(() => undefined),
    ]);
    if (ready === undefined) {
      const end = readFileSync(this.logPath, 'utf8').trim().split('\n').slice(-8).join('\n');
      throw new PartFailed(`countersign ${this.#command} did not start. From ${this.logPath}:\n${end}`);
    }
    this.#port = ready.port;
    this.#child = child;
  }

  /** An orderly end: what is in hand is finished first. */
  async stop(): Promise<void> {
    await this.#end((child) => {
      if (child.connected) child.disconnect();
    });
  }

  /** The machine loses power. */
  async kill9(): Promise<void> {
    await this.#end((child) => child.kill('SIGKILL'));
  }

  async #end(how: (child: ChildProcess) => void): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    how(child);
    await exited;
  }
}
