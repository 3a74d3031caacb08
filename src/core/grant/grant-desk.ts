import type { ApprovalPrivateKey } from '../approval/decision.ts';
import type { Admissible, Click, DecisionDesk, DeskAnswer } from '../approval/decision-desk.ts';
import type { DecisionRefusal } from '../approval/refusal.ts';
import { slackIdsOf } from '../identity/ids.ts';
import { evaluate } from '../policy/evaluate.ts';
import { tenantOf } from '../policy/policy.ts';
import type { PolicyHolder } from '../policy/policy-source.ts';
import type { Verdict } from '../policy/verdict.ts';
import type { ProposalStore } from '../proposal/proposal-store.ts';
import type { ProposalTerms } from '../proposal/proposal-terms.ts';
import type { Digest } from '../tool/digest.ts';
import { type JsonValue, parseStrictJson } from '../tool/strict-json.ts';
import type { ToolDefinition } from '../tool/tool.ts';
import { type ArgumentPattern, patternOf } from './argument-pattern.ts';
import { type GrantStatement, grantIdOf, signGrant } from './grant.ts';
import { grantRefusal } from './grant-judgement.ts';
import type { GrantStore, Made, StoredGrant } from './grant-store.ts';

/** What a person asked for in the form. Nothing in it gives a right. */
export interface GrantWish {
  readonly uses: number;
  readonly lifeMs: number;
  /** Arguments that may be anything, by their place in the order of names. */
  readonly free: readonly number[];
}

export interface GrantBounds {
  readonly maxUses: number;
  readonly forMs: number;
}

/** All of a grant but who gives it and when: what the form shows and the digest of it stands for. */
export interface GrantDraft {
  readonly terms: ProposalTerms;
  readonly tool: ToolDefinition;
  readonly pattern: ArgumentPattern;
  readonly maxUses: number;
  readonly lifeMs: number;
}

export type GrantNotGiven =
  | DecisionRefusal
  /** The policy, then or now, or the tool's definition has no grants for this call. */
  | 'grant_not_allowed'
  | 'grant_out_of_bounds'
  /** What was shown is not what would be signed. */
  | 'grant_not_as_shown';

export interface GrantDeskParts {
  readonly desk: Pick<DecisionDesk, 'look' | 'decide'>;
  readonly grants: GrantStore;
  readonly store: Pick<ProposalStore, 'now'>;
  readonly policy: Pick<PolicyHolder, 'current'>;
  readonly toolOf: (name: string) => ToolDefinition | undefined;
  readonly key: ApprovalPrivateKey;
  /** The digest of what the last form shows of a draft; undefined: it cannot be shown whole, and so not given. */
  readonly shownOf: (draft: GrantDraft) => Digest | undefined;
}

type Not = { readonly ok: false; readonly refusal: GrantNotGiven };

export type GrantOpening =
  | {
      readonly ok: true;
      readonly looked: Admissible;
      readonly bounds: GrantBounds;
      /** Every argument fixed; the form lets some be freed. */
      readonly draft: GrantDraft;
    }
  | Not;

export type GrantAnswer =
  | { readonly ok: true; readonly grant: StoredGrant; readonly replayed: boolean }
  /** The approval stands, the grant does not. */
  | { readonly ok: false; readonly approved: true; readonly why: 'writes_off' | 'too_many' | 'failed' }
  /** The approval stands, and the grant may: the store did not say, or not that it keeps it. */
  | { readonly ok: false; readonly approved: true; readonly why: 'unsure'; readonly cause: unknown }
  | { readonly ok: false; readonly approved: false; readonly refusal: GrantNotGiven };

/**
 * Where a click becomes an approval and a grant. Whoever may not approve the call may not grant it either: each step goes
 * through the decision desk first, and what is signed is what the executor would accept at this moment.
 */
export class GrantDesk {
  readonly #parts: GrantDeskParts;

  constructor(parts: GrantDeskParts) {
    this.#parts = parts;
  }

