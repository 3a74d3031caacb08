import { sign, verify } from 'node:crypto';
import { z } from 'zod';
import { PersonId } from '../identity/ids.ts';
import { ProposalId } from '../proposal/proposal-id.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import type { ApprovalPrivateKey, ApprovalPublicKey } from './decision.ts';

/**
 * The approval service's word that each of these people might still approve this proposal at this moment. The executor
 * has no directory to ask, so it starts nothing without such a word that is fresh.
 */
export const AttestationStatement = z.strictObject({
  v: z.literal(1),
  proposal: ProposalId,
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  termsDigest: z.string().regex(/^[0-9a-f]{64}$/),
  approvers: z.array(PersonId).min(1),
  /** Milliseconds on Redis's clock, read before anybody was asked. */
  at: z.int().positive(),
});
export type AttestationStatement = z.infer<typeof AttestationStatement>;

/** Ed25519 over the statement's canonical text; base64url. */
export const SignedAttestation = z.strictObject({
  statement: AttestationStatement,
  signature: z.string().max(128),
});
export type SignedAttestation = z.infer<typeof SignedAttestation>;

/** Half-open: at this age it is stale. */
export const ATTESTATION_LIFE_MS = 60_000;
/** Two renewals may fail before one is missed. */
export const ATTESTATION_RENEWAL_MS = 20_000;

export function signAttestation(key: ApprovalPrivateKey, statement: AttestationStatement): SignedAttestation {
  return { statement, signature: sign(null, signedBytes(statement), key).toString('base64url') };
}

export function attestationIsGenuine(key: ApprovalPublicKey, signed: SignedAttestation): boolean {
  return verify(null, signedBytes(signed.statement), key, Buffer.from(signed.signature, 'base64url'));
}

/** A domain of its own: no decision is ever taken for an attestation, nor the other way round. */
function signedBytes(statement: AttestationStatement): Buffer {
  return Buffer.from(`countersign/attestation/v1\n${canonicalJson(statement)}`, 'utf8');
}
