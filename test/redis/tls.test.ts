import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKeys } from '../../src/generate-keys.ts';
import { ExecutionWorker } from '../../src/queue/execution-worker.ts';
import { Channels } from '../../src/redis/channels.ts';
import { answerOf, checkRedis, openRedis, RedisAway } from '../../src/redis/connection.ts';
import { isCluster, type RedisConnection, redisAddressOf } from '../../src/redis/redis-address.ts';
import { type EmbeddedRedis, findRedisBinary, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';
import { freePorts } from '../faults/free-ports.ts';
import { RunningParts, SHARDS, until } from '../queue/running-parts.ts';
import { closeTicketWith } from '../queue/sealed-call.ts';
import { AuthorityForTests } from './certificates-for-tests.ts';

const NEEDS = { replicas: 0, shards: SHARDS };
const PORTS = { from: 20_000, to: 32_000 };

/** Two Redis, a Sentinel that watches them, one by its name, and a Cluster of one node: none of them listens without TLS. */
let directory: string;
let ports: Record<'one' | 'named' | 'sentinel' | 'node', number>;
let node: EmbeddedRedis;
let stops: (() => Promise<unknown> | undefined)[];
const authority = new AuthorityForTests('an authority of the company');
const ca = authority.certificate;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cs-tls-'));
  stops = [];
  const [one = 0, named = 0, sentinel = 0, nodePort = 0, bus = 0] = await freePorts(5, PORTS);
  ports = { one, named, sentinel, node: nodePort };
  writeFileSync(join(directory, 'ca.pem'), ca);
  const start = async (name: string, names: string[], ...extraArgs: string[]) => {
    const settings = tlsSettings(name, names).flatMap(([key, value]) => [`--${key}`, value]);
    const server = await startEmbeddedRedis({
      directory: join(directory, name),
      appendOnly: 'always',
      extraArgs: ['--bind', '127.0.0.1', ...settings, ...extraArgs],
    });
    stops.push(() => server.kill9());
    return server;
  };
  const [, , clusterNode] = await Promise.all([
    start('one', ['localhost', '127.0.0.1'], '--tls-port', String(one), '--tls-replication', 'yes'),
    start('named', ['localhost'], '--tls-port', String(named), '--tls-replication', 'yes'),
    start(
      'node',
      ['localhost'],
      ...['--tls-port', String(nodePort), '--tls-cluster', 'yes', '--cluster-enabled', 'yes'],
      ...['--cluster-port', String(bus), '--cluster-announce-ip', '127.0.0.1'],
      ...['--cluster-announce-hostname', 'localhost'],
    ),
  ]);
  node = clusterNode;
  stops.push(startSentinel());
  await ofNode((client) => client.cluster('ADDSLOTSRANGE', 0, 16_383));
  await preferEndpoint('hostname');
});
afterAll(async () => {
  for (const stop of stops) await stop();
  rmSync(directory, { recursive: true, force: true });
});

describe.each([
  ['rediss', () => `rediss://127.0.0.1:${ports.one}`],
  ['rediss, by a name', () => `rediss://localhost:${ports.one}/1`],
  ['rediss+sentinel', () => `rediss+sentinel://localhost:${ports.sentinel}/main/2`],
  ['rediss+sentinel, announcing names', () => `rediss+sentinel://localhost:${ports.sentinel}/named`],
  ['rediss+cluster', () => `rediss+cluster://localhost:${ports.node}`],
] as const)('%s', (_, url) => {
  it('with the authority: a call is proposed, approved, and runs, and news are heard', async () => {
    const connection = trusting(url());
    const parts = new RunningParts(connection);
    onTestFinished(() => parts.close());
    // A Cluster that has just begun takes writes after two seconds.
    await expect.poll(() => checkRedis(parts.redis, NEEDS)).toMatchObject({ refusesWrites: undefined });
    let heard = 0;
    await Channels.of(parts.subscriber).follow('{s0}:news', {
      onMessage: () => {
        heard += 1;
      },
      onGap() {},
    });
    await answerOf(parts.redis, () => parts.redis.publish('{s0}:news', 'x'));
    await parts.armWrites();
    const worker = new ExecutionWorker({
      ...parts.executionParts(closeTicketWith(() => 'closed')),
      dispatch: parts.dispatch,
      connection: parts.redis,
      shards: SHARDS,
    });
    worker.start();
    onTestFinished(() => worker.stop({ graceMs: 200 }).then(() => {}));
    await worker.ready();
    expect(await worker.takesJobs()).toBe(true);
    const { id } = (await parts.approvedCall()).terms;
    await parts.dispatch.wake(id);
    await until(`${id} ran`, async () => (await parts.statusOf(id)) === 'succeeded');
    await expect.poll(() => heard).toBe(1);
  });
});

