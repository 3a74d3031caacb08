import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MUTANTS, type Mutant } from './mutants.ts';
import { tally } from './tally.ts';

/**
 * A suite that is green on broken guards is worth nothing: each guard is broken once in a copy of the tree, and the
 * tests that are there for it have to go red, in an assertion of their own.
 */

const ROOT = join(import.meta.dirname, '..', '..');
const CONFIG = `export default {
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    bail: 1,
    expect: { poll: { timeout: 10_000, interval: 25 } },
  },
};
`;

let copy: string;
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'countersign-mutants-'));
  for (const path of ['src', 'test', 'package.json', 'tsconfig.json']) {
    cpSync(join(ROOT, path), join(copy, path), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  writeFileSync(join(copy, 'vitest.mutants.config.ts'), CONFIG);
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

describe('the unbroken copy', () => {
  it.each([...filesChecked()])('is green in what is asked of %s', async (file, titles) => {
    const { passed, failed, said } = await check(file, titles.join('|'));
    expect(failed, said).toEqual([]);
    expect(passed, said).toBeGreaterThanOrEqual(titles.length);
  });
});

describe('a broken build is caught', () => {
  it('there are enough of them', () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(10);
  });

  it.each(MUTANTS.map((mutant) => [mutant.breaks, mutant] as const))('%s', async (breaks, mutant) => {
    const restore = breakLine(mutant);
    try {
      const { failed, said } = await check(...mutant.checks);
      const row = tally('a guard broken by one line (stuck: not caught)');
      row.injected();
      row.stuck(failed.length === 0 ? 1 : 0);
      expect(failed.length, `nothing went red although ${breaks}\n${said}`).toBeGreaterThan(0);
      // Red for what the line guards, and not because the broken line cannot even be read.
      expect(failed.join('\n')).not.toMatch(
        /compiling script|Script attempted|user_script|Transform failed|SyntaxError|ReferenceError|no-such-file/,
      );
    } finally {
      restore();
    }
  });
});

/** Several lines are guarded by the same test. */
function filesChecked(): Map<string, string[]> {
  const titles = new Map<string, string[]>();
  for (const {
    checks: [file, title],
  } of MUTANTS) {
    titles.set(file, [...new Set([...(titles.get(file) ?? []), title])]);
  }
  return titles;
}

/** @throws Error where the line does not stand there exactly once: the product has moved on, and the list must follow. */
function breakLine({ file, line, becomes }: Mutant): () => void {
  const path = join(copy, file);
  const whole = readFileSync(path, 'utf8');
  const found = whole.split(line).length - 1;
  if (found !== 1) throw new Error(`${file} has this ${found} times, not once: ${line}`);
  writeFileSync(
    path,
    whole.replace(line, () => becomes),
  );
  return () => writeFileSync(path, whole);
}

interface Checked {
  readonly passed: number;
  /** What each failed test said. */
  readonly failed: readonly string[];
  readonly said: string;
}

async function check(file: string, titles: string): Promise<Checked> {
  const report = join(copy, 'report.json');
  rmSync(report, { force: true });
  const vitest = spawn(
    process.execPath,
    [
      join(copy, 'node_modules', 'vitest/vitest.mjs'),
      'run',
      file,
      ...['--root', copy, '--config', 'vitest.mutants.config.ts'],
      ...['--testNamePattern', titles],
      ...['--reporter', 'json', '--outputFile', report],
    ],
    { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const output: Buffer[] = [];
  vitest.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  vitest.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  await once(vitest, 'close');
  const said = Buffer.concat(output).toString();
  const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as Report;
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    failed: tests.filter(({ status }) => status === 'failed').map((test) => test.failureMessages.join('\n')),
    said,
  };
}

interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly status: 'passed' | 'failed' | 'skipped';
      readonly failureMessages: readonly string[];
    }[];
  }[];
}
