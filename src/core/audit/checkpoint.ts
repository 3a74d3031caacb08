import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';
import { Ed25519KeyInvalid, ed25519KeyOf } from '../signing/ed25519-key.ts';
import { canonicalJson } from '../tool/canonical-json.ts';
import { ChainName } from './sealed-line.ts';

/** "At this time the chain had so many lines, and this was the last one's hash": what makes a chain more than a sum. */
export interface Checkpoint {
  /** Milliseconds, on the clock of the entries. */
  readonly at: number;
  readonly chain: ChainName;
  readonly count: number;
  readonly head: string;
  readonly key: string;
  /** SHA-256 of the checkpoint line before this one; 64 zeros where there is none. */
  readonly prev: string;
  readonly version: 1;
}

export interface SignedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly signature: string;
}

/**
 * The one way to write a checkpoint; a schema and a canonical writer would take the same, forty times slower. Base64 of
 * 64 bytes has four bits to spare, and with them set would be a second text of the same signature.
 */
const CHECKPOINT_LINE = new RegExp(
  [
    '^\\{"checkpoint":\\{"at":(?<at>[1-9][0-9]{0,15}),"chain":"(?<chain>[a-z0-9_-]{1,63})"',
    '"count":(?<count>[1-9][0-9]{0,15}),"head":"(?<head>[0-9a-f]{64})","key":"(?<key>[0-9a-f]{16})"',
    '"prev":"(?<prev>[0-9a-f]{64})","version":1\\},"signature":"(?<signature>[A-Za-z0-9+/]{85}[AQgw]==)"\\}$',
  ].join(','),
);

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
  return hash('sha256', key.export({ format: 'der', type: 'spki' }), 'hex').slice(0, 16);
}

/** One line, newline included. */
export function signCheckpoint(
  key: AuditPrivateKey,
  facts: Pick<Checkpoint, 'at' | 'chain' | 'count' | 'head' | 'prev'>,
): string {
  const checkpoint: Checkpoint = { ...facts, key: auditKeyId(auditPublicKeyFor(key)), version: 1 };
  const signature = sign(null, signedBytes(checkpoint), key).toString('base64');
  return `${canonicalJson({ checkpoint: { ...checkpoint }, signature })}\n`;
}

/**
 * Says nothing about the signature.
 * @param line without its newline.
 * @throws CheckpointInvalid where it is not exactly what `signCheckpoint` writes.
 */
export function parseCheckpoint(line: string): SignedCheckpoint {
  const {
    at,
    chain,
    count,
    head = '',
    key = '',
    prev = '',
    signature = '',
  } = CHECKPOINT_LINE.exec(line)?.groups ?? {};
  const name = ChainName.safeParse(chain).data;
  if (name === undefined || !Number.isSafeInteger(Number(at)) || !Number.isSafeInteger(Number(count))) {
    throw new CheckpointInvalid('this is no checkpoint as the sealer writes it, or it is of another version');
  }
  return {
    checkpoint: { at: Number(at), chain: name, count: Number(count), head, key, prev, version: 1 },
    signature,
  };
}

export function checkpointIsGenuine(key: AuditPublicKey, signed: SignedCheckpoint): boolean {
  return (
    signed.checkpoint.key === auditKeyId(key) &&
    verify(null, signedBytes(signed.checkpoint), key, Buffer.from(signed.signature, 'base64'))
  );
}

/** What the next checkpoint carries as `prev`. @param line without its newline. */
export function checkpointDigest(line: string): string {
  return hash('sha256', line, 'hex');
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
