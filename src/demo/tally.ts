import type { AuditEntry } from '../core/audit/audit-entry.ts';
import type { GroundTruth } from '../sandbox/help-desk/help-desk-seed.ts';
import type { JournalEntry } from '../sandbox/help-desk/help-desk-store.ts';
import { demoWorld } from '../sandbox/slack/demo-world.ts';

/** What came of it, from two independent witnesses: the help desk's own journal, and our audit. */
export interface Tally {
  readonly closed: readonly ClosedTicket[];
  readonly closedWrongly: number;
  /** Writes in the journal for which the audit has no admission: must be 0. */
  readonly unaccounted: number;
  readonly denied: number;
  readonly halted: number;
  readonly forbidden: number;
  readonly waiting: number;
  readonly others: number;
}

export interface ClosedTicket {
  readonly ticket: string;
  readonly duplicateOf: string | undefined;
  /** `slack:T…/U…`, in the order in which they approved. */
  readonly approvedBy: readonly string[];
}

const ENDINGS = [
  'outcome.succeeded',
  'outcome.failed',
  'outcome.unknown',
  'proposal.denied',
  'proposal.expired',
  'proposal.halted',
  'proposal.withdrawn',
] as const satisfies readonly AuditEntry['kind'][];

/** The help desk keeps the idempotency key of each write, which is the id of its admission in our audit. */
export function tallyOf(
  journal: readonly JournalEntry[],
  audit: readonly AuditEntry[],
  truth: GroundTruth,
): Tally {
  const proposalOf = new Map(
    audit
      .filter((entry) => entry.kind === 'admission.granted')
      .map((entry) => [entry.detail.admission, entry.proposal] as const),
  );
  const approvers = (proposal: string | undefined) =>
    audit
      .filter((entry) => entry.kind === 'decision.approve' && entry.proposal === proposal)
      .map((entry) => String(entry.detail.person));
  const closed = journal
    .filter((entry) => entry.write === 'ticket.close')
    .map((entry) => ({
      ticket: entry.subject,
      duplicateOf: truth.duplicateOf.get(entry.subject),
      approvedBy: approvers(proposalOf.get(entry.idempotencyKey)),
    }));
  const count = (kind: AuditEntry['kind']) => audit.filter((entry) => entry.kind === kind).length;
  const ended = ENDINGS.reduce((sum, kind) => sum + count(kind), 0);
  return {
    closed,
    closedWrongly: closed.filter((ticket) => ticket.duplicateOf === undefined).length,
    unaccounted: journal.filter((entry) => !proposalOf.has(entry.idempotencyKey)).length,
    denied: count('proposal.denied'),
    halted: count('proposal.halted'),
    forbidden: count('call.forbidden') + count('call.malformed'),
    waiting: count('proposal.created') - ended,
    others: journal.filter((entry) => entry.write !== 'ticket.close').length,
  };
}

export function printTally(tally: Tally, closedWronglyWithout: number, print: (line: string) => void): void {
  print('What came of it, by the help desk’s own journal and the audit:');
  for (const { ticket, duplicateOf, approvedBy } of tally.closed) {
    const what = duplicateOf === undefined ? 'NOT a duplicate' : `duplicate of ${duplicateOf}`;
    print(`  closed ${ticket} (${what}), approved by ${approvedBy.map(nameOf).join(' and ') || 'NOBODY'}`);
  }
  print(
    `  denied: ${tally.denied}   halted by the switch: ${tally.halted}   refused by the guard: ${tally.forbidden}`,
  );
  print(`  closed wrongly: ${tally.closedWrongly} (without the guard: ${closedWronglyWithout})`);
}

/** The name that people know; an id where there is none. */
export function nameOf(person: string): string {
  const [team, user] = person.replace('slack:', '').split('/');
  const workspace = demoWorld().workspaces.find((candidate) => candidate.team === team);
  return workspace?.users.find(({ id }) => id === user)?.realName ?? person;
}
