/** A sealer in a process of its own, which is killed or frozen where it is told to be. Says so, and where it stands. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { z } from 'zod';
import { Sealer } from '../../src/audit-files/sealer.ts';
import { auditPrivateKeyOf } from '../../src/core/audit/checkpoint.ts';
import { AuditStreamRedis } from '../../src/redis/audit-stream-redis.ts';
import { openRedis } from '../../src/redis/connection.ts';

const Told = z.strictObject({
  path: z.string(),
  directory: z.string(),
  key: z.string(),
  leaseMs: z.number(),
  /** Where, the how manieth time, and by which signal. */
  end: z
    .strictObject({
      point: z.string(),
      times: z.number(),
      signal: z.enum(['SIGKILL', 'SIGSTOP']),
    })
    .optional(),
});
const told = Told.parse(JSON.parse(process.argv[2] ?? ''));

const { redis } = openRedis({ connection: { path: told.path } });
let reached = 0;
const sealer = new Sealer({
  stream: new AuditStreamRedis({ redis, shards: 1, leaseMs: told.leaseMs }),
  directory: told.directory,
  key: auditPrivateKeyOf(told.key),
  logger: pino({ level: 'silent' }),
  // Asks before each step whether it is still the one: as if a good part of the lease had passed.
  leaseMs: 0,
  pollMs: 5,
  heldMs: 50,
  retryMs: 50,
  roundEntries: 20,
  kept: 30,
  async reached(point) {
    if (point !== told.end?.point) return;
    reached += 1;
    if (reached !== told.end.times) return;
    await say({ reached: point });
    process.kill(process.pid, told.end.signal);
    // The signal comes a moment later; nothing may happen in it.
    await sleep(told.end.signal === 'SIGKILL' ? 10_000 : 20);
  },
});
await sealer.start();
process.on('disconnect', () => process.exit());
let last = '';
for (;;) {
  const health = sealer.health();
  const state = `${health.sealing} ${health.problem ?? ''}`.trim();
  if (state !== last) await say({ state });
  last = state;
  await sleep(5);
}

function say(message: object): Promise<void> {
  return new Promise((resolve) => process.send?.(message, () => resolve()));
}
