import { z } from 'zod';
import { PersonId } from '../identity/ids.ts';
import { ApproverRef } from './approver.ts';

/** Whether people must, may or are not asked to say why. */
export const ReasonRule = z.enum(['required', 'optional', 'none']);
export type ReasonRule = z.infer<typeof ReasonRule>;

/** Why people deny, in one click, and what the agent is told to do in place of the call. The policy's own words. */
export const DenialReason = z.strictObject({
  text: z.string().min(1).max(75),
  tellAgent: z.string().min(1).max(300).optional(),
});
export type DenialReason = z.infer<typeof DenialReason>;

/** Who decides and on which terms. Plain JSON: it is sealed into the proposal. */
export const ApprovalRule = z.strictObject({
  approvers: z.array(ApproverRef).min(1),
  quorum: z.int().min(1),
  expiresInMs: z.int().positive(),
  startWithinMs: z.int().positive(),
  reason: z.strictObject({ approve: ReasonRule, deny: ReasonRule }),
  /** People who may not approve: the principal, where it is a person, and the owners of a service. */
  excluded: z.array(PersonId),
  remindAfterMs: z.int().positive().optional(),
  escalate: z
    .strictObject({
      afterMs: z.int().positive(),
      to: z.array(ApproverRef).min(1),
      /** From then on only `to` decide. Left out: they decide as well. */
      reroute: z.literal(true).optional(),
    })
    .optional(),
  denialReasons: z.array(DenialReason).min(1).max(10).optional(),
  /** Whether an approver may change the arguments, and then counts among those who approve the changed call. */
  edit: z.strictObject({ editorMayApprove: z.boolean() }).optional(),
  /** With an approval, a person may allow the next calls like it: at most so many, for at most so long. */
  grants: z.strictObject({ maxUses: z.int().min(1), forMs: z.int().positive() }).optional(),
});
export type ApprovalRule = z.infer<typeof ApprovalRule>;

export const BUDGET_DIMENSIONS = ['tenant', 'environment', 'agent'] as const;
export type BudgetDimension = (typeof BUDGET_DIMENSIONS)[number];

/** What an automatic approval draws on: at most `max` calls in any `perMs`, counted under `counterKey`. */
export interface BudgetTerms {
  /** Which `auto_approve` entry: stable when entries move or when `max` and `per` change. */
  readonly id: string;
  readonly max: number;
  readonly perMs: number;
  readonly by: readonly BudgetDimension[];
  /** Injective over budgets and over what they count by; begins with `id`. */
  readonly counterKey: string;
}

export type ForbidReason =
  | 'unknown_tool'
  | 'tool_not_allowed'
  | 'unknown_tenant'
  | 'unknown_environment'
  | 'unknown_service'
  | 'resource_out_of_bounds'
  | 'writes_disabled'
  | 'no_rule';

export interface Forbid {
  readonly verdict: 'forbid';
  readonly reason: ForbidReason;
  /** Plain words, fit to hand to a model and to a person. Holds no argument values. */
  readonly message: string;
  /** Where in the policy this was decided: `write_tools.enabled (line 4)`. */
  readonly by: string;
}

export interface RequireApproval {
  readonly verdict: 'require_approval';
  readonly by: string;
  /** Why people are asked: "because the policy wants a person for every ticket.close (approvals.required_for)". */
  readonly why: string;
  readonly rule: ApprovalRule;
}

export interface Allow {
  readonly verdict: 'allow';
  readonly basis: 'read' | 'auto_approve' | 'approval_not_required';
  readonly by: string;
  /** Given for `auto_approve`: reserve from it first. */
  readonly budget?: BudgetTerms;
  /** For `auto_approve`: what holds for a call that the budget no longer covers. Absent: nobody could decide, refuse. */
  readonly whenSpent?: RequireApproval;
}

/** What the policy says of a call. The word of people is a decision, the word of the world an outcome. */
export type Verdict = Forbid | RequireApproval | Allow;
