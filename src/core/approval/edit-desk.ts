import type { AuditLog } from '../audit/audit-log.ts';
import type { Dispatch } from '../execution/dispatch.ts';
import type { PersonId } from '../identity/ids.ts';
import { evaluate } from '../policy/evaluate.ts';
import type { PolicyHolder } from '../policy/policy-source.ts';
import type { RequireApproval } from '../policy/verdict.ts';
import {
  newProposalId,
  PROPOSAL_ID_RANDOM_BYTES,
  type ProposalId,
  shardOfProposal,
} from '../proposal/proposal-id.ts';
import type { Edited, ProposalStore } from '../proposal/proposal-store.ts';
import { MOST_EDITS, type ProposalTerms } from '../proposal/proposal-terms.ts';
import { type ProposalKeys, type SealedTerms, sealTerms } from '../proposal/seal.ts';
import type { WriteSwitch } from '../switch/write-switch.ts';
import { type ToolDefinition, toolDigest } from '../tool/tool.ts';
import { type FrozenArguments, freezeArguments } from '../tool/tool-call.ts';
import type { Admissible, Click, DecisionDesk, Refused } from './decision-desk.ts';
import { editableArguments } from './editable-arguments.ts';
import type { DecisionRefusal } from './refusal.ts';

/** A click that wants to change a call. It needs the same right as a decision. */
export type EditClick = Omit<Click, 'decision' | 'reason' | 'choice'>;

export interface EditDeskParts {
  readonly desk: Pick<DecisionDesk, 'look'>;
  readonly store: Pick<ProposalStore, 'edit'>;
  readonly audit: AuditLog;
  readonly dispatch: Dispatch;
  readonly writeSwitch: Pick<WriteSwitch, 'read'>;
  readonly policy: Pick<PolicyHolder, 'current'>;
  /** Undefined: the tool is not known here, or not with its schema. */
  readonly toolOf: (name: string) => ToolDefinition | undefined;
  readonly proposalKeys: ProposalKeys;
  readonly random: (bytes: number) => Uint8Array;
  readonly onDispatchFailed: (id: ProposalId, error: unknown) => void;
}

export type EditAnswer =
  /** Both happened in one step: the old proposal has ended, and the new one waits for people. */
  | { readonly ok: true; readonly by: PersonId; readonly from: ProposalId; readonly to: SealedTerms }
  /** What was typed cannot be proposed; the text may be corrected. Nothing has changed. */
  | { readonly ok: false; readonly issues: readonly string[] }
  | Refused;

/** Each try reads the switch anew; more flips than this while one form is handed in is not a race but a fault. */
const TRIES = 3;

/**
 * Where an approver changes the arguments of a call before anybody approves it. What was typed passes everything that an
 * agent's arguments pass, and the policy; what comes out is a new proposal, which needs its whole quorum.
 */
export class EditDesk {
  readonly #parts: EditDeskParts;

  constructor(parts: EditDeskParts) {
    this.#parts = parts;
  }

  /** Before the form opens: the text to change. */
  async open(click: EditClick): Promise<{ ok: true; looked: Admissible; text: string } | Refused> {
    const looked = await this.#look(click);
    if (!looked.ok) return looked;
    const text = editableArguments(looked.sealed.terms, this.#tool(looked)?.redact);
    return text === undefined ? this.#refuse(click, looked, 'not_editable') : { ok: true, looked, text };
  }

  /** @throws StoreUnavailable: whether it was edited is then not known. */
  async submit(click: EditClick, text: string): Promise<EditAnswer> {
    const looked = await this.#look(click);
    if (!looked.ok) return looked;
    const { terms } = looked.sealed;
    const tool = this.#tool(looked);
    if (tool === undefined || editableArguments(terms, tool.redact) === undefined) {
      return this.#refuse(click, looked, 'not_editable');
    }
    const frozen = freezeArguments(tool, { json: text });
    if (!frozen.ok) return { ok: false, issues: frozen.issues };
    if (frozen.canonical === terms.arguments) {
      return { ok: false, issues: ['nothing is changed: to let the call run as it is, approve it'] };
    }
    const verdict = evaluate(this.#parts.policy.current, {
      context: terms.context,
      tool,
      toolName: terms.tool,
      args: frozen.value,
    });
    if (verdict.verdict === 'forbid') return { ok: false, issues: [verdict.message] };
    const asked = verdict.verdict === 'allow' ? verdict.whenSpent : verdict;
    // The policy of now no longer asks people about it, or no longer lets them change it.
    if (asked?.rule.edit === undefined) return this.#refuse(click, looked, 'not_editable');
    return this.#replace(click, looked, { frozen, asked });
  }

