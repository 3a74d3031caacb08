import { z } from 'zod';

/** What the world answered. `unknown` is shown to people and never retried blindly. */
export const Outcome = z.discriminatedUnion('outcome', [
  /** `result` is JSON text, at most 64 KiB. */
  z.strictObject({ outcome: z.literal('succeeded'), result: z.string() }),
  z.strictObject({ outcome: z.literal('failed'), code: z.string(), message: z.string() }),
  /** `why` is in our words; `said` is what the tool threw. */
  z.strictObject({ outcome: z.literal('unknown'), why: z.string(), said: z.string().optional() }),
]);
export type Outcome = z.infer<typeof Outcome>;

/** Why nobody can say what happened, for the people and the agent who are told. */
export function doubtOf({ why, said }: Extract<Outcome, { outcome: 'unknown' }>): string {
  return said === undefined ? why : `${why}: ${said}`;
}
