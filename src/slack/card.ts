import type { types } from '@slack/bolt';
import type { SignedDecision } from '../core/approval/decision.ts';
import { doubtOf } from '../core/execution/outcome.ts';
import type { ApprovalRule } from '../core/policy/verdict.ts';
import type { ShownPreview } from '../core/proposal/preview.ts';
import type { HaltCause, ProposalState } from '../core/proposal/proposal.ts';
import type { CourseEvent } from '../core/proposal/proposal-course.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalTerms } from '../core/proposal/proposal-terms.ts';
import { type Digest, digestOf, shortDigest } from '../core/tool/digest.ts';
import { parseStrictJson } from '../core/tool/strict-json.ts';
import { cutLoudly, visibleText } from '../core/tool/visible-text.ts';
import { type ArgumentsReading, cutToBudget, jsonBytes, lineCount, readArguments } from './arguments-text.ts';
import { type Asking, askedNames, askingBlocks, escalationPlan, revokedBlocks } from './asked.ts';
import { drawChanges, editButton, editedNote, editedStateLine, mayBeEdited } from './edit-card.ts';
import { CARD_BUDGET, SLACK_LIMITS } from './limits.ts';
import { LIST_ACTIONS } from './list-actions.ts';
import {
  asWritten,
  code,
  counted,
  inWords,
  type KnownBlock,
  localTime,
  mention,
  oneLine,
  ourMrkdwn,
  ourNote,
  ourSection,
  plain,
  utc,
} from './wording.ts';

/** Everything that a card shows, and nothing that it has to look up. */
export interface CardView {
  /** Unsealed: what the guard froze. */
  readonly terms: ProposalTerms;
  readonly termsDigest: Digest;
  readonly state: ProposalState;
  /** Left out: nothing but the state is told. */
  readonly course?: readonly CourseEvent[] | undefined;
  /** The tenant's workspace, which decides whom a mention can name. */
  readonly team: string;
  /** What the tool's definition keeps from view; undefined: no such tool is known here. */
  readonly redact: readonly string[] | undefined;
  /** What the tool says that it would do, under our seal; undefined: it has not said anything. */
  readonly preview?: ShownPreview | undefined;
  /** Identical calls that wait on this card with it; undefined: it waits alone. */
  readonly alike?: AlikeCalls | undefined;
}

export interface AlikeCalls {
  /** Itself first, then the others, oldest first. */
  readonly calls: readonly { readonly id: ProposalId; readonly run: string; readonly deadline: number }[];
  /** They may be approved together: shown whole, by one person, and what they do can be undone. */
  readonly together: boolean;
}

export interface DrawnCard {
  /** The summary that notifications and screen readers get: our words, no agent's text. */
  readonly text: string;
  readonly blocks: KnownBlock[];
  /** SHA-256 over the part that people decide on. It stays the same while votes come in. */
  readonly shown: Digest;
  /** The card does not show the call whole: approving is possible only from the review. */
  readonly needsReview: boolean;
}

export const ACTIONS = {
  approve: 'cs_approve',
  deny: 'cs_deny',
  review: 'cs_review',
  reviewNext: 'cs_review_next',
  reviewBack: 'cs_review_back',
  grant: 'cs_grant',
  edit: 'cs_edit',
} as const;

export function drawCard(view: CardView): DrawnCard {
  const { blocks: subject, asks, needsReview } = subjectBlocks(view);
  const shown = digestOf('card', JSON.stringify(subject));
  // Nobody is asked for anything any more.
  const told = view.state.status === 'pending' ? subject : subject.filter((block) => !asks.includes(block));
  const blocks = [
    { type: 'header' as const, text: plain(headerText(view)) },
    ...stateBlocks(view),
    ...told,
    ...buttonBlocks(view, shown, needsReview),
  ];
  return { text: summary(view), blocks, shown, needsReview };
}

/* ---- what is decided on: the same in every state ---- */

