import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Starts one of our own programs as a process of its own: compiled beside compiled code, and from the sources through
 * tsx (a development dependency) where this runs from the sources, as in the tests.
 * @param program without its ending, beside `src` or `dist`: `cli`, `sandbox/help-desk/help-desk-process`.
 */
export function spawnProgram(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const fromSources = import.meta.url.endsWith('.ts');
  const file = fileURLToPath(new URL(`../${program}.${fromSources ? 'ts' : 'js'}`, import.meta.url));
  const loader = fromSources ? ['--import', 'tsx'] : [];
  return spawn(process.execPath, [...loader, file, ...args], { cwd: PACKAGE, ...options });
}
