import { z } from 'zod';
import { SignedAttestation } from '../core/approval/attestation.ts';
import { SignedDecision } from '../core/approval/decision.ts';
import { Outcome } from '../core/execution/outcome.ts';
import { PersonId } from '../core/identity/ids.ts';
import {
  type CardRef,
  type HaltCause,
  type ProposalRecord,
  type ProposalState,
  TERMINAL_STATUSES,
} from '../core/proposal/proposal.ts';
import { CourseEvent } from '../core/proposal/proposal-course.ts';
import { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import { parseTerms, termsDigestOf } from '../core/proposal/seal.ts';
import type { OpenedBox } from '../core/secrets/sealed-box.ts';

/** A hash that is no record of ours. Whoever acts on proposals treats it as not genuine: refuse it, raise an alarm. */
export class RecordMalformed extends Error {
  override readonly name = 'RecordMalformed';
  readonly code = 'record_malformed';
  readonly proposal: ProposalId;

  constructor(proposal: ProposalId, cause: unknown) {
    super(`the record of ${proposal} in Redis is none that Countersign wrote: do not act on it`, { cause });
    this.proposal = proposal;
  }
}

/** What a call asks for, what its tool said that it would do, and what came of it: nobody reads these in Redis. */
const BOXED = ['terms', 'preview', 'outcome'] as const;
export type BoxedField = (typeof BOXED)[number];

/** JSON in a field, then its own schema. */
const jsonOf = <T extends z.ZodType>(schema: T) =>
  z
    .string()
    .transform((text, ctx): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        ctx.addIssue({ code: 'custom', message: 'not JSON' });
        return z.NEVER;
      }
    })
    .pipe(schema);

const Count = z
  .string()
  .regex(/^[0-9]{1,15}$/)
  .transform(Number);

const CardFields: z.ZodType<CardRef> = z.strictObject({
  team: z.string(),
  channel: z.string(),
  ts: z.string(),
});

const Cause = z.discriminatedUnion('kind', [
  z
    .strictObject({
      kind: z.literal('switch'),
      scope: z.string(),
      by: z.string(),
      why: z.string().optional(),
    })
    .transform((cause): HaltCause => ({ ...cause, why: cause.why })),
  z.strictObject({
    kind: z.literal('refused'),
    refusal: z.string(),
    message: z.string(),
    person: PersonId.optional(),
  }),
  z.strictObject({ kind: z.literal('edited'), by: PersonId, to: ProposalId }),
]);

/** Nothing is decided by it, so what somebody else put there is only not shown. */
const Preview = z
  .string()
  .transform((text): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  })
  .pipe(z.strictObject({ text: z.string(), seal: z.string() }))
  .catch({ text: '', seal: '' });

const Common = z.object({
  id: ProposalId,
  terms: z.string(),
  seal: z.string().regex(/^[0-9a-f]{64}$/),
  revision: Count,
  voters: jsonOf(z.array(z.string())).optional(),
  course: jsonOf(z.array(CourseEvent)).optional(),
  attestation: jsonOf(SignedAttestation).optional(),
  card: jsonOf(CardFields).optional(),
  cardRevision: Count.optional(),
  preview: Preview.optional(),
  cardTries: Count.optional(),
  told: jsonOf(z.array(z.string())).optional(),
});

/** What must be in the hash besides, by status. */
const State = z.discriminatedUnion('status', [
  z.object({ status: z.literal('pending') }),
  z.object({ status: z.literal('approved'), approvedAt: Count, startBefore: Count }),
  z.object({
    status: z.literal('executing'),
    admission: z.string(),
    executor: z.string(),
    admittedAt: Count,
    leaseUntil: Count,
  }),
  z.object({
    status: z.enum(['succeeded', 'failed', 'unknown']),
    outcome: jsonOf(Outcome),
    finishedAt: Count,
  }),
  z.object({ status: z.literal('denied'), denial: jsonOf(SignedDecision), deniedAt: Count }),
  z.object({ status: z.literal('expired'), stage: z.enum(['deciding', 'starting']), expiredAt: Count }),
  z.object({ status: z.literal('withdrawn'), withdrawnAt: Count }),
  z.object({ status: z.literal('halted'), haltedAt: Count, cause: jsonOf(Cause) }),
]);

