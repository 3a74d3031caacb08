import type { AuditLog } from '../audit/audit-log.ts';
import type { Dispatch } from '../execution/dispatch.ts';
import { type PersonId, personOf, slackIdsOf, type TenantId } from '../identity/ids.ts';
import type { ApprovalRule, DenialReason } from '../policy/verdict.ts';
import { type EndedProposals, PUT_BACK } from '../proposal/ended-proposals.ts';
import type { ProposalRecord } from '../proposal/proposal.ts';
import type { ProposalId } from '../proposal/proposal-id.ts';
import { type Decided, type ProposalStore, StoreUnavailable } from '../proposal/proposal-store.ts';
import type { ProposalTerms } from '../proposal/proposal-terms.ts';
import { type ProposalKeys, type SealedTerms, unseal } from '../proposal/seal.ts';
import type { Digest } from '../tool/digest.ts';
import type { ApproverDirectory } from './approver-directory.ts';
import { type ApprovalKeys, type DecisionStatement, type SignedDecision, signDecision } from './decision.ts';
import type { DecisionRefusal } from './refusal.ts';
import { isSecondAccountOf } from './second-accounts.ts';
import { listDigest } from './shown-list.ts';
import { standingOf, stillStanding } from './standing.ts';

/** One click, as the channel that people decide in has verified it. Nothing in it but the identity gives any right. */
export interface Click {
  readonly proposal: ProposalId;
  readonly decision: 'approve' | 'deny';
  /** For the audit of a refusal: what they were after, where it was no decision yet. */
  readonly wants?: 'edit';
  /** Who clicked, and of which team: from the signed body. */
  readonly user: { readonly id: string; readonly team: string };
  /** The workspace that the app is installed in and the click came through. */
  readonly workspace: { readonly team: string; readonly enterprise: string | undefined };
  /**
   * The message that was clicked in; `home` in the person's own Home tab, which no other person sees and where what they
   * saw is compared all the same; undefined where a form was handed in, whose card was compared when it opened.
   */
  readonly card: { readonly channel: string; readonly ts: string } | 'home' | undefined;
  /** What they had before them when they clicked. */
  readonly sight: {
    readonly on: 'card' | 'review' | 'list';
    readonly shown: string;
    /** Of a list: the digest of each call that was shown on it, in its order. */
    readonly items?: readonly string[];
  };
  readonly reason?: string | undefined;
  /** Which of the rule's reasons to deny they chose, counted from 0. */
  readonly choice?: number | undefined;
}

/** What the two ways of looking at a proposal show of it, worked out anew from its sealed terms. */
export interface Sights {
  readonly card: Digest;
  /** The card shows the call whole, so that it may be approved from there. */
  readonly cardIsWhole: boolean;
  /** Undefined: the call cannot be shown whole anywhere, and so not approved. */
  readonly review: Digest | undefined;
  /** The same as they stood before the tool's preview came: who clicks there has seen the whole call as well. */
  readonly beforePreview?: Sights | undefined;
  /** As one of several on a list; left out, it is on none. */
  readonly listed?: { readonly shown: Digest; readonly whole: boolean; readonly reversible: boolean };
}

export interface DecisionDeskParts {
  readonly store: ProposalStore;
  readonly ended: EndedProposals;
  readonly audit: AuditLog;
  readonly dispatch: Dispatch;
  readonly directory: ApproverDirectory;
  readonly keys: { readonly proposal: ProposalKeys; readonly approval: ApprovalKeys };
  /** Where a tenant decides, as the policy has it now. */
  readonly placeOf: (tenant: TenantId) => { readonly team: string; readonly channel: string } | undefined;
  /** Whether that place may still be decided in. */
  readonly mayDecideIn: (place: {
    team: string;
    channel: string;
  }) => Promise<'yes' | 'shared_channel' | 'cannot_check'>;
  readonly sightsOf: (sealed: SealedTerms, record: ProposalRecord, team: string) => Sights;
  /** Signs and keeps that these people may still approve it, as of `at`. */
  readonly attest: (sealed: SealedTerms, approvers: readonly PersonId[], at: number) => Promise<unknown>;
  /** The decision stands, and attesting it or waking its job failed: the sweeps will do it. */
  readonly onWakeFailed: (id: ProposalId, error: unknown) => void;
}

