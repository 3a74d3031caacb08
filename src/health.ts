import type { ServerResponse } from 'node:http';
import type { SealingHealth } from './audit-files/sealer.ts';
import { PERMIT_LIFE_MS } from './core/switch/write-switch.ts';
import { checkRedis, RedisAway, type RedisClient, type RedisNeeds, RedisUnfit } from './redis/connection.ts';
import { DamagedShards } from './redis/damaged-shards.ts';
import type { SlackHealth } from './slack/app.ts';

/** `warning`: it works, and somebody should look. `failing`: people cannot decide, or writes cannot run, or soon. */
type HealthStatus = 'ok' | 'warning' | 'failing';

interface RedisHealth {
  readonly ok: boolean;
  readonly problem?: string;
  readonly warnings: readonly string[];
}

/** Whose data is none that Countersign wrote, by number. Nothing happens there until somebody mends it; the others go on. */
interface ShardsHealth {
  readonly ok: boolean;
  readonly damaged: readonly number[];
}

/**
 * What `GET /health` of the approval service answers. Names no tenant and no channel, because anybody may ask; the log
 * names them.
 */
export interface HealthReport {
  readonly status: HealthStatus;
  readonly redis: RedisHealth;
  readonly slack: { readonly ok: boolean };
  readonly shards: ShardsHealth;
  /** Of the switch. Without them writes are off within their life, here or in the shards where they are not renewed. */
  readonly permits: { readonly ok: boolean; readonly renewedMsAgo: number | null };
  /** Not ok: Redis was emptied, or an older copy took over. Writes are off until somebody turns them on. */
  readonly switch: { readonly ok: boolean };
  /** Whether the audit gets into its files, by this process or by another one. */
  readonly audit: SealingHealth;
  /** How many tenants have each problem with their channel or their workspace. */
  readonly tenants: { readonly ok: boolean; readonly problems: Readonly<Record<string, number>> };
}

/** What `GET /health` of an executor answers. */
export interface ExecutorHealthReport {
  readonly status: HealthStatus;
  readonly redis: RedisHealth;
  readonly shards: ShardsHealth;
  /** Whether jobs are taken from the queue. */
  readonly queue: { readonly ok: boolean };
  /** Not ok: Redis answers too slowly for calls to start; they are tried again and again. */
  readonly starts: { readonly ok: boolean };
  /** Not ok: the file is broken or gone, and the last good policy stays in force. */
  readonly policy: { readonly ok: boolean };
  /** It takes no new calls and lets those in hand end. */
  readonly stopping: boolean;
}

/** Redis is asked once for all that look within this time. */
const REDIS_FOR_MS = 1_000;

/** What one approval service knows of itself. */
export class Health {
  readonly #redis: RedisLook;
  readonly #damaged: DamagedShards;
  /** Of every shard, and of any. */
  #renewedAt = { all: Number.NEGATIVE_INFINITY, any: Number.NEGATIVE_INFINITY };
  #forgotten = false;
  readonly #audit: () => SealingHealth;
  #stopping = false;

  constructor({
    redis,
    needs,
    audit,
  }: { redis: RedisClient; needs: RedisNeeds; audit: () => SealingHealth }) {
    this.#redis = new RedisLook(redis, needs);
    this.#damaged = DamagedShards.of(redis);
    this.#audit = audit;
  }

  /** The permits were renewed just now, but for shards where Redis forgot the switch, and for some where it failed. */
  permitsRenewed({ forgotten = false, some = false } = {}): void {
    const now = performance.now();
    this.#renewedAt = { all: some ? this.#renewedAt.all : now, any: now };
    this.#forgotten = forgotten;
  }

  stopping(): void {
    this.#stopping = true;
  }

