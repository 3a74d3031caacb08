import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** Compiles where the sources have changed since. */
export default function buildOnce(): void {
  const build = join(import.meta.dirname, '..', 'scripts', 'build.mjs');
  const { status } = spawnSync(process.execPath, [build, '--if-needed'], { stdio: 'inherit' });
  if (status !== 0) throw new Error('the sources do not compile: see above');
}