export interface Refused {
  readonly ok: false;
  readonly refusal: DecisionRefusal;
  readonly record: ProposalRecord | undefined;
}

/** The click would count if it were handed in now. */
export interface Admissible {
  readonly ok: true;
  readonly sealed: SealedTerms;
  readonly record: ProposalRecord;
  readonly rule: ApprovalRule;
  readonly person: PersonId;
  readonly as: string;
  /** Redis's clock, from before anything was looked at. */
  readonly at: number;
}

export type DeskAnswer =
  | {
      readonly ok: true;
      readonly decision: 'approve' | 'deny';
      readonly settled: boolean;
      readonly replayed: boolean;
      /** Approvals that are still missing; 0 once it is settled. */
      readonly missing: number;
      readonly record: ProposalRecord;
    }
  | Refused;

/** The store did not answer while the decision was being written: whether it stands is not known. */
export class DecisionUnsure extends Error {
  override readonly name = 'DecisionUnsure';
  readonly code = 'decision_unsure';
}

/**
 * Where clicks become decisions. Every check is made anew for each click and nothing is remembered between two of them,
 * so that the same click twice is judged twice and recorded once.
 */
export class DecisionDesk {
  readonly #parts: DecisionDeskParts;

  constructor(parts: DecisionDeskParts) {
    this.#parts = parts;
  }

  /** Whether a click would count, for showing people what they may decide. Nothing is recorded, and a no is no refusal. */
  wouldCount(click: Click): Promise<Admissible | Refused> {
    return this.#judge(click);
  }

  /** Before a form opens: whether this person could decide at all. A refusal is audited as one of a click. */
  async look(click: Click): Promise<Admissible | Refused> {
    const judged = await this.#judge(click);
    if (!judged.ok) await this.#auditRefusal(click, judged);
    return judged;
  }

  /**
   * Judges the click, signs it, records it and wakes the proposal's job.
   * @throws DecisionUnsure where the store did not answer while recording.
   */
  async decide(click: Click): Promise<DeskAnswer> {
    const answer = await this.#decided(click);
    if (!answer.ok) await this.#auditRefusal(click, answer);
    return answer;
  }

