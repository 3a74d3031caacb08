import {
  ATTESTATION_LIFE_MS,
  attestationIsGenuine,
  type SignedAttestation,
} from '../approval/attestation.ts';
import { decidersAfter } from '../approval/deciders.ts';
import { type ApprovalPublicKey, decisionIsGenuine, SignedDecision } from '../approval/decision.ts';
import { grantIdOf, grantIsGenuine } from '../grant/grant.ts';
import { grantRefusal } from '../grant/grant-judgement.ts';
import { type PersonId, slackIdsOf } from '../identity/ids.ts';
import { evaluate } from '../policy/evaluate.ts';
import { type LoadedPolicy, tenantOf } from '../policy/policy.ts';
import { type StricterRequirement, stricterRequirement } from '../policy/stricter.ts';
import type { ApprovalRule, Verdict } from '../policy/verdict.ts';
import type { ProposalRecord } from '../proposal/proposal.ts';
import type { ProposalTerms } from '../proposal/proposal-terms.ts';
import { type ProposalKey, type SealedTerms, unseal } from '../proposal/seal.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import { type ToolDefinition, toolDigest } from '../tool/tool.ts';
import { freezeArguments } from '../tool/tool-call.ts';
import type { ToolRegistry } from '../tool/tool-registry.ts';

export type StartRefusal =
  | 'seal_broken'
  | 'malformed'
  | 'other_proposal'
  | 'not_approved'
  | 'unknown_tool'
  | 'tool_changed'
  | 'arguments_changed'
  | 'arguments_invalid'
  | 'forbidden'
  | 'approval_forged'
  | 'approval_of_another'
  | 'approval_out_of_time'
  | 'approver_not_entitled'
  | 'attestation_missing'
  | 'attestation_stale'
  | 'attestation_forged'
  | 'quorum_missing'
  | 'reason_missing'
  | 'budget_changed'
  | 'grant_forged'
  | 'grant_of_another'
  | 'grant_not_covering'
  | 'too_late';

export type StartJudgement =
  | {
      readonly ok: true;
      readonly sealed: SealedTerms;
      readonly tool: ToolDefinition;
      readonly args: JsonValue;
      readonly basis: ProposalTerms['basis']['kind'];
    }
  /** `alarm`: no honest sequence of events leads here; somebody wrote to the store who must not. */
  | {
      readonly ok: false;
      readonly refusal: StartRefusal;
      readonly message: string;
      readonly alarm: boolean;
      /** What is missing may still come: look again a little later, and start nothing. */
      readonly again?: true;
    };

export interface StartCase {
  readonly record: ProposalRecord;
  /** More than one while keys are rotated. */
  readonly proposalKeys: readonly ProposalKey[];
  readonly approvalPublicKeys: readonly ApprovalPublicKey[];
  readonly policy: LoadedPolicy;
  readonly registry: ToolRegistry;
  /** Redis's clock, ms. */
  readonly now: number;
}

/**
 * The executor's own judgement right before a write starts. It believes nothing that was written to the store: whether
 * the terms are ours is the seal's word, who approved is the signatures' word, and the rest is worked out anew, under
 * the stricter of the policy that people decided under and the one of now.
 */
export function judgeStart(start: StartCase): StartJudgement {
  return stopAsValue(() => judged(start));
}

/**
 * Whether a proposal that waits for people may be previewed: ours, of a tool and with arguments that are still the ones
 * that were sealed, and such that the policy of now would let people approve it. Who approved is not asked yet.
 */
export function judgePreview(
  preview: Pick<StartCase, 'record' | 'proposalKeys' | 'policy' | 'registry'>,
): StartJudgement {
  return stopAsValue(() => {
    const { record, policy, registry } = preview;
    const sealed = unsealed(record, preview.proposalKeys);
    const { terms } = sealed;
    const tool = toolOf(terms, registry);
    const args = argumentsOf(terms, tool);
    const verdict = evaluate(policy, { context: terms.context, tool, toolName: terms.tool, args });
    if (terms.basis.kind !== 'people') throw refuse('forbidden', 'nobody is asked about it');
    const requirement = stricterRequirement(terms.basis, verdict);
    if (!requirement.ok) throw refuse('forbidden', requirement.message);
    return { ok: true, sealed, tool, args, basis: terms.basis.kind };
  });
}

