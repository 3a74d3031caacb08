import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { CheckpointCopies, type CopyTarget } from '../../src/audit-files/checkpoint-copies.ts';
import { parseCheckpoint } from '../../src/core/audit/checkpoint.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { sealedWorld, upTo } from './sealed-world.ts';

const redis = redisForTests();
const world = sealedWorld(redis);
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

const copiesTo = (target: CopyTarget) =>
  new CheckpointCopies({ target, logger: pino({ level: 'silent' }), retryMs: 10, timeoutMs: 1_000 });

async function listening(answer: RequestListener): Promise<URL> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/in?from=here`);
}

it('[audit:tamper-evident] a second directory holds what the first cannot take back', async () => {
  const directory = join(world.elsewhere, 'copies');
  mkdirSync(directory);
  // What a crash left of a line.
  writeFileSync(join(directory, 'acme.checkpoints.jsonl'), '{"check');
  for (let i = 0; i < 2; i += 1) {
    await world.append(9);
    await world.seal({ copies: copiesTo({ directory }) });
  }
  const [, ...copied] = readFileSync(join(directory, 'acme.checkpoints.jsonl'), 'utf8').trimEnd().split('\n');
  expect(copied.map((line) => parseCheckpoint(line).checkpoint.count).at(-1)).toBe(6);
  expect(world.verify([join(directory, 'globex.checkpoints.jsonl')])).toMatchObject({ verdict: 'intact' });

  // Whoever writes the files puts back an older state, whole and signed.
  const older = join(world.elsewhere, 'older');
  renameSync(world.directory, older);
  await redis.flush();
  await world.append(3);
  await world.seal();
  expect(world.verify()).toMatchObject({ verdict: 'intact' });
  expect(world.verify([join(directory, 'globex.checkpoints.jsonl')]).exitCode).not.toBe(0);
});

it('an address is given each newest checkpoint as JSON', async () => {
  const received: { headers: unknown; checkpoint: { chain: string; count: number } }[] = [];
  const url = await listening(async (request, response) => {
    const { checkpoint } = parseCheckpoint(await text(request));
    received.push({ headers: [request.method, request.url, request.headers['content-type']], checkpoint });
    response.writeHead(204).end();
  });
  await world.append(9);
  const copies = copiesTo({ url });
  const sealer = await world.seal({ copies });
  expect(received[0]?.headers).toEqual(['POST', '/in?from=here', 'application/json']);
  for (const chain of ['acme', 'globex', '_s0']) {
    expect(received.filter(({ checkpoint }) => checkpoint.chain === chain).at(-1)?.checkpoint.count).toBe(3);
  }
  expect(sealer.health().warnings).toEqual([]);
});

it.each<[string, RequestListener]>([
  ['answers with an error', (_, response) => response.writeHead(500).end('no')],
  ['points elsewhere', (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
  ['breaks off', (request) => request.socket.destroy()],
  ['never answers', () => {}],
])('an address that %s is a warning, and sealing goes on', async (_, answer) => {
  let healed = false;
  const received: number[] = [];
  const url = await listening(async (request, response) => {
    if (!healed) return answer(request, response);
    received.push(parseCheckpoint(await text(request)).checkpoint.count);
    response.writeHead(200).end();
  });
  const sealer = world.sealer({ copies: copiesTo({ url }) });
  await sealer.start();
  await world.append(9);
  await expect.poll(() => sealer.health().warnings).toEqual([expect.stringContaining('do not reach')]);
  await world.append(9);
  await expect.poll(() => redis.client.hget('{s0}:audit-sealed', 'chain:acme')).toMatch(/^6 /);
  expect(world.seqs('acme')).toEqual(upTo(6));
  expect(sealer.health()).toMatchObject({ ok: true, sealing: 'here' });
  healed = true;
  await expect.poll(() => sealer.health().warnings).toEqual([]);
  await expect.poll(() => received).toContain(6);
  await sealer.stop();
});

it('a directory that is not there is a warning too', async () => {
  await world.append(3);
  const sealer = world.sealer({ copies: copiesTo({ directory: join(world.elsewhere, 'gone') }) });
  await sealer.start();
  await expect.poll(() => sealer.health().warnings).toHaveLength(1);
  await expect.poll(() => world.seqs('acme')).toEqual([1]);
  mkdirSync(join(world.elsewhere, 'gone'));
  await expect.poll(() => sealer.health().warnings).toEqual([]);
  await sealer.stop();
});
