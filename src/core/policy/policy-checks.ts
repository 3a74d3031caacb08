import { effectiveTerms, listsTool } from './approval-terms.ts';
import { type ApproverRef, approverKind } from './approver.ts';
import { formatDuration } from './duration.ts';
import { type ApprovalTerms, EVERY_TOOL, type Policy } from './policy.ts';
import type { PolicyPath } from './policy-path.ts';
import type { PolicyTool } from './policy-tool.ts';
import type { Damage } from './policy-tree.ts';

export interface Finding {
  readonly path: PolicyPath;
  readonly message: string;
  /** The other place that the message is about; it ends in words that lead up to it. */
  readonly against?: PolicyPath;
}

const DEFAULTS = ['approvals', 'defaults'] as const;

/** What no schema sees: names that lead nowhere, entries that can never matter, and terms that nobody can meet. */
export function checkPolicy(
  policy: Policy,
  tools: ReadonlyMap<string, PolicyTool> | undefined,
  damage: Damage,
): Finding[] {
  return [
    ...(tools === undefined ? [] : unknownTools(policy, tools)),
    ...checkChannels(policy, damage),
    ...checkOverrides(policy, damage),
    ...checkTerms(policy.approvals.defaults, {}, DEFAULTS, damage),
    ...checkRules(policy, damage),
    ...checkGrants(policy, tools, damage),
    ...checkEdits(policy, tools),
    ...checkAutoApprove(policy, tools, damage),
    ...checkArming(policy, damage),
  ];
}

function* unknownTools(policy: Policy, tools: ReadonlyMap<string, PolicyTool>): Generator<Finding> {
  for (const { path, name } of namedTools(policy)) {
    if (name !== EVERY_TOOL && !tools.has(name)) {
      yield { path, message: `there is no tool named ${name}` };
    }
  }
}

function* namedTools(policy: Policy): Generator<{ path: PolicyPath; name: string }> {
  const lists: [PolicyPath, readonly string[]][] = [
    [['tools', 'allow'], policy.tools.allow],
    [['approvals', 'required_for'], policy.approvals.required_for],
  ];
  for (const [index, rule] of policy.approvals.rules.entries()) {
    lists.push([['approvals', 'rules', index, 'tools'], rule.tools]);
  }
  for (const [index, entry] of policy.auto_approve.entries()) {
    lists.push([['auto_approve', index, 'tools'], entry.tools]);
  }
  for (const [id, { overrides }] of policy.tenants) {
    const at = ['tenants', id, 'overrides'];
    lists.push([[...at, 'tools', 'allow'], overrides.tools?.allow ?? []]);
    lists.push([[...at, 'approvals', 'required_for'], overrides.approvals?.required_for ?? []]);
  }
  for (const [path, list] of lists) {
    for (const [index, name] of list.entries()) yield { path: [...path, index], name };
  }
  for (const name of policy.resources.keys()) yield { path: ['resources', name], name };
}

function* checkChannels(policy: Policy, damage: Damage): Generator<Finding> {
  const owners = new Map<string, string>();
  for (const [id, { slack }] of policy.tenants) {
    if (damage.touches(['tenants', id, 'slack'])) continue;
    const channel = `${slack.team}/${slack.channel}`;
    const other = owners.get(channel);
    owners.set(channel, other ?? id);
    if (other === undefined) continue;
    yield {
      path: ['tenants', id, 'slack', 'channel'],
      message: 'each tenant has its own channel, and this one is taken by',
      against: ['tenants', other, 'slack', 'channel'],
    };
  }
}

function* checkOverrides(policy: Policy, damage: Damage): Generator<Finding> {
  if (damage.touches(['tools'])) return;
  for (const [id, { overrides }] of policy.tenants) {
    for (const [index, name] of (overrides.tools?.allow ?? []).entries()) {
      if (policy.tools.allow.includes(name)) continue;
      const path = ['tenants', id, 'overrides', 'tools', 'allow', index];
      yield { path, message: `${name} is not in tools.allow: a tenant may narrow, never widen` };
    }
  }
}

