import { describe, expect, it } from 'vitest';
import { CallContext } from '../../../src/core/identity/call-context.ts';
import { evaluate } from '../../../src/core/policy/evaluate.ts';
import { POLICY, policyOf, toolsNoting } from '../../grants/grants-world.ts';

const tools = toolsNoting([]);
const problemOf = (text: string) => () => policyOf(text, tools);
const RULE = '    - tools: [ticket.label, ticket.tag]\n';

function grantsOf(text: string, tool = 'ticket.label') {
  const definition = tools.find(({ name }) => name === tool);
  const context = CallContext.parse({
    tenant: 'acme',
    environment: 'production',
    agent: 'support-bot',
    principal: 'slack:T0ACME/U0RITA',
    run: 'run-1',
  });
  const args = { ticket: 'T-1', label: 'billing' };
  const verdict = evaluate(policyOf(text, tools).current, {
    context,
    tool: definition,
    toolName: tool,
    args,
  });
  return verdict.verdict === 'require_approval' ? verdict.rule.grants : verdict.verdict;
}

describe('a policy with grants', () => {
  it('has none where it says nothing', () => {
    expect(grantsOf(POLICY.replace('      grants: { max_uses: 20, for: 1h }\n', ''))).toBeUndefined();
  });

  it('has what its rule says, for the tools of the rule alone', () => {
    expect(grantsOf(POLICY)).toEqual({ maxUses: 20, forMs: 3_600_000 });
    expect(grantsOf(POLICY.replace(RULE, '    - tools: [ticket.tag]\n'))).toBeUndefined();
  });

  it.each([
    [
      'a quorum above one',
      POLICY.replace(RULE, `${RULE}      quorum: 2\n`),
      /quorum of 2 cannot give grants/,
    ],
    [
      'an inherited quorum above one',
      POLICY.replace('defaults: {', 'defaults: { quorum: 2,'),
      /quorum of 2 cannot give grants/,
    ],
    ['every tool', POLICY.replace(RULE, '    - tools: ["*"]\n'), /name the tools/],
    ['what cannot be undone', POLICY.replace(RULE, '    - tools: [db.drop]\n'), /cannot be undone/],
    [
      'what a person always decides',
      POLICY.replace('approvals:\n', 'approvals:\n  required_for: [ticket.label]\n'),
      /a person decides each call/,
    ],
    ['no uses', POLICY.replace('max_uses: 20', 'max_uses: 0'), /max_uses/],
    ['too many uses', POLICY.replace('max_uses: 20', 'max_uses: 1001'), /max_uses/],
    ['too long a life', POLICY.replace('for: 1h', 'for: 2d'), /between 1m and 1d/],
    ['no bound in time', POLICY.replace(', for: 1h', ''), /for/],
    [
      'grants for every rule',
      POLICY.replace('defaults: {', 'defaults: { grants: { max_uses: 1, for: 1h },'),
      /grants/,
    ],
  ])('is refused with %s', (_, text, problem) => {
    expect(text).not.toBe(POLICY);
    expect(problemOf(text)).toThrow(problem);
  });

  it('has none for a tenant whose override wants a person each time', () => {
    const text = POLICY.replace(
      '    limits: { pending_per_agent: 100 }\n',
      '    overrides: { approvals: { required_for: [ticket.label] } }\n',
    );
    expect(text).not.toBe(POLICY);
    expect(grantsOf(text)).toBeUndefined();
    expect(grantsOf(text, 'ticket.tag')).toEqual({ maxUses: 20, forMs: 3_600_000 });
  });
});
