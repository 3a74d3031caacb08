import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { z } from 'zod';
import { AUDIT_BACKLOG_MAX } from '../../src/core/audit/audit-stream.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { Unavailable } from '../../src/guard/call-errors.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { redisForTests } from '../redis-for-tests.ts';

const redis = redisForTests();
const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-1',
};
const POLICY = `
version: 1
tools: { allow: [ticket.read, ticket.close] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"], expires_in: 10m } }
tenants:
  acme: { slack: { team: T0ACME, channel: C0ACMEAPP }, environments: [production] }
switch: { operators: ["user:U0CHEN"], arming: { operators: ["user:U0LEAD"] } }
`;
const input = z.strictObject({ id: z.string() });
const tools = [
  defineTool({ name: 'ticket.read', description: 'Reads.', effect: 'read', input, execute: ({ id }) => id }),
  defineTool({
    name: 'ticket.close',
    description: 'Closes.',
    effect: 'write',
    input,
    execute: ({ id }) => id,
  }),
];

let guard: OpenGuard | undefined;
afterEach(() => guard?.close());

it('[audit:every-transition] where nobody seals the audit, writes are refused in words, and reads go on', async () => {
  guard = createGuard({
    policy: POLICY,
    tools,
    redis: redis.connectionOptions,
    proposalKey: randomBytes(32).toString('base64'),
    logger: pino({ level: 'silent' }),
  });
  const writeSwitch = new WriteSwitchRedis({ redis: redis.client, shards: 1 });
  await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'the test begins', expectedEpoch: 0 });
  const call = { tool: 'ticket.close', args: { id: 'T-1' } };
  await guard.propose(call, CONTEXT);

  const fill = `for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'n', i) end`;
  await redis.client.eval(`#!lua\n${fill}`, 1, '{s0}:audit', String(AUDIT_BACKLOG_MAX));
  const refused = await guard.propose(call, CONTEXT).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Unavailable);
  expect(String(refused)).toContain('The audit is not being sealed');
  expect(await guard.call({ tool: 'ticket.read', args: { id: 'T-1' } }, CONTEXT)).toBe('T-1');

  await redis.client.hset('{s0}:audit-sealed', 'kept', String(AUDIT_BACKLOG_MAX));
  await writeSwitch.renewPermits();
  expect((await guard.propose(call, CONTEXT)).id).toMatch(/^prop_/);
});
