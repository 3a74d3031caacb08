import { expect, it } from 'vitest';
import { NOT_PASSED, writesIn, writesInSource } from './writes-in-source.ts';

/** `npm run faults` passes them; here it is seen at once that the list is true and that a new one would be found. */

it('every write that no sweep passes, and that a reason is given for, stands in the source', () => {
  const writes = writesInSource();
  expect(Object.keys(NOT_PASSED).filter((write) => !writes.includes(write))).toEqual([]);
});

it('finds those of each kind', () => {
  expect(writesInSource()).toEqual(
    expect.arrayContaining([
      'audit audit-files/append-file appendFile',
      'audit audit-files/append-file open',
      'audit audit-files/chain-files mkdir',
      'redis script admit',
      'redis set redis/connection',
      'slack chat.postMessage',
      'slack response_url',
    ]),
  );
});

it.each([
  [
    'slack/new',
    'await workspace.posting.chat\n  .deleteScheduledMessage({});',
    'slack chat.deleteScheduledMessage',
  ],
  ['slack/new', "await client.apiCall('chat.delete', {});", 'slack chat.delete'],
  ['slack/new', 'await respond({ text });', 'slack response_url'],
  ['slack/new', 'await fetch(url);', 'fetch slack/new'],
  [
    'redis/new',
    'answerOf(this.#redis, () => this.#redis.hset(key, fields)) as RedisClient;',
    'redis hset redis/new',
  ],
  ['redis/new', 'type R = RedisClient; whatever.lpush(key, text);', 'redis lpush redis/new'],
  ['redis/new', 'type R = RedisClient; redis.multi().set(key, text);', 'redis set redis/new'],
  ['redis/new', "type R = RedisClient; node.call('XADD', key);", 'redis xadd redis/new'],
  ['redis/new', "const ADD = `#!lua\nreturn redis.call('INCR', KEYS[1])`;", 'redis script in redis/new'],
  [
    'audit-files/new',
    "import { rename } from 'node:fs/promises'; await rename(a, b);",
    'audit audit-files/new rename',
  ],
  [
    'audit-files/new',
    "import fs from 'node:fs';\nwriteFileSync(a, b);",
    'audit audit-files/new writeFileSync',
  ],
  [
    'audit-files/new',
    "import { open } from 'node:fs/promises'; open(path, 'a');",
    'audit audit-files/new open',
  ],
])('would find in %s: %s', (module, source, write) => {
  expect(writesIn(module, source)).toEqual([write]);
});

it.each([
  ['slack/new', '// await chat.delete(\nawait this.#parts.credentials.fetch(scope);'],
  ['redis/new', 'type R = RedisClient; seen.set(key, redis.get(key)); [...names].sort();'],
  ['audit-files/new', "import { open } from 'node:fs/promises'; open(path, 'r'); ChainFiles.open(root);"],
])('takes for no write what is none, in %s: %s', (module, source) => {
  expect(writesIn(module, source)).toEqual([]);
});
