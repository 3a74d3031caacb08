import { access, constants, mkdir, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CheckpointCopies } from './checkpoint-copies.ts';
import { SealerReplaced, Sealing, type SealingAlarm, type SealingOptions, ShardReadable } from './sealing.ts';
import { UnsealedShards } from './unsealed-shards.ts';

const POLL_MS = 1_000;
/** Another sealer has the lease: how often to ask for it. */
const HELD_MS = 2_000;
/** After a failure; so much longer after each one that follows it, up to the most. */
const RETRY_MS = 1_000;
const RETRY_AT_MOST_MS = 30_000;
/** What is still unsealed when the service stops is sealed for no longer than this; whoever comes next goes on. */
const LAST_ROUNDS_MS = 5_000;

export class AuditDirectoryUnfit extends Error {
  override readonly name = 'AuditDirectoryUnfit';
  readonly code = 'audit_directory_unfit';
}

/** What `/health` says. Names no chain: the log does. */
export interface SealingHealth {
  /** False: nothing is sealed by this process, though it could not leave it to another; or not what some shards hold. */
  readonly ok: boolean;
  readonly sealing: 'here' | 'elsewhere' | 'starting' | 'failing';
  readonly problem?: string;
  /** Entries that were not sealed yet after the last round. */
  readonly unsealed: number;
  /** Shards that cannot be sealed while the others are: somebody wrote to their keys. */
  readonly shardsNotSealed: readonly number[];
  readonly warnings: readonly string[];
}

export interface SealerOptions extends Omit<SealingOptions, 'onCheckpoint' | 'onAlarm' | 'unsealed'> {
  readonly copies?: CheckpointCopies | undefined;
  readonly logger: Logger;
  readonly pollMs?: number | undefined;
  readonly heldMs?: number | undefined;
  readonly retryMs?: number | undefined;
}

const WARNINGS: Readonly<Record<SealingAlarm, string>> = {
  audit_files_behind:
    'The audit files end before what was sealed: they were cut, restored from a backup, or are those of another machine.',
  audit_files_differ: 'The last line of an audit file is not the one that was sealed.',
  audit_lines_unreadable: 'The last lines of an audit file are none that the sealer wrote.',
};

/** Copies the entries of every shard into files, chained and signed; while another process does, it stands by. */
export class Sealer {
  readonly #options: SealerOptions;
  readonly #stopping = new AbortController();
  readonly #alarms = new Set<SealingAlarm>();
  readonly #shardsNotSealed: UnsealedShards;
  #state: SealingHealth['sealing'] = 'starting';
  #problem: string | undefined;
  #unsealed = 0;
  #failures = 0;
  #running: Promise<void> | undefined;

  constructor(options: SealerOptions) {
    this.#options = options;
    const retryMs = { first: options.retryMs ?? RETRY_MS, most: RETRY_AT_MOST_MS };
    this.#shardsNotSealed = new UnsealedShards(options.logger, retryMs);
  }

  /** @throws AuditDirectoryUnfit. Only here is the directory made: one that is gone later is an alarm. */
  async start(): Promise<void> {
    await prepare(this.#options.directory);
    this.#running = this.#run();
  }

  /** Seals what has happened, signs every chain once more, and lets another take over. Resolves with what it left, in words. */
  async stop(): Promise<readonly string[]> {
    this.#stopping.abort();
    await this.#running;
    await this.#options.copies?.stop();
    const next = 'whoever seals next goes on from there';
    if (this.#state === 'failing') return [`the audit could not be sealed to its end; ${next}`];
    const { standing } = this.#shardsNotSealed;
    return [
      ...(standing.length === 0
        ? []
        : [`the audit of shard ${standing.join(', ')} could not be sealed to its end; ${next}`]),
      ...(this.#unsealed === 0 ? [] : [`${this.#unsealed} entries of the audit are not sealed; ${next}`]),
    ];
  }

  health(): SealingHealth {
    const copies = this.#options.copies?.failing ?? false;
    const shardsNotSealed = this.#shardsNotSealed.standing;
    return {
      ok: this.#state !== 'failing' && (this.#state !== 'here' || shardsNotSealed.length === 0),
      sealing: this.#state,
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
      unsealed: this.#unsealed,
      shardsNotSealed,
      warnings: [
        ...[...this.#alarms].map((alarm) => `${WARNINGS[alarm]} Type: countersign audit verify`),
        ...(copies ? ['Checkpoints of the audit do not reach COUNTERSIGN_AUDIT_COPY.'] : []),
      ],
    };
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      let sealing: Sealing | undefined;
      try {
        sealing = await this.#begin();
        if (sealing === undefined) {
          this.#works('elsewhere');
          await this.#pause(this.#options.heldMs ?? HELD_MS);
        } else {
          await this.#seal(sealing);
        }
      } catch (error) {
        // Another process may have a disk that works. Where it was a shard that forgot us, the lease is still ours.
        await sealing?.release();
        if (error instanceof ShardReadable) continue;
        if (error instanceof SealerReplaced) {
          this.#options.logger.warn('another process has taken over sealing the audit, or Redis was emptied');
        } else {
          this.#failed(error);
          await this.#pause(this.#retryMs());
        }
      }
    }
  }

  #begin(): Promise<Sealing | undefined> {
    const { copies, logger } = this.#options;
    return Sealing.begin({
      ...this.#options,
      unsealed: this.#shardsNotSealed,
      onCheckpoint: (chain, line) => copies?.offer(chain, line),
      onAlarm: (alarm, chain, facts) => {
        this.#alarms.add(alarm);
        logger.error(
          { alarm, chain, ...facts },
          `${WARNINGS[alarm]} Sealing goes on; the gap stays visible.`,
        );
      },
    });
  }

  async #seal(sealing: Sealing): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const { more, backlog } = await sealing.round();
      this.#works('here', backlog);
      if (!more) await this.#pause(this.#options.pollMs ?? POLL_MS);
    }
    const until = performance.now() + LAST_ROUNDS_MS;
    do this.#unsealed = (await sealing.round({ last: true })).backlog;
    while (this.#unsealed > 0 && performance.now() < until);
    await sealing.end();
    await sealing.release();
  }

  #works(state: 'here' | 'elsewhere', unsealed = 0): void {
    if (this.#state === 'failing') this.#options.logger.info('the audit is being sealed again');
    if (this.#state !== state) this.#options.logger.info({ sealing: state }, 'the audit is being sealed');
    this.#state = state;
    this.#problem = undefined;
    this.#failures = 0;
    this.#unsealed = unsealed;
  }

  #failed(err: unknown): void {
    this.#failures += 1;
    const code = err instanceof Error && 'code' in err ? String(err.code) : 'unknown';
    if (this.#state !== 'failing' || this.#problem !== code) {
      this.#options.logger.error(
        { alarm: 'audit_not_sealed', err },
        'the audit is not being sealed; nothing is lost yet, and writes are refused once too much waits',
      );
    }
    this.#state = 'failing';
    this.#problem = code;
  }

  #retryMs(): number {
    const { retryMs = RETRY_MS } = this.#options;
    return Math.min(retryMs * 2 ** Math.min(this.#failures - 1, 10), RETRY_AT_MOST_MS);
  }

  /** Ends at once when the sealer is to stop. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {});
  }
}

async function prepare(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    });
    if (!(await stat(directory)).isDirectory()) throw new Error('it is no directory');
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AuditDirectoryUnfit(
      `the audit cannot be written: ${why}. COUNTERSIGN_AUDIT_DIR has to be a directory that only this process writes to`,
      { cause },
    );
  }
}
