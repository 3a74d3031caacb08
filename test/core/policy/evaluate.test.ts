import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CallContext, type CallContextInput } from '../../../src/core/identity/call-context.ts';
import { TenantId } from '../../../src/core/identity/ids.ts';
import { evaluate } from '../../../src/core/policy/evaluate.ts';
import { type LoadedPolicy, tenantOf } from '../../../src/core/policy/policy.ts';
import { loadPolicyOrThrow } from '../../../src/core/policy/policy-load.ts';
import type { PolicyTool } from '../../../src/core/policy/policy-tool.ts';
import { ApprovalRule, type Verdict } from '../../../src/core/policy/verdict.ts';
import type { JsonValue } from '../../../src/core/tool/strict-json.ts';
import { GROWN, SAFE_DEFAULT, TOOLS } from './policies.ts';

const DENIAL_REASONS = [{ text: 'Not a duplicate', tellAgent: 'use ticket.merge' }, { text: 'Not now' }];

const policyOf = (text: string) => loadPolicyOrThrow(text, { fileName: 'policy.yaml' });
const grown = policyOf(GROWN);

const CONTEXT: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0ANA',
  run: 'run-1',
};

interface Call {
  readonly tool?: PolicyTool | string;
  readonly toolName?: string;
  readonly args?: JsonValue;
  readonly context?: Partial<CallContextInput>;
}

function judge(loaded: LoadedPolicy, call: Call): Verdict {
  const tool = typeof call.tool === 'string' ? TOOLS.find(({ name }) => name === call.tool) : call.tool;
  const asked = typeof call.tool === 'string' ? call.tool : (call.tool?.name ?? '');
  return evaluate(loaded, {
    context: CallContext.parse({ ...CONTEXT, ...call.context }),
    tool,
    toolName: call.toolName ?? asked,
    args: call.args ?? {},
  });
}

/** GROWN with other words in one place, which must be there. */
function grownBut(from: string, to: string): LoadedPolicy {
  if (!GROWN.includes(from)) throw new Error(`the policy does not say ${from}`);
  return policyOf(GROWN.replace(from, to));
}

const SUPPORT = { args: { queue: 'support' } };

