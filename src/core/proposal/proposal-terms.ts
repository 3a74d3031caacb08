import { z } from 'zod';
import { CallContext } from '../identity/call-context.ts';
import { PersonId } from '../identity/ids.ts';
import { ProposalId } from './proposal-id.ts';

const Hex64 = z.string().regex(/^[0-9a-f]{64}$/);
const ReasonNeed = z.enum(['required', 'optional', 'none']);

/** The rule that people decide under, as the policy had it when the call was made. */
export const RuleTerms = z.strictObject({
  approvers: z.array(z.string()).min(1),
  quorum: z.int().min(1),
  expiresInMs: z.int().positive(),
  startWithinMs: z.int().positive(),
  reason: z.strictObject({ approve: ReasonNeed, deny: ReasonNeed }),
  excluded: z.array(PersonId),
  remindAfterMs: z.int().positive().optional(),
  escalate: z.strictObject({ afterMs: z.int().positive(), to: z.array(z.string()) }).optional(),
});
export type RuleTerms = z.infer<typeof RuleTerms>;

/** Which counter an automatic approval draws on: `max` calls in any `perMs` window. */
export const BudgetTerms = z.strictObject({
  counterKey: z.string().min(1).max(400),
  max: z.int().min(1),
  perMs: z.int().positive(),
});
export type BudgetTerms = z.infer<typeof BudgetTerms>;

/** Why this write may run: people decide under a rule, or the policy itself allows it within a budget. */
const Basis = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('people'), by: z.string(), why: z.string(), rule: RuleTerms }),
  z.strictObject({ kind: z.literal('policy'), by: z.string(), budget: BudgetTerms.optional() }),
]);

/**
 * What is shown, hashed, sealed, signed over and executed: one canonical JSON text. Nothing outside it is believed at
 * admission. Times are milliseconds since the epoch on Redis's clock (`TIME`), the only clock for deadlines.
 */
export const ProposalTerms = z.strictObject({
  v: z.literal(1),
  id: ProposalId,
  /** 32 hex digits; makes the text, and so every approval of it, unique even for equal calls. */
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  tool: z.string(),
  /** Over the tool's definition and schema: a tool that changed since is not the tool that was approved. */
  toolDigest: Hex64,
  /** Canonical JSON text (RFC 8785), not a value: the very bytes that are digested. */
  arguments: z.string(),
  argumentsDigest: Hex64,
  context: CallContext,
  policyVersion: Hex64,
  basis: Basis,
  /** The agent's own words. Shown as such; never believed. */
  statedReason: z.string().optional(),
  idempotencyKey: z.string().optional(),
  switchEpoch: z.int().nonnegative(),
  createdAt: z.int().positive(),
  /** Decisions count only while now < deadline. */
  deadline: z.int().positive(),
  /** Once approved, the call must be admitted within this time. */
  startWithinMs: z.int().positive(),
});
export type ProposalTerms = z.infer<typeof ProposalTerms>;
