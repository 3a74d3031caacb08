import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { PersonId } from '../identity/ids.ts';
import { DenialReason } from '../policy/verdict.ts';
import { ProposalId } from '../proposal/proposal-id.ts';
import { Ed25519KeyInvalid, ed25519KeyOf } from '../signing/ed25519-key.ts';
import { canonicalJson } from '../tool/canonical-json.ts';

/** What one person decided about one proposal, and in which words. */
export const DecisionStatement = z.strictObject({
  v: z.literal(1),
  proposal: ProposalId,
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  /** Binds the decision to everything in the proposal: tool, arguments, context, policy, epoch, expiry. */
  termsDigest: z.string().regex(/^[0-9a-f]{64}$/),
  decision: z.enum(['approve', 'deny']),
  person: PersonId,
  /** The approver entry of the rule by which this person was entitled: `user:U…` or `usergroup:S…`. */
  as: z.string().min(1).max(80),
  reason: z.string().min(1).max(3000).optional(),
  /** The reason of the policy that they chose, and what it tells the agent: signed as it was shown. */
  choice: DenialReason.optional(),
  /** SHA-256 of the card or the review that the person had before them. */
  shown: z.string().regex(/^[0-9a-f]{64}$/),
  /** Milliseconds on Redis's clock, read when the click was judged. */
  at: z.int().positive(),
});
export type DecisionStatement = z.infer<typeof DecisionStatement>;

/** Ed25519 over the statement's canonical text; base64url. */
export const SignedDecision = z.strictObject({
  statement: DecisionStatement,
  signature: z.string().max(128),
});
export type SignedDecision = z.infer<typeof SignedDecision>;

export type ApprovalPrivateKey = KeyObject & { readonly __brand: 'ApprovalPrivateKey' };
export type ApprovalPublicKey = KeyObject & { readonly __brand: 'ApprovalPublicKey' };

/**
 * What the approval service holds. Beside what it signs itself it takes for genuine what other keys signed: its last one,
 * and the next one that another replica signs with already.
 */
export interface ApprovalKeys {
  readonly signing: ApprovalPrivateKey;
  /** The public half of `signing` among them. */
  readonly genuine: readonly ApprovalPublicKey[];
}

export function approvalKeysOf(
  signing: ApprovalPrivateKey,
  others: readonly ApprovalPublicKey[] = [],
): ApprovalKeys {
  return { signing, genuine: [publicKeyFor(signing), ...others] };
}

export class ApprovalKeyInvalid extends Error {
  override readonly name = 'ApprovalKeyInvalid';
  readonly code = 'approval_key_invalid';
}

/** @param material PEM, or base64 of PKCS#8 DER. */
export function approvalPrivateKeyOf(material: string): ApprovalPrivateKey {
  return approvalKey(material, 'private') as ApprovalPrivateKey;
}

/** @param material PEM, or base64 of SPKI DER. */
export function approvalPublicKeyOf(material: string): ApprovalPublicKey {
  return approvalKey(material, 'public') as ApprovalPublicKey;
}

export function publicKeyFor(key: ApprovalPrivateKey): ApprovalPublicKey {
  return createPublicKey(key) as ApprovalPublicKey;
}

export function signDecision(key: ApprovalPrivateKey, statement: DecisionStatement): SignedDecision {
  return { statement, signature: sign(null, signedBytes(statement), key).toString('base64url') };
}

export function decisionIsGenuine(key: ApprovalPublicKey, signed: SignedDecision): boolean {
  return verify(null, signedBytes(signed.statement), key, Buffer.from(signed.signature, 'base64url'));
}

function signedBytes(statement: DecisionStatement): Buffer {
  const { reason, choice, ...rest } = statement;
  const text = canonicalJson({
    ...rest,
    ...(reason === undefined ? {} : { reason }),
    ...(choice === undefined ? {} : { choice: choiceText(choice) }),
  });
  return Buffer.from(`countersign/decision/v1\n${text}`, 'utf8');
}

function choiceText({ text, tellAgent }: DenialReason): Record<string, string> {
  return tellAgent === undefined ? { text } : { text, tellAgent };
}

function approvalKey(material: string, kind: 'private' | 'public'): KeyObject {
  try {
    return ed25519KeyOf(material, kind);
  } catch (cause) {
    if (!(cause instanceof Ed25519KeyInvalid)) throw cause;
    throw new ApprovalKeyInvalid(`the approval ${kind} key ${cause.message}`, { cause });
  }
}
