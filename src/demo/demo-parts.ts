import { readFileSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pino } from 'pino';
import { createGuard, type OpenGuard } from '../create-guard.ts';
import { CredentialsFromFiles } from '../queue/credentials-from-files.ts';
import { AuditLogRedis } from '../redis/audit-log-redis.ts';
import { openRedis } from '../redis/connection.ts';
import { WriteSwitchRedis } from '../redis/write-switch-redis.ts';
import { type HelpDesk, startHelpDesk } from '../sandbox/help-desk/help-desk.ts';
import { supportTools } from '../sandbox/help-desk/support-tools.ts';
import { type Installation, startInstallation } from './installation.ts';

const SCOPES = [
  { tenant: 'acme', environment: 'production' },
  { tenant: 'acme', environment: 'staging' },
  { tenant: 'globex', environment: 'production' },
  { tenant: 'globex', environment: 'staging' },
] as const;

const POLICY = new URL('../sandbox/demo-policy.yaml', import.meta.url);

/** The installation with what the demo's agent works on. */
export interface DemoParts extends Omit<Installation, 'stop'> {
  readonly helpDesk: HelpDesk;
  readonly guard: OpenGuard;
  readonly audit: AuditLogRedis;
  readonly writeSwitch: WriteSwitchRedis;
  /** Everything that the demo wrote. */
  readonly directory: string;
  stop(): Promise<void>;
}

export interface DemoOptions {
  /** Emptied at the start: each run tells the story from its beginning. */
  readonly directory: string;
  /** Of the page; 0 takes a free one. */
  readonly port: number;
  readonly mode?: 'socket' | 'http';
  /** What the page shows beside the channel; asked again and again. */
  readonly tally: () => unknown;
}

/** Everything up, the switch not yet armed. What was started is stopped again where a part fails. */
export async function startDemoParts(options: DemoOptions): Promise<DemoParts> {
  const { directory, port, tally, mode = 'socket' } = options;
  const stops: (() => Promise<unknown> | unknown)[] = [];
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    rmSync(directory, { recursive: true, force: true });
    const helpDesk = await startHelpDesk({ directory: join(directory, 'help-desk'), scopes: SCOPES });
    stops.push(() => helpDesk.stop());
    const credentials = {
      executor: join(directory, 'credentials', 'executor'),
      guard: join(directory, 'credentials', 'guard'),
    };
    // The executor reads as well: for the previews that the cards show.
    helpDesk.writeCredentials(credentials.executor);
    helpDesk.writeCredentials(credentials.guard, 'read');
    const policyText = readFileSync(POLICY, 'utf8');
    const installation = await startInstallation({
      directory,
      port,
      mode,
      page: (request, response) => answerTally(tally, request, response),
      policyText,
      toolsModule: toolsModule(helpDesk.url),
      credentials: credentials.executor,
    });
    stops.push(() => installation.stop());

    const { redis, keys } = installation;
    const connections = openRedis({ connection: redis.connectionOptions, name: 'countersign-demo' });
    stops.push(() => connections.close());
    const guard = createGuard({
      policy: policyText,
      tools: supportTools(helpDesk.url),
      redis: redis.connectionOptions,
      proposalKey: keys.COUNTERSIGN_PROPOSAL_KEY,
      readCredentials: new CredentialsFromFiles(credentials.guard),
      logger: pino({ name: 'agent' }, pino.destination(join(directory, 'agent.log'))),
    });
    stops.push(() => guard.close());
    const stores = { redis: connections.redis, shards: 1 };
    return {
      ...installation,
      helpDesk,
      guard,
      audit: new AuditLogRedis(stores),
      writeSwitch: new WriteSwitchRedis(stores),
      directory,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The parts load the tools from a module, as they would a host's. */
function toolsModule(helpDeskUrl: string): string {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const { href } = new URL(`../sandbox/help-desk/support-tools.${ending}`, import.meta.url);
  return `import { supportTools } from ${JSON.stringify(href)};\nexport const tools = supportTools(${JSON.stringify(helpDeskUrl)});\n`;
}

function answerTally(tally: () => unknown, request: IncomingMessage, response: ServerResponse): boolean {
  if (request.url !== '/demo/tally') return false;
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(tally()));
  return true;
}
