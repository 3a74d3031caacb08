import { readFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';
import { TALLY_FILE, type TallyLine } from './tally.ts';

const TELL_MS = 30_000;
const COLUMNS = 100;

/** While the fault files run: which file is at which test, and how many faults there were so far. */
export default class Progress implements Reporter {
  readonly #began = performance.now();
  readonly #running = new Map<TestModule, string>();
  readonly #telling = setInterval(() => this.#tell(), TELL_MS);
  #files = 0;
  #ended = 0;

  onTestRunStart(specifications: readonly unknown[]): void {
    this.#files = specifications.length;
  }

  onTestModuleStart(module: TestModule): void {
    this.#running.set(module, 'starting');
  }

  onTestCaseReady({ module, name }: TestCase): void {
    this.#running.set(module, name);
  }

  onTestCaseResult(test: TestCase): void {
    const { state, errors = [] } = test.result();
    const seconds = Math.round((test.diagnostic()?.duration ?? 0) / 1_000);
    this.#say(`${state === 'passed' ? '✓' : state} ${seconds} s  ${fileOf(test.module)}: ${test.name}`);
    for (const { message } of errors) this.#say(`  ${message.split('\n', 1)[0]}`);
  }

  onTestModuleEnd(module: TestModule): void {
    this.#running.delete(module);
    this.#ended += 1;
    this.#say(`${fileOf(module)} has ended; ${this.#ended} of ${this.#files} files have`);
  }

  onTestRunEnd(): void {
    clearInterval(this.#telling);
  }

  #tell(): void {
    this.#say(`${injectedSoFar()} faults so far`);
    for (const [module, name] of this.#running) this.#say(`  now ${fileOf(module)}: ${name}`);
  }

  #say(what: string): void {
    const seconds = Math.round((performance.now() - this.#began) / 1_000);
    const time = `${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, '0')}`;
    process.stdout.write(`${`${time}  ${what}`.slice(0, COLUMNS)}\n`);
  }
}

function fileOf(module: TestModule): string {
  return module.moduleId.replace(/^.*\//, '').replace('.faults.ts', '');
}

function injectedSoFar(): number {
  const file = process.env[TALLY_FILE];
  if (file === undefined) return 0;
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.reduce((sum, line) => sum + ((JSON.parse(line) as TallyLine).injected ?? 0), 0);
}
