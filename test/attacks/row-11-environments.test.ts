import { expect } from 'vitest';
import { z } from 'zod';
import { type CredentialScope, Credentials } from '../../src/core/execution/credentials.ts';
import { judgeStart } from '../../src/core/execution/judgement.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { loadPolicy } from '../../src/core/policy/policy-load.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { CredentialsFromEnv } from '../../src/queue/credentials-from-env.ts';
import { CredentialsFromFiles } from '../../src/queue/credentials-from-files.ts';
import { drawCard } from '../../src/slack/card.ts';
import { ANA as APPROVER, approvalOf, approvedRecord, sealedCall, startCase } from '../queue/sealed-call.ts';
import { seenIn, termsFor, viewFor } from '../slack/card-views.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedGuard, CONTEXT } from './attacked-guard.ts';

/** A call for one environment that is judged, shown or run as one for another. */

const read = defineTool({
  name: 'ticket.read',
  description: 'Reads a ticket.',
  effect: 'read',
  input: z.strictObject({ id: z.string() }),
  execute: (_, { context }) => ({ from: context.environment }),
});
let ran = 0;
const send = defineTool({
  name: 'api.send',
  description: 'Sends anything.',
  input: z.strictObject({ request: z.record(z.string(), z.unknown()) }),
  execute: () => {
    ran += 1;
  },
});

const fetched: CredentialScope[] = [];
const attacked = attackedGuard({
  tools: [read, send],
  readCredentials: {
    fetch: async (scope) => {
      fetched.push(scope);
      return new Credentials({});
    },
  },
  policy: `
tools: { allow: [ticket.read, api.send] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
tenants:
  acme: { slack: { team: T0ACME, channel: C0ACME }, environments: [production, staging] }
  globex: { slack: { team: T0GLOBEX, channel: C0GLOBEX }, environments: [production] }
`,
});

const call = { tool: 'api.send', args: { request: { id: 1 } } };
const inEnvironment = (environment: unknown, tenant = 'acme') =>
  ({ ...CONTEXT, tenant, environment }) as CallContextInput;

/** No environment at all. */
const malformed: readonly (readonly [what: string, environment: unknown])[] = [
  ['a blank behind it', 'production '],
  ['a blank before it', ' production'],
  ['a capital', 'Production'],
  ['capitals', 'STAGING'],
  ['a newline behind it', 'staging\n'],
  ['a letter that nobody sees', 'staging\u200b'],
  ['a Cyrillic letter', 'prоduction'],
  ['full-width letters', 'ｓｔａｇｉｎｇ'],
  ['a dotless i', 'stagıng'],
  ['a path', 'staging/../production'],
  ['a glob', '*'],
  ['two of them', 'staging,production'],
  ['a list of them', ['staging']],
  ['a number', 0],
  ['true', true],
  ['nothing', undefined],
  ['null', null],
  ['an empty text', ''],
  ['__proto__', '__proto__'],
  ['a name of 64 letters', 'p'.repeat(64)],
  ['an object that becomes a text', { toString: () => 'staging' }],
];

/** An environment by its form, and none of the tenant. */
const unknown: readonly (readonly [what: string, environment: string, tenant?: string])[] = [
  ['a shorter name', 'prod'],
  ['a longer name', 'production2'],
  ['another spelling', 'pre-production'],
  ['an underscore', 'production_'],
  ['another tenant’s environment', 'staging', 'globex'],
  ['a property that every object has', 'constructor'],
  ['a default', 'default'],
];

/** In the arguments, where some tool would read it. */
const inArguments: readonly (readonly [what: string, request: Record<string, unknown>])[] = [
  ['env', { env: 'production' }],
  ['ENV', { ENV: 'production' }],
  ['environment, equal to the context’s', { environment: 'production' }],
  ['environment as an object', { environment: { name: 'staging' } }],
  ['a target environment', { targetEnvironment: 'production' }],
  ['environment in French', { environnement: 1, Environment_ID: 'production' }],
  ['a Cyrillic letter in the key', { envirоnment: 'production' }],
  ['in a query', { url: 'https://api.example.com/?id=1&env=production' }],
  ['in a header', { headers: { 'X-Environment': 'production' } }],
  ['in JSON in a text', { body: '{"env":"production"}' }],
];

const broken: readonly (readonly [what: string, environments: string])[] = [
  ['a capital', '[Production]'],
  ['a blank', '["prod "]'],
  ['a glob', '["*"]'],
  ['none', '[]'],
  ['one twice', '[production, production]'],
  ['a text in place of a list', 'production'],
  [
    'a rule for one that no tenant has',
    '[production]\napprovals: { defaults: { approvers: ["user:U1"] }, rules: [{ tools: [ticket.close], environments: [prod] }] }',
  ],
];

