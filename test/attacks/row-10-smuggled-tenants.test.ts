import { expect } from 'vitest';
import { z } from 'zod';
import { type CredentialScope, Credentials } from '../../src/core/execution/credentials.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import { defineTool } from '../../src/core/tool/tool.ts';
import { freezeArguments } from '../../src/core/tool/tool-call.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedGuard, CONTEXT } from './attacked-guard.ts';

/** An agent that was talked into naming a tenant of its own, in places where some tool would read it. */

let ran = 0;
/** As credulous as a tool can be: it takes whatever it is given. */
const send = defineTool({
  name: 'api.send',
  description: 'Sends a request.',
  input: z.strictObject({ id: z.unknown().optional(), body: z.unknown().optional() }),
  execute: () => {
    ran += 1;
  },
});
const loose = defineTool({
  name: 'api.any',
  description: 'Sends anything under one name.',
  input: z.strictObject({ request: z.record(z.string(), z.unknown()) }),
  execute: () => {
    ran += 1;
  },
});
const find = defineTool({
  name: 'customer.find',
  description: 'Finds a customer by the number of its account, which is business data here.',
  effect: 'read',
  input: z.strictObject({ account_id: z.string() }),
  scopeKeys: ['account_id'],
  execute: (_, { credentials }) => credentials.get('token'),
});

const fetched: CredentialScope[] = [];
const attacked = attackedGuard({
  tools: [send, loose, find],
  readCredentials: {
    fetch: async (scope) => {
      fetched.push(scope);
      return new Credentials({ token: `token-of-${scope.tenant}-in-${scope.environment}` });
    },
  },
  policy: `
tools: { allow: [api.send, api.any, customer.find] }
write_tools: { enabled: true }
approvals: { defaults: { approvers: ["user:U0ANA"] } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production]
    limits: { pending_per_agent: 1000 }
  globex: { slack: { team: T0GLOBEX, channel: C0GLOBEX }, environments: [production] }
`,
});

