import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { App, type AuthorizeResult, HTTPReceiver, LogLevel, SocketModeReceiver } from '@slack/bolt';
import { WebClient, type WebClientOptions } from '@slack/web-api';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import type { SlackWorld } from '../../src/sandbox/slack/slack-world.ts';

export type Mode = 'socket' | 'http';

export interface SampleApp {
  slack: LocalSlack;
  app: App;
  /** The app's client for one workspace: no retries, a 429 comes back as an error. */
  client: WebClient;
  person(user: string, team?: string): SlackPerson;
  close(): Promise<void>;
}

/** A local Slack with a real Bolt App in front of it, over either way of delivery. */
export async function startSampleApp(
  mode: Mode,
  listeners: (app: App) => void,
  world: SlackWorld = demoWorld(),
  now?: () => number,
): Promise<SampleApp> {
  const port = mode === 'http' ? await freePort() : 0;
  const slack = await startLocalSlack({
    world,
    delivery: mode === 'socket' ? { mode } : { mode, url: `http://127.0.0.1:${port}/slack/events` },
    ...(now ? { now } : {}),
  });
  const receiver =
    mode === 'socket'
      ? new SocketModeReceiver({
          appToken: world.app.appToken,
          logLevel: LogLevel.ERROR,
          installerOptions: { clientOptions: { slackApiUrl: slack.apiUrl } },
        })
      : new HTTPReceiver({ signingSecret: world.app.signingSecret, logLevel: LogLevel.ERROR });
  const app = new App({
    receiver,
    authorize: async ({ teamId }) => authorizeIn(world, teamId),
    clientOptions: clientOptions(slack),
    logLevel: LogLevel.ERROR,
  });
  listeners(app);
  await app.start(port);
  return {
    slack,
    app,
    client: clientFor(slack, 'T0ACME'),
    person: (user, team = 'T0ACME') => new SlackPerson(slack.url, { team, user }),
    close: async () => {
      // A test may have stopped it already, which Bolt's HTTP receiver holds against a second time.
      await app.stop().catch(() => undefined);
      await slack.close();
    },
  };
}

export function clientFor(slack: LocalSlack, team: string): WebClient {
  const token = slack.world.workspaces.find((workspace) => workspace.team === team)?.installation?.botToken;
  return new WebClient(token, { ...clientOptions(slack), logLevel: LogLevel.ERROR });
}

function clientOptions(slack: LocalSlack): WebClientOptions {
  return { slackApiUrl: slack.apiUrl, retryConfig: { retries: 0 }, rejectRateLimitedCalls: true };
}

function authorizeIn(world: SlackWorld, teamId: string | undefined): AuthorizeResult {
  const installation = world.workspaces.find((workspace) => workspace.team === teamId)?.installation;
  if (!installation) throw new Error(`The app is not installed in ${teamId}.`);
  return { botToken: installation.botToken, botId: installation.botId, botUserId: installation.botUser };
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => {
    probe.listen(0, '127.0.0.1', resolve);
  });
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => {
    probe.close(resolve);
  });
  return port;
}

/** The name of the error that a Web API call was refused with, `ok` where it was not. */
export async function apiError(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    const data = (error as { data?: { error?: string } }).data;
    return data?.error ?? (error as Error).message;
  }
}
