import { randomBytes } from 'node:crypto';
import { type Logger, pino } from 'pino';
import { afterAll, beforeAll, expect } from 'vitest';
import type { AuditEntry, AuditKind } from '../../src/core/audit/audit-entry.ts';
import { type CredentialProvider, Credentials } from '../../src/core/execution/credentials.ts';
import type { CallContextInput } from '../../src/core/identity/call-context.ts';
import type { ToolDefinition } from '../../src/core/tool/tool.ts';
import { createGuard, type OpenGuard } from '../../src/create-guard.ts';
import { CallError } from '../../src/guard/call-errors.ts';
import type { ToolCallInput } from '../../src/guard/guard.ts';
import type { ProposalHandle } from '../../src/guard/proposal-handle.ts';
import { AuditLogRedis } from '../../src/redis/audit-log-redis.ts';
import { openRedis } from '../../src/redis/connection.ts';
import { WriteSwitchRedis } from '../../src/redis/write-switch-redis.ts';
import { type RedisForTests, redisForTests } from '../redis-for-tests.ts';
import { ACME } from '../sealed-terms.ts';

export const CONTEXT: CallContextInput = ACME;

export interface Refused {
  readonly error: CallError;
  readonly entry: AuditEntry;
}

/** The product's own guard over a real Redis, one for the file, and what it leaves behind. */
export interface AttackedGuard {
  readonly guard: OpenGuard;
  readonly redis: RedisForTests;
  readonly logged: string[];
  keys(): Promise<string[]>;
  /** The call is refused, in the log and the audit, and leaves nothing else in Redis. */
  refuses(
    call: ToolCallInput,
    as: { readonly code: string; readonly kind: AuditKind; readonly reason: string },
    context?: CallContextInput,
  ): Promise<Refused>;
  /** The call becomes a proposal that waits for people. */
  accepts(call: ToolCallInput, context?: CallContextInput): Promise<ProposalHandle>;
}

export function attackedGuard(given: {
  readonly policy: string;
  readonly tools: readonly ToolDefinition[];
  readonly readCredentials?: CredentialProvider;
  readonly logger?: (lines: string[]) => Logger;
}): AttackedGuard {
  const redis = redisForTests({ emptied: 'once' });
  const logged: string[] = [];
  const ends: (() => unknown)[] = [];
  let guard: OpenGuard | undefined;
  let audit: AuditLogRedis | undefined;

  beforeAll(async () => {
    const own = openRedis({ connection: redis.connectionOptions });
    const writeSwitch = new WriteSwitchRedis({ redis: own.redis, shards: 1, startDeadlineMs: 5 });
    await writeSwitch.on({ scope: {}, by: 'cli:test', why: 'test', expectedEpoch: 0 });
    const renewal = setInterval(() => void writeSwitch.renewPermits().catch(() => {}), 500);
    audit = new AuditLogRedis({ redis: own.redis, shards: 1 });
    const toLines = { write: (line: string) => void logged.push(line) };
    guard = createGuard({
      policy: given.policy,
      tools: given.tools,
      redis: redis.connectionOptions,
      proposalKey: randomBytes(32),
      readCredentials: given.readCredentials ?? { fetch: async () => new Credentials({}) },
      logger: given.logger?.(logged) ?? pino({ level: 'info' }, toLines),
    });
    ends.push(
      () => guard?.close(),
      () => clearInterval(renewal),
      () => own.close(),
    );
  });
  afterAll(async () => {
    for (const end of ends) await end();
  });

  const opened = (): OpenGuard => {
    if (guard === undefined) throw new Error('attackedGuard: use it inside a test');
    return guard;
  };
  const entries = async () => (await audit?.read({ limit: 10_000 })) ?? [];
  const keys = async () => (await redis.client.keys('*')).sort();
  /** The audit grows with each refusal, the permit comes and goes, and the queue names its version when it is open. */
  const lasting = async () =>
    (await keys()).filter((key) => !/^\{s0\}:(?:audit|audit-seq|armed|bull:proposals:meta)$/.test(key));

  return {
    get guard() {
      return opened();
    },
    redis,
    logged,
    keys,
    async refuses(call, as, context = CONTEXT) {
      const [before, seen] = [await lasting(), (await entries()).length];
      const error: unknown = await opened()
        .propose(call, context)
        .then(
          () => 'no error',
          (thrown: unknown) => thrown,
        );
      if (!(error instanceof CallError)) throw new Error(`not refused: ${String(error)}`);
      expect(error).toMatchObject({ code: as.code, reason: as.reason });
      expect(await lasting()).toEqual(before);
      const [entry, ...more] = (await entries()).slice(seen);
      expect(more).toEqual([]);
      if (entry === undefined) throw new Error('refused, and not in the audit');
      expect(entry).toMatchObject({ kind: as.kind, detail: { reason: as.reason } });
      return { error, entry };
    },
    async accepts(call, context = CONTEXT) {
      const handle = await opened().propose(call, context);
      expect(await handle.status()).toBe('pending');
      return handle;
    },
  };
}
