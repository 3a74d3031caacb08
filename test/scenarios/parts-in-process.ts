import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Logger, pino } from 'pino';
import { readConfig } from '../../src/config.ts';
import { proposalKeysIn } from '../../src/core/proposal/seal.ts';
import { createGuard, type GuardOptions, type OpenGuard } from '../../src/create-guard.ts';
import { type GeneratedKeys, generateKeys } from '../../src/generate-keys.ts';
import { CredentialsFromEnv } from '../../src/queue/credentials-from-env.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import type { SlackWorld } from '../../src/sandbox/slack/slack-world.ts';
import { type RunningPart, startApprovalService, startExecutor } from '../../src/service.ts';
import { loadTools } from '../../src/tools-module.ts';

export const CHANNEL = 'C0ACMEAPP';
export const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
} as const;

type Variables = Readonly<Record<string, string>>;

interface Given {
  /** As in REDIS_URL. */
  readonly redis: string;
  /** Default 1. */
  readonly shards?: number;
  readonly policy: string;
  readonly toolsPath: string;
  /** Default: the demo's. */
  readonly world?: SlackWorld;
}

/** The parts as `countersign` starts them from variables, in this process, so that all they log can be read. */
export class PartsInProcess {
  readonly keys: GeneratedKeys = generateKeys();
  readonly directory = mkdtempSync(join(tmpdir(), 'cs-parts-'));
  readonly auditDirectory = join(this.directory, 'audit');
  readonly logged: string[] = [];
  readonly logger: Logger = pino(
    { level: 'trace' },
    { write: (line: string) => void this.logged.push(line) },
  );
  readonly slack: LocalSlack;
  readonly writeSwitch: WriteSwitchRedis;
  readonly #redis: string;
  readonly #shards: number;
  readonly #policy: string;
  readonly #toolsPath: string;
  readonly #connections: ReturnType<typeof openRedis>;
  readonly #open = new Set<() => Promise<unknown>>();

  static async open(given: Given): Promise<PartsInProcess> {
    const world = given.world ?? demoWorld();
    const slack = await startLocalSlack({ world, delivery: { mode: 'socket' } });
    return new PartsInProcess(slack, given);
  }

  private constructor(slack: LocalSlack, { redis, shards = 1, policy, toolsPath }: Given) {
    this.slack = slack;
    this.#redis = redis;
    this.#shards = shards;
    this.#policy = policy;
    this.#toolsPath = toolsPath;
    writeFileSync(join(this.directory, 'policy.yaml'), policy);
    mkdirSync(this.auditDirectory);
    this.#connections = openRedis({ url: redis, onError: () => {} });
    this.writeSwitch = new WriteSwitchRedis({ redis: this.#connections.redis, shards });
  }

  async armWrites(): Promise<void> {
    const on = await this.writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: 0 });
    if (!on.ok) throw new Error(`could not arm: ${on.refusal}`);
  }

  approvals(changes: Variables = {}): Promise<RunningPart> {
    const tokens = this.slack.world.workspaces.flatMap(({ installation }) => installation?.botToken ?? []);
    const read = readConfig(
      {
        ...this.#common(),
        SLACK_API_URL: this.slack.apiUrl,
        SLACK_BOT_TOKEN: tokens.join(','),
        SLACK_APP_TOKEN: this.slack.world.app.appToken,
        COUNTERSIGN_APPROVAL_PRIVATE_KEY: this.keys.COUNTERSIGN_APPROVAL_PRIVATE_KEY,
        COUNTERSIGN_AUDIT_DIR: this.auditDirectory,
        COUNTERSIGN_AUDIT_PRIVATE_KEY: this.keys.COUNTERSIGN_AUDIT_PRIVATE_KEY,
        ...changes,
      },
      'start',
    );
    if (!read.ok) throw new Error(read.problems.join('\n'));
    return this.#running(startApprovalService(read.config, this.logger));
  }

  executor(changes: Variables = {}): Promise<RunningPart> {
    const read = readConfig(
      {
        ...this.#common(),
        COUNTERSIGN_APPROVAL_PUBLIC_KEY: this.keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
        COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__TOKEN: 'the-write-token',
        COUNTERSIGN_CRED_ACME__PRODUCTION__READ__TOKEN: 'the-read-token',
        ...changes,
      },
      'executor',
    );
    if (!read.ok) throw new Error(read.problems.join('\n'));
    return this.#running(startExecutor(read.config, this.logger));
  }

  async guard(changes: Partial<GuardOptions> = {}): Promise<OpenGuard> {
    const guard = createGuard({
      policy: this.#policy,
      tools: await loadTools(this.#toolsPath),
      redis: this.#redis,
      shards: this.#shards,
      proposalKey: this.keys.COUNTERSIGN_PROPOSAL_KEY,
      readCredentials: new CredentialsFromEnv({
        COUNTERSIGN_CRED_ACME__PRODUCTION__READ__TOKEN: 'the-read-token',
      }),
      logger: this.logger,
      ...changes,
    });
    this.#open.add(() => guard.close());
    return guard;
  }

  /** With the keys of whoever asks. */
  store(proposalKey = this.keys.COUNTERSIGN_PROPOSAL_KEY): ProposalStoreRedis {
    return new ProposalStoreRedis({
      redis: this.#connections.redis,
      shards: this.#shards,
      keys: proposalKeysIn(proposalKey),
    });
  }

  person(user: string): SlackPerson {
    return new SlackPerson(this.slack.url, { team: 'T0ACME', user });
  }

  card(proposal: string, saying = 'Approval needed', channel = CHANNEL): Promise<SeenMessage> {
    return this.person('U0CHEN').waitForMessage(
      channel,
      ({ blocks }) =>
        JSON.stringify(blocks).includes(proposal) && JSON.stringify(blocks[0] ?? {}).includes(saying),
      30_000,
    );
  }

  async close(): Promise<void> {
    for (const end of [...this.#open].reverse()) await end();
    await this.writeSwitch.stop();
    this.#connections.close();
    await this.slack.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #common(): Variables {
    return {
      REDIS_URL: this.#redis,
      COUNTERSIGN_SHARDS: String(this.#shards),
      COUNTERSIGN_POLICY: join(this.directory, 'policy.yaml'),
      COUNTERSIGN_TOOLS: this.#toolsPath,
      COUNTERSIGN_PROPOSAL_KEY: this.keys.COUNTERSIGN_PROPOSAL_KEY,
      LOG_LEVEL: 'trace',
    };
  }

  /** Ends with everything else, where the test has not ended it before. */
  async #running(starting: Promise<RunningPart>): Promise<RunningPart> {
    const part = await starting;
    let stopped: Promise<readonly string[]> | undefined;
    const stop = () => {
      stopped ??= part.stop();
      return stopped;
    };
    this.#open.add(stop);
    return { port: part.port, stop };
  }
}
