import type { TallyLine } from './tally.ts';

/** Of a run of every file: fewer would prove little. */
export const AT_LEAST = 1_000;

const COUNTS = ['injected', 'lost', 'doubled', 'stuck'] as const;
/** Of a terminal. */
const COLUMNS = 100;
const BETWEEN = '  ';
/** Each in the lines that it is written in. */
const HEAD = [
  ['fault'],
  ['times', 'injected'],
  ['acknowledged', 'decisions', 'lost'],
  ['executions', 'doubled'],
  ['stuck'],
  ['audit', 'verified'],
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
  const counted = [...rows, total].map(cellsOf);
  const widths = HEAD.map((head, column) =>
    Math.max(...[...head, ...counted.map((row) => row[column] ?? '')].map(({ length }) => length)),
  );
  const others = widths.slice(1).reduce((all, width) => all + BETWEEN.length + width, 0);
  widths[0] = Math.min(widths[0] ?? 0, COLUMNS - others);
  const line = (cells: readonly string[]) =>
    widths
      .map((width, column) =>
        column === 0 ? (cells[0] ?? '').padEnd(width) : (cells[column] ?? '').padStart(width),
      )
      .join(BETWEEN)
      .trimEnd();
  const [nameWidth = 0] = widths;
  const row = ([name = '', ...counts]: readonly string[]) =>
    wrapped(name, nameWidth).map((part, i) => line(i === 0 ? [part, ...counts] : [part]));
  const height = Math.max(...HEAD.map(({ length }) => length));
  const head = Array.from({ length: height }, (_, i) => line(HEAD.map((lines) => lines[i] ?? '')));
  const rule = widths.map((width) => '-'.repeat(width)).join(BETWEEN);
  return [...head, rule, ...counted.slice(0, -1).flatMap(row), rule, ...row(counted.at(-1) ?? [])].join('\n');
}

/** In lines of so many characters; those after the first are set in. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(last === undefined ? word : `  ${word}`);
  }
  return lines;
}

function cellsOf({ fault, injected, lost, doubled, stuck, verified, unverified }: Row): string[] {
  const checked = verified + unverified;
  // Some faults leave no audit to look at: an installation that refuses to start.
  const audit =
    checked === 0 ? '-' : unverified === 0 ? `yes (${checked})` : `NO (${unverified} of ${checked})`;
  return [fault, ...[injected, lost, doubled, stuck].map(String), audit];
}
