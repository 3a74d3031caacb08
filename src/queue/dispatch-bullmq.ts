import { ErrorCode, type Job, Queue } from 'bullmq';
import type { Dispatch } from '../core/execution/dispatch.ts';
import { type ProposalId, shardOfProposal } from '../core/proposal/proposal-id.ts';
import { before } from './before.ts';
import {
  JOB_NAME,
  type JobData,
  type JobResult,
  KEEP_FINISHED,
  QUEUE_NAME,
  type QueueConnection,
  queuePrefix,
} from './proposal-queue.ts';

/** The queue did not answer in time. Nothing is lost by that: the sweeper finds what the store holds ready. */
export class DispatchUnavailable extends Error {
  override readonly name = 'DispatchUnavailable';
  readonly code = 'dispatch_unavailable';
}

type ProposalQueue = Queue<JobData, JobResult, string>;
type ProposalJob = Job<JobData, JobResult, string>;

/** How many finished jobs of one proposal may stand in the way of a new one before the last of them is replaced. */
const SUFFIXES = 20;

/** One BullMQ queue a shard. A job's id is the proposal's, so that adding it twice adds it once. */
export class DispatchBullMQ implements Dispatch {
  readonly #queues: readonly ProposalQueue[];
  readonly #timeoutMs: number;

  /** @param options.connection shared by all queues, and left open by `close`. */
  constructor(options: {
    connection: QueueConnection;
    shards: number;
    timeoutMs?: number;
    onError?: (error: Error) => void;
  }) {
    this.#timeoutMs = options.timeoutMs ?? 2_000;
    const onError = options.onError ?? (() => {});
    this.#queues = Array.from({ length: options.shards }, (_, shard) => {
      const queue: ProposalQueue = new Queue(QUEUE_NAME, {
        connection: options.connection,
        prefix: queuePrefix(shard),
        // Asking for it is the one command of the start, and a queue whose start fails never works again.
        skipVersionCheck: true,
      });
      // An EventEmitter without this listener would end the process when Redis goes away.
      queue.on('error', onError);
      return queue;
    });
  }

  /** @throws DispatchUnavailable */
  async schedule(id: ProposalId, delayMs: number): Promise<void> {
    await this.#inTime('schedule', id, () => this.#add(this.#queueOf(id), id, id, delayMs));
  }

  /** @throws DispatchUnavailable */
  async wake(id: ProposalId): Promise<void> {
    await this.#inTime('wake', id, () => this.#wake(this.#queueOf(id), id));
  }

  async close(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.close()));
  }

  async #wake(queue: ProposalQueue, id: ProposalId): Promise<void> {
    for (let suffix = 0; suffix <= SUFFIXES; suffix++) {
      const jobId = suffix === 0 ? id : `${id}.${suffix}`;
      const job: ProposalJob | undefined = await queue.getJob(jobId);
      if (job === undefined) return await this.#add(queue, jobId, id, 0);
      // Somebody else's under our id: it would look at another proposal.
      if (job.data?.id !== id) continue;
      if (await promoted(job)) return;
      const state = await job.getState();
      // A job that finished can have seen no approval yet, and it holds the id: BullMQ would not add it again.
      if (state !== 'completed' && state !== 'failed' && state !== 'unknown') return;
      if (suffix === SUFFIXES) {
        await job.remove();
        return await this.#add(queue, jobId, id, 0);
      }
    }
  }

  async #add(queue: ProposalQueue, jobId: string, id: ProposalId, delayMs: number): Promise<void> {
    await queue.add(
      JOB_NAME,
      { id },
      {
        jobId,
        delay: Math.max(0, Math.ceil(delayMs)),
        removeOnComplete: KEEP_FINISHED,
        removeOnFail: KEEP_FINISHED,
      },
    );
  }

  #queueOf(id: ProposalId): ProposalQueue {
    const shard = shardOfProposal(id);
    const queue = this.#queues[shard];
    if (queue === undefined) {
      throw new RangeError(
        `${id} belongs to shard ${shard}, but there are ${this.#queues.length}: set SHARDS as when it was made`,
      );
    }
    return queue;
  }

  async #inTime(what: string, id: ProposalId, work: () => Promise<void>): Promise<void> {
    try {
      await before(this.#timeoutMs, work());
    } catch (cause) {
      if (cause instanceof RangeError) throw cause;
      throw new DispatchUnavailable(`could not ${what} the job of ${id}: is Redis up?`, { cause });
    }
  }
}

/**
 * False where the job is not delayed: it waits already, or is active, or has finished, or was removed meanwhile. An
 * active one may be about to go back to sleep until the deadline, having read `pending` just before the decision; the
 * sweeper wakes it then.
 */
async function promoted(job: ProposalJob): Promise<boolean> {
  try {
    await job.promote();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === ErrorCode.JobNotInState) return false;
    throw error;
  }
}
