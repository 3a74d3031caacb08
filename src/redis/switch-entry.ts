import { z } from 'zod';
import { PersonId } from '../core/identity/ids.ts';
import { SwitchScope } from '../core/switch/scope.ts';
import type { OffEntry, Operator } from '../core/switch/write-switch.ts';

const OperatorId = z.union([
  PersonId,
  z.custom<`cli:${string}`>((value) => typeof value === 'string' && value.startsWith('cli:')),
]);

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

export function operatorOf(text: string): Operator | undefined {
  const operator = OperatorId.safeParse(text);
  return operator.success ? operator.data : undefined;
}
