import { z } from 'zod';
import { canonicalJson } from '../tool/canonical-json.ts';
import type { JsonValue } from '../tool/strict-json.ts';

/**
 * Which calls are like the one that was approved. Each argument of that call is in it, by name, and no other: a call
 * with an argument more or less is another call. Only whole top-level arguments can be free.
 */
export const ArgumentPattern = z
  .array(
    z.discriminatedUnion('may', [
      /** The canonical JSON text of the one value. */
      z.strictObject({ name: z.string().min(1).max(64), may: z.literal('be'), value: z.string() }),
      /** Any value that the tool's schema accepts. */
      z.strictObject({ name: z.string().min(1).max(64), may: z.literal('be_anything') }),
    ]),
  )
  .max(200)
  .refine((parts) => parts.every(({ name }, i) => i === 0 || (parts[i - 1]?.name ?? '') < name), {
    error: 'each argument stands once, in order',
  });
export type ArgumentPattern = z.infer<typeof ArgumentPattern>;

/** Undefined where `free` names what is no argument of the call, or the arguments are no object. */
export function patternOf(args: JsonValue, free: ReadonlySet<string>): ArgumentPattern | undefined {
  const entries = entriesOf(args);
  if (entries === undefined) return undefined;
  const names = new Set(entries.map(([name]) => name));
  if ([...free].some((name) => !names.has(name))) return undefined;
  return entries.map(([name, value]) =>
    free.has(name) ? { name, may: 'be_anything' } : { name, may: 'be', value: canonicalJson(value) },
  );
}

/** Compared as canonical text: equal exactly when the values are, to the last invisible character. */
export function patternCovers(pattern: ArgumentPattern, args: JsonValue): boolean {
  const entries = entriesOf(args);
  if (entries === undefined || entries.length !== pattern.length) return false;
  return pattern.every((part, index) => {
    const [name, value] = entries[index] ?? [undefined, null];
    return name === part.name && (part.may === 'be_anything' || canonicalJson(value) === part.value);
  });
}

/** In one order, by UTF-16 code units, and own names alone: `constructor` is a name like any other. */
function entriesOf(args: JsonValue): [string, JsonValue][] | undefined {
  if (args === null || typeof args !== 'object' || Array.isArray(args)) return undefined;
  return Object.entries(args as Readonly<Record<string, JsonValue>>).sort(([a], [b]) => (a < b ? -1 : 1));
}
