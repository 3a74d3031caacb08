import { z } from 'zod';

/**
 * Who may decide, as a policy names them: one person (`user:U0LEAD`) or everyone in a group (`usergroup:S0ONCALL`).
 * Both are ids of the tenant's own Slack team; a ref says nothing about any other team.
 */
export const ApproverRef = z
  .string()
  .regex(
    /^(?:user:[UW][A-Z0-9]{1,20}|usergroup:S[A-Z0-9]{1,20})$/,
    'expected user:U… or usergroup:S… with the id that Slack shows (a name or an @handle is not an id)',
  )
  .brand('ApproverRef');
export type ApproverRef = z.infer<typeof ApproverRef>;

/** A ref that names one person: for owners of a service, where a group could change under the exclusion. */
export const UserRef = z
  .string()
  .regex(/^user:[UW][A-Z0-9]{1,20}$/, 'expected user:U… with the id that Slack shows')
  .brand('ApproverRef');

export type ApproverKind = 'user' | 'usergroup';

export function approverKind(ref: ApproverRef): ApproverKind {
  return ref.startsWith('usergroup:') ? 'usergroup' : 'user';
}

/** The Slack id alone: `U0LEAD`, `S0ONCALL`. */
export function approverSlackId(ref: ApproverRef): string {
  return ref.slice(ref.indexOf(':') + 1);
}
