import { z } from 'zod';

/** What the world answered. `unknown` is shown to people and never retried blindly. */
export const Outcome = z.discriminatedUnion('outcome', [
  /** `result` is JSON text, at most 64 KiB. */
  z.strictObject({ outcome: z.literal('succeeded'), result: z.string() }),
  z.strictObject({ outcome: z.literal('failed'), code: z.string(), message: z.string() }),
  z.strictObject({ outcome: z.literal('unknown'), why: z.string() }),
]);
export type Outcome = z.infer<typeof Outcome>;
