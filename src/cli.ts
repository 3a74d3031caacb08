#!/usr/bin/env node
import { userInfo } from 'node:os';
import { Argument, Command, InvalidArgumentError } from 'commander';
import type { Logger } from 'pino';
import { addAuditCommands } from './audit-commands.ts';
import { type ConfigOf, type Part, processEnvironment, readConfig } from './config.ts';
import { loadPolicyOrThrow } from './core/policy/policy-load.ts';
import { describeScope, EVERYTHING } from './core/switch/scope.ts';
import type { Closed, Operator } from './core/switch/write-switch.ts';
import { brief, jsonLine } from './core/tool/visible-text.ts';
import { runDemo } from './demo/demo.ts';
import { generateKeys, KEY_KINDS, type KeyKind, keyLines } from './generate-keys.ts';
import { readPolicyText } from './policy-file.ts';
import { processLogger } from './process-log.ts';
import { before } from './queue/before.ts';
import { AuditLogRedis } from './redis/audit-log-redis.ts';
import { openRedis, standingShards } from './redis/connection.ts';
import { keysInUse } from './redis/keys-in-use-redis.ts';
import { WriteSwitchRedis } from './redis/write-switch-redis.ts';
import { type RunningPart, startApprovalService, startExecutor } from './service.ts';
import { loadTools } from './tools-module.ts';

/** Above what each part gives its own work: what still holds on to the process then would hold on for ever. */
const STOP_WITHIN_MS = 60_000;

/** Nobody turned writes off, and they are off all the same. */
const CLOSED_BECAUSE: Readonly<Record<Closed, string>> = {
  never_armed: 'Nobody has turned them on yet, or Redis was emptied and the switch with it.',
  permit_lapsed: 'No approval service has renewed the permit. They come back by themselves when one runs.',
  unreadable: 'What Redis holds of the switch cannot be read, or is older than what was seen before.',
};

/** Ended by what the operator has to put right: nothing was started, and the text says what to do. */
class Unusable extends Error {
  override readonly name = 'Unusable';
  readonly code = 'unusable';
}

const program = new Command('countersign')
  .description("A human's signature on every write that an AI agent makes.")
  .option('--env <file>', 'a file of variables; what the process was started with wins over it', '.env')
  .showHelpAfterError('(countersign --help lists the commands)');

program
  .command('demo')
  .description('the whole story on this machine: a local Slack with a web page, a help desk, an agent')
  .option('--auto', 'play all the people too, check each step, and end')
  .option('--port <port>', 'where the page is served', portNumber, 3939)
  .action(async (options: { auto?: boolean; port: number }) => {
    const code = await runDemo({
      auto: options.auto === true,
      port: options.port,
      print,
    });
    // An agent may still wait for what nobody will decide any more.
    process.exit(code);
  });

program
  .command('start')
  .description('the approval service: cards and clicks in Slack, the switch; holds the signing key')
  .action(() => runUntilStopped('start', startApprovalService).catch(endNow));

program
  .command('executor')
  .description('the executor: runs approved calls; the one process that holds credentials for writes')
  .action(() => runUntilStopped('executor', startExecutor).catch(endNow));

const writes = program.command('writes').description('the kill switch, from a terminal');
writes
  .command('off')
  .description('stop all agent writes; answers when none can start any more')
  .option('--reason <text>', 'why, for the people who ask later')
  .action(async (options: { reason?: string }) => {
    await withSwitch(async (writeSwitch) => {
      const answer = await writeSwitch.off({
        scope: EVERYTHING,
        by: operator(),
        ...(options.reason === undefined ? {} : { why: options.reason }),
      });
      print(
        answer.confirmed
          ? `Agent writes are OFF, confirmed by ${answer.confirmedShards} of ${answer.shards} shards.`
          : `NOT CONFIRMED: ${answer.confirmedShards} of ${answer.shards} shards answered. Run this again until it is confirmed.`,
      );
      if (answer.halting !== undefined) {
        print(
          `Halted so far: ${answer.halted.length}. Already executing, as far as is known: ${answer.executing.length}. It goes on …`,
        );
      }
      const { halted, executing, complete } = (await answer.halting) ?? answer;
      print(`Halted: ${halted.length}. Already executing, may finish: ${executing.length}.`);
      if (!complete && answer.confirmed) {
        print(
          'Not everything could be looked at. None of the rest can start, and an approval service halts it.',
        );
      }
      if (!answer.confirmed) process.exitCode = 1;
    });
  });
