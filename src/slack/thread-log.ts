import type { ProposalState } from '../core/proposal/proposal.ts';
import type { CourseEvent } from '../core/proposal/proposal-course.ts';
import { askedNames, neededText } from './asked.ts';
import { askingOf, type CardView, operatorMention, refusedText } from './card.ts';
import { localTime, mention } from './wording.ts';

/** Something that happened, by a name that is its own for as long as the proposal lives. */
export interface ThreadEvent {
  readonly name: string;
  readonly line: string;
}

/**
 * What the thread under a card has yet to be told, in order: one line for each vote, each timer
 * and the end. `told` holds the names of what it has been told, so that no replica has to remember what another one said. Our words alone; reasons
 * stand on the card.
 */
export function untold(view: CardView, told: readonly string[]): ThreadEvent[] {
  const events = (view.course ?? []).flatMap((event) => {
    const line = courseLine(event, view);
    return line === undefined ? [] : [{ name: `${event.event} ${event.revision}`, line }];
  });
  const end = endLine(view.state, view.team);
  if (end !== undefined) events.push({ name: view.state.status, line: end });
  return events.filter(({ name }) => !told.includes(name));
}

function courseLine(event: CourseEvent, view: CardView): string | undefined {
  const { team } = view;
  const asking = askingOf(view);
  if (asking === undefined) return undefined;
  const { rule } = asking;
  switch (event.event) {
    case 'approved': {
      // Only what is signed by us: the view holds no other approvals.
      const at = view.state.approvals.findIndex(({ statement }) => statement.person === event.person);
      const approval = view.state.approvals[at];
      if (approval === undefined) return undefined;
      const of = rule.quorum > 1 ? ` (${at + 1} of ${rule.quorum})` : '';
      return `Approved by ${mention(event.person, team)}${of}, ${localTime(approval.statement.at)}.`;
    }
    case 'revoked':
      return `The approval of ${mention(event.person, team)} no longer counts, ${localTime(event.at)}: they may not decide about this call any more.`;
    case 'reminded':
      return view.state.status === 'pending'
        ? `Reminder: ${neededText(asking, event.at)} Decide before ${localTime(view.terms.deadline)}.`
        : undefined;
    case 'escalated': {
      if (rule.escalate === undefined || view.state.status !== 'pending') return undefined;
      const { to, reroute } = rule.escalate;
      const how = reroute ? 'in place of those who were asked before' : 'as well';
      return `Escalated, ${localTime(event.at)}: ${askedNames(to)} may decide ${how}. ${neededText(asking, event.at)}`;
    }
  }
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
        : `Halted, ${localTime(state.haltedAt)}: ${refusedText(state.cause, team)} It will not run.`;
  }
}
