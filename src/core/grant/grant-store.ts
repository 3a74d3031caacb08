import type { CallContext } from '../identity/call-context.ts';
import type { PersonId, TenantId } from '../identity/ids.ts';
import type { CardRef } from '../proposal/proposal.ts';
import type { ProposalId } from '../proposal/proposal-id.ts';
import type { GrantId, SignedGrant } from './grant.ts';

/** How a grant ended before its time. */
export type GrantEnd =
  | { readonly state: 'revoked'; readonly by: string; readonly at: number }
  | { readonly state: 'voided'; readonly why: string; readonly at: number };

/** A grant as it stands in the store: believed only after `grantIsGenuine`. */
export interface StoredGrant {
  readonly id: GrantId;
  readonly signed: SignedGrant;
  readonly end: GrantEnd | undefined;
  /** Oldest first. */
  readonly uses: readonly { readonly proposal: ProposalId; readonly at: number }[];
  /** Counts what changed: made, used, revoked, voided. */
  readonly revision: number;
  readonly card: CardRef | undefined;
  /** How many uses the card and its thread have been told of. */
  readonly cardUses: number;
}

/** What stands under a grant's id is none that Countersign wrote: it allows nothing, and is an alarm to whoever shows it. */
export class GrantMalformed extends Error {
  override readonly name = 'GrantMalformed';
  readonly code = 'grant_malformed';

  constructor(grant: GrantId) {
    super(`the record of ${grant} in Redis is none that Countersign wrote: do not act on it`);
  }
}

export type Made =
  | { readonly made: 'new' | 'again'; readonly grant: StoredGrant }
  /** Its proposal is not approved by this person, or was switched off meanwhile, or there are too many grants. */
  | { readonly made: 'not_approved' | 'writes_off' | 'too_late' | 'too_many' };

export type Revoked = 'revoked' | 'already_ended' | 'not_found';

/**
 * Grants and their uses. A use is taken with `ProposalStore.create`, in the step that writes the proposal, and checked
 * once more with `admit`. Every method rejects with `StoreUnavailable` where the store does not answer in time.
 */
export interface GrantStore {
  make(signed: SignedGrant): Promise<Made>;
  /** @throws GrantMalformed */
  read(id: GrantId): Promise<StoredGrant | undefined>;
  /** Not ended and not expired, oldest first, for one caller and tool: what a guard may try. Nothing in it is checked. */
  openFor(context: CallContext, tool: string, now: number): Promise<SignedGrant[]>;
  /** Of one tenant, not ended and not expired; oldest expiry first. */
  open(tenant: TenantId, limit: number): Promise<StoredGrant[]>;
  revoke(id: GrantId, by: PersonId): Promise<Revoked>;
  voidGrant(id: GrantId, why: string): Promise<Revoked>;
  /** Voids what the switch has covered since it was given; how many. */
  voidSwitchedOff(tenant: TenantId): Promise<number>;
  /** Tenants of one shard are out of reach together. */
  shardOf(tenant: TenantId): number;

  /** Grants whose card is behind, each leased to one publisher. */
  claimCards(tenant: TenantId, limit: number, leaseMs: number): Promise<GrantId[]>;
  cardDrawn(id: GrantId, drawn: { revision: number; uses: number; card: CardRef }): Promise<void>;
  /** Null: never. */
  postponeCard(id: GrantId, tenant: TenantId, delayMs: number | null): Promise<void>;
}