/** `asks`: those among the blocks that tell people what to do. */
function subjectBlocks(view: CardView): {
  blocks: KnownBlock[];
  asks: readonly KnownBlock[];
  needsReview: boolean;
} {
  const { terms } = view;
  const asks = deadlineBlocks(terms);
  const blocks: KnownBlock[] = [factsBlock(view), ...asks, ourNote(whyText(terms))];
  let needsReview = false;
  let room: { bytes: number; lines: number } = {
    bytes: CARD_BUDGET.previewBytes,
    lines: CARD_BUDGET.previewLines,
  };
  if (terms.statedReason !== undefined) {
    const reason = cutToBudget(visibleText(terms.statedReason).text, {
      bytes: CARD_BUDGET.statedReasonBytes,
      lines: CARD_BUDGET.statedReasonLines,
    });
    needsReview ||= !reason.whole;
    blocks.push(
      ourSection('*The agent says* (its own words, not checked by anybody)'),
      asWritten(reason.text),
    );
  }
  const reading = readingOf(view);
  let taken = 0;
  if (terms.edits !== undefined && reading !== undefined) {
    const budget = { bytes: CARD_BUDGET.changesBytes, lines: CARD_BUDGET.changesLines };
    const changes = drawChanges(terms.edits, terms.arguments, { team: view.team, ...budget });
    needsReview ||= !changes.whole;
    taken = changes.bytes + CARD_BUDGET.headingBytes;
    blocks.push(...changes.blocks);
  }
  if (reading === undefined) {
    blocks.push(
      ourSection(
        '*Arguments: not shown.* This service does not know the tool, so it cannot tell what must stay secret. The call cannot be approved from here.',
      ),
    );
    needsReview = true;
  } else {
    const shown = reading.within({
      bytes: CARD_BUDGET.argumentsBytes - taken,
      lines: CARD_BUDGET.argumentLines,
    });
    needsReview ||= !shown.whole;
    room = leftBy(shown.text, taken);
    const title = shown.whole ? '*Arguments* (shown whole)' : '*Arguments: CUT, this is not the whole call*';
    blocks.push(ourSection(title), ...readingNotes(reading), asWritten(shown.text));
  }
  // Never in the place of arguments that cannot be shown.
  if (view.preview !== undefined && reading !== undefined) {
    const preview = previewOf(view.preview, room);
    needsReview ||= !preview.whole;
    blocks.push(...preview.blocks);
  }
  if (needsReview && reading !== undefined) {
    const hint = ourSection(
      '*Not everything fits on this card.* Press Review to read all of it; approving is possible only there.',
    );
    asks.push(hint);
    blocks.push(hint);
  }
  blocks.push(ourNote(`Digest ${shortDigest(view.termsDigest)} · ${terms.id}`));
  return { blocks, asks, needsReview };
}

/** What the arguments do not need is the preview's, but for its own headings. */
function leftBy(shown: string, taken: number): { bytes: number; lines: number } {
  const bytes = CARD_BUDGET.argumentsBytes - taken - jsonBytes(shown) - CARD_BUDGET.headingBytes;
  return {
    bytes,
    lines: Math.max(CARD_BUDGET.previewLines, CARD_BUDGET.argumentLines - lineCount(shown)),
  };
}

/** After the arguments and never in their place: whoever wrote the tool wrote this, from what it read. */
function previewOf(
  preview: ShownPreview,
  budget: { bytes: number; lines: number },
): { blocks: KnownBlock[]; whole: boolean } {
  if (preview.kind === 'failed') return { blocks: [ourNote(PREVIEW_FAILED)], whole: true };
  if (budget.bytes < CARD_BUDGET.previewBytes) return { blocks: [ourNote(PREVIEW_ELSEWHERE)], whole: false };
  const shown = cutToBudget(visibleText(preview.text).text, budget);
  const title = shown.whole ? PREVIEW_TITLE : `${PREVIEW_TITLE} *CUT: press Review for all of it*`;
  return { blocks: [ourSection(title), asWritten(shown.text), ...previewCut(preview)], whole: shown.whole };
}

export function previewCut(preview: ShownPreview): KnownBlock[] {
  if (preview.kind === 'failed' || preview.cut === 0) return [];
  return [ourNote(`The tool said more: ${counted(preview.cut, 'character')} beyond what is kept.`)];
}

export const PREVIEW_TITLE = '*What the tool says it would do* (its words, not checked by anybody else)';
const PREVIEW_ELSEWHERE = 'What the tool says it would do does not fit here: press Review.';
export const PREVIEW_FAILED =
  "The tool's preview failed, so it does not say what it would do. The arguments above are the call.";