writes
  .command('on')
  .description('arm agent writes again')
  .requiredOption('--reason <text>', 'why it is safe')
  .action(async (options: { reason: string }) => {
    await withSwitch(async (writeSwitch) => {
      const { epoch } = await writeSwitch.status();
      const answer = await writeSwitch.on({
        scope: EVERYTHING,
        by: operator(),
        why: options.reason,
        expectedEpoch: epoch,
      });
      if (!answer.ok) {
        throw new Unusable(
          {
            epoch_moved:
              'Somebody flipped the switch at the same moment. Look at its status, then decide again.',
            not_off: 'Agent writes are on already.',
            not_confirmed:
              'NOT CONFIRMED: not every shard confirmed it, so writes may be on, all of them or some. If they must not be, run "countersign writes off". Otherwise look at "countersign writes status", and run this again.',
          }[answer.refusal],
        );
      }
      print(
        'Agent writes are ON. They stay on only while an approval service runs to hear "off".',
        `The policy's switch.arming was not asked: from a terminal, whoever can reach Redis arms alone. It is recorded as ${operator()}, and told in the channels.`,
      );
    });
  });
writes
  .command('status')
  .description('whether writes are on, since when, by whom, and what is waiting')
  .action(async () => {
    await withSwitch(async (writeSwitch) => {
      const status = await writeSwitch.status();
      const last = status.last === undefined ? 'nobody has turned them on yet' : lastFlip(status.last);
      print(
        `Agent writes are ${status.state.toUpperCase()} (${last}).`,
        ...(status.closed === undefined ? [] : [`  ${CLOSED_BECAUSE[status.closed]}`]),
        ...status.off.map((entry) => `  off: ${describeScope(entry.scope)} (${lastFlip({ ...entry })})`),
        `Waiting for people: ${status.pending}. Approved: ${status.approved}. Executing: ${status.executing}.`,
        `Shards that answered: ${status.answered} of ${status.shards}.`,
      );
    });
  });

addAuditCommands(program, {
  withLog: async (use) => {
    const { connections, config } = openCli();
    try {
      await use(new AuditLogRedis({ redis: connections.redis, shards: config.shards }));
    } finally {
      connections.close();
    }
  },
  directory: () => processEnvironment(program.opts<{ env: string }>().env).COUNTERSIGN_AUDIT_DIR,
});

const policy = program.command('policy').description('the policy file');
policy
  .command('check')
  .description('read a policy and name every problem with its line')
  .argument('<file>')
  .option('--tools <module>', 'also check that the tools it names exist')
  .action(async (file: string, options: { tools?: string }) => {
    const tools = options.tools === undefined ? undefined : await loadTools(options.tools);
    const loaded = loadPolicyOrThrow(await readPolicyText(file), {
      fileName: file,
      ...(tools ? { tools } : {}),
    });
    print(`${file} is fine. Version ${loaded.version}`);
  });

const keys = program
  .command('keys')
  .description('keys for the approval service, the executors and the guards');
keys
  .command('generate')
  .description('print new keys, all or of one kind; each line says who may have it')
  .addArgument(new Argument('[kind]', 'the one kind').choices(KEY_KINDS))
  .action((kind?: KeyKind) => print(...keyLines(generateKeys(), kind && [kind])));
