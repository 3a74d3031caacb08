import type { ApproverDirectory } from '../core/approval/approver-directory.ts';
import { type ApprovalPublicKey, decisionIsGenuine } from '../core/approval/decision.ts';
import { type Click, type DecisionDesk, readRecord } from '../core/approval/decision-desk.ts';
import type { RecentDecisions } from '../core/approval/recent-decisions.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { CardRef, ProposalRecord } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import type { SealedTerms } from '../core/proposal/seal.ts';
import { describeScope } from '../core/switch/scope.ts';
import type { WriteSwitch } from '../core/switch/write-switch.ts';
import { type CardView, drawCard } from './card.ts';
import type { WorkspaceClients } from './clients.ts';
import { closed, type HomeView, type RecentDecision, type WaitingCall } from './home.ts';
import type { Typist } from './subcommand.ts';
import { offLine, stateText, whyFor } from './switch-wording.ts';
import { typistOf } from './typist.ts';

type MayDecideIn = (place: {
  team: string;
  channel: string;
}) => Promise<'yes' | 'shared_channel' | 'cannot_check'>;

export interface HomeInboxParts {
  readonly policy: PolicyHolder;
  readonly switch: WriteSwitch;
  readonly store: ProposalStore;
  readonly recent: RecentDecisions;
  readonly directory: ApproverDirectory;
  readonly mayDecideIn: MayDecideIn;
  /** A desk like the one that takes the clicks, with what it asks of Slack in our hands. */
  readonly deskWith: (asking: { directory: ApproverDirectory; mayDecideIn: MayDecideIn }) => DecisionDesk;
  readonly sealedOf: (record: ProposalRecord) => SealedTerms | undefined;
  readonly viewOf: (sealed: SealedTerms, record: ProposalRecord, team: string) => CardView;
  readonly approvalKeys: readonly ApprovalPublicKey[];
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly monotonic: () => number;
}

/** Whose Home tab it is, from the signed body. */
export interface Viewer {
  readonly user: string;
  readonly team: string;
  readonly enterprise: string | undefined;
}

/** Of each tenant, so many calls are looked at. More than these wait for people only where something is wrong. */
const MOST_LOOKED_AT = 200;
const AT_ONCE = 8;
const MOST_RECENT = 10;
const MOST_OFF = 5;
/** conversations.info is Tier 3, 50 a minute: for showing, a good look counts this long. A click looks anew. */
const CHANNEL_GOOD_MS = 30_000;

/**
 * What one person may decide, over all tenants of the workspace, judged by the same desk that judges the clicks: who may
 * not decide a call does not see that it is there.
 */
export class HomeInbox {
  readonly #parts: HomeInboxParts;
  readonly #goodChannels = new Map<string, number>();

  constructor(parts: HomeInboxParts) {
    this.#parts = parts;
  }

  /** @throws StoreUnavailable, and what Slack throws: then nothing may be shown. */
  async of(viewer: Viewer): Promise<HomeView> {
    const { policy, directory } = this.#parts;
    const typist = typistOf(policy.current, {
      team_id: viewer.team,
      enterprise_id: viewer.enterprise,
      user_id: viewer.user,
    });
    if (typist === undefined) return closed(NO_TENANT);
    // Slack is asked once for each question of one drawing, however many calls there are.
    const asked = askedOnce(directory);
    const member = await asked.entitlementOf(typist.person, [`user:${typist.user}`], typist.team);
    if (!member.ok) return closed(member.refusal === 'cannot_check' ? CANNOT_CHECK : NOT_A_MEMBER);
    const desk = this.#parts.deskWith({ directory: asked, mayDecideIn: (place) => this.#mayDecideIn(place) });
    const [writes, waiting, recent] = await Promise.all([
      this.#writes(typist),
      this.#waiting(typist, viewer, desk),
      this.#recent(typist),
    ]);
    return { kind: 'inbox', ...writes, ...waiting, recent };
  }

