import type { TallyLine } from './tally.ts';

/** Of a run of every file: fewer would prove little. */
export const AT_LEAST = 1_000;

const COUNTS = ['injected', 'lost', 'doubled', 'stuck'] as const;
const HEAD = [
  'fault',
  'times injected',
  'acknowledged decisions lost',
  'executions doubled',
  'stuck',
  'audit verified',
];

type Row = { fault: string; verified: number; unverified: number } & Record<(typeof COUNTS)[number], number>;

export interface FaultTable {
  readonly table: string;
  /** What is not as promised, in words. */
  readonly problems: readonly string[];
}

/** Sums what the fault files said (tally.ts), one JSON object a line. `whole`: every file ran. */
export function faultTable(text: string, { whole = true } = {}): FaultTable {
  const rows = new Map<string, Row>();
  for (const line of text.split('\n').filter(Boolean)) add(rows, JSON.parse(line) as TallyLine);
  const sorted = [...rows.values()].sort((a, b) => a.fault.localeCompare(b.fault));
  const total = sorted.reduce(sum, empty(`all ${sorted.length}`));
  return { table: drawn(sorted, total), problems: problemsOf(sorted, total, whole) };
}

function empty(fault: string): Row {
  return { fault, injected: 0, lost: 0, doubled: 0, stuck: 0, verified: 0, unverified: 0 };
}

function add(rows: Map<string, Row>, line: TallyLine): void {
  const row = rows.get(line.fault) ?? empty(line.fault);
  const { audit, ...counts } = line;
  const one = {
    ...empty(line.fault),
    ...counts,
    verified: +(audit === true),
    unverified: +(audit === false),
  };
  rows.set(line.fault, sum(row, one));
}

function sum(row: Row, more: Row): Row {
  const { fault } = row;
  const added = { verified: row.verified + more.verified, unverified: row.unverified + more.unverified };
  const [injected, lost, doubled, stuck] = COUNTS.map((count) => row[count] + more[count]) as [
    number,
    number,
    number,
    number,
  ];
  return { fault, injected, lost, doubled, stuck, ...added };
}

function problemsOf(rows: readonly Row[], total: Row, whole: boolean): string[] {
  const problems = rows.flatMap(({ fault, injected, lost, doubled, stuck, unverified }) => [
    ...(injected === 0 ? [`${fault}: was never injected`] : []),
    ...(lost > 0 ? [`${fault}: acknowledged decisions lost: ${lost}`] : []),
    ...(doubled > 0 ? [`${fault}: executions doubled: ${doubled}`] : []),
    ...(stuck > 0 ? [`${fault}: stuck: ${stuck}`] : []),
    ...(unverified > 0 ? [`${fault}: the audit did not verify: ${unverified} times`] : []),
  ]);
  const atLeast = whole ? AT_LEAST : 1;
  if (total.injected < atLeast) {
    problems.push(`only ${total.injected} faults were injected, of at least ${atLeast}`);
  }
  return problems;
}

function drawn(rows: readonly Row[], total: Row): string {
  const cells = [...rows, total].map(cellsOf);
  const widths = HEAD.map((head, column) =>
    Math.max(head.length, ...cells.map((row) => (row[column] ?? '').length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ');
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  const [all, ...others] = cells.map(line).reverse();
  return [line(HEAD), rule, ...others.reverse(), rule, all].join('\n');
}

function cellsOf({ fault, injected, lost, doubled, stuck, verified, unverified }: Row): string[] {
  const checked = verified + unverified;
  // Some faults leave no audit to look at: an installation that refuses to start.
  const audit =
    checked === 0 ? '-' : unverified === 0 ? `yes (${checked})` : `NO (${unverified} of ${checked})`;
  return [fault, ...[injected, lost, doubled, stuck].map(String), audit];
}
