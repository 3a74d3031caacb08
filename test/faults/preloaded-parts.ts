import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const CLI = new URL('../../src/cli.ts', import.meta.url).pathname;

/** Processes of an installation, each with a module of the test's loaded before its own code. */
export class PreloadedParts {
  readonly #directory: string;
  readonly #preload: string;
  readonly #variables: (part: string) => Record<string, string>;
  readonly #children: ChildProcess[] = [];

  /** @param variables what the module finds in the environment of each part. */
  constructor(directory: string, preload: URL, variables: (part: string) => Record<string, string>) {
    this.#directory = directory;
    this.#preload = preload.href;
    this.#variables = variables;
  }

  /** As an operator starts it; resolves once it is ready, and says where it answers. */
  async cli(
    part: string,
    envPath: string,
    command: 'start' | 'executor',
  ): Promise<{ readonly child: ChildProcess; readonly port: number | undefined }> {
    const log = openSync(join(this.#directory, `${part}.log`), 'a');
    const child = this.#spawn(part, [CLI, '--env', envPath, command], ['ignore', log, 'inherit', 'ipc']);
    const ready = await Promise.race([once(child, 'message'), once(child, 'exit')]);
    if (typeof ready[0] !== 'object') throw new Error(`${part} ended with ${ready[0]} before it was ready`);
    return { child, port: (ready[0] as { port?: number }).port };
  }

  /** A program of this directory that reads lines and writes lines. */
  program(part: string, file: string, settings: unknown): ChildProcess {
    const args = [join(import.meta.dirname, file), JSON.stringify(settings)];
    return this.#spawn(part, args, ['pipe', 'pipe', 'inherit']);
  }

  /** Ends those that still run. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exit = once(child, 'exit');
      child.kill(signal);
      await exit;
    }
  }

  #spawn(part: string, args: readonly string[], stdio: ('ignore' | 'pipe' | 'inherit' | 'ipc' | number)[]) {
    const child = spawn(process.execPath, ['--import', this.#preload, '--import', 'tsx', ...args], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, ...this.#variables(part) },
      stdio,
    });
    this.#children.push(child);
    return child;
  }
}