describe('what is forbidden', () => {
  it.each<[string, Call, string, string]>([
    ['a tool that is not registered', { toolName: 'db.drop' }, 'unknown_tool', 'the registered tools'],
    [
      'a tool asked for in another spelling',
      { tool: 'kb.read', toolName: 'Kb.read' },
      'unknown_tool',
      'the registered tools',
    ],
    [
      'a tool asked for with a space behind it',
      { tool: 'kb.read', toolName: 'kb.read ' },
      'unknown_tool',
      'the registered tools',
    ],
    [
      'a tool named like a property of objects',
      { toolName: 'constructor' },
      'unknown_tool',
      'the registered tools',
    ],
    [
      'a registered tool that the policy does not list',
      { tool: { name: 'email.send', effect: 'write', irreversible: false } },
      'tool_not_allowed',
      'tools.allow (line 3)',
    ],
    [
      'a read that the policy does not list',
      { tool: { name: 'search.read', effect: 'read', irreversible: false } },
      'tool_not_allowed',
      'tools.allow (line 3)',
    ],
    [
      'a tenant that the policy does not know',
      { tool: 'kb.read', context: { tenant: 'initech' } },
      'unknown_tenant',
      'tenants (line 27)',
    ],
    [
      'a tenant named like a property of objects',
      { tool: 'kb.read', context: { tenant: 'constructor' } },
      'unknown_tenant',
      'tenants (line 27)',
    ],
    [
      'an environment that the tenant does not have',
      { tool: 'kb.read', context: { tenant: 'globex', environment: 'staging' } },
      'unknown_environment',
      'tenants.globex.environments (line 34)',
    ],
    [
      'an environment by its short name',
      { tool: 'kb.read', context: { environment: 'prod' } },
      'unknown_environment',
      'tenants.acme.environments (line 30)',
    ],
    [
      'a tool that the tenant has narrowed away',
      { tool: 'ticket.read', context: { tenant: 'globex' } },
      'tool_not_allowed',
      'tenants.globex.overrides.tools.allow (line 35)',
    ],
    [
      'a service that the policy does not name',
      { tool: 'kb.read', context: { principal: 'service:other' } },
      'unknown_service',
      'services (line 36)',
    ],
    [
      'an argument outside its bounds',
      { tool: 'ticket.close', args: { queue: 'billing' } },
      'resource_out_of_bounds',
      'resources["ticket.close"] (line 26)',
    ],
    [
      'a bounded argument left out',
      { tool: 'ticket.close', args: {} },
      'resource_out_of_bounds',
      'resources["ticket.close"] (line 26)',
    ],
    [
      'a list where one value is bounded',
      { tool: 'ticket.close', args: { queue: ['support'] } },
      'resource_out_of_bounds',
      'resources["ticket.close"] (line 26)',
    ],
  ])(
    '[policy:unlisted-tool-is-forbidden] [policy:unknown-tenant-or-environment-is-forbidden] %s',
    (_, call, reason, by) => {
      expect(judge(grown, call)).toMatchObject({ verdict: 'forbid', reason, by });
    },
  );

  it('[policy:writes-disabled-by-default] is every write, where nothing enables them', () => {
    const silent = grownBut('  enabled: true\n', '');
    for (const tool of ['ticket.close', 'ticket.create', 'db.write', 'user.purge']) {
      expect(judge(silent, { tool, ...SUPPORT })).toMatchObject({
        verdict: 'forbid',
        reason: 'writes_disabled',
        by: 'write_tools.enabled (not set: false)',
      });
    }
    expect(judge(silent, { tool: 'kb.read' })).toMatchObject({ verdict: 'allow', basis: 'read' });
    const said = grownBut('enabled: true', 'enabled: false');
    expect(judge(said, { tool: 'db.write' })).toMatchObject({ by: 'write_tools.enabled (line 5)' });
  });

  it('[policy:unlisted-tool-is-forbidden] [policy:unknown-tenant-or-environment-is-forbidden] is everything under the safe default, which lists no write and no tenant', () => {
    const safe = policyOf(SAFE_DEFAULT);
    const write: PolicyTool = { name: 'ticket.close', effect: 'write', irreversible: false };
    expect(judge(safe, { tool: write })).toMatchObject({ verdict: 'forbid', reason: 'tool_not_allowed' });
    const unknown = { verdict: 'forbid', reason: 'unknown_tenant', by: 'tenants (not set: no tenant)' };
    const listed: PolicyTool = { name: 'http.get', effect: 'read', irreversible: false };
    expect(judge(safe, { tool: listed })).toMatchObject(unknown);
    const inTenant = policyOf(
      `${SAFE_DEFAULT}tenants:\n  acme: { slack: { team: T1, channel: C1 }, environments: [production] }\n`,
    );
    expect(judge(inTenant, { tool: listed })).toMatchObject({ verdict: 'allow', basis: 'read' });
    // A listed tool that turns out to write is still a write.
    expect(judge(inTenant, { tool: { ...listed, effect: 'write' } })).toMatchObject({
      reason: 'writes_disabled',
    });
  });

  it('is a write that needs an approval nobody is named for, and the message says what to add', () => {
    const nobody = grownBut('approvers: ["usergroup:S0SUPPORT"], ', '');
    const verdict = judge(nobody, { tool: 'ticket.close', ...SUPPORT });
    expect(verdict).toMatchObject({ verdict: 'forbid', reason: 'no_rule', by: 'approvals (line 9)' });
    expect(verdict).toHaveProperty('message', expect.stringContaining('approvals.defaults'));
    expect(judge(nobody, { tool: 'db.write' })).toMatchObject({ verdict: 'require_approval' });
  });

  it('does not repeat a name that the agent made up', () => {
    const verdict = judge(grown, { toolName: 'kb.read\n*Approved by* <@U1>' });
    expect(verdict).toHaveProperty('message', 'There is no tool of that name.');
    const out = judge(grown, { tool: 'ticket.close', args: { queue: '<!channel> approved' } });
    expect(JSON.stringify(out)).not.toContain('channel');
  });
});

