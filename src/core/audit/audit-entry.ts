import { z } from 'zod';

export const AUDIT_KINDS = [
  'call.malformed',
  'call.forbidden',
  'proposal.created',
  'decision.approve',
  'decision.deny',
  'decision.refused',
  'decision.revoked',
  'proposal.approved',
  'proposal.denied',
  'proposal.expired',
  'proposal.withdrawn',
  'proposal.halted',
  'proposal.edited',
  'preview.kept',
  'admission.granted',
  'admission.returned',
  'outcome.succeeded',
  'outcome.failed',
  'outcome.unknown',
  'outcome.late',
  'timer.reminded',
  'timer.escalated',
  'grant.made',
  'grant.used',
  'grant.revoked',
  'grant.voided',
  'card.posted',
  'card.abandoned',
  'switch.off',
  'switch.on',
  'switch.asked',
  'switch.refused',
  'workspace.installed',
  'alarm.raised',
] as const;
export const AuditKind = z.enum(AUDIT_KINDS);
export type AuditKind = z.infer<typeof AuditKind>;

/**
 * One line of what happened. `seq` counts without gaps within a tenant (`-` for what belongs to none, such as a flip
 * of the whole switch), so that a missing entry shows. `detail` holds digests, names and redacted arguments, never a
 * secret and never a credential.
 */
export const AuditEntry = z.strictObject({
  /** The stream's own id: the place of the entry in its shard. */
  place: z.string(),
  seq: z.int().positive(),
  /** Redis's clock, ms. */
  at: z.int().positive(),
  kind: AuditKind,
  tenant: z.string(),
  proposal: z.string().optional(),
  detail: z.record(z.string(), z.unknown()),
});
export type AuditEntry = z.infer<typeof AuditEntry>;
