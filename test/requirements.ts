/**
 * What Countersign promises. A test names the ids that it verifies, in its title: `[decision:one-winner] …`.
 * `requirements.test.ts` fails on an id that no test cites, unless it stands under NOT_YET_COVERED, and on a cited id
 * that does not exist. The README's promises come from here.
 */
export interface Requirement {
  readonly id: `${string}:${string}`;
  readonly promise: string;
  /** Who relies on it. */
  readonly for: 'approver' | 'operator' | 'agent developer' | 'security' | 'auditor';
}

export const REQUIREMENTS: readonly Requirement[] = [
  {
    id: 'policy:unlisted-tool-is-forbidden',
    promise: 'A tool that the policy does not name never runs, whatever the prompt says.',
    for: 'security',
  },
  {
    id: 'policy:unknown-tenant-or-environment-is-forbidden',
    promise: 'There is no default tenant and no default environment.',
    for: 'security',
  },
  {
    id: 'policy:writes-disabled-by-default',
    promise: 'With no policy key that enables writes, every write is forbidden.',
    for: 'security',
  },
  {
    id: 'scope:identity-comes-from-the-context',
    promise:
      'Tenant, environment, agent and principal come from the authenticated context; scope-like keys in the arguments are refused, even when equal.',
    for: 'security',
  },
  {
    id: 'args:strict-json',
    promise:
      'Duplicate keys, __proto__, lone surrogates, numbers that a double cannot carry and over-limit sizes are refused before any schema runs.',
    for: 'security',
  },
  {
    id: 'proposal:frozen',
    promise: 'What is shown, hashed, sealed and executed is one canonical value; any difference refuses.',
    for: 'approver',
  },
  {
    id: 'decision:one-winner',
    promise: 'Any number of simultaneous clicks settle a proposal once, and every loser is told why.',
    for: 'approver',
  },
  {
    id: 'decision:denial-is-final',
    promise: 'One denial ends it, whatever the quorum.',
    for: 'approver',
  },
  {
    id: 'decision:quorum-counts-distinct-people',
    promise: 'The same person, in any encoding, counts once, and the requester never.',
    for: 'security',
  },
  {
    id: 'decision:late-click-loses',
    promise: 'A click at or after the deadline never approves, even if the timer is late.',
    for: 'approver',
  },
  {
    id: 'decision:identity-from-the-signed-body',
    promise: "Who clicked is read from what Slack signed, never from a button's value.",
    for: 'security',
  },
  {
    id: 'decision:why-is-recorded',
    promise:
      'There is no decision without its reason where the rule requires one; who, when, why and what they saw is in the audit.',
    for: 'auditor',
  },
  {
    id: 'approval:single-use',
    promise: 'One approval admits one execution attempt; replaying it, or the queue job, admits nothing.',
    for: 'security',
  },
  {
    id: 'approval:bound-to-everything',
    promise:
      'An approval is bound to tool, schema, arguments, tenant, environment, agent, principal, policy version, switch epoch, expiry and nonce.',
    for: 'security',
  },
  {
    id: 'approval:signed-outside-redis',
    promise:
      'Whoever can write Redis cannot forge an approval: the executor checks a signature whose private key only the approval service holds.',
    for: 'security',
  },
  {
    id: 'execution:at-most-once',
    promise:
      'A crash anywhere never runs a write twice; doubt is the outcome unknown, shown to people, never retried blindly.',
    for: 'operator',
  },
  {
    id: 'execution:credentials-at-the-boundary',
    promise:
      'Credentials are fetched by tenant, environment and access at execution and never enter a prompt, a queue job, Slack, a log or the audit.',
    for: 'security',
  },
  {
    id: 'execution:the-executor-judges-again',
    promise:
      'Right before a write starts, the executor itself checks seal, approvals, policy, resources, budget, deadline and switch; what an earlier process said is not believed.',
    for: 'security',
  },
  {
    id: 'switch:off-means-no-start',
    promise: 'Once /agent-writes off has answered, no write in that scope starts, on any replica.',
    for: 'operator',
  },
  {
    id: 'switch:fails-closed',
    promise: 'A missing, unreadable, flushed or stale switch means off.',
    for: 'operator',
  },
  {
    id: 'switch:off-then-on-resurrects-nothing',
    promise: 'Approvals from before the switch went off never run after it comes back on.',
    for: 'operator',
  },
  {
    id: 'switch:dead-man',
    promise:
      "With no approval service alive to hear off, writes stop by themselves within the permit's life of 5 seconds.",
    for: 'operator',
  },
  {
    id: 'switch:reads-stay-on',
    promise: 'Off stops writes only.',
    for: 'agent developer',
  },
  {
    id: 'audit:every-transition',
    promise: 'No state changes without its audit entry, written in the same atomic step.',
    for: 'auditor',
  },
  {
    id: 'audit:tamper-evident',
    promise: 'An offline verifier names the first altered, missing, reordered or truncated entry.',
    for: 'auditor',
  },
  {
    id: 'display:nothing-hidden',
    promise: 'An approver can always see the complete arguments, and cannot approve before they could.',
    for: 'approver',
  },
  {
    id: 'display:agent-text-is-data',
    promise: 'No argument can forge a mention, link, status, button or line of our own wording.',
    for: 'approver',
  },
  {
    id: 'redis:down-means-no',
    promise: 'With Redis gone, writes are refused with a clear error and nothing hangs for ever.',
    for: 'agent developer',
  },
];

/** Promised in the design and not shown by a test yet, with the reason. */
export const NOT_YET_COVERED: Readonly<Record<string, string>> = {};
