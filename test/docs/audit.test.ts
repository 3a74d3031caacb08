import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { csvRows } from '../../src/audit-files/export-rows.ts';
import { TROUBLES } from '../../src/audit-files/verify-finding.ts';
import { verifyLines } from '../../src/audit-files/verify-report.ts';

const page = readFileSync(new URL('../../docs/audit.md', import.meta.url), 'utf8');
/** The rows of the table under this heading. */
const table = (heading: string) => {
  const [, after = ''] = page.split(heading);
  const [rows = ''] = after.split('\n\n');
  return rows
    .split('\n')
    .slice(1)
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
};

it('docs/audit.md tells every exit code and no other', () => {
  const told = table('| exit code |').map(([code, word]) => [Number(code), word]);
  const ours = Object.entries(TROUBLES).map(([word, { exitCode }]) => [exitCode, word]);
  expect(told).toEqual([[0, 'intact'], [2, ''], ...ours.sort((a, b) => Number(a[0]) - Number(b[0]))]);
});

it('docs/audit.md tells every column of an export, in its order', () => {
  const told = table('| column |').flatMap(([names = '']) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name]) => name),
  );
  const [header = ''] = csvRows([], true);
  expect(told).toEqual(header.trim().split(','));
});

it('docs/audit.md names the worst first, as the verifier does', () => {
  const [, said = ''] = /worst, in this order: ([^.]+)\./.exec(page) ?? [];
  expect(said.replaceAll('\n', ' ').split(', ')).toEqual(
    Object.keys(TROUBLES).map((word) => word.replace('_', ' ')),
  );
});

it('docs/audit.md shows what the verifier prints', () => {
  const chain = {
    chain: 'acme',
    directory: 'acme',
    verdict: 'intact' as const,
    finding: undefined,
    lines: 48_211,
    entries: 48_211,
    signed: { count: 48_211, at: Date.UTC(2026, 2, 1, 9, 14, 2, 913) },
    gaps: [],
    gapCount: 0,
    notEntries: 0,
    torn: 0,
    kept: 1,
    strays: [],
  };
  const report = {
    verdict: 'intact' as const,
    exitCode: 0,
    directory: '',
    chains: [chain],
    findings: [],
    remarks: [],
  };
  for (const line of verifyLines(report, { compared: true })) {
    expect(page.replaceAll(/ {2,}/g, '  ')).toContain(line.replaceAll(/ {2,}/g, '  '));
  }
});
