import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { TenantId } from '../identity/ids.ts';

/**
 * `prop_`, the shard as two hex digits, and 24 random characters (120 bits). The shard stands in the id so that a
 * proposal can be found by its id alone: after a restart, from a button's value, from another process. An id is a
 * lookup key and gives no right: whatever is found is checked against the caller.
 */
export const ProposalId = z
  .string()
  .regex(/^prop_[0-9a-f]{2}[0-9a-v]{24}$/, 'a proposal id looks like prop_00 and 24 more characters')
  .brand('ProposalId');
export type ProposalId = z.infer<typeof ProposalId>;

const ALPHABET = '0123456789abcdefghijklmnopqrstuv';
export const PROPOSAL_ID_RANDOM_BYTES = 24;

/** @param random 24 bytes from a cryptographic source; five bits of each are used. */
export function newProposalId(shard: number, random: Uint8Array): ProposalId {
  if (random.length !== PROPOSAL_ID_RANDOM_BYTES) throw new RangeError('a proposal id takes 24 random bytes');
  const tail = Array.from(random, (byte) => ALPHABET[byte & 31]).join('');
  return ProposalId.parse(`prop_${shard.toString(16).padStart(2, '0')}${tail}`);
}

export function shardOfProposal(id: ProposalId): number {
  return Number.parseInt(id.slice(5, 7), 16);
}

/** Every key of a tenant lives in one shard, so that each transition is one script on one node. */
export function shardOfTenant(tenant: TenantId, shards: number): number {
  return createHash('sha256').update(tenant).digest().readUInt32BE(0) % shards;
}
