import type { DecisionRefusal } from '../core/approval/refusal.ts';
import type { GrantNotGiven } from '../core/grant/grant-desk.ts';
import { REFUSAL_NOTICES } from './notices.ts';

/** Fixed words, as for every refusal: what happened, and what to do next. */
const OWN: Readonly<Record<Exclude<GrantNotGiven, DecisionRefusal>, string>> = {
  grant_not_allowed:
    'Nothing was decided: this call cannot be allowed ahead. The policy or the tool has changed, or you came in by an escalation. Approve this one call from its card.',
  grant_out_of_bounds:
    'Nothing was decided: that is more than the policy allows. Press the button on the card again and enter less.',
  grant_not_as_shown:
    'Nothing was decided: what you would allow is no longer what the form showed. Press the button on the card again.',
};

export function grantNotice(refusal: GrantNotGiven): string {
  switch (refusal) {
    case 'grant_not_allowed':
    case 'grant_out_of_bounds':
    case 'grant_not_as_shown':
      return OWN[refusal];
    case 'not_shown_whole':
      return 'Nothing was decided: this cannot be shown whole in one form, and nobody can allow what they have not seen whole. Approve this one call from its card.';
    default:
      return REFUSAL_NOTICES[refusal];
  }
}

export const APPROVED_ALONE = {
  writes_off:
    'Your approval is recorded, and the grant is not: writes were switched off meanwhile. Every later call asks again.',
  too_many:
    'Your approval is recorded, and the grant is not: this tenant has as many grants as it can have. Every later call asks again; `/agent-writes grants` lists them.',
  failed:
    'Your approval is recorded, and the grant is not. Every later call asks again. If you expected otherwise, tell your administrator.',
  unsure:
    'Your approval is recorded. Something failed while the grant was being written: it may stand, and later calls may run under it without asking. `/agent-writes grants` lists the grants that stand, to be revoked there.',
} as const;

export const REVOKE_NOTICES = {
  revoked: 'The grant is revoked: no call starts under it any more. Calls that have started may finish.',
  already_ended: 'Nothing changed: this grant had ended before your click.',
  not_found: 'Nothing changed: there is no such grant any more.',
  unsure:
    'Something failed while the grant was being revoked, and it may still stand. Look at `/agent-writes grants`; to revoke it again is safe.',
  not_yours:
    'Nothing changed: the policy names you neither as an approver of this tool nor as an operator of the switch. Ask one of them.',
} as const;
