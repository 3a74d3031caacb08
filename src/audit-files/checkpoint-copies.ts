import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { ChainName } from '../core/audit/sealed-line.ts';
import { CHECKPOINTS_ENDING } from '../core/audit/segment-name.ts';
import { syncDirectory } from './append-file.ts';

const TIMEOUT_MS = 5_000;
const RETRY_MS = 5_000;
/** When the service stops, what was signed last is still tried for as long as this. */
const LAST_TRY_MS = 3_000;

/** Where whoever can rewrite the audit files cannot rewrite: another disk, or another machine. */
export type CopyTarget = { readonly directory: string } | { readonly url: URL };

/**
 * Sends checkpoints elsewhere, each chain's newest first of all. Never waited for by the sealer: where the copy fails,
 * sealing goes on, and it is a warning.
 */
export class CheckpointCopies {
  readonly #send: (chain: ChainName, line: string) => Promise<void>;
  readonly #logger: Logger;
  readonly #retryMs: number;
  readonly #stopped = new AbortController();
  readonly #waiting = new Map<ChainName, string>();
  #sending: Promise<void> | undefined;
  #failing = false;

  constructor(options: { target: CopyTarget; logger: Logger; timeoutMs?: number; retryMs?: number }) {
    const { target, timeoutMs = TIMEOUT_MS } = options;
    this.#send =
      'url' in target
        ? (_, line) => post(target.url, line, timeoutMs)
        : (chain, line) => append(target.directory, chain, line);
    this.#logger = options.logger;
    this.#retryMs = options.retryMs ?? RETRY_MS;
  }

  /** The last attempt did not reach where they should go. */
  get failing(): boolean {
    return this.#failing;
  }

  /** @param line newline included. One that still waits is passed over for it: it says all that the older one said. */
  offer(chain: ChainName, line: string): void {
    this.#waiting.set(chain, line);
    this.#sending ??= this.#sendAll();
  }

  /** Gives up what cannot be sent in a few seconds. */
  async stop(): Promise<void> {
    const giveUp = setTimeout(() => this.#stopped.abort(), LAST_TRY_MS);
    await this.#sending;
    clearTimeout(giveUp);
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#next(); next && !this.#stopped.signal.aborted; next = this.#next()) {
      const [chain, line] = next;
      try {
        await this.#send(chain, line);
        if (this.#failing) this.#logger.info('checkpoints of the audit are copied again');
        this.#failing = false;
        if (this.#waiting.get(chain) === line) this.#waiting.delete(chain);
      } catch (err) {
        if (!this.#failing)
          this.#logger.warn({ err, chain }, 'a checkpoint of the audit was not copied; it is tried again');
        this.#failing = true;
        await sleep(this.#retryMs, undefined, { signal: this.#stopped.signal }).catch(() => {});
      }
    }
    // In the same step that found nothing more: what is offered from now on begins anew.
    this.#sending = undefined;
  }

  #next(): [ChainName, string] | undefined {
    return this.#waiting.entries().next().value;
  }
}

/** Follows no redirect: the address that was configured is the one that keeps them. */
async function post(url: URL, line: string, timeoutMs: number): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: line.trimEnd(),
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`${url.origin} answered ${response.status}`);
}

const APPEND = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;

/** The file may be older than this process, and end in what a crash left of a line: then a line of its own begins. */
async function append(directory: string, chain: ChainName, line: string): Promise<void> {
  const handle = await open(join(directory, `${chain}${CHECKPOINTS_ENDING}`), APPEND, 0o600);
  try {
    const { size } = await handle.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    await handle.appendFile(size > 0 && last.toString() !== '\n' ? `\n${line}` : line);
    await handle.sync();
    if (size === 0) await syncDirectory(directory);
  } finally {
    await handle.close();
  }
}