function* checkRules(policy: Policy, damage: Damage): Generator<Finding> {
  const { rules, defaults } = policy.approvals;
  for (const [index, rule] of rules.entries()) {
    const path = ['approvals', 'rules', index];
    yield* checkTerms(rule, defaults, path, damage);
    const known = !damage.touches([...path, 'approvers'], [...DEFAULTS, 'approvers']);
    if (known && rule.approvers === undefined && defaults.approvers === undefined) {
      yield { path, message: 'has no approvers, and approvals.defaults has none to fall back on' };
    }
  }
  yield* checkScopes(policy, rules, ['approvals', 'rules'], damage);
}

/** A rule that names a tool and says what can never be. */
function* checkEdits(policy: Policy, tools: ReadonlyMap<string, PolicyTool> | undefined): Generator<Finding> {
  for (const [index, rule] of policy.approvals.rules.entries()) {
    if (rule.edit === undefined || rule.edit === false) continue;
    for (const [position, name] of rule.tools.entries()) {
      if (!tools?.get(name)?.irreversible) continue;
      const path = ['approvals', 'rules', index, 'tools', position];
      yield { path, message: `${name} cannot be undone: its calls can never be edited` };
    }
  }
}

/** One click then lets many calls through: only where one person may decide, and only what can be undone. */
function* checkGrants(
  policy: Policy,
  tools: ReadonlyMap<string, PolicyTool> | undefined,
  damage: Damage,
): Generator<Finding> {
  const { rules, defaults } = policy.approvals;
  for (const [index, rule] of rules.entries()) {
    if (rule.grants === undefined) continue;
    const path = ['approvals', 'rules', index];
    const { quorum } = effectiveTerms(defaults, rule);
    if (quorum > 1 && !damage.touches([...path, 'quorum'], [...DEFAULTS, 'quorum'])) {
      const message = `a quorum of ${quorum} cannot give grants: one person's click would stand for ${quorum}`;
      yield { path: [...path, 'grants'], message };
    }
    for (const [position, name] of rule.tools.entries()) {
      const at = [...path, 'tools', position];
      const tool = tools?.get(name);
      if (name === EVERY_TOOL) {
        yield { path: at, message: '"*" cannot have grants: name the tools that may be granted' };
      } else if (listsTool(policy.approvals.required_for, name)) {
        const message = `${name} is listed under approvals.required_for: a person decides each call of it, so it cannot have grants`;
        yield { path: at, message };
      } else if (tool?.effect === 'read') {
        yield { path: at, message: `${name} only reads: reads need no approval and no grant` };
      } else if (tool?.irreversible) {
        yield { path: at, message: `${name} cannot be undone: it can never be covered by a grant` };
      }
    }
  }
}

/** `own` over `defaults`; a term that both inherit was looked at where it stands. */
function* checkTerms(
  own: ApprovalTerms,
  defaults: ApprovalTerms,
  path: PolicyPath,
  damage: Damage,
): Generator<Finding> {
  const terms = effectiveTerms(defaults, own);
  /** The first of the terms that is said here, if all of them are sound wherever they are said. */
  const said = (...keys: (keyof ApprovalTerms)[]) => {
    const sound = keys.every(
      (key) => !damage.touches([...path, key], ...(own[key] === undefined ? [[...DEFAULTS, key]] : [])),
    );
    return sound ? keys.find((key) => own[key] !== undefined) : undefined;
  };

  const counted = said('quorum', 'approvers');
  const people = headCount(terms.approvers);
  if (counted !== undefined && people > 0 && people < terms.quorum) {
    const message = `a quorum of ${terms.quorum} cannot be met: the approvers are ${people === 1 ? 'one person' : `${people} people`} and no user group`;
    yield { path: [...path, counted], message };
  }
  const expires = formatDuration(terms.expiresInMs);
  const reminded = said('remind_after', 'expires_in');
  if (reminded !== undefined) {
    const { remindAfterMs } = terms;
    if (remindAfterMs !== undefined && remindAfterMs >= terms.expiresInMs) {
      const message = `a reminder after ${formatDuration(remindAfterMs)} comes too late: it expires in ${expires}`;
      yield { path: [...path, reminded], message };
    }
  }
  const escalated = said('escalate', 'expires_in');
  if (escalated !== undefined) {
    const after = terms.escalate?.after;
    if (after !== undefined && after >= terms.expiresInMs) {
      const message = `an escalation after ${formatDuration(after)} comes too late: it expires in ${expires}`;
      yield {
        path: escalated === 'escalate' ? [...path, 'escalate', 'after'] : [...path, escalated],
        message,
      };
    }
  }
  yield* checkEscalation(own, terms, path, said);
  const editable = said('edit', 'approvers', 'quorum');
  if (
    editable !== undefined &&
    terms.edit?.editorMayApprove === false &&
    people > 0 &&
    people <= terms.quorum
  ) {
    const message = `whoever edits a call may not approve it, and then a quorum of ${terms.quorum} cannot be met: the approvers are ${people === 1 ? 'one person' : `${people} people`}`;
    yield { path: [...path, editable], message };
  }
  const offered = own.denial_reasons === undefined ? undefined : said('denial_reasons', 'reason');
  if (offered !== undefined && terms.denialReasons !== undefined && terms.reason.deny === 'none') {
    const message = 'nobody is asked for these reasons: reason.deny is none';
    yield { path: [...path, offered], message };
  }
}