  /** `/ready` tells a balancer whether to send anything here; `/health` tells people what is wrong. */
  readonly answer = async (slack: SlackHealth, path: string, response: ServerResponse): Promise<void> => {
    const report = await this.report(slack);
    // Where only the audit, the switch or some shards fail, people must still reach this: to turn writes off, or on again.
    answerWith(
      response,
      path,
      report,
      report.redis.ok && slack.connected && isFresh(this.#renewedAt.any) && !this.#stopping,
    );
  };

  async report(slack: SlackHealth): Promise<HealthReport> {
    const redis = await this.#redis.look();
    const { all } = this.#renewedAt;
    const ago = Number.isFinite(all) ? Math.round(performance.now() - all) : null;
    const permits = { ok: isFresh(all), renewedMsAgo: ago };
    const problems: Record<string, number> = {};
    for (const { code } of slack.problems) problems[code] = (problems[code] ?? 0) + 1;
    const tenants = { ok: slack.problems.length === 0, problems };
    const audit = this.#audit();
    const writeSwitch = { ok: !this.#forgotten };
    const shards = shardsHealthOf(this.#damaged);
    const parts = {
      redis,
      shards,
      slack: { ok: slack.connected },
      permits,
      switch: writeSwitch,
      audit,
      tenants,
    };
    const calm = tenants.ok && redis.warnings.length === 0 && audit.warnings.length === 0;
    const fit = redis.ok && slack.connected && permits.ok && shards.ok && audit.ok && writeSwitch.ok;
    return { status: statusOf(fit, calm), ...parts };
  }
}

/** What one executor knows of itself. */
export class ExecutorHealth {
  readonly #redis: RedisLook;
  readonly #damaged: DamagedShards;
  readonly #takesJobs: () => Promise<boolean>;
  readonly #startsInTime: () => boolean;
  readonly #policyInForce: () => boolean;
  #stopping = false;

  constructor(parts: {
    redis: RedisClient;
    needs: RedisNeeds;
    takesJobs: () => Promise<boolean>;
    startsInTime: () => boolean;
    policyInForce: () => boolean;
  }) {
    this.#redis = new RedisLook(parts.redis, parts.needs);
    this.#damaged = DamagedShards.of(parts.redis);
    this.#takesJobs = parts.takesJobs;
    this.#startsInTime = parts.startsInTime;
    this.#policyInForce = parts.policyInForce;
  }

  stopping(): void {
    this.#stopping = true;
  }

  readonly answer = async (path: string, response: ServerResponse): Promise<void> => {
    const report = await this.report();
    // What it can run it runs, whatever stands in some shards.
    answerWith(response, path, report, report.redis.ok && report.queue.ok && !report.stopping);
  };

  async report(): Promise<ExecutorHealthReport> {
    const [redis, takesJobs] = await Promise.all([this.#redis.look(), this.#takesJobs()]);
    const stopping = this.#stopping;
    const policy = { ok: this.#policyInForce() };
    // Who stops takes no jobs, and nothing is wrong with that.
    const shards = shardsHealthOf(this.#damaged);
    const fit = redis.ok && shards.ok && (takesJobs || stopping);
    const starts = { ok: this.#startsInTime() };
    const calm = redis.warnings.length === 0 && policy.ok && starts.ok;
    return { status: statusOf(fit, calm), redis, shards, queue: { ok: takesJobs }, starts, policy, stopping };
  }
}

function isFresh(renewedAt: number): boolean {
  return performance.now() - renewedAt < PERMIT_LIFE_MS;
}

function shardsHealthOf({ standing }: DamagedShards): ShardsHealth {
  return { ok: standing.length === 0, damaged: standing };
}

function statusOf(fit: boolean, calm: boolean): HealthStatus {
  if (!fit) return 'failing';
  return calm ? 'ok' : 'warning';
}

function answerWith(
  response: ServerResponse,
  path: string,
  report: { readonly status: HealthStatus },
  ready: boolean,
): void {
  const status = (path === '/ready' ? ready : report.status !== 'failing') ? 200 : 503;
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(JSON.stringify(path === '/ready' ? { ready } : report));
}

class RedisLook {
  readonly #redis: RedisClient;
  readonly #needs: RedisNeeds;
  #asked: { at: number; answer: Promise<RedisHealth> } | undefined;

  constructor(redis: RedisClient, needs: RedisNeeds) {
    this.#redis = redis;
    this.#needs = needs;
  }

  look(): Promise<RedisHealth> {
    const now = performance.now();
    if (this.#asked === undefined || now - this.#asked.at > REDIS_FOR_MS) {
      this.#asked = { at: now, answer: lookAt(this.#redis, this.#needs) };
    }
    return this.#asked.answer;
  }
}

async function lookAt(redis: RedisClient, needs: RedisNeeds): Promise<RedisHealth> {
  try {
    const { warnings, refusesWrites } = await checkRedis(redis, needs);
    if (refusesWrites !== undefined) return { ok: false, problem: refusesWrites, warnings };
    return { ok: true, warnings };
  } catch (error) {
    return { ok: false, problem: problemOf(error), warnings: [] };
  }
}

function problemOf(error: unknown): string {
  if (error instanceof RedisUnfit) return error.message;
  return error instanceof RedisAway ? error.problem : 'Redis does not answer';
}
