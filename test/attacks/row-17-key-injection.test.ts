import { expect } from 'vitest';
import { z } from 'zod';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { loadPolicy } from '../../src/core/policy/policy-load.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { onceKey, paceKey } from '../../src/redis/keys.ts';
import { OnceMemoryRedis } from '../../src/redis/once-memory-redis.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { parseSwitchCommand } from '../../src/slack/switch-command.ts';
import { testContext } from '../sealed-terms.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedGuard, CONTEXT } from './attacked-guard.ts';

/** Names made to be read as another key, another shard, a pattern of keys, or a command. */

const close = defineTool({
  name: 'ticket.close',
  description: 'Closes a ticket.',
  input: z.strictObject({ id: z.string() }),
  execute: () => null,
});

const attacked = attackedGuard({
  tools: [close],
  policy: `
tools: { allow: [ticket.close] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production]
    limits: { pending_per_agent: 1000 }
`,
});

/** In each place where the host, an agent or a person of Slack names something. */
const hostile: readonly (readonly [what: string, text: string])[] = [
  ['the separator', 'acme:ready'],
  ['another shard', '{s1}acme'],
  ['the shard’s own tag', '{s0}:switch'],
  ['an opening brace', 'acme{'],
  ['a closing brace', 'acme}'],
  ['every key', '*'],
  ['a glob of one letter', 'acm?'],
  ['a glob of letters', 'acm[e]'],
  ['a blank', 'acme acme'],
  ['a blank behind', 'acme '],
  ['a newline behind', 'acme\n'],
  ['a command', 'acme\r\nFLUSHALL\r\n'],
  ['a command in Redis’s own words', 'acme\r\n*1\r\n$8\r\nFLUSHALL\r\n'],
  ['NUL', 'acme\0globex'],
  ['a tab', 'acme\tglobex'],
  ['a capital', 'ACME'],
  ['a Cyrillic letter', 'асme'],
  ['a full-width colon', 'acme：ready'],
  ['a letter that nobody sees', 'ac\u200bme'],
  ['a path', '../acme'],
  ['a slash', 'acme/production'],
  ['a scope’s separators', 'acme&tool=ticket.close'],
  ['Lua', "acme']..redis.call('FLUSHALL')..['"],
  ['__proto__', '__proto__'],
  ['64 letters', 'a'.repeat(64)],
  ['a megabyte', 'a'.repeat(1_000_000)],
];

const call = { tool: 'ticket.close', args: { id: 'T-1' } };
let calls = 0;
const anyCall = (more: object) => {
  calls += 1;
  return { ...call, args: { id: `T-${calls}` }, ...more };
};

/** One hash tag, at the front; then names and separators of ours, and nothing else. */
const KEY = /^\{s0\}:[a-zA-Z0-9][a-zA-Z0-9_.:=-]*$/;
const allKeysAreOurs = async () => {
  const strange = (await attacked.keys()).filter((key) => !KEY.test(key));
  expect(strange).toEqual([]);
};