export function readingOf(view: CardView): ArgumentsReading | undefined {
  if (view.redact === undefined) return undefined;
  const parsed = parseStrictJson(view.terms.arguments);
  // Sealed by a guard that parsed them under the same limits; a guard with other limits is not one of ours.
  if (!parsed.ok) return undefined;
  return readArguments(parsed.value, view.terms.arguments, view.redact);
}

export function factsBlock({ terms, team }: CardView): KnownBlock {
  const { context } = terms;
  const principal = context.principal.startsWith('slack:')
    ? mention(context.principal as Parameters<typeof mention>[0], team)
    : code(context.principal);
  const facts = [
    ['Tool', code(terms.tool)],
    ['Environment', environmentFact(context.environment)],
    ['Tenant', code(context.tenant)],
    ['Agent', code(context.agent)],
    ['On behalf of', principal],
    ['Run', code(context.run)],
  ] as const;
  return { type: 'section', fields: facts.map(([name, value]) => ourMrkdwn(`*${name}*\n${value}`)) };
}

function environmentFact(environment: string): string {
  return environment === 'production' ? `${code(environment)}: *changes real data*` : code(environment);
}

export function deadlineBlocks(terms: ProposalTerms): KnownBlock[] {
  const rule = ruleOf(terms);
  if (rule === undefined) return [];
  const { deadline, createdAt } = terms;
  const people = rule.quorum === 1 ? '1 person' : `${rule.quorum} different people`;
  return [
    ourSection(
      `*Decide before* ${localTime(deadline)} (${utc(deadline)}, ${inWords(deadline - createdAt)} after it was asked)\n` +
        `*Needed:* approval by ${people} of ${askedNames(rule.approvers)}. One denial ends it.${escalationPlan({ rule, createdAt })}`,
    ),
  ];
}

export function whyText(terms: ProposalTerms): string {
  const { basis } = terms;
  const why =
    basis.kind === 'people'
      ? `Why you are asked: ${basis.why}`
      : basis.kind === 'grant'
        ? `Allowed before, by a standing grant: ${basis.grant.statement.grant}`
        : `Allowed by the policy: ${basis.by}`;
  return cutLoudly(oneLine(why), 300).text;
}

export function readingNotes(reading: ArgumentsReading): KnownBlock[] {
  const notes: string[] = [];
  if (reading.invisible > 0) {
    notes.push(
      `Look closely: ${counted(reading.invisible, 'character')} in the arguments cannot be seen or ${reading.invisible === 1 ? 'piles' : 'pile'} up on others. Each is written out as \\u{…}.`,
    );
  }
  if (reading.collapsed > 0) {
    notes.push(
      `${counted(reading.collapsed, 'long run')} of blanks or repeats ${reading.collapsed === 1 ? 'is' : 'are'} written as a count, ⟨×…⟩.`,
    );
  }
  if (reading.mixedScripts.length > 0) {
    notes.push(
      `Look closely: ${counted(reading.mixedScripts.length, 'word mixes', 'words mix')} letters of different alphabets that look alike.`,
    );
  }
  if (reading.redacted.length > 0) {
    notes.push(
      `${counted(reading.redacted.length, 'argument')} ${reading.redacted.length === 1 ? 'is' : 'are'} not shown, because the tool's definition declares ${reading.redacted.length === 1 ? 'it' : 'them'} secret: ${cutLoudly(reading.redacted.join(', '), 120).text}`,
    );
  }
  return notes.length === 0 ? [] : [ourNote(notes.join(' '))];
}

/* ---- what has become of it ---- */

const HEADLINES: Readonly<Record<ProposalState['status'], string>> = {
  pending: 'Approval needed',
  approved: 'Approved, waiting to run',
  executing: 'Approved, running now',
  succeeded: 'Done: it succeeded',
  failed: 'Failed: it ran and did not succeed',
  unknown: 'OUTCOME UNKNOWN: it may or may not have run',
  denied: 'Denied: it will not run',
  expired: 'Expired: it will not run',
  withdrawn: 'Withdrawn by the agent: it will not run',
  halted: 'Halted: it will not run',
};
const EDITED_HEADLINE = 'Changed: it will not run as it stands here';