  async #decided(click: Click): Promise<DeskAnswer> {
    const judged = await this.#judge(click);
    if (!judged.ok) return judged.refusal === 'already_settled' ? settledAnswer(click, judged) : judged;
    const { sealed, record, rule, person, at } = judged;
    const reason = reasonOf(click, rule);
    const choice = choiceOf(click, rule);
    if (choice === 'unknown') return { ok: false, refusal: 'not_this_card', record };
    if (reason === undefined && choice === undefined && rule.reason[click.decision] === 'required') {
      return { ok: false, refusal: 'reason_missing', record };
    }
    if (at >= sealed.terms.deadline) return { ok: false, refusal: 'too_late', record };
    const statement: DecisionStatement = {
      v: 1,
      proposal: sealed.terms.id,
      nonce: sealed.terms.nonce,
      termsDigest: sealed.termsDigest,
      decision: click.decision,
      person,
      as: judged.as,
      shown: click.sight.shown,
      at,
      ...(reason === undefined ? {} : { reason }),
      ...(choice === undefined ? {} : { choice }),
    };
    return this.#recorded(signDecision(this.#parts.keys.approval.signing, statement), judged);
  }

  async #recorded(signed: SignedDecision, judged: Admissible): Promise<DeskAnswer> {
    const { proposal, decision, person, at } = signed.statement;
    const { rule, sealed } = judged;
    let { record } = judged;
    for (let tries = 0; tries < RECHECKS; tries += 1) {
      const earlier = decision === 'approve' ? await this.#earlierApprovers(judged, record) : [];
      if (earlier === 'cannot_check') return { ok: false, refusal: 'cannot_check', record };
      if (earlier === 'same_person') return { ok: false, refusal: 'already_voted', record };
      const decided = await this.#parts.store.decide(signed, earlier).catch((cause: unknown) => {
        throw new DecisionUnsure(`whether the decision on ${proposal} stands is not known`, { cause });
      });
      // Somebody approved in the meantime: whom this vote would settle it with has to be looked at.
      if (!decided.ok && decided.refusal === 'recheck' && decided.record !== undefined) {
        record = decided.record;
        continue;
      }
      if (decided.ok) this.#parts.ended.note(decided.record);
      if (decided.ok && decided.settled && !decided.replayed) {
        await this.#settled(sealed, decision === 'approve' ? [...earlier, person] : [], at);
      }
      return recordedAnswer(decided, decision, rule);
    }
    return { ok: false, refusal: 'cannot_check', record };
  }

  /**
   * Where this vote could settle it: who approved before, as far as they may still. Who may not loses the vote, now and
   * for everybody to see; the proposal then goes on waiting.
   */
  async #earlierApprovers(
    { sealed: { terms }, rule, person }: Admissible,
    { id, state }: ProposalRecord,
  ): Promise<PersonId[] | 'cannot_check' | 'same_person'> {
    const { store, directory } = this.#parts;
    const others = state.approvals.filter(({ statement }) => statement.person !== person);
    const same = await isSecondAccountOf(
      directory,
      person,
      others.map(({ statement }) => statement.person),
    );
    if (same === 'cannot_check') return 'cannot_check';
    if (same) return 'same_person';
    if (others.length === 0 || others.length + 1 < rule.quorum) return [];
    const { team } = slackIdsOf(person);
    const { still, gone, unknown } = await stillStanding(directory, others, { rule, terms, team });
    for (const left of gone) await store.revoke(id, left);
    return unknown ? 'cannot_check' : still;
  }

  /** What fails here is made good by the sweeps: until then it does not start. */
  async #settled(sealed: SealedTerms, approvers: readonly PersonId[], at: number): Promise<void> {
    const { id } = sealed.terms;
    try {
      if (approvers.length > 0) await this.#parts.attest(sealed, approvers, at);
      await this.#parts.dispatch.wake(id);
    } catch (error) {
      this.#parts.onWakeFailed(id, error);
    }
  }

  async #judge(click: Click): Promise<Admissible | Refused> {
    const at = await this.#parts.store.now();
    const record = await readRecord(this.#parts.store, click.proposal);
    if (record === 'not_ours') return { ok: false, refusal: 'seal_broken', record: undefined };
    if (record === undefined) return { ok: false, refusal: 'not_found', record };
    const no = (refusal: DecisionRefusal): Refused => ({ ok: false, refusal, record });

    const unsealed = unseal(this.#parts.keys.proposal, record.termsText, record.seal);
    // A genuine seal on another proposal's record is a broken one here.
    if (!unsealed.ok || unsealed.sealed.terms.id !== record.id || record.id !== click.proposal) {
      return no('seal_broken');
    }
    const { sealed } = unsealed;
    const { terms } = sealed;
    if (this.#parts.ended.isPutBack(record)) {
      await this.#parts.store.refuse(record.id, PUT_BACK);
      return no('already_settled');
    }
    // Nobody is asked where the policy itself decides, so no card of ours has such a button.
    if (terms.basis.kind !== 'people') return no('not_this_card');
    const { rule } = terms.basis;

    const place = this.#parts.placeOf(terms.context.tenant);
    if (place === undefined) return no('other_workspace');
    const team = teamOf(click, place.team);
    if (team === undefined) return no('other_workspace');
    if (typeof click.card === 'object' && !isItsCard(click.card, record, place)) return no('not_this_card');

    const person = personOf(team, click.user.id);
    const exclusion = exclusionOf(person, rule, terms);
    if (exclusion !== undefined) return no(exclusion);
    const [entitlement, mayDecide] = await Promise.all([
      standingOf(this.#parts.directory, { person, rule, terms, team, at }),
      this.#parts.mayDecideIn(place),
    ]);
    if (!entitlement.ok) return no(entitlement.refusal);
    if (mayDecide !== 'yes') return no(mayDecide);

    if (record.state.status !== 'pending') return no('already_settled');
    if (click.sight.on === 'list') {
      const refusal = listRefusal(click, rule, this.#parts.sightsOf(sealed, record, team).listed);
      return refusal === undefined
        ? { ok: true, sealed, record, rule, person, as: entitlement.as, at }
        : no(refusal);
    }
    const sights = sightsSeen(this.#parts.sightsOf(sealed, record, team), click);
    // Drawn by another version, or for another proposal: what they saw is not what would be signed for.
    if (sights === undefined) return no('not_this_card');
    if (click.decision === 'approve' && click.sight.on === 'card' && !sights.cardIsWhole) {
      return no('not_shown_whole');
    }
    if (click.decision === 'approve' && sights.review === undefined) return no('not_shown_whole');
    return { ok: true, sealed, record, rule, person, as: entitlement.as, at };
  }

  async #auditRefusal(click: Click, refused: Refused): Promise<void> {
    const tenant =
      refused.record === undefined ? undefined : tenantOfRecord(this.#parts.keys.proposal, refused.record);
    const detail = {
      refusal: refused.refusal,
      decision: click.wants ?? click.decision,
      user: click.user.id,
      team: click.user.team,
      workspace: click.workspace.team,
      ...(typeof click.card === 'object' ? { channel: click.card.channel, ts: click.card.ts } : {}),
      ...(click.card === 'home' ? { surface: 'home' } : {}),
    };
    await this.#parts.audit.append({ kind: 'decision.refused', tenant, proposal: click.proposal, detail });
    if (refused.refusal === 'seal_broken') {
      await this.#parts.audit.append({
        kind: 'alarm.raised',
        tenant,
        proposal: click.proposal,
        detail: { alarm: 'seal_broken', at: 'decision' },
      });
    }
  }
}

/** Votes that others overtook, one after the other, before a vote is given up. */
const RECHECKS = 5;

function recordedAnswer(decided: Decided, decision: 'approve' | 'deny', rule: ApprovalRule): DeskAnswer {
  if (!decided.ok) {
    const { refusal, record } = decided;
    // The terms that were signed are not the terms that are stored: what this person saw is not what is there.
    if (refusal === 'terms_changed') return { ok: false, refusal: 'seal_broken', record };
    if (refusal === 'recheck') return { ok: false, refusal: 'cannot_check', record };
    return { ok: false, refusal, record };
  }
  const { settled, replayed, record } = decided;
  const missing = settled ? 0 : Math.max(0, rule.quorum - record.state.approvals.length);
  return { ok: true, decision, settled, replayed, missing, record };
}

/** Of the drawings that may stand there, the one that was clicked in. */
function sightsSeen(now: Sights, { sight }: Click): Sights | undefined {
  return [now, now.beforePreview].find(
    (sights) => sights !== undefined && (sight.on === 'card' ? sights.card : sights.review) === sight.shown,
  );
}

/**
 * Together with others only what was shown whole among them, and what one click may let run: an irreversible call, one
 * that several people decide or one that needs a reason of its own is approved alone.
 */
function listRefusal(
  { decision, sight: { shown, items = [] } }: Click,
  rule: ApprovalRule,
  listed: Sights['listed'],
): DecisionRefusal | undefined {
  if (listed === undefined || !items.includes(listed.shown) || listDigest(items) !== shown)
    return 'not_this_card';
  if (decision === 'deny') return undefined;
  if (!listed.whole) return 'not_shown_whole';
  return listed.reversible && rule.quorum === 1 && rule.reason.approve !== 'required'
    ? undefined
    : 'one_by_one';
}

/**
 * A record that the store cannot make sense of was written by somebody else: as with a broken seal, nothing in it counts.
 * @throws StoreUnavailable
 */
export async function readRecord(
  store: Pick<ProposalStore, 'read'>,
  id: ProposalId,
): Promise<ProposalRecord | undefined | 'not_ours'> {
  return ownRecord(store.read(id));
}

/** The same of what no failover takes back. */
export async function readHeldRecord(
  store: Pick<ProposalStore, 'readHeld'>,
  id: ProposalId,
): Promise<ProposalRecord | undefined | 'not_ours'> {
  return ownRecord(store.readHeld(id));
}

async function ownRecord(
  read: Promise<ProposalRecord | undefined>,
): Promise<ProposalRecord | undefined | 'not_ours'> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof StoreUnavailable) throw error;
    return 'not_ours';
  }
}

