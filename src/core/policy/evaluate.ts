import { createHash } from 'node:crypto';
import type { CallContext } from '../identity/call-context.ts';
import { type PersonId, type PrincipalId, personOf, type ServiceId, slackIdsOf } from '../identity/ids.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import { ToolName } from '../tool/tool-name.ts';
import { covers, effectiveTerms, listsTool } from './approval-terms.ts';
import { approverSlackId } from './approver.ts';
import { formatDuration } from './duration.ts';
import { type AutoApproveEntry, EVERY_TOOL, type LoadedPolicy, type Tenant } from './policy.ts';
import { type PolicyPath, pathLabel } from './policy-path.ts';
import type { PolicyTool } from './policy-tool.ts';
import { firstOutOfBounds } from './resource-bounds.ts';
import type {
  Allow,
  ApprovalRule,
  BudgetDimension,
  BudgetTerms,
  Forbid,
  ForbidReason,
  RequireApproval,
  Verdict,
} from './verdict.ts';

export interface JudgedCall {
  /** From the host's authenticated request. */
  readonly context: CallContext;
  /** The registered tool of that name; undefined where there is none. */
  readonly tool: PolicyTool | undefined;
  /** What the agent asked for, as it came. */
  readonly toolName: string;
  /** A value of strict JSON. Nothing in it matters but what `resources` bounds. */
  readonly args: JsonValue;
}

/** A call whose tool, tenant and environment the policy knows. */
interface PlacedCall {
  readonly tool: PolicyTool;
  readonly tenant: Tenant;
  readonly context: CallContext;
}

/** What the policy says of a call. Pure: the same policy and call give the same verdict. */
export function evaluate(loaded: LoadedPolicy, call: JudgedCall): Verdict {
  const placed = place(loaded, call);
  if ('verdict' in placed) return placed;
  const outside = serviceVerdict(loaded, call.context) ?? boundsVerdict(loaded, placed.tool, call.args);
  if (outside !== undefined) return outside;
  if (placed.tool.effect === 'read') {
    return { verdict: 'allow', basis: 'read', by: allowedBy(loaded, placed.tool.name) };
  }
  return writeVerdict(loaded, placed);
}

function place(loaded: LoadedPolicy, { context, tool, toolName }: JudgedCall): PlacedCall | Forbid {
  const { policy } = loaded;
  // The name that was asked for must be the tool's own: a tool found by another spelling is not the tool that was judged.
  if (tool === undefined || tool.name !== toolName) {
    return forbid('unknown_tool', unknownTool(toolName), 'the registered tools');
  }
  if (!policy.tools.allow.includes(tool.name)) {
    const message = `The policy does not allow the tool ${tool.name}.`;
    return forbid('tool_not_allowed', message, where(loaded, ['tools', 'allow'], 'nothing'));
  }
  const tenant = policy.tenants.get(context.tenant);
  if (tenant === undefined) {
    const message = `The policy knows no tenant ${context.tenant}.`;
    return forbid('unknown_tenant', message, where(loaded, ['tenants'], 'no tenant'));
  }
  const narrowed = tenant.overrides.tools?.allow;
  if (narrowed !== undefined && !narrowed.includes(tool.name)) {
    const message = `The policy does not allow the tool ${tool.name} for the tenant ${context.tenant}.`;
    const at = ['tenants', context.tenant, 'overrides', 'tools', 'allow'];
    return forbid('tool_not_allowed', message, where(loaded, at));
  }
  if (!tenant.environments.includes(context.environment)) {
    const message = `The tenant ${context.tenant} has no environment ${context.environment} in the policy.`;
    return forbid('unknown_environment', message, where(loaded, ['tenants', context.tenant, 'environments']));
  }
  return { tool, tenant, context };
}

function serviceVerdict(loaded: LoadedPolicy, { principal }: CallContext): Forbid | undefined {
  if (!isService(principal) || loaded.policy.services.has(principal)) return undefined;
  const message = `The policy does not name ${principal}, so who owns it, and must not approve for it, is not known.`;
  return forbid('unknown_service', message, where(loaded, ['services'], 'no service'));
}

function boundsVerdict(loaded: LoadedPolicy, tool: PolicyTool, args: JsonValue): Forbid | undefined {
  const bounds = loaded.policy.resources.get(tool.name);
  if (bounds === undefined) return undefined;
  const outside = firstOutOfBounds(bounds, args);
  if (outside === undefined) return undefined;
  const message = `The policy bounds ${tool.name}: ${outside.argument} must be ${outside.expected}.`;
  return forbid('resource_out_of_bounds', message, where(loaded, ['resources', tool.name]));
}

