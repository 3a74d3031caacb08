import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { PROPOSAL_KEY_MIN_BYTES } from './core/proposal/seal.ts';

/** As the variables of the same names take them: base64, one line each. */
export interface GeneratedKeys {
  readonly COUNTERSIGN_PROPOSAL_KEY: string;
  readonly COUNTERSIGN_APPROVAL_PRIVATE_KEY: string;
  readonly COUNTERSIGN_APPROVAL_PUBLIC_KEY: string;
}

export function generateKeys(): GeneratedKeys {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    COUNTERSIGN_PROPOSAL_KEY: randomBytes(PROPOSAL_KEY_MIN_BYTES).toString('base64'),
    COUNTERSIGN_APPROVAL_PRIVATE_KEY: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
    COUNTERSIGN_APPROVAL_PUBLIC_KEY: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
  };
}
