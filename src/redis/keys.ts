import { createHash } from 'node:crypto';
import type { GrantId } from '../core/grant/grant.ts';
import type { CallContext } from '../core/identity/call-context.ts';
import type { PersonId, TenantId } from '../core/identity/ids.ts';
import { type ProposalId, shardOfProposal } from '../core/proposal/proposal-id.ts';

/**
 * Every key and channel of ours is built here, or in `lua/prelude.lua` from the same prefix. All of a shard carry
 * `{sN}`, so that a Cluster keeps them on one node and each transition is one script. Injective: what stands before
 * the last part is fixed or an id, and no id contains `:`, `{` or `}` (core/identity/ids.ts).
 */
const inShard = (shard: number, name: string) => `{s${shard}}:${name}`;

/**
 * In the order in which `lua/prelude.lua` names them. The last one never holds anything: while a Cluster moves a slot to
 * another node, it runs a script whose KEYS are all there, and the script breaks off half done, or sees nothing, at a key
 * that it builds itself and that is on the other node. One that names a key which is nowhere is refused as a whole
 * (TRYAGAIN) until the slot has arrived.
 */
const SHARD_KEYS = [
  'switch',
  'armed',
  'pending',
  'ready',
  'executing',
  'cards',
  'card-leases',
  'audit',
  'audit-seq',
  'budgets',
  'halting',
  'spent',
  'never',
] as const;

export function shardKeys(shard: number): string[] {
  return SHARD_KEYS.map((name) => inShard(shard, name));
}

export function shardKey(shard: number, name: (typeof SHARD_KEYS)[number]): string {
  return inShard(shard, name);
}

/** Written to when it has to be known that replicas hold what was read: they hold whatever was written before it. */
export function fenceKey(shard: number): string {
  return inShard(shard, 'held');
}

/** How many shards this installation has; in the one that every number of shards has. */
export const SHARD_COUNT_KEY = inShard(0, 'shards');

export function proposalKey(id: ProposalId): string {
  return inShard(shardOfProposal(id), `proposal:${id}`);
}

/** For looking through all of them, whatever their shard. */
export const EVERY_PROPOSAL = '{s*}:proposal:*';
export const EVERY_GRANT = '{s*}:grant:*';

export type OpenStatus = 'pending' | 'ready' | 'executing';

export function tenantIndexKey(shard: number, tenant: TenantId, status: OpenStatus): string {
  return inShard(shard, `tenant:${tenant}:${status}`);
}

/** The host chooses idempotency keys, of any length and any characters: digested, they are neither. */
export function idempotencyKey(shard: number, context: CallContext, key: string): string {
  const digest = createHash('sha256').update(key, 'utf8').digest('hex');
  return inShard(shard, `idem:${context.tenant}:${context.environment}:${context.agent}:${digest}`);
}

export function budgetKey(shard: number, counterKey: string): string {
  return inShard(shard, `budget:${counterKey}`);
}

/** A pace is everybody's: of a channel or a workspace, whichever tenants write there and in whichever shards they live. */
export function paceKey(shards: number, name: string): { shard: number; key: string } {
  const digest = createHash('sha256').update(name, 'utf8').digest();
  const shard = digest.readUInt32BE(0) % shards;
  return { shard, key: inShard(shard, `pace:${digest.toString('hex')}`) };
}

export function newsChannel(id: ProposalId): string {
  return inShard(shardOfProposal(id), `news:${id}`);
}

export function cardsChannel(shard: number): string {
  return inShard(shard, 'cards:news');
}

/** Of no tenant, and so in the shard that every number of shards has: workspace id → its installation in a box. */
export const INSTALLATIONS_KEY = inShard(0, 'installations');

export const INSTALLATIONS_CHANNEL = inShard(0, 'installations:news');

/** What was said once, by whoever it was: digested, it is of one form and tells nothing. */
export function onceKey(key: string): string {
  return inShard(0, `once:${createHash('sha256').update(key, 'utf8').digest('hex')}`);
}

/** What the channels have to be told of the switch, and when each is due. */
export function switchNoticeKeys(shard: number): [notices: string, due: string] {
  return [inShard(shard, 'switch-notices'), inShard(shard, 'switch-notices-due')];
}

/** Where those who want to turn a scope on wait for one another: with the switch's arbiter, in shard 0. */
export function armingKey(scope: string): string {
  return inShard(0, `arming:${scope}`);
}

export const HEARD_COMMANDS_KEY = inShard(0, 'heard-commands');

export function recentDecisionsKey(shard: number, person: PersonId): string {
  return inShard(shard, `recent:${person}`);
}

export function grantKey(shard: number, id: GrantId): string {
  return inShard(shard, `grant:${id}`);
}

export function grantUsesKey(shard: number, id: GrantId): string {
  return inShard(shard, `grant-uses:${id}`);
}

/** All grants of a tenant, by the time that they expire. */
export function tenantGrantsKey(shard: number, tenant: TenantId): string {
  return inShard(shard, `tenant:${tenant}:grants`);
}

/** Those that one caller may use for one tool: what a guard looks through. No tool's name contains `:`. */
export function grantIndexKey(
  shard: number,
  { tenant, environment, agent }: Pick<CallContext, 'tenant' | 'environment' | 'agent'>,
  tool: string,
): string {
  return inShard(shard, `grants:${tenant}:${environment}:${agent}:${tool}`);
}