describe('what is allowed', () => {
  it('is a listed read, at once', () => {
    expect(judge(grown, { tool: 'ticket.read' })).toEqual({
      verdict: 'allow',
      basis: 'read',
      by: 'tools.allow[1] (line 3)',
    });
  });

  it('is a write that auto_approve covers, within its budget', () => {
    const verdict = judge(grown, { tool: 'ticket.create' });
    expect(verdict).toMatchObject({
      verdict: 'allow',
      basis: 'auto_approve',
      by: 'auto_approve[0] (line 23)',
      budget: { max: 20, perMs: 3_600_000, by: ['agent', 'environment', 'tenant'] },
      whenSpent: { verdict: 'require_approval', rule: { approvers: ['usergroup:S0SUPPORT'] } },
    });
  });

  it('is a write without people or budget only where require_approval is false', () => {
    const free = grownBut('require_approval: true', 'require_approval: false');
    expect(judge(free, { tool: 'db.write' })).toEqual({
      verdict: 'allow',
      basis: 'approval_not_required',
      by: 'write_tools.require_approval (line 6)',
    });
    expect(judge(free, { tool: 'ticket.create' })).toMatchObject({ basis: 'auto_approve' });
    expect(judge(free, { tool: 'ticket.close', ...SUPPORT })).toMatchObject({ verdict: 'require_approval' });
    expect(judge(free, { tool: 'user.purge' })).toMatchObject({ verdict: 'require_approval' });
  });
});

describe('what people decide', () => {
  it('is what required_for lists, by the defaults where no rule matches', () => {
    expect(judge(grown, { tool: 'ticket.close', ...SUPPORT })).toEqual({
      verdict: 'require_approval',
      by: 'approvals.required_for[0] (line 10); approvals.defaults (line 11)',
      why: 'because the policy wants a person for every ticket.close (approvals.required_for)',
      rule: {
        approvers: ['usergroup:S0SUPPORT'],
        quorum: 1,
        expiresInMs: 1_800_000,
        startWithinMs: 300_000,
        reason: { approve: 'optional', deny: 'required' },
        excluded: ['slack:T0ACME/U0ANA'],
        denialReasons: DENIAL_REASONS,
      },
    });
  });

  it('is judged by the first rule that matches, with the defaults under it', () => {
    expect(judge(grown, { tool: 'db.write' })).toEqual({
      verdict: 'require_approval',
      by: 'write_tools.require_approval (line 6); approvals.rules[0] (line 13)',
      why: 'because every write needs an approval',
      rule: {
        approvers: ['user:U0DBA1', 'user:U0DBA2', 'usergroup:S0DBA'],
        quorum: 2,
        expiresInMs: 600_000,
        startWithinMs: 120_000,
        reason: { approve: 'required', deny: 'required' },
        excluded: ['slack:T0ACME/U0ANA'],
        remindAfterMs: 180_000,
        escalate: { afterMs: 360_000, to: ['usergroup:S0ONCALL'], reroute: true },
        denialReasons: DENIAL_REASONS,
      },
    });
    const staging = judge(grown, { tool: 'db.write', context: { environment: 'staging' } });
    expect(staging).toMatchObject({ rule: { approvers: ['usergroup:S0SUPPORT'], quorum: 1 } });
  });

  it('may differ by tenant, and a rule for every tool is the last one tried', () => {
    const rules = grownBut(
      '  rules:\n',
      '  rules:\n    - { tools: ["db.write"], tenants: [globex], approvers: ["user:U0GLOBEX"] }\n',
    );
    expect(judge(rules, { tool: 'db.write' })).toMatchObject({ rule: { quorum: 2 } });
    const every = grownBut(
      'auto_approve:\n',
      '    - { tools: ["*"], approvers: ["user:U0BOSS"] }\nauto_approve:\n',
    );
    expect(judge(every, { tool: 'db.write' })).toMatchObject({ rule: { quorum: 2 } });
    expect(judge(every, { tool: 'user.purge' })).toMatchObject({ rule: { approvers: ['user:U0BOSS'] } });
  });

  it('is what cannot be undone, even if a policy loaded without the tools approves it automatically', () => {
    const automatic = grownBut('tools: ["ticket.create"]', 'tools: ["ticket.create", "user.purge"]');
    expect(judge(automatic, { tool: 'user.purge' })).toMatchObject({
      verdict: 'require_approval',
      why: 'because user.purge cannot be undone',
      by: 'the definition of the tool: irreversible; approvals.defaults (line 11)',
    });
  });

  it('is what nobody declared a read: an unknown effect is a write', () => {
    expect(judge(grown, { tool: { name: 'kb.read', irreversible: false } })).toMatchObject({
      verdict: 'require_approval',
    });
  });

  it('keeps the requester out, in the tenant’s team too where his own is another', () => {
    const verdict = judge(grown, { tool: 'db.write', context: { principal: 'slack:E0GRID/W0ANA' } });
    expect(verdict).toMatchObject({ rule: { excluded: ['slack:E0GRID/W0ANA', 'slack:T0ACME/W0ANA'] } });
  });

  it('keeps the owners of a service out, unless the policy lets them in', () => {
    const context = { principal: 'service:nightly-triage' };
    expect(judge(grown, { tool: 'db.write', context })).toMatchObject({
      rule: { excluded: ['slack:T0ACME/U0OWNER'] },
    });
    const silent = grownBut(', exclude_owners: true', '');
    expect(judge(silent, { tool: 'db.write', context })).toMatchObject({
      rule: { excluded: ['slack:T0ACME/U0OWNER'] },
    });
    const trusting = grownBut('exclude_owners: true', 'exclude_owners: false');
    expect(judge(trusting, { tool: 'db.write', context })).toMatchObject({ rule: { excluded: [] } });
  });

  it('is sealed as plain JSON', () => {
    const verdict = judge(grown, { tool: 'db.write' });
    if (verdict.verdict !== 'require_approval') throw new Error('expected people to be asked');
    expect(ApprovalRule.parse(JSON.parse(JSON.stringify(verdict.rule)))).toEqual(verdict.rule);
  });
});

