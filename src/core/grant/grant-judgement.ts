import type { CallContext } from '../identity/call-context.ts';
import { slackIdsOf } from '../identity/ids.ts';
import type { Verdict } from '../policy/verdict.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import { type ToolDefinition, toolDigest } from '../tool/tool.ts';
import { patternCovers } from './argument-pattern.ts';
import type { GrantStatement } from './grant.ts';

export type GrantRefusal =
  | 'other_caller'
  | 'other_tool'
  | 'irreversible'
  | 'other_arguments'
  | 'expired'
  | 'not_allowed_any_more'
  | 'giver_not_entitled';

/** One call, as it stands now. */
export interface GrantCase {
  readonly context: CallContext;
  readonly tool: ToolDefinition;
  /** Frozen: the canonical value. */
  readonly args: JsonValue;
  /** What the policy of now says of it. */
  readonly verdict: Verdict;
  /** The team of the tenant, as the policy has it now. */
  readonly team: string | undefined;
  /** Redis's clock, ms. */
  readonly now: number;
}

/**
 * Why this grant does not cover this call, or undefined. The guard asks before it uses a grant, and the executor asks
 * again, with its own policy and tools, before the call starts. Signature, uses and revocation are looked at elsewhere.
 */
export function grantRefusal(statement: GrantStatement, call: GrantCase): GrantRefusal | undefined {
  const { context, tool } = call;
  const sameCaller =
    statement.tenant === context.tenant &&
    statement.environment === context.environment &&
    statement.agent === context.agent &&
    statement.principal === context.principal;
  if (!sameCaller) return 'other_caller';
  if (statement.tool !== tool.name || statement.toolDigest !== toolDigest(tool)) return 'other_tool';
  if (tool.irreversible !== false) return 'irreversible';
  if (!patternCovers(statement.pattern, call.args)) return 'other_arguments';
  if (call.now >= statement.expires || call.now < statement.at) return 'expired';
  return policyRefusal(statement, call);
}

/** A policy that was tightened since reaches the grant whole: what it would no longer let be given is not used. */
function policyRefusal(statement: GrantStatement, { verdict, team }: GrantCase): GrantRefusal | undefined {
  if (verdict.verdict !== 'require_approval') return 'not_allowed_any_more';
  const { grants, quorum, approvers, excluded, reason } = verdict.rule;
  if (grants === undefined || quorum !== 1) return 'not_allowed_any_more';
  if (statement.maxUses > grants.maxUses || statement.expires - statement.at > grants.forMs) {
    return 'not_allowed_any_more';
  }
  if (reason.approve === 'required' && statement.reason === undefined) return 'not_allowed_any_more';
  const { person, as } = statement;
  const slack = slackIdsOf(person);
  const entitled =
    slack.team === team &&
    approvers.some((entry) => entry === as) &&
    (!as.startsWith('user:') || as === `user:${slack.user}`) &&
    !excluded.includes(person) &&
    person !== statement.principal;
  return entitled ? undefined : 'giver_not_entitled';
}
