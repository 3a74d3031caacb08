import type { Redis } from 'ioredis';
import { type BoxKeys, boxKeyId } from '../core/secrets/sealed-box.ts';
import { Installation, WorkspaceId } from '../core/workspace/installation.ts';
import type {
  InstallationStore,
  InstallationsRead,
  StoredInstallation,
  UnreadableInstallation,
} from '../core/workspace/installation-store.ts';
import { Boxes } from './boxes.ts';
import { Channels } from './channels.ts';
import { answerOf, type RedisClient } from './connection.ts';
import { INSTALLATIONS_CHANNEL, INSTALLATIONS_KEY } from './keys.ts';

/** KEYS: the hash. ARGV: workspace, what must stand there ('' for anything), what comes there, the channel. */
const REPLACE = `#!lua
if ARGV[2] ~= '' and redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1`;

/**
 * Each installation in a box that opens under its own workspace and its own app alone: whoever can write to Redis can
 * take one away or put an older one back, and can neither read one nor pass it off as another's.
 */
export class InstallationStoreRedis implements InstallationStore {
  readonly #redis: RedisClient;
  readonly #channels: Channels;
  readonly #boxes: Boxes;
  readonly #app: string;

  /** `app` is what the boxes are bound to beside the workspace: the app's client id. */
  constructor(parts: { redis: RedisClient; subscriber: Redis; keys: BoxKeys; app: string }) {
    this.#redis = parts.redis;
    this.#channels = Channels.of(parts.subscriber);
    this.#boxes = new Boxes(parts.keys);
    this.#app = parts.app;
  }

  async all(): Promise<InstallationsRead> {
    const fields = await answerOf(this.#redis, () => this.#redis.hgetall(INSTALLATIONS_KEY));
    const read = Object.entries(fields).map(([team, text]) => this.#opened(team, text));
    return {
      readable: read.flatMap((one) => ('installation' in one ? [one] : [])),
      unreadable: read.flatMap((one) => ('why' in one ? [one] : [])),
    };
  }

  async read(team: string): Promise<StoredInstallation | undefined> {
    const text = await answerOf(this.#redis, () => this.#redis.hget(INSTALLATIONS_KEY, team));
    if (text === null) return undefined;
    const opened = this.#opened(team, text);
    return 'installation' in opened ? opened : undefined;
  }

  async put(installation: Installation): Promise<void> {
    await this.#write(installation, '');
  }

  async replace(old: StoredInstallation, next: Installation): Promise<StoredInstallation | undefined> {
    if (next.team !== old.installation.team) throw new TypeError('an installation stays with its workspace');
    return this.#write(next, old.text);
  }

  /** What older keys sealed is sealed with the first one: after that they are needed no more. How many it were. */
  async sealAnew(): Promise<number> {
    const fields = await answerOf(this.#redis, () => this.#redis.hgetall(INSTALLATIONS_KEY));
    let renewed = 0;
    for (const [team, text] of Object.entries(fields)) {
      const stored = this.#opened(team, text);
      if (!('installation' in stored) || boxKeyId(text) === this.#boxes.keyId) continue;
      if ((await this.replace(stored, stored.installation)) !== undefined) renewed += 1;
    }
    return renewed;
  }

  onChanged(listener: () => void): Promise<() => Promise<void>> {
    return this.#channels.follow(INSTALLATIONS_CHANNEL, { onMessage: listener, onGap: listener });
  }

  async #write(installation: Installation, expected: string): Promise<StoredInstallation | undefined> {
    const { team } = installation;
    const text = this.#boxes.seal(JSON.stringify(installation), this.#app, team);
    const done = await answerOf(this.#redis, () =>
      this.#redis.eval(REPLACE, 1, INSTALLATIONS_KEY, team, expected, text, INSTALLATIONS_CHANNEL),
    );
    return done === 1 ? { installation, text } : undefined;
  }

  #opened(team: string, text: string): StoredInstallation | UnreadableInstallation {
    const named = WorkspaceId.safeParse(team);
    if (!named.success) return { team: team.slice(0, 30), why: 'form' };
    const opened = this.#boxes.open(text, this.#app, team);
    if (!opened.ok) return { team, why: opened.why };
    const parsed = Installation.safeParse(jsonOf(opened.text));
    if (!parsed.success || parsed.data.team !== team) return { team, why: 'form' };
    return { installation: parsed.data, text };
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
