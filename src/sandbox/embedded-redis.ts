import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A real Redis (or Valkey) server as a child of this process, on a private unix socket and no port. It ends with this
 * process, however this process ends: for the demo and the tests, not for production.
 */
export interface EmbeddedRedis {
  readonly socketPath: string;
  /** For `new Redis(connectionOptions)`. */
  readonly connectionOptions: { path: string };
  /** Of the server that runs now. @throws Error where none runs. */
  readonly pid: number;
  /** An orderly shutdown: what was written is on the disk. Does nothing when it does not run. */
  stop(): Promise<void>;
  /** The machine loses power: SIGKILL, no last write. */
  kill9(): Promise<void>;
  /** Starts again from the same directory, on the same socket; stops first where it still runs. */
  restart(): Promise<void>;
}

export interface EmbeddedRedisOptions {
  /** Holds the append-only file. Made where it is missing. */
  directory: string;
  /** `always`: a write is on the disk before it is answered. `everysec`: a crash may lose the last second. */
  appendOnly: 'always' | 'everysec';
  /** Passed to redis-server after our own, so that they win: `['--maxmemory', '20mb']`. */
  extraArgs?: readonly string[];
}

export class RedisBinaryMissing extends Error {
  override readonly name = 'RedisBinaryMissing';
  readonly code = 'redis_binary_missing';
  constructor() {
    super(
      `Neither redis-server nor valkey-server is installed. Type: ${installLine()}\n` +
        'Or let npm do it: `npm run demo` and `npm test` install it where they can.',
    );
  }
}

export class RedisDirectoryInUse extends Error {
  override readonly name = 'RedisDirectoryInUse';
  readonly code = 'redis_directory_in_use';
  constructor(directory: string) {
    super(
      `Another embedded Redis already works in ${directory}; two would destroy each other's file. ` +
        'Stop the other demo first, or start this one with another directory.',
    );
  }
}

export class RedisStartFailed extends Error {
  override readonly name = 'RedisStartFailed';
  readonly code = 'redis_start_failed';
  constructor(binary: string, log: string) {
    super(`${binary} did not start. Its last words:\n${log.trim() || '(none)'}`);
  }
}

/** sun_path is 104 bytes on macOS and 108 on Linux, the closing zero included. */
const SOCKET_PATH_MAX_BYTES = 103;
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;
const TAKEOVER_TIMEOUT_MS = 3_000;

export async function startEmbeddedRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  const binary = findRedisBinary();
  const directory = resolve(options.directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  await waitUntilUnused(directory);
  const server = new RedisChild(binary, directory, options);
  await server.start();
  return server;
}

