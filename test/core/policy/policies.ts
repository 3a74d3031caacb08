import type { PolicyTool } from '../../../src/core/policy/policy-tool.ts';

/** The safe default of the source article, byte for byte. */
export const SAFE_DEFAULT = `tools:
  allow: ["search.read", "kb.read", "http.get"]
write_tools:
  enabled: false
  require_approval: true
credentials:
  scope:
    tenant: true
    environment: true
approvals:
  required_for: ["ticket.close", "db.write", "email.send"]
`;

/** A policy that uses every key. */
export const GROWN = `version: 1
tools:
  allow: ["kb.read", "ticket.read", "ticket.close", "ticket.create", "db.write", "user.purge"]
write_tools:
  enabled: true
  require_approval: true
credentials:
  scope: { tenant: true, environment: true }
approvals:
  required_for: ["ticket.close"]
  defaults: { approvers: ["usergroup:S0SUPPORT"], quorum: 1, expires_in: 30m, reason: { approve: optional, deny: required }, denial_reasons: [{ text: "Not a duplicate", tell_agent: "use ticket.merge" }, { text: "Not now" }] }
  rules:
    - tools: ["db.write"]
      environments: [production]
      approvers: ["user:U0DBA1", "user:U0DBA2", "usergroup:S0DBA"]
      quorum: 2
      expires_in: 10m
      start_within: 2m
      reason: { approve: required }
      remind_after: 3m
      escalate: { after: 6m, to: ["usergroup:S0ONCALL"], reroute: true }
auto_approve:
  - tools: ["ticket.create"]
    budget: { max: 20, per: 1h, by: [tenant, environment, agent] }
resources:
  ticket.close: { properties: { queue: { enum: ["support"] } } }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACMEAPP }
    environments: [production, staging]
    limits: { pending_per_agent: 5 }
  globex:
    slack: { team: T0GLOBEX, channel: C0GLOBEX }
    environments: [production]
    overrides: { tools: { allow: ["kb.read"] } }
services:
  service:nightly-triage: { owners: ["user:U0OWNER"], exclude_owners: true }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;

const read = (name: string): PolicyTool => ({ name, effect: 'read', irreversible: false });
const write = (name: string): PolicyTool => ({ name, effect: 'write', irreversible: false });

/** Every tool that GROWN names. */
export const TOOLS: readonly PolicyTool[] = [
  read('kb.read'),
  read('ticket.read'),
  write('ticket.close'),
  write('ticket.create'),
  write('db.write'),
  { name: 'user.purge', effect: 'write', irreversible: true },
];
