import { type Block, type InteractiveElement, interactiveElements, optionsOf } from './block-kit.ts';
import type { InputState, StateValues } from './person-interface.ts';
import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';

/** The state of every stateful element: what the person gave where he gave something, else what it started with. */
export function stateOf(blocks: Block[], given: StateValues = {}): StateValues {
  const values: StateValues = {};
  for (const block of blocks) {
    for (const element of interactiveElements(block)) {
      const initial = initialState(element);
      if (initial === undefined || block.block_id === undefined || element.action_id === undefined) continue;
      const chosen = given[block.block_id]?.[element.action_id];
      values[block.block_id] = { ...values[block.block_id], [element.action_id]: chosen ?? initial };
    }
  }
  return values;
}

function initialState(element: InteractiveElement): InputState | undefined {
  switch (element.type) {
    case 'plain_text_input':
    case 'email_text_input':
    case 'url_text_input':
    case 'number_input':
      return { type: element.type, value: element.initial_value ?? null };
    case 'static_select':
    case 'radio_buttons':
      return { type: element.type, selected_option: element.initial_option ?? null };
    case 'multi_static_select':
    case 'checkboxes':
      return { type: element.type, selected_options: element.initial_options ?? [] };
    case 'users_select':
      return { type: element.type, selected_user: element.initial_user ?? null };
    case 'multi_users_select':
      return { type: element.type, selected_users: element.initial_users ?? [] };
    case 'datepicker':
      return { type: element.type, selected_date: element.initial_date ?? null };
    case 'timepicker':
      return { type: element.type, selected_time: element.initial_time ?? null };
    case 'datetimepicker':
      return { type: element.type, selected_date_time: element.initial_date_time ?? null };
    case 'button':
    case 'overflow':
      return undefined;
  }
}

/** What the client itself holds against an input before the app hears of it, by block id. */
export function clientErrors(blocks: Block[], state: StateValues): Record<string, string> {
  const errors: Record<string, string> = {};
  for (const block of blocks) {
    if (block.type !== 'input' || block.block_id === undefined || block.element.action_id === undefined)
      continue;
    const given = state[block.block_id]?.[block.element.action_id];
    const error = inputError(block.element, given, block.optional ?? false);
    if (error !== undefined) errors[block.block_id] = error;
  }
  return errors;
}

function inputError(
  element: InteractiveElement,
  given: InputState | undefined,
  optional: boolean,
): string | undefined {
  if (isEmpty(given)) return optional ? undefined : 'Please complete this required field.';
  if (given?.type !== element.type) return 'This answer does not fit the field.';
  const foreign = foreignChoice(element, given);
  if (foreign !== undefined) return `${foreign} is not one of the options.`;
  if (element.type !== 'plain_text_input') return undefined;
  const length = String(given.value).length;
  const most = element.max_length ?? LIMITS.inputLength;
  if (length > most) return `Must be less than ${most + 1} characters.`;
  if (length < (element.min_length ?? 0)) return `Must be at least ${element.min_length} characters.`;
  return undefined;
}

function isEmpty(given: InputState | undefined): boolean {
  if (given === undefined) return true;
  const { type: _type, ...values } = given;
  return Object.values(values).every(
    (value) => value === null || value === '' || (Array.isArray(value) && value.length === 0),
  );
}

/** A client offers the options that the app gave and no others; returns the value of one that is not among them. */
export function foreignChoice(element: InteractiveElement, given: InputState): string | undefined {
  const known = optionsOf(element).map((option) => option.value);
  const chosen = [
    given.selected_option,
    ...(Array.isArray(given.selected_options) ? given.selected_options : []),
  ];
  for (const option of chosen) {
    if (option === undefined || option === null) continue;
    const value = typeof option === 'object' && 'value' in option ? String(option.value) : String(option);
    if (!known.includes(value)) return value;
  }
  return undefined;
}
