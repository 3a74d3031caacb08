// `npm run bench`: what the guard, the decision, the executor and the switch cost, on an embedded Redis with every write on
// the disk before its answer. Machines differ and are noisy: compare the lines of one run with each other.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import type { ApprovalPrivateKey } from '../src/core/approval/decision.ts';
import { personOf } from '../src/core/identity/ids.ts';
import { proposalKeyOf, unseal } from '../src/core/proposal/seal.ts';
import { defineTool } from '../src/core/tool/tool.ts';
import { createGuard } from '../src/create-guard.ts';
import type { ProposalHandle } from '../src/guard/proposal-handle.ts';
import { openRedis } from '../src/redis/connection.ts';
import { ProposalStoreRedis } from '../src/redis/proposal-store-redis.ts';
import { WriteSwitchRedis } from '../src/redis/write-switch-redis.ts';
import { startEmbeddedRedis } from '../src/sandbox/embedded-redis.ts';
import { ReplicatedRedis } from '../test/redis/replicated-for-tests.ts';
import { newTestKeys, sealedTerms, signedDecision } from '../test/sealed-terms.ts';

const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'bench',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run',
};
const POLICY = `
version: 1
tools: { allow: [item.read, item.write] }
write_tools: { enabled: true }
approvals:
  required_for: [item.write]
  defaults: { approvers: ["user:U0ANA"], expires_in: 1h }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACMEAPP }
    environments: [production]
    limits: { pending_per_agent: 10000, pending_per_tenant: 10000 }
switch: { operators: ["user:U0CHEN"], arming: { operators: ["user:U0LEAD"] } }
`;
const tools = (['read', 'write'] as const).map((effect) =>
  defineTool({
    name: `item.${effect}`,
    description: 'Does nothing.',
    effect,
    input: z.strictObject({ id: z.string() }),
    execute: ({ id }) => ({ id }),
  }),
);

const directory = mkdtempSync(join(tmpdir(), 'countersign-bench-'));
const redis = await startEmbeddedRedis({ directory, appendOnly: 'always' });
const proposalKey = randomBytes(32);
const approvalPrivate = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
const keys = { ...newTestKeys(), proposal: proposalKeyOf(proposalKey), approvalPrivate };
const connections = openRedis({ connection: redis.connectionOptions });
const stores = { redis: connections.redis, shards: 1 };
const store = new ProposalStoreRedis({ ...stores, keys: [keys.proposal] });
const writeSwitch = new WriteSwitchRedis(stores);
const guard = createGuard({
  policy: POLICY,
  tools,
  redis: redis.connectionOptions,
  proposalKey,
  logger: pino({ level: 'silent' }),
});
const renewing = setInterval(() => void writeSwitch.renewPermits(), 1_000);

try {
  await writeSwitch.on({ scope: {}, by: 'cli:bench', why: 'bench', expectedEpoch: 0 });
  const [read] = tools;
  const run = { context: CONTEXT } as unknown as Parameters<NonNullable<typeof read>['execute']>[1];
  await measure('a read, called directly', 2_000, async () => void (await read?.execute({ id: 'a' }, run)));
  await measure(
    'a read, through the guard',
    2_000,
    async () => void (await guard.call(call('item.read', 'a'), CONTEXT)),
  );
  await measure('one round trip to Redis (PING)', 2_000, async () => void (await connections.redis.ping()));
  const handles: ProposalHandle[] = [];
  await measure('a write becomes a proposal', 1_000, async (n) => {
    handles.push(await guard.propose(call('item.write', `a${n}`), CONTEXT));
  });
  await measure('a decision, signed and recorded', 500, async (n) => decide(handles[n]));
  for (const pending of [500, 5_000]) {
    while ((await writeSwitch.status()).pending < pending) {
      await Promise.all(
        Array.from({ length: 50 }, (_, n) =>
          guard.propose(call('item.write', `b${n}-${handles.length}`), CONTEXT),
        ),
      );
    }
    await measure(`off, answered, with ${pending} pending (it waits 50 ms on purpose)`, 1, async () => {
      const { confirmed } = await writeSwitch.off({ scope: {}, by: 'cli:bench' });
      if (!confirmed) throw new Error('off was not confirmed');
    });
    const { epoch } = await writeSwitch.status();
    await writeSwitch.on({ scope: {}, by: 'cli:bench', why: 'bench', expectedEpoch: epoch });
  }
  await withReplica();
} finally {
  clearInterval(renewing);
  await guard.close();
  connections.close();
  await redis.stop();
  rmSync(directory, { recursive: true, force: true });
}

function call(tool: string, id: string) {
  return { tool, args: { id } };
}

async function decide(handle: ProposalHandle | undefined): Promise<void> {
  const record = handle && (await store.read(handle.id));
  const opened = record && unseal([keys.proposal], record.termsText, record.seal);
  if (!opened?.ok) throw new Error('no proposal to decide');
  const decided = await store.decide(
    signedDecision(opened.sealed, 'approve', personOf('T0ACME', 'U0ANA'), { keys }),
  );
  if (!decided.ok) throw new Error(decided.refusal);
}

/** The same writes on the same two servers, waited for by nobody and by the replica: one at a time, and many at once. */
async function withReplica(): Promise<void> {
  const replicated = await ReplicatedRedis.start();
  const { redis: master, close } = openRedis({ connection: replicated.master.connectionOptions });
  const limits = { pendingPerAgent: 100_000, pendingPerTenant: 100_000 };
  const permits = new WriteSwitchRedis({ redis: master, shards: 1 });
  const renewingHere = setInterval(() => void permits.renewPermits(), 1_000);
  try {
    await permits.on({ scope: {}, by: 'cli:bench', why: 'bench', expectedEpoch: 0 });
    for (const replicas of [0, 1]) {
      const held = new ProposalStoreRedis({ redis: master, shards: 1, keys: [keys.proposal], replicas });
      const { epoch } = await permits.status();
      const create = async () => {
        const now = await held.now();
        const { created } = await held.create(sealedTerms({ epoch, now, keys }), limits);
        if (created !== 'new') throw new Error(created);
      };
      await measure(`a proposal, ${replicas} replicas waited for, one at a time`, 300, create);
      await measure(`a hundred proposals at once, ${replicas} replicas waited for`, 10, async () => {
        await Promise.all(Array.from({ length: 100 }, create));
      });
    }
  } finally {
    clearInterval(renewingHere);
    close();
    await replicated.stop();
  }
}

/** One after the other, as one agent would; median and 99th percentile in microseconds. */
async function measure(what: string, times: number, once: (n: number) => Promise<void>): Promise<void> {
  const took: number[] = [];
  for (let n = 0; n < times; n += 1) {
    const before = process.hrtime.bigint();
    await once(n);
    took.push(Number(process.hrtime.bigint() - before) / 1_000);
  }
  took.sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round(took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0);
  console.log(
    `${what.padEnd(64)} ${String(at(0.5)).padStart(9)} µs median ${String(at(0.99)).padStart(9)} µs p99`,
  );
}
