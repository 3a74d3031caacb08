import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { Sealer, type SealerOptions } from '../../src/audit-files/sealer.ts';
import { type AuditReport, verifyAudit } from '../../src/audit-files/verify.ts';
import { ChainName, parseSealedLine, type SealedLine } from '../../src/core/audit/sealed-line.ts';
import { inSealingOrder, parseSegmentFile } from '../../src/core/audit/segment-name.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { AuditStreamRedis } from '../../src/redis/audit-stream-redis.ts';
import type { RedisForTests } from '../redis-for-tests.ts';
import { auditKeyPair, keysOf } from './sealed-directory.ts';

/** Longer than any test: no busy machine loses it, and where somebody is to take over, the test ends it. */
const LEASE_MS = 60_000;

/** A directory for one test, sealers over it, and what stands in it. */
export function sealedWorld(redis: RedisForTests, shards = 1) {
  const { privateKey, publicKey } = auditKeyPair();
  const keyText = privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64');
  const running = new Set<Sealer>();
  const processes = new Set<ChildProcess>();
  let root = '';
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'cs-sealed-'));
  });
  afterEach(async () => {
    for (const child of processes) await end(child);
    for (const sealer of running) await sealer.stop();
    running.clear();
    processes.clear();
    rmSync(root, { recursive: true, force: true });
  });

  const world = {
    key: privateKey,
    get directory() {
      return join(root, 'audit');
    },
    /** For what is not the audit. */
    get elsewhere() {
      return root;
    },
    get log() {
      return new AuditLogRedis({ redis: redis.client, shards });
    },
    /** `count` entries, in turn of acme, of globex and of nobody. */
    async append(count: number): Promise<void> {
      const tenants = ['acme', 'globex', undefined];
      for (let i = 0; i < count; i += 1) {
        await world.log.append({ kind: 'call.forbidden', tenant: tenants[i % 3], detail: { i } });
      }
    },
    sealer(options: Partial<SealerOptions> = {}): Sealer {
      const sealer = new Sealer({
        stream: new AuditStreamRedis({ redis: redis.client, shards, leaseMs: LEASE_MS }),
        directory: world.directory,
        key: privateKey,
        logger: pino({ level: 'silent' }),
        leaseMs: LEASE_MS,
        pollMs: 5,
        heldMs: 20,
        retryMs: 10,
        ...options,
      });
      running.add(sealer);
      return sealer;
    },
    /** Everything that waits is sealed, and the sealer has stopped. */
    async seal(options: Partial<SealerOptions> = {}): Promise<Sealer> {
      const sealer = world.sealer(options);
      await sealer.start();
      await vi.waitFor(() => expect(sealer.health()).toMatchObject({ sealing: 'here', unsealed: 0 }), {
        timeout: 30_000,
        interval: 5,
      });
      await sealer.stop();
      return sealer;
    },
    /** The file `test/audit-files/sealing-process.ts`; `prefix`: a shell's words before it. */
    process(
      how: { end?: { point: string; times: number; signal: 'SIGKILL' | 'SIGSTOP' } } = {},
      prefix = '',
    ) {
      const { socketPath: path } = redis.server;
      const told = JSON.stringify({
        path,
        directory: world.directory,
        key: keyText,
        leaseMs: LEASE_MS,
        ...how,
      });
      const file = join(import.meta.dirname, 'sealing-process.ts');
      const command = `${prefix} exec "$@"`;
      const child = spawn('sh', ['-c', command, 'sh', process.execPath, '--import', 'tsx', file, told], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      processes.add(child);
      const said: Record<string, string>[] = [];
      child.on('message', (message) => said.push(message as Record<string, string>));
      return {
        said,
        child,
        exited: once(child, 'exit'),
        /** Once it said so. */
        says: (what: Record<string, string>) =>
          vi.waitFor(() => expect(said).toContainEqual(what), { timeout: 30_000, interval: 10 }),
        end: () => end(child),
      };
    },
    /** In the order in which they count; where two segments hold the same line, once. */
    lines(chain: string): SealedLine[] {
      const directory = join(world.directory, chain);
      const found = new Map<number, SealedLine>();
      for (const path of world.segments(chain)) {
        const text = readFileSync(join(directory, path), 'utf8');
        for (const line of text.split('\n').slice(0, -1)) {
          const sealed = parseSealedLine(line);
          found.set(sealed.chain.n, sealed);
        }
      }
      return [...found.values()].sort((a, b) => a.chain.n - b.chain.n);
    },
    segments(chain: string): string[] {
      return readdirSync(join(world.directory, ChainName.parse(chain)))
        .flatMap((file) => {
          const parsed = parseSegmentFile(file);
          return parsed?.holds === 'lines' ? [{ file, ...parsed.name }] : [];
        })
        .sort(inSealingOrder)
        .map(({ file }) => file);
    },
    /** As if whoever has the lease had said nothing for as long as it lasts. */
    lapse: () => redis.client.hset('{s0}:audit-sealer', 'until', '0'),
    seqs: (chain: string) => world.lines(chain).map((line) => ('entry' in line ? line.entry.seq : line.note)),
    verify: (checkpoints: readonly string[] = []): AuditReport =>
      verifyAudit(world.directory, { keys: keysOf(publicKey), checkpoints }),
  };
  return world;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGCONT');
  child.kill('SIGKILL');
  await gone;
}

/** 1 to `count`. */
export const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
