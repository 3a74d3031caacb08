import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { SlackPerson } from '../../src/sandbox/slack/slack-person.ts';
import { startSampleApp } from './bolt-sample-app.ts';
import { ListeningApp } from './listening-app.ts';

const CHANNEL = 'C0ACMEAPP';

type Envelope = Record<string, unknown> & { envelope_id?: string; type: string };

/** A connection that does nothing by itself: it keeps what it is sent, and acknowledges when told to. */
class BareConnection {
  readonly received: Envelope[] = [];
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data) => this.received.push(JSON.parse(String(data)) as Envelope));
  }

  static async open(slack: LocalSlack): Promise<BareConnection> {
    const socket = new WebSocket(await socketUrl(slack));
    const connection = new BareConnection(socket);
    await expect.poll(() => connection.received[0]?.type).toBe('hello');
    return connection;
  }

  get envelopes(): Envelope[] {
    return this.received.filter((message) => message.envelope_id !== undefined);
  }

  async ack(index = 0, payload?: unknown): Promise<void> {
    await expect.poll(() => this.envelopes.length).toBeGreaterThan(index);
    const envelope_id = this.envelopes[index]?.envelope_id;
    this.#socket.send(JSON.stringify({ envelope_id, ...(payload === undefined ? {} : { payload }) }));
  }

  break(): void {
    this.#socket.terminate();
  }

  async pinged(): Promise<void> {
    this.#socket.ping();
    await once(this.#socket, 'pong');
  }

  get closed(): boolean {
    return this.#socket.readyState === WebSocket.CLOSED;
  }
}

async function openConnection(slack: LocalSlack): Promise<{ ok: boolean; url?: string; error?: string }> {
  const response = await fetch(`${slack.apiUrl}apps.connections.open`, {
    method: 'POST',
    headers: { authorization: `Bearer ${slack.world.app.appToken}` },
  });
  return (await response.json()) as { ok: boolean; url?: string; error?: string };
}

async function socketUrl(slack: LocalSlack): Promise<string> {
  const { url, error } = await openConnection(slack);
  if (url === undefined) throw new Error(error);
  return url;
}

describe('Socket Mode', () => {
  let slack: LocalSlack;
  let time: number;

  beforeEach(async () => {
    time = Date.now();
    slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'socket' }, now: () => time });
  });
  afterEach(() => slack.close());

  const chen = () => new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0CHEN' });

  it('greets a connection, answers its pings, and wraps each payload in an envelope', async () => {
    const connection = await BareConnection.open(slack);
    expect(connection.received[0]).toMatchObject({
      type: 'hello',
      num_connections: 1,
      connection_info: { app_id: 'A0COUNTERSIGN' },
    });
    await connection.pinged();
    const answer = chen().command('/agent-writes status', CHANNEL);
    await connection.ack(0, { text: 'on' });
    expect(await answer).toEqual({ ok: true });
    expect(connection.envelopes[0]).toMatchObject({
      type: 'slash_commands',
      envelope_id: expect.any(String),
      accepts_response_payload: true,
      payload: { command: '/agent-writes', text: 'status' },
    });
    expect(await chen().messages(CHANNEL)).toMatchObject([{ text: 'on', ephemeral: true }]);
  });

  it('gives an address for one connection, good once and for thirty seconds', async () => {
    const refused = async (url: string) => {
      const socket = new WebSocket(url);
      const [error] = (await once(socket, 'error')) as [Error];
      return error.message;
    };
    const used = await socketUrl(slack);
    const socket = new WebSocket(used);
    await once(socket, 'open');
    expect(await refused(used)).toContain('401');
    const stale = await socketUrl(slack);
    time += 30_001;
    expect(await refused(stale)).toContain('401');
  });

  it('has at most ten connections', async () => {
    for (let index = 0; index < 10; index += 1) await BareConnection.open(slack);
    expect(await openConnection(slack)).toEqual({ ok: false, error: 'too_many_websockets' });
  });

  it('sends each envelope to one connection, in turns', async () => {
    const connections = [await BareConnection.open(slack), await BareConnection.open(slack)];
    for (let index = 0; index < 4; index += 1) {
      const answer = chen().command(`/agent-writes ${index}`, CHANNEL);
      await expect.poll(() => connections.flatMap((one) => one.envelopes)).toHaveLength(index + 1);
      for (const one of connections) {
        if (one.envelopes.some((envelope) => text(envelope) === `${index}`))
          await one.ack(one.envelopes.length - 1);
      }
      expect(await answer).toEqual({ ok: true });
    }
    expect(connections.map((one) => one.envelopes.length)).toEqual([2, 2]);
  });

  it('gives an envelope whose connection broke before the ack to another one', async () => {
    const connections = [await BareConnection.open(slack), await BareConnection.open(slack)];
    const answer = chen().command('/agent-writes off', CHANNEL);
    await expect.poll(() => connections.flatMap((one) => one.envelopes)).toHaveLength(1);
    const [first, second] = connections[0]?.envelopes.length ? connections : [...connections].reverse();
    first?.break();
    await second?.ack();
    expect(await answer).toEqual({ ok: true });
    expect(second?.envelopes[0]?.envelope_id).toBe(first?.envelopes[0]?.envelope_id);
  });

  it('keeps an envelope for the next connection when the only one broke', async () => {
    const first = await BareConnection.open(slack);
    const answer = chen().command('/agent-writes off', CHANNEL);
    await expect.poll(() => first.envelopes).toHaveLength(1);
    first.break();
    await expect.poll(() => slack.connections()).toBe(0);
    const second = await BareConnection.open(slack);
    await second.ack();
    expect(await answer).toEqual({ ok: true });
  });

  it('counts an ack that comes after three seconds as none', async () => {
    const connection = await BareConnection.open(slack);
    const answer = chen().command('/agent-writes off', CHANNEL);
    await expect.poll(() => connection.envelopes).toHaveLength(1);
    time += 3000;
    await connection.ack(0, { text: 'too late' });
    expect(await answer).toMatchObject({ ok: false, error: 'operation_timeout' });
    expect(await chen().messages(CHANNEL)).toEqual([]);
  });

  it('sends an envelope twice, over two connections, and late, on demand', async () => {
    const connections = [await BareConnection.open(slack), await BareConnection.open(slack)];
    slack.faults.deliverTwice();
    const answer = chen().command('/agent-writes off', CHANNEL);
    for (const connection of connections) await connection.ack(0, { text: 'heard' });
    expect(await answer).toEqual({ ok: true });
    expect(connections[0]?.envelopes).toEqual(connections[1]?.envelopes);
    expect(await chen().messages(CHANNEL)).toHaveLength(1);

    slack.faults.deliverLate(2000);
    const late = chen().command('/agent-writes on', CHANNEL);
    const started = time;
    const later = () => {
      time += 100;
      return connections.flatMap((one) => one.envelopes);
    };
    await expect.poll(later).toHaveLength(3);
    expect(time - started).toBeGreaterThanOrEqual(2000);
    time += 1000;
    expect(await late).toMatchObject({ error: 'operation_timeout' });
  });

  it('drops its connections, or asks for new ones, on demand', async () => {
    const connection = await BareConnection.open(slack);
    slack.faults.refreshSockets();
    await expect
      .poll(() => connection.received.at(-1))
      .toMatchObject({ type: 'disconnect', reason: 'refresh_requested' });
    slack.faults.dropSockets();
    await expect.poll(() => connection.closed).toBe(true);
    expect(slack.connections()).toBe(0);
  });

  it('carries any envelope that a test makes up', async () => {
    const connection = await BareConnection.open(slack);
    const outcome = slack.send({
      type: 'interactive',
      team: 'T0EVIL',
      payload: { type: 'block_actions', team: { id: 'T0EVIL' } },
      acceptsResponse: false,
    });
    await connection.ack(0, { ignored: true });
    expect(await outcome).toEqual({ ok: true, response: undefined });
  });
});

