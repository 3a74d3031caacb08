import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

type Side = 'asked' | 'answered';

interface Line {
  readonly client: Socket;
  readonly server: Socket;
  /** Both stay open, and nothing comes through any more. */
  silent: boolean;
}

/** A network between the parts and Redis, to be cut, slowed down and silenced: a proxy on a unix socket of its own. */
export class RedisProxy {
  readonly path: string;
  readonly #directory: string;
  #target: string;
  readonly #server: Server;
  readonly #lines = new Set<Line>();
  readonly #underWay = new WeakMap<Socket, Promise<void>>();
  #delayMs = 0;
  #silentFromNow = false;
  #cutAt: { side: Side; matches: (bytes: Buffer) => boolean; hit: () => void } | undefined;

  private constructor(target: string, directory: string) {
    this.#target = target;
    this.#directory = directory;
    this.path = join(directory, 'proxy.sock');
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  static async start(target: string): Promise<RedisProxy> {
    const proxy = new RedisProxy(target, mkdtempSync(join(tmpdir(), 'cs-proxy-')));
    await new Promise<void>((done) => proxy.#server.listen(proxy.path, done));
    return proxy;
  }

  get lines(): number {
    return this.#lines.size;
  }

  /** Where lines that are made from now on end. */
  leadTo(target: string): void {
    this.#target = target;
  }

  /** Each piece, in each direction, arrives that much later. */
  slow(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** Every line breaks; new ones can be made at once. */
  cut(): void {
    for (const line of [...this.#lines]) this.#end(line);
  }

  /**
   * Every line that stands goes silent and stays open, as when a firewall has forgotten it. With `newOnes`, those that are
   * made from now on as well, until `heal`.
   */
  silence({ newOnes = false } = {}): void {
    for (const line of this.#lines) line.silent = true;
    this.#silentFromNow = newOnes;
  }

  /** New lines work. What is silent stays so. */
  heal(): void {
    this.#silentFromNow = false;
    this.#delayMs = 0;
    this.#cutAt = undefined;
  }

  /**
   * Breaks the line on which such bytes are next sent: `asked` before they reached Redis; `answered` once Redis has done what
   * was asked, before its answer arrives. Resolves when it happened.
   */
  cutAt(side: Side, matches: (bytes: Buffer) => boolean): Promise<void> {
    return new Promise((hit) => {
      this.#cutAt = { side, matches, hit };
    });
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((done) => this.#server.close(() => done()));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #accept(client: Socket): void {
    const server = connect({ path: this.#target, allowHalfOpen: true });
    const line: Line = { client, server, silent: this.#silentFromNow };
    this.#lines.add(line);
    /** This line's answer to what was asked last is the one to be lost. */
    let loseAnswer = false;
    client.on('data', (bytes) => {
      const cut = this.#cutAt;
      if (cut?.matches(bytes)) {
        this.#cutAt = undefined;
        cut.hit();
        if (cut.side === 'asked') return this.#end(line);
        loseAnswer = true;
      }
      this.#carry(line, server, bytes);
    });
    server.on('data', (bytes) => {
      if (loseAnswer) return this.#end(line);
      this.#carry(line, client, bytes);
    });
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on('error', () => this.#end(line));
      socket.on('end', () => {
        if (!line.silent) other.end();
      });
      socket.on('close', () => this.#end(line));
    }
  }

  /** What was sent first arrives first, also where it was slow and that after it is not. */
  #carry(line: Line, to: Socket, bytes: Buffer): void {
    const after = Promise.all([this.#underWay.get(to), this.#delayMs > 0 && sleep(this.#delayMs)]);
    const arrived = after.then(() => {
      if (!line.silent && !to.destroyed) to.write(bytes);
    });
    this.#underWay.set(to, arrived);
  }

  #end(line: Line): void {
    if (!this.#lines.delete(line)) return;
    line.client.destroy();
    line.server.destroy();
  }
}
