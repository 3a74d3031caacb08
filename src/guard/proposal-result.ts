import type { SignedDecision } from '../core/approval/decision.ts';
import { doubtOf } from '../core/execution/outcome.ts';
import type { ProposalRecord } from '../core/proposal/proposal.ts';
import { visibleText } from '../core/tool/visible-text.ts';
import {
  ApprovalDenied,
  ApprovalExpired,
  ExecutionFailed,
  Halted,
  OutcomeUnknown,
  StillPending,
  Withdrawn,
} from './call-errors.ts';

/** The tool's result, or the error that says why there is none. @throws CallError */
export function resultOf(record: ProposalRecord): unknown {
  const { id: proposal, state } = record;
  switch (state.status) {
    case 'succeeded':
    case 'failed':
    case 'unknown':
      return resultOfOutcome(proposal, state.outcome);
    case 'denied': {
      const { person } = state.denial.statement;
      const { why, instead } = denialWords(state.denial);
      throw new ApprovalDenied(proposal, person, why, instead);
    }
    case 'expired':
      throw new ApprovalExpired(
        state.stage === 'deciding'
          ? 'Nobody decided about this call in time. It was not run. Propose it again only if it is still needed.'
          : 'This call was approved but could not be started in time. It was not run. Propose it again if it is still needed.',
        { proposal },
      );
    case 'withdrawn':
      throw new Withdrawn('This proposal was withdrawn by the agent. It was not run.', { proposal });
    case 'halted':
      throw new Halted(
        state.cause.kind === 'switch'
          ? `${state.cause.by} turned agent writes off before this call ran. It was not run, and its approvals are void. Do not propose it again until people turn writes on.`
          : state.cause.kind === 'edited'
            ? `${state.cause.by} changed this call: ${state.cause.to} stands in its place. As it was asked it was not run.`
            : `This call was refused before it ran: ${state.cause.message} It was not run.`,
        { proposal },
      );
    case 'pending':
    case 'approved':
    case 'executing':
      throw new StillPending(`This call is ${state.status} and has no result yet.`, { proposal });
  }
}

/** What they chose among the policy's reasons and what they wrote, as one; and what the policy tells the agent to do. */
export function denialWords({ statement }: SignedDecision): {
  why: string | undefined;
  instead: string | undefined;
} {
  const { reason, choice } = statement;
  const words = [choice?.text, reason].flatMap((text) =>
    text === undefined ? [] : [visibleText(text).text],
  );
  const instead = choice?.tellAgent;
  return {
    why: words.length === 0 ? undefined : words.join('. '),
    instead: instead === undefined ? undefined : visibleText(instead).text.replace(/\.$/, ''),
  };
}

function resultOfOutcome(
  proposal: string,
  outcome: Extract<ProposalRecord['state'], { status: 'succeeded' | 'failed' | 'unknown' }>['outcome'],
): unknown {
  switch (outcome.outcome) {
    case 'succeeded':
      return JSON.parse(outcome.result);
    case 'failed':
      throw new ExecutionFailed(
        `The call ran and failed: ${outcome.message} (${outcome.code}). It is not repeated by itself; each new try needs a new approval.`,
        { proposal },
      );
    case 'unknown':
      throw new OutcomeUnknown(
        `The call was started and nobody can say whether it took effect: ${doubtOf(outcome)}. Do NOT repeat it. A person has to look at the system it writes to.`,
        { proposal },
      );
  }
}
