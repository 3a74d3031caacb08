import { personOf } from '../core/identity/ids.ts';
import type { LoadedPolicy } from '../core/policy/policy.ts';
import type { Typist } from './subcommand.ts';

/**
 * Whoever acts in a workspace that the policy has tenants in; undefined in any other one. On Enterprise Grid the policy
 * may name the organisation, and then its id stands for the same people.
 */
export function typistOf(
  { policy }: LoadedPolicy,
  body: { team_id: string; enterprise_id?: string | undefined; user_id: string },
): Typist | undefined {
  const own = [...policy.tenants].filter(
    ([, { slack }]) => slack.team === body.team_id || slack.team === body.enterprise_id,
  );
  const team = own[0]?.[1].slack.team;
  if (team === undefined) return undefined;
  const tenants = own.filter(([, { slack }]) => slack.team === team).map(([tenant]) => tenant);
  return { person: personOf(team, body.user_id), user: body.user_id, team, tenants };
}
