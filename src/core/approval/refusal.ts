/**
 * Why a click did not count. Every refusal has its sentence in `slack/notices.ts`; the compiler holds that table
 * complete.
 */
export const DECISION_REFUSALS = [
  'not_found',
  'not_this_card',
  'other_workspace',
  'not_a_person',
  'guest',
  'deactivated',
  'stranger',
  'not_an_approver',
  'own_call',
  'own_call_other_account',
  'owner_of_the_service',
  'shared_channel',
  'cannot_check',
  'own_edit',
  'not_editable',
  'already_voted',
  'already_settled',
  'too_late',
  'writes_off',
  'reason_missing',
  'seal_broken',
  'not_shown_whole',
  'one_by_one',
] as const;
export type DecisionRefusal = (typeof DECISION_REFUSALS)[number];
