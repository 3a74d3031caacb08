import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { startSlackSurface } from '../../src/slack/app.ts';
import { connectWorkspaces, SlackTokenRejected } from '../../src/slack/clients.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { surfaceForTests } from './surface-for-tests.ts';

const logger = pino({ level: 'silent' });

describe('the clients', () => {
  it('each send the token of their own workspace, whichever was made first', async () => {
    const seen: { path: string; token: string }[] = [];
    const server = createServer((request, response) => {
      const token = String(request.headers.authorization).replace('Bearer ', '');
      seen.push({ path: request.url ?? '', token });
      const team = token.endsWith('acme') ? 'T0ACME' : 'T0GLOBEX';
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ ok: true, team_id: team, user_id: 'U0BOT', ts: '1.2', channel: {}, user: {} }),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/`;
    try {
      const workspaces = await connectWorkspaces(['xoxb-0000-acme', 'xoxb-0000-globex'], { apiUrl, logger });
      for (const round of [1, 2]) {
        for (const team of ['T0ACME', 'T0GLOBEX']) {
          const workspace = workspaces.get(team);
          await workspace?.posting.chat.postMessage({ channel: `C${round}`, text: 'x' });
          await workspace?.asking.users.info({ user: 'U1' });
          await workspace?.views.views.open({
            trigger_id: 't',
            view: { type: 'modal', title: { type: 'plain_text', text: 'x' }, blocks: [] },
          });
        }
      }
      const tokens = seen.filter(({ path }) => !path.endsWith('auth.test')).map(({ token }) => token);
      const acme = Array(3).fill('xoxb-0000-acme');
      const globex = Array(3).fill('xoxb-0000-globex');
      expect(tokens).toEqual([...acme, ...globex, ...acme, ...globex]);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });

  it('say of every wrong token which one it is and what to do, and never the token', async () => {
    const slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'socket' } });
    try {
      const connecting = connectWorkspaces(
        ['xoxb-demo-acme', 'xoxb-wrong-token-1234', 'xoxb-demo-acme', ''],
        {
          apiUrl: slack.apiUrl,
          logger,
        },
      );
      const error = await connecting.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(SlackTokenRejected);
      const { message, code } = error as SlackTokenRejected;
      expect(code).toBe('slack_token_rejected');
      expect(message).toContain('bot token 2 of 4 (xoxb-…1234): invalid_auth');
      expect(message).toContain('bot token 4 of 4');
      expect(message).toContain('two bot tokens are for the same workspace T0ACME');
      expect(message).not.toContain('wrong-token');
    } finally {
      await slack.close();
    }
  });

  it('say so where no token is set, and where Slack cannot be reached', async () => {
    await expect(connectWorkspaces([], { apiUrl: undefined, logger })).rejects.toThrow('no bot token is set');
    await expect(
      connectWorkspaces(['xoxb-demo-acme'], { apiUrl: 'http://127.0.0.1:9/api/', logger }),
    ).rejects.toThrow('could not be asked');
  });
});

describe('the surface', () => {
  const t = surfaceForTests('socket', redisForTests());

  it('does not start with an app token that Slack refuses, and says which', async () => {
    const config = {
      ...t.parts.config,
      transport: { mode: 'socket' as const, appToken: 'xapp-wrong-token' },
    };
    await expect(startSlackSurface({ ...t.parts, config })).rejects.toThrow(/app token.*connections:write/);
  });

  it('names a tenant whose workspace has no token', async () => {
    const config = { ...t.parts.config, botTokens: ['xoxb-demo-acme'] };
    const surface = await t.replica({ config });
    expect(surface.problems()).toMatchObject([{ tenant: 'globex', code: 'workspace_not_installed' }]);
  });
});
