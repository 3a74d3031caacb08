import { z } from 'zod';
import { PersonId, type TenantId } from '../identity/ids.ts';
import { SwitchScope } from './scope.ts';
import type { Operator } from './write-switch.ts';

/** A person in Slack, or somebody at a terminal. */
export const OperatorId = z.union([
  PersonId,
  z.custom<`cli:${string}`>((value) => typeof value === 'string' && value.startsWith('cli:')),
]);

/** Somebody who flips the switch, or undefined where the text names nobody who could. */
export function operatorOf(text: unknown): Operator | undefined {
  return OperatorId.safeParse(text).data;
}

/** One Slack channel of one workspace. */
const Place = z.strictObject({ team: z.string(), channel: z.string() });

/**
 * What the channels have to be told of the switch. Written in the step that flips it, so that a crash after the flip, or
 * a flip by somebody who has no Slack at hand, loses nothing. Without a place it is for every channel that the scope
 * concerns; then it is split into one for each of them.
 */
export const SwitchNotice = z.strictObject({
  kind: z.enum(['off', 'on', 'reminder']),
  scope: SwitchScope,
  by: OperatorId,
  /** Who confirmed, where turning on took more than one person. */
  confirmedBy: z.array(PersonId).optional(),
  why: z.string().optional(),
  /** When it was flipped, ms on Redis's clock. */
  since: z.number(),
  place: Place.optional(),
  /** How often it could not be told so far. */
  failures: z.int().min(0).optional(),
});
export type SwitchNotice = z.infer<typeof SwitchNotice>;

/** A notice that was taken from the outbox, and has to be handed back before its lease lapses. */
export interface ClaimedNotice {
  readonly id: string;
  readonly shard: number;
  readonly notice: SwitchNotice;
}

/**
 * The outbox of the switch. Each shard that was flipped holds its own notice, for the channels of the tenants that live
 * in it: what is told there has happened there. At least once: a crash between telling and handing back tells again.
 */
export interface SwitchNotices {
  /** Takes what is due, for `leaseMs`; nobody else is given it meanwhile. */
  claim(limit: number, leaseMs: number): Promise<ClaimedNotice[]>;
  /** In place of this one, one for each place; of two who do this at once, one succeeds. None: nothing is left to tell. */
  split(
    claimed: ClaimedNotice,
    places: readonly { readonly team: string; readonly channel: string }[],
  ): Promise<void>;
  /** Told, or given up. */
  done(claimed: ClaimedNotice): Promise<void>;
  /** Could not be told: again in `delayMs`. */
  postpone(claimed: ClaimedNotice, delayMs: number): Promise<void>;
  /** Which shard a tenant lives in. */
  shardOf(tenant: TenantId): number;
}