/** An escalation that changes nothing, or leaves a quorum that those whom it asks cannot meet. */
function* checkEscalation(
  own: ApprovalTerms,
  terms: ReturnType<typeof effectiveTerms>,
  path: PolicyPath,
  said: (...keys: (keyof ApprovalTerms)[]) => keyof ApprovalTerms | undefined,
): Generator<Finding> {
  const { escalate, approvers, quorum } = terms;
  const at = said('escalate', 'approvers', 'quorum');
  if (escalate === undefined || at === undefined || approvers.length === 0) return;
  const place = own.escalate === undefined ? [...path, at] : [...path, 'escalate', 'to'];
  if (!escalate.reroute && escalate.to.every((ref) => approvers.includes(ref))) {
    yield { path: place, message: 'this escalation asks nobody new: all of them are approvers already' };
  }
  const people = headCount(escalate.to);
  if (escalate.reroute && people < quorum) {
    const message = `a quorum of ${quorum} cannot be met after the escalation: it leaves ${people === 1 ? 'one person' : `${people} people`} and no user group`;
    yield { path: place, message };
  }
}

/** How many people the refs can stand for; a group may have any number. */
function headCount(refs: readonly ApproverRef[]): number {
  return refs.some((ref) => approverKind(ref) === 'usergroup') ? Infinity : new Set(refs).size;
}

function* checkAutoApprove(
  policy: Policy,
  tools: ReadonlyMap<string, PolicyTool> | undefined,
  damage: Damage,
): Generator<Finding> {
  const required = policy.approvals.required_for;
  for (const [index, entry] of policy.auto_approve.entries()) {
    for (const [position, name] of entry.tools.entries()) {
      const path = ['auto_approve', index, 'tools', position];
      const tool = tools?.get(name);
      if (required.includes(name) || required.includes(EVERY_TOOL)) {
        yield { path, message: `${name} is listed under approvals.required_for: a person always decides it` };
      }
      if (tool?.effect === 'read') {
        yield { path, message: `${name} only reads: reads need no approval, leave it out` };
      } else if (tool?.irreversible) {
        yield { path, message: `${name} cannot be undone: it can never be approved automatically` };
      }
    }
  }
  yield* checkScopes(policy, policy.auto_approve, ['auto_approve'], damage);
}

interface ScopedEntry {
  readonly tools: readonly string[];
  readonly tenants?: readonly string[] | undefined;
  readonly environments?: readonly string[] | undefined;
}

