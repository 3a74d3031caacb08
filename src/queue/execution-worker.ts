import { DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { Dispatch } from '../core/execution/dispatch.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import { ClusterClient } from '../redis/cluster-client.ts';
import { answerOf, sendCanaries } from '../redis/connection.ts';
import type { NodeConnection } from '../redis/redis-address.ts';
import { before } from './before.ts';
import { type Attempt, Execution, type ExecutionParts } from './execution.ts';
import {
  JobData,
  type JobResult,
  KEEP_FINISHED,
  QUEUE_NAME,
  type QueueConnection,
  queuePrefix,
} from './proposal-queue.ts';

export interface ExecutionWorkerParts extends ExecutionParts {
  readonly dispatch: Pick<Dispatch, 'wake'>;
  /** Where the queues are. The worker makes connections of its own like it, and leaves it open. */
  readonly connection: QueueConnection;
  readonly shards: number;
  /** How many calls run at once, for each shard. */
  readonly concurrency?: number;
}

const CONCURRENCY = 8;
const GRACE_MS = 20_000;
/** After the grace, for calls that were told to stop to say what they did. */
const LAST_WORDS_MS = 2_000;
/** A fault that is not the proposal's: Redis is away, or a bug. The proposal's own deadlines bound how often. */
const FAULT_PAUSE_MS = 2_000;
/** A job whose worker died is taken up again after at most twice this. */
const JOB_LOCK_MS = 10_000;
/** Above the 10 s for which BullMQ blocks at most: a connection that owes an answer for this long is dead, and replaced. */
const SILENT_AT_MOST_MS = 12_000;
/** Who holds which slots: also a node that answers, and is no master any more, is left then. */
const SLOTS_EVERY_MS = 10_000;

type ProposalWorker = Worker<unknown, JobResult>;
type ProposalJob = Job<unknown, JobResult>;

/**
 * One BullMQ worker a shard. A job is a reason to look at a proposal: BullMQ may deliver it twice, late, stalled or
 * made up, and `Execution` starts each call once all the same.
 */
export class ExecutionWorker {
  readonly #parts: ExecutionWorkerParts;
  readonly #execution: Execution;
  readonly #inHand = new Set<Promise<JobResult>>();
  #connection: Redis | Cluster | undefined;
  #canary: { stop(): void } | undefined;
  #workers: ProposalWorker[] = [];
  #stopping = false;

  constructor(parts: ExecutionWorkerParts) {
    this.#parts = parts;
    this.#execution = new Execution(parts);
  }

  start(): void {
    if (this.#connection !== undefined) return;
    const { shards, concurrency = CONCURRENCY } = this.#parts;
    const connection = patient(this.#parts.connection);
    connection.on('error', (error) => this.#connectionFault(error));
    this.#connection = connection;
    this.#canary = sendCanaries(connection);
    this.#workers = Array.from({ length: shards }, (_, shard) => {
      const worker: ProposalWorker = new Worker(QUEUE_NAME, (job, token) => this.#take(job, token), {
        connection,
        prefix: queuePrefix(shard),
        concurrency,
        lockDuration: JOB_LOCK_MS,
        stalledInterval: JOB_LOCK_MS,
        // A job may stall as often as it likes: whether its call runs again is not BullMQ's to say.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        removeOnComplete: KEEP_FINISHED,
        removeOnFail: KEEP_FINISHED,
        runRetryDelay: FAULT_PAUSE_MS,
      });
      worker.on('error', (error) => this.#connectionFault(error));
      worker.on('failed', (job, error) =>
        this.#parts.logger.warn({ job: job?.id, err: error }, 'a job that is none of ours was refused'),
      );
      return worker;
    });
  }

  /** Resolves once every worker listens. */
  async ready(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.waitUntilReady()));
  }

  /** Whether jobs are taken now: every worker at work, and the queue answers on their own connection. */
  async takesJobs(): Promise<boolean> {
    const connection = this.#connection;
    if (connection === undefined || this.#stopping) return false;
    if (!this.#workers.every((worker) => worker.isRunning() && !worker.isPaused())) return false;
    return answerOf(connection, () => connection.ping()).then(
      () => true,
      () => false,
    );
  }

  /** Whether Redis answers fast enough for calls to start, as of those of the last half minute. */
  get startsInTime(): boolean {
    return this.#execution.startsInTime;
  }

  /**
   * Takes no more jobs and lets the running calls end; past the grace they are told to stop. Resolves with what was
   * left, in words: such a call is settled as `unknown` when its lease lapses.
   */
  async stop({ graceMs = GRACE_MS }: { graceMs?: number } = {}): Promise<readonly string[]> {
    if (this.#connection === undefined) return [];
    this.#stopping = true;
    await Promise.all(this.#workers.map((worker) => worker.pause(true)));
    if (!(await this.#emptyHanded(graceMs))) {
      this.#execution.abortRunning('the executor is stopping');
      await this.#emptyHanded(LAST_WORDS_MS);
    }
    const left = this.#execution.running.map(
      (id) => `${id} was still running; it will be settled as unknown`,
    );
    await Promise.all(this.#workers.map((worker) => closed(worker, this.#inHand.size > 0)));
    this.#canary?.stop();
    this.#connection.disconnect();
    this.#connection = undefined;
    return left;
  }

  #take(job: ProposalJob, token: string | undefined): Promise<JobResult> {
    const taken = this.#process(job, token);
    this.#inHand.add(taken);
    const drop = () => this.#inHand.delete(taken);
    taken.then(drop, drop);
    return taken;
  }

  async #process(job: ProposalJob, token: string | undefined): Promise<JobResult> {
    const data = JobData.safeParse(job.data);
    // A job that we did not make may ask for a million attempts without a pause: it gets one.
    if (!data.success) throw new UnrecoverableError('its data is not the id of a proposal alone');
    const { id } = data.data;
    const attempt = await this.#attempt(id);
    if (attempt.next === 'done') return { status: attempt.status };
    await job.moveToDelayed(Date.now() + attempt.inMs, token);
    if (attempt.status === 'pending') await this.#decidedMeanwhile(id);
    throw new DelayedError();
  }

  async #attempt(id: ProposalId): Promise<Attempt> {
    if (this.#stopping) return { next: 'again', status: 'approved', inMs: 0 };
    try {
      return await this.#execution.attempt(id);
    } catch (error) {
      this.#parts.logger.error({ proposal: id, err: error }, 'an attempt broke off; looks again');
      return { next: 'again', status: 'approved', inMs: FAULT_PAUSE_MS };
    }
  }

  /** A decision that came after our look found the job active, so could not promote it; now it sleeps. */
  async #decidedMeanwhile(id: ProposalId): Promise<void> {
    const { store, dispatch, logger } = this.#parts;
    try {
      const record = await store.read(id);
      if (record?.state.status === 'approved') await dispatch.wake(id);
    } catch (error) {
      logger.warn({ proposal: id, err: error }, 'could not look again; the sweeper will');
    }
  }

  async #emptyHanded(withinMs: number): Promise<boolean> {
    try {
      await before(withinMs, Promise.allSettled(this.#inHand));
      return true;
    } catch {
      return false;
    }
  }

  #connectionFault(error: Error): void {
    if (!this.#stopping) this.#parts.logger.debug({ err: error }, 'queue connection');
  }
}

/**
 * With Redis away, BullMQ would wait for it to come back before it lets go; and so it would to disconnect, because a
 * connection that is cut while it reconnects never says that it has ended.
 */
async function closed(worker: ProposalWorker, force: boolean): Promise<void> {
  try {
    await before(LAST_WORDS_MS, worker.close(force));
  } catch {
    void worker.disconnect().catch(() => {});
  }
}

/** A worker blocks while it waits for jobs, and outlives Redis's absence: no time limit of a command, and nothing given up. */
function patient(connection: QueueConnection): Redis | Cluster {
  if (connection instanceof ClusterClient) {
    return new Cluster([...connection.known], {
      redisOptions: patientSettings(connection.nodeSettings),
      dnsLookup: (host, found) => found(null, host),
      enableReadyCheck: false,
      slotsRefreshInterval: SLOTS_EVERY_MS,
    });
  }
  return new Redis({ ...patientSettings(connection.options), enableOfflineQueue: true });
}

function patientSettings({
  commandTimeout: _limit,
  replyMapping: _mapping,
  ...options
}: RedisOptions): NodeConnection {
  return {
    ...options,
    socketTimeout: SILENT_AT_MOST_MS,
    maxRetriesPerRequest: null,
    autoResendUnfulfilledCommands: true,
  };
}