function headlineOf(state: ProposalState): string {
  const edited = state.status === 'halted' && state.cause.kind === 'edited';
  return edited ? EDITED_HEADLINE : HEADLINES[state.status];
}

function headerText({ terms, state }: CardView): string {
  const environment = terms.context.environment === 'production' ? 'PRODUCTION' : terms.context.environment;
  return cutLoudly(`${headlineOf(state)} · ${environment} · ${terms.tool}`, SLACK_LIMITS.header).text;
}

function summary({ terms, state }: CardView): string {
  const { context } = terms;
  const where = `${terms.tool} for ${context.tenant} in ${context.environment === 'production' ? 'PRODUCTION' : context.environment}, asked by agent ${context.agent}`;
  const rule = ruleOf(terms);
  const decide =
    state.status === 'pending' && rule !== undefined
      ? ` ${state.approvals.length} of ${counted(rule.quorum, 'approval')} so far; decide before ${utc(terms.deadline)}. Open the message for the arguments.`
      : '';
  return `${headlineOf(state)}. ${where}.${decide}`;
}

function stateBlocks(view: CardView): KnownBlock[] {
  const { state, team, course = [] } = view;
  const asking = askingOf(view);
  const blocks: KnownBlock[] = [];
  if (state.status !== 'pending') blocks.push(ourSection(stateLine(state, team)));
  else {
    if (view.alike !== undefined) blocks.push(...alikeBlocks(view.alike));
    if (asking !== undefined) blocks.push(...askingBlocks(asking));
  }
  blocks.push(...revokedBlocks(course, team), ...outcomeBlocks(state), ...peopleBlocks(state, team));
  return blocks;
}

export function askingOf({ terms, state, course = [], team }: CardView): Asking | undefined {
  const rule = ruleOf(terms);
  if (rule === undefined) return undefined;
  return { rule, createdAt: terms.createdAt, approvals: state.approvals, course, team };
}

function alikeBlocks({ calls, together }: AlikeCalls): KnownBlock[] {
  const others = calls.length - 1;
  const lines = calls.map(
    ({ id, run, deadline }, index) =>
      `${index + 1}. ${id} · run ${cutLoudly(run, 24).text} · decide before ${utc(deadline)}`,
  );
  return [
    ourSection(
      `*${calls.length} identical calls wait on this card.* “Approve 1 of ${calls.length}” runs the first of them once; ${others === 1 ? 'the other one keeps' : `the other ${others} keep`} waiting.${together ? ` “Approve all ${calls.length}” runs each of those listed here once, so the same thing is done ${calls.length} times.` : ''} Calls that come later are never covered.`,
    ),
    ourNote(lines.join('\n')),
  ];
}

function stateLine(state: Exclude<ProposalState, { status: 'pending' }>, team: string): string {
  switch (state.status) {
    case 'approved':
      return `*Approved* ${localTime(state.approvedAt)}. It has to start before ${localTime(state.startBefore)}.`;
    case 'executing':
      return `*Running* since ${localTime(state.admittedAt)}.`;
    case 'succeeded':
      return `*Succeeded* ${localTime(state.finishedAt)}.`;
    case 'failed':
      return `*Failed* ${localTime(state.finishedAt)}. It will not be tried again by itself.`;
    case 'unknown':
      return `*Outcome unknown* since ${localTime(state.finishedAt)}. Somebody has to look in the system that was written to. It will not be tried again by itself.`;
    case 'denied':
      return `*Denied* by ${mention(state.denial.statement.person, team)} ${localTime(state.deniedAt)}. It will not run.`;
    case 'expired':
      return state.stage === 'deciding'
        ? `*Expired* ${localTime(state.expiredAt)}: not enough people decided in time. It will not run.`
        : `*Expired* ${localTime(state.expiredAt)}: it was approved, and nothing started it in time. It will not run.`;
    case 'withdrawn':
      return `*Withdrawn* by the agent ${localTime(state.withdrawnAt)}. It will not run.`;
    case 'halted':
      return haltLine(state, team);
  }
}

