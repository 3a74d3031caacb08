import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { z } from 'zod';
import {
  type AttestationStatement,
  type SignedAttestation,
  signAttestation,
} from '../../src/core/approval/attestation.ts';
import {
  type ApprovalPrivateKey,
  type DecisionStatement,
  publicKeyFor,
  type SignedDecision,
  signDecision,
} from '../../src/core/approval/decision.ts';
import type { StartCase } from '../../src/core/execution/judgement.ts';
import { CallContext, type CallContextInput } from '../../src/core/identity/call-context.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import { evaluate } from '../../src/core/policy/evaluate.ts';
import type { LoadedPolicy } from '../../src/core/policy/policy.ts';
import { loadPolicyOrThrow } from '../../src/core/policy/policy-load.ts';
import type { ProposalRecord } from '../../src/core/proposal/proposal.ts';
import { newProposalId, shardOfTenant } from '../../src/core/proposal/proposal-id.ts';
import type { ProposalTerms } from '../../src/core/proposal/proposal-terms.ts';
import { proposalKeyOf, type SealedTerms, sealTerms } from '../../src/core/proposal/seal.ts';
import { defineTool, type ToolDefinition, toolDigest } from '../../src/core/tool/tool.ts';
import { freezeArguments } from '../../src/core/tool/tool-call.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';

/** Real calls, sealed, signed and judged with real keys: what every test of execution starts from. */

export const PROPOSAL_KEY = proposalKeyOf(Buffer.alloc(32, 'the key of the tests of execution'));
export const APPROVAL_KEY = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
export const APPROVAL_PUBLIC_KEY = publicKeyFor(APPROVAL_KEY);

export const ANA = PersonId.parse('slack:T0ACME/U0ANA');
export const BEN = PersonId.parse('slack:T0ACME/U0BEN');
export const CAT = PersonId.parse('slack:T0ACME/U0CAT');
export const MALLORY = PersonId.parse('slack:T0OTHER/U0ANA');
export const REQUESTER = PersonId.parse('slack:T0ACME/U0REQ');

export const POLICY_TEXT = `version: 1
tools:
  allow: [ticket.close, ticket.create, db.write]
write_tools:
  enabled: true
  require_approval: true
approvals:
  required_for: [ticket.close]
  defaults:
    approvers: ["user:U0ANA", "user:U0BEN", "usergroup:S0SUPPORT"]
    quorum: 1
    expires_in: 30m
    start_within: 5m
    escalate: { after: 10m, to: ["usergroup:S0ONCALL"] }
  rules:
    - tools: [db.write]
      quorum: 2
      reason: { approve: required }
auto_approve:
  - tools: [ticket.create]
    budget: { max: 20, per: 1h }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACME }
    environments: [production, staging]
  globex:
    slack: { team: T0GLOBEX, channel: C0GLOBEX }
    environments: [production]
`;

export const closeTicket = closeTicketWith(() => ({ closed: true }));

export function closeTicketWith(
  execute: Parameters<typeof defineTool>[0]['execute'],
  options: { timeout?: number; description?: string } = {},
): ToolDefinition {
  return defineTool({
    name: 'ticket.close',
    description: options.description ?? 'Closes a ticket.',
    effect: 'write',
    input: z.strictObject({ ticket: z.string(), note: z.string().optional() }),
    ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
    execute,
  });
}

export const createTicket = defineTool({
  name: 'ticket.create',
  description: 'Opens a ticket.',
  effect: 'write',
  input: z.strictObject({ title: z.string() }),
  execute: () => ({ created: true }),
});

export const writeDatabase = defineTool({
  name: 'db.write',
  description: 'Writes a row.',
  effect: 'write',
  input: z.strictObject({ row: z.int() }),
  execute: () => ({ written: true }),
});

export const TOOLS = [closeTicket, createTicket, writeDatabase];
export const REGISTRY = new ToolRegistry(TOOLS);

export function policyOf(text: string = POLICY_TEXT, tools: Iterable<ToolDefinition> = TOOLS): LoadedPolicy {
  return loadPolicyOrThrow(text, { fileName: 'policy.yml', tools });
}

export interface CallCase {
  tool?: ToolDefinition;
  args?: Record<string, unknown>;
  context?: Partial<CallContextInput>;
  shards?: number;
  /** Redis's clock when the terms are made; ms. */
  now?: number;
  switchEpoch?: number;
  policy?: LoadedPolicy;
  change?: (terms: ProposalTerms) => ProposalTerms;
}

export const T0 = 1_800_000_000_000;