const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** What the request holds. The tenant is the context's own wherever that is the point. */
const smuggled: readonly (readonly [string, Record<string, unknown>])[] = [
  ['tenant_id, equal to the context’s', { tenant_id: 'acme' }],
  ['tenant_id of another', { tenant_id: 'globex' }],
  ['tenantId', { tenantId: 'globex' }],
  ['TENANT-ID', { 'TENANT-ID': 'globex' }],
  ['Tenant', { Tenant: 'globex' }],
  ['tenant with a number', { tenant_2: 'globex' }],
  ['tenants in a list', { tenant_ids: ['acme', 'globex'] }],
  ['a tenant behind another word', { query_tenant_id: 'globex' }],
  ['a tenant behind another word, in camel case', { ticketTenantId: 'globex' }],
  ['the target’s tenant', { target_tenant: 'globex' }],
  ['an organisation', { organisationId: 'globex' }],
  ['a workspace', { 'workspace.id': 'T0GLOBEX' }],
  ['an account id', { account_id: 7 }],
  ['a principal', { on_behalf_of: 'U0ANA' }],
  ['another agent', { agent_id: 'trusted-bot' }],
  ['null as a tenant', { tenant: null }],
  ['full-width letters', { ｔｅｎａｎｔ＿ｉｄ: 'globex' }],
  ['letters in circles', { 'ⓣⓔⓝⓐⓝⓣ': 'globex' }],
  ['mathematical letters', { 𝓽𝓮𝓷𝓪𝓷𝓽_id: 'globex' }],
  ['Cyrillic letters', { tеnаnt_id: 'globex' }],
  ['Greek letters', { τεναντ: 'globex' }],
  ['Armenian and Latin letters', { teոaոt: 'globex' }],
  ['a zero-width space', { 'ten\u200bant_id': 'globex' }],
  ['a soft hyphen and a joiner', { 'te\u00adna\u200dnt': 'globex' }],
  ['a variation selector', { 'tenant\ufe0f_id': 'globex' }],
  ['accents', { tënànt_id: 'globex' }],
  ['l for i', { tenant_ld: 'globex' }],
  ['deep inside', { a: [{ b: [{ c: { tenant_id: 'globex' } }] }] }],
  ['_meta', { _meta: { tenant: 'globex' } }],
  ['headers by name', { headers: { 'X-Tenant-Id': 'globex' } }],
  ['headers as entries', { headers: [{ name: 'Tenant', value: 'globex' }] }],
  [
    'headers as pairs',
    {
      headers: [
        ['accept', '*/*'],
        ['tenant', 'globex'],
      ],
    },
  ],
  [
    'headers in turn',
    {
      rawHeaders: ['Accept', '*/*', 'X-Tenant-Id', 'globex'],
      headers: ['Accept', '*/*', 'X-Tenant-Id', 'globex'],
    },
  ],
  ['headers as lines', { headers: 'Accept: */*\r\nTenant: globex' }],
  ['a header line in a text', { body: 'Accept: */*\nX-Org-Id: globex\n' }],
  ['a filter by column', { where: [{ column: 'tenant_id', op: '=', value: 'globex' }] }],
  ['a condition', { where: [['tenant_id', '=', 'globex']] }],
  ['a filter by k and v', { tags: [{ k: 'tenant-id', v: 'globex' }] }],
  ['a path as a key', { 'ticket/tenant_id': 'globex' }],
  ['brackets as a form has them', { 'filter[tenant_id]': 'globex' }],
  ['JSON in a text', { body: '{"note":"x","tenant_id":"globex"}' }],
  ['JSON in a text in JSON', { body: JSON.stringify({ a: JSON.stringify({ tenant_id: 1 }) }) }],
  ['JSON in a list in a text', { body: '[1,[{"tenantId":"globex"}]]' }],
  ['JSON with its key in escapes', { body: '{"\\u0074enant_id":"globex"}' }],
  ['JSON whose first value JSON.parse does not see', { body: '{"where":{"tenant_id":"globex"},"where":{}}' }],
  ['such JSON within JSON', { body: '{"q":"{\\"tenant_id\\":1}","q":1}' }],
  ['JSON5 behind a comment', { body: '// note\n{ tenant_id: "globex", }' }],
  ['JSON5 with an escape of two digits', { body: "{'ten\\x61nt_id': 1,}" }],
  ['JSON lines', { body: '{"id":1}\n{"tenant_id":"globex"}\n' }],
  ['JSON behind a byte order mark', { body: '\ufeff{"tenant_id":"globex"}' }],
  ['JSON in base64', { body: base64({ tenant_id: 'globex' }) }],
  ['JSON in base64 for URLs', { body: base64url([{ org: '???>>>', tenant: 1 }]) }],
  ['a data URL', { body: `data:application/json;base64,${base64({ tenant: 'globex' })}` }],
  [
    'a token with claims',
    { body: `${base64url({ alg: 'none' })}.${base64url({ sub: 'x', org_id: 'globex' })}.` },
  ],
  ['XML', { body: '<ticket><id>1</id><tenantId>globex</tenantId></ticket>' }],
  ['an attribute of XML', { body: '<ticket id="1" tenantId="globex"/>' }],
  ['JSON in a fence', { body: '```json\n{"tenant_id":"globex"}\n```' }],
  ['variables on lines', { body: 'ID=1\nTENANT_ID=globex\n' }],
  ['a query', { body: 'https://api.example.com/tickets?id=1&tenant_id=globex' }],
  ['a fragment', { body: 'https://api.example.com/#/tickets?tenant=globex' }],
  ['a form', { body: 'id=1&tenantId=globex' }],
  ['a form with semicolons', { body: 'id=1;tenantId=globex' }],
  ['a percent-encoded form', { body: 'id=1&%54enant%2Did=globex' }],
  ['a form encoded twice', { body: 'id=1&%2574enant=globex' }],
  [
    'a multipart form',
    { body: '--x\r\nContent-Disposition: form-data; name="tenant_id"\r\n\r\nglobex\r\n--x--' },
  ],
  ['a query whose separators are encoded', { body: 'id=1%26tenant_id%3Dglobex' }],
  [
    'a query within a query',
    { body: 'https://a.example/?next=https%3A%2F%2Fb.example%2F%3Ftenant%3Dglobex' },
  ],
  ['a cookie’s header', { body: 'Accept: */*\r\nCookie: a=1; tenant=globex' }],
  [
    'a bearer’s claims',
    { headers: { authorization: `Bearer ${base64url({ alg: 'none' })}.${base64url({ tenant: 1 })}.x` } },
  ],
  ['a cookie', { body: 'session=1; tenant=globex' }],
  ['JSON in a query', { body: `/search?filter=${encodeURIComponent('{"tenant_id":"globex"}')}` }],
];

/** Under these, whose data a call touches is not known at all. */
const contexts: readonly (readonly [string, Record<string, unknown> | null])[] = [
  ['no tenant', { ...CONTEXT, tenant: undefined }],
  ['an empty tenant', { ...CONTEXT, tenant: '' }],
  ['a tenant with a space behind it', { ...CONTEXT, tenant: 'acme ' }],
  ['a tenant in capitals', { ...CONTEXT, tenant: 'ACME' }],
  ['a tenant in full-width letters', { ...CONTEXT, tenant: 'ａｃｍｅ' }],
  ['a list of tenants', { ...CONTEXT, tenant: ['acme'] }],
  ['a second tenant beside the first', { ...CONTEXT, tenantId: 'globex' }],
  ['no principal', { ...CONTEXT, principal: undefined }],
  ['no context', null],
];

const refusedIn = async (request: Record<string, unknown>) => {
  for (const call of [
    { tool: 'api.any', args: { request } },
    { tool: 'api.any', args: { json: JSON.stringify({ request }) } },
  ]) {
    const { error } = await attacked.refuses(call, {
      code: 'invalid_arguments',
      reason: 'scope_key',
      kind: 'call.malformed',
    });
    expect(error.message).toContain('never an argument');
  }
  expect(ran).toBe(0);
};