function stopAsValue(judge: () => StartJudgement): StartJudgement {
  try {
    return judge();
  } catch (stop) {
    if (stop instanceof Stop) {
      const { refusal, message, alarm: alarming, again } = stop;
      return { ok: false, refusal, message, alarm: alarming, ...(again ? { again } : {}) };
    }
    throw stop;
  }
}

class Stop extends Error {
  readonly refusal: StartRefusal;
  readonly alarm: boolean;
  readonly again: boolean;

  constructor(refusal: StartRefusal, message: string, alarm: boolean, again = false) {
    super(message);
    this.refusal = refusal;
    this.alarm = alarm;
    this.again = again;
  }
}

/** The store holds what nobody who may write it has written. */
const alarm = (refusal: StartRefusal, message: string) => new Stop(refusal, message, true);
/** The world has moved on since people decided. */
const refuse = (refusal: StartRefusal, message: string) => new Stop(refusal, message, false);
/** Not yet. */
const wait = (refusal: StartRefusal, message: string) => new Stop(refusal, message, false, true);

function judged(start: StartCase): StartJudgement {
  const { record, policy, registry, now } = start;
  const sealed = unsealed(record, start.proposalKeys);
  const { terms } = sealed;
  if (record.state.status !== 'approved') {
    throw refuse('not_approved', `the proposal is ${record.state.status}, not approved`);
  }
  const tool = toolOf(terms, registry);
  const args = argumentsOf(terms, tool);
  const verdict = evaluate(policy, { context: terms.context, tool, toolName: terms.tool, args });
  if (terms.basis.kind === 'grant') {
    underGrant(terms, terms.basis, { tool, args, verdict, start });
    return { ok: true, sealed, tool, args, basis: 'grant' };
  }
  const requirement = stricterRequirement(terms.basis, verdict);
  if (!requirement.ok) throw refuse('forbidden', requirement.message);

  const approvals = record.state.approvals.map((approval) =>
    genuine(approval, sealed, start.approvalPublicKeys),
  );
  distinctPeople(approvals);
  if (requirement.needsPeople) {
    const team = tenantOf(policy, terms.context.tenant)?.slack.team;
    const rules = rulesOf(terms, verdict);
    for (const approval of approvals) entitled(approval, terms, { requirement, rules, team });
  }
  enough(approvals, terms, requirement);
  withinBudget(terms, requirement);
  inTime(approvals, terms, requirement, now);
  if (approvals.length > 0) attested(approvals, sealed, start);
  return { ok: true, sealed, tool, args, basis: terms.basis.kind };
}

function unsealed(record: ProposalRecord, keys: readonly ProposalKey[]): SealedTerms {
  const opened = unseal(keys, record.termsText, record.seal);
  if (opened.ok) {
    if (opened.sealed.terms.id === record.id) return opened.sealed;
    throw alarm('other_proposal', `the terms stored under ${record.id} are those of another proposal`);
  }
  throw opened.refusal === 'malformed'
    ? alarm('malformed', 'the terms are sealed, but not in a form that this version knows')
    : alarm('seal_broken', 'the terms were not sealed by a guard that holds the proposal key');
}

function toolOf(terms: ProposalTerms, registry: ToolRegistry): ToolDefinition {
  const tool = registry.get(terms.tool);
  if (tool === undefined) {
    throw refuse('unknown_tool', `this executor has no tool ${terms.tool}; register it, and propose again`);
  }
  if (toolDigest(tool) !== terms.toolDigest) {
    throw refuse('tool_changed', `${terms.tool} was changed since the proposal was made; propose again`);
  }
  return tool;
}

/** The sealed bytes, read anew and frozen anew: what comes out must be what went in. */
function argumentsOf(terms: ProposalTerms, tool: ToolDefinition): JsonValue {
  const frozen = freezeArguments(tool, { json: terms.arguments });
  if (!frozen.ok) {
    throw refuse('arguments_invalid', `the arguments do not fit ${terms.tool}: ${frozen.issues.join('; ')}`);
  }
  if (frozen.canonical !== terms.arguments || frozen.digest !== terms.argumentsDigest) {
    throw refuse('arguments_changed', 'the arguments are not the ones that were shown and sealed');
  }
  return frozen.value;
}

type Statement = SignedDecision['statement'];

