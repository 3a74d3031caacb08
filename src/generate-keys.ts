import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { PROPOSAL_KEY_MIN_BYTES } from './core/proposal/seal.ts';

/** As the variables of the same names take them: base64, one line each. */
export interface GeneratedKeys {
  readonly COUNTERSIGN_PROPOSAL_KEY: string;
  readonly COUNTERSIGN_APPROVAL_PRIVATE_KEY: string;
  readonly COUNTERSIGN_APPROVAL_PUBLIC_KEY: string;
  readonly COUNTERSIGN_AUDIT_PRIVATE_KEY: string;
  /** For the auditor; no part of ours needs it. */
  readonly COUNTERSIGN_AUDIT_PUBLIC_KEY: string;
}

export function generateKeys(): GeneratedKeys {
  const approval = ed25519Pair();
  const audit = ed25519Pair();
  return {
    COUNTERSIGN_PROPOSAL_KEY: randomBytes(PROPOSAL_KEY_MIN_BYTES).toString('base64'),
    COUNTERSIGN_APPROVAL_PRIVATE_KEY: approval.privateKey,
    COUNTERSIGN_APPROVAL_PUBLIC_KEY: approval.publicKey,
    COUNTERSIGN_AUDIT_PRIVATE_KEY: audit.privateKey,
    COUNTERSIGN_AUDIT_PUBLIC_KEY: audit.publicKey,
  };
}

function ed25519Pair(): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
    publicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
  };
}
