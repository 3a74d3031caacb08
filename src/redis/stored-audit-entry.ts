import { z } from 'zod';
import { AuditEntry } from '../core/audit/audit-entry.ts';
import { placeIn } from '../core/audit/audit-stream.ts';

/** A page of a stream as Redis answers: id, and its fields flat. */
export const StreamPage = z.array(z.tuple([z.string(), z.array(z.string())]));

const wholeNumber = z
  .string()
  .regex(/^\d{1,15}$/)
  .transform(Number);

const StoredEntry = z.object({
  seq: wholeNumber,
  at: wholeNumber,
  kind: z.string(),
  tenant: z.string(),
  proposal: z.string(),
  detail: z.string(),
});

/** The entry that `audit` in lua/prelude.lua wrote. @throws for anything else. */
export function storedAuditEntry(shard: number, id: string, flat: readonly string[]): AuditEntry {
  const fields = new Map<string, string>();
  for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string);
  const stored = StoredEntry.parse(Object.fromEntries(fields));
  return AuditEntry.parse({
    place: placeIn(shard, id),
    seq: stored.seq,
    at: stored.at,
    kind: stored.kind,
    tenant: stored.tenant,
    ...(stored.proposal === '' ? {} : { proposal: stored.proposal }),
    detail: JSON.parse(stored.detail),
  });
}
