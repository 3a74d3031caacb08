import { z } from 'zod';
import { EnvironmentId, ServiceId, TenantId } from '../identity/ids.ts';
import { ToolName } from '../tool/tool-name.ts';
import { visibleText } from '../tool/visible-text.ts';
import { ApproverRef, UserRef } from './approver.ts';
import { DURATION_LIMITS, durationWithin } from './duration.ts';
import { ArgumentBounds } from './resource-bounds.ts';
import { BUDGET_DIMENSIONS, ReasonRule } from './verdict.ts';

/**
 * The shape of a policy. Every default is the safe one, so that a policy that says nothing permits nothing. Durations
 * are milliseconds once parsed. What no schema can see (shadowed rules, unknown names) is in policy-checks.ts.
 */

/** What holds where neither a rule nor `approvals.defaults` says otherwise. */
export const APPROVAL_DEFAULTS = {
  quorum: 1,
  expiresInMs: 30 * 60_000,
  startWithinMs: 5 * 60_000,
  reason: { approve: 'optional', deny: 'required' },
} as const;

/** More people than this never come together for one call; a larger number is a typing mistake. */
const QUORUM_MAX = 20;

/** Every tool there is: only where that makes a policy stricter, in `approvals`. Stands alone in its list. */
export const EVERY_TOOL = '*';

/** What a grant lets through nobody looks at one by one. */
const GRANT_USES_MAX = 1_000;

const TOOL_REF = 'expected the exact name of a tool, such as ticket.close';

/** Exact bytes, as a tool is registered. No patterns: a name either is listed or is not. */
const ToolRef = z.string().refine((name) => ToolName.safeParse(name).success, { error: TOOL_REF });

const ToolRefOrEvery = z.union([z.literal(EVERY_TOOL), ToolRef], {
  error: `${TOOL_REF}, or "*" alone for every tool`,
});

function distinct<T extends z.ZodType<string>>(item: T) {
  return z.array(item).superRefine((list, ctx) => {
    for (const [index, entry] of list.entries()) {
      if (list.indexOf(entry) !== index) {
        ctx.addIssue({ code: 'custom', path: [index], message: `${entry} is listed twice` });
      }
    }
  });
}

function nonEmpty<T extends z.ZodType<string>>(item: T, what: string) {
  return distinct(item).refine((list) => list.length > 0, { error: `expected at least one ${what}` });
}

const toolsWithEvery = (what: string) =>
  distinct(ToolRefOrEvery).refine((list) => list.length < 2 || !list.includes(EVERY_TOOL), {
    error: `"*" is every tool already: it stands alone in ${what}`,
  });

const Approvers = nonEmpty(ApproverRef, 'approver');
const Environments = nonEmpty(EnvironmentId, 'environment');
const Quorum = z.int().min(1).max(QUORUM_MAX);

/** One line of a form: people choose among the words, so nothing in them may hide or break them. */
const Line = (max: number) =>
  z
    .string()
    .min(1, { error: 'expected at least one character' })
    .max(max, { error: `expected at most ${max} characters` })
    .refine((text) => text.trim() === text && visibleText(text).invisible === 0 && !/[\n\t]/.test(text), {
      error: 'expected one line of visible characters, with no blanks around it',
    });

/** As many as one group of radio buttons holds, and as long as one of them. */
const DenialReasons = z
  .array(z.strictObject({ text: Line(75), tell_agent: Line(300).optional() }))
  .min(1, { error: 'expected at least one reason' })
  .max(10, { error: 'expected at most 10 reasons' })
  .superRefine((list, ctx) => {
    for (const [index, { text }] of list.entries()) {
      if (list.findIndex((other) => other.text === text) !== index) {
        ctx.addIssue({ code: 'custom', path: [index, 'text'], message: `${text} is listed twice` });
      }
    }
  });

/** What `approvals.defaults` and each rule may say. What a rule leaves out it takes from the defaults. */
const approvalTerms = {
  approvers: Approvers.optional(),
  quorum: Quorum.optional(),
  expires_in: durationWithin(DURATION_LIMITS.expiresIn).optional(),
  start_within: durationWithin(DURATION_LIMITS.startWithin).optional(),
  reason: z.strictObject({ approve: ReasonRule.optional(), deny: ReasonRule.optional() }).optional(),
  remind_after: durationWithin(DURATION_LIMITS.timer).optional(),
  escalate: z
    .strictObject({
      after: durationWithin(DURATION_LIMITS.timer),
      to: Approvers,
      /** Whether those who were asked first are no longer asked from then on. */
      reroute: z.boolean().default(false),
    })
    .optional(),
  denial_reasons: DenialReasons.optional(),
  /** Whether an approver may change the arguments first. Who changed them approves them only where this says so. */
  edit: z
    .union([z.boolean(), z.strictObject({ editor_may_approve: z.boolean() })], {
      error: 'expected true, false, or { editor_may_approve: true }',
    })
    .optional(),
};

/** Which calls an entry is for. Left out: every tenant, every environment. */
const scope = {
  tenants: nonEmpty(TenantId, 'tenant').optional(),
  environments: Environments.optional(),
};

const ApprovalDefaults = z.strictObject(approvalTerms);

const ApprovalRuleEntry = z.strictObject({
  tools: toolsWithEvery('a rule').refine((list) => list.length > 0, { error: 'expected at least one tool' }),
  ...scope,
  ...approvalTerms,
  /** Only in a rule: it is never inherited. The upper bounds of a standing grant; without it there is none. */
  grants: z
    .strictObject({
      max_uses: z.int().min(1).max(GRANT_USES_MAX),
      for: durationWithin(DURATION_LIMITS.grantFor),
    })
    .optional(),
});