function writeVerdict(loaded: LoadedPolicy, call: PlacedCall): Verdict {
  const disabled = writesDisabled(loaded, call);
  if (disabled !== undefined) return disabled;
  const insisted = peopleInsisted(loaded, call);
  // A person decides each of these: what somebody allowed before does not stand for that.
  if (insisted !== undefined) return withoutGrants(askPeople(loaded, call, insisted));
  const automatic = automaticVerdict(loaded, call);
  if (automatic !== undefined) return automatic;

  const everyWrite = 'because every write needs an approval';
  if (loaded.policy.write_tools.require_approval) {
    const by = where(loaded, ['write_tools', 'require_approval'], 'true');
    return askPeople(loaded, call, { by, why: everyWrite });
  }
  if (call.tenant.overrides.write_tools?.require_approval === true) {
    const by = where(loaded, overridePath(call, 'write_tools', 'require_approval'));
    return askPeople(loaded, call, { by, why: `${everyWrite} for the tenant ${call.context.tenant}` });
  }
  const by = where(loaded, ['write_tools', 'require_approval']);
  return { verdict: 'allow', basis: 'approval_not_required', by };
}

function writesDisabled(loaded: LoadedPolicy, call: PlacedCall): Forbid | undefined {
  if (!loaded.policy.write_tools.enabled) {
    const message = `The policy does not enable writes, and ${call.tool.name} is one.`;
    return forbid('writes_disabled', message, where(loaded, ['write_tools', 'enabled'], 'false'));
  }
  if (call.tenant.overrides.write_tools?.enabled === false) {
    const message = `The policy does not enable writes for the tenant ${call.context.tenant}, and ${call.tool.name} is one.`;
    return forbid('writes_disabled', message, where(loaded, overridePath(call, 'write_tools', 'enabled')));
  }
  return undefined;
}

interface Asked {
  readonly by: string;
  readonly why: string;
}

/** Where the policy or the tool itself wants people, whatever `auto_approve` says. */
function peopleInsisted(loaded: LoadedPolicy, call: PlacedCall): Asked | undefined {
  const { tool, tenant, context } = call;
  const lists = [
    { list: loaded.policy.approvals.required_for, at: ['approvals', 'required_for'], whose: '' },
    {
      list: tenant.overrides.approvals?.required_for ?? [],
      at: overridePath(call, 'approvals', 'required_for'),
      whose: ` for the tenant ${context.tenant}`,
    },
  ];
  for (const { list, at, whose } of lists) {
    if (!listsTool(list, tool.name)) continue;
    const index = list.findIndex((name) => name === EVERY_TOOL || name === tool.name);
    const why = `because the policy wants a person for every ${tool.name}${whose} (approvals.required_for)`;
    return { by: where(loaded, [...at, index]), why };
  }
  if (tool.irreversible !== false) {
    return { by: 'the definition of the tool: irreversible', why: `because ${tool.name} cannot be undone` };
  }
  return undefined;
}

function automaticVerdict(loaded: LoadedPolicy, call: PlacedCall): Allow | undefined {
  const index = loaded.policy.auto_approve.findIndex((entry) => covers(entry, scopeOf(call)));
  const entry = loaded.policy.auto_approve[index];
  if (entry === undefined) return undefined;
  const by = where(loaded, ['auto_approve', index]);
  const budget = budgetTerms(entry, call.context);
  const spent = `${budget.max} calls in ${formatDuration(budget.perMs)}`;
  const why = `because the budget for automatic approvals of ${call.tool.name} (${spent}) is spent`;
  const whenSpent = askPeople(loaded, call, { by, why });
  const allow = { verdict: 'allow', basis: 'auto_approve', by, budget } as const;
  return whenSpent.verdict === 'forbid' ? allow : { ...allow, whenSpent };
}

function budgetTerms(entry: AutoApproveEntry, context: CallContext): BudgetTerms {
  // What the entry covers names the counter, so that moving it in the file, or raising its maximum, refills nothing.
  const covered = [entry.tools, entry.tenants ?? null, entry.environments ?? null];
  const sorted = JSON.stringify(covered.map((list) => (list === null ? null : [...list].sort())));
  const id = `auto_${createHash('sha256').update(sorted).digest('hex').slice(0, 16)}`;
  const by: BudgetDimension[] = [...entry.budget.by].sort();
  // No id contains `:` or `=`, so no two contexts share a key.
  const counterKey = [id, ...by.map((dimension) => `${dimension}=${context[dimension]}`)].join(':');
  return { id, max: entry.budget.max, perMs: entry.budget.per, by, counterKey };
}