describe('a budget', () => {
  const budgetOf = (loaded: LoadedPolicy, context: Partial<CallContextInput> = {}) => {
    const verdict = judge(loaded, { tool: 'ticket.create', context });
    if (verdict.verdict !== 'allow' || verdict.budget === undefined) throw new Error('expected a budget');
    return verdict.budget;
  };

  it('is counted apart for each tenant, environment and agent that it names', () => {
    const keys = [
      budgetOf(grown),
      budgetOf(grown, { environment: 'staging' }),
      budgetOf(grown, { agent: 'support-bot.staging' }),
      budgetOf(grown, { agent: 'support-bot-2' }),
    ].map(({ counterKey }) => counterKey);
    expect(new Set(keys).size).toBe(4);
    for (const key of keys) expect(key).toMatch(/^[a-z0-9_.:=-]{1,400}$/);

    const shared = grownBut('by: [tenant, environment, agent]', 'by: [tenant]');
    expect(budgetOf(shared).counterKey).toBe(
      budgetOf(shared, { agent: 'other', environment: 'staging' }).counterKey,
    );
  });

  it('never maps two contexts to one counter', () => {
    const id = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,6}$/);
    const contexts = fc.record({ environment: id, agent: fc.stringMatching(/^[a-z0-9][a-z0-9_.-]{0,6}$/) });
    fc.assert(
      fc.property(contexts, contexts, (one, other) => {
        const environments = new Set(['production', 'staging', one.environment, other.environment]);
        const loaded = grownBut('[production, staging]', JSON.stringify([...environments]));
        const same = one.environment === other.environment && one.agent === other.agent;
        expect(budgetOf(loaded, one).counterKey === budgetOf(loaded, other).counterKey).toBe(same);
      }),
      {
        numRuns: 50,
        examples: [
          [
            { environment: 'ab', agent: 'c' },
            { environment: 'b', agent: 'ca' },
          ],
        ],
      },
    );
  });

  it('is not refilled by moving its entry or raising its maximum', () => {
    const before = budgetOf(grown);
    const raised = budgetOf(grownBut('max: 20', 'max: 40'));
    expect(raised.counterKey).toBe(before.counterKey);
    const moved = grownBut(
      'auto_approve:\n',
      'auto_approve:\n  - { tools: ["db.write"], budget: { max: 1, per: 1h } }\n',
    );
    expect(budgetOf(moved).counterKey).toBe(before.counterKey);
    const other = judge(moved, { tool: 'db.write' });
    expect(other).not.toHaveProperty('budget.counterKey', before.counterKey);
  });

  it('has nobody to turn to when it is spent, where nobody is named', () => {
    const nobody = grownBut('approvers: ["usergroup:S0SUPPORT"], ', '');
    const verdict = judge(nobody, { tool: 'ticket.create' });
    expect(verdict).toMatchObject({ basis: 'auto_approve' });
    expect(verdict).not.toHaveProperty('whenSpent');
  });
});

