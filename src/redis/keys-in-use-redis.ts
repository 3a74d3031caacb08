import { TERMINAL_STATUSES } from '../core/proposal/proposal.ts';
import { boxKeyId } from '../core/secrets/sealed-box.ts';
import { answerOf, mastersOf, type RedisClient } from './connection.ts';
import { EVERY_GRANT, EVERY_PROPOSAL, INSTALLATIONS_KEY } from './keys.ts';

/** How much of what lies in Redis was sealed with one key. */
export interface KeyUse {
  /** As a part says at its start which keys it has; `none` for what is no box of ours. */
  readonly key: string;
  /** Proposals that can still run. */
  readonly open: number;
  /** Settled proposals, whose results agents can still ask for. */
  readonly settled: number;
  readonly grants: number;
  /** Workspaces that installed the app: of the token key. */
  readonly installations: number;
}

const SCAN_COUNT = 500;
type Counted = Exclude<keyof KeyUse, 'key'>;

/** Needs no key: which one a box was sealed with stands on it. */
export async function keysInUse(redis: RedisClient): Promise<KeyUse[]> {
  const uses = new Map<string, Record<Counted, number>>();
  const count = (box: string | null | undefined, as: Counted) => {
    const key = (box && boxKeyId(box)) || 'none';
    const use = uses.get(key) ?? { open: 0, settled: 0, grants: 0, installations: 0 };
    use[as] += 1;
    uses.set(key, use);
  };
  for await (const key of scanned(redis, EVERY_PROPOSAL)) {
    const [box, status] = await answerOf(redis, () => redis.hmget(key, 'terms', 'status'));
    count(box, [...TERMINAL_STATUSES].some((settled) => settled === status) ? 'settled' : 'open');
  }
  for await (const key of scanned(redis, EVERY_GRANT)) {
    count(await answerOf(redis, () => redis.hget(key, 'grant')), 'grants');
  }
  for (const box of await answerOf(redis, () => redis.hvals(INSTALLATIONS_KEY))) count(box, 'installations');
  return [...uses].map(([key, use]) => ({ key, ...use }));
}

/** In a Cluster each master holds a part of them. */
async function* scanned(redis: RedisClient, match: string): AsyncGenerator<string> {
  const seen = new Set<string>();
  for (const { node } of await mastersOf(redis)) {
    let cursor = '0';
    do {
      const [next, keys] = await answerOf(node, () => node.scan(cursor, 'MATCH', match, 'COUNT', SCAN_COUNT));
      // A key can be returned more than once.
      for (const key of keys) {
        if (!seen.has(key)) yield key;
        seen.add(key);
      }
      cursor = next;
    } while (cursor !== '0');
  }
}