const Approvals = z.strictObject({
  required_for: toolsWithEvery('required_for').default([]),
  defaults: ApprovalDefaults.prefault({}),
  rules: z.array(ApprovalRuleEntry).default([]),
});

/** A counter lives with its tenant's state, so a budget is never shared between tenants. */
const BudgetBy = nonEmpty(z.enum(BUDGET_DIMENSIONS), 'of tenant, environment and agent').refine(
  (by) => by.includes('tenant'),
  { error: 'must include tenant: a budget is never shared between tenants' },
);

const AutoApprove = z.strictObject({
  tools: nonEmpty(ToolRef, 'tool'),
  ...scope,
  budget: z.strictObject({
    max: z.int().min(1).max(1_000_000),
    per: durationWithin(DURATION_LIMITS.budgetPer),
    by: BudgetBy.default([...BUDGET_DIMENSIONS]),
  }),
});

/** A tenant may narrow, never widen: each key here has only its stricter value, or is checked to be a subset. */
const Overrides = z.strictObject({
  tools: z.strictObject({ allow: distinct(ToolRef) }).optional(),
  write_tools: z
    .strictObject({
      enabled: z
        .literal(false, { error: 'a tenant may only narrow: false is the only value here' })
        .optional(),
      require_approval: z
        .literal(true, { error: 'a tenant may only narrow: true is the only value here' })
        .optional(),
    })
    .optional(),
  approvals: z.strictObject({ required_for: toolsWithEvery('required_for') }).optional(),
});

const Tenant = z.strictObject({
  slack: z.strictObject({
    team: z.string().regex(/^[TE][A-Z0-9]{1,20}$/, 'expected the id of a Slack team: T…'),
    channel: z
      .string()
      .regex(/^[CG][A-Z0-9]{1,20}$/, 'expected the id of a Slack channel: C… (not its name)'),
  }),
  environments: Environments,
  overrides: Overrides.prefault({}),
  /** How many proposals may wait for people at once. */
  limits: z
    .strictObject({
      pending_per_agent: z.int().min(1).max(10_000).default(20),
      pending_per_tenant: z.int().min(1).max(10_000).default(200),
      /** After a denial the same call is refused for so long, without asking people again. */
      cooldown: durationWithin(DURATION_LIMITS.cooldown).default(10 * 60_000),
      /** More calls than this that one agent makes of one tool at a time are gathered on one card. */
      fold_above: z.int().min(1).max(100).default(5),
    })
    .prefault({}),
});
export type Tenant = z.infer<typeof Tenant>;

const Service = z.strictObject({
  owners: nonEmpty(UserRef, 'owner'),
  /** Whether the owners are kept from approving what their own service asks for. */
  exclude_owners: z.boolean().default(true),
});

/** Scoping cannot be switched off: saying so would weaken what the rest of the policy relies on. */
const AlwaysScoped = z.literal(true, { error: 'credentials are always scoped: true is the only value here' });

export const Policy = z.strictObject({
  version: z.literal(1, { error: 'expected 1, the only version of the policy format' }).default(1),
  tools: z.strictObject({ allow: distinct(ToolRef).default([]) }).prefault({}),
  write_tools: z
    .strictObject({ enabled: z.boolean().default(false), require_approval: z.boolean().default(true) })
    .prefault({}),
  credentials: z
    .strictObject({
      scope: z
        .strictObject({ tenant: AlwaysScoped.default(true), environment: AlwaysScoped.default(true) })
        .prefault({}),
    })
    .prefault({}),
  approvals: Approvals.prefault({}),
  auto_approve: z.array(AutoApprove).default([]),
  resources: byName(ToolRef, ArgumentBounds),
  tenants: byName(TenantId, Tenant),
  services: byName(ServiceId, Service),
  switch: z
    .strictObject({
      operators: nonEmpty(ApproverRef, 'operator'),
      arming: z.strictObject({ operators: nonEmpty(ApproverRef, 'operator'), quorum: Quorum.default(1) }),
    })
    .optional(),
});
export type Policy = z.infer<typeof Policy>;
export type ApprovalTerms = Policy['approvals']['defaults'];
export type ApprovalRuleEntry = Policy['approvals']['rules'][number];
export type AutoApproveEntry = Policy['auto_approve'][number];

/** SHA-256, as hex, over the exact bytes of the policy's text. */
export const PolicyVersion = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .brand('PolicyVersion');
export type PolicyVersion = z.infer<typeof PolicyVersion>;

/** A policy that was found sound, with what is needed to say where in its text something was decided. */
export interface LoadedPolicy {
  readonly policy: Policy;
  readonly version: PolicyVersion;
  /** The line of everything that the text says, by its path: `approvals.rules[0]` → 14. */
  readonly lines: ReadonlyMap<string, number>;
  /** Always empty: whatever is doubtful in a policy is an error. */
  readonly warnings: readonly never[];
}

/** The tenant's entry. No tenant is a default for another. */
export function tenantOf(loaded: LoadedPolicy, tenantId: TenantId): Tenant | undefined {
  return loaded.policy.tenants.get(tenantId);
}

/** A Map, so that no lookup by a foreign name ever meets a prototype. */
function byName<K extends z.ZodType<string, string>, V extends z.ZodType>(key: K, value: V) {
  return z
    .record(z.string(), value)
    .superRefine((entries, ctx) => {
      for (const name of Object.keys(entries)) {
        const parsed = key.safeParse(name);
        if (parsed.success) continue;
        for (const { message } of parsed.error.issues)
          ctx.addIssue({ code: 'custom', path: [name], message });
      }
    })
    .transform((entries): ReadonlyMap<z.output<K>, z.output<V>> => {
      const pairs = Object.entries(entries);
      return new Map(pairs.map(([name, entry]) => [key.parse(name), entry as z.output<V>]));
    })
    .prefault({});
}
