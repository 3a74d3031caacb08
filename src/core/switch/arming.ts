import type { PersonId } from '../identity/ids.ts';
import type { SwitchScope } from './scope.ts';

/** Life of a wish to turn writes on that waits for more people. */
export const ARMING_LIFE_MS = 600_000;

/** Turning writes on, asked for by some people and waiting for more. Bound to the scope, the reason and the epoch. */
export interface ArmingRequest {
  readonly id: string;
  readonly scope: SwitchScope;
  readonly why: string;
  readonly epoch: number;
  /** In the order in which they came; the first one asked. */
  readonly people: readonly PersonId[];
  /** Redis's clock, ms. */
  readonly until: number;
}

export type ArmingAnswer =
  /** Counted; more people are needed. `voided`: an earlier one lapsed because the switch was flipped since. */
  | { readonly state: 'waiting'; readonly request: ArmingRequest; readonly voided: boolean }
  /** Enough people: the request is used up by this answer, and whoever got it turns writes on. */
  | { readonly state: 'complete'; readonly request: ArmingRequest }
  | { readonly state: 'same_person'; readonly request: ArmingRequest }
  /** Somebody asked for the same scope with other words. */
  | { readonly state: 'other_reason'; readonly request: ArmingRequest }
  /** The switch was flipped since it was asked for, and it is void. */
  | { readonly state: 'epoch_moved' }
  /** Confirmed by its id: it is no longer there. */
  | { readonly state: 'gone' };

/** Kept in Redis, so that it survives a restart and any replica takes the second person's word. */
export interface ArmingRequests {
  /** Typed: asks, or confirms what another one asked for in the same words. */
  ask(given: {
    scope: SwitchScope;
    why: string;
    epoch: number;
    person: PersonId;
    quorum: number;
  }): Promise<ArmingAnswer>;
  /** By its id, as a button carries it. */
  confirm(given: {
    scope: SwitchScope;
    id: string;
    epoch: number;
    person: PersonId;
    quorum: number;
  }): Promise<ArmingAnswer>;
}