const attacks: AttackCase[] = [
  ...malformed.map(
    ([what, environment]): AttackCase => [
      `[policy:unknown-tenant-or-environment-is-forbidden] a context’s environment with ${what}`,
      async () => {
        await attacked.refuses(
          call,
          { code: 'permission_denied', reason: 'context_invalid', kind: 'call.forbidden' },
          inEnvironment(environment),
        );
        fetched.length = 0;
        await expect(
          attacked.guard.call({ tool: 'ticket.read', args: { id: '1' } }, inEnvironment(environment)),
        ).rejects.toMatchObject({ code: 'permission_denied' });
        expect([fetched, ran]).toEqual([[], 0]);
      },
    ],
  ),
  ...unknown.map(
    ([what, environment, tenant]): AttackCase => [
      `[policy:unknown-tenant-or-environment-is-forbidden] ${what}`,
      async () => {
        const { entry } = await attacked.refuses(
          call,
          { code: 'permission_denied', reason: 'unknown_environment', kind: 'call.forbidden' },
          inEnvironment(environment, tenant),
        );
        expect(entry.detail).toMatchObject({ environment });
      },
    ],
  ),
  ...inArguments.map(
    ([what, request]): AttackCase => [
      `[scope:identity-comes-from-the-context] in the arguments: ${what}`,
      async () => {
        await attacked.refuses(
          { tool: 'api.send', args: { request } },
          { code: 'invalid_arguments', reason: 'scope_key', kind: 'call.malformed' },
        );
        expect(ran).toBe(0);
      },
    ],
  ),
  ...broken.map(
    ([what, environments]): AttackCase => [
      `[policy:unknown-tenant-or-environment-is-forbidden] in the policy: ${what}`,
      () => {
        const text = `tools: { allow: [ticket.close] }\ntenants:\n  acme:\n    slack: { team: T0ACME, channel: C0ACME }\n    environments: ${environments}\n`;
        expect(loadPolicy(text)).toMatchObject({ ok: false });
      },
    ],
  ),
  [
    '[approval:bound-to-everything] an approval for staging, put to the same call in production',
    () => {
      const staging = sealedCall({ context: { environment: 'staging' } });
      const production = sealedCall();
      const start = startCase(production, [approvalOf(staging, APPROVER)]);
      expect(judgeStart(start)).toMatchObject({ ok: false, refusal: 'approval_of_another', alarm: true });
    },
  ],
  [
    '[approval:bound-to-everything] a record whose environment was changed under its seal',
    () => {
      const sealed = sealedCall({ context: { environment: 'staging' } });
      const record = approvedRecord(sealed, [approvalOf(sealed, APPROVER)]);
      const termsText = record.termsText.replace('"staging"', '"production"');
      expect(termsText).not.toBe(record.termsText);
      const start = { ...startCase(sealed), record: { ...record, termsText } };
      expect(judgeStart(start)).toMatchObject({ ok: false, refusal: 'seal_broken', alarm: true });
    },
  ],
  [
    '[execution:credentials-at-the-boundary] an environment that shares its variables with another',
    async () => {
      const provider = new CredentialsFromEnv({
        COUNTERSIGN_CRED_ACME__PROD_EU__WRITE__TOKEN: 'secret-of-prod-eu',
      });
      const scope = { tenant: 'acme', tool: 'api.send', access: 'write' } as CredentialScope;
      const { signal } = new AbortController();
      const environments = ['prod_eu', 'prod', 'prod--eu', 'PROD-EU', 'prod-eu__write'];
      for (const environment of environments as CredentialScope['environment'][]) {
        await expect(provider.fetch({ ...scope, environment }, signal)).rejects.toMatchObject({
          code: 'credentials_unavailable',
        });
      }
    },
  ],
  [
    '[execution:credentials-at-the-boundary] an environment that is a path to another’s file',
    async () => {
      const provider = new CredentialsFromFiles(import.meta.dirname);
      const scope = { tenant: 'acme', tool: 'api.send', access: 'write' } as CredentialScope;
      const { signal } = new AbortController();
      for (const environment of [
        '../globex/production',
        '..',
        '/etc',
        'staging/',
      ] as CredentialScope['environment'][]) {
        await expect(provider.fetch({ ...scope, environment }, signal)).rejects.toMatchObject({
          code: 'credentials_unavailable',
        });
      }
    },
  ],
];

const proposedIn = (environment: string) => async () =>
  void (await (await attacked.accepts(call, inEnvironment(environment))).withdraw());

const twins: AttackCase[] = [
  ['production', proposedIn('production')],
  ['staging', proposedIn('staging')],
  [
    'a read in each, with the credentials of that one',
    async () => {
      fetched.length = 0;
      for (const environment of ['production', 'staging']) {
        const args = { id: environment };
        const answer = await attacked.guard.call({ tool: 'ticket.read', args }, inEnvironment(environment));
        expect(answer).toEqual({ from: environment });
      }
      expect(fetched.map(({ environment }) => environment)).toEqual(['production', 'staging']);
    },
  ],
  [
    'words about an environment',
    async () => {
      const request = { body: 'In staging it works; environment: production is down.', env_vars: { A: '1' } };
      await (await attacked.accepts({ tool: 'api.send', args: { request } })).withdraw();
    },
  ],
  [
    'an approval for staging starts the call in staging',
    () => {
      const staging = sealedCall({ context: { environment: 'staging' } });
      expect(judgeStart(startCase(staging))).toMatchObject({ ok: true });
    },
  ],
  [
    'the card says which, and its digest is another one in each',
    () => {
      // All else is equal, the id and the digest of the terms among it.
      const view = viewFor(termsFor());
      const cards = ['production', 'staging'].map((environment) => {
        const { context } = termsFor({ context: { environment } }).terms;
        return drawCard({ ...view, terms: { ...view.terms, context } });
      });
      expect(cards.map(({ blocks }) => seenIn(blocks.slice(0, 1)))).toEqual([
        'Approval needed · PRODUCTION · ticket.close',
        'Approval needed · staging · ticket.close',
      ]);
      const digests = cards.map(({ shown }) => shown);
      expect(new Set(digests).size).toBe(2);
    },
  ],
];

attackRow(11, { attacks, twins });
