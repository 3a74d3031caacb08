import type { SignedDecision } from '../core/approval/decision.ts';
import type { ProposalState } from '../core/proposal/proposal.ts';
import { type CardView, operatorMention, ruleOf } from './card.ts';
import { localTime, mention } from './wording.ts';

/** Something that happened, by a name that is its own for as long as the proposal lives. */
export interface ThreadEvent {
  readonly name: string;
  readonly line: string;
}

/**
 * What the thread under a card has yet to be told, in order: one line for each vote and for the end. `told` holds the
 * names of what it has been told, so that no replica has to remember what another one said. Our words alone; reasons
 * stand on the card.
 */
export function untold({ terms, state, team }: CardView, told: readonly string[]): ThreadEvent[] {
  const rule = { quorum: ruleOf(terms)?.quorum ?? 0, team };
  const events = state.approvals.map((approval, index) => ({
    name: `approved ${approval.statement.person}`,
    line: approvalLine(approval, index + 1, rule),
  }));
  const end = endLine(state, team);
  if (end !== undefined) events.push({ name: state.status, line: end });
  return events.filter(({ name }) => !told.includes(name));
}

function approvalLine(
  { statement }: SignedDecision,
  count: number,
  rule: { quorum: number; team: string },
): string {
  const who = mention(statement.person, rule.team);
  const of = rule.quorum > 1 ? ` (${count} of ${rule.quorum})` : '';
  return `Approved by ${who}${of}, ${localTime(statement.at)}.`;
}

function endLine(state: ProposalState, team: string): string | undefined {
  switch (state.status) {
    case 'pending':
    case 'approved':
    case 'executing':
      return undefined;
    case 'succeeded':
      return `It ran and succeeded, ${localTime(state.finishedAt)}.`;
    case 'failed':
      return `It ran and failed, ${localTime(state.finishedAt)}. The card says what the tool answered.`;
    case 'unknown':
      return `Whether it ran is not known, ${localTime(state.finishedAt)}. Somebody has to look in the system that was written to.`;
    case 'denied':
      return `Denied by ${mention(state.denial.statement.person, team)}, ${localTime(state.deniedAt)}. It will not run.`;
    case 'expired':
      return `Expired, ${localTime(state.expiredAt)}. It will not run.`;
    case 'withdrawn':
      return `Withdrawn by the agent, ${localTime(state.withdrawnAt)}. It will not run.`;
    case 'halted':
      if (state.cause.kind === 'edited') {
        return `Changed by ${mention(state.cause.by, team)}, ${localTime(state.haltedAt)}: another proposal stands in its place. This one will not run.`;
      }
      return state.cause.kind === 'switch'
        ? `Halted, ${localTime(state.haltedAt)}: ${operatorMention(state.cause.by, team)} switched writes off. It will not run.`
        : `Halted, ${localTime(state.haltedAt)}: the last check before the start refused it. It will not run.`;
  }
}
