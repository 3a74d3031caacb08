import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../src/sandbox/embedded-redis.ts';

const IN_SYNC_WITHIN_MS = 20_000;

/** A master and its replicas, each following it over a line of its own that can be made to lag or be cut. */
export class ReplicatedRedis {
  readonly #directory: string;
  readonly master: EmbeddedRedis;
  readonly replicas: readonly Replica[];

  private constructor(directory: string, master: EmbeddedRedis, replicas: readonly Replica[]) {
    this.#directory = directory;
    this.master = master;
    this.replicas = replicas;
  }

  static async start(replicas = 1): Promise<ReplicatedRedis> {
    const directory = mkdtempSync(join(tmpdir(), 'cs-replicas-'));
    const port = await freePort();
    const listen = ['--port', String(port), '--bind', '127.0.0.1', '--repl-diskless-sync-delay', '0'];
    const master = await startEmbeddedRedis({
      directory: join(directory, 'master'),
      appendOnly: 'everysec',
      extraArgs: listen,
    });
    const started = await Promise.all(
      Array.from({ length: replicas }, (_, n) => Replica.start(join(directory, `replica-${n}`), port)),
    );
    const replicated = new ReplicatedRedis(directory, master, started);
    await Promise.all(started.map((replica) => replica.inSync()));
    return replicated;
  }

  /** The first of them. */
  get replica(): Replica {
    const [first] = this.replicas;
    if (first === undefined) throw new Error('it was started without replicas');
    return first;
  }

  /** The replica becomes a master, without what had not reached it. */
  async promote(): Promise<void> {
    this.replica.line.cut();
    await this.replica.client.replicaof('NO', 'ONE');
  }

  async stop(): Promise<void> {
    await Promise.all([...this.replicas.map((replica) => replica.stop()), this.master.kill9()]);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

class Replica {
  readonly server: EmbeddedRedis;
  readonly client: Redis;
  readonly line: Line;

  private constructor(server: EmbeddedRedis, line: Line) {
    this.server = server;
    this.client = new Redis({ ...server.connectionOptions, maxRetriesPerRequest: null });
    this.client.on('error', () => {});
    this.line = line;
  }

  static async start(directory: string, masterPort: number): Promise<Replica> {
    const line = await Line.to(masterPort);
    const server = await startEmbeddedRedis({
      directory,
      appendOnly: 'everysec',
      extraArgs: ['--replicaof', '127.0.0.1', String(line.port)],
    });
    return new Replica(server, line);
  }

  async inSync(): Promise<void> {
    const until = performance.now() + IN_SYNC_WITHIN_MS;
    while (!(await this.client.info('replication')).includes('master_link_status:up')) {
      if (performance.now() > until) throw new Error('the replica did not come into sync');
      await sleep(20);
    }
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    this.line.close();
    await this.server.kill9();
  }
}

/** The line between a master and a replica. */
class Line {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #fromMaster = new Set<Socket>();
  #lagging = false;
  #cut = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(masterPort: number): Promise<Line> {
    const server = createServer();
    const line = new Line(server);
    server.on('connection', (replica) => line.#join(replica, connect(masterPort, '127.0.0.1')));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return line;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on the replica hears nothing; the master takes it for connected. */
  lag(): void {
    this.#lagging = true;
    for (const socket of this.#fromMaster) socket.pause();
  }

  /** It hears what it missed. */
  goOn(): void {
    this.#lagging = false;
    for (const socket of this.#fromMaster) socket.resume();
  }

  /** Neither hears of the other any more. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #join(replica: Socket, master: Socket): void {
    for (const [socket, other] of [
      [replica, master],
      [master, replica],
    ] as const) {
      this.#sockets.add(socket);
      // As between Redis and its replicas: else each word of a replica is up to 40 ms late.
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => other.destroy());
    }
    replica.on('data', (bytes) => void master.write(bytes));
    master.on('data', (bytes) => void replica.write(bytes));
    this.#fromMaster.add(master);
    if (this.#lagging) master.pause();
    if (this.#cut) this.cut();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((done) => server.close(() => done()));
  return port;
}
