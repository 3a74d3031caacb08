import type { PersonId } from '../identity/ids.ts';
import type { DecisionRefusal } from './refusal.ts';

/** By which entry of the rule a person may decide, or why not. */
export type Entitlement = { ok: true; as: string } | { ok: false; refusal: DecisionRefusal };

/**
 * Who people are, asked of the directory that the tenant trusts (Slack). Asked at every click, never remembered from
 * an earlier one, and closed where it cannot answer.
 */
export interface ApproverDirectory {
  /**
   * @param entries `user:U…` and `usergroup:S…` of the tenant's own team.
   * @param team the tenant's team; a person of any other team is refused.
   */
  entitlementOf(person: PersonId, entries: readonly string[], team: string): Promise<Entitlement>;
}
