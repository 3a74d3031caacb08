#!/usr/bin/env node
// Gets a fresh clone on a fresh machine ready for `npm run demo`, `npm start` and `npm test`. Runs before there is a
// node_modules, so it imports nothing but Node; says what it does, and nothing where there is nothing to do.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, isBuilt, root } from './build.mjs';

const OLDEST_NODE = [20, 19];

class SetupFailed extends Error {}

/**
 * Everything but the build.
 * @param {'demo' | 'start' | 'test' | 'faults'} purpose
 * @returns {boolean} whether all is there; what is missing, and how to get it, has been printed.
 */
export function install(purpose) {
  try {
    checkNode();
    installDependencies();
    if (purpose !== 'start') ensureProgram(REDIS);
    if (purpose === 'test') ensureProgram(CHROMIUM);
    return true;
  } catch (error) {
    if (!(error instanceof SetupFailed)) throw error;
    console.error(`\n${error.message}`);
    return false;
  }
}

/** @returns {boolean} whether dist is what the sources say; what does not compile has been printed. */
export function buildWhereNeeded() {
  if (isBuilt()) return true;
  say('building (scripts/build.mjs) …');
  return build();
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  throw new SetupFailed(
    `Countersign needs Node ${OLDEST_NODE.join('.')} or newer; this is ${process.versions.node} (${process.execPath}).\n` +
      'Get a newer one from https://nodejs.org, or with your version manager: nvm install 22',
  );
}

function installDependencies() {
  if (dependenciesAreInstalled()) return;
  say('installing dependencies (npm ci) …');
  const arguments_ = ['ci', '--include=dev', '--no-audit', '--no-fund'];
  // npm tells its scripts where it is itself; another package manager tells where that one is.
  const npm = process.env.npm_execpath;
  const done =
    npm && /^npm(-cli)?\.c?js$/.test(basename(npm))
      ? runQuietly(process.execPath, [npm, ...arguments_])
      : runQuietly('npm', arguments_);
  if (done.ok) return;
  throw new SetupFailed(
    `${done.output}\nThe dependencies could not be installed. What npm said is above. To try by hand, type: npm ci`,
  );
}

/**
 * npm writes node_modules/.package-lock.json as the last step of an installation, so it is the stamp: what it lists is
 * there. Optional packages are the binaries of other platforms, mostly.
 */
function dependenciesAreInstalled() {
  const wanted = readLock(join(root, 'package-lock.json'));
  if (!wanted) throw new SetupFailed('package-lock.json is missing or broken: this is not a complete clone.');
  const installed = readLock(join(root, 'node_modules', '.package-lock.json'));
  if (!installed) return false;
  return Object.entries(wanted).every(
    ([path, entry]) =>
      path === '' ||
      entry.optional ||
      (installed[path]?.version === entry.version && installed[path]?.integrity === entry.integrity),
  );
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

// The package names are tried in this order: distributions differ in which of the two servers they carry.
const REDIS = {
  what: 'a Redis server (redis-server or valkey-server)',
  commands: ['redis-server', 'valkey-server'],
  elsewhere: [],
  packages: {
    'apt-get': ['redis-server', 'valkey-server'],
    dnf: ['valkey', 'redis'],
    apk: ['redis', 'valkey'],
    pacman: ['valkey'],
    zypper: ['redis', 'valkey'],
    brew: ['redis'],
  },
};

const CHROMIUM = {
  what: 'Chromium, for the tests of the demo’s web page',
  commands: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
  elsewhere: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
  ],
  packages: {
    'apt-get': ['chromium chromium-sandbox fonts-liberation', 'chromium-browser'],
    dnf: ['chromium'],
    apk: ['chromium'],
    pacman: ['chromium'],
    zypper: ['chromium'],
    brew: ['--cask google-chrome'],
  },
};

