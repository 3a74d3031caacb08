import { describe, expect, it } from 'vitest';
import { PersonId } from '../../../src/core/identity/ids.ts';
import { ApproverRef } from '../../../src/core/policy/approver.ts';
import { type StricterRequirement, stricterRequirement } from '../../../src/core/policy/stricter.ts';
import type { ApprovalRule, BudgetTerms, Verdict } from '../../../src/core/policy/verdict.ts';

const refs = (...names: string[]) => names.map((name) => ApproverRef.parse(name));

function asks(rule: Partial<ApprovalRule> = {}): Verdict {
  return {
    verdict: 'require_approval',
    by: 'approvals.rules[0] (line 3)',
    why: 'because every write needs an approval',
    rule: {
      approvers: refs('user:U1', 'user:U2', 'usergroup:S1'),
      quorum: 1,
      expiresInMs: 600_000,
      startWithinMs: 60_000,
      reason: { approve: 'optional', deny: 'required' },
      excluded: [],
      ...rule,
    },
  };
}

const budget: BudgetTerms = {
  id: 'auto_1',
  max: 5,
  perMs: 1_000,
  by: ['tenant'],
  counterKey: 'auto_1:tenant=acme',
};
const automatic: Verdict = { verdict: 'allow', basis: 'auto_approve', by: 'auto_approve[0]', budget };
const free: Verdict = {
  verdict: 'allow',
  basis: 'approval_not_required',
  by: 'write_tools.require_approval',
};
const forbidden: Verdict = {
  verdict: 'forbid',
  reason: 'writes_disabled',
  message: 'No writes.',
  by: 'write_tools',
};

describe('the stricter of two policies', () => {
  it.each<[string, Verdict, Verdict, Partial<StricterRequirement>]>([
    [
      'forbids what is forbidden now',
      asks(),
      forbidden,
      { ok: false, refusal: 'forbidden', message: 'No writes.' },
    ],
    ['forbids what was forbidden then', forbidden, asks(), { ok: false, refusal: 'forbidden' }],
    [
      'forbids what was automatic and is forbidden now',
      automatic,
      forbidden,
      { ok: false, refusal: 'forbidden' },
    ],
    [
      'asks people where only the sealed one does',
      asks({ quorum: 2 }),
      free,
      { ok: true, needsPeople: true, quorum: 2 },
    ],
    [
      'asks people where only the current one does',
      automatic,
      asks({ quorum: 2 }),
      { ok: true, needsPeople: true, quorum: 2 },
    ],
    [
      'asks nobody only where neither does, on the current budget',
      free,
      automatic,
      { ok: true, needsPeople: false, budget },
    ],
    ['takes the higher quorum: the current one', asks(), asks({ quorum: 2 }), { ok: true, quorum: 2 }],
    [
      'takes the higher quorum: the sealed one',
      asks({ quorum: 3 }),
      asks({ quorum: 2 }),
      { ok: true, quorum: 3 },
    ],
    [
      'keeps only approvers that both name',
      asks(),
      asks({ approvers: refs('usergroup:S1', 'user:U9') }),
      { ok: true, approvers: refs('usergroup:S1') },
    ],
    [
      'refuses where no approver is left',
      asks({ approvers: refs('user:U1') }),
      asks({ approvers: refs('user:U2') }),
      { ok: false, refusal: 'no_common_approver' },
    ],
    [
      'refuses where the people left are too few',
      asks(),
      asks({ approvers: refs('user:U1'), quorum: 2 }),
      { ok: false, refusal: 'quorum_out_of_reach' },
    ],
    [
      'takes the shorter times',
      asks({ expiresInMs: 10_000 }),
      asks({ startWithinMs: 1_000 }),
      { ok: true, expiresInMs: 10_000, startWithinMs: 1_000 },
    ],
    [
      'takes the stricter need for reasons',
      asks(),
      asks({ reason: { approve: 'required', deny: 'none' } }),
      { ok: true, reason: { approve: 'required', deny: 'required' } },
    ],
  ])('%s', (_, sealed, current, expected) => {
    expect(stricterRequirement(sealed, current)).toMatchObject(expected);
  });

  it('excludes whoever either excludes', () => {
    const [ana, ben] = [PersonId.parse('slack:T1/U1'), PersonId.parse('slack:T1/U2')];
    const requirement = stricterRequirement(asks({ excluded: [ana] }), asks({ excluded: [ben, ana] }));
    expect(requirement).toMatchObject({ ok: true, excluded: [ana, ben] });
  });

  it('gives no budget of a policy that is no longer in force', () => {
    expect(stricterRequirement(automatic, free)).toEqual({
      ok: true,
      needsPeople: false,
      quorum: 0,
      approvers: [],
      excluded: [],
    });
  });

  it('reads what a proposal was sealed with, and takes nobody’s word for a ref', () => {
    const rule = { ...ruleOf(asks()), approvers: ['user:U1', 'everyone', 'user:U2'] };
    const requirement = stricterRequirement({ kind: 'people', rule }, asks({ quorum: 2 }));
    expect(requirement).toMatchObject({ ok: true, approvers: refs('user:U1', 'user:U2'), quorum: 2 });
    const onlyWords = stricterRequirement(
      { kind: 'people', rule: { ...rule, approvers: ['everyone'] } },
      free,
    );
    expect(onlyWords).toMatchObject({ ok: false, refusal: 'no_common_approver' });
    expect(stricterRequirement({ kind: 'policy' }, automatic)).toMatchObject({ needsPeople: false, budget });
  });
});

function ruleOf(verdict: Verdict): ApprovalRule {
  if (verdict.verdict !== 'require_approval') throw new Error('expected people to be asked');
  return verdict.rule;
}
