import { z } from 'zod';

export const Ticket = z.strictObject({
  /** `ACME-1007`; the same id never means another ticket in another tenant or environment. */
  id: z.string(),
  tenant: z.string(),
  environment: z.string(),
  customer: z.string(),
  subject: z.string(),
  body: z.string(),
  status: z.enum(['open', 'closed']),
  createdAt: z.iso.datetime(),
  closed: z
    .strictObject({
      at: z.iso.datetime(),
      resolution: z.enum(['duplicate', 'resolved', 'spam']),
      duplicateOf: z.string().optional(),
      note: z.string().optional(),
    })
    .optional(),
});
export type Ticket = z.infer<typeof Ticket>;

export const CloseTicket = z.strictObject({
  resolution: z.enum(['duplicate', 'resolved', 'spam']),
  duplicateOf: z.string().max(40).optional(),
  note: z.string().max(1_000).optional(),
});
export type CloseTicket = z.infer<typeof CloseTicket>;

export const NewTicket = z.strictObject({
  customer: z.email().max(200),
  subject: z.string().min(1).max(200),
  body: z.string().min(1).max(4_000),
});
export type NewTicket = z.infer<typeof NewTicket>;

export const NewEmail = z.strictObject({
  to: z.email().max(200),
  subject: z.string().min(1).max(200),
  body: z.string().min(1).max(4_000),
});
export type NewEmail = z.infer<typeof NewEmail>;
