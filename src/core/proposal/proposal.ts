import type { SignedAttestation } from '../approval/attestation.ts';
import type { SignedDecision } from '../approval/decision.ts';
import type { Outcome } from '../execution/outcome.ts';
import type { PersonId } from '../identity/ids.ts';
import type { SealedPreview } from './preview.ts';
import type { CourseEvent } from './proposal-course.ts';
import type { ProposalId } from './proposal-id.ts';

/** Each state carries only what is true in it. Times: ms on Redis's clock. Nothing leaves a terminal state. */
export type ProposalState =
  | { readonly status: 'pending'; readonly approvals: readonly SignedDecision[] }
  | {
      readonly status: 'approved';
      readonly approvals: readonly SignedDecision[];
      readonly approvedAt: number;
      readonly startBefore: number;
    }
  | {
      readonly status: 'executing';
      readonly approvals: readonly SignedDecision[];
      readonly admission: string;
      readonly executor: string;
      readonly admittedAt: number;
      /** Past this, unless the executor extends it, the executor is taken for dead and the outcome is unknown. */
      readonly leaseUntil: number;
    }
  | {
      readonly status: 'succeeded' | 'failed' | 'unknown';
      readonly approvals: readonly SignedDecision[];
      readonly outcome: Outcome;
      readonly finishedAt: number;
    }
  | {
      readonly status: 'denied';
      readonly approvals: readonly SignedDecision[];
      readonly denial: SignedDecision;
      readonly deniedAt: number;
    }
  | {
      readonly status: 'expired';
      readonly approvals: readonly SignedDecision[];
      /** Nobody decided in time, or nothing started it in time. */
      readonly stage: 'deciding' | 'starting';
      readonly expiredAt: number;
    }
  | {
      readonly status: 'withdrawn';
      readonly approvals: readonly SignedDecision[];
      readonly withdrawnAt: number;
    }
  | {
      readonly status: 'halted';
      readonly approvals: readonly SignedDecision[];
      readonly haltedAt: number;
      readonly cause: HaltCause;
    };

/**
 * Turned off by people; or refused, by the executor's own judgement right before the start, or by the approval service
 * where somebody who approved may not approve any more.
 */
export type HaltCause =
  | { readonly kind: 'switch'; readonly scope: string; readonly by: string; readonly why: string | undefined }
  | {
      readonly kind: 'refused';
      readonly refusal: string;
      readonly message: string;
      /** Whose approval it was that no longer counts. */
      readonly person?: PersonId | undefined;
    }
  /** A person changed the arguments: the proposal `to` stands in its place. A link to follow, believed by its seal. */
  | { readonly kind: 'edited'; readonly by: PersonId; readonly to: ProposalId };

export type ProposalStatus = ProposalState['status'];

export const TERMINAL_STATUSES: ReadonlySet<ProposalStatus> = new Set([
  'succeeded',
  'failed',
  'unknown',
  'denied',
  'expired',
  'withdrawn',
  'halted',
]);

/** Where the card stands. An untrusted hint: a click is matched against it, and it against the click. */
export interface CardRef {
  readonly team: string;
  readonly channel: string;
  readonly ts: string;
}

/** A proposal as it stands in the store: its terms are believed only after `unseal`. */
export interface ProposalRecord {
  readonly id: ProposalId;
  readonly termsText: string;
  readonly seal: string;
  readonly state: ProposalState;
  /** Oldest first. */
  readonly course: readonly CourseEvent[];
  /** The newest word that its approvers may still approve it; checked by the executor, like everything in here. */
  readonly attestation: SignedAttestation | undefined;
  /** Counts transitions and votes; a card drawn from revision n is stale once it is n + 1. */
  readonly revision: number;
  readonly card: CardRef | undefined;
  /** The revision that the card shows; undefined where there is no card yet. */
  readonly cardRevision: number | undefined;
  /** What the tool said that it would do, believed only after `openPreview`. */
  readonly preview?: SealedPreview | undefined;
  /** Posts that were begun and neither recorded nor refused: as many more cards of it may stand in the channel. */
  readonly unseenCards: number;
  /** What the thread under the card has been told, by the names that slack/thread-log.ts gives. */
  readonly told: readonly string[];
}
