import { tokenKeysOf } from '../../src/core/workspace/token-keys.ts';
import { InstallationStoreRedis } from '../../src/redis/installation-store-redis.ts';
import type { LocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import type { Workspace } from '../../src/sandbox/slack/slack-world.ts';
import type { SlackSurfaceParts } from '../../src/slack/app.ts';
import type { RedisForTests } from '../redis-for-tests.ts';

export const CLIENT = { id: '1234.5678', secret: 'the-client-secret' };
export const TOKEN_KEY = new Uint8Array(32).fill(9);

/** The app can be installed from its page, and globex has not done so yet. */
export function installable(slack: LocalSlack): void {
  slack.world.app.oauth = { clientId: CLIENT.id, clientSecret: CLIENT.secret, redirectUrls: [] };
  delete workspaceIn(slack, 'T0GLOBEX').installation;
}

export function workspaceIn(slack: LocalSlack, team: string): Workspace {
  const workspace = slack.world.workspaces.find((one) => one.team === team);
  if (workspace === undefined) throw new Error(`no workspace ${team}`);
  return workspace;
}

export function storeFor(redis: RedisForTests, key = TOKEN_KEY): InstallationStoreRedis {
  const keys = tokenKeysOf([key]);
  return new InstallationStoreRedis({
    redis: redis.client,
    subscriber: redis.connect(),
    keys,
    app: CLIENT.id,
  });
}

/** The surface with its install flow, which in Socket Mode listens on a port of its own. */
export function withInstalling(redis: RedisForTests) {
  return (parts: SlackSurfaceParts): SlackSurfaceParts => {
    const { transport } = parts.config;
    return {
      ...parts,
      config: {
        ...parts.config,
        transport:
          transport.mode === 'socket' ? { ...transport, listen: { host: '127.0.0.1', port: 0 } } : transport,
        oauth: { clientId: CLIENT.id, clientSecret: CLIENT.secret, store: storeFor(redis) },
      },
    };
  };
}

interface Shown {
  readonly status: number;
  readonly location: string;
  readonly text: string;
  readonly headers: Headers;
}

/** What a browser does: keeps cookies, follows nothing by itself. */
export class Browser {
  readonly #cookies = new Map<string, string>();

  get(url: string): Promise<Shown> {
    return this.#send(url, {});
  }

  post(url: string, form: URLSearchParams): Promise<Shown> {
    return this.#send(url, { method: 'POST', body: form });
  }

  async #send(url: string, init: RequestInit): Promise<Shown> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [name = '', value = ''] = line.split(';')[0]?.split('=') ?? [];
      if (value === 'deleted') this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    const { status, headers } = response;
    return { status, headers, location: headers.get('location') ?? '', text: await response.text() };
  }
}

/** From the install page to Slack and back as far as the address that Slack sends the browser to. */
export async function consent(
  browser: Browser,
  base: string,
  target: string,
  change: (asked: URLSearchParams) => void = () => {},
): Promise<string> {
  const begun = await browser.get(`${base}/slack/install`);
  if (begun.status !== 302) throw new Error(`the install page answered ${begun.status}`);
  const page = new URL(begun.location);
  const form = new URLSearchParams(page.search);
  change(form);
  form.set('target', target);
  page.search = '';
  return (await browser.post(page.href, form)).location;
}
