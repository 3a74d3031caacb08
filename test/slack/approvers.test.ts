import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PersonId } from '../../src/core/identity/ids.ts';
import { SlackApprovers } from '../../src/slack/approvers.ts';
import { connectWorkspaces, type Workspaces } from '../../src/slack/clients.ts';

const ANA = PersonId.parse('slack:T0ACME/U0ANA');
const GROUP = ['usergroup:S0SUPPORT'];

/** What Slack says of Ana and of the group, as a test sets it; a number is an HTTP status. */
let user: Record<string, unknown> | number;
let members: string[] | number;
let now: number;
let asked: string[];
let server: Server;
let workspaces: Workspaces;
let directory: SlackApprovers;

beforeAll(async () => {
  server = createServer((request, response) => {
    const method = (request.url ?? '').split('/').at(-1) ?? '';
    asked.push(method);
    const said = method === 'users.info' ? user : method === 'usergroups.users.list' ? members : {};
    if (typeof said === 'number') {
      response.writeHead(said).end();
      return;
    }
    const auth = { team_id: 'T0ACME', user_id: 'U0BOT', enterprise_id: 'E0GRID' };
    const body = { ok: true, user: said, users: said, ...(method === 'auth.test' ? auth : {}) };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  asked = [];
  const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/`;
  workspaces = await connectWorkspaces(['xoxb-1234567890'], { apiUrl, logger: pino({ level: 'silent' }) });
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});
beforeEach(() => {
  user = { id: 'U0ANA', team_id: 'T0ACME' };
  members = ['U0ANA'];
  now = 1_000_000;
  asked = [];
  directory = new SlackApprovers(workspaces, () => now);
});

const ask = (entries: readonly string[] = GROUP, team = 'T0ACME', person = ANA) =>
  directory.entitlementOf(person, entries, team);
const listed = () => asked.filter((method) => method === 'usergroups.users.list').length;

describe('who may decide', () => {
  it('is a full member whom an entry names, in person or by group', async () => {
    expect(await ask()).toEqual({ ok: true, as: 'usergroup:S0SUPPORT' });
    expect(await ask(['usergroup:S0OTHER', 'user:U0ANA'])).toEqual({ ok: true, as: 'user:U0ANA' });
    expect(await ask(['user:U0BEN'])).toEqual({ ok: false, refusal: 'not_an_approver' });
    expect(await ask([])).toEqual({ ok: false, refusal: 'not_an_approver' });
  });

  it.each([
    ['deactivated', { deleted: true }],
    ['not_a_person', { is_bot: true }],
    ['not_a_person', { is_workflow_bot: true }],
    ['not_a_person', { is_connector_bot: true }],
    ['guest', { is_restricted: true }],
    ['guest', { is_ultra_restricted: true }],
    ['stranger', { is_stranger: true }],
    ['stranger', { team_id: 'T0OTHER' }],
    ['stranger', { team_id: undefined }],
    ['cannot_check', { id: 'U0BEN' }],
  ])('is refused as %s: %j', async (refusal, flags) => {
    user = { ...(user as object), ...flags };
    expect(await ask(['user:U0ANA', ...GROUP])).toEqual({ ok: false, refusal });
  });

  it('may be of the organisation that the workspace belongs to, and of no other', async () => {
    user = { id: 'U0ANA', team_id: 'E0GRID' };
    expect(await ask()).toMatchObject({ ok: true });
    user = { id: 'U0ANA', team_id: 'T0SIBLING', enterprise_user: { enterprise_id: 'E0GRID' } };
    expect(await ask()).toMatchObject({ ok: true });
    user = { id: 'U0ANA', team_id: 'T0SIBLING', enterprise_user: { enterprise_id: 'E0EVIL' } };
    expect(await ask()).toEqual({ ok: false, refusal: 'stranger' });
  });

  it('is nobody of another team than the tenant', async () => {
    const other = PersonId.parse('slack:T0OTHER/U0ANA');
    expect(await ask(GROUP, 'T0ACME', other)).toEqual({ ok: false, refusal: 'other_workspace' });
    expect(await ask(GROUP, 'T0NOWHERE')).toEqual({ ok: false, refusal: 'cannot_check' });
    expect(asked).toEqual([]);
  });

  it('is nobody while Slack does not answer', async () => {
    user = 503;
    expect(await ask(['user:U0ANA'])).toEqual({ ok: false, refusal: 'cannot_check' });
    user = { nothing: 'useful' };
    expect(await ask(['user:U0ANA'])).toEqual({ ok: false, refusal: 'cannot_check' });
  });
});

describe('the members of a group', () => {
  it('are asked for once in thirty seconds, and by one of many clicks at the same moment', async () => {
    await Promise.all([ask(), ask(), ask()]);
    now += 29_999;
    await ask();
    expect(listed()).toBe(1);
    now += 1;
    await ask();
    expect(listed()).toBe(2);
  });

  it('are asked for again where somebody is missing, but not at every click', async () => {
    members = [];
    expect(await ask()).toEqual({ ok: false, refusal: 'not_an_approver' });
    members = ['U0ANA'];
    now += 1_000;
    expect(await ask()).toEqual({ ok: false, refusal: 'not_an_approver' });
    expect(listed()).toBe(1);
    now += 4_000;
    expect(await ask()).toMatchObject({ ok: true });
    expect(listed()).toBe(2);
  });

  it('are unknown where Slack does not tell and the list is old, and then nobody is let in', async () => {
    expect(await ask()).toMatchObject({ ok: true });
    members = 503;
    now += 10_000;
    expect(await ask()).toMatchObject({ ok: true });
    now += 30_000;
    expect(await ask()).toEqual({ ok: false, refusal: 'cannot_check' });
    expect(await ask([...GROUP, 'user:U0ANA'])).toMatchObject({ ok: true, as: 'user:U0ANA' });
  });
});
