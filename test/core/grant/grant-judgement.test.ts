import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { GrantStatement } from '../../../src/core/grant/grant.ts';
import { type GrantCase, grantRefusal } from '../../../src/core/grant/grant-judgement.ts';
import { CallContext } from '../../../src/core/identity/call-context.ts';
import { ApprovalRule, type RequireApproval } from '../../../src/core/policy/verdict.ts';
import { defineTool, toolDigest } from '../../../src/core/tool/tool.ts';

const labelWith = (irreversible: boolean) =>
  defineTool({
    name: 'ticket.label',
    description: 'Puts a label on a ticket.',
    irreversible,
    input: z.strictObject({ ticket: z.string() }),
    execute: () => ({}),
  });
const label = labelWith(false);

const AT = 1_800_000_000_000;
const statement = GrantStatement.parse({
  v: 1,
  grant: `grant_00${'a'.repeat(24)}`,
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  tool: label.name,
  toolDigest: toolDigest(label),
  pattern: [{ name: 'ticket', may: 'be', value: '"T-1"' }],
  maxUses: 3,
  expires: AT + 60_000,
  at: AT,
  person: 'slack:T0ACME/U0ANA',
  as: 'user:U0ANA',
  approvers: ['user:U0ANA'],
  shown: 'a'.repeat(64),
  proposal: `prop_00${'a'.repeat(24)}`,
  termsDigest: 'b'.repeat(64),
  policyVersion: 'c'.repeat(64),
  switchEpoch: 1,
});

function verdictWith(change: Partial<z.input<typeof ApprovalRule>> = {}): RequireApproval {
  const rule = ApprovalRule.parse({
    approvers: ['user:U0ANA', 'usergroup:S0SUPPORT'],
    quorum: 1,
    expiresInMs: 600_000,
    startWithinMs: 60_000,
    reason: { approve: 'optional', deny: 'required' },
    excluded: ['slack:T0ACME/U0RITA'],
    grants: { maxUses: 3, forMs: 60_000 },
    ...change,
  });
  return { verdict: 'require_approval', by: 'a test', why: 'a test', rule };
}

const context = CallContext.parse({
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0RITA',
  run: 'run-2',
});
const standing: GrantCase = {
  context,
  tool: label,
  args: { ticket: 'T-1' },
  verdict: verdictWith(),
  team: 'T0ACME',
  now: AT,
};

describe('whether a grant covers a call', () => {
  it('covers the call that it is for, from when it was given until its end', () => {
    expect(grantRefusal(statement, standing)).toBeUndefined();
    expect(grantRefusal(statement, { ...standing, now: AT + 59_999 })).toBeUndefined();
  });

  it.each<[string, Partial<GrantCase>, string]>([
    ['another tenant', { context: CallContext.parse({ ...context, tenant: 'globex' }) }, 'other_caller'],
    [
      'another environment',
      { context: CallContext.parse({ ...context, environment: 'staging' }) },
      'other_caller',
    ],
    ['another agent', { context: CallContext.parse({ ...context, agent: 'other-bot' }) }, 'other_caller'],
    [
      'another principal',
      { context: CallContext.parse({ ...context, principal: 'slack:T0ACME/U0OTHER' }) },
      'other_caller',
    ],
    ['other arguments', { args: { ticket: 'T-2' } }, 'other_arguments'],
    ['its end', { now: AT + 60_000 }, 'expired'],
    ['a time before it was given', { now: AT - 1 }, 'expired'],
    ['a tool that was changed', { tool: labelWith(true) }, 'other_tool'],
    [
      'a policy that asks nobody',
      { verdict: { verdict: 'allow', basis: 'auto_approve', by: '' } },
      'not_allowed_any_more',
    ],
    ['a rule without grants', { verdict: verdictWith({ grants: undefined }) }, 'not_allowed_any_more'],
    ['a larger quorum', { verdict: verdictWith({ quorum: 2 }) }, 'not_allowed_any_more'],
    [
      'fewer uses',
      { verdict: verdictWith({ grants: { maxUses: 2, forMs: 60_000 } }) },
      'not_allowed_any_more',
    ],
    [
      'less time',
      { verdict: verdictWith({ grants: { maxUses: 3, forMs: 59_999 } }) },
      'not_allowed_any_more',
    ],
    [
      'a reason that is now required',
      { verdict: verdictWith({ reason: { approve: 'required', deny: 'none' } }) },
      'not_allowed_any_more',
    ],
    ['other approvers', { verdict: verdictWith({ approvers: ['user:U0BEN'] }) }, 'giver_not_entitled'],
    [
      'a giver who is excluded now',
      { verdict: verdictWith({ excluded: ['slack:T0ACME/U0ANA'] }) },
      'giver_not_entitled',
    ],
    ['a tenant in another workspace', { team: 'T0OTHER' }, 'giver_not_entitled'],
  ])('does not cover %s', (_, change, refusal) => {
    expect(grantRefusal(statement, { ...standing, ...change })).toBe(refusal);
  });

  it('never covers what cannot be undone, even where it was signed for just that tool', () => {
    const tool = labelWith(true);
    const signed = { ...statement, toolDigest: toolDigest(tool) };
    expect(grantRefusal(signed, { ...standing, tool })).toBe('irreversible');
  });

  it('never covers a call of its own giver, nor one that somebody gave under another name', () => {
    const own = { ...statement, principal: statement.person };
    const asOwn = { ...standing, context: CallContext.parse({ ...context, principal: statement.person }) };
    expect(grantRefusal(own, asOwn)).toBe('giver_not_entitled');
    const ben = { ...statement, person: own.person.replace('U0ANA', 'U0BEN') as typeof own.person };
    expect(grantRefusal(ben, standing)).toBe('giver_not_entitled');
  });
});