const attacks: AttackCase[] = [
  ...hostile.map(
    ([what, text]): AttackCase => [
      `[scope:identity-comes-from-the-context] a name of the context with ${what}`,
      async () => {
        for (const field of ['tenant', 'environment', 'agent', 'run', 'principal'] as const) {
          // Runs are told apart by people, and have capitals; so long a name is none either.
          if (field === 'run' && /^[A-Za-z]{1,128}$/.test(text)) continue;
          const context = { ...CONTEXT, [field]: text } as CallContextInput;
          const { error, entry } = await attacked.refuses(
            call,
            { code: 'permission_denied', reason: 'context_invalid', kind: 'call.forbidden' },
            context,
          );
          expect(error.message).toContain(`(${field})`);
          expect(entry).toMatchObject({ tenant: '-', detail: { fields: [field] } });
          expect(JSON.stringify(entry).length).toBeLessThan(1_000);
        }
        await allKeysAreOurs();
      },
    ],
  ),
  ...hostile.map(
    ([what, text]): AttackCase => [
      `[policy:unknown-tenant-or-environment-is-forbidden] a tenant of the policy, or a command’s scope, with ${what}`,
      () => {
        const named = JSON.stringify(text);
        const tenants = `tenants:\n  ? ${named}\n  : { slack: { team: T0A, channel: C0A }, environments: [production] }\n`;
        expect(loadPolicy(tenants)).toMatchObject({ ok: false });
        const nothingElse = { tenant: () => true, environment: () => true, tool: () => true };
        const on = parseSwitchCommand(`on tenant=${text} because`, nothingElse);
        // What is typed may end at a blank or a comma, and is an id of the strict pattern then, or nothing.
        if (on.verb === 'on') expect(on.scope.tenant ?? 'acme').toMatch(/^[a-z0-9][a-z0-9_-]{0,62}$/);
        else expect(['on_unclear', 'unknown']).toContain(on.verb);
      },
    ],
  ),
  ...hostile.map(
    ([what, text]): AttackCase => [
      `[proposal:frozen] an idempotency key, an argument, a reason and an id with ${what}`,
      async () => {
        const before = await attacked.keys();
        const handles = [];
        if (/^[\x21-\x7e]{1,200}$/.test(text)) {
          handles.push(await attacked.accepts(anyCall({ idempotencyKey: text })));
          const idem = (await attacked.keys()).filter(
            (key) => !before.includes(key) && key.includes(':idem:'),
          );
          expect(idem).toEqual([
            expect.stringMatching(/^\{s0\}:idem:acme:production:support-bot:[0-9a-f]{64}$/),
          ]);
        } else {
          await attacked.refuses(anyCall({ idempotencyKey: text }), {
            code: 'invalid_arguments',
            reason: 'malformed',
            kind: 'call.malformed',
          });
        }
        const short = text.slice(0, 100);
        handles.push(await attacked.accepts({ ...call, args: { id: short }, reason: short }));
        for (const id of [text, `prop_00${text}`, `prop_${text}`]) {
          await expect(attacked.guard.attach(id, CONTEXT)).rejects.toMatchObject({ reason: 'not_found' });
        }
        await allKeysAreOurs();
        for (const handle of handles) await handle.withdraw();
      },
    ],
  ),
  ...hostile.map(
    ([what, text]): AttackCase => [
      `[audit:every-transition] in the audit, the names of channels and what is said once: ${what}`,
      async () => {
        const redis = attacked.redis.client;
        const audit = new AuditLogRedis({ redis, shards: 1 });
        const tenant = text.slice(0, 1_000);
        await audit.append({ kind: 'call.forbidden', tenant, proposal: tenant, detail: {} });
        const [entry] = await audit.read({ limit: 1, newest: true });
        expect(entry).toMatchObject({ tenant: '-', detail: { claimedTenant: tenant } });
        expect(entry?.proposal).toBeUndefined();
        // A pattern finds what has that very name, which is nothing.
        expect(await audit.read({ limit: 10, tenant })).toEqual([]);
        expect(await audit.read({ limit: 10, proposal: tenant })).toEqual([]);
        await new OnceMemoryRedis({ redis }).firstTime(text, 60_000);
        expect(onceKey(text)).toMatch(/^\{s0\}:once:[0-9a-f]{64}$/);
        expect(paceKey(1, text).key).toMatch(/^\{s0\}:pace:[0-9a-f]{64}$/);
        await allKeysAreOurs();
      },
    ],
  ),
  [
    '[switch:fails-closed] a scope that was never parsed, put to the switch itself',
    async () => {
      const writeSwitch = new WriteSwitchRedis({
        redis: attacked.redis.client,
        shards: 1,
        startDeadlineMs: 5,
      });
      await writeSwitch
        .off({ scope: { tenant: 'acme&agent=other:{s1}' as never }, by: 'cli:test' })
        .catch(() => {});
      await allKeysAreOurs();
      const reading = await writeSwitch.read(testContext(), 'ticket.close');
      expect(reading.writes.state).toBe('on');
      await writeSwitch.stop();
    },
  ],
];

const twins: AttackCase[] = [
  [
    'names of every form that there is',
    async () => {
      const context = {
        ...CONTEXT,
        agent: 'bot_1.eu-west',
        run: 'Run.2026-01-31_A',
        principal: 'slack:E0GRID/W0ANA',
      };
      await (await attacked.accepts(anyCall({}), context)).withdraw();
      await allKeysAreOurs();
    },
  ],
  [
    'one idempotency key twice is one proposal, and its neighbours are others',
    async () => {
      const args = { id: 'same' };
      const keyed = async (idempotencyKey: string) =>
        (await attacked.accepts({ ...call, args, idempotencyKey })).id;
      const first = await keyed('order:7');
      expect(await keyed('order:7')).toBe(first);
      const others = await Promise.all(
        ['order:07', 'order:7:', ':order:7', 'Order:7', 'order:7}'].map(keyed),
      );
      expect(new Set([first, ...others]).size).toBe(6);
    },
  ],
  [
    'a tenant with all that its pattern allows',
    () => {
      const text = `tenants: { a-b_c9: { slack: { team: T0A, channel: C0A }, environments: [pre_prod-1] } }\n`;
      expect(loadPolicy(text)).toMatchObject({ ok: true });
    },
  ],
];

attackRow(17, { attacks, twins });
