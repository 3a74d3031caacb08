import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { proposalKeysIn } from '../../src/core/proposal/seal.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { type Installation, startInstallation } from '../../src/demo/installation.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { loadTools } from '../../src/tools-module.ts';

const ROOT = join(import.meta.dirname, '..', '..');

export const CHANNEL = 'C0ACMEAPP';
export const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'ledger-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};

const POLICY = `
version: 1
tools: { allow: [ledger.write] }
write_tools: { enabled: true }
approvals:
  required_for: [ledger.write]
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: 10m }
tenants:
  acme: { slack: { team: T0ACME, channel: C0ACMEAPP }, environments: [production] }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;

/** Real processes around one tool that writes a line to a file, and returns only once it is let go. */
export interface LedgerInstallation extends Omit<Installation, 'stop'> {
  readonly guard: OpenGuard;
  readonly store: ProposalStoreRedis;
  readonly writeSwitch: WriteSwitchRedis;
  readonly audit: AuditLogRedis;
  readonly ana: SlackPerson;
  readonly chen: SlackPerson;
  readonly lea: SlackPerson;
  readonly directory: string;
  /** What the tool wrote: one line for each time that it ran. */
  ledger(): string[];
  /** Lets running and coming calls return. */
  letGo(): void;
  /** The card of a proposal, once it is in the channel. */
  card(proposal: string): Promise<SeenMessage>;
  stop(): Promise<void>;
}

export async function startLedgerInstallation(
  mode: 'socket' | 'http' = 'socket',
  policyText = POLICY,
  { answering = false } = {},
): Promise<LedgerInstallation> {
  // Inside the package, so that the tools module finds its dependencies.
  mkdirSync(join(ROOT, '.countersign'), { recursive: true });
  const directory = mkdtempSync(join(ROOT, '.countersign', 'ledger-'));
  const credentials = join(directory, 'credentials');
  mkdirSync(join(credentials, 'acme', 'production'), { recursive: true, mode: 0o700 });
  writeFileSync(join(credentials, 'acme', 'production', 'write.json'), '{"token":"t"}', { mode: 0o600 });
  const ledgerPath = join(directory, 'ledger');
  const releasePath = join(directory, 'let-go');
  writeFileSync(ledgerPath, '');
  const installation = await startInstallation({
    directory,
    port: 0,
    mode,
    answering,
    policyText,
    toolsModule: toolsModule(ledgerPath, releasePath),
    credentials,
  });
  const { redis, slack, keys, toolsPath } = installation;
  const connections = openRedis({ connection: redis.connectionOptions });
  const stores = { redis: connections.redis, shards: 1 };
  const guard = createGuard({
    policy: policyText,
    tools: await loadTools(toolsPath),
    redis: redis.connectionOptions,
    proposalKey: keys.COUNTERSIGN_PROPOSAL_KEY,
    logger: pino({ level: 'silent' }),
  });
  const writeSwitch = new WriteSwitchRedis(stores);
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'the test begins', expectedEpoch: 0 });
  const person = (user: string) => new SlackPerson(slack.url, { team: 'T0ACME', user });
  const ana = person('U0ANA');
  return {
    ...installation,
    guard,
    store: new ProposalStoreRedis({ ...stores, keys: proposalKeysIn(keys.COUNTERSIGN_PROPOSAL_KEY) }),
    writeSwitch,
    audit: new AuditLogRedis(stores),
    ana,
    chen: person('U0CHEN'),
    lea: person('U0LEAD'),
    directory,
    ledger: () => readFileSync(ledgerPath, 'utf8').split('\n').filter(Boolean),
    letGo: () => writeFileSync(releasePath, ''),
    card: (proposal) =>
      ana.waitForMessage(CHANNEL, (message) => JSON.stringify(message.blocks).includes(proposal), 15_000),
    async stop() {
      await guard.close();
      connections.close();
      await installation.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function toolsModule(ledgerPath: string, releasePath: string): string {
  const tool = new URL('../../src/core/tool/tool.ts', import.meta.url).href;
  return `
import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { defineTool } from ${JSON.stringify(tool)};
export const tools = [
  defineTool({
    name: 'ledger.write',
    description: 'Writes a line.',
    effect: 'write',
    input: z.strictObject({ entry: z.string() }),
    execute: async ({ entry }) => {
      appendFileSync(${JSON.stringify(ledgerPath)}, entry + '\\n');
      while (!existsSync(${JSON.stringify(releasePath)})) await sleep(20);
      return { written: entry };
    },
  }),
];
`;
}
