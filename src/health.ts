import type { ServerResponse } from 'node:http';
import type { Redis } from 'ioredis';
import type { SealingHealth } from './audit-files/sealer.ts';
import { PERMIT_LIFE_MS } from './core/switch/write-switch.ts';
import { checkRedis, RedisUnfit } from './redis/connection.ts';
import type { SlackHealth } from './slack/app.ts';

/** What `GET /health` answers. Names no tenant and no channel, because anybody may ask; the log names them. */
export interface HealthReport {
  /** `warning`: it works, and somebody should look. `failing`: people cannot decide, or writes cannot run, or soon. */
  readonly status: 'ok' | 'warning' | 'failing';
  readonly redis: { readonly ok: boolean; readonly problem?: string; readonly warnings: readonly string[] };
  readonly slack: { readonly ok: boolean };
  /** Of the switch. Without them writes are off within their life. */
  readonly permits: { readonly ok: boolean; readonly renewedMsAgo: number | null };
  /** Whether the audit gets into its files, by this process or by another one. */
  readonly audit: SealingHealth;
  /** How many tenants have each problem with their channel or their workspace. */
  readonly tenants: { readonly ok: boolean; readonly problems: Readonly<Record<string, number>> };
}

/** Redis is asked once for all that look within this time. */
const REDIS_FOR_MS = 1_000;

/** What one approval service knows of itself. */
export class Health {
  readonly #redis: Redis;
  #asked: { at: number; answer: Promise<HealthReport['redis']> } | undefined;
  #renewedAt: number | undefined;
  readonly #audit: () => SealingHealth;
  #stopping = false;

  constructor({ redis, audit }: { redis: Redis; audit: () => SealingHealth }) {
    this.#redis = redis;
    this.#audit = audit;
  }

  /** The permits of every shard were renewed just now. */
  permitsRenewed(): void {
    this.#renewedAt = performance.now();
  }

  stopping(): void {
    this.#stopping = true;
  }

  /** `/ready` tells a balancer whether to send anything here; `/health` tells people what is wrong. */
  readonly answer = async (slack: SlackHealth, path: string, response: ServerResponse): Promise<void> => {
    const report = await this.report(slack);
    // Where only the audit fails, people must still reach this: to turn writes off, for one.
    const ready = works(report) && !this.#stopping;
    const status = (path === '/ready' ? ready : report.status !== 'failing') ? 200 : 503;
    response.writeHead(status, {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    response.end(JSON.stringify(path === '/ready' ? { ready } : report));
  };

  async report(slack: SlackHealth): Promise<HealthReport> {
    const redis = await this.#askRedis();
    const ago = this.#renewedAt === undefined ? null : Math.round(performance.now() - this.#renewedAt);
    const permits = { ok: ago !== null && ago < PERMIT_LIFE_MS, renewedMsAgo: ago };
    const problems: Record<string, number> = {};
    for (const { code } of slack.problems) problems[code] = (problems[code] ?? 0) + 1;
    const tenants = { ok: slack.problems.length === 0, problems };
    const audit = this.#audit();
    const parts = { redis, slack: { ok: slack.connected }, permits, audit, tenants };
    const calm = tenants.ok && redis.warnings.length === 0 && audit.warnings.length === 0;
    const status = works(parts) && audit.ok ? (calm ? 'ok' : 'warning') : 'failing';
    return { status, ...parts };
  }

  #askRedis(): Promise<HealthReport['redis']> {
    const now = performance.now();
    if (this.#asked === undefined || now - this.#asked.at > REDIS_FOR_MS) {
      this.#asked = { at: now, answer: lookAt(this.#redis) };
    }
    return this.#asked.answer;
  }
}

/** People can decide, and writes can run. */
function works({ redis, slack, permits }: Pick<HealthReport, 'redis' | 'slack' | 'permits'>): boolean {
  return redis.ok && slack.ok && permits.ok;
}

async function lookAt(redis: Redis): Promise<HealthReport['redis']> {
  try {
    return { ok: true, warnings: (await checkRedis(redis)).warnings };
  } catch (error) {
    const problem = error instanceof RedisUnfit ? error.message : 'Redis does not answer';
    return { ok: false, problem, warnings: [] };
  }
}
