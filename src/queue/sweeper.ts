import type { Logger } from 'pino';
import type { Dispatch } from '../core/execution/dispatch.ts';
import { Outage } from '../core/outage.ts';
import { type ProposalId, shardOfProposal } from '../core/proposal/proposal-id.ts';
import { type ProposalStore, StoreUnavailable } from '../core/proposal/proposal-store.ts';
import { DispatchUnavailable } from './dispatch-bullmq.ts';

/** Monotonic, ms. */
export type MonotonicClock = () => number;

const SWEEP_MS = 1_000;
const BATCH = 500;
/** How long what is ready is left to the dispatch that its decision made, before the sweeper wakes it. */
const READY_FOR_MS = 1_000;
const WAKE_AGAIN_MAX_MS = 30_000;
const FAILED_AGAIN_MAX_MS = 30_000;
const MOST_FAILED = 10_000;

/**
 * Repairs what a crash left: settles what is past its deadline, says `unknown` of calls whose executor is gone, reminds
 * and escalates when the time has come, and wakes what was approved and never started. Every replica sweeps; the store
 * lets one of them win each step, and waking twice starts nothing twice.
 */
export class Sweeper {
  readonly #store: Pick<ProposalStore, 'due' | 'expire' | 'declareUnknown' | 'fireTimers'>;
  readonly #dispatch: Pick<Dispatch, 'wake'>;
  readonly #intervalMs: number;
  readonly #logger: Logger;
  readonly #outage: Outage;
  readonly #clock: MonotonicClock;
  /** What is ready, since when this sweeper knows, and when it last woke it. */
  readonly #ready = new Map<ProposalId, { nextWakeAt: number; pauseMs: number }>();
  /** What failed by itself, a damaged record say: the pause doubles. */
  readonly #failed = new Map<ProposalId, { again: number; pauseMs: number }>();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<unknown> | undefined;
  #stopped = true;
  #ending = false;

  constructor(parts: {
    store: Pick<ProposalStore, 'due' | 'expire' | 'declareUnknown' | 'fireTimers'>;
    dispatch: Pick<Dispatch, 'wake'>;
    logger: Logger;
    intervalMs?: number;
    clock?: MonotonicClock;
  }) {
    this.#store = parts.store;
    this.#dispatch = parts.dispatch;
    this.#logger = parts.logger;
    this.#outage = new Outage(parts.logger, {
      began: 'sweeper: the store does not answer; keeps trying',
      over: 'sweeper: the store answers again',
    });
    this.#intervalMs = parts.intervalMs ?? SWEEP_MS;
    this.#clock = parts.clock ?? (() => performance.now());
  }

  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#ending = false;
    this.#next();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ending = true;
    clearTimeout(this.#timer);
    await this.#sweeping;
  }

  /** One sweep; `start` does one every `intervalMs`. What fails is left for the next one. */
  async sweep(): Promise<{ expired: number; declaredUnknown: number; timers: number; woken: number }> {
    const due = await this.#store.due(BATCH);
    const expired = await this.#each(
      due.expired,
      'expire',
      async (id) => (await this.#store.expire(id)) === 'settled',
    );
    const declaredUnknown = await this.#each(due.lapsed, 'declare unknown', async (id) => {
      const settled = await this.#store.declareUnknown(
        id,
        'the executor stopped answering while the call ran',
      );
      if (settled === 'settled')
        this.#logger.error({ proposal: id }, 'an executor died during a call: unknown');
      return settled === 'settled';
    });
    const timers = await this.#each(
      due.timers,
      'remind or escalate',
      async (id) => (await this.#store.fireTimers(id)) === 'settled',
    );
    const woken = await this.#each(this.#toWake(due.ready), 'wake', async (id) => {
      await this.#dispatch.wake(id);
      return true;
    });
    return { expired, declaredUnknown, timers, woken };
  }

  /** A worker may be on it already, or held up: the pause doubles, so that it is not hammered. */
  #toWake(ready: readonly ProposalId[]): ProposalId[] {
    const now = this.#clock();
    const stillReady = new Set(ready);
    for (const id of this.#ready.keys()) if (!stillReady.has(id)) this.#ready.delete(id);
    return ready.filter((id) => {
      const known = this.#ready.get(id);
      if (known === undefined) {
        this.#ready.set(id, { nextWakeAt: now + READY_FOR_MS, pauseMs: READY_FOR_MS });
        return false;
      }
      if (now < known.nextWakeAt) return false;
      const pauseMs = Math.min(known.pauseMs * 2, WAKE_AGAIN_MAX_MS);
      this.#ready.set(id, { nextWakeAt: now + pauseMs, pauseMs });
      return true;
    });
  }

  /**
   * One that fails must not keep the others waiting; but with nobody there, each of hundreds would wait its time-out. In a
   * Cluster it is one node that is away, and its shards.
   */
  async #each(
    ids: readonly ProposalId[],
    what: string,
    act: (id: ProposalId) => Promise<boolean>,
  ): Promise<number> {
    let done = 0;
    const away = new Set<number>();
    for (const id of ids) {
      if (this.#ending) break;
      if (away.has(shardOfProposal(id))) continue;
      const failed = this.#failed.get(id);
      if (failed !== undefined && this.#clock() < failed.again) continue;
      try {
        if (await act(id)) done += 1;
        this.#failed.delete(id);
      } catch (error) {
        if (failed === undefined)
          this.#logger.warn({ proposal: id, err: error }, `sweeper: could not ${what}; tries again`);
        if (isAway(error)) away.add(shardOfProposal(id));
        else this.#failedAgain(id, failed?.pauseMs);
      }
    }
    return done;
  }

  #failedAgain(id: ProposalId, lastPauseMs = this.#intervalMs): void {
    const pauseMs = Math.min(lastPauseMs * 2, FAILED_AGAIN_MAX_MS);
    if (this.#failed.size >= MOST_FAILED) this.#failed.clear();
    this.#failed.set(id, { again: this.#clock() + pauseMs, pauseMs });
  }

  #next(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#sweeping = this.#outage.attempt(() => this.sweep(), undefined).finally(() => this.#next());
    }, this.#intervalMs);
  }
}

function isAway(error: unknown): boolean {
  return error instanceof StoreUnavailable || error instanceof DispatchUnavailable;
}
