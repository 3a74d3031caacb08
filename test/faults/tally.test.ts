import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AT_LEAST, faultTable } from './fault-table.ts';
import { tally } from './tally.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'countersign-tally-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** What the fault files said, as the script sees it. */
function said(say: (of: (fault: string) => ReturnType<typeof tally>) => void): string {
  const file = join(directory, 'tally.jsonl');
  say((fault) => tally(fault, file));
  return readFileSync(file, 'utf8');
}

describe('the table of faults', () => {
  it('sums what was said of a fault, and is content where nothing was lost, doubled or stuck', () => {
    const { table, problems } = faultTable(
      said((of) => {
        of('killed').injected();
        of('killed').injected(AT_LEAST);
        of('killed').audit(true);
        of('killed').audit(true);
        of('refuses to start').injected(3);
      }),
    );
    expect(problems).toEqual([]);
    expect(table).toMatch(/^killed +1001 +0 +0 +0 +yes \(2\)$/m);
    expect(table).toMatch(/^refuses to start +3 +0 +0 +0 +-$/m);
    expect(table).toMatch(/^all 2 +1004 /m);
  });

  it('fits a terminal of a hundred columns, whatever the faults are called', () => {
    const name = 'every connection between the executor and Redis goes silent, new ones too';
    const text = said((of) => {
      of(name).injected(1_234_567);
      for (let i = 0; i < 1_000; i += 1) of(name).audit(i > 500);
      of('killed').injected();
    });
    const lines = faultTable(text).table.split('\n');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    const words = lines.slice(4, 6).map((line) => line.replace(/ [0-9]{7} .*/, '').trim());
    expect(words.join(' ')).toBe(name);
  });

  it.each<[string, (one: ReturnType<typeof tally>) => void]>([
    ['acknowledged decisions lost: 2', (one) => one.lost(2)],
    ['executions doubled: 1', (one) => one.doubled(1)],
    ['stuck: 3', (one) => one.stuck(3)],
    ['the audit did not verify: 1 times', (one) => one.audit(false)],
  ])('does not pass with: %s', (problem, happen) => {
    const text = said((of) => {
      of('killed').injected(AT_LEAST);
      happen(of('killed'));
    });
    expect(faultTable(text).problems).toEqual([`killed: ${problem}`]);
  });

  it('does not pass where too little was tried, or a row tried nothing', () => {
    const text = said((of) => {
      of('killed').injected(AT_LEAST - 1);
      of('idle').audit(true);
    });
    expect(faultTable(text).problems).toEqual([
      'idle: was never injected',
      `only ${AT_LEAST - 1} faults were injected, of at least ${AT_LEAST}`,
    ]);
    expect(faultTable('', { whole: false }).problems).toHaveLength(1);
  });
});
