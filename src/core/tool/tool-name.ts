import { z } from 'zod';

const PROTOTYPE_NAMES: ReadonlySet<string> = new Set(['constructor', 'prototype']);

/**
 * `ticket.close`. Exact bytes: `Ticket.close`, `ticket.close ` and look-alikes are other names, and no tool has them.
 * `__proto__`, `toString` and their like do not match the pattern; the lower-case ones are excluded by name.
 */
export const ToolName = z
  .string()
  .max(64, 'a tool name has at most 64 characters')
  .regex(
    /^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$/,
    'a tool name is lower-case letters, digits, _ and -, in parts joined by dots',
  )
  .refine(
    (name) => !name.split('.').some((part) => PROTOTYPE_NAMES.has(part)),
    'a tool cannot be named like a property that every object has',
  )
  .brand('ToolName');
export type ToolName = z.infer<typeof ToolName>;
