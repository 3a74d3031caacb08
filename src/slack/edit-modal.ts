import type { types } from '@slack/bolt';
import { EDITABLE_CHARACTERS } from '../core/approval/editable-arguments.ts';
import { cutLoudly } from '../core/tool/visible-text.ts';
import type { ModalMemory, ModalSubject } from './modals.ts';
import { code, ourNote, ourSection, plain } from './wording.ts';

export const EDIT_VIEW = 'cs_edit_form';
export const EDIT_INPUT = { block: 'cs_edit_arguments', action: 'cs_edit_arguments_text' } as const;

/** The arguments as text to be changed. What is handed in is judged like an agent's own. */
export function editModal(
  memory: ModalMemory,
  { tool, tenant, environment }: ModalSubject,
  form: { readonly text: string; readonly editorMayApprove: boolean },
): types.ModalView {
  const where =
    environment === 'production' ? `${code(environment)}: *changes real data*` : code(environment);
  return {
    type: 'modal',
    callback_id: EDIT_VIEW,
    private_metadata: JSON.stringify(memory),
    title: plain('Edit this call'),
    submit: plain('Propose it'),
    close: plain('Back'),
    blocks: [
      ourSection(`${code(tool)} for ${code(tenant)} in ${where}`),
      ourNote(
        'Nothing runs yet. The changed call becomes a new card that needs every approval anew; this card ends, and the agent is told what was changed and by whom.',
      ),
      ourNote(
        form.editorMayApprove
          ? 'You may be one of those who approve the changed call.'
          : 'You cannot approve a call that you changed: others decide about it.',
      ),
      {
        type: 'input',
        block_id: EDIT_INPUT.block,
        label: plain('Arguments, as JSON'),
        element: {
          type: 'plain_text_input',
          action_id: EDIT_INPUT.action,
          multiline: true,
          initial_value: form.text,
          max_length: EDITABLE_CHARACTERS,
        },
      },
    ],
  };
}

/** Beneath the field. The issues are written for people and models, and quote nothing unseen. */
export function problemsUnderTheField(issues: readonly string[]): Record<string, string> {
  const listed = issues.slice(0, MOST_ISSUES);
  const more = issues.length - listed.length;
  const text = [...listed, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
  return { [EDIT_INPUT.block]: cutLoudly(`Not proposed: ${text}`, LONGEST_PROBLEM).text };
}

const MOST_ISSUES = 5;
const LONGEST_PROBLEM = 600;
