import type { GrantId, GrantStatement } from '../core/grant/grant.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';

interface Remembered {
  readonly started: Set<ProposalId>;
  readonly expires: number;
  /** When this process was told that it has ended; the clock of a Redis node. */
  endedAt: number | undefined;
}

/**
 * In a Cluster, or after a failover, the node that dated a call is another than the one that says what time it is; and a
 * store takes terms that are dated up to 5 s from its own clock. A call that is no newer than that may have been made
 * while the grant stood.
 */
const CLOCKS_APART_MS = 5_000;

type Use = Pick<ProposalTerms, 'id' | 'createdAt'>;

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
   * `grant_ended`: it ended while the call waited, or a moment before. `grant_reopened`: the call was made when it had
   * ended long since, and the store let it.
   */
  take(
    { grant, maxUses, expires }: GrantStatement,
    { id, createdAt }: Use,
    now: number,
  ): 'taken' | 'grant_ended' | 'grant_reopened' | 'grant_overused' {
    this.#forgetExpired(now);
    const known = this.#known({ grant, expires });
    if (known.endedAt !== undefined) {
      return createdAt > known.endedAt + CLOCKS_APART_MS ? 'grant_reopened' : 'grant_ended';
    }
    if (known.started.has(id)) return 'taken';
    if (known.started.size >= maxUses) return 'grant_overused';
    known.started.add(id);
    return 'taken';
  }

  /** @param now read after the store said so: what was made before may have been made while it stood. */
  end(grant: GrantStatement, now: number): void {
    const known = this.#known(grant);
    known.endedAt ??= now;
  }

  #known({ grant, expires }: Pick<GrantStatement, 'grant' | 'expires'>): Remembered {
    const known = this.#grants.get(grant) ?? { started: new Set(), expires, endedAt: undefined };
    this.#grants.set(grant, known);
    return known;
  }

  /** An expired grant is refused by its signature's own words. */
  #forgetExpired(now: number): void {
    for (const [grant, { expires }] of this.#grants) if (expires <= now) this.#grants.delete(grant);
  }
}
