import { z } from 'zod';
import type { ProposalStatus } from '../core/proposal/proposal.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import type { RedisClient } from '../redis/connection.ts';

/** The connection that all of a process's queues share. Workers make patient ones of their own like it. */
export type QueueConnection = RedisClient;

/** BullMQ refuses `:` in a queue's name; the shard stands in the prefix, where Redis Cluster reads its hash tag. */
export const QUEUE_NAME = 'proposals';
export const JOB_NAME = 'proposal';

/** `{s3}:bull`: every key of the queue lies in its shard's slot, as BullMQ's scripts need in a Cluster. */
export function queuePrefix(shard: number): string {
  return `{s${shard}}:bull`;
}

/**
 * All that a job says. Anyone who can write Redis can write a job, so a job is a hint to look at one proposal and
 * nothing more; what else stands in it is refused.
 */
export const JobData = z.strictObject({ id: ProposalId });
export type JobData = z.infer<typeof JobData>;

/** What a finished job shows to QueueEvents and Bull Board: what the tool answered is for the agent alone. */
export interface JobResult {
  readonly status: ProposalStatus | 'not_found';
}

/** Finished jobs are kept for people to look at, and only so many: the proposal itself is in the store. */
export const KEEP_FINISHED = { count: 1_000, age: 7 * 24 * 60 * 60 } as const;
