import type { types } from '@slack/bolt';
import { argumentChanges, editableArguments } from '../core/approval/editable-arguments.ts';
import type { HaltCause } from '../core/proposal/proposal.ts';
import type { EditTerms, ProposalTerms } from '../core/proposal/proposal-terms.ts';
import type { JsonValue } from '../core/tool/strict-json.ts';
import { visibleText } from '../core/tool/visible-text.ts';
import { cutToBudget, jsonBytes } from './arguments-text.ts';
import { asWritten, type KnownBlock, mention, ourNote, ourSection, plain } from './wording.ts';

/** Whether the card of this call has a button to change it. */
export function mayBeEdited(terms: ProposalTerms, redact: readonly string[] | undefined): boolean {
  return editableArguments(terms, redact) !== undefined;
}

export function editButton(action: string, value: string): types.Button {
  return {
    type: 'button',
    action_id: action,
    text: plain('Edit'),
    value,
    accessibility_label: 'Change the arguments; a new proposal takes the place of this one',
  };
}

export const CHANGES_TITLE = '*What was changed* (from what the agent asked → to what would run)';

export interface DrawnChanges {
  readonly blocks: readonly KnownBlock[];
  readonly whole: boolean;
  /** Of the room for arguments, in bytes. */
  readonly bytes: number;
}

/** Above the arguments: that a person changed them, who, and what, each change in its own line. */
export function drawChanges(
  edits: EditTerms,
  is: string,
  { team, bytes, lines }: { team: string; bytes: number; lines: number },
): DrawnChanges {
  const shown = cutToBudget(changesText(edits, is), { bytes, lines });
  const cut = shown.whole ? '' : ' *CUT: press Review for all of it*';
  return {
    blocks: [
      ourSection(editedLine(edits, team)),
      ourSection(`${CHANGES_TITLE}${cut}`),
      asWritten(shown.text),
    ],
    whole: shown.whole,
    bytes: jsonBytes(shown.text),
  };
}

/** Each change from the proposal before this one, in words: `id: ACME-1 → ACME-2`. */
export function changesText(edits: EditTerms, is: string): string {
  return argumentChanges(edits.arguments, is)
    .map(({ path, was, is: now }) => `${pathText(path)}: ${valueText(was)} → ${valueText(now)}`)
    .join('\n');
}

export function editedLine({ by, editors }: EditTerms, team: string): string {
  const others =
    editors.length > 1 ? ` It was changed ${editors.length > 2 ? 'several times' : 'before'} as well.` : '';
  return `*Changed by ${mention(by, team)}*: this is not what the agent asked. Approvals of the earlier card do not count here.${others}`;
}

export function editedStateLine(cause: Extract<HaltCause, { kind: 'edited' }>, team: string): string {
  return `${mention(cause.by, team)} changed this call. It will not run as it stands here; the changed call has a card of its own and needs every approval anew.`;
}

export function editedNote(cause: Extract<HaltCause, { kind: 'edited' }>): KnownBlock {
  return ourNote(`The changed call: ${cause.to}`);
}

/** A name or a value that could be read as something else stands in quotes, with everything unseen written out. */
function pathText(path: string): string {
  return /^[\w-]+(\.[\w-]+)*$/.test(path) ? path : quoted(path);
}

const PLAIN_WORD = /^(?!(?:true|false|null)$)[A-Za-z][\w.@+-]*$/;

function valueText(value: JsonValue | undefined): string {
  if (value === undefined) return '(not there)';
  return typeof value === 'string' && PLAIN_WORD.test(value) ? value : quoted(value);
}

const quoted = (value: JsonValue): string => visibleText(JSON.stringify(value)).text;