function genuine(stored: unknown, sealed: SealedTerms, keys: readonly ApprovalPublicKey[]): Statement {
  const parsed = SignedDecision.safeParse(stored);
  if (!parsed.success) throw alarm('approval_forged', 'an approval in the record is malformed');
  const signed = parsed.data;
  if (!keys.some((key) => decisionIsGenuine(key, signed))) {
    throw alarm(
      'approval_forged',
      `the approval in the name of ${signed.statement.person} is not signed by us`,
    );
  }
  const { statement } = signed;
  const { terms, termsDigest } = sealed;
  if (
    statement.proposal !== terms.id ||
    statement.nonce !== terms.nonce ||
    statement.termsDigest !== termsDigest ||
    statement.decision !== 'approve'
  ) {
    throw alarm(
      'approval_of_another',
      `the decision of ${statement.person} is not an approval of this proposal`,
    );
  }
  if (statement.at < terms.createdAt || statement.at >= terms.deadline) {
    throw alarm('approval_out_of_time', `${statement.person} approved outside the time to decide`);
  }
  return statement;
}

/**
 * Nobody decided about this call: what somebody allowed before must be genuine, and cover just this call under the policy
 * and the tools of now. That it was not revoked, and not used up, is for the admission.
 */
function underGrant(
  terms: ProposalTerms,
  { rule, grant }: Extract<ProposalTerms['basis'], { kind: 'grant' }>,
  call: { tool: ToolDefinition; args: JsonValue; verdict: Verdict; start: StartCase },
): void {
  const { start, tool, args, verdict } = call;
  const { statement } = grant;
  if (!start.approvalPublicKeys.some((key) => grantIsGenuine(key, grant))) {
    throw alarm('grant_forged', `the grant in the name of ${statement.person} is not signed by us`);
  }
  if (statement.grant !== grantIdOf(statement.proposal)) {
    throw alarm('grant_of_another', 'the grant is not under the id that belongs to it');
  }
  if (start.record.state.approvals.length > 0) {
    throw alarm('approval_forged', 'the record holds approvals of a call that nobody was asked about');
  }
  const team = tenantOf(start.policy, terms.context.tenant)?.slack.team;
  // Under the rule of now and under the one that it was sealed with: a grant is held to both.
  const sealedVerdict = { verdict: 'require_approval', by: terms.basis.by, why: '', rule } as const;
  for (const asked of [verdict, sealedVerdict]) {
    const refusal = grantRefusal(statement, {
      context: terms.context,
      tool,
      args,
      verdict: asked,
      team,
      now: start.now,
    });
    if (refusal !== undefined) {
      throw refuse(
        'grant_not_covering',
        `the grant of ${statement.person} does not cover this call (${refusal})`,
      );
    }
  }
  const now = verdict.verdict === 'require_approval' ? verdict.rule.startWithinMs : terms.startWithinMs;
  const startWithinMs = Math.min(terms.startWithinMs, rule.startWithinMs, now);
  if (start.now >= terms.createdAt + startWithinMs) {
    throw refuse('too_late', `it was to start within ${startWithinMs} ms of being proposed`);
  }
}

function distinctPeople(approvals: readonly Statement[]): void {
  const seen = new Set<PersonId>();
  for (const { person } of approvals) {
    if (seen.has(person)) throw alarm('approval_forged', `${person} is in the record twice`);
    seen.add(person);
  }
}

interface Demand {
  readonly requirement: Extract<StricterRequirement, { needsPeople: true }>;
  /** The rule that people decided under and the one of now: both must name the approver. */
  readonly rules: readonly ApprovalRule[];
  readonly team: string | undefined;
}

function rulesOf(terms: ProposalTerms, current: Verdict): ApprovalRule[] {
  return [
    ...(terms.basis.kind === 'people' ? [terms.basis.rule] : []),
    ...(current.verdict === 'require_approval' ? [current.rule] : []),
  ];
}

