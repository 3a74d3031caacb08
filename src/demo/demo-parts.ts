import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, copyFileSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { pino } from 'pino';
import { loadPolicyOrThrow } from '../core/policy/policy-load.ts';
import { PolicyHolder } from '../core/policy/policy-source.ts';
import { createGuard, type OpenGuard } from '../create-guard.ts';
import { type GeneratedKeys, generateKeys } from '../generate-keys.ts';
import { CredentialsFromFiles } from '../queue/credentials-from-files.ts';
import { AuditLogRedis } from '../redis/audit-log-redis.ts';
import { openRedis } from '../redis/connection.ts';
import { WriteSwitchRedis } from '../redis/write-switch-redis.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../sandbox/embedded-redis.ts';
import { type HelpDesk, startHelpDesk } from '../sandbox/help-desk/help-desk.ts';
import { supportTools } from '../sandbox/help-desk/support-tools.ts';
import { spawnProgram } from '../sandbox/node-program.ts';
import { demoWorld } from '../sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../sandbox/slack/local-slack.ts';
import { servePageFile } from '../sandbox/slack/page-files.ts';
import type { SlackWorld } from '../sandbox/slack/slack-world.ts';

export const DEMO_SCOPES = [
  { tenant: 'acme', environment: 'production' },
  { tenant: 'acme', environment: 'staging' },
  { tenant: 'globex', environment: 'production' },
  { tenant: 'globex', environment: 'staging' },
] as const;

/** A whole installation on this machine, each part a process of its own as in production. */
export interface DemoParts {
  readonly slack: LocalSlack;
  readonly helpDesk: HelpDesk;
  readonly guard: OpenGuard;
  readonly audit: AuditLogRedis;
  readonly writeSwitch: WriteSwitchRedis;
  /** Everything that the demo wrote: `.countersign/demo`. */
  readonly directory: string;
  stop(): Promise<void>;
}

export interface DemoOptions {
  /** Emptied at the start: each run tells the story from its beginning. */
  readonly directory: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** What the page shows beside the channel; asked again and again. */
  readonly tally: () => unknown;
}

/** A part did not come up. Its log says why; the end of it is in the message. */
export class DemoPartFailed extends Error {
  override readonly name = 'DemoPartFailed';
  readonly code = 'demo_part_failed';
}

/** Everything up, the switch not yet armed. What was started is stopped again where a part fails. */
export async function startDemoParts(options: DemoOptions): Promise<DemoParts> {
  const stops: (() => Promise<unknown> | unknown)[] = [];
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const { directory } = options;
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const [redis, helpDesk] = await Promise.all([
      startEmbeddedRedis({ directory: join(directory, 'redis'), appendOnly: 'always' }),
      startHelpDesk({ directory: join(directory, 'help-desk'), scopes: DEMO_SCOPES }),
    ]);
    stops.push(
      () => redis.stop(),
      () => helpDesk.stop(),
    );
    const world = demoWorld();
    const slack = await startSlack(world, options);
    stops.push(() => slack.close());

    const files = writeFiles(directory, redis, helpDesk, slack, world);
    const parts = await Promise.all([
      startPart('start', files.approvalsEnv, join(directory, 'approvals.log')),
      startPart('executor', files.executorEnv, join(directory, 'executor.log')),
    ]);
    for (const part of parts) stops.push(() => stopPart(part));

    const connections = openRedis({ connection: redis.connectionOptions, name: 'countersign-demo' });
    stops.push(() => connections.close());
    const tools = supportTools(helpDesk.url);
    const guard = createGuard({
      policy: new PolicyHolder(loadPolicyOrThrow(files.policyText, { tools, fileName: 'demo-policy.yaml' })),
      tools,
      redis: redis.connectionOptions,
      proposalKey: files.keys.COUNTERSIGN_PROPOSAL_KEY,
      readCredentials: new CredentialsFromFiles(files.readCredentials),
      logger: pino({ name: 'agent' }, pino.destination(join(directory, 'agent.log'))),
    });
    stops.push(() => guard.close());
    return {
      slack,
      helpDesk,
      guard,
      audit: new AuditLogRedis({ redis: connections.redis, shards: 1 }),
      writeSwitch: new WriteSwitchRedis({ redis: connections.redis, shards: 1 }),
      directory,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function startSlack(world: SlackWorld, options: DemoOptions): Promise<LocalSlack> {
  const page = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.url !== '/demo/tally') return servePageFile(request, response);
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(JSON.stringify(options.tally()));
    return true;
  };
  return startLocalSlack({ world, delivery: { mode: 'socket' }, port: options.port, page });
}