/** The tenant of a record is believed only under its seal. */
function tenantOfRecord(keys: ProposalKeys, record: ProposalRecord): string | undefined {
  const unsealed = unseal(keys, record.termsText, record.seal);
  return unsealed.ok ? unsealed.sealed.terms.context.tenant : undefined;
}

/**
 * The tenant's team, if the click came through it and from one of its own people. On Enterprise Grid Slack may name
 * the organisation (`E…`) in place of the workspace; both stand for the same people, who count under the tenant's team.
 */
export function teamOf(click: Pick<Click, 'user' | 'workspace'>, tenantTeam: string): string | undefined {
  const { team, enterprise } = click.workspace;
  const own = (id: string) => id === team || (enterprise !== undefined && id === enterprise);
  return own(tenantTeam) && own(click.user.team) ? tenantTeam : undefined;
}

/**
 * The card that is recorded; or a copy of it, where a post was begun and it is not known what came of it. A copy is as
 * good as the card: it is in the tenant's channel, Slack has signed that it is our app's, and that it shows what the
 * proposal's card shows is compared below.
 */
function isItsCard(
  clicked: { channel: string; ts: string },
  { card, unseenCards }: ProposalRecord,
  place: { team: string; channel: string },
): boolean {
  if (clicked.channel !== place.channel) return false;
  if (card?.team === place.team && card.channel === place.channel && card.ts === clicked.ts) return true;
  return unseenCards > 0;
}