it('a Bolt App follows a refresh to a new connection and loses nothing', { timeout: 20_000 }, async () => {
  const sample = await startSampleApp('socket', (app) => {
    app.command('/agent-writes', async ({ ack }) => ack('heard'));
  });
  sample.slack.faults.refreshSockets();
  await expect.poll(() => sample.slack.traffic.calls('apps.connections.open')).toHaveLength(2);
  await expect.poll(() => sample.slack.connections()).toBe(1);
  expect(await sample.person('U0CHEN').command('/agent-writes status', CHANNEL)).toEqual({ ok: true });
  await sample.close();
});

describe('HTTP delivery', () => {
  const app = new ListeningApp();
  let slack: LocalSlack;

  beforeEach(async () => {
    const url = await app.start();
    slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'http', url } });
  });
  afterEach(async () => {
    await slack.close();
    await app.close();
  });

  const chen = () => new SlackPerson(slack.url, { team: 'T0ACME', user: 'U0CHEN' });

  it('signs the exact bytes with the signing secret, now', async () => {
    await chen().command('/agent-writes off “because”', CHANNEL);
    const { headers, body } = app.last;
    const timestamp = String(headers['x-slack-request-timestamp']);
    const base = `v0:${timestamp}:${body}`;
    const expected = createHmac('sha256', slack.world.app.signingSecret).update(base).digest('hex');
    expect(headers['x-slack-signature']).toBe(`v0=${expected}`);
    expect(Math.abs(Number(timestamp) - Date.now() / 1000)).toBeLessThan(60);
    expect(headers['content-type']).toBe('application/x-www-form-urlencoded');
    expect(app.payload).toMatchObject({ text: 'off “because”' });
  });

  it.each([
    [500, 'http_service_error'],
    [401, 'http_client_error'],
    [302, 'http_response_error'],
  ])('tells the person when the app answers %d, and does not try again', async (status, name) => {
    app.reply = { status };
    const before = app.heard.length;
    expect(await chen().command('/agent-writes off', CHANNEL)).toEqual({
      ok: false,
      error: 'app_error',
      text: `/agent-writes failed with the error "${name}"`,
    });
    expect(app.heard.length - before).toBe(1);
    app.reply = { status: 200 };
  });
});

function text(envelope: Envelope): unknown {
  return (envelope.payload as { text?: unknown }).text;
}