/** Names of tenants and environments that lead nowhere, and entries that an earlier one leaves nothing to. */
function* checkScopes(
  policy: Policy,
  entries: readonly ScopedEntry[],
  at: PolicyPath,
  damage: Damage,
): Generator<Finding> {
  if (!damage.hidesTenants()) {
    for (const [index, entry] of entries.entries()) yield* unknownScopes(policy, entry, [...at, index]);
  }
  const reaches = entries.map((entry, index) => {
    const scope = ['tools', 'tenants', 'environments'].map((key) => [...at, index, key]);
    return damage.touches(...scope) ? undefined : reachOf(policy, entry, damage);
  });
  for (const [index, later] of reaches.entries()) {
    if (later === undefined) continue;
    const earlier = reaches
      .slice(0, index)
      .findIndex((reach) => reach !== undefined && matchesAll(reach, later));
    if (earlier === -1) continue;
    const message = 'can never apply: everything that it matches is matched before, by';
    yield { path: [...at, index], message, against: [...at, earlier] };
  }
}

function* unknownScopes(policy: Policy, entry: ScopedEntry, at: PolicyPath): Generator<Finding> {
  const known = new Map<string, { readonly environments: readonly string[] }>(policy.tenants);
  const named = entry.tenants ?? [...known.keys()];
  for (const [index, tenant] of (entry.tenants ?? []).entries()) {
    if (!known.has(tenant)) {
      yield { path: [...at, 'tenants', index], message: `there is no tenant ${tenant} under tenants` };
    }
  }
  // An unknown tenant was named above; what its environments would be is anyone's guess.
  if (named.some((tenant) => !known.has(tenant))) return;
  const environments = new Set(named.flatMap((tenant) => known.get(tenant)?.environments ?? []));
  for (const [index, environment] of (entry.environments ?? []).entries()) {
    if (environments.has(environment)) continue;
    const whose = entry.tenants === undefined ? 'no tenant has' : 'none of its tenants has';
    yield { path: [...at, 'environments', index], message: `${whose} an environment ${environment}` };
  }
}

/** The sets that an entry matches; undefined is everything, known or not. */
interface Reach {
  readonly tools: ReadonlySet<string> | undefined;
  readonly tenants: ReadonlySet<string> | undefined;
  readonly environments: ReadonlySet<string> | undefined;
}

function reachOf(policy: Policy, entry: ScopedEntry, damage: Damage): Reach {
  // A list of every tenant, or of every environment there is, reaches as far as saying nothing.
  const all = (listed: readonly string[] | undefined, known: Iterable<string>) => {
    if (listed === undefined) return undefined;
    const set = new Set(listed);
    return !damage.hidesTenants() && [...known].every((one) => set.has(one)) ? undefined : set;
  };
  const environments = [...policy.tenants.values()].flatMap((tenant) => tenant.environments);
  return {
    tools: entry.tools.includes(EVERY_TOOL) ? undefined : new Set(entry.tools),
    tenants: all(entry.tenants, policy.tenants.keys()),
    environments: all(entry.environments, environments),
  };
}

function matchesAll(earlier: Reach, later: Reach): boolean {
  const includes = (outer: ReadonlySet<string> | undefined, inner: ReadonlySet<string> | undefined) =>
    outer === undefined || (inner !== undefined && [...inner].every((one) => outer.has(one)));
  return (
    includes(earlier.tools, later.tools) &&
    includes(earlier.tenants, later.tenants) &&
    includes(earlier.environments, later.environments)
  );
}

/**
 * Arming must be at least as strict as stopping. People and groups cannot be compared from here, so what is refused is
 * what is certainly laxer: everyone who may stop, and others besides, each alone.
 */
function* checkArming(policy: Policy, damage: Damage): Generator<Finding> {
  if (policy.switch === undefined || damage.touches(['switch'])) return;
  const { operators, arming } = policy.switch;
  const at = ['switch', 'arming'];
  const people = headCount(arming.operators);
  if (people < arming.quorum) {
    const message = `a quorum of ${arming.quorum} cannot be met: the operators are ${people} people and no user group`;
    yield { path: [...at, 'quorum'], message };
  }
  const everyOperator = operators.every((ref) => arming.operators.includes(ref));
  if (arming.quorum === 1 && everyOperator && arming.operators.length > operators.length) {
    const message = 'more people may turn writes on than may turn them off: name fewer, or give a quorum';
    yield { path: [...at, 'operators'], message };
  }
}