const INSTALL_COMMANDS = {
  'apt-get': 'apt-get install -y --no-install-recommends',
  dnf: 'dnf install -y',
  apk: 'apk add',
  pacman: 'pacman -S --noconfirm',
  zypper: 'zypper --non-interactive install',
  brew: 'brew install',
};

function ensureProgram(program) {
  if (isInstalled(program)) return;
  const packager = Object.keys(INSTALL_COMMANDS).find((name) => findOnPath(name));
  if (!packager) {
    throw new SetupFailed(
      `Missing: ${program.what}. This machine has no package manager that we know; install it so that ` +
        `one of these is on the PATH: ${program.commands.join(', ')}.`,
    );
  }
  const becomeRoot = packager === 'brew' || process.getuid?.() === 0 ? [] : ['sudo'];
  const lines = program.packages[packager].map((name) => [
    ...becomeRoot,
    ...INSTALL_COMMANDS[packager].split(' '),
    ...name.split(' '),
  ]);
  const byHand = `Install it by hand, then try again. Type: ${(lines[0] ?? []).join(' ')}`;
  if (becomeRoot.length > 0 && !runQuietly('sudo', ['-n', 'true']).ok) {
    throw new SetupFailed(
      `Missing: ${program.what}. Installing it needs root, which this account does not have without a password.\n${byHand}`,
    );
  }
  let output = '';
  if (packager === 'apt-get') {
    say('reading the list of packages (apt-get update) …');
    output += runAsInstaller([...becomeRoot, 'apt-get', 'update', '-qq']).output;
  }
  for (const line of lines) {
    say(`installing ${program.what}: ${line.join(' ')} …`);
    output += runAsInstaller(line).output;
    if (isInstalled(program)) return;
  }
  throw new SetupFailed(
    `${output}\n${program.what} could not be installed. What ${packager} said is above.\n${byHand}`,
  );
}

function runAsInstaller(line) {
  const settings = ['DEBIAN_FRONTEND=noninteractive', 'HOMEBREW_NO_AUTO_UPDATE=1'];
  // sudo does not hand our environment on; env behind it does. Another installation may hold Debian's lock a while.
  const withLock = line.flatMap((word) =>
    word === 'apt-get' ? [word, '-o', 'DPkg::Lock::Timeout=120'] : [word],
  );
  return withLock[0] === 'sudo'
    ? runQuietly('sudo', ['-n', 'env', ...settings, ...withLock.slice(1)])
    : runQuietly('env', [...settings, ...withLock]);
}

const isInstalled = (program) =>
  program.commands.some((name) => findOnPath(name)) || program.elsewhere.some((path) => existsSync(path));

// Where package managers put programs without telling every PATH of it. src/sandbox/embedded-redis.ts looks there too.
const COMMON_DIRECTORIES = [
  '/usr/local/bin',
  '/usr/bin',
  '/usr/local/sbin',
  '/usr/sbin',
  '/opt/homebrew/bin',
  '/opt/homebrew/opt/redis/bin',
  '/opt/homebrew/opt/valkey/bin',
  '/usr/local/opt/redis/bin',
  '/opt/local/bin',
];

function findOnPath(name) {
  const directories = [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...COMMON_DIRECTORIES];
  return directories
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    });
}

/** Its output is for the case of failure alone. */
function runQuietly(command, arguments_) {
  const run = spawnSync(command, arguments_, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 << 20,
  });
  const output = `${run.stdout ?? ''}${run.stderr ?? ''}${run.error ? `${run.error.message}\n` : ''}`;
  return { ok: run.status === 0, output };
}

function say(line) {
  console.log(`• ${line}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const purpose = process.argv[3];
  if (process.argv[2] !== '--for' || !['demo', 'start', 'test'].includes(purpose ?? '')) {
    console.error('Usage: node scripts/setup.mjs --for demo|start|test');
    process.exit(2);
  }
  process.exit(install(purpose) && buildWhereNeeded() ? 0 : 1);
}
