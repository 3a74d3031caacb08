import type { PersonId } from '../identity/ids.ts';
import { ApproverRef, approverKind } from './approver.ts';
import type { ApprovalRule, BudgetTerms, ReasonRule, Verdict } from './verdict.ts';

/** A rule as a proposal's sealed terms carry it: refs are plain strings there. */
export type SealedRule = Pick<
  ApprovalRule,
  'quorum' | 'expiresInMs' | 'startWithinMs' | 'reason' | 'excluded'
> & { readonly approvers: readonly string[] };

/** What a proposal was sealed with: its basis, or the verdict itself. */
export type SealedRequirement =
  | Verdict
  | { readonly kind: 'people'; readonly rule: SealedRule }
  | { readonly kind: 'policy' };

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
      /** Whoever approved must come in through one of these. */
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
      /** The current policy's: reserve from it. */
      readonly budget?: BudgetTerms;
    };

/**
 * What must hold for a write to start, given the policy that it was proposed under and the one in force now. Whatever
 * either asks for is asked for: a tightened policy reaches proposals that were already pending, a loosened one does not.
 */
export function stricterRequirement(sealed: SealedRequirement, current: Verdict): StricterRequirement {
  for (const verdict of [current, sealed]) {
    if ('verdict' in verdict && verdict.verdict === 'forbid') {
      return { ok: false, refusal: 'forbidden', message: verdict.message };
    }
  }
  const then = peopleRule(sealed);
  const now = peopleRule(current);
  if (then !== undefined && now !== undefined) return bothRules(then, now);
  const only = then ?? now;
  if (only !== undefined) return requirement(only, knownRefs(only.approvers));
  const free = { ok: true, needsPeople: false, quorum: 0, approvers: [], excluded: [] } as const;
  const budget = 'verdict' in current && current.verdict === 'allow' ? current.budget : undefined;
  return budget === undefined ? free : { ...free, budget };
}

function peopleRule(requirement: SealedRequirement): SealedRule | undefined {
  return 'rule' in requirement ? requirement.rule : undefined;
}

function bothRules(then: SealedRule, now: SealedRule): StricterRequirement {
  const still = new Set<string>(now.approvers);
  const common = knownRefs(then.approvers).filter((ref) => still.has(ref));
  return requirement(
    {
      approvers: common,
      quorum: Math.max(then.quorum, now.quorum),
      expiresInMs: Math.min(then.expiresInMs, now.expiresInMs),
      startWithinMs: Math.min(then.startWithinMs, now.startWithinMs),
      reason: {
        approve: stricterReason(then.reason.approve, now.reason.approve),
        deny: stricterReason(then.reason.deny, now.reason.deny),
      },
      excluded: [...new Set([...then.excluded, ...now.excluded])],
    },
    common,
  );
}

function requirement(rule: SealedRule, approvers: readonly ApproverRef[]): StricterRequirement {
  if (approvers.length === 0) {
    const message =
      'Nobody who could approve this when it was proposed may approve it under the policy in force now.';
    return { ok: false, refusal: 'no_common_approver', message };
  }
  const people = approvers.every((ref) => approverKind(ref) === 'user') ? approvers.length : Infinity;
  if (people < rule.quorum) {
    const message = `${rule.quorum} approvals are needed, and only ${people} people may give one under both policies.`;
    return { ok: false, refusal: 'quorum_out_of_reach', message };
  }
  const { quorum, excluded, reason, expiresInMs, startWithinMs } = rule;
  return { ok: true, needsPeople: true, quorum, approvers, excluded, reason, expiresInMs, startWithinMs };
}

/** A ref that is none grants nobody anything. */
function knownRefs(refs: readonly string[]): ApproverRef[] {
  return refs.flatMap((ref) => {
    const parsed = ApproverRef.safeParse(ref);
    return parsed.success ? [parsed.data] : [];
  });
}

const STRICTNESS: Record<ReasonRule, number> = { none: 0, optional: 1, required: 2 };

function stricterReason(a: ReasonRule, b: ReasonRule): ReasonRule {
  return STRICTNESS[a] >= STRICTNESS[b] ? a : b;
}
