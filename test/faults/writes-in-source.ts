import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { WebClient } from '@slack/web-api';

/**
 * Every write to Redis, Slack and the audit's files that stands in the source, found by its name and called as the kill
 * sweep's places begin (fault-points.mjs): what is there and passed by no sweep has been forgotten.
 */

const require = createRequire(import.meta.url);
const ioredisCommands = createRequire(require.resolve('ioredis'))('@ioredis/commands');

const SRC = join(import.meta.dirname, '..', '..', 'src');
const LUA = join(SRC, 'redis', 'lua');

/** What nothing passes in an installation like the sweep's, each with the reason. */
export const NOT_PASSED: Readonly<Record<string, string>> = {
  'slack views.update':
    'turns a page of what is longer than a form, and draws a list or a form anew once the decision is recorded',
  'slack auth.revoke':
    'gives back a token of an installation by link that is not wanted; there are none here',
  'slack oauth.v2.access': 'rotates tokens of workspaces that were installed by link; there are none here',
  'fetch slack/app': 'answers a click from a workspace without a token; all have one here',
  'fetch audit-files/checkpoint-copies':
    'sends copies of checkpoints out of the house; none are asked for here',
  'audit audit-files/checkpoint-copies open': 'the copies’ files, which nothing is read from again',
  'audit audit-files/checkpoint-copies appendFile': 'the copies’ files, which nothing is read from again',
  'audit audit-files/checkpoint-copies sync': 'the copies’ files, which nothing is read from again',
  'redis del redis/once-memory-redis': 'the state of an installation by link, taken when the browser is back',
  'redis script in redis/once-memory-redis': 'deliveries over HTTP; here they come over a socket',
  'redis script in redis/installation-store-redis': 'tokens of workspaces that were installed by link',
  'redis script in redis/held-by-replicas': 'the fence before WAIT; here there are no replicas',
};

/** The sandbox and the demo are no part of what is in production. */
export function writesInSource(): string[] {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !/^(sandbox|demo)\//.test(path))
    .flatMap((path) => writesIn(path.slice(0, -'.ts'.length), readFileSync(join(SRC, path), 'utf8')));
  return [...new Set([...files, ...scriptsThatWrite()])].sort();
}

