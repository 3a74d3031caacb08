import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { Ed25519KeyInvalid, ed25519KeyOf } from '../signing/ed25519-key.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import { ChainName } from './sealed-line.ts';

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** "At this time the chain had so many lines, and this was the last one's hash": what makes a chain more than a sum. */
export const Checkpoint = z.strictObject({
  /** The sealer's clock, ms. */
  at: z.int().positive(),
  chain: ChainName,
  count: z.int().positive(),
  head: Sha256,
  key: z.string().regex(/^[0-9a-f]{16}$/),
  /** SHA-256 of the checkpoint line before this one; 64 zeros where there is none. */
  prev: Sha256,
  version: z.literal(1),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

const SignedCheckpoint = z.strictObject({
  checkpoint: Checkpoint,
  signature: z.string().regex(/^[A-Za-z0-9+/]{86}==$/),
});
export type SignedCheckpoint = z.infer<typeof SignedCheckpoint>;

/** What the first checkpoint of a chain follows. */
export const NO_CHECKPOINT = '0'.repeat(64);

export type AuditPrivateKey = KeyObject & { readonly __brand: 'AuditPrivateKey' };
export type AuditPublicKey = KeyObject & { readonly __brand: 'AuditPublicKey' };

export class AuditKeyInvalid extends Error {
  override readonly name = 'AuditKeyInvalid';
  readonly code = 'audit_key_invalid';
}

export class CheckpointInvalid extends Error {
  override readonly name = 'CheckpointInvalid';
  readonly code = 'checkpoint_invalid';
}

/** @param material PEM, or base64 of PKCS#8 DER. */
export function auditPrivateKeyOf(material: string): AuditPrivateKey {
  return auditKey(material, 'private') as AuditPrivateKey;
}

/** @param material PEM, or base64 of SPKI DER. */
export function auditPublicKeyOf(material: string): AuditPublicKey {
  return auditKey(material, 'public') as AuditPublicKey;
}

export function auditPublicKeyFor(key: AuditPrivateKey): AuditPublicKey {
  return createPublicKey(key) as AuditPublicKey;
}

/** The name of a key in the checkpoints that it signed: 16 hex digits. */
export function auditKeyId(key: AuditPublicKey): string {
  return createHash('sha256')
    .update(key.export({ format: 'der', type: 'spki' }))
    .digest('hex')
    .slice(0, 16);
}

/** One line, newline included. */
export function signCheckpoint(
  key: AuditPrivateKey,
  facts: Pick<Checkpoint, 'at' | 'chain' | 'count' | 'head' | 'prev'>,
): string {
  const checkpoint: Checkpoint = { ...facts, key: auditKeyId(auditPublicKeyFor(key)), version: 1 };
  const signature = sign(null, signedBytes(checkpoint), key).toString('base64');
  return `${canonicalJson({ checkpoint, signature })}\n`;
}

/**
 * Says nothing about the signature.
 * @param line without its newline.
 * @throws CheckpointInvalid where it is not exactly what `signCheckpoint` writes.
 */
export function parseCheckpoint(line: string): SignedCheckpoint {
  let signed: SignedCheckpoint;
  try {
    signed = SignedCheckpoint.parse(JSON.parse(line));
  } catch (cause) {
    throw new CheckpointInvalid('this is no checkpoint that this version can read', { cause });
  }
  // Base64 of 64 bytes has four bits to spare: two texts would be one signature.
  const bytes = Buffer.from(signed.signature, 'base64');
  if (canonicalJson(signed) !== line || bytes.toString('base64') !== signed.signature) {
    throw new CheckpointInvalid('this checkpoint is not written as the sealer writes it');
  }
  return signed;
}

export function checkpointIsGenuine(key: AuditPublicKey, signed: SignedCheckpoint): boolean {
  return (
    signed.checkpoint.key === auditKeyId(key) &&
    verify(null, signedBytes(signed.checkpoint), key, Buffer.from(signed.signature, 'base64'))
  );
}

/** What the next checkpoint carries as `prev`. @param line without its newline. */
export function checkpointDigest(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}

function signedBytes(checkpoint: Checkpoint): Buffer {
  return Buffer.from(`countersign/audit-checkpoint/1\n${canonicalJson({ ...checkpoint })}`, 'utf8');
}

function auditKey(material: string, kind: 'private' | 'public'): KeyObject {
  try {
    return ed25519KeyOf(material, kind);
  } catch (cause) {
    if (!(cause instanceof Ed25519KeyInvalid)) throw cause;
    throw new AuditKeyInvalid(`the audit ${kind} key ${cause.message}`, { cause });
  }
}
