import { z } from 'zod';

/**
 * Ids are parsed once, where they enter, and branded from there on. Every pattern is ASCII and excludes `:`, `{`, `}`
 * and white space, so that an id can stand inside a Redis key without changing which key it is.
 */

const plainId = (what: string, pattern: RegExp) =>
  z.string().regex(pattern, `${what} must match ${pattern.source}`);

/** A tenant of the host, as named in the policy: `acme`. */
export const TenantId = plainId('a tenant id', /^[a-z0-9][a-z0-9_-]{0,62}$/).brand('TenantId');
export type TenantId = z.infer<typeof TenantId>;

/** An environment of a tenant, as named in the policy: `production`. Exact bytes: `Production` is another one. */
export const EnvironmentId = plainId('an environment', /^[a-z0-9][a-z0-9_-]{0,62}$/).brand('EnvironmentId');
export type EnvironmentId = z.infer<typeof EnvironmentId>;

/** The agent that calls, as the host names it: `support-bot`. */
export const AgentId = plainId('an agent id', /^[a-z0-9][a-z0-9_.-]{0,62}$/).brand('AgentId');
export type AgentId = z.infer<typeof AgentId>;

/** One run of an agent: a conversation, a job, a ticket that it works on. For people to find things again. */
export const RunId = plainId('a run id', /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/).brand('RunId');
export type RunId = z.infer<typeof RunId>;

/** A person: the pair of Slack team and user, `slack:T0ACME/U0ANA`. A user id alone is not unique across teams. */
export const PersonId = plainId('a person', /^slack:[TE][A-Z0-9]{1,20}\/[UW][A-Z0-9]{1,20}$/).brand(
  'PersonId',
);
export type PersonId = z.infer<typeof PersonId>;

/** A named service that acts without a person, whose owners the policy lists: `service:nightly-triage`. */
export const ServiceId = plainId('a service', /^service:[a-z0-9][a-z0-9_-]{0,62}$/).brand('ServiceId');
export type ServiceId = z.infer<typeof ServiceId>;

/** On whose behalf an agent calls. A call without one is refused: who must not approve it could not be known. */
export const PrincipalId = z.union([PersonId, ServiceId]);
export type PrincipalId = z.infer<typeof PrincipalId>;

/** The two halves of a person's id, for talking to Slack. */
export function slackIdsOf(person: PersonId): { team: string; user: string } {
  const [team = '', user = ''] = person.slice('slack:'.length).split('/');
  return { team, user };
}

/** @throws ZodError where either half is not a Slack id. */
export function personOf(team: string, user: string): PersonId {
  return PersonId.parse(`slack:${team}/${user}`);
}
