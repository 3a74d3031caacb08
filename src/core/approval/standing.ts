import type { PersonId, PrincipalId } from '../identity/ids.ts';
import type { ApprovalRule } from '../policy/verdict.ts';
import type { ProposalTerms } from '../proposal/proposal-terms.ts';
import type { ApproverDirectory, Entitlement } from './approver-directory.ts';
import { decidersAfter } from './deciders.ts';
import type { SignedDecision } from './decision.ts';
import type { DecisionRefusal } from './refusal.ts';
import { isSecondAccountOf } from './second-accounts.ts';

/** Those on whose behalf it is, or who own what it is for: people whose other accounts may not decide either. */
export function askersOf(rule: Pick<ApprovalRule, 'excluded'>, principal: PrincipalId): PersonId[] {
  const asker = principal.startsWith('slack:') ? [principal as PersonId] : [];
  return [...new Set([...asker, ...rule.excluded])];
}

/** May this person decide, as far as the directory knows: of the right people, and nobody's second account. */
export async function standingOf(
  directory: ApproverDirectory,
  ask: {
    readonly person: PersonId;
    readonly rule: ApprovalRule;
    readonly terms: ProposalTerms;
    readonly team: string;
    /** When they decided, or want to; on Redis's clock. */
    readonly at: number;
    readonly fresh?: boolean;
  },
): Promise<Entitlement> {
  const { person, rule, terms, team, at, fresh = false } = ask;
  const entries = decidersAfter(rule, at - terms.createdAt);
  const [entitlement, second] = await Promise.all([
    directory.entitlementOf(person, entries, team, { fresh }),
    isSecondAccountOf(directory, person, askersOf(rule, terms.context.principal)),
  ]);
  if (!entitlement.ok) return entitlement;
  if (second === 'cannot_check') return { ok: false, refusal: 'cannot_check' };
  return second ? { ok: false, refusal: 'own_call_other_account' } : entitlement;
}

/** Of those who approved, who still may, and who may not any more. `unknown`: the directory did not answer. */
export async function stillStanding(
  directory: ApproverDirectory,
  approvals: readonly SignedDecision[],
  of: { readonly rule: ApprovalRule; readonly terms: ProposalTerms; readonly team: string },
): Promise<{ still: PersonId[]; gone: { person: PersonId; why: DecisionRefusal }[]; unknown: boolean }> {
  const found = await Promise.all(
    approvals.map(async ({ statement: { person, at } }) => ({
      person,
      standing: await standingOf(directory, { ...of, person, at, fresh: true }),
    })),
  );
  const refused = found.flatMap(({ person, standing }) =>
    standing.ok ? [] : [{ person, why: standing.refusal }],
  );
  return {
    still: found.flatMap(({ person, standing }) => (standing.ok ? [person] : [])),
    gone: refused.filter(({ why }) => why !== 'cannot_check'),
    unknown: refused.some(({ why }) => why === 'cannot_check'),
  };
}