interface DemoFiles {
  readonly keys: GeneratedKeys;
  readonly policyText: string;
  readonly approvalsEnv: string;
  readonly executorEnv: string;
  readonly readCredentials: string;
}

/** Each part gets its own secrets and no other's, in a file that only this user can read. */
function writeFiles(
  directory: string,
  redis: EmbeddedRedis,
  helpDesk: HelpDesk,
  slack: LocalSlack,
  world: SlackWorld,
): DemoFiles {
  const policyPath = join(directory, 'policy.yaml');
  copyFileSync(fileURLToPath(new URL('../sandbox/demo-policy.yaml', import.meta.url)), policyPath);
  const toolsPath = join(directory, 'tools.mjs');
  const supportToolsUrl = new URL(
    `../sandbox/help-desk/support-tools.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`,
    import.meta.url,
  );
  writeFileSync(
    toolsPath,
    `import { supportTools } from ${JSON.stringify(pathToFileURL(fileURLToPath(supportToolsUrl)).href)};\nexport const tools = supportTools(${JSON.stringify(helpDesk.url)});\n`,
  );
  const credentials = join(directory, 'credentials', 'executor');
  helpDesk.writeCredentials(credentials, 'write');
  const readCredentials = join(directory, 'credentials', 'guard');
  helpDesk.writeCredentials(readCredentials, 'read');

  const keys = generateKeys();
  const common = {
    REDIS_URL: redis.socketPath,
    COUNTERSIGN_POLICY: policyPath,
    COUNTERSIGN_TOOLS: toolsPath,
    COUNTERSIGN_PROPOSAL_KEY: keys.COUNTERSIGN_PROPOSAL_KEY,
  };
  const approvalsEnv = join(directory, 'approvals.env');
  writeEnv(approvalsEnv, {
    ...common,
    SLACK_API_URL: slack.apiUrl,
    SLACK_BOT_TOKEN: world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []).join(','),
    SLACK_APP_TOKEN: world.app.appToken,
    COUNTERSIGN_APPROVAL_PRIVATE_KEY: keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
  });
  const executorEnv = join(directory, 'executor.env');
  writeEnv(executorEnv, {
    ...common,
    COUNTERSIGN_CREDENTIALS: credentials,
    COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
  });
  return { keys, policyText: readFileSync(policyPath, 'utf8'), approvalsEnv, executorEnv, readCredentials };
}

function writeEnv(path: string, variables: Readonly<Record<string, string>>): void {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  writeFileSync(path, `${lines.join('\n')}\n`, { mode: 0o600 });
}

/** `countersign start` or `countersign executor`, as an operator would run it; it ends when this process does. */
async function startPart(
  part: 'start' | 'executor',
  envFile: string,
  logPath: string,
): Promise<ChildProcess> {
  const log = openSync(logPath, 'a', 0o600);
  const child = spawnProgram('cli', ['--env', envFile, part], {
    stdio: ['ignore', log, log, 'ipc'],
    // A Ctrl-C in the terminal is for the demo, which then stops its parts in order.
    detached: true,
    env: {},
  });
  closeSync(log);
  const started = await Promise.race([
    once(child, 'message').then(() => true),
    once(child, 'exit').then(() => false),
  ]);
  if (!started) {
    const end = readFileSync(logPath, 'utf8').trim().split('\n').slice(-8).join('\n');
    throw new DemoPartFailed(`countersign ${part} did not start. From ${logPath}:\n${end}`);
  }
  return child;
}

async function stopPart(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  if (child.connected) child.disconnect();
  await exited;
}