/**
 * Compared by user id alone: under another team's id the same person must not decide either, and one exclusion too
 * many is no harm.
 */
function exclusionOf(
  person: PersonId,
  rule: ApprovalRule,
  { context, edits }: ProposalTerms,
): DecisionRefusal | undefined {
  const { user } = slackIdsOf(person);
  const same = (other: string) => other.startsWith('slack:') && other.split('/')[1] === user;
  if (same(context.principal)) return 'own_call';
  if (!rule.excluded.some(same)) return undefined;
  return edits?.editors.some(same) ? 'own_edit' : 'owner_of_the_service';
}

/** Settled already: by this very person with this very decision, which is then the answer again, or otherwise. */
function settledAnswer(click: Click, refused: Refused): DeskAnswer {
  const { record } = refused;
  const state = record?.state;
  if (record === undefined || state === undefined) return refused;
  const own = (signed: SignedDecision) => slackIdsOf(signed.statement.person).user === click.user.id;
  const stands =
    click.decision === 'approve'
      ? CARRIED_OUT.has(state.status) && state.approvals.some(own)
      : state.status === 'denied' && own(state.denial);
  if (!stands) return refused;
  return { ok: true, decision: click.decision, settled: true, replayed: true, missing: 0, record };
}

/** States that an approval led to: in any other one it came to nothing, and its giver is told so. */
const CARRIED_OUT: ReadonlySet<string> = new Set(['approved', 'executing', 'succeeded', 'failed', 'unknown']);

const REASON_MAX = 3_000;

/** By its place in the sealed rule, so that what is signed is what the policy said and nothing that Slack sent. */
function choiceOf(click: Click, rule: ApprovalRule): DenialReason | undefined | 'unknown' {
  if (click.choice === undefined || click.decision !== 'deny') return undefined;
  return rule.denialReasons?.[click.choice] ?? 'unknown';
}

function reasonOf(click: Click, rule: ApprovalRule): string | undefined {
  if (rule.reason[click.decision] === 'none') return undefined;
  const reason = (click.reason ?? '').trim().toWellFormed();
  return reason === '' ? undefined : reason.slice(0, REASON_MAX).toWellFormed();
}