/** At once: each waits for the end of an answer that does not come. */
describe.concurrent('a certificate that is not to be trusted', () => {
  const forms = () => [
    `rediss://localhost:${ports.one}`,
    `rediss+sentinel://localhost:${ports.sentinel}/main`,
    `rediss+cluster://localhost:${ports.node}`,
  ];

  it('[redis:down-means-no] of another authority: refused in every form, with how to give the right one', async () => {
    const other = new AuthorityForTests('somebody else').certificate;
    const problems = await Promise.all(forms().map((url) => problemOf(trusting(url, other))));
    for (const problem of problems) {
      expect(problem).toContain(
        'does not trust: start this process with NODE_EXTRA_CA_CERTS=/path/to/ca.pem',
      );
    }
  });

  it('for another name: refused in every form, with the names', async () => {
    // The Sentinel and the node have one for `localhost` alone.
    const addresses = [
      `rediss://127.0.0.1:${ports.node}`,
      `rediss+sentinel://127.0.0.1:${ports.sentinel}/main`,
      `rediss+cluster://127.0.0.1:${ports.node}`,
    ];
    const problems = await Promise.all(addresses.map((url) => problemOf(trusting(url))));
    for (const problem of problems) {
      expect(problem).toContain('its certificate is for another name');
      expect(problem).toContain("IP: 127.0.0.1 is not in the cert's list");
    }
  });

  it.for([
    ['has expired: renew it', { fromMs: -86_400_000, untilMs: -60_000 }],
    ['is not valid yet: look at the clocks', { fromMs: 3_600_000, untilMs: 86_400_000 }],
  ] as const)('%s: refused in every form', async ([why, valid], { onTestFinished }) => {
    const { certificate: cert, key } = authority.issue(['localhost'], valid);
    const server = createTlsServer({ cert, key }).listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const at = `localhost:${(server.address() as AddressInfo).port}`;
    const addresses = [`rediss://${at}`, `rediss+sentinel://${at}/main`, `rediss+cluster://${at}`];
    const problems = await Promise.all(addresses.map((url) => problemOf(trusting(url))));
    for (const problem of problems) expect(problem).toContain(`its certificate ${why}`);
  });

  it('is one that NODE_EXTRA_CA_CERTS does not vouch for: a part of its own says so and ends', async () => {
    const url = `rediss+cluster://localhost:${ports.node}`;
    const ca = join(directory, 'ca.pem');
    const [trusts, doubts] = await Promise.all([looking(url, { NODE_EXTRA_CA_CERTS: ca }), executor(url)]);
    expect(trusts).toEqual({ code: 0, output: 'it serves us\n', errors: '' });
    expect(doubts.code).toBe(1);
    expect(doubts.errors).toContain(`Redis at ${url} does not serve us: its certificate`);
    expect(doubts.errors).toContain('NODE_EXTRA_CA_CERTS');
  });
});

it('a node that announces an address which its certificate does not name is refused, and named', async () => {
  await preferEndpoint('ip');
  onTestFinished(() => preferEndpoint('hostname'));
  const problem = await problemOf(trusting(`rediss+cluster://localhost:${ports.node}`));
  expect(problem).toContain(`127.0.0.1:${ports.node}: its certificate is for another name`);
});

it.each([
  ['rediss', () => `rediss://127.0.0.1:${ports.node}`],
  ['rediss+sentinel', () => `rediss+sentinel://127.0.0.1:${ports.sentinel}/main`],
  ['rediss+cluster', () => `rediss+cluster://127.0.0.1:${ports.node}`],
] as const)(
  '%s: what is closed while its certificate is looked at leaves no error that nobody hears',
  async (_, url) => {
    for (let ms = 0; ms < 15; ms++) {
      const connections = openRedis({ connection: trusting(url()), replicas: 0 });
      await sleep(ms);
      connections.close();
    }
    // Where the test runs, such an error fails it; elsewhere it ends the process.
    await sleep(100);
  },
);

it('a node that announces a port without TLS is sent nothing in plain text', async () => {
  const firstBytes: (number | undefined)[] = [];
  const plain = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (bytes) => {
      firstBytes.push(bytes[0]);
      socket.destroy();
    });
  });
  await new Promise<void>((done) => plain.listen(0, '127.0.0.1', done));
  onTestFinished(() => void plain.close());
  const { port } = plain.address() as AddressInfo;
  const announce = (announced: number) =>
    ofNode((client) => client.config('SET', 'cluster-announce-tls-port', String(announced)));
  await announce(port);
  onTestFinished(() => announce(0).then(() => {}));
  const problem = await problemOf(trusting(`rediss+cluster://localhost:${ports.node}`));
  expect(problem).toContain(`localhost:${port}`);
  expect(firstBytes.length).toBeGreaterThan(0);
  // That a TLS handshake begins with.
  expect(new Set(firstBytes)).toEqual(new Set([0x16]));
});

