import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { PROPOSAL_KEY_MIN_BYTES } from './core/proposal/seal.ts';
import { TOKEN_KEY_BYTES } from './core/workspace/token-keys.ts';

/** As the variables of the same names take them: base64, one line each. */
export interface GeneratedKeys {
  readonly COUNTERSIGN_PROPOSAL_KEY: string;
  readonly COUNTERSIGN_APPROVAL_PRIVATE_KEY: string;
  readonly COUNTERSIGN_APPROVAL_PUBLIC_KEY: string;
  readonly COUNTERSIGN_AUDIT_PRIVATE_KEY: string;
  /** For the auditor; no part of ours needs it. */
  readonly COUNTERSIGN_AUDIT_PUBLIC_KEY: string;
  readonly COUNTERSIGN_TOKEN_KEY: string;
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
    COUNTERSIGN_TOKEN_KEY: randomBytes(TOKEN_KEY_BYTES).toString('base64'),
  };
}

/** Which keys can be made alone, to change one and leave the others. */
export const KEY_KINDS = ['proposal', 'approval', 'token', 'audit'] as const;
export type KeyKind = (typeof KEY_KINDS)[number];

const HOLDERS: readonly { kind: KeyKind; name: keyof GeneratedKeys; who: string }[] = [
  {
    kind: 'proposal',
    name: 'COUNTERSIGN_PROPOSAL_KEY',
    who: 'The approval service, every executor and every guard:',
  },
  { kind: 'approval', name: 'COUNTERSIGN_APPROVAL_PRIVATE_KEY', who: 'The approval service ALONE:' },
  { kind: 'approval', name: 'COUNTERSIGN_APPROVAL_PUBLIC_KEY', who: 'Every executor:' },
  {
    kind: 'token',
    name: 'COUNTERSIGN_TOKEN_KEY',
    who: 'The approval service ALONE, and only where workspaces install the app themselves:',
  },
  { kind: 'audit', name: 'COUNTERSIGN_AUDIT_PRIVATE_KEY', who: 'The approval service ALONE:' },
  {
    kind: 'audit',
    name: 'COUNTERSIGN_AUDIT_PUBLIC_KEY',
    who: 'The auditor, for countersign audit verify --key; no part of the installation:',
  },
];

/** For a terminal: each variable after who may have it. */
export function keyLines(keys: GeneratedKeys, kinds: readonly KeyKind[] = KEY_KINDS): string[] {
  return HOLDERS.filter(({ kind }) => kinds.includes(kind)).flatMap(({ name, who }) => [
    `# ${who}`,
    `${name}=${keys[name]}`,
  ]);
}

function ed25519Pair(): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
    publicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
  };
}
