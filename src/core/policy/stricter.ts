import type { PersonId } from '../identity/ids.ts';
import type { ApproverRef } from './approver.ts';
import type { ApprovalRule, BudgetTerms, Verdict } from './verdict.ts';

/** What a proposal was sealed with: its `basis`, or the verdict itself. */
export type SealedRequirement =
  | Verdict
  | { readonly kind: 'people'; readonly rule: SealedRule }
  | { readonly kind: 'policy' };

/** An ApprovalRule whose refs are plain strings, as the proposal's terms carry them. */
export type SealedRule = Omit<ApprovalRule, 'approvers' | 'escalate'> & {
  readonly approvers: readonly string[];
};

export type StricterRequirement =
  | {
      readonly ok: false;
      readonly refusal: 'forbidden' | 'no_common_approver' | 'quorum_out_of_reach';
      readonly message: string;
    }
  | {
      readonly ok: true;
      readonly needsPeople: true;
      readonly quorum: number;
      readonly approvers: readonly ApproverRef[];
      readonly excluded: readonly PersonId[];
      readonly reason: ApprovalRule['reason'];
      readonly expiresInMs: number;
      readonly startWithinMs: number;
    }
  | {
      readonly ok: true;
      readonly needsPeople: false;
      readonly quorum: 0;
      readonly approvers: readonly [];
      readonly excluded: readonly [];
      readonly budget?: BudgetTerms;
    };

export declare function stricterRequirement(sealed: SealedRequirement, current: Verdict): StricterRequirement;
