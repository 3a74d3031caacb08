import type { AgentId, TenantId } from '../identity/ids.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import { type Digest, digestOf } from '../tool/digest.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import type { CardRef, ProposalStatus } from './proposal.ts';
import type { ProposalId } from './proposal-id.ts';
import type { ProposalTerms } from './proposal-terms.ts';

/** Whose calls are gathered on one card. */
export interface Gathering {
  readonly tenant: TenantId;
  readonly agent: AgentId;
}

/** Calls that wait on the card of an identical one, with it. More than these are gathered instead. */
export const ALIKE_MAX = 10;

/**
 * Where people meet a proposal. `alike`: every identical proposal that waits on this card, itself among them, oldest
 * first; what the store says, to be checked against their terms.
 */
export type Placement =
  | { readonly on: 'own_card'; readonly alike: readonly ProposalId[] }
  /** On another's card, or on the digest card, or settled before it was ever shown: there is nothing to draw. */
  | { readonly on: 'other_card' | 'digest_card' | 'no_card' };

/** What waits of one tool, beyond the cards of its own. */
export interface Folded {
  readonly tool: string;
  readonly count: number;
  /** The one that is to be decided first. */
  readonly first: ProposalId;
}

/** A digest card that is behind what it tells of. */
export interface DigestMark extends Gathering {
  /** Counts what happened; a card drawn of version n is stale at n + 1. */
  readonly version: number;
  /** Counts the cards: once nothing waits any more, the next flood has a new one. */
  readonly episode: number;
  readonly waiting: readonly Folded[];
  /** What became of those that waited here. */
  readonly settled: Partial<Record<ProposalStatus, number>>;
  /** Who switched writes off, where that halted some; as the switch keeps it. */
  readonly haltedBy: string | undefined;
  readonly card: CardRef | undefined;
}

/**
 * Keeps a channel readable: few cards of an agent and tool at a time, one for identical calls, and a digest card for
 * the rest. It decides where something is shown, never what may be decided. Each method is one atomic step.
 */
export interface Folding {
  /**
   * Asked each time before a card is drawn, for then places become free or are needed.
   */
  place(terms: ProposalTerms, foldAbove: number): Promise<Placement>;
  /** Ids that wait on the digest card, tool by tool, the nearest deadline first. */
  waiting(
    of: Gathering,
    page: { offset: number; limit: number },
  ): Promise<{ ids: ProposalId[]; count: number }>;
  /** Takes up to `limit` digest cards that are behind, for `leaseMs`. */
  claimDigests(limit: number, leaseMs: number): Promise<DigestMark[]>;
  digestDrawn(mark: DigestMark, card: CardRef): Promise<void>;
  postponeDigest(mark: DigestMark, delayMs: number): Promise<void>;
}

/**
 * Equal for proposals that ask for the same thing in the same words under the same rule. Left out is only what differs
 * from proposal to proposal by itself, so that whatever else terms may come to say keeps two of them apart. Over exact
 * bytes: what only looks alike is not.
 */
export function alikeDigest(terms: ProposalTerms): Digest {
  const { run: _run, ...context } = terms.context;
  const of = { ...terms, context };
  const same = Object.fromEntries(Object.entries(of).filter(([field]) => !ITS_OWN.has(field)));
  return digestOf('alike', canonicalJson(JSON.parse(JSON.stringify(same)) as JsonValue));
}

const ITS_OWN: ReadonlySet<string> = new Set([
  'id',
  'nonce',
  'createdAt',
  'deadline',
  'idempotencyKey',
  'switchEpoch',
  'policyVersion',
]);