describe('the verdict', () => {
  const RANK = { allow: 0, require_approval: 1, forbid: 2 } as const;
  const tools = [...TOOLS.map(({ name }) => name), 'email.send'];
  const calls = fc.record({
    tool: fc.constantFrom(...tools),
    context: fc.record({
      tenant: fc.constantFrom('acme', 'globex', 'initech'),
      environment: fc.constantFrom('production', 'staging', 'dev'),
      principal: fc.constantFrom('slack:T0ACME/U0ANA', 'service:nightly-triage', 'service:other'),
    }),
    args: fc.constantFrom<JsonValue>({}, { queue: 'support' }, { queue: 'billing' }),
  });
  const overrides = fc.record(
    {
      tools: fc.record({ allow: fc.subarray(TOOLS.map(({ name }) => name)) }),
      write_tools: fc.record(
        { enabled: fc.constant(false), require_approval: fc.constant(true) },
        { requiredKeys: [] },
      ),
      approvals: fc.record({ required_for: fc.subarray(TOOLS.map(({ name }) => name)) }),
    },
    { requiredKeys: [] },
  );

  it('is never widened by a tenant’s overrides', () => {
    const bases = fc.constantFrom(
      GROWN,
      GROWN.replace('require_approval: true', 'require_approval: false'),
      GROWN.replace('enabled: true', 'enabled: false'),
    );
    fc.assert(
      fc.property(bases, overrides, calls, (base, override, call) => {
        const limits = '    limits: { pending_per_agent: 5 }\n';
        const narrowed = base.replace(limits, `${limits}    overrides: ${JSON.stringify(override)}\n`);
        const before = judge(policyOf(base), call);
        const after = judge(policyOf(narrowed), call);
        expect(RANK[after.verdict]).toBeGreaterThanOrEqual(RANK[before.verdict]);
        if (call.context.tenant !== 'acme') expect(after.verdict).toBe(before.verdict);
        // An allowance that stays keeps its budget.
        if (after.verdict === 'allow' && before.verdict === 'allow')
          expect(after.budget).toEqual(before.budget);
      }),
      { numRuns: 300 },
    );
  });

  it('depends on nothing in the arguments but what resources bound, and not on the order of their keys', () => {
    const args = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(args, calls, (extra, call) => {
        const { queue: _, ...rest } = extra;
        const bound = { queue: 'support' };
        const one = judge(grown, { ...call, args: { ...bound, ...rest } as JsonValue });
        const reversed = Object.fromEntries(Object.entries({ ...bound, ...rest }).reverse()) as JsonValue;
        expect(judge(grown, { ...call, args: reversed })).toEqual(one);
        expect(judge(grown, { ...call, args: bound })).toEqual(one);
      }),
      { numRuns: 300 },
    );
  });

  it('does not depend on how the policy orders what has no order', () => {
    const sections = GROWN.split(/\n(?=[a-z])/);
    const shuffled = policyOf(`${[...sections].reverse().join('\n').trim()}\n`);
    fc.assert(
      fc.property(calls, (call) => {
        const { by: _one, ...one } = judge(grown, call);
        const { by: _two, ...two } = judge(shuffled, call);
        expect(JSON.parse(JSON.stringify(two, omitPlaces))).toEqual(
          JSON.parse(JSON.stringify(one, omitPlaces)),
        );
      }),
    );
  });

  const omitPlaces = (key: string, value: unknown) =>
    key === 'by' && typeof value === 'string' ? undefined : value;
});

describe('a tenant of the policy', () => {
  it('has its own team and channel, and no other tenant stands in for an unknown one', () => {
    expect(tenantOf(grown, TenantId.parse('globex'))?.slack).toEqual({
      team: 'T0GLOBEX',
      channel: 'C0GLOBEX',
    });
    expect(tenantOf(grown, TenantId.parse('acme'))?.limits).toEqual({
      pending_per_agent: 5,
      pending_per_tenant: 200,
      cooldown: 600_000,
      fold_above: 5,
    });
    expect(tenantOf(grown, TenantId.parse('initech'))).toBeUndefined();
  });
});