/**
 * What a box that does not open held is nobody's word, and reads as empty: no seal fits such terms, no preview is shown,
 * and there is no such outcome.
 * @throws RecordMalformed
 */
export function recordOfHash(
  id: ProposalId,
  flat: readonly string[],
  open: (field: BoxedField, box: string) => OpenedBox,
): ProposalRecord | undefined {
  if (flat.length === 0) return undefined;
  const hash: Record<string, string> = Object.create(null);
  for (let i = 0; i + 1 < flat.length; i += 2) hash[flat[i] as string] = flat[i + 1] as string;
  for (const field of BOXED) {
    const box = hash[field];
    if (box === undefined) continue;
    const opened = open(field, box);
    hash[field] = opened.ok ? opened.text : '';
  }
  try {
    const common = Common.parse({ ...hash });
    if (common.id !== id) throw new Error(`it says that it is ${common.id}`);
    const approvals = (common.voters ?? []).map((person) => voteOf(hash, person));
    const state: ProposalState = { approvals, ...State.parse({ ...hash }) };
    if ('outcome' in state && state.outcome.outcome !== state.status) {
      throw new Error(`it says ${state.status}, and what came of it is ${state.outcome.outcome}`);
    }
    // Nothing is compared any more with what is settled.
    if (!TERMINAL_STATUSES.has(state.status)) comparedFieldsAreOfTheTerms(hash, common.terms);
    return {
      id,
      termsText: common.terms,
      seal: common.seal,
      state,
      course: common.course ?? [],
      attestation: common.attestation,
      revision: common.revision,
      card: common.card,
      cardRevision: common.cardRevision,
      ...(common.preview === undefined ? {} : { preview: common.preview }),
      unseenCards: common.cardTries ?? 0,
      told: common.told ?? [],
    };
  } catch (cause) {
    throw new RecordMalformed(id, cause);
  }
}

/**
 * Scripts cannot read sealed terms, so what they compare stands beside them once more. Changed there alone it would be
 * another epoch, scope or budget than was sealed. A text that is not the one under `digest` is left to its seal.
 */
function comparedFieldsAreOfTheTerms(hash: Record<string, string>, text: string): void {
  if (hash.digest !== termsDigestOf(text)) return;
  const terms = parseTerms(text);
  if (terms === undefined) return;
  const changed = Object.entries(comparedFieldsOf(terms)).find(([field, value]) => hash[field] !== value);
  if (changed !== undefined) throw new Error(`its ${changed[0]} is not that of its terms`);
}

function comparedFieldsOf({ context, basis, ...terms }: ProposalTerms): Record<string, string> {
  const budget = basis.kind === 'policy' ? basis.budget : undefined;
  const rule = basis.kind === 'people' ? basis.rule : undefined;
  return {
    tenant: context.tenant,
    environment: context.environment,
    agent: context.agent,
    principal: context.principal,
    tool: terms.tool,
    nonce: terms.nonce,
    argumentsDigest: terms.argumentsDigest,
    epoch: String(terms.switchEpoch),
    createdAt: String(terms.createdAt),
    counterKey: budget?.counterKey ?? '',
    budgetPerMs: String(budget?.perMs ?? 0),
    remindAt: timeOf(terms.createdAt, rule?.remindAfterMs),
    escalateAt: timeOf(terms.createdAt, rule?.escalate?.afterMs),
  };
}

function timeOf(createdAt: number, afterMs: number | undefined): string {
  return afterMs === undefined ? '' : String(createdAt + afterMs);
}

function voteOf(hash: Record<string, string>, person: string): SignedDecision {
  const vote = jsonOf(SignedDecision).parse(hash[`vote:${person}`]);
  if (vote.statement.person !== person || vote.statement.decision !== 'approve') {
    throw new Error(`the vote under ${person} is not that person's approval`);
  }
  return vote;
}