/** Terms as the guard makes them. */
export function sealedCall(call: CallCase = {}): SealedTerms {
  const { tool = closeTicket, args = { ticket: 'T-1' }, shards = 1, now = T0, policy = policyOf() } = call;
  const context = CallContext.parse({
    tenant: 'acme',
    environment: 'production',
    agent: 'support-bot',
    principal: REQUESTER,
    run: 'run-1',
    ...call.context,
  });
  const frozen = freezeArguments(tool, args);
  if (!frozen.ok) throw new Error(frozen.issues.join('; '));
  const verdict = evaluate(policy, { context, tool, toolName: tool.name, args: frozen.value });
  if (verdict.verdict === 'forbid') throw new Error(verdict.message);
  const people = verdict.verdict === 'require_approval' ? verdict.rule : undefined;
  const budget = verdict.verdict === 'allow' ? verdict.budget : undefined;
  const reserved = budget && { counterKey: budget.counterKey, max: budget.max, perMs: budget.perMs };
  const terms: ProposalTerms = {
    v: 1,
    id: newProposalId(shardOfTenant(context.tenant, shards), randomBytes(24)),
    nonce: randomBytes(16).toString('hex'),
    tool: tool.name,
    toolDigest: toolDigest(tool),
    arguments: frozen.canonical,
    argumentsDigest: frozen.digest,
    context,
    policyVersion: policy.version,
    basis:
      people === undefined
        ? { kind: 'policy', by: verdict.by, ...(reserved && { budget: reserved }) }
        : { kind: 'people', by: verdict.by, why: 'because the test says so', rule: people },
    switchEpoch: call.switchEpoch ?? 1,
    createdAt: now,
    deadline: now + (people?.expiresInMs ?? 5 * 60_000),
    startWithinMs: people?.startWithinMs ?? 5 * 60_000,
  };
  return sealTerms(PROPOSAL_KEY, (call.change ?? ((same) => same))(terms));
}

export function approvalOf(
  sealed: SealedTerms,
  person: PersonId,
  statement: Partial<DecisionStatement> = {},
  key: ApprovalPrivateKey = APPROVAL_KEY,
): SignedDecision {
  return signDecision(key, {
    v: 1,
    proposal: sealed.terms.id,
    nonce: sealed.terms.nonce,
    termsDigest: sealed.termsDigest,
    decision: 'approve',
    person,
    as: `user:${person.split('/')[1]}`,
    shown: 'a'.repeat(64),
    at: sealed.terms.createdAt + 60_000,
    ...statement,
  });
}

/** What the approval service says of those who approved: by default a second before the judgement of `startCase`. */
export function attestationOf(
  { terms, termsDigest }: SealedTerms,
  approvers: readonly PersonId[],
  statement: Partial<AttestationStatement> = {},
  key: ApprovalPrivateKey = APPROVAL_KEY,
): SignedAttestation {
  return signAttestation(key, {
    v: 1,
    proposal: terms.id,
    nonce: terms.nonce,
    termsDigest,
    approvers: [...approvers],
    at: terms.createdAt + 60_000,
    ...statement,
  });
}

/** The record as the store holds it once `approvals` settled it and the approval service attested them. */
export function approvedRecord(sealed: SealedTerms, approvals: readonly SignedDecision[]): ProposalRecord {
  const people = approvals.map(({ statement }) => statement.person);
  const approvedAt = Math.max(sealed.terms.createdAt, ...approvals.map(({ statement }) => statement.at));
  return {
    id: sealed.terms.id,
    termsText: sealed.text,
    seal: sealed.seal,
    state: {
      status: 'approved',
      approvals,
      approvedAt,
      startBefore: approvedAt + sealed.terms.startWithinMs,
    },
    course: [],
    attestation:
      people.length === 0 ? undefined : attestationOf(sealed, people, { at: Math.max(approvedAt, 1) }),
    revision: 2,
    card: undefined,
    cardRevision: undefined,
    unseenCards: 0,
    told: [],
  };
}

/** Approved by Ana a minute after it was made, and judged a second later. */
export function startCase(
  sealed: SealedTerms = sealedCall(),
  approvals: readonly SignedDecision[] = [approvalOf(sealed, ANA)],
): StartCase {
  return {
    record: approvedRecord(sealed, approvals),
    proposalKeys: [PROPOSAL_KEY],
    approvalPublicKeys: [APPROVAL_PUBLIC_KEY],
    policy: policyOf(),
    registry: REGISTRY,
    now: sealed.terms.createdAt + 61_000,
  };
}
