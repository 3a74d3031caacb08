import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AuditReport, verifyAudit } from '../audit-files/verify.ts';
import { auditKeyId, auditPublicKeyOf } from '../core/audit/checkpoint.ts';

const SEALED_WITHIN_MS = 15_000;

export interface SealedAudit {
  readonly directory: string;
  /** As `keys generate` printed it. */
  readonly publicKey: string;
}

/** What an auditor sees who has the files and the public key, once `entries` of them are sealed, or at the latest. */
export async function verifiedOnce(audit: SealedAudit, entries: number): Promise<AuditReport> {
  const until = performance.now() + SEALED_WITHIN_MS;
  for (;;) {
    const report = verify(audit.directory, audit.publicKey);
    const sealed = report.chains.reduce((sum, chain) => sum + chain.entries, 0);
    if ((report.verdict === 'intact' && sealed >= entries) || performance.now() > until) return report;
    await sleep(200);
  }
}

/** The same for a copy in which somebody rewrites who approved something. */
export function verifiedWithAnotherName(audit: SealedAudit, copy: string, tenant: string): AuditReport {
  cpSync(audit.directory, copy, { recursive: true });
  const segments = readdirSync(join(copy, tenant)).filter((name) => /^\d+-\d+\.jsonl$/.test(name));
  for (const segment of segments) {
    const path = join(copy, tenant, segment);
    const lines = readFileSync(path, 'utf8').split('\n');
    const approval = lines.findIndex((line) => line.includes('"kind":"decision.approve"'));
    const line = lines[approval];
    if (line === undefined) continue;
    lines[approval] = line.replace('U0ANA', 'U0BEN');
    writeFileSync(path, lines.join('\n'));
    break;
  }
  return verify(copy, audit.publicKey);
}

function verify(directory: string, publicKey: string): AuditReport {
  const key = auditPublicKeyOf(publicKey);
  return verifyAudit(directory, { keys: new Map([[auditKeyId(key), key]]) });
}
