import { createHash } from 'node:crypto';
import { z } from 'zod';
import { HEARD_FOR_MS, type HeardCommands } from '../core/switch/heard-commands.ts';
import type { RedisClient } from './connection.ts';
import { HEARD_COMMANDS_KEY } from './keys.ts';
import { Scripts } from './scripts.ts';

export class HeardCommandsRedis implements HeardCommands {
  readonly #scripts: Scripts;

  constructor({ redis }: { redis: RedisClient }) {
    this.#scripts = new Scripts(redis);
  }

  async firstTime(command: string): Promise<boolean> {
    const digest = createHash('sha256').update(command, 'utf8').digest('hex');
    const added = await this.#scripts.run('switchHeard', {
      shard: 0,
      keys: [HEARD_COMMANDS_KEY],
      ask: { command: digest, forMs: HEARD_FOR_MS },
    });
    return z.number().parse(added) === 1;
  }
}
