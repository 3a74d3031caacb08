import { decidersAfter } from '../core/approval/deciders.ts';
import type { SignedDecision } from '../core/approval/decision.ts';
import { slackIdsOf } from '../core/identity/ids.ts';
import type { ApproverRef } from '../core/policy/approver.ts';
import type { ApprovalRule } from '../core/policy/verdict.ts';
import type { CourseEvent } from '../core/proposal/proposal-course.ts';
import type { KnownBlock } from './wording.ts';
import { counted, localTime, mention, mentionEntry, ourSection } from './wording.ts';

/* Who is asked, since when, and who is still needed: our words and ids alone. */

/** A proposal that waits for people, as far as asking them goes. */
export interface Asking {
  readonly rule: ApprovalRule;
  readonly createdAt: number;
  readonly approvals: readonly SignedDecision[];
  readonly course: readonly CourseEvent[];
  /** The tenant's workspace. */
  readonly team: string;
}

const MOST_ENTRIES = 8;

export function askedNames(entries: readonly ApproverRef[]): string {
  const more = entries.length - MOST_ENTRIES;
  const named = entries.slice(0, MOST_ENTRIES).map(mentionEntry).join(', ');
  return more > 0 ? `${named} and ${counted(more, 'more entry', 'more entries')} of the policy` : named;
}

/** `Still 1 more person has to approve: …`, of those who are asked at that time and have not. */
export function neededText({ rule, createdAt, approvals }: Asking, at: number): string {
  const missing = Math.max(1, rule.quorum - approvals.length);
  const gave = new Set(approvals.map(({ statement }) => `user:${slackIdsOf(statement.person).user}`));
  const asked = decidersAfter(rule, at - createdAt).filter((entry) => !gave.has(entry));
  return `Still ${counted(missing, 'more person has', 'more people have')} to approve: ${askedNames(asked)}.`;
}

/** Who is asked besides, or in their place, and from when on. It stands from the beginning, so that nobody is surprised. */
export function escalationPlan({
  rule: { escalate },
  createdAt,
}: Pick<Asking, 'rule' | 'createdAt'>): string {
  if (escalate === undefined) return '';
  const from = `\n*From* ${localTime(createdAt + escalate.afterMs)} *on*`;
  return escalate.reroute
    ? `${from} these decide in their place: ${askedNames(escalate.to)}.`
    : `${from} these may decide as well: ${askedNames(escalate.to)}.`;
}

/** What has happened while it waits: empty where nothing has. */
export function askingBlocks(asking: Asking): KnownBlock[] {
  const { rule, createdAt, approvals, course } = asking;
  const lines: string[] = [];
  const last = course.at(-1);
  if (approvals.length > 0) {
    const missing = Math.max(1, rule.quorum - approvals.length);
    lines.push(
      `*${approvals.length} of ${rule.quorum} approved so far*; ${counted(missing, 'more person', 'more people')} must approve.`,
    );
  }
  if (last !== undefined) lines.push(neededText(asking, last.at));
  const escalated = course.find(({ event }) => event === 'escalated');
  if (escalated !== undefined && rule.escalate !== undefined) {
    const { to, reroute } = rule.escalate;
    lines.push(
      reroute
        ? `*Asked since* ${localTime(escalated.at)}: ${askedNames(to)}, in place of ${askedNames(rule.approvers)}.`
        : `*Asked since* ${localTime(createdAt)}: ${askedNames(rule.approvers)}; *and since* ${localTime(escalated.at)}: ${askedNames(to)}.`,
    );
  }
  const reminded = course.find(({ event }) => event === 'reminded');
  if (reminded !== undefined) lines.push(`Reminded ${localTime(reminded.at)}.`);
  return lines.length === 0 ? [] : [ourSection(lines.join('\n'))];
}

const MOST_REVOKED = 5;

/** Whose approvals stopped to count: said in every state, for whoever saw them on the card before. */
export function revokedBlocks(course: readonly CourseEvent[], team: string): KnownBlock[] {
  const lines = course.flatMap((event) =>
    event.event === 'revoked'
      ? [
          `The approval of ${mention(event.person, team)} no longer counts since ${localTime(event.at)}: they may not decide about this call any more.`,
        ]
      : [],
  );
  return lines.length === 0 ? [] : [ourSection(lines.slice(-MOST_REVOKED).join('\n'))];
}
