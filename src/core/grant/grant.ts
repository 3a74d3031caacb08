import { sign, verify } from 'node:crypto';
import { z } from 'zod';
import type { ApprovalPrivateKey, ApprovalPublicKey } from '../approval/decision.ts';
import { AgentId, EnvironmentId, PersonId, PrincipalId, TenantId } from '../identity/ids.ts';
import { ProposalId } from '../proposal/proposal-id.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import { type Digest, digestOf } from '../tool/digest.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import { ArgumentPattern } from './argument-pattern.ts';

const Hex64 = z.string().regex(/^[0-9a-f]{64}$/);

/**
 * `grant_` and what follows `prop_` in the id of the proposal that it was given with: the approval of one proposal makes
 * one grant at most, however often its form is handed in.
 */
export const GrantId = z
  .string()
  .regex(/^grant_[0-9a-f]{2}[0-9a-v]{24}$/, 'a grant id looks like grant_00 and 24 more characters')
  .brand('GrantId');
export type GrantId = z.infer<typeof GrantId>;

export function grantIdOf(proposal: ProposalId): GrantId {
  return GrantId.parse(`grant_${proposal.slice('prop_'.length)}`);
}

export function proposalOfGrant(id: GrantId): ProposalId {
  return ProposalId.parse(`prop_${id.slice('grant_'.length)}`);
}

export function shardOfGrant(id: GrantId): number {
  return Number.parseInt(id.slice('grant_'.length, 'grant_'.length + 2), 16);
}

/** Bounds that no policy can widen: a grant is a promise about now. */
export const GRANT_LIMITS = { uses: 1_000, lifeMs: 24 * 60 * 60_000 } as const;

/**
 * What one person allowed beyond one call: the next `maxUses` calls like it until `expires`. Signed like an approval,
 * and bound to more: the caller down to the principal, so that nobody approves by a grant what they may not approve by
 * a click.
 */
export const GrantStatement = z.strictObject({
  v: z.literal(1),
  grant: GrantId,
  tenant: TenantId,
  environment: EnvironmentId,
  agent: AgentId,
  principal: PrincipalId,
  tool: z.string().min(1).max(128),
  toolDigest: Hex64,
  pattern: ArgumentPattern,
  maxUses: z.int().min(1).max(GRANT_LIMITS.uses),
  /** Milliseconds on Redis's clock, as are all times here. Calls count only while now < expires. */
  expires: z.int().positive(),
  at: z.int().positive(),
  person: PersonId,
  /** The approver entry of the rule by which this person was entitled. */
  as: z.string().min(1).max(80),
  reason: z.string().min(1).max(3000).optional(),
  /** Who else may revoke it, beside the operators of the switch: the approvers of the rule. */
  approvers: z.array(z.string().max(80)).min(1).max(200),
  /** SHA-256 of the form that showed the whole of it before it was given. */
  shown: Hex64,
  /** The proposal whose approval it was given with. */
  proposal: ProposalId,
  termsDigest: Hex64,
  policyVersion: Hex64,
  /** Of that proposal's terms: whatever was switched off since kills the grant for good. */
  switchEpoch: z.int().nonnegative(),
});
export type GrantStatement = z.infer<typeof GrantStatement>;

/** Ed25519 over the statement's canonical text, under a domain of its own: no approval passes for a grant. */
export const SignedGrant = z.strictObject({
  statement: GrantStatement,
  signature: z.string().max(128),
});
export type SignedGrant = z.infer<typeof SignedGrant>;

export function signGrant(key: ApprovalPrivateKey, statement: GrantStatement): SignedGrant {
  return { statement, signature: sign(null, signedBytes(statement), key).toString('base64url') };
}

export function grantIsGenuine(key: ApprovalPublicKey, signed: SignedGrant): boolean {
  return verify(null, signedBytes(signed.statement), key, Buffer.from(signed.signature, 'base64url'));
}

export function grantDigest(statement: GrantStatement): Digest {
  return digestOf('grant', textOf(statement));
}

function signedBytes(statement: GrantStatement): Buffer {
  return Buffer.from(`countersign/grant/v1\n${textOf(statement)}`, 'utf8');
}

function textOf(statement: GrantStatement): string {
  return canonicalJson(JSON.parse(JSON.stringify(statement)) as JsonValue);
}
