// Preloaded into a part (`node --import`) by the kill sweep, and by nothing else. It stands around whatever the part
// writes to Redis, Slack, the audit's files and the tool, tells of each place that is passed, and kills or freezes the
// process at the one that it was told: before the write, or once the reply is there and nothing of ours has seen it.
// It knows no list of places: a write that is new is a place that is new.
import { createHash } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import fsPromises, { mkdir, open, rename, rm } from 'node:fs/promises';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';

/** `ahead`: what the part is going to import; it is imported before the part is told to begin. */
/** @type {{ part: string, log: string, lua: string, root: string, audit: string, api: string, ahead: string[] }} */
const settings = JSON.parse(process.env.FAULT_POINTS);
delete process.env.FAULT_POINTS;
/** @typedef {{ id: number, what: string, when: 'before' | 'after', nth: number, signal: 'SIGKILL' | 'SIGSTOP' }} Armed */

const require = createRequire(join(settings.root, 'package.json'));
const built = `${dirname(dirname(settings.lua))}/`;
/** More passes of one place than this are no new places. */
const MOST_LISTED = 3;

/** @type {Map<string, number>} */
const passed = new Map();
/** @type {(Armed & { left: number })[]} Whichever comes first: then the others are gone. */
let armed = [];

let begin = () => {};
const begun = new Promise((resolve) => {
  begin = () => resolve(undefined);
});
process.on('message', (message) => {
  if (message === null || typeof message !== 'object') return;
  if ('begin' in message) {
    arm(message.begin.armed);
    begin();
  }
  if ('arm' in message) arm(message.arm);
  if ('disarm' in message) {
    arm([]);
    say({ disarmed: message.disarm });
  }
});

/** @param {Armed[]} wishes */
function arm(wishes) {
  armed = wishes.map((wish) => ({ ...wish, left: wish.nth }));
}

/** Every pass of every place comes through here. Does not return where the process ends here. */
function pass(what, when) {
  if (when === 'before') {
    const times = (passed.get(what) ?? 0) + 1;
    passed.set(what, times);
    if (times <= MOST_LISTED) say({ passed: `${settings.part} ${what} ${times}` });
  }
  const here = armed.filter((one) => one.what === what && one.when === when);
  for (const one of here) one.left -= 1;
  const due = here.find(({ left }) => left === 0);
  if (due === undefined) return;
  armed = [];
  say({ fired: due.id });
  process.kill(process.pid, due.signal);
}

function say(line) {
  appendFileSync(settings.log, `${JSON.stringify(line)}\n`);
}

/** What a tool calls around what it does. */
globalThis.faultPoint = (what, when) => pass(`tool ${what}`, when);

/** From whoever called the function that calls this, outwards; not what waits for it. */
function stackHere() {
  const frames = (new Error().stack ?? '').split('\n').slice(3);
  return frames.filter((frame) => !/^ *at async /.test(frame));
}

/** Of the product, as `redis/connection`. */
function moduleIn(frames) {
  for (const frame of frames) {
    const path = /(?:file:\/\/)?(\/[^():]*)\.js:\d+:\d+\)?$/.exec(frame)?.[1];
    if (path?.startsWith(built)) return path.slice(built.length);
  }
  return undefined;
}

/* ---- Redis ---- */

const { Redis } = require('ioredis');
const { exists, hasFlag } = createRequire(require.resolve('ioredis'))('@ioredis/commands');
const scripts = ownScripts();

const defineCommand = Redis.prototype.defineCommand;
Redis.prototype.defineCommand = function (name, definition) {
  // BullMQ's: all of them change something.
  scripts.set(createHash('sha1').update(definition.lua).digest('hex'), {
    name: `bullmq ${name.split(':')[0]}`,
    writes: true,
  });
  return defineCommand.call(this, name, definition);
};

const sendCommand = Redis.prototype.sendCommand;
Redis.prototype.sendCommand = function (command, stream) {
  const what = writeOf(command);
  if (what === undefined || command.faultPoint) return sendCommand.call(this, command, stream);
  // The same command comes again where it waited for the connection.
  command.faultPoint = true;
  pass(what, 'before');
  const { resolve, reject } = command;
  command.resolve = (reply) => {
    pass(what, 'after');
    resolve(reply);
  };
  command.reject = (error) => {
    // Also a refusal is a reply.
    if (error?.name === 'ReplyError') pass(what, 'after');
    reject(error);
  };
  return sendCommand.call(this, command, stream);
};