function askPeople(loaded: LoadedPolicy, call: PlacedCall, asked: Asked): RequireApproval | Forbid {
  const { approvals } = loaded.policy;
  const index = approvals.rules.findIndex((entry) => covers(entry, scopeOf(call)));
  const at = index === -1 ? ['approvals', 'defaults'] : ['approvals', 'rules', index];
  const terms = effectiveTerms(approvals.defaults, approvals.rules[index] ?? {});
  if (terms.approvers.length === 0) {
    const { tool, context } = call;
    const message =
      `${tool.name} needs an approval in ${context.tenant}/${context.environment}, and the policy names nobody who ` +
      'could give it: add approvers under approvals.defaults, or a rule for it under approvals.rules.';
    return forbid('no_rule', message, where(loaded, ['approvals'], 'nobody'));
  }
  const rule: ApprovalRule = {
    approvers: [...terms.approvers],
    quorum: terms.quorum,
    expiresInMs: terms.expiresInMs,
    startWithinMs: terms.startWithinMs,
    reason: { ...terms.reason },
    excluded: excludedPeople(loaded, call),
  };
  if (terms.remindAfterMs !== undefined) rule.remindAfterMs = terms.remindAfterMs;
  if (terms.escalate !== undefined) {
    const { after, to, reroute } = terms.escalate;
    rule.escalate = { afterMs: after, to: [...to], ...(reroute ? { reroute } : {}) };
  }
  if (terms.denialReasons !== undefined) {
    rule.denialReasons = terms.denialReasons.map(({ text, tell_agent: tellAgent }) =>
      tellAgent === undefined ? { text } : { text, tellAgent },
    );
  }
  // What cannot be undone runs as it was thought of, or not at all: then `"*"` with `edit` says nothing about it.
  if (terms.edit !== undefined && call.tool.irreversible === false) rule.edit = { ...terms.edit };
  const grants = approvals.rules[index]?.grants;
  // The checks of the policy refuse the rest; a tool that was made irreversible since is caught here.
  if (grants !== undefined && terms.quorum === 1 && call.tool.irreversible === false) {
    rule.grants = { maxUses: grants.max_uses, forMs: grants.for };
  }
  return { verdict: 'require_approval', by: `${asked.by}; ${where(loaded, at)}`, why: asked.why, rule };
}

function withoutGrants(verdict: RequireApproval | Forbid): RequireApproval | Forbid {
  if (verdict.verdict === 'forbid') return verdict;
  const { grants: _, ...rule } = verdict.rule;
  return { ...verdict, rule };
}

function excludedPeople(loaded: LoadedPolicy, { tenant, context }: PlacedCall): PersonId[] {
  const { principal } = context;
  const { team } = tenant.slack;
  if (isService(principal)) {
    const service = loaded.policy.services.get(principal);
    if (service === undefined || !service.exclude_owners) return [];
    return service.owners.map((owner) => personOf(team, approverSlackId(owner)));
  }
  // In an Enterprise Grid one person has one user id in several teams: it counts in the tenant's team as well.
  return [...new Set([principal, personOf(team, slackIdsOf(principal).user)])];
}

function isService(principal: PrincipalId): principal is ServiceId {
  return principal.startsWith('service:');
}

function scopeOf({ tool, context }: PlacedCall) {
  return { tool: tool.name, tenant: context.tenant, environment: context.environment };
}

function overridePath({ context }: PlacedCall, ...rest: string[]): string[] {
  return ['tenants', context.tenant, 'overrides', ...rest];
}

function allowedBy(loaded: LoadedPolicy, tool: string): string {
  return where(loaded, ['tools', 'allow', loaded.policy.tools.allow.indexOf(tool)]);
}

/** `write_tools.enabled (line 4)`; for what the text does not say, `write_tools.enabled (not set: false)`. */
function where(loaded: LoadedPolicy, path: PolicyPath, unset = 'the default'): string {
  const label = pathLabel(path);
  const line = loaded.lines.get(label);
  return line === undefined ? `${label} (not set: ${unset})` : `${label} (line ${line})`;
}

/** A name that the agent made up is the agent's text: it is repeated only where it could be a tool's name. */
function unknownTool(name: string): string {
  return ToolName.safeParse(name).success
    ? `There is no tool named ${name}.`
    : 'There is no tool of that name.';
}

function forbid(reason: ForbidReason, message: string, by: string): Forbid {
  return { verdict: 'forbid', reason, message, by };
}
