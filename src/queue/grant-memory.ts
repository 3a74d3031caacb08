import type { GrantId, GrantStatement } from '../core/grant/grant.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';

interface Remembered {
  readonly started: Set<ProposalId>;
  readonly expires: number;
  ended: boolean;
}

/**
 * What this process has started under each grant, and which grants it was told have ended. Uses are counted in Redis, and
 * whoever writes Redis can set the count back or open what was revoked: here it stays as it was, for as long as this
 * process lives.
 */
export class GrantMemory {
  readonly #grants = new Map<GrantId, Remembered>();

  /**
   * Takes one of the uses that this process may start; the same proposal again takes none. Asked and answered in one
   * turn, before admission, so that calls that run side by side cannot both have the last one. What is taken stays
   * taken, as the use in the store does, whether the call then starts here, elsewhere or not at all.
   */
  take(
    { grant, maxUses, expires }: GrantStatement,
    proposal: ProposalId,
    now: number,
  ): 'taken' | 'grant_ended' | 'grant_overused' {
    this.#forgetExpired(now);
    const known = this.#grants.get(grant) ?? { started: new Set(), expires, ended: false };
    this.#grants.set(grant, known);
    if (known.ended) return 'grant_ended';
    if (known.started.has(proposal)) return 'taken';
    if (known.started.size >= maxUses) return 'grant_overused';
    known.started.add(proposal);
    return 'taken';
  }

  end({ grant, expires }: GrantStatement): void {
    const known = this.#grants.get(grant) ?? { started: new Set(), expires, ended: true };
    known.ended = true;
    this.#grants.set(grant, known);
  }

  /** An expired grant is refused by its signature's own words. */
  #forgetExpired(now: number): void {
    for (const [grant, { expires }] of this.#grants) if (expires <= now) this.#grants.delete(grant);
  }
}