  async #writes(typist: Typist): Promise<{ writes: string; why: string | undefined }> {
    const status = await this.#parts.switch.status();
    const off = status.off.filter(
      ({ scope }) => scope.tenant === undefined || typist.tenants.includes(scope.tenant),
    );
    const lines = off.slice(0, MOST_OFF).map((entry) => `• off: ${offLine(entry, typist.team)}`);
    const more = off.length > MOST_OFF ? [`• off: ${off.length - MOST_OFF} more scopes`] : [];
    const doubt = status.answered < status.shards ? [PARTS_MISSING] : [];
    const whys = off.slice(0, MOST_OFF).flatMap((entry) => {
      const why = whyFor(entry, typist.team);
      return why === undefined ? [] : [`${describeScope(entry.scope)}: ${why}`];
    });
    return {
      writes: [stateText(status), ...lines, ...more, ...doubt].join('\n'),
      why: whys.length === 0 ? undefined : whys.join('\n'),
    };
  }

  async #waiting(
    typist: Typist,
    viewer: Viewer,
    desk: DecisionDesk,
  ): Promise<{ waiting: WaitingCall[]; unchecked: boolean }> {
    const perTenant = await Promise.all(
      typist.tenants.map((tenant) => this.#parts.store.pending({ tenant, limit: MOST_LOOKED_AT })),
    );
    const ids = perTenant.flat();
    const found: Looked[] = [];
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      const batch = ids.slice(from, from + AT_ONCE).map((id) => this.#look(id, typist, viewer, desk));
      found.push(...(await Promise.all(batch)));
    }
    const mine = found.flatMap((looked) => (typeof looked === 'object' ? [looked] : []));
    mine.sort((a, b) => a.deadline - b.deadline);
    return { waiting: mine.map(({ call }) => call), unchecked: found.includes('unchecked') };
  }

  async #look(id: ProposalId, typist: Typist, viewer: Viewer, desk: DecisionDesk): Promise<Looked> {
    const record = await readRecord(this.#parts.store, id);
    const sealed = record === undefined || record === 'not_ours' ? undefined : this.#parts.sealedOf(record);
    if (record === undefined || record === 'not_ours' || sealed === undefined) return 'not_mine';
    if (!typist.tenants.includes(sealed.terms.context.tenant)) return 'not_mine';
    // Who has voted can do no more than deny it; they find it among their decisions.
    if (record.state.approvals.some(({ statement }) => statement.person === typist.person)) return 'not_mine';
    const card = drawCard(this.#parts.viewOf(sealed, record, typist.team));
    const click: Click = {
      proposal: id,
      decision: 'deny',
      user: { id: viewer.user, team: viewer.team },
      workspace: { team: viewer.team, enterprise: viewer.enterprise },
      card: 'home',
      sight: { on: 'card', shown: card.shown },
    };
    const judged = await desk.wouldCount(click);
    if (judged.ok) {
      const link = this.#linkTo(record.card, typist);
      return { deadline: sealed.terms.deadline, call: { proposal: id, card, link } };
    }
    return judged.refusal === 'cannot_check' || judged.refusal === 'shared_channel'
      ? 'unchecked'
      : 'not_mine';
  }

  async #recent(typist: Typist): Promise<RecentDecision[]> {
    const ids = await this.#parts.recent.of(typist.person, MOST_RECENT);
    const found = await Promise.all(ids.map((id) => this.#recentOne(id, typist)));
    return found.flatMap((one) => one ?? []);
  }

  /** The index says only where to look: what is shown is sealed, and signed as this person's decision. */
  async #recentOne(id: ProposalId, typist: Typist): Promise<RecentDecision | undefined> {
    const record = await readRecord(this.#parts.store, id);
    const sealed = record === undefined || record === 'not_ours' ? undefined : this.#parts.sealedOf(record);
    if (record === undefined || record === 'not_ours' || sealed === undefined) return undefined;
    const { terms, termsDigest } = sealed;
    if (!typist.tenants.includes(terms.context.tenant)) return undefined;
    const { state } = record;
    const denial = state.status === 'denied' ? [state.denial] : [];
    const signed = [...denial, ...state.approvals].find(
      ({ statement }) =>
        statement.person === typist.person &&
        statement.proposal === terms.id &&
        statement.termsDigest === termsDigest,
    );
    const { approvalKeys } = this.#parts;
    if (signed === undefined || !approvalKeys.some((key) => decisionIsGenuine(key, signed))) return undefined;
    const link = this.#linkTo(record.card, typist);
    return { terms, decision: signed.statement, status: state.status, link };
  }

  /** A card stands where the store says; where that is nothing like a message of this workspace there is no link. */
  #linkTo(card: CardRef | undefined, typist: Typist): string | undefined {
    const base = this.#parts.workspaceOf(typist.team)?.url ?? '';
    if (card === undefined || base === '' || card.team !== typist.team) return undefined;
    if (!/^[CG][A-Z0-9]{1,20}$/.test(card.channel) || !/^[0-9]+\.[0-9]+$/.test(card.ts)) return undefined;
    return `${base}archives/${card.channel}/p${card.ts.replace('.', '')}`;
  }

  async #mayDecideIn(place: { team: string; channel: string }): ReturnType<MayDecideIn> {
    const key = `${place.team}/${place.channel}`;
    const age = this.#parts.monotonic() - (this.#goodChannels.get(key) ?? Number.NEGATIVE_INFINITY);
    if (age < CHANNEL_GOOD_MS) return 'yes';
    const may = await this.#parts.mayDecideIn(place);
    if (may === 'yes') this.#goodChannels.set(key, this.#parts.monotonic());
    else this.#goodChannels.delete(key);
    return may;
  }
}

type Looked = { readonly deadline: number; readonly call: WaitingCall } | 'not_mine' | 'unchecked';

export const NO_TENANT =
  'The policy has no tenant in this workspace. Ask your administrator to add it under `tenants`.';
export const CANNOT_CHECK =
  'Slack did not tell just now who you are, so nothing is shown. Refresh in a moment; if it stays so, tell your administrator.';
export const NOT_A_MEMBER =
  'Only full members of this workspace can see what its agents want to write. Ask one of them if something waits for you.';
const PARTS_MISSING = '• not every part of the switch answered: *this is not the whole truth*';

/** The same question twice is asked once, and has one answer. For as long as the answer may be one for. */
function askedOnce(directory: ApproverDirectory): ApproverDirectory {
  const answers = new Map<string, unknown>();
  return new Proxy(directory, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name, target);
      if (typeof method !== 'function') return method;
      return (...args: unknown[]) => {
        const key = JSON.stringify([String(name), args]);
        const known = answers.get(key) ?? Reflect.apply(method, target, args);
        answers.set(key, known);
        return known;
      };
    },
  });
}

export function viewerKey({ team, user }: Viewer): string {
  return `${team}/${user}`;
}
