#!/usr/bin/env node
// src → dist: the compiler, and the files that it does not copy.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
/** What dist was built from; written last, so a build that was interrupted counts as none. */
const stamp = join(dist, '.built-from');

export function isBuilt() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === sourcesDigest();
}

/** @returns {boolean} whether it worked; what went wrong has been printed. */
export function build() {
  const digest = sourcesDigest();
  rmSync(dist, { recursive: true, force: true });
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const compiled = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (compiled.error) {
    console.error(`The TypeScript compiler could not be started: ${compiled.error.message}. Type: npm ci`);
    return false;
  }
  if (compiled.status !== 0) {
    console.error('The sources do not compile: see the lines above.');
    return false;
  }
  for (const path of filesUnder(join(root, 'src'))) {
    if (/\.tsx?$/.test(path)) continue;
    cpSync(path, join(dist, relative(join(root, 'src'), path)));
  }
  const cli = join(dist, 'cli.js');
  if (existsSync(cli)) chmodSync(cli, 0o755);
  writeFileSync(stamp, digest);
  return true;
}

// Contents, not times: git gives every file of a fresh clone the time of the clone, and a deleted source has no time.
function sourcesDigest() {
  const hash = createHash('sha256');
  const settings = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.mjs'];
  for (const path of [...settings.map((name) => join(root, name)), ...filesUnder(join(root, 'src'))]) {
    const content = readFileSync(path);
    hash.update(`${relative(root, path)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

function filesUnder(directory) {
  return readdirSync(directory, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return filesUnder(path);
      return entry.isFile() && !entry.name.startsWith('.') ? [path] : [];
    });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const done = process.argv.includes('--if-needed') && isBuilt();
  process.exit(done || build() ? 0 : 1);
}
