import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import type { z } from 'zod';
import { type SignedAttestation, signAttestation } from '../src/core/approval/attestation.ts';
import {
  type ApprovalPrivateKey,
  type ApprovalPublicKey,
  type DecisionStatement,
  publicKeyFor,
  type SignedDecision,
  signDecision,
} from '../src/core/approval/decision.ts';
import type { SignedGrant } from '../src/core/grant/grant.ts';
import { CallContext, type CallContextInput } from '../src/core/identity/call-context.ts';
import { PersonId } from '../src/core/identity/ids.ts';
import type { ApprovalRule } from '../src/core/policy/verdict.ts';
import { newProposalId, shardOfTenant } from '../src/core/proposal/proposal-id.ts';
import { type BudgetTerms, ProposalTerms } from '../src/core/proposal/proposal-terms.ts';
import { type ProposalKey, proposalKeyOf, type SealedTerms, sealTerms } from '../src/core/proposal/seal.ts';
import { canonicalJson } from '../src/core/tool/canonical-json.ts';
import { digestOf } from '../src/core/tool/digest.ts';
import type { JsonValue } from '../src/core/tool/strict-json.ts';

/** The keys of one deployment, made for the test. */
export interface TestKeys {
  readonly proposal: ProposalKey;
  readonly approvalPrivate: ApprovalPrivateKey;
  readonly approvalPublic: ApprovalPublicKey;
}

export function newTestKeys(): TestKeys {
  const approvalPrivate = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
  return {
    proposal: proposalKeyOf(randomBytes(32)),
    approvalPrivate,
    approvalPublic: publicKeyFor(approvalPrivate),
  };
}

export const testKeys: TestKeys = newTestKeys();

export const ANA: PersonId = PersonId.parse('slack:T0ACME/U0ANA');
export const BEN: PersonId = PersonId.parse('slack:T0ACME/U0BEN');
export const CLEO: PersonId = PersonId.parse('slack:T0ACME/U0CLEO');

export const ACME: CallContextInput = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: 'slack:T0ACME/U0ASKER',
  run: 'run-1',
};

export function testContext(overrides: Partial<CallContextInput> = {}): CallContext {
  return CallContext.parse({ ...ACME, ...overrides });
}

type RuleInput = z.input<typeof ApprovalRule>;

export interface TermsOverrides {
  /** Redis's clock and the switch's epoch, as `WriteSwitch.read` gives them. */
  now: number;
  epoch: number;
  shards?: number;
  keys?: TestKeys;
  tool?: string;
  arguments?: JsonValue;
  context?: Partial<CallContextInput>;
  rule?: Partial<RuleInput>;
  /** The policy itself allows the call; with a budget or without. */
  automatic?: { budget?: BudgetTerms };
  /** Somebody allowed it before. */
  granted?: SignedGrant;
  startWithinMs?: number;
  idempotencyKey?: string;
  statedReason?: string;
  policyVersion?: string;
  toolDigest?: string;
}

/** Terms as a guard seals them: `ticket.close` for acme in production, one approver, ten minutes. */
export function sealedTerms(given: TermsOverrides): SealedTerms {
  const context = testContext(given.context);
  const argumentsText = canonicalJson(given.arguments ?? { ticket: 'T-1' });
  const rule: RuleInput = {
    approvers: ['user:U0ANA', 'user:U0BEN', 'user:U0CLEO'],
    quorum: 1,
    expiresInMs: 600_000,
    startWithinMs: given.startWithinMs ?? 60_000,
    reason: { approve: 'optional', deny: 'required' },
    excluded: PersonId.safeParse(context.principal).success ? [PersonId.parse(context.principal)] : [],
    ...given.rule,
  };
  const terms = ProposalTerms.parse({
    v: 1,
    id: newProposalId(shardOfTenant(context.tenant, given.shards ?? 1), randomBytes(24)),
    nonce: randomBytes(16).toString('hex'),
    tool: given.tool ?? 'ticket.close',
    toolDigest: given.toolDigest ?? digestOf('tool', given.tool ?? 'ticket.close'),
    arguments: argumentsText,
    argumentsDigest: digestOf('arguments', argumentsText),
    context,
    policyVersion: given.policyVersion ?? createHash('sha256').update('policy').digest('hex'),
    basis: given.automatic
      ? { kind: 'policy', by: 'auto_approve[0]', ...given.automatic }
      : given.granted
        ? { kind: 'grant', by: 'approvals.rules[0]', why: 'a test', rule, grant: given.granted }
        : { kind: 'people', by: 'approvals.required_for', why: 'ticket.close needs a person', rule },
    ...(given.statedReason === undefined ? {} : { statedReason: given.statedReason }),
    ...(given.idempotencyKey === undefined ? {} : { idempotencyKey: given.idempotencyKey }),
    switchEpoch: given.epoch,
    createdAt: given.now,
    deadline: given.now + rule.expiresInMs,
    startWithinMs: given.startWithinMs ?? rule.startWithinMs,
  });
  return sealTerms((given.keys ?? testKeys).proposal, terms);
}

export function signedDecision(
  sealed: SealedTerms,
  decision: 'approve' | 'deny',
  person: PersonId = ANA,
  overrides: Partial<DecisionStatement> & { keys?: TestKeys } = {},
): SignedDecision {
  const { keys = testKeys, ...statement } = overrides;
  return signDecision(keys.approvalPrivate, {
    v: 1,
    proposal: sealed.terms.id,
    nonce: sealed.terms.nonce,
    termsDigest: sealed.termsDigest,
    decision,
    person,
    as: `user:${person.slice(person.indexOf('/') + 1)}`,
    ...(decision === 'deny' ? { reason: 'not a duplicate' } : {}),
    shown: createHash('sha256').update('the card').digest('hex'),
    at: sealed.terms.createdAt + 1,
    ...statement,
  });
}

/** What the approval service says of those who approved, so that the executor may start the call. */
export function attestationFor(
  { terms, termsDigest }: SealedTerms,
  given: { at: number; people?: readonly PersonId[]; keys?: TestKeys },
): SignedAttestation {
  const { at, people = [ANA], keys = testKeys } = given;
  const { id: proposal, nonce } = terms;
  return signAttestation(keys.approvalPrivate, {
    v: 1,
    proposal,
    nonce,
    termsDigest,
    approvers: [...people],
    at,
  });
}
