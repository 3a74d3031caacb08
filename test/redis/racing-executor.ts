/**
 * An executor reduced to its start, as a process of its own: it asks for admission, and starts only within D of having
 * asked. Each start is a line in a file: the monotonic clock in nanoseconds, which all processes of a machine share.
 */
import { randomBytes } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { proposalKeysIn, termsDigestOf } from '../../src/core/proposal/seal.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { ProposalStoreRedis } from '../../src/redis/proposal-store-redis.ts';

const [path = '', startsFile = '', name = '', deadlineMs = '', key = ''] = process.argv.slice(2);
const deadline = BigInt(deadlineMs) * 1_000_000n;
const store = new ProposalStoreRedis({
  redis: openRedis({ connection: { path }, name }).redis,
  shards: 1,
  keys: proposalKeysIn(key),
});

process.on('disconnect', () => process.exit());
process.send?.('ready');

for (;;) {
  const { ready } = await store.due(40);
  const id = ready[Math.floor(Math.random() * ready.length)];
  if (id === undefined) {
    await sleep(1);
    continue;
  }
  const record = await store.read(id);
  if (record === undefined) continue;
  const asked = process.hrtime.bigint();
  const answer = await store.admit({
    id,
    termsDigest: termsDigestOf(record.termsText),
    admission: randomBytes(16).toString('hex'),
    executor: name,
    leaseMs: 60_000,
  });
  if (!answer.ok) continue;
  // A host that is busy with other things, now and then for longer than D.
  if (Math.random() < 0.3) await sleep(Math.random() * 1.5 * Number(deadlineMs));
  const start = process.hrtime.bigint();
  if (start - asked >= deadline) {
    await store.giveBack(answer.admission, 'too slow');
    continue;
  }
  appendFileSync(startsFile, `${start} ${id}\n`);
  await store.finish(answer.admission, { outcome: 'succeeded', result: '1' });
}
