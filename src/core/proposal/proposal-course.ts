import { z } from 'zod';
import { PersonId } from '../identity/ids.ts';

const at = { revision: z.int().positive(), at: z.int().positive() };

/**
 * What happened to a proposal while people decided, and which revision each step made: for the card and its thread. Our
 * store's own notes, not sealed: nothing is decided by them.
 */
export const CourseEvent = z.discriminatedUnion('event', [
  z.strictObject({ event: z.literal('approved'), ...at, person: PersonId }),
  /** An approval that no longer counts: its giver may not decide any more. */
  z.strictObject({ event: z.literal('revoked'), ...at, person: PersonId, why: z.string().max(80) }),
  z.strictObject({ event: z.literal('reminded'), ...at }),
  z.strictObject({ event: z.literal('escalated'), ...at }),
]);
export type CourseEvent = z.infer<typeof CourseEvent>;