it('`tls` of createGuard with Sentinels is for the master too, without being said twice', async () => {
  const sentinels = [{ host: 'localhost', port: ports.sentinel }];
  const connections = openRedis({
    connection: { sentinels, name: 'main', tls: { ca }, sentinelTLS: { ca } },
    replicas: 0,
  });
  onTestFinished(() => connections.close());
  expect(await checkRedis(connections.redis)).toMatchObject({ refusesWrites: undefined });
});

/* ---- who is connected to, and what is trusted ---- */

/** As NODE_EXTRA_CA_CERTS has a process trust it, from its start on. */
function trusting(url: string, authorities = ca): RedisConnection {
  const { connection } = redisAddressOf(url);
  const tls = { ca: authorities };
  if (isCluster(connection)) return { ...connection, tls };
  return { ...connection, tls, ...(connection.sentinels ? { sentinelTLS: tls } : {}) };
}

async function problemOf(connection: RedisConnection): Promise<string> {
  const connections = openRedis({ connection, replicas: 0 });
  try {
    const error = await checkRedis(connections.redis, NEEDS).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!(error instanceof RedisAway)) throw error ?? new Error('it was trusted');
    return error.problem;
  } finally {
    connections.close();
  }
}

async function preferEndpoint(type: 'hostname' | 'ip'): Promise<void> {
  await ofNode((client) => client.config('SET', 'cluster-preferred-endpoint-type', type));
}

async function ofNode(ask: (client: Redis) => Promise<unknown>): Promise<void> {
  const client = new Redis(node.connectionOptions);
  await ask(client);
  client.disconnect();
}

function tlsSettings(name: string, names: readonly string[]): [string, string][] {
  const { certificate, key } = authority.issue(names);
  const path = (file: string) => join(directory, `${name}.${file}`);
  writeFileSync(path('pem'), certificate);
  writeFileSync(path('key'), key, { mode: 0o600 });
  return [
    ['tls-cert-file', path('pem')],
    ['tls-key-file', path('key')],
    ['tls-ca-cert-file', join(directory, 'ca.pem')],
    ['tls-auth-clients', 'no'],
  ];
}

/** Killed also where this process ends without a word: its standard input ends then. */
function startSentinel(): () => Promise<unknown> {
  const home = join(directory, 'sentinel');
  mkdirSync(home);
  const config = join(home, 'sentinel.conf');
  const settings = [
    ...tlsSettings('sentinel', ['localhost']),
    ['port', '0'],
    ['tls-port', String(ports.sentinel)],
    ['tls-replication', 'yes'],
    ['bind', '127.0.0.1'],
    ['dir', home],
    ['sentinel resolve-hostnames', 'yes'],
    ['sentinel announce-hostnames', 'yes'],
    ['sentinel monitor', `main 127.0.0.1 ${ports.one} 1`],
    ['sentinel monitor', `named localhost ${ports.named} 1`],
  ];
  writeFileSync(config, settings.map(([key, value]) => `${key} ${value}\n`).join(''));
  const script = '"$1" "$2" --sentinel >/dev/null & read -r _; kill -KILL $!; wait';
  const child: ChildProcess = spawn('/bin/sh', ['-c', script, 'sh', findRedisBinary(), config], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  const ended = new Promise((done) => child.once('exit', done));
  return () => {
    child.stdin?.end();
    return ended;
  };
}

const DIST = join(import.meta.dirname, '..', '..', 'dist');

/** What a process with these variables, and none of ours, says of the Redis at this address. */
function looking(url: string, env: Readonly<Record<string, string>>) {
  const script = `
    const { openRedis, checkRedis } = await import(${JSON.stringify(pathToFileURL(join(DIST, 'redis', 'connection.js')).href)});
    const connections = openRedis({ url: ${JSON.stringify(url)}, replicas: 0 });
    await checkRedis(connections.redis, { replicas: 0, shards: 1 });
    console.log('it serves us');
    connections.close();`;
  return ended(['--input-type=module', '-e', script], env);
}

function executor(url: string) {
  const keys = generateKeys();
  const files = { policy: join(directory, 'policy.yaml'), tools: join(directory, 'tools.mjs') };
  writeFileSync(files.policy, 'version: 1\ntools: { allow: [] }\nwrite_tools: { enabled: false }\n');
  writeFileSync(files.tools, 'export const tools = [];\n');
  return ended([join(DIST, 'cli.js'), '--env', '/nonexistent.env', 'executor'], {
    REDIS_URL: url,
    COUNTERSIGN_POLICY: files.policy,
    COUNTERSIGN_TOOLS: files.tools,
    COUNTERSIGN_PROPOSAL_KEY: keys.COUNTERSIGN_PROPOSAL_KEY,
    COUNTERSIGN_APPROVAL_PUBLIC_KEY: keys.COUNTERSIGN_APPROVAL_PUBLIC_KEY,
    COUNTERSIGN_CREDENTIALS: directory,
  });
}

async function ended(args: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const code = new Promise((done) => child.once('exit', done));
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await code, output, errors };
}