  /** Before the form opens. */
  async open(click: Click): Promise<GrantOpening> {
    const looked = await this.#parts.desk.look(click);
    if (!looked.ok) return looked;
    const grantable = this.#grantable(looked);
    if (grantable === undefined) return { ok: false, refusal: 'grant_not_allowed' };
    const { tool, args, bounds } = grantable;
    const pattern = patternOf(args, new Set());
    if (pattern === undefined) return { ok: false, refusal: 'grant_not_allowed' };
    const draft = {
      terms: looked.sealed.terms,
      tool,
      pattern,
      maxUses: bounds.maxUses,
      lifeMs: bounds.forMs,
    };
    if (this.#parts.shownOf(draft) === undefined) return { ok: false, refusal: 'not_shown_whole' };
    return { ok: true, looked, bounds, draft };
  }

  /** The grant as it would be given: for the form that shows it whole. */
  async draft(click: Click, wish: GrantWish): Promise<GrantOpening> {
    const opened = await this.open(click);
    if (!opened.ok) return opened;
    const { bounds, draft } = opened;
    const { uses, lifeMs, free } = wish;
    const within =
      Number.isInteger(uses) &&
      uses >= 1 &&
      uses <= bounds.maxUses &&
      Number.isInteger(lifeMs) &&
      lifeMs >= 1 &&
      lifeMs <= bounds.forMs &&
      free.every((place) => draft.pattern[place] !== undefined);
    if (!within) return { ok: false, refusal: 'grant_out_of_bounds' };
    const freed = new Set(free);
    const pattern = draft.pattern.map((part, place) =>
      freed.has(place) ? { name: part.name, may: 'be_anything' as const } : part,
    );
    const wished = { ...draft, pattern, maxUses: uses, lifeMs };
    if (this.#parts.shownOf(wished) === undefined) return { ok: false, refusal: 'not_shown_whole' };
    return { ...opened, draft: wished };
  }

  /**
   * Approves the call, and only then gives the grant.
   * @throws DecisionUnsure where the store did not answer while the approval was being recorded.
   */
  async give(click: Click, wish: GrantWish, shown: string): Promise<GrantAnswer> {
    const drafted = await this.draft(click, wish);
    if (!drafted.ok) return (await this.#givenBefore(click, shown)) ?? refused(drafted.refusal);
    const { draft, looked } = drafted;
    if (this.#parts.shownOf(draft) !== shown) return refused('grant_not_as_shown');
    // Where the executor would refuse its first use, nobody is let believe in it.
    const at = await this.#parts.store.now();
    const first = this.#statement(drafted, shown, { ...looked, at, reason: click.reason });
    if (!this.#wouldHold(first, drafted, at)) return refused('grant_not_allowed');

    const decided: DeskAnswer = await this.#parts.desk.decide(click);
    if (!decided.ok) return refused(decided.refusal);
    const own = decided.record.state.approvals.find(({ statement }) => statement.person === looked.person);
    if (own === undefined) return refused('already_settled');
    const { person, as, reason } = own.statement;
    const statement = this.#statement(drafted, shown, { person, as, at, reason });
    return this.#made(statement);
  }

  async #made(statement: GrantStatement): Promise<GrantAnswer> {
    const signed = signGrant(this.#parts.key, statement);
    let made: Made;
    try {
      made = await this.#parts.grants.make(signed);
    } catch (cause) {
      return { ok: false, approved: true, why: 'unsure', cause };
    }
    switch (made.made) {
      case 'new':
      case 'again':
        return { ok: true, grant: made.grant, replayed: made.made === 'again' };
      case 'writes_off':
      case 'too_many':
        return { ok: false, approved: true, why: made.made };
      case 'not_approved':
      case 'too_late':
        return { ok: false, approved: true, why: 'failed' };
    }
  }

  /** The same form delivered twice: the answer is the same. */
  async #givenBefore(click: Click, shown: string): Promise<GrantAnswer | undefined> {
    const grant = await this.#parts.grants.read(grantIdOf(click.proposal));
    if (grant === undefined) return undefined;
    const { statement } = grant.signed;
    const same = slackIdsOf(statement.person).user === click.user.id && statement.shown === shown;
    return same ? { ok: true, grant, replayed: true } : undefined;
  }

  #grantable(looked: Admissible): { tool: ToolDefinition; args: JsonValue; bounds: GrantBounds } | undefined {
    const { terms } = looked.sealed;
    const tool = this.#parts.toolOf(terms.tool);
    const args = parseStrictJson(terms.arguments);
    if (tool === undefined || !args.ok || looked.rule.grants === undefined) return undefined;
    const now = this.#verdict(terms, tool, args.value);
    if (now.verdict !== 'require_approval' || now.rule.grants === undefined) return undefined;
    const then = looked.rule.grants;
    const bounds = {
      maxUses: Math.min(then.maxUses, now.rule.grants.maxUses),
      forMs: Math.min(then.forMs, now.rule.grants.forMs),
    };
    return { tool, args: args.value, bounds };
  }

  #verdict(terms: ProposalTerms, tool: ToolDefinition, args: JsonValue): Verdict {
    return evaluate(this.#parts.policy.current, {
      context: terms.context,
      tool,
      toolName: terms.tool,
      args,
    });
  }

  /** The approved call itself must be one that it covers, under the rule that was sealed and the one of now. */
  #wouldHold(
    statement: GrantStatement,
    { looked, draft }: Extract<GrantOpening, { ok: true }>,
    now: number,
  ): boolean {
    const { terms, tool } = draft;
    const args = parseStrictJson(terms.arguments);
    if (!args.ok) return false;
    const team = tenantOf(this.#parts.policy.current, terms.context.tenant)?.slack.team;
    const then = { verdict: 'require_approval', by: '', why: '', rule: looked.rule } as const;
    return [then, this.#verdict(terms, tool, args.value)].every(
      (verdict) =>
        grantRefusal(statement, { context: terms.context, tool, args: args.value, verdict, team, now }) ===
        undefined,
    );
  }

  #statement(
    { looked, draft }: Extract<GrantOpening, { ok: true }>,
    shown: string,
    given: Pick<GrantStatement, 'person' | 'as' | 'at'> & { reason?: string | undefined },
  ): GrantStatement {
    const { terms, termsDigest } = looked.sealed;
    const { tenant, environment, agent, principal } = terms.context;
    const { person, as, at, reason } = given;
    return {
      v: 1,
      grant: grantIdOf(terms.id),
      tenant,
      environment,
      agent,
      principal,
      tool: terms.tool,
      toolDigest: terms.toolDigest,
      pattern: draft.pattern,
      maxUses: draft.maxUses,
      expires: at + draft.lifeMs,
      at,
      person,
      as,
      ...(reason === undefined || reason.trim() === '' ? {} : { reason }),
      approvers: [...looked.rule.approvers],
      shown,
      proposal: terms.id,
      termsDigest,
      policyVersion: this.#parts.policy.current.version,
      switchEpoch: terms.switchEpoch,
    };
  }
}

function refused(refusal: GrantNotGiven): GrantAnswer {
  return { ok: false, approved: false, refusal };
}