const passes = async (request: Record<string, unknown>) => {
  expect(freezeArguments(loose, { request })).toMatchObject({ ok: true });
  await (await attacked.accepts({ tool: 'api.any', args: { request } })).withdraw();
};

const attacks: AttackCase[] = [
  ...smuggled.map(
    ([what, request]): AttackCase => [
      `[scope:identity-comes-from-the-context] ${what}`,
      () => refusedIn(request),
    ],
  ),
  ...contexts.map(
    ([what, context]): AttackCase => [
      `[scope:identity-comes-from-the-context] a context with ${what}`,
      async () => {
        const { entry } = await attacked.refuses(
          { tool: 'api.send', args: { id: 1 } },
          { code: 'permission_denied', reason: 'context_invalid', kind: 'call.forbidden' },
          context as CallContextInput,
        );
        expect(entry.tenant).toBe('-');
      },
    ],
  ),
  [
    '[scope:identity-comes-from-the-context] a tenant that the policy does not know',
    async () => {
      await attacked.refuses(
        { tool: 'api.send', args: { id: 1 } },
        { code: 'permission_denied', reason: 'unknown_tenant', kind: 'call.forbidden' },
        { ...CONTEXT, tenant: 'initech' },
      );
    },
  ],
  [
    '[scope:identity-comes-from-the-context] an argument at the top, whatever the schema says of it',
    async () => {
      await attacked.refuses(
        { tool: 'api.send', args: { id: 1, tenant_id: 'acme' } },
        { code: 'invalid_arguments', reason: 'scope_key', kind: 'call.malformed' },
      );
    },
  ],
  [
    '[execution:credentials-at-the-boundary] a wrong id in an argument that is business data chooses no credentials',
    async () => {
      fetched.length = 0;
      const answer = await attacked.guard.call(
        { tool: 'customer.find', args: { account_id: 'globex' } },
        CONTEXT,
      );
      // What stands for it is the credential of the caller's own tenant, and is not told either.
      expect(fetched).toEqual([
        { tenant: 'acme', environment: 'production', tool: 'customer.find', access: 'read' },
      ]);
      expect(JSON.stringify(answer)).not.toContain('token-of');
    },
  ],
  [
    '[scope:identity-comes-from-the-context] a context that answers otherwise the second time',
    async () => {
      let asked = 0;
      const context = {
        ...CONTEXT,
        get tenant() {
          asked += 1;
          return asked === 1 ? 'acme' : 'globex';
        },
      };
      fetched.length = 0;
      await attacked.guard.call({ tool: 'customer.find', args: { account_id: '1' } }, context);
      expect(fetched.map(({ tenant }) => tenant)).toEqual(['acme']);
    },
  ],
];

const twins: AttackCase[] = [
  ['a name of a customer’s that holds the word', () => passes({ tenant_name_of_customer: 'Contoso' })],
  ['a lieutenant', () => passes({ lieutenant: 'Uhura', subtenancy: 1, tenantless: true })],
  [
    'prose about a tenant',
    () => passes({ body: 'The tenant moved; their environment is: staging, they say.' }),
  ],
  ['a question about a field', () => passes({ body: 'Why does tenant_id: appear twice in the export?' })],
  ['a tenant as a value', () => passes({ tag: 'tenant_id', columns: ['tenant_id', 'status'] })],
  ['an account that is a customer', () => passes({ account: 'Contoso', customer_id: 7 })],
  ['people and data', () => passes({ user_id: 1, project_id: 2, role: 'admin', env_vars: { A: '1' } })],
  ['benign JSON in a text', () => passes({ body: '{"status":"open","note":"tenant unhappy"}' })],
  ['JSON with a key twice', () => passes({ body: '{"note":1,"note":"their tenant"}' })],
  ['benign JSON in base64', () => passes({ body: base64({ status: 'open' }) })],
  [
    'a picture in base64',
    () => passes({ body: `data:image/png;base64,${Buffer.alloc(300, 7).toString('base64')}` }),
  ],
  [
    'a condition on something else',
    () => passes({ where: [['status', '=', 'tenant']], select: ['tenant_id', 'env'] }),
  ],
  ['HTML with attributes', () => passes({ body: '<a href="/agent" class="tenant">our tenant</a>' })],
  ['variables on lines that are no scope', () => passes({ body: 'ID=1\nNOTE=our tenant\n' })],
  ['a link', () => passes({ body: 'https://help.example.com/articles?id=7&page=2#tenant' })],
  ['HTML that marks the word', () => passes({ body: '<p>our <b>tenant</b> says <i>hello</i></p>' })],
  ['benign headers in turn', () => passes({ headers: ['Accept', '*/*', 'X-Request-Id', 'tenant'] })],
  [
    'a benign multipart form',
    () => passes({ body: 'Content-Disposition: form-data; name="note"\r\n\r\ntenant' }),
  ],
  [
    'the whole context, as the host says it',
    async () => void (await attacked.accepts({ tool: 'api.send', args: { id: 'context' } })),
  ],
];

attackRow(10, { attacks, twins });