  async #replace(
    click: EditClick,
    looked: Admissible,
    change: { frozen: FrozenArguments & { ok: true }; asked: RequireApproval },
  ): Promise<EditAnswer> {
    const { sealed, person, record } = looked;
    const { store, writeSwitch, proposalKeys, policy, random } = this.#parts;
    const { terms } = sealed;
    for (let tries = 0; tries < TRIES; tries += 1) {
      const { writes, epoch, now } = await writeSwitch.read(terms.context, terms.tool);
      if (writes.state !== 'on') return this.#refuse(click, looked, 'writes_off');
      const to = sealTerms(
        proposalKeys[0],
        editedTerms(terms, {
          ...change,
          by: person,
          policyVersion: policy.current.version,
          id: newProposalId(shardOfProposal(terms.id), random(PROPOSAL_ID_RANDOM_BYTES)),
          nonce: Buffer.from(random(16)).toString('hex'),
          epoch,
          now,
        }),
      );
      const edited: Edited = await store.edit(sealed, to);
      if (edited.ok) {
        await this.#dispatched(terms.id, to, now);
        return { ok: true, by: person, from: terms.id, to };
      }
      if (edited.refusal === 'stale_terms') continue;
      const refusal = edited.refusal === 'terms_changed' ? 'seal_broken' : edited.refusal;
      return this.#refuse(click, { record }, refusal);
    }
    return this.#refuse(click, looked, 'writes_off');
  }

  /** What fails here is found by the sweeper. */
  async #dispatched(from: ProposalId, { terms }: SealedTerms, now: number): Promise<void> {
    const { dispatch, onDispatchFailed } = this.#parts;
    await dispatch
      .schedule(terms.id, terms.deadline - now)
      .catch((error: unknown) => onDispatchFailed(terms.id, error));
    await dispatch.wake(from).catch((error: unknown) => onDispatchFailed(from, error));
  }

  async #look(click: EditClick): Promise<Admissible | Refused> {
    // To change a call needs no more than a denial does: whoever may not even deny it may not change it.
    const looked = await this.#parts.desk.look({ ...click, decision: 'deny', wants: 'edit' });
    if (!looked.ok) return looked;
    const edits = looked.sealed.terms.edits?.editors.length ?? 0;
    if (looked.rule.edit === undefined || edits >= MOST_EDITS)
      return this.#refuse(click, looked, 'not_editable');
    return looked;
  }

  /** The tool as it was when the call was proposed; a changed one judges other arguments than were proposed. */
  #tool({ sealed: { terms } }: Admissible): ToolDefinition | undefined {
    const tool = this.#parts.toolOf(terms.tool);
    return tool !== undefined && !tool.irreversible && toolDigest(tool) === terms.toolDigest
      ? tool
      : undefined;
  }

  async #refuse(
    { proposal, user, workspace }: EditClick,
    { record }: Pick<Refused, 'record'>,
    refusal: DecisionRefusal,
  ): Promise<Refused> {
    const detail = { refusal, decision: 'edit', user: user.id, team: user.team, workspace: workspace.team };
    await this.#parts.audit.append({ kind: 'decision.refused', tenant: undefined, proposal, detail });
    return { ok: false, refusal, record };
  }
}

interface EditOf {
  readonly frozen: FrozenArguments & { ok: true };
  readonly asked: RequireApproval;
  readonly by: PersonId;
  readonly policyVersion: string;
  readonly id: ProposalId;
  readonly nonce: string;
  readonly epoch: number;
  readonly now: number;
}

/** The agent's call with other arguments, under the policy of now, for as long as its rule gives people from now on. */
function editedTerms(old: ProposalTerms, edit: EditOf): ProposalTerms {
  const { frozen, asked, by } = edit;
  // The key names the call that the agent made, which is not this one.
  const { idempotencyKey: _, ...kept } = old;
  const editors = [...new Set([...(old.edits?.editors ?? []), by])];
  const excluded = asked.rule.edit?.editorMayApprove === true ? [] : editors;
  const before = old.basis.kind === 'people' ? old.basis.rule.excluded : [];
  const rule = { ...asked.rule, excluded: [...new Set([...asked.rule.excluded, ...before, ...excluded])] };
  return {
    ...kept,
    id: edit.id,
    nonce: edit.nonce,
    arguments: frozen.canonical,
    argumentsDigest: frozen.digest,
    policyVersion: edit.policyVersion,
    basis: { kind: 'people', by: asked.by, why: asked.why, rule },
    edits: { from: old.id, arguments: old.arguments, by, editors },
    switchEpoch: edit.epoch,
    createdAt: edit.now,
    deadline: edit.now + rule.expiresInMs,
    startWithinMs: rule.startWithinMs,
  };
}
