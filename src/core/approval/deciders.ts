import type { ApproverRef } from '../policy/approver.ts';
import type { ApprovalRule } from '../policy/verdict.ts';

/**
 * Whom a rule lets decide about a call that has waited this long. The one place that knows what an escalation does: the
 * desk judges a click by it and the executor judges the same click again, both from the sealed rule and the time of the
 * click, so that neither depends on whether a timer fired.
 */
export function decidersAfter(
  rule: Pick<ApprovalRule, 'approvers' | 'escalate'>,
  waitedMs: number,
): readonly ApproverRef[] {
  const { approvers, escalate } = rule;
  if (escalate === undefined || waitedMs < escalate.afterMs) return approvers;
  return escalate.reroute === true ? escalate.to : [...new Set([...approvers, ...escalate.to])];
}
