import type { AuditEntry, AuditKind } from './audit-entry.ts';

/**
 * Transitions write their entries themselves, in their own atomic step. This port is for what changes no state: a call
 * that was forbidden, a click that did not count, an alarm; and for reading.
 */
export interface AuditLog {
  append(entry: {
    kind: AuditKind;
    tenant: string | undefined;
    proposal?: string;
    detail: Readonly<Record<string, unknown>>;
  }): Promise<void>;
  /** Oldest first, all shards merged by time. `after` is exclusive and takes a `place` of that shard. */
  read(filter: {
    tenant?: string;
    proposal?: string;
    limit: number;
    newest?: boolean;
  }): Promise<AuditEntry[]>;
}
