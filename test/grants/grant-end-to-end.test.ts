import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { createGuard } from '../../src/create-guard.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { ACME, testKeys } from '../sealed-terms.ts';
import { CHANNEL, policyOf, surfaceForTests } from '../slack/surface-for-tests.ts';

const redis = redisForTests();
const ran: string[] = [];

const label = defineTool({
  name: 'ticket.label',
  description: 'Puts a label on a ticket.',
  input: z.strictObject({ ticket: z.string(), label: z.string() }),
  execute: ({ ticket }) => {
    ran.push(ticket);
    return { labelled: ticket };
  },
});

const policy = policyOf(
  `
tools: { allow: [ticket.label] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"] }
  rules:
    - tools: [ticket.label]
      grants: { max_uses: 20, for: 1h }
tenants:
  acme: { slack: { team: T0ACME, channel: ${CHANNEL} }, environments: [production] }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"] }
`,
  [label],
);

describe('a guard, an executor and people in Slack', () => {
  const t = surfaceForTests('socket', redis, {
    adjust: (parts) => ({ ...parts, policy, registry: new ToolRegistry([label]) }),
  });

  it('ask once, then run two calls without asking, then ask again', async () => {
    const logger = pino({ level: 'silent' });
    const worker = new ExecutionWorker({
      store: t.store,
      registry: new ToolRegistry([label]),
      policy,
      keys: { proposal: [testKeys.proposal], approval: [testKeys.approvalPublic] },
      credentials: { fetch: async () => new Credentials({}) },
      dispatch: t.parts.dispatch,
      connection: redis.client,
      shards: 1,
      executorId: 'test:1',
      startDeadlineMs: 1_000,
      logger,
    });
    const guard = createGuard({
      policy,
      tools: [label],
      redis: redis.connectionOptions,
      proposalKey: testKeys.proposal,
      logger,
    });
    const renewal = setInterval(() => void t.writeSwitch.renewPermits().catch(() => {}), 1_000);
    worker.start();
    await worker.ready();
    try {
      const call = (ticket: string) =>
        guard.call({ tool: 'ticket.label', args: { ticket, label: 'billing' } }, ACME, { timeout: 20_000 });
      const first = call('T-1');
      const ana = t.person('U0ANA');
      const card = await ana.waitForMessage(CHANNEL, ({ blocks }) =>
        JSON.stringify(blocks).includes('cs_grant'),
      );
      await ana.click(card, 'cs_grant');
      const form = await ana.waitForView();
      const shown = await ana.submit(form, {
        cs_grant_uses_number: { type: 'number_input', value: '2' },
        cs_grant_minutes_number: { type: 'number_input', value: '30' },
        cs_grant_free_arguments: {
          type: 'checkboxes',
          selected_options: [
            { text: { type: 'plain_text', text: 'ticket may differ', emoji: false }, value: '1' },
          ],
        },
      });
      if (!shown.ok || shown.view === null) throw new Error(JSON.stringify(shown));
      expect(await ana.submit(shown.view)).toMatchObject({ ok: true, view: null });
      await expect(first).resolves.toEqual({ labelled: 'T-1' });
      await ana.waitForMessage(CHANNEL, ({ blocks }) => JSON.stringify(blocks).includes('0 of 2 calls used'));

      await expect(call('T-2')).resolves.toEqual({ labelled: 'T-2' });
      await expect(call('T-3')).resolves.toEqual({ labelled: 'T-3' });
      const fourth = await guard.propose(
        { tool: 'ticket.label', args: { ticket: 'T-4', label: 'billing' } },
        ACME,
      );
      expect(await fourth.status()).toBe('pending');
      await t.cardSaying(fourth.id, 'Approval needed');
      expect(ran).toEqual(['T-1', 'T-2', 'T-3']);
      await ana.waitForMessage(CHANNEL, ({ blocks }) =>
        JSON.stringify(blocks[0] ?? {}).includes('Grant used up'),
      );
    } finally {
      clearInterval(renewal);
      await guard.close();
      await worker.stop();
    }
  });
});
