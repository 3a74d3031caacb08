import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { PersonId, slackIdsOf } from '../core/identity/ids.ts';
import {
  ARMING_LIFE_MS,
  type ArmingAnswer,
  type ArmingRequest,
  type ArmingRequests,
} from '../core/switch/arming.ts';
import { type SwitchScope, scopeKey } from '../core/switch/scope.ts';
import type { RedisClient } from './connection.ts';
import { armingKey } from './keys.ts';
import { Scripts } from './scripts.ts';

/** With the arbiter of the switch: the epoch that a request is bound to is compared in the same step. */
const ARBITER = 0;

interface Ask {
  readonly scope: SwitchScope;
  readonly epoch: number;
  readonly person: PersonId;
  readonly quorum: number;
}

export class ArmingRequestsRedis implements ArmingRequests {
  readonly #scripts: Scripts;

  constructor({ redis }: { redis: RedisClient }) {
    this.#scripts = new Scripts(redis);
  }

  ask({ why, ...given }: Ask & { why: string }): Promise<ArmingAnswer> {
    return this.#run(given, { id: randomUUID(), byId: false }, why);
  }

  confirm({ id, ...given }: Ask & { id: string }): Promise<ArmingAnswer> {
    return this.#run(given, { id, byId: true }, '');
  }

  async #run(
    { scope, epoch, person, quorum }: Ask,
    by: { id: string; byId: boolean },
    why: string,
  ): Promise<ArmingAnswer> {
    const key = scopeKey(scope);
    const [word, flat] = Reply.parse(
      await this.#scripts.run('switchArm', {
        shard: ARBITER,
        keys: [armingKey(key)],
        ask: {
          ...by,
          scope: key,
          epoch,
          person,
          user: slackIdsOf(person).user,
          quorum,
          lifeMs: ARMING_LIFE_MS,
          // One stream for who wanted what turned on: the arbiter's shard may not be the tenant's.
          tenant: '-',
        },
        texts: [why],
      }),
    );
    if (word === 'epoch_moved' || word === 'gone') return { state: word };
    const request = requestOf(scope, flat);
    switch (word) {
      case 'waiting':
      case 'voided':
        return { state: 'waiting', request, voided: word === 'voided' };
      case 'complete':
      case 'same_person':
      case 'other_reason':
        return { state: word, request };
    }
  }
}

const Reply = z.tuple([
  z.enum(['waiting', 'voided', 'complete', 'same_person', 'other_reason', 'epoch_moved', 'gone']),
  z.array(z.string()),
]);

const Stored = z.object({
  id: z.string(),
  why: z.string(),
  epoch: z.coerce.number().int(),
  people: z.string().transform((text) => text.split(' ').map((person) => PersonId.parse(person))),
  until: z.coerce.number().int(),
});

/** @throws ZodError where the hash is none that the script wrote: then nobody is counted. */
function requestOf(scope: SwitchScope, flat: readonly string[]): ArmingRequest {
  const fields: Record<string, string> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) fields[flat[i] as string] = flat[i + 1] as string;
  return { scope, ...Stored.parse(fields) };
}
