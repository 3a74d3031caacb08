import { jsonLine, visibleText } from '../core/tool/visible-text.ts';
import type { ExportedProposal, RecordedApproval } from './export-population.ts';

/** In this order, under these names; docs/audit.md tells what each holds. */
const COLUMNS: Readonly<Record<string, (row: ExportedProposal) => string | number | undefined>> = {
  proposal: (row) => row.proposal,
  tenant: (row) => row.tenant,
  environment: (row) => row.environment,
  tool: (row) => row.tool,
  arguments_sha256: (row) => row.argumentsSha256,
  requester: (row) => row.requester,
  agent: (row) => row.agent,
  run: (row) => row.run,
  requested_at: (row) => time(row.requestedAt),
  policy_version: (row) => row.policyVersion,
  approved_by: (row) => row.basis,
  rule: (row) => row.rule,
  quorum: (row) => row.quorum,
  approvers: (row) => each(row, ({ person }) => person),
  approver_entitlements: (row) => each(row, ({ as }) => as),
  approval_reasons: (row) => each(row, ({ reason }) => reason),
  approval_times: (row) => each(row, ({ at }) => time(at)),
  approval_shown_sha256: (row) => each(row, ({ shown }) => shown),
  denied_by: (row) => row.denial?.person,
  denial_reason: (row) => row.denial?.reason,
  denied_at: (row) => time(row.denial?.at),
  denial_shown_sha256: (row) => row.denial?.shown,
  approved_at: (row) => time(row.approvedAt),
  started_at: (row) => time(row.startedAt),
  approved_before_start: (row) => row.approvedBeforeStart,
  outcome: (row) => row.outcome,
  outcome_at: (row) => time(row.outcomeAt),
  final_state: (row) => row.finalState,
  halted_cause: (row) => row.haltedCause,
  audit_lines: (row) => row.lines.join(' '),
};

/** RFC 4180, one header. `verified`: whether the audit was found intact under a key right before. */
export function* csvRows(rows: Iterable<ExportedProposal>, verified: boolean): Generator<string> {
  const columns = Object.entries(COLUMNS);
  yield csvLine([...columns.map(([name]) => name), 'audit_verified']);
  for (const row of rows) {
    const cells = columns.map(([, cell]) => csvSafe(String(cell(row) ?? '')));
    yield csvLine([...cells, verified ? 'yes' : 'no']);
  }
}

/** The same facts under the same names, with lists as lists and nothing rewritten: for machines. */
export function* jsonRows(rows: Iterable<ExportedProposal>, verified: boolean): Generator<string> {
  for (const row of rows) {
    const plain = Object.entries(COLUMNS).map(([name, cell]) => [name, cell(row) ?? null]);
    const decision = ({ person, as, reason, at, shown }: RecordedApproval) => ({
      person,
      as,
      reason: reason ?? null,
      at: time(at),
      shown_sha256: shown,
    });
    const {
      approvers,
      approver_entitlements,
      approval_reasons,
      approval_times,
      approval_shown_sha256,
      ...facts
    } = Object.fromEntries(plain) as Record<string, unknown>;
    const json = {
      ...facts,
      approvals: row.approvals.map(decision),
      audit_lines: row.lines,
      audit_verified: verified,
    };
    yield `${jsonLine(json)}\n`;
  }
}

/**
 * A text that somebody wrote, for a spreadsheet: what would be taken for a formula is marked as text, on one line, and
 * nothing in it is unseen.
 */
export function csvSafe(text: string): string {
  const shown = visibleText(text).text.replaceAll('\n', '\\n').replaceAll('\t', '\\t');
  return /^\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]/u.test(text) ? `'${shown}` : shown;
}

function csvLine(cells: readonly string[]): string {
  const quoted = cells.map((cell) =>
    /[",;']|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell,
  );
  return `${quoted.join(',')}\r\n`;
}

function each(
  { approvals }: ExportedProposal,
  of: (approval: RecordedApproval) => string | undefined,
): string {
  return approvals.map((approval) => (of(approval) ?? '').replaceAll(';', ',')).join('; ');
}

function time(at: number): string;
function time(at: number | undefined): string | undefined;
function time(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString();
}
