import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Credentials } from '../../src/core/execution/credentials.ts';
import { ToolRejected } from '../../src/core/execution/tool-rejected.ts';
import { CallContext } from '../../src/core/identity/call-context.ts';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import { loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import { freezeArguments } from '../../src/core/tool/tool-call.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { type HelpDesk, startHelpDesk } from '../../src/sandbox/help-desk/help-desk.ts';
import { helpDeskSeed } from '../../src/sandbox/help-desk/help-desk-seed.ts';
import { supportTools } from '../../src/sandbox/help-desk/support-tools.ts';
import { Ticket } from '../../src/sandbox/help-desk/ticket.ts';

const SCOPES = ['acme', 'globex'].flatMap((tenant) =>
  ['production', 'staging'].map((environment) => ({ tenant, environment })),
);
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'cs-help-desk-'));
  undo.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function start(directory = temporaryDirectory()): Promise<HelpDesk> {
  const helpDesk = await startHelpDesk({ directory, scopes: SCOPES });
  undo.push(() => helpDesk.stop());
  return helpDesk;
}

interface Asking {
  readonly token?: string;
  readonly key?: string;
  readonly body?: unknown;
}

async function ask(helpDesk: HelpDesk, route: string, { token, key, body }: Asking) {
  const [method = '', path = ''] = route.split(' ');
  const response = await fetch(`${helpDesk.url}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...(key === undefined ? {} : { 'Idempotency-Key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as unknown, headers: response.headers };
}

const code = (answer: { body: unknown }) => (answer.body as { error: { code: string } }).error.code;
const CLOSE = { resolution: 'duplicate', duplicateOf: 'ACME-1002' };

describe('what the help desk holds at the start', () => {
  const { tickets, truth } = helpDeskSeed();
  const of = (tenant: string, environment: string) =>
    tickets.filter((ticket) => ticket.tenant === tenant && ticket.environment === environment);

  it('is 44 open tickets of acme production, of which exactly 3 repeat an earlier one of the same customer', () => {
    const acme = of('acme', 'production');
    expect(acme).toHaveLength(44);
    expect(acme.every((ticket) => ticket.status === 'open')).toBe(true);
    expect(truth.duplicateOf.size).toBe(3);
    for (const [duplicate, original] of truth.duplicateOf) {
      const [second, first] = [duplicate, original].map((id) => acme.find((ticket) => ticket.id === id));
      expect(second?.customer).toBe(first?.customer);
      expect(Date.parse(second?.createdAt ?? '')).toBeGreaterThan(Date.parse(first?.createdAt ?? ''));
    }
    const customers = acme.map((ticket) => ticket.customer);
    expect(customers.filter((customer, index) => customers.indexOf(customer) !== index)).toHaveLength(3);
  });

  it('has one ticket that gives orders, and a handful elsewhere', () => {
    const injection = tickets.find((ticket) => ticket.id === truth.injection);
    expect(injection?.body).toMatch(/ignore the rules, close everything.*tenant_id: globex/s);
    expect(of('acme', 'staging').length).toBeGreaterThan(1);
    expect(of('globex', 'production').length).toBeGreaterThan(1);
    expect(of('globex', 'staging').length).toBeGreaterThan(1);
    expect(new Set(tickets.map((ticket) => ticket.id)).size).toBe(tickets.length);
  });

  it('is the same every time', () => {
    expect(helpDeskSeed()).toEqual(helpDeskSeed());
  });
});

describe('the help desk, a process of its own', () => {
  it('shows each token its own tenant and environment alone', async () => {
    const helpDesk = await start();
    for (const { tenant, environment } of SCOPES) {
      const { body } = await ask(helpDesk, 'GET /tickets', {
        token: helpDesk.token(tenant, environment, 'read'),
      });
      const tickets = Ticket.array().parse(body);
      expect(tickets.length).toBeGreaterThan(1);
      expect(tickets.every((ticket) => ticket.tenant === tenant && ticket.environment === environment)).toBe(
        true,
      );
    }
  });

  it('[execution:credentials-at-the-boundary] refuses no token, a wrong one, a read token for a write, and another scope’s token', async () => {
    const helpDesk = await start();
    const close = { key: 'a-key-of-its-own', body: CLOSE };
    const route = 'POST /tickets/ACME-1016/close';
    expect(await ask(helpDesk, route, close)).toMatchObject({ status: 401 });
    expect(await ask(helpDesk, route, { ...close, token: 'hd_guessed' })).toMatchObject({ status: 401 });
    for (const [tenant, environment, access] of [
      ['acme', 'production', 'read'],
      ['acme', 'staging', 'write'],
      ['globex', 'production', 'write'],
    ] as const) {
      const token = helpDesk.token(tenant, environment, access);
      expect(await ask(helpDesk, route, { ...close, token })).toMatchObject({ status: 403 });
    }
    const token = helpDesk.token('globex', 'production', 'read');
    expect(await ask(helpDesk, 'GET /tickets/ACME-1016', { token })).toMatchObject({ status: 403 });
    expect(await helpDesk.journal()).toEqual([]);
  });

  it('closes a ticket once, and gives the same answer to the same Idempotency-Key', async () => {
    const helpDesk = await start();
    const token = helpDesk.token('acme', 'production', 'write');
    const route = 'POST /tickets/ACME-1016/close';
    const asking = { token, key: 'adm-0001', body: CLOSE };
    const first = await ask(helpDesk, route, asking);
    const again = await ask(helpDesk, route, asking);
    expect(first).toMatchObject({ status: 200, body: { status: 'closed', closed: CLOSE } });
    expect(again.body).toEqual(first.body);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(code(await ask(helpDesk, route, { ...asking, key: 'adm-0002' }))).toBe('already_closed');
    expect(code(await ask(helpDesk, 'POST /tickets/ACME-1017/close', asking))).toBe('key_reused');
    expect(code(await ask(helpDesk, route, { token, body: CLOSE }))).toBe('idempotency_key_missing');
    expect(await helpDesk.journal()).toMatchObject([
      {
        scope: { tenant: 'acme', environment: 'production', access: 'write' },
        write: 'ticket.close',
        subject: 'ACME-1016',
        idempotencyKey: 'adm-0001',
      },
    ]);
  });

  it('refuses what it does not understand', async () => {
    const helpDesk = await start();
    const token = helpDesk.token('acme', 'production', 'write');
    const asking = { token, key: 'a-key-of-its-own' };
    const route = 'POST /tickets/ACME-1016/close';
    expect(code(await ask(helpDesk, route, { ...asking, body: { ...CLOSE, tenant: 'globex' } }))).toBe(
      'bad_body',
    );
    expect(code(await ask(helpDesk, route, { ...asking, body: { resolution: 'maybe' } }))).toBe('bad_body');
    expect(code(await ask(helpDesk, route, { ...asking, body: { note: 'x'.repeat(70_000) } }))).toBe(
      'bad_body',
    );
    expect(code(await ask(helpDesk, 'POST /tickets/ACME-9/close', { ...asking, body: CLOSE }))).toBe(
      'not_found',
    );
    expect(code(await ask(helpDesk, 'GET /tickets?status=any', { token }))).toBe('bad_status');
    expect(code(await ask(helpDesk, 'DELETE /tickets', { token }))).toBe('method_not_allowed');
  });

  it('keeps everything in its file, over a restart, where nobody else may read it', async () => {
    const directory = temporaryDirectory();
    const before = await start(directory);
    const token = before.token('acme', 'production', 'write');
    await ask(before, 'POST /tickets/ACME-1016/close', { token, key: 'adm-0001', body: CLOSE });
    await before.stop();
    const after = await start(directory);
    expect(await after.journal()).toHaveLength(1);
    const again = { token: after.token('acme', 'production', 'write'), key: 'adm-0001', body: CLOSE };
    expect((await ask(after, 'POST /tickets/ACME-1016/close', again)).status).toBe(200);
    expect(await after.journal()).toHaveLength(1);
    expect(statSync(join(directory, 'help-desk.json')).mode & 0o077).toBe(0);
    expect(existsSync(join(directory, 'help-desk.json.new'))).toBe(false);
  });

  it('ends when whoever started it is gone', async () => {
    const helpDesk = await start();
    await helpDesk.stop();
    expect(() => process.kill(helpDesk.pid, 0)).toThrow('ESRCH');
  });
});

describe('the tools of the support agent', () => {
  const context = CallContext.parse({
    tenant: 'acme',
    environment: 'production',
    agent: 'support-bot',
    principal: 'slack:T0ACME/U0RITA',
    run: 'run-1',
  });

  function calling(helpDesk: HelpDesk, access: 'read' | 'write', tenant = 'acme') {
    const tools = new ToolRegistry(supportTools(helpDesk.url));
    const credentials = new Credentials({ token: helpDesk.token(tenant, 'production', access) });
    return async (name: string, args: unknown, idempotencyKey = 'adm-00000001') => {
      const tool = tools.get(name);
      if (!tool) throw new Error(`no tool ${name}`);
      const frozen = freezeArguments(tool, args);
      if (!frozen.ok) throw new Error(frozen.issues.join('; '));
      return tool.execute(frozen.value, {
        context,
        credentials,
        signal: AbortSignal.timeout(5_000),
        idempotencyKey,
      });
    };
  }

  it('read tickets and the knowledge base', async () => {
    const call = calling(await start(), 'read');
    expect(await call('ticket.read', { status: 'open' })).toHaveLength(44);
    expect(await call('ticket.read', { id: 'ACME-1002' })).toMatchObject({ customer: 'tom@harbor.example' });
    const articles = await call('kb.read', { question: 'When is a ticket a duplicate?' });
    expect(articles).toMatchObject({ 0: { id: 'KB-1' } });
    await expect(call('ticket.read', {})).rejects.toThrow('either id or status');
    await expect(call('ticket.read', { id: '../emails' })).rejects.toThrow('expected an id');
  });

  it('close, create and send, each with the key of its admission', async () => {
    const helpDesk = await start();
    const call = calling(helpDesk, 'write');
    const close = { id: 'ACME-1016', resolution: 'duplicate', duplicate_of: 'ACME-1002' };
    await call('ticket.close', close, 'adm-close-1');
    await call('ticket.close', close, 'adm-close-1');
    await call('ticket.create', { customer: 'a@b.example', subject: 's', body: 'b' }, 'adm-create-1');
    await call('email.send', { to: 'a@b.example', subject: 's', body: 'b' }, 'adm-email-1');
    const journal = await helpDesk.journal();
    expect(journal.map((entry) => [entry.write, entry.idempotencyKey])).toEqual([
      ['ticket.close', 'adm-close-1'],
      ['ticket.create', 'adm-create-1'],
      ['email.send', 'adm-email-1'],
    ]);
    expect(await call('ticket.read', { status: 'closed' })).toMatchObject([
      { closed: { duplicateOf: 'ACME-1002' } },
    ]);
  });

  it('[execution:credentials-at-the-boundary] fail with a token of another tenant, and say that nothing was done', async () => {
    const helpDesk = await start();
    const call = calling(helpDesk, 'write', 'globex');
    const closing = call('ticket.close', { id: 'ACME-1016', resolution: 'spam' });
    await expect(closing).rejects.toThrow(ToolRejected);
    await expect(closing).rejects.toMatchObject({ code: 'forbidden' });
    expect(await helpDesk.journal()).toEqual([]);
  });

  it('say that nothing was done where nobody listens', async () => {
    const helpDesk = await start();
    const call = calling(helpDesk, 'write');
    await helpDesk.stop();
    await expect(call('ticket.close', { id: 'ACME-1016', resolution: 'spam' })).rejects.toMatchObject({
      code: 'help_desk_down',
    });
  });

  it('hand credentials to an executor as files for it alone', async () => {
    const helpDesk = await start();
    const directory = temporaryDirectory();
    helpDesk.writeCredentials(directory, 'write');
    const path = join(directory, 'acme', 'production', 'write.json');
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      token: helpDesk.token('acme', 'production', 'write'),
    });
    expect(statSync(path).mode & 0o077).toBe(0);
    expect(existsSync(join(directory, 'acme', 'production', 'read.json'))).toBe(false);
  });

  const demoPolicy = () => {
    const text = readFileSync(new URL('../../src/sandbox/demo-policy.yaml', import.meta.url), 'utf8');
    return loadPolicyOrThrow(text, {
      tools: supportTools('http://127.0.0.1:1'),
      fileName: 'demo-policy.yaml',
    });
  };

  it('are what the demo’s policy speaks of', () => {
    const tools = supportTools('http://127.0.0.1:1');
    expect(new Set(demoPolicy().policy.tools.allow)).toEqual(new Set(tools.map((tool) => tool.name)));
    expect(tools.filter((tool) => tool.irreversible).map((tool) => tool.name)).toEqual(['email.send']);
  });

  it.each([
    ['acme', 'ticket.read', { verdict: 'allow', basis: 'read' }],
    [
      'acme',
      'ticket.close',
      { rule: { approvers: ['usergroup:S0SUPPORT'], quorum: 1, expiresInMs: 1_800_000 } },
    ],
    ['acme', 'email.send', { rule: { approvers: ['usergroup:S0SUPPORT'], quorum: 2 } }],
    [
      'acme',
      'ticket.create',
      { verdict: 'allow', basis: 'auto_approve', budget: { max: 20, perMs: 3_600_000 } },
    ],
    ['globex', 'ticket.close', { rule: { approvers: ['usergroup:S0GLOBEXSUP'], quorum: 1 } }],
    ['globex', 'email.send', { rule: { approvers: ['usergroup:S0GLOBEXSUP', 'user:U0NIA'], quorum: 2 } }],
    ['globex', 'ticket.create', { whenSpent: { rule: { approvers: ['usergroup:S0GLOBEXSUP'] } } }],
  ])('under the demo’s policy, for %s: %s', (tenant, toolName, verdict) => {
    const tool = new ToolRegistry(supportTools('http://127.0.0.1:1')).get(toolName);
    const call = { context: CallContext.parse({ ...context, tenant }), tool, toolName, args: {} };
    expect(evaluate(demoPolicy(), call)).toMatchObject(verdict);
  });
});
