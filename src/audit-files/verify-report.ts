import { join } from 'node:path';
import { brief, visibleText } from '../core/tool/visible-text.ts';
import type { AuditReport, ChainReport } from './verify.ts';
import type { DeclaredGap } from './verify-chain.ts';
import { type AuditVerdict, type Finding, TROUBLES } from './verify-finding.ts';

/** For people: what is wrong first, then one line a chain, then the verdict. */
export function verifyLines(report: AuditReport, { compared }: { compared: boolean }): string[] {
  const bad = report.chains.filter(({ verdict }) => verdict !== 'intact');
  return [
    ...bad.flatMap((chain) => [...aboutChain(chain), '']),
    ...report.findings.flatMap((finding) => [...aboutFinding(finding), '']),
    ...report.remarks.map((remark) => `Note: ${remark}.`),
    ...report.chains.flatMap(remarksOf),
    ...table(report.chains),
    ...lastWord(report, compared),
  ];
}

function aboutChain(chain: ChainReport): string[] {
  const { finding } = chain;
  return [
    `${brief(chain.chain)}: ${WORDS[chain.verdict]}`,
    ...(finding === undefined ? [] : whereAndWhat(chain, finding)),
    ...gapLines(chain),
    ...meaning(chain.verdict, finding),
  ];
}

function aboutFinding(finding: Finding): string[] {
  return [`${place(finding)}${finding.says}.`, ...meaning(finding.trouble, finding)];
}

function whereAndWhat(chain: ChainReport, finding: Finding): string[] {
  return [...firstBad(chain, finding), `  ${place(finding, chain.directory)}${finding.says}.`];
}

function firstBad({ verdict }: ChainReport, { n, through = n, entry }: Finding): string[] {
  if (n === undefined) return [];
  const several = through !== undefined && through > n;
  const range = several ? `lines ${n} to ${through}` : `line ${n}`;
  const about = [
    entry?.seq === undefined ? undefined : `entry ${entry.seq}`,
    entry?.kind,
    entry?.proposal,
  ].filter((part) => part !== undefined);
  const told = about.length === 0 ? '' : ` (${about.map(brief).join(', ')})`;
  switch (verdict) {
    case 'missing':
    case 'truncated':
    case 'rolled_back':
      return [`  Not here: ${range} of the chain${told}.`];
    case 'unverifiable':
      return [`  Not vouched for: ${range} of the chain${told}.`];
    default:
      return [
        several
          ? `  The first bad one is among ${range} of the chain; line ${n} is${told || ' the first of them'}.`
          : `  The first bad one is ${range} of the chain${told}.`,
      ];
  }
}

function place({ file, line }: Finding, directory = ''): string {
  if (file === undefined) return directory === '' ? '' : `${visibleText(directory).text}: `;
  const path = visibleText(join(directory, file)).text;
  return line === undefined ? `${path}: ` : `${path}, line ${line}: `;
}

function gapLines({ gaps, gapCount }: ChainReport): string[] {
  const more = gapCount - gaps.length;
  return [...gaps.map(gapLine), ...(more > 0 ? [`  And ${more} more gaps that the sealer noted.`] : [])];
}

function gapLine({ n, expected, found }: DeclaredGap): string {
  if (found < expected) {
    return `  Line ${n}, a note of the sealer: entry ${expected} was due and entry ${found} came. The count began anew: Redis was emptied, restored or replaced.`;
  }
  const gone = found - expected === 1 ? `entry ${expected}` : `entries ${expected} to ${found - 1}`;
  return `  Line ${n}, a note of the sealer: ${gone} had gone from Redis before it came to seal them.`;
}

function meaning(verdict: AuditVerdict, finding: Finding | undefined): string[] {
  if (verdict === 'intact') return [];
  const { means, doThis } = TROUBLES[verdict];
  return [`  What it means: ${means}`, `  What to do: ${finding?.doThis ?? doThis}`];
}

function remarksOf({ chain, strays, notEntries, torn }: ChainReport): string[] {
  const name = brief(chain);
  return [
    ...(strays.length === 0
      ? []
      : [`Note: ${name} holds what the sealer did not put there, not looked at: ${some(strays)}.`]),
    ...(notEntries === 0
      ? []
      : [
          `Note: ${name} tells of ${notEntries} ${notEntries === 1 ? 'thing' : 'things'} in Redis's stream that Countersign did not write: somebody else writes there.`,
        ]),
    ...(torn === 0
      ? []
      : [`Note: in ${name}, a sealer was stopped in the middle of a checkpoint, and another went on.`]),
  ];
}

function table(chains: readonly ChainReport[]): string[] {
  const rows = chains.map((chain) => [
    brief(chain.chain),
    WORDS[chain.verdict],
    chain.finding === undefined
      ? `${counted(chain.entries)} ${chain.entries === 1 ? 'entry' : 'entries'}`
      : `good up to line ${chain.lines}`,
    chain.signed === undefined
      ? 'nothing signed so far'
      : `signed up to line ${chain.signed.count} of ${chain.lines}, ${new Date(chain.signed.at).toISOString()}`,
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
}

function lastWord({ verdict, exitCode, chains }: AuditReport, compared: boolean): string[] {
  if (verdict !== 'intact') return [`The audit does NOT verify: ${WORDS[verdict]} (exit code ${exitCode}).`];
  const uncompared = chains.filter(({ kept }) => kept === 0).map(({ chain }) => brief(chain));
  const hint = compared
    ? `It was not compared with a checkpoint kept elsewhere: ${some(uncompared)}.`
    : 'Whether all of it was put back to an older state, only a checkpoint that was kept elsewhere can tell: --checkpoint FILE.';
  return ['The audit is intact.', ...(uncompared.length === 0 ? [] : [hint])];
}

const WORDS: Readonly<Record<AuditVerdict, string>> = {
  intact: 'intact',
  altered: 'ALTERED',
  missing: 'MISSING',
  reordered: 'REORDERED',
  truncated: 'TRUNCATED',
  forked: 'FORKED',
  rolled_back: 'ROLLED BACK',
  unverifiable: 'UNVERIFIABLE',
};

function some(names: readonly string[]): string {
  const shown = names.slice(0, 5).map(brief).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

function counted(number: number): string {
  return number.toLocaleString('en-US');
}
