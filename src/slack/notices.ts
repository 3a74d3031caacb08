import type { DecisionRefusal } from '../core/approval/refusal.ts';

/**
 * What a person reads, alone, when a click did not count: what happened and what to do next. Fixed words, so that
 * nothing that an agent wrote can ever stand in them.
 */
export const REFUSAL_NOTICES: Readonly<Record<DecisionRefusal, string>> = {
  not_found:
    'Nothing was decided: this proposal is no longer there. Ask whoever runs the agent to let it propose again.',
  not_this_card:
    'Nothing was decided: this is not the live card of this proposal. Look further down in the channel for its newest card and decide there.',
  other_workspace:
    'Nothing was decided: this proposal belongs to another workspace. Someone who works there has to decide it.',
  not_a_person:
    'Nothing was decided: only people can decide, not apps or workflows. Ask an approver to click.',
  guest: 'Nothing was decided: guests cannot decide. Ask a full member of this workspace who is an approver.',
  deactivated: 'Nothing was decided: your account is deactivated. Ask another approver.',
  stranger: 'Nothing was decided: only members of this company can decide. Ask an approver who works here.',
  not_an_approver:
    'Nothing was decided: the policy does not name you as an approver of this call. The card says who is; ask one of them.',
  own_call:
    'Nothing was decided: the agent makes this call on your behalf, so somebody else has to decide. Ask another approver.',
  own_call_other_account:
    'Nothing was decided: your account has the same email address as somebody who may not decide this call, because it is made on their behalf or by a service of theirs. Somebody else has to decide. Ask another approver.',
  owner_of_the_service:
    'Nothing was decided: you own the service that makes this call, so somebody else has to decide. Ask another approver.',
  shared_channel:
    'Nothing was decided: this channel is shared with another company, and nothing is decided there. Ask your administrator to end the sharing or to move approvals to a private channel.',
  cannot_check:
    'Nothing was decided: Slack did not tell who may decide just now. Click again in a few seconds; if it stays so, tell your administrator.',
  own_edit:
    'Nothing was decided: you changed this call yourself, so others have to decide about it. Ask another approver.',
  not_editable:
    'Nothing changed: this call cannot be changed by hand any more, or never could. Approve it or deny it as it stands.',
  already_voted:
    'Nothing changed: you have decided on this proposal already, and a decision cannot be changed. Another approver may still deny it.',
  already_settled:
    'Nothing changed: this proposal was settled before your click. The card shows how, by whom and why.',
  too_late:
    'Nothing was decided: the time to decide is over. If the write is still wanted, the agent has to propose it again.',
  writes_off:
    'Nothing was decided: writes are switched off. Once they are on again, the agent has to propose this call again.',
  reason_missing: 'Nothing was decided: this decision needs a reason. Click again and say why.',
  seal_broken:
    'Nothing was decided: this proposal is not what was once proposed. Do not try again; tell whoever runs Countersign, an alarm has been raised.',
  not_shown_whole:
    'Nothing was decided: the card does not show this call whole. Press Review, read every page, and approve on the last one.',
  one_by_one:
    'Nothing was decided: this call is not approved together with others. Open it from the list, or go to its card, and approve it alone.',
};

export const NOTICES = {
  failed:
    'Something failed and nothing was decided. Try again in a moment; if it stays so, tell your administrator.',
  /** The store did not answer while a decision was being written: it may or may not stand. */
  unsure:
    'Something failed while your decision was being written, and it is not known whether it stands. Look at the card in a moment; to click the same button again is safe.',
  malformed:
    'Nothing was decided: Slack sent something that this app does not understand. Try again from the card.',
  /** A button or a form that another version of this app has drawn. */
  unknown:
    'Nothing was done: this was drawn by another version of Countersign, and the one that runs now does not know it. Look for the newest card of this call in the channel, or in the Home tab of this app, and decide there.',
  approved: 'Your approval is recorded.',
  denied: 'Your denial is recorded, and the call will not run.',
  replayed: 'Your decision was recorded already, and it stands.',
  workspaceUnknown:
    'This workspace is not set up in Countersign, so nothing was done. Ask your administrator to add its bot token.',
} as const;

export function approvedNotice(missing: number): string {
  if (missing <= 0) return `${NOTICES.approved} The call will run now.`;
  const more = missing === 1 ? 'one more person has' : `${missing} more people have`;
  return `${NOTICES.approved} Still, ${more} to approve before the call runs.`;
}
