import { CHANNEL } from '../scenarios/ledger-installation.ts';

/** A card for each call, however many. Times as a policy writes them: `1h`. */
export function ledgerPolicy(times: { expiresIn: string; startWithin: string }): string {
  return `
version: 1
tools: { allow: [ledger.write] }
write_tools: { enabled: true }
approvals:
  required_for: [ledger.write]
  defaults: { approvers: ["usergroup:S0SUPPORT"], expires_in: ${times.expiresIn}, start_within: ${times.startWithin} }
tenants:
  acme:
    slack: { team: T0ACME, channel: ${CHANNEL} }
    environments: [production]
    limits: { pending_per_agent: 100, fold_above: 50 }
switch: { operators: ["usergroup:S0ONCALL"], arming: { operators: ["user:U0LEAD"] } }
`;
}