function haltLine(state: Extract<ProposalState, { status: 'halted' }>, team: string): string {
  const { cause } = state;
  if (cause.kind === 'refused') {
    return `*Halted* ${localTime(state.haltedAt)}: ${refusedText(cause, team)} It will not run.`;
  }
  if (cause.kind === 'edited')
    return `*Changed* ${localTime(state.haltedAt)}: ${editedStateLine(cause, team)}`;
  return `*Halted* ${localTime(state.haltedAt)}: writes were switched off by ${operatorMention(cause.by, team)}. It will not run, not even when writes are on again.`;
}

export function refusedText(cause: Extract<HaltCause, { kind: 'refused' }>, team: string): string {
  return cause.person === undefined
    ? 'the last check before the start refused it.'
    : `${mention(cause.person, team)}, who approved it, may no longer approve this.`;
}

/** The switch keeps an operator as text: a person's id, or `cli:name`. */
export function operatorMention(by: string, team: string): string {
  const user = /^slack:([TE][A-Z0-9]{1,20})\/([UW][A-Z0-9]{1,20})$/.exec(by);
  if (user?.[1] === team) return `<@${user[2]}>`;
  return code(cutLoudly(oneLine(by), 80).text);
}

function outcomeBlocks(state: ProposalState): KnownBlock[] {
  if (state.status === 'halted' && state.cause.kind === 'edited') return [editedNote(state.cause)];
  const words = outcomeWords(state);
  if (words === undefined) return [];
  const cut = cutToBudget(visibleText(words.text).text, { bytes: CARD_BUDGET.outcomeBytes, lines: 8 });
  return [ourNote(words.label), asWritten(cut.text)];
}

function outcomeWords(state: ProposalState): { label: string; text: string } | undefined {
  if (state.status === 'failed' && state.outcome.outcome === 'failed') {
    return { label: 'What the tool answered:', text: `${state.outcome.code}: ${state.outcome.message}` };
  }
  if (state.status === 'unknown' && state.outcome.outcome === 'unknown') {
    return { label: 'Why it is not known:', text: doubtOf(state.outcome) };
  }
  if (state.status !== 'halted') return undefined;
  if (state.cause.kind === 'refused') {
    return { label: 'Why the start was refused:', text: `${state.cause.refusal}: ${state.cause.message}` };
  }
  return state.cause.kind === 'edited' || state.cause.why === undefined
    ? undefined
    : { label: 'Why writes were switched off:', text: state.cause.why };
}

/** Who decided, when and why. Their reasons are their words and are shown as such. */
function peopleBlocks(state: ProposalState, team: string): KnownBlock[] {
  const denial = state.status === 'denied' ? [state.denial] : [];
  const decisions = [...denial, ...state.approvals];
  if (decisions.length === 0) return [];
  const listed = decisions.slice(0, MOST_DECISIONS);
  // By number, so that nobody's words can pass for another person's.
  const numbered = (index: number) => (listed.length > 1 ? `${index + 1}. ` : '');
  const lines = listed.map((decision, index) => numbered(index) + decisionLine(decision, team));
  const more = decisions.length - listed.length;
  if (more > 0) lines.push(`and ${counted(more, 'more person', 'more people')}`);
  const blocks: KnownBlock[] = [ourSection(lines.join('\n'))];
  const reasons = listed.flatMap(({ statement }, index) => {
    const words = reasonLines(statement).join('\n').replaceAll('\n', '\n   ');
    return words === '' ? [] : [numbered(index) + words];
  });
  if (reasons.length > 0) {
    const cut = cutToBudget(reasons.join('\n'), { bytes: CARD_BUDGET.peopleBytes / 2, lines: 10 });
    blocks.push(ourNote('Why, in their own words:'), asWritten(cut.text));
  }
  return blocks;
}

/** What they chose among the policy's reasons, what that tells the agent, and what they wrote themselves. */
function reasonLines({ reason, choice }: SignedDecision['statement']): string[] {
  return [
    ...(choice === undefined ? [] : [visibleText(choice.text).text]),
    ...(choice?.tellAgent === undefined ? [] : [`the agent is told: ${visibleText(choice.tellAgent).text}`]),
    ...(reason === undefined ? [] : [visibleText(reason).text]),
  ];
}

const MOST_DECISIONS = 5;