function writeOf(command) {
  const name = command.name.toLowerCase();
  if (name === 'evalsha' || name === 'eval') {
    const given = String(command.args[0]);
    const sha = name === 'evalsha' ? given : createHash('sha1').update(given).digest('hex');
    const script = scripts.get(sha) ?? { name: `unknown ${sha.slice(0, 8)}`, writes: true };
    // The whole text goes over the wire where the cache was lost: a place of its own.
    return script.writes ? `redis ${script.name}${name === 'eval' ? ' (eval)' : ''}` : undefined;
  }
  const writes = name === 'publish' || !exists(name) || hasFlag(name, 'write');
  // BullMQ's own come from no module of ours.
  return writes ? `redis ${name} ${moduleIn(stackHere()) ?? 'bullmq'}` : undefined;
}

/** As src/redis/scripts.ts puts them together, found by trying: what is put together in a new way is `unknown`. */
function ownScripts() {
  const names = readdirSync(settings.lua).map((file) => basename(file, '.lua'));
  const text = new Map(names.map((name) => [name, readFileSync(join(settings.lua, `${name}.lua`), 'utf8')]));
  const prelude = `${text.get('prelude')}\n${text.get('grant-standing')}`;
  const shared = [prelude, `${prelude}\n${text.get('card-lease')}`, `${prelude}\n${text.get('fold-keys')}`];
  const found = new Map();
  for (const flags of ['', 'allow-oom', 'no-writes']) {
    const first = flags === '' ? '#!lua' : `#!lua flags=${flags}`;
    for (const above of shared) {
      for (const [name, body] of text) {
        const sha = createHash('sha1').update(`${first}\n${above}\n${body}`).digest('hex');
        found.set(sha, { name: `script ${name}`, writes: flags !== 'no-writes' });
      }
    }
  }
  return found;
}

/* ---- Slack ---- */

const fetched = globalThis.fetch;
globalThis.fetch = async (resource, init) => {
  const url = String(resource instanceof Request ? resource.url : resource);
  // Our own fetch goes to other places than Slack's SDK.
  const ours = moduleIn(stackHere().slice(0, 1));
  const elsewhere = ours === undefined ? 'slack response_url' : `fetch ${ours}`;
  const what = url.startsWith(settings.api)
    ? `slack ${url.slice(settings.api.length).split('?')[0]}`
    : elsewhere;
  pass(what, 'before');
  const response = await fetched(resource, init);
  pass(what, 'after');
  return response;
};

const { WebSocket } = createRequire(require.resolve('@slack/socket-mode'))('undici');
const sendOverSocket = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  pass('slack socket answer', 'before');
  sendOverSocket.call(this, data);
  pass('slack socket answer', 'after');
};

/* ---- the audit's files ---- */

const handle = await open(settings.log, 'a');
const FileHandle = Object.getPrototypeOf(handle);
await handle.close();
for (const verb of ['appendFile', 'write', 'writeFile', 'sync', 'datasync', 'truncate']) {
  const real = FileHandle[verb];
  FileHandle[verb] = function (...given) {
    const path = pathOf(this);
    if (!path?.startsWith(settings.audit)) return real.apply(this, given);
    const what = `audit ${moduleIn(stackHere())} ${verb} ${kindOf(path)}`;
    return around(what, () => real.apply(this, given));
  };
}
for (const [verb, real] of Object.entries({ mkdir, open, rename, rm })) {
  fsPromises[verb] = (path, ...given) => {
    const writes = String(path).startsWith(settings.audit) && (verb !== 'open' || isCreating(given[0]));
    if (!writes) return real(path, ...given);
    const what = `audit ${moduleIn(stackHere())} ${verb} ${kindOf(String(path))}`;
    return around(what, () => real(path, ...given));
  };
}
syncBuiltinESMExports();

async function around(what, work) {
  pass(what, 'before');
  const result = await work();
  pass(what, 'after');
  return result;
}

function isCreating(flags) {
  return typeof flags === 'number'
    ? (flags & fsPromises.constants.O_CREAT) !== 0
    : /[wa]/.test(String(flags ?? 'r'));
}

function pathOf(file) {
  try {
    return readlinkSync(`/proc/self/fd/${file.fd}`);
  } catch {
    return undefined;
  }
}

function kindOf(path) {
  if (path.endsWith('.checkpoints.jsonl')) return 'checkpoints';
  if (path.endsWith('.jsonl')) return 'segment';
  return dirname(path) === settings.audit ? 'directory of a chain' : 'directory';
}

/* ---- standing by ---- */

// Most of what a start costs is reading the modules: whoever follows on a killed part has read them already.
for (const module of settings.ahead) await import(module);
process.once('disconnect', gone);
await begun;
process.off('disconnect', gone);

function gone() {
  process.exit(0);
}
