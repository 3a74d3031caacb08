import type { ProposalId } from '../proposal/proposal-id.ts';

declare const minted: unique symbol;

/**
 * The single-use right to start one call. Only a proposal store mints one, in the step that moves `approved` to
 * `executing`; `test/architecture.test.ts` holds that nobody else calls `mintAdmission`.
 */
export interface Admission {
  readonly [minted]: true;
  readonly proposal: ProposalId;
  /** Random, 32 hex digits. Given to the tool as its Idempotency-Key. */
  readonly id: string;
  readonly executor: string;
  /** Redis's clock, ms. */
  readonly admittedAt: number;
}

export function mintAdmission(fields: Omit<Admission, typeof minted>): Admission {
  return Object.freeze({ ...fields }) as Admission;
}

/** Why a call was not admitted. */
export type AdmissionRefusal =
  | 'not_found'
  | 'not_approved'
  | 'already_admitted'
  | 'already_settled'
  | 'too_late'
  | 'writes_off'
  | 'terms_changed'
  | 'budget_missing'
  /** The standing grant that it was allowed by: revoked, switched off, expired, or its count of uses does not add up. */
  | 'grant_void'
  | 'grant_expired'
  | 'grant_missing';