function decisionLine({ statement }: SignedDecision, team: string): string {
  const verb = statement.decision === 'approve' ? 'Approved' : 'Denied';
  return `${verb} by ${mention(statement.person, team)} ${localTime(statement.at)}`;
}

/* ---- what people can do ---- */

/** What a button carries: whose card it is, and which drawing of it. A lookup key and a comparison, never a right. */
export function buttonValue(proposal: string, shown: Digest): string {
  return `${proposal} ${shown}`;
}

function buttonBlocks(view: CardView, shown: Digest, needsReview: boolean): KnownBlock[] {
  const rule = ruleOf(view.terms);
  if (view.state.status !== 'pending' || rule === undefined) return [];
  const value = buttonValue(view.terms.id, shown);
  const elements: types.Button[] = [];
  const { alike } = view;
  const first = alike === undefined ? 'Approve' : `Approve 1 of ${alike.calls.length}`;
  if (!needsReview) {
    elements.push({ ...approveButton(value, rule), text: plain(first) });
    if (alike === undefined) elements.push(...grantButton(value, rule));
  } else if (view.redact !== undefined) {
    elements.push({
      type: 'button',
      action_id: ACTIONS.review,
      text: plain('Review'),
      style: 'primary',
      value,
      accessibility_label: 'Read the whole call, page by page; approve on the last page',
    });
  }
  if (alike === undefined && mayBeEdited(view.terms, view.redact))
    elements.push(editButton(ACTIONS.edit, value));
  if (alike === undefined) elements.push(denyButton(value, rule));
  else elements.push(...alikeButtons(alike));
  const actions: types.ActionsBlock = { type: 'actions', block_id: 'cs_decide', elements };
  return [actions];
}

/** Each leads to a form that shows every one of the calls once more; nothing is decided by the click. */
function alikeButtons({ calls, together }: AlikeCalls): types.Button[] {
  const value = calls.map(({ id }) => id).join(' ');
  const button = (action: string, verb: string, style: 'primary' | 'danger'): types.Button => ({
    type: 'button',
    action_id: action,
    text: plain(`${verb} all ${calls.length}…`),
    style,
    value,
    accessibility_label: `${verb} the ${calls.length} identical calls that are listed on this card`,
  });
  return [
    ...(together ? [button(LIST_ACTIONS.approveAll, 'Approve', 'primary')] : []),
    button(LIST_ACTIONS.denyAll, 'Deny', 'danger'),
  ];
}

function approveButton(value: string, rule: ApprovalRule): types.Button {
  const button: types.Button = {
    type: 'button',
    action_id: ACTIONS.approve,
    text: plain('Approve'),
    style: 'primary',
    value,
    accessibility_label: 'Approve this call exactly as shown',
  };
  // Where a reason is required, the modal that asks for it is the second look.
  if (rule.reason.approve === 'required') return button;
  return {
    ...button,
    confirm: {
      title: plain('Approve this call?'),
      text: plain('It runs once, exactly as the card shows it, and your name is recorded with it.'),
      confirm: plain('Approve'),
      deny: plain('Back'),
    },
  };
}

/** Only where the rule has grants, and only on a card that shows the call whole. What it opens decides nothing yet. */
function grantButton(value: string, rule: ApprovalRule): types.Button[] {
  if (rule.grants === undefined) return [];
  return [
    {
      type: 'button',
      action_id: ACTIONS.grant,
      text: plain('Approve and allow more…'),
      value,
      accessibility_label: 'Approve this call and choose which later ones may run without asking',
    },
  ];
}

function denyButton(value: string, rule: ApprovalRule): types.Button {
  const button: types.Button = {
    type: 'button',
    action_id: ACTIONS.deny,
    text: plain('Deny'),
    style: 'danger',
    value,
    accessibility_label: 'Deny this call for good',
  };
  if (rule.reason.deny !== 'none') return button;
  return {
    ...button,
    confirm: {
      title: plain('Deny this call?'),
      text: plain('It ends for good: nobody can approve it any more, and your name is recorded with it.'),
      confirm: plain('Deny'),
      deny: plain('Back'),
      style: 'danger',
    },
  };
}

export function ruleOf(terms: ProposalTerms): ApprovalRule | undefined {
  return terms.basis.kind === 'people' ? terms.basis.rule : undefined;
}
