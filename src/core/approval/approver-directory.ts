import type { PersonId } from '../identity/ids.ts';
import type { DecisionRefusal } from './refusal.ts';

/** By which entry of the rule a person may decide, or why not. */
export type Entitlement = { ok: true; as: string } | { ok: false; refusal: DecisionRefusal };

/**
 * What two accounts of one person have in common. Undefined: the directory does not tell it of this account. `cannot_check`:
 * it did not answer, and whether it would have told is not known.
 */
export type AccountEmail = { ok: true; email: string | undefined } | { ok: false; refusal: 'cannot_check' };

/**
 * Who people are, asked of the directory that the tenant trusts (Slack). Asked at every click, never remembered from
 * an earlier one, and closed where it cannot answer.
 */
export interface ApproverDirectory {
  /**
   * @param entries `user:U…` and `usergroup:S…` of the tenant's own team.
   * @param team the tenant's team; a person of any other team is refused.
   * @param options.fresh somebody who was found entitled before is looked at again: a list that a click may rest on is
   *   too old for that.
   */
  entitlementOf(
    person: PersonId,
    entries: readonly string[],
    team: string,
    options?: { readonly fresh?: boolean },
  ): Promise<Entitlement>;
  /** In lower case, and else as it is: `a+b@x` and `ab@x` may be two people's, and dots mean something in most places. */
  emailOf(person: PersonId): Promise<AccountEmail>;
}