function entitled(statement: Statement, terms: ProposalTerms, { requirement, rules, team }: Demand): void {
  const { person, as, at } = statement;
  const no = (why: string) =>
    refuse('approver_not_entitled', `the approval of ${person} does not count: ${why}`);
  const slack = slackIdsOf(person);
  if (slack.team !== team) throw no('not in the workspace of the tenant');
  if (person === terms.context.principal || requirement.excluded.includes(person)) {
    throw no('nobody approves their own call');
  }
  // Also under a rule that has become stricter about it since.
  if (terms.edits?.editors.includes(person) && !rules.every(({ edit }) => edit?.editorMayApprove === true)) {
    throw no('they changed the call themselves');
  }
  const names = (rule: ApprovalRule) => decidersAfter(rule, at - terms.createdAt).some((ref) => ref === as);
  if (!rules.every(names)) {
    throw no(`${as} does not decide this call`);
  }
  if (as.startsWith('user:') && as !== `user:${slack.user}`) throw no(`${as} is somebody else`);
  if (requirement.reason.approve === 'required' && statement.reason === undefined) {
    throw refuse('reason_missing', `the policy asks for a reason, and ${person} gave none`);
  }
}

/**
 * Who approved may have left the group since. There is no directory here to ask: the approval service's word for it,
 * signed a short time ago, has to cover everybody whose approval is counted.
 */
function attested(
  approvals: readonly Statement[],
  { terms, termsDigest }: SealedTerms,
  { record, approvalPublicKeys, now }: StartCase,
): void {
  const signed: SignedAttestation | undefined = record.attestation;
  if (signed === undefined) {
    throw wait('attestation_missing', 'the approval service has not said yet that the approvers still may');
  }
  const { statement } = signed;
  if (!approvalPublicKeys.some((key) => attestationIsGenuine(key, signed))) {
    throw alarm('attestation_forged', 'the word that the approvers still may is not signed by us');
  }
  if (
    statement.proposal !== terms.id ||
    statement.nonce !== terms.nonce ||
    statement.termsDigest !== termsDigest
  ) {
    throw alarm('attestation_forged', 'the word that the approvers still may is about another proposal');
  }
  if (!approvals.every(({ person }) => statement.approvers.includes(person))) {
    throw wait('attestation_missing', 'the word that the approvers still may does not name all of them');
  }
  const age = now - statement.at;
  // From the future: Redis's clock was set back, and how old it is cannot be said.
  if (age < 0 || age >= ATTESTATION_LIFE_MS) {
    throw wait('attestation_stale', 'the word that the approvers still may is too old');
  }
}

function enough(
  approvals: readonly Statement[],
  terms: ProposalTerms,
  requirement: Extract<StricterRequirement, { ok: true }>,
): void {
  const sealedQuorum = terms.basis.kind === 'people' ? terms.basis.rule.quorum : 0;
  if (approvals.length < sealedQuorum) {
    throw alarm(
      'quorum_missing',
      `the record says approved with ${approvals.length} of ${sealedQuorum} approvals`,
    );
  }
  if (approvals.length < requirement.quorum) {
    throw refuse(
      'quorum_missing',
      `the policy now asks for ${requirement.quorum} approvals; there are ${approvals.length}`,
    );
  }
}

/** What was reserved from must be the counter that the policy counts by now, under a limit no wider than its own. */
function withinBudget(terms: ProposalTerms, requirement: Extract<StricterRequirement, { ok: true }>): void {
  if (requirement.needsPeople || requirement.budget === undefined) return;
  const { counterKey, max, perMs } = requirement.budget;
  const reserved = terms.basis.kind === 'policy' ? terms.basis.budget : undefined;
  if (reserved?.counterKey !== counterKey || reserved.max > max || reserved.perMs < perMs) {
    throw refuse(
      'budget_changed',
      'it was not counted against the budget that the policy sets now; propose again',
    );
  }
}

/** Worked out from what is sealed and signed; the times in the record itself are not. */
function inTime(
  approvals: readonly Statement[],
  terms: ProposalTerms,
  requirement: Extract<StricterRequirement, { ok: true }>,
  now: number,
): void {
  const approvedAt = Math.max(terms.createdAt, ...approvals.map(({ at }) => at));
  const startWithinMs = requirement.needsPeople
    ? Math.min(terms.startWithinMs, requirement.startWithinMs)
    : terms.startWithinMs;
  if (now >= approvedAt + startWithinMs) {
    throw refuse('too_late', `it was to start within ${startWithinMs} ms of its approval`);
  }
  if (
    requirement.needsPeople &&
    approvals.some(({ at }) => at >= terms.createdAt + requirement.expiresInMs)
  ) {
    throw refuse('approval_out_of_time', 'the policy now gives people less time to decide than they took');
  }
}
