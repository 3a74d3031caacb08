import { describe, expect, it } from 'vitest';
import { findScopeKey } from '../../../src/core/tool/scope-smuggling.ts';
import type { JsonValue } from '../../../src/core/tool/strict-json.ts';

const NONE: ReadonlySet<string> = new Set();
const inBody = (body: string): JsonValue => ({ id: 7, body });

describe('scope that is smuggled into arguments', () => {
  const attacks: [what: string, value: JsonValue, path: string][] = [
    ['tenant_id', { tenant_id: 'acme' }, 'tenant_id'],
    ['tenantId', { tenantId: 'acme' }, 'tenantId'],
    ['TENANT-ID', { 'TENANT-ID': 'acme' }, 'TENANT-ID'],
    ['tenant', { tenant: 'acme' }, 'tenant'],
    ['tenant with spaces', { ' Tenant  ID ': 'acme' }, ' Tenant  ID '],
    ['X-Tenant-Id', { 'X-Tenant-Id': 'acme' }, 'X-Tenant-Id'],
    ['targetTenant', { targetTenant: 'acme' }, 'targetTenant'],
    ['tenant_ids', { tenant_ids: ['acme'] }, 'tenant_ids'],
    ['environment', { environment: 'staging' }, 'environment'],
    ['env', { env: 'prod ' }, 'env'],
    ['ENV', { ENV: 'Production' }, 'ENV'],
    ['org_id', { org_id: 1 }, 'org_id'],
    ['organisation', { organisation: 'acme' }, 'organisation'],
    ['workspaceId', { workspaceId: 'T1' }, 'workspaceId'],
    ['account_id', { account_id: 1 }, 'account_id'],
    ['principal', { principal: 'slack:T1/U1' }, 'principal'],
    ['agent', { agent: 'other-bot' }, 'agent'],
    ['on_behalf_of', { on_behalf_of: 'U1' }, 'on_behalf_of'],
    ['actAs', { actAs: 'U1' }, 'actAs'],
    ['a nested key', { ticket: { filters: [{ and: { tenant_id: 1 } }] } }, 'ticket.filters[0].and.tenant_id'],
    ['a key in _meta', { _meta: { tenant: 'globex' } }, '_meta.tenant'],
    ['a dotted key', { 'filter.tenantId': 1 }, 'filter.tenantId'],
    ['a bracketed key', { 'where[tenant_id][eq]': 1 }, 'where[tenant_id][eq]'],
    ['full-width letters', { ｔｅｎａｎｔ＿ｉｄ: 1 }, 'ｔｅｎａｎｔ＿ｉｄ'],
    ['mathematical letters', { 𝐭𝐞𝐧𝐚𝐧𝐭: 1 }, '𝐭𝐞𝐧𝐚𝐧𝐭'],
    ['accents', { ténànt: 1 }, 'ténànt'],
    ['Cyrillic letters', { 'tе\u043dаnt': 1, tеnаnt_id: 1 }, 'tеnаnt_id'],
    ['Cyrillic i', { envіronment: 1 }, 'envіronment'],
    ['Greek capitals', { ΤΕΝΑΝΤ: 1 }, 'ΤΕΝΑΝΤ'],
    ['a Greek nu for n', { teνant: 1 }, 'teνant'],
    ['small capitals', { ᴛᴇɴᴀɴᴛ: 1 }, 'ᴛᴇɴᴀɴᴛ'],
    ['zero-width characters', { 'ten\u200bant\u2060_id': 1 }, 'ten\u200bant\u2060_id'],
    ['digits for letters', { env1r0nment: 1 }, 'env1r0nment'],
    ['rn for m', { environrnent: 1 }, 'environrnent'],
    ['a string that is JSON', inBody('{"tenant_id":"globex"}'), 'body (JSON).tenant_id'],
    ['JSON with its key escaped', inBody('{"ten\\u0061nt_id":"globex"}'), 'body (JSON).tenant_id'],
    ['JSON in JSON', inBody(JSON.stringify({ a: JSON.stringify({ env: 1 }) })), 'body (JSON).a (JSON).env'],
    ['a JSON string of JSON', inBody(JSON.stringify('{"tenant":1}')), 'body (JSON) (JSON).tenant'],
    ['JSON after blanks', inBody(' \u200b\ufeff[{"tenant":1}]'), 'body (JSON)[0].tenant'],
    ['JSON lines', inBody('{"a":1}\n{"tenant_id":1}'), 'body (JSON)'],
    ['JSON5', inBody("{tenant_id: 'globex',}"), 'body (JSON)'],
    ['single quotes', inBody("{'tenant_id': 'globex'}"), 'body (JSON)'],
    ['a URL query', inBody('https://api.example.com/v1/tickets?limit=5&tenant_id=globex'), 'body (query)'],
    ['a query alone', inBody('?tenantId=globex'), 'body (query)'],
    ['a form', inBody('a=1&tenantId=globex'), 'body (query)'],
    ['a form that starts with it', inBody('tenant_id=globex&note=two words'), 'body (query)'],
    ['a single pair', inBody('tenant=globex'), 'body (query)'],
    ['a URL fragment', inBody('https://example.com/#env=production'), 'body (query)'],
    ['a percent-encoded key', inBody('a=1&%74enant%5Fid=globex'), 'body (query)'],
    ['a doubly encoded key', inBody('?%2574enant=globex'), 'body (query)'],
    ['an encoded key beside invalid encoding', inBody('?a=%zz&%74enant%ff=1&%74enant=1'), 'body (query)'],
    ['JSON in a query', inBody('?filter=%7B%22tenant_id%22%3A1%7D'), 'body (query) (JSON).tenant_id'],
    ['encoded JSON', inBody('%7B%22tenant_id%22%3A1%7D'), 'body (encoded) (JSON).tenant_id'],
    ['a cookie', inBody('theme=dark; tenant=globex'), 'body (query)'],
    ['a header line', inBody('X-Tenant-Id: globex'), 'body (header)'],
    ['a header line among others', inBody('Accept: */*\r\nTenant-Id: globex\r\nHost: x'), 'body (header)'],
    ['a bare header where headers are', { headers: 'Tenant: globex' }, 'headers (header)'],
    ['a header entry', { headers: [{ name: 'tenant', value: 'globex' }] }, 'headers[0].name'],
    ['a header pair', { headers: [['Tenant', 'globex']] }, 'headers[0]'],
    ['an entry anywhere', { rows: [{ key: 'tenant_id', value: 'globex' }] }, 'rows[0].key'],
  ];

  for (const [what, value, path] of attacks) {
    it(`[scope:identity-comes-from-the-context] is found: ${what}`, () => {
      expect(findScopeKey(value, NONE)?.path).toBe(path);
    });
  }

  const twins: [what: string, value: JsonValue][] = [
    ['a sentence about a tenant', inBody('The tenant moved to another environment; please tell their org.')],
    ['a status line', inBody('env: production is down')],
    ['a bug report', inBody('Environment: Chrome 120\nTenant: the big one\nSteps: open, click')],
    ['a one-word line', inBody('Environment: production')],
    ['a label and a name', inBody('Agent: Bob')],
    ['a colon in a sentence', inBody('He wrote "the tenant: unhappy", again.')],
    ['a quoted word', inBody('"tenant" is what they call it')],
    ['a key named in a sentence', inBody('The field tenant_id: globex was wrong in their export.')],
    ['an assignment in a sentence', inBody('We run it with env=production on two hosts.')],
    ['a question, then an assignment', inBody('Really? environment=bad, they said.')],
    ['a list after a semicolon', inBody('The org is split; agent=Bob took over.')],
    ['a tag at the start', inBody("[urgent] Note: the 'environment': what is it?")],
    ['braces around a word', inBody('Dear {tenant}, hello')],
    ['a benign link', inBody('See https://help.example.com/articles?id=7&page=2#top')],
    ['benign JSON', inBody('{"status":"open","tags":["tenant","env"]}')],
    ['a benign form', inBody('a=1&b=tenant')],
    ['Japanese prose', inBody('環境：本番のテナント')],
    ['Russian prose', inBody('среда: продакшн упал')],
    ['an account that is a customer', { account: 'Contoso' }],
    [
      'people and data',
      { user_id: 1, customer_id: 2, project_id: 3, team_id: 'T', role: 'x', assignee: 'y' },
    ],
    ['environment variables', { env_vars: { A: '1' }, environment_variables: [] }],
    ['words that contain the words', { envelope: 1, agenda: 1, organizer: 1, original: 1, tenancy_start: 1 }],
    ['a tenant as a value', { columns: ['tenant_id', 'status'], tag: 'tenant_id' }],
    ['a custom field', { fields: [{ name: 'Environment', value: 'macOS' }] }],
    ['a header of another kind', { headers: { accept: 'text/plain', 'x-request-id': '1' } }],
  ];

  for (const [what, value] of twins) {
    it(`is not suspected in ${what}`, () => {
      expect(findScopeKey(value, NONE)).toBeUndefined();
    });
  }

  it('may be allowed by exact path, and then nowhere else and in no other spelling', () => {
    const allowed = new Set(['account_id', 'customer.organization', 'items.org']);
    expect(findScopeKey({ account_id: 1, customer: { organization: 'x' } }, allowed)).toBeUndefined();
    expect(findScopeKey({ items: [{ org: 1 }, { org: 2 }] }, allowed)).toBeUndefined();
    expect(findScopeKey({ inner: { account_id: 1 } }, allowed)?.path).toBe('inner.account_id');
    expect(findScopeKey({ organization: 'x' }, allowed)?.path).toBe('organization');
    expect(findScopeKey({ accountId: 1 }, allowed)?.path).toBe('accountId');
    expect(findScopeKey({ аccount_id: 1 }, allowed)?.key).toBe('аccount_id');
    expect(findScopeKey(inBody('{"account_id":1}'), allowed)?.path).toBe('body (JSON).account_id');
    expect(findScopeKey({ account_id: '?tenant_id=1' }, allowed)?.path).toBe('account_id (query)');
  });

  it('is looked for in time that stays small for the worst of texts', () => {
    const started = process.cpuUsage();
    for (const unit of ['[', '"', "{'", '{,a', '?a=', 'a=&', '%7b', ' ', 'x:', ', ', '\\u', 'ﷺ']) {
      const body = unit.repeat(8_000 / unit.length);
      findScopeKey(inBody(body), NONE);
      findScopeKey(inBody(`{${body}}`), NONE);
    }
    findScopeKey(inBody('['.repeat(4_000) + ']'.repeat(4_000)), NONE);
    expect(process.cpuUsage(started).user).toBeLessThan(5_000_000);
  });
});