/** @throws RedisBinaryMissing */
export function findRedisBinary(): string {
  try {
    // The shell looks along PATH for us, and then where package managers put servers without telling PATH.
    const found = execFileSync('/bin/sh', ['-c', FIND_BINARY], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return found.trim();
  } catch {
    throw new RedisBinaryMissing();
  }
}

const FIND_BINARY = `
PATH="$PATH:/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/opt/homebrew/bin:/opt/homebrew/opt/redis/bin:/opt/homebrew/opt/valkey/bin:/usr/local/opt/redis/bin:/opt/local/bin"
command -v redis-server || command -v valkey-server
`;

/**
 * Sits beside the server in a session of its own and waits for the pipe from us to close, which the kernel does for us
 * even on SIGKILL. $1 the socket directory to remove, or empty. First line on stdin: the server's pid.
 */
const WATCHDOG = `
read -r server || exit 0
read -r _
kill -TERM "$server" 2>/dev/null || exit 0
tries=0
while kill -0 "$server" 2>/dev/null && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "$server" 2>/dev/null
[ -n "$1" ] && rm -f "$1/redis.sock" && rmdir "$1" 2>/dev/null
exit 0
`;

class RedisChild implements EmbeddedRedis {
  readonly socketPath: string;
  readonly connectionOptions: { path: string };
  readonly #binary: string;
  readonly #directory: string;
  readonly #options: EmbeddedRedisOptions;
  /** Ours to remove, where the socket could not live in the directory. */
  readonly #socketDirectory: string | undefined;
  #running: { server: ChildProcess; watchdog: ChildProcess; exited: Promise<void> } | undefined;

  constructor(binary: string, directory: string, options: EmbeddedRedisOptions) {
    this.#binary = binary;
    this.#directory = directory;
    this.#options = options;
    const beside = join(directory, 'redis.sock');
    if (Buffer.byteLength(beside) <= SOCKET_PATH_MAX_BYTES) {
      this.socketPath = beside;
    } else {
      this.#socketDirectory = mkdtempSync(join(tmpdir(), 'countersign-'));
      this.socketPath = join(this.#socketDirectory, 'redis.sock');
    }
    this.connectionOptions = { path: this.socketPath };
  }

  get pid(): number {
    const pid = this.#running?.server.pid;
    if (pid === undefined) throw new Error('the embedded Redis does not run: call restart() first');
    return pid;
  }

  async start(): Promise<void> {
    writeFileSync(socketNote(this.#directory), this.socketPath);
    // Detached, both: a Ctrl-C in the terminal is for us, who then stop the server in order. No environment: the
    // tokens in ours are none of its business.
    const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', this.#socketDirectory ?? ''], {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: '/usr/bin:/bin' },
      detached: true,
    });
    const server = spawn(this.#binary, this.#args(), {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.#directory,
      env: {},
      detached: true,
    });
    watchdog.stdin?.on('error', () => {});
    watchdog.stdin?.write(`${server.pid}\n`);
    watchdog.unref();

    let log = '';
    const keep = (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-4_000);
    };
    server.stdout?.on('data', keep);
    server.stderr?.on('data', keep);
    const exited = new Promise<void>((done) => {
      server.once('exit', () => done());
      server.once('error', (error) => {
        log += error.message;
        done();
      });
    }).then(() => {
      // Before anything else: the pid is free for others from now on.
      watchdog.kill('SIGKILL');
      if (this.#running?.server === server) this.#running = undefined;
    });
    this.#running = { server, watchdog, exited };

    const answered = await Promise.race([
      answersBefore(this.socketPath, START_TIMEOUT_MS),
      exited.then(() => false),
    ]);
    if (answered) return;
    await this.kill9();
    throw new RedisStartFailed(this.#binary, log);
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    if (this.#socketDirectory) rmSync(this.#socketDirectory, { recursive: true, force: true });
    rmSync(socketNote(this.#directory), { force: true });
  }

  async kill9(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async restart(): Promise<void> {
    await this.#end('SIGTERM');
    if (this.#socketDirectory) mkdirSync(this.#socketDirectory, { recursive: true, mode: 0o700 });
    await this.start();
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const running = this.#running;
    if (!running) return;
    running.server.kill(signal);
    const late = setTimeout(() => running.server.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await running.exited;
    clearTimeout(late);
  }

  #args(): string[] {
    const settings: Record<string, string> = {
      port: '0',
      unixsocket: this.socketPath,
      unixsocketperm: '700',
      'protected-mode': 'yes',
      daemonize: 'no',
      dir: this.#directory,
      save: '',
      appendonly: 'yes',
      appendfsync: this.#options.appendOnly,
      'maxmemory-policy': 'noeviction',
      loglevel: 'notice',
    };
    return [
      ...Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]),
      ...(this.#options.extraArgs ?? []),
    ];
  }
}

/** Redis does not lock its directory. We leave a note where its socket is, and whoever finds one asks that socket. */
const socketNote = (directory: string) => join(directory, 'redis.socket-path');

async function waitUntilUnused(directory: string): Promise<void> {
  let socketPath: string;
  try {
    socketPath = readFileSync(socketNote(directory), 'utf8');
  } catch {
    return;
  }
  // The process before us may have been killed a moment ago, its watchdog still at work.
  const end = performance.now() + TAKEOVER_TIMEOUT_MS;
  while ((await ping(socketPath)) !== 'nobody') {
    if (performance.now() > end) throw new RedisDirectoryInUse(directory);
    await sleep(50);
  }
}

async function answersBefore(socketPath: string, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    if ((await ping(socketPath)) === 'ready') return true;
    await sleep(10);
  }
  return false;
}

/** `busy` also while it loads its file, and when it accepts but does not answer. */
function ping(socketPath: string): Promise<'ready' | 'busy' | 'nobody'> {
  return new Promise((done) => {
    const socket = connect({ path: socketPath });
    const finish = (answer: 'ready' | 'busy' | 'nobody') => {
      socket.destroy();
      done(answer);
    };
    let connected = false;
    socket.setTimeout(1_000, () => finish('busy'));
    socket.once('connect', () => {
      connected = true;
      socket.write('PING\r\n');
    });
    socket.once('data', (data) => finish(data.toString().startsWith('+PONG') ? 'ready' : 'busy'));
    socket.once('error', () => finish(connected ? 'busy' : 'nobody'));
    socket.once('end', () => finish('busy'));
  });
}

function installLine(): string {
  if (process.platform === 'darwin') return 'brew install redis';
  return 'sudo apt-get install -y redis-server   (Fedora: sudo dnf install -y valkey; Alpine: sudo apk add redis)';
}