/** @param module below `src`, as `redis/connection`. */
export function writesIn(module: string, source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const [text, scripts] = withoutScripts(code);
  return [
    ...slackCalls(text),
    ...found(text, /(?<![.\w#])(respond)\(/g).map(() => 'slack response_url'),
    ...found(text, /(?:await|return|=|=>|\() *(fetch)\(/g).map(() => `fetch ${module}`),
    ...(/'ioredis'|\bRedisClient\b/.test(text) ? plainCommands(module, text) : []),
    ...(scripts > 0 && module.startsWith('redis/') ? [`redis script in ${module}`] : []),
    ...(module.startsWith('audit-files/') ? fileWrites(module, text) : []),
  ];
}

/** Lua that stands in the code itself. */
function withoutScripts(code: string): [text: string, scripts: number] {
  const inline = /`#!lua[^`]*`|"#!lua[^"]*"|'#!lua[^']*'/g;
  // What src/redis/scripts.ts puts together from the files of lua/ is found there.
  const whole = [...code.matchAll(inline)].filter(([script]) => /redis\.call/.test(script));
  return [code.replace(inline, "''"), whole.length];
}

const SLACK_CALL = new RegExp(
  `\\b(${methodsOf(new WebClient())
    .map((method) => method.replaceAll('.', '\\s*\\.\\s*'))
    .join('|')})\\s*\\(`,
  'g',
);

function slackCalls(text: string): string[] {
  return [...found(text, SLACK_CALL), ...found(text, /\.apiCall\(\s*['"`]([\w.]+)/g)].map(
    (method) => `slack ${method.replace(/\s/g, '')}`,
  );
}

/** All that the SDK knows. */
function methodsOf(branch: object, path = ''): string[] {
  return Object.entries(branch).flatMap(([name, value]: [string, unknown]) => {
    if (typeof value === 'function' && path !== '') return [`${path}${name}`];
    // What belongs to the client itself is held in classes.
    const isBranch =
      typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
    return isBranch ? methodsOf(value, `${path}${name}.`) : [];
  });
}

const COLLECTIONS = [Map, Set, Array, URLSearchParams, Headers].flatMap(({ prototype }) =>
  Object.getOwnPropertyNames(prototype),
);
/** What a name of something that commands are sent to ends in. */
const RECEIVER = /(?:redis|node|connection|subscriber|client|master|replica|multi\(\)|pipeline\(\))[!?]?$/i;

const COMMANDS: readonly string[] = ioredisCommands.list;
const WRITES = COMMANDS.filter((name) => name === 'publish' || ioredisCommands.hasFlag(name, 'write'));

function plainCommands(module: string, text: string): string[] {
  const called = new RegExp(`([\\w#.?!()\\]]*)\\s*\\.(${WRITES.join('|')})(?:Buffer)?\\s*\\(`, 'gi');
  const named = [...text.matchAll(called)].flatMap(([, receiver = '', name = '']) =>
    COLLECTIONS.includes(name) && !RECEIVER.test(receiver) ? [] : [name.toLowerCase()],
  );
  const sent = found(text, /\.call(?:Buffer)?\(\s*['"`](\w+)/g)
    .map((name) => name.toLowerCase())
    .filter((name) => WRITES.includes(name) || !COMMANDS.includes(name));
  return [...named, ...sent].map((name) => `redis ${name} ${module}`);
}

const ON_A_PATH =
  'appendFile|copyFile|chmod|link|mkdir|mkdtemp|open|rename|rm|rmdir|symlink|truncate|unlink|utimes|writeFile';
const ON_A_FILE = 'appendFile|chmod|datasync|sync|truncate|utimes|write|writeFile|writev';

/** What is opened to be read is none. */
function fileWrites(module: string, text: string): string[] {
  if (!/from 'node:fs/.test(text)) return [];
  const onPaths = new RegExp(`(?<![.\\w#])((?:${ON_A_PATH}|createWriteStream)(?:Sync)?)\\(([^;]*)`, 'g');
  const opening = [...text.matchAll(onPaths)].filter(
    ([, name, rest = '']) => !/^open/.test(name ?? '') || isCreating(rest, text),
  );
  return [...opening.map(([, name]) => name), ...found(text, new RegExp(`\\.(${ON_A_FILE})\\(`, 'g'))].map(
    (name) => `audit ${module} ${name}`,
  );
}

/** As `open` is told: by a flag, or by a name that stands for several. */
function isCreating(given: string, text: string): boolean {
  const [call = ''] = given.split('\n');
  const names = found(call, /\b([A-Z_]{3,})\b/g);
  const meant = names.map((name) => new RegExp(`const ${name} = ([^;]*)`).exec(text)?.[1] ?? '').join(' ');
  return /O_CREAT|'[wa]/.test(`${call} ${meant}`);
}

/** All but those that are a part of others, and those that only read. */
function scriptsThatWrite(): string[] {
  const source = readFileSync(join(LUA, '..', 'scripts.ts'), 'utf8');
  const ran = [...source.matchAll(/: \w*[sS]cript\('([\w-]+)'(?:, '([\w-]+)')?\)/g)];
  const reading = new Set(ran.flatMap(([, name, flags]) => (flags === 'no-writes' ? [name] : [])));
  const parts = [...source.matchAll(/textOf\('([\w-]+)'\)/g)].map(([, name]) => name);
  const files = readdirSync(LUA).map((file) => basename(file, '.lua'));
  return files
    .filter((name) => !reading.has(name) && !parts.includes(name))
    .map((name) => `redis script ${name}`);
}

function found(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].flatMap(([, name]) => name ?? []);
}
