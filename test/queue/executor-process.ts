import { appendFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { approvalPublicKeyOf } from '../../src/core/approval/decision.ts';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { PolicyHolder } from '../../src/core/policy/policy-source.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { DispatchBullMQ } from '../../src/queue/dispatch-bullmq.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { Sweeper } from '../../src/queue/sweeper.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';
import { closeTicketWith, createTicket, PROPOSAL_KEY, policyOf, writeDatabase } from './sealed-call.ts';

/**
 * An executor as its own process, to be raced, frozen and killed. Its tool writes the ticket's name to a file and then
 * does what the name says. Prints `ready`; ends on a line on its standard input.
 */
const [socket = '', file = '', publicKey = '', leaseMs = '10000', shards = '1'] = process.argv.slice(2);

const tool = closeTicketWith(async (args) => {
  const { ticket } = args as { ticket: string };
  appendFileSync(file, `${ticket} ${process.pid}\n`);
  if (ticket.startsWith('hang')) await new Promise(() => {});
  await sleep(20);
  return { closed: ticket };
});
const { redis, subscriber } = openRedis({ connection: { path: socket }, onError: () => {} });
subscriber.disconnect();
const store = new ProposalStoreRedis({ redis, shards: Number(shards), keys: [PROPOSAL_KEY] });
const dispatch = new DispatchBullMQ({ connection: redis, shards: Number(shards) });
const logger = pino({ level: 'warn' }, process.stderr);
const worker = new ExecutionWorker({
  store,
  registry: new ToolRegistry([tool, createTicket, writeDatabase]),
  policy: new PolicyHolder(policyOf()),
  keys: { proposal: [PROPOSAL_KEY], approval: [approvalPublicKeyOf(publicKey)] },
  credentials: { fetch: async () => new Credentials({ token: 'hunter2-the-write-token' }) },
  executorId: `test:${process.pid}`,
  logger,
  dispatch,
  connection: redis,
  shards: Number(shards),
  leaseMs: Number(leaseMs),
});
worker.start();
await worker.ready();
const sweeper = new Sweeper({ store, dispatch, logger, intervalMs: 200 });
sweeper.start();
process.stdout.write('ready\n');

createInterface({ input: process.stdin }).once('line', async () => {
  await sweeper.stop();
  process.stdout.write(`left ${(await worker.stop({ graceMs: 500 })).length}\n`);
  process.exit(0);
});
