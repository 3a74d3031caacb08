import { describe, expect, it } from 'vitest';
import { judgeStart } from '../../../src/core/execution/judgement.ts';
import {
  ANA,
  approvalOf,
  BEN,
  POLICY_TEXT,
  policyOf,
  sealedCall,
  startCase,
} from '../../queue/sealed-call.ts';

const editable = (edit: string) => policyOf(POLICY_TEXT.replace('quorum: 1', `quorum: 1\n    edit: ${edit}`));

/** Changed by Ana, under a rule that lets her approve it. */
function editedByAna() {
  const policy = editable('{ editor_may_approve: true }');
  const first = sealedCall({ policy });
  return sealedCall({
    policy,
    args: { ticket: 'T-2' },
    change: (terms) => ({
      ...terms,
      edits: { from: first.terms.id, arguments: first.terms.arguments, by: ANA, editors: [ANA] },
    }),
  });
}

describe('[execution:the-executor-judges-again] the start of a call that a person changed', () => {
  it('takes the approval of its editor only where both rules let it count', () => {
    const sealed = editedByAna();
    const by = (person: typeof ANA, policy: ReturnType<typeof policyOf>) =>
      judgeStart({ ...startCase(sealed, [approvalOf(sealed, person)]), policy });
    expect(by(ANA, editable('{ editor_may_approve: true }'))).toMatchObject({ ok: true });
    expect(by(ANA, editable('true'))).toMatchObject({ ok: false, refusal: 'approver_not_entitled' });
    expect(by(ANA, policyOf())).toMatchObject({ ok: false, refusal: 'approver_not_entitled' });
    expect(by(BEN, policyOf())).toMatchObject({ ok: true });
  });

  it('takes no approval of the call that it was made from', () => {
    const sealed = editedByAna();
    const old = sealedCall();
    expect(judgeStart(startCase(sealed, [approvalOf(old, BEN)]))).toMatchObject({
      ok: false,
      refusal: 'approval_of_another',
    });
  });
});