keys
  .command('in-use')
  .description('which keys sealed what lies in Redis: to see that an old one is no longer needed')
  .action(async () => {
    const { connections } = openCli();
    try {
      const uses = await keysInUse(connections.redis);
      if (uses.length === 0) print('Nothing in Redis is sealed with any key.');
      for (const { key, open, settled, grants, installations } of uses) {
        print(
          `${key}  proposals that can still run: ${open}  settled: ${settled}  grants: ${grants}  installed workspaces: ${installations}`,
        );
      }
    } finally {
      connections.close();
    }
  });

try {
  await program.parseAsync();
} catch (error) {
  sayWhy(error);
  process.exitCode = 1;
}

/** Errors of ours say what to do; a stack would only hide it. Anything else is a fault, and shows where. */
function sayWhy(error: unknown): void {
  const ours = error instanceof Error && 'code' in error;
  process.stderr.write(`${ours ? error.message : String(error instanceof Error ? error.stack : error)}\n`);
}

/** A part that did not start must not stay, whatever still holds the process: whoever looks after it starts it anew. */
function endNow(error: unknown): never {
  sayWhy(error);
  process.exit(1);
}

/** Runs a part until SIGINT, SIGTERM, or the end of the parent that started it with a channel. */
async function runUntilStopped<P extends 'start' | 'executor'>(
  part: P,
  start: (config: ConfigOf[P], logger: Logger) => Promise<RunningPart>,
): Promise<void> {
  const config = configOf(part);
  const logger = processLogger(part, config.logLevel);
  // The SDK's sockets can reject where nobody listens (SLACK.md 2). What is decided is durable before it is answered.
  process.on('unhandledRejection', (err) => logger.error({ err }, 'unhandled rejection'));
  const running = await start(config, logger);
  logger.info(`${part === 'start' ? 'the approval service' : 'the executor'} is ready`);
  process.send?.({ ready: true, port: running.port });
  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
    process.once('disconnect', () => resolve());
  });
  logger.info('stopping');
  try {
    for (const left of await before(STOP_WITHIN_MS, running.stop())) logger.warn(left);
  } catch (err) {
    logger.error(
      { err },
      'not everything ended in time or in order; whoever runs next takes up what is left',
    );
    process.exit(1);
  }
  logger.info('stopped');
  process.exit(0);
}

function configOf<P extends Part>(part: P): ConfigOf[P] {
  const read = readConfig(processEnvironment(program.opts<{ env: string }>().env), part);
  if (read.ok) return read.config;
  const count = read.problems.length === 1 ? 'One thing is' : `${read.problems.length} things are`;
  throw new Unusable(
    [
      `countersign ${part} did not start. ${count} missing or wrong:`,
      ...read.problems.map((line) => `  - ${line}`),
    ].join('\n'),
  );
}

function openCli() {
  const config = configOf('cli');
  const connections = openRedis({
    connection: config.redis.connection.reveal(),
    replicas: config.redis.replicas,
    name: 'countersign-cli',
  });
  return { config, connections };
}

async function withSwitch(use: (writeSwitch: WriteSwitchRedis) => Promise<void>): Promise<void> {
  const { config, connections } = openCli();
  const { redis, replicas } = connections;
  // Who types this in an incident may not have SHARDS set, and `off` must reach every shard that there is.
  const shards = (await standingShards(redis)) ?? config.shards;
  const { startDeadlineMs } = config;
  const writeSwitch = new WriteSwitchRedis({ redis, shards, replicas, startDeadlineMs });
  try {
    await use(writeSwitch);
  } finally {
    await writeSwitch.stop();
    connections.close();
  }
}

function operator(): Operator {
  return `cli:${userInfo().username}`;
}

function lastFlip(flip: { by: Operator; why: string | undefined; since: number }): string {
  const why = flip.why === undefined ? '' : `: ${jsonLine(flip.why)}`;
  return `${brief(flip.by)}, ${new Date(flip.since).toISOString()}${why}`;
}

function print(...lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError('a port is 0 to 65535');
  return port;
}
