import type { SandboxClock } from './sandbox-clock.ts';
import { SLACK_LIMITS } from './slack-limits.ts';

/** The right to open one modal before the person who just did something. */
export interface Trigger {
  team: string;
  user: string;
  /** Set where the person acted inside a modal: only then is there a stack to push onto. */
  fromModal: boolean;
}

export type TriggerRefusal = 'invalid_trigger_id' | 'expired_trigger_id' | 'exchanged_trigger_id';

const REMEMBERED_MS = 10 * 60_000;

export class Triggers {
  readonly #clock: SandboxClock;
  readonly #newId: () => string;
  readonly #issued = new Map<string, { trigger: Trigger; at: number; used: boolean }>();

  constructor(clock: SandboxClock, newId: () => string) {
    this.#clock = clock;
    this.#newId = newId;
  }

  issue(trigger: Trigger): string {
    const now = this.#clock.now();
    for (const [id, { at }] of this.#issued) {
      if (at + REMEMBERED_MS > now) break;
      this.#issued.delete(id);
    }
    const id = `${Math.floor(now)}.${this.#newId()}.${this.#newId()}`;
    this.#issued.set(id, { trigger, at: now, used: false });
    return id;
  }

  /** Valid for three seconds, once, and only with a token of the workspace that it was issued in. */
  redeem(id: string, team: string): { ok: true; trigger: Trigger } | { ok: false; refusal: TriggerRefusal } {
    const issued = this.#issued.get(id);
    if (!issued || issued.trigger.team !== team) return { ok: false, refusal: 'invalid_trigger_id' };
    if (issued.used) return { ok: false, refusal: 'exchanged_trigger_id' };
    if (this.#clock.now() - issued.at > SLACK_LIMITS.triggerMs)
      return { ok: false, refusal: 'expired_trigger_id' };
    issued.used = true;
    return { ok: true, trigger: issued.trigger };
  }
}
