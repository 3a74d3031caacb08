import { describe, expect, it } from 'vitest';
import { CallContext } from '../../../src/core/identity/call-context.ts';
import { evaluate } from '../../../src/core/policy/evaluate.ts';
import { loadPolicy, loadPolicyOrThrow } from '../../../src/core/policy/policy-load.ts';
import type { PolicyTool } from '../../../src/core/policy/policy-tool.ts';

const TOOLS: PolicyTool[] = [
  { name: 'ticket.close', effect: 'write', irreversible: false },
  { name: 'email.send', effect: 'write', irreversible: true },
];

const policy = (terms: string, rules = '[]') => `
tools: { allow: [ticket.close, email.send] }
write_tools: { enabled: true }
approvals:
  defaults: { approvers: ["usergroup:S0SUPPORT"] ${terms} }
  rules: ${rules}
tenants: { acme: { slack: { team: T0ACME, channel: C0ACME }, environments: [production] } }
`;

function editOf(text: string, name = 'ticket.close') {
  const loaded = loadPolicyOrThrow(text, { fileName: 'policy.yaml', tools: TOOLS });
  const context = CallContext.parse({
    tenant: 'acme',
    environment: 'production',
    agent: 'bot',
    principal: 'slack:T0ACME/U0RITA',
    run: 'r',
  });
  const tool = TOOLS.find((one) => one.name === name);
  const verdict = evaluate(loaded, { context, tool, toolName: name, args: {} });
  return verdict.verdict === 'require_approval' ? verdict.rule.edit : verdict.verdict;
}

function problemsOf(text: string): string[] {
  const load = loadPolicy(text, { tools: TOOLS });
  return load.ok ? [] : load.problems.map(({ path, message }) => `${path}: ${message}`);
}

describe('edit in a rule', () => {
  it('is off unless the policy says so, and then without the editor', () => {
    expect(editOf(policy(''))).toBeUndefined();
    expect(editOf(policy(', edit: false'))).toBeUndefined();
    expect(editOf(policy(', edit: true'))).toEqual({ editorMayApprove: false });
    expect(editOf(policy(', edit: { editor_may_approve: true }'))).toEqual({ editorMayApprove: true });
    expect(editOf(policy(', edit: true', '[{ tools: [ticket.close], edit: false }]'))).toBeUndefined();
    expect(problemsOf(policy(', edit: yes'))).toHaveLength(1);
  });

  it('never holds for what cannot be undone: inherited it says nothing, named it is an error', () => {
    expect(editOf(policy(', edit: true'), 'email.send')).toBeUndefined();
    expect(problemsOf(policy('', '[{ tools: [email.send], edit: true }]'))).toEqual([
      expect.stringContaining('email.send cannot be undone: its calls can never be edited'),
    ]);
  });

  it('is an error where nobody would be left to approve what somebody edited', () => {
    const people = (edit: string) =>
      policy(
        '',
        `[{ tools: [ticket.close], approvers: ["user:U0ANA", "user:U0BEN"], quorum: 2, edit: ${edit} }]`,
      );
    expect(problemsOf(people('true'))).toEqual([expect.stringContaining('a quorum of 2 cannot be met')]);
    expect(problemsOf(people('{ editor_may_approve: true }'))).toEqual([]);
  });
});
