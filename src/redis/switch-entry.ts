import { z } from 'zod';
import { SwitchScope } from '../core/switch/scope.ts';
import { OperatorId } from '../core/switch/switch-notice.ts';
import type { OffEntry } from '../core/switch/write-switch.ts';

const StoredEntry = z.strictObject({
  scope: SwitchScope,
  by: OperatorId,
  why: z.string().optional(),
  since: z.number(),
  until: z.number().optional(),
});

export function textOfOffEntry(entry: OffEntry): string {
  return JSON.stringify(entry);
}

/** Undefined where Redis holds something else: then it is off, and nobody can say by whom. */
export function offEntryOf(text: string): OffEntry | undefined {
  try {
    const entry = StoredEntry.parse(JSON.parse(text));
    return { ...entry, why: entry.why, until: entry.until };
  } catch {
    return undefined;
  }
}
