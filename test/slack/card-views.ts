import { SignedDecision } from '../../src/core/approval/decision.ts';
import { PersonId } from '../../src/core/identity/ids.ts';
import type { ProposalState } from '../../src/core/proposal/proposal.ts';
import type { SealedTerms } from '../../src/core/proposal/seal.ts';
import type { CardView } from '../../src/slack/card.ts';
import { ANA, BEN, sealedTerms, signedDecision, type TermsOverrides } from '../sealed-terms.ts';

export const NOW = Date.UTC(2026, 0, 31, 12, 0, 0);
export const TEAM = 'T0ACME';

export function termsFor(given: Partial<TermsOverrides> = {}): SealedTerms {
  return sealedTerms({ now: NOW, epoch: 1, ...given });
}

export function viewFor(
  sealed: SealedTerms,
  state: ProposalState = { status: 'pending', approvals: [] },
  redact: readonly string[] | undefined = [],
): CardView {
  return { terms: sealed.terms, termsDigest: sealed.termsDigest, state, team: TEAM, redact };
}

/** Every state that a proposal can be in, each with as much in it as it can carry. */
export function everyState(sealed: SealedTerms, words = 'looks right to me', people = 2): ProposalState[] {
  const crowd = Array.from({ length: people }, (_, i) =>
    i === 0 ? ANA : i === 1 ? BEN : PersonId.parse(`slack:T0ACME/U0PERSON${i}`),
  );
  const approvals = crowd.map((person) => signedDecision(sealed, 'approve', person, { reason: words }));
  const denial = SignedDecision.parse(signedDecision(sealed, 'deny', BEN, { reason: words }));
  const outcome = { outcome: 'failed' as const, code: 'ticket_locked', message: words };
  const scope = 'everything';
  return [
    { status: 'pending', approvals: [] },
    { status: 'pending', approvals },
    { status: 'approved', approvals, approvedAt: NOW, startBefore: NOW + 1000 },
    { status: 'executing', approvals, admission: 'a', executor: 'e', admittedAt: NOW, leaseUntil: NOW + 1 },
    { status: 'succeeded', approvals, outcome: { outcome: 'succeeded', result: '{}' }, finishedAt: NOW },
    { status: 'failed', approvals, outcome, finishedAt: NOW },
    { status: 'unknown', approvals, outcome: { outcome: 'unknown', why: words }, finishedAt: NOW },
    { status: 'denied', approvals, denial, deniedAt: NOW },
    { status: 'expired', approvals, stage: 'deciding', expiredAt: NOW },
    { status: 'expired', approvals, stage: 'starting', expiredAt: NOW },
    { status: 'withdrawn', approvals: [], withdrawnAt: NOW },
    { status: 'halted', approvals, haltedAt: NOW, cause: { kind: 'switch', scope, by: ANA, why: words } },
    {
      status: 'halted',
      approvals,
      haltedAt: NOW,
      cause: { kind: 'refused', refusal: 'tool_changed', message: words },
    },
  ];
}

/** Every text in some blocks, with the kind of object that holds it. */
export function textsIn(value: unknown): { kind: string; text: string }[] {
  if (Array.isArray(value)) return value.flatMap(textsIn);
  if (typeof value !== 'object' || value === null) return [];
  const node = value as Record<string, unknown>;
  const own =
    typeof node.text === 'string' && typeof node.type === 'string'
      ? [{ kind: node.type, text: node.text }]
      : [];
  return [...own, ...Object.values(node).flatMap(textsIn)];
}

/** What people see of blocks, one text a line. */
export function seenIn(blocks: unknown): string {
  return textsIn(blocks)
    .map(({ text }) => text)
    .join('\n');
}
