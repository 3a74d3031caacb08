import { type PersonId, slackIdsOf, type TenantId } from '../identity/ids.ts';
import { type EndedProposals, PUT_BACK } from '../proposal/ended-proposals.ts';
import type { ProposalId } from '../proposal/proposal-id.ts';
import type { ProposalStore } from '../proposal/proposal-store.ts';
import { type ProposalKeys, type SealedTerms, unseal } from '../proposal/seal.ts';
import type { ApproverDirectory } from './approver-directory.ts';
import { type SignedAttestation, signAttestation } from './attestation.ts';
import {
  type ApprovalKeys,
  type ApprovalPrivateKey,
  decisionIsGenuine,
  type SignedDecision,
} from './decision.ts';
import { readRecord } from './decision-desk.ts';
import { stillStanding } from './standing.ts';

export interface AttesterParts {
  readonly store: Pick<ProposalStore, 'now' | 'read' | 'attest' | 'refuse' | 'claimAttestations'>;
  readonly ended: EndedProposals;
  readonly directory: ApproverDirectory;
  readonly keys: { readonly proposal: ProposalKeys; readonly approval: ApprovalKeys };
  readonly placeOf: (tenant: TenantId) => { readonly team: string } | undefined;
}

/** `unsure`: nothing was said, so nothing starts; it is asked again. `gone`: it no longer waits to start. */
export type Attested = 'attested' | 'refused' | 'unsure' | 'gone';

const CLAIMED_AT_ONCE = 50;

/** Says of approved proposals, again and again until they start, that those who approved still may; or stops them. */
export class Attester {
  readonly #parts: AttesterParts;

  constructor(parts: AttesterParts) {
    this.#parts = parts;
  }

  /** Renews what is due; each proposal is taken by one replica. */
  async sweep(onFailed: (id: ProposalId, error: unknown) => void): Promise<void> {
    const ids = await this.#parts.store.claimAttestations(CLAIMED_AT_ONCE);
    for (const id of ids) {
      try {
        await this.renew(id);
      } catch (error) {
        onFailed(id, error);
      }
    }
  }

  async renew(id: ProposalId): Promise<Attested> {
    const { store, directory, keys } = this.#parts;
    // Before anybody is asked: what is said is no younger than what it rests on.
    const at = await store.now();
    const record = await readRecord(store, id);
    if (record === undefined || record === 'not_ours' || record.state.status !== 'approved') return 'gone';
    const unsealed = unseal(keys.proposal, record.termsText, record.seal);
    if (!unsealed.ok || unsealed.sealed.terms.id !== id) return 'unsure';
    const { sealed } = unsealed;
    const { terms } = sealed;
    if (this.#parts.ended.isPutBack(record)) {
      return (await store.refuse(id, PUT_BACK)) === 'settled' ? 'refused' : 'gone';
    }
    const place = this.#parts.placeOf(terms.context.tenant);
    if (terms.basis.kind !== 'people' || place === undefined) return 'unsure';
    const { approvals } = record.state;
    // Raised as an alarm by the executor, which sees the same.
    const isOurs = (approval: SignedDecision) =>
      keys.approval.genuine.some((key) => decisionIsGenuine(key, approval));
    if (!approvals.every(isOurs)) return 'unsure';
    const { rule } = terms.basis;
    const { still, gone, unknown } = await stillStanding(directory, approvals, {
      rule,
      terms,
      team: place.team,
    });
    const [left] = gone;
    if (left !== undefined) {
      const { user } = slackIdsOf(left.person);
      const settled = await store.refuse(id, {
        refusal: 'approver_not_entitled',
        message: `${user} approved it, and may no longer approve this (${left.why}).`,
        alarm: false,
        person: left.person,
      });
      return settled === 'settled' ? 'refused' : 'gone';
    }
    if (unknown || still.length === 0) return 'unsure';
    return this.attest(sealed, still, at);
  }

  /** @param at Redis's clock, from before these people were looked at. */
  async attest(sealed: SealedTerms, approvers: readonly PersonId[], at: number): Promise<Attested> {
    const signed = attestationOf(this.#parts.keys.approval.signing, sealed, approvers, at);
    const kept = await this.#parts.store.attest(sealed.terms.id, signed);
    return kept === 'settled' ? 'attested' : 'gone';
  }
}

function attestationOf(
  key: ApprovalPrivateKey,
  { terms, termsDigest }: SealedTerms,
  approvers: readonly PersonId[],
  at: number,
): SignedAttestation {
  const { id: proposal, nonce } = terms;
  return signAttestation(key, { v: 1, proposal, nonce, termsDigest, approvers: [...approvers].sort(), at });
}
