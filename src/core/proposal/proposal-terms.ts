import { z } from 'zod';
import { SignedGrant } from '../grant/grant.ts';
import { CallContext } from '../identity/call-context.ts';
import { PersonId } from '../identity/ids.ts';
import { ApprovalRule } from '../policy/verdict.ts';
import { ProposalId } from './proposal-id.ts';

/** A call that was changed so often is better proposed anew. */
export const MOST_EDITS = 20;

const Hex64 = z.string().regex(/^[0-9a-f]{64}$/);
/** Which counter an automatic approval draws on: `max` calls in any `perMs` window. */
export const BudgetTerms = z.strictObject({
  counterKey: z.string().min(1).max(400),
  max: z.int().min(1),
  perMs: z.int().positive(),
});
export type BudgetTerms = z.infer<typeof BudgetTerms>;

/**
 * Why this write may run: people decide under a rule, or the policy itself allows it within a budget, or somebody allowed
 * this and more calls like it before. A grant is sealed in whole, so that the record alone proves it.
 */
const Basis = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('people'), by: z.string(), why: z.string(), rule: ApprovalRule }),
  z.strictObject({ kind: z.literal('policy'), by: z.string(), budget: BudgetTerms.optional() }),
  z.strictObject({
    kind: z.literal('grant'),
    by: z.string(),
    why: z.string(),
    rule: ApprovalRule,
    grant: SignedGrant,
  }),
]);

/** A call that a person changed before it was approved. */
export const EditTerms = z.strictObject({
  /** The proposal that ended when this one was made, and what it asked for: canonical JSON text. */
  from: ProposalId,
  arguments: z.string(),
  by: PersonId,
  /** Everybody who changed it since the agent proposed it, `by` among them. */
  editors: z.array(PersonId).min(1).max(MOST_EDITS),
});
export type EditTerms = z.infer<typeof EditTerms>;

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
  edits: EditTerms.optional(),
  idempotencyKey: z.string().optional(),
  switchEpoch: z.int().nonnegative(),
  createdAt: z.int().positive(),
  /** Decisions count only while now < deadline. */
  deadline: z.int().positive(),
  /** Once approved, the call must be admitted within this time. */
  startWithinMs: z.int().positive(),
});
export type ProposalTerms = z.infer<typeof ProposalTerms>;
