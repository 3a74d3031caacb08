// @ts-check
import { el } from './dom.js';
import { withEmoji } from './emoji.js';
import { icon } from './icons.js';

/** @typedef {{ type: string, [key: string]: any }} Json */
/** @typedef {import('../slack/person-interface.ts').InputState} InputState */

/**
 * @typedef {object} ControlSettings
 * @property {string} id
 * @property {string} label
 * @property {string} [labelledBy]
 * @property {string} [describedBy]
 * @property {boolean} [invalid]
 * @property {InputState} value
 * @property {readonly import('../slack/person-interface.ts').SeenUser[]} users
 * @property {(text: Json) => Node} renderText
 * @property {(value: InputState, origin: HTMLElement) => void} changed a choice is made, or a text is left
 * @property {(value: InputState) => void} [edited] each keystroke
 */

/** @param {Json} element */
export const isButton = (element) => element.type === 'button';

/**
 * What an element says before anybody touched it, in the shape of `state.values`.
 *
 * @param {Json} element
 * @returns {InputState}
 */
export function choiceState(element) {
  const { type } = element;
  switch (type) {
    case 'static_select':
    case 'radio_buttons':
      return { type, selected_option: element.initial_option ?? null };
    case 'checkboxes':
    case 'multi_static_select':
      return { type, selected_options: element.initial_options ?? [] };
    case 'users_select':
      return { type, selected_user: element.initial_user ?? null };
    case 'multi_users_select':
      return { type, selected_users: element.initial_users ?? [] };
    case 'datepicker':
      return { type, selected_date: element.initial_date ?? null };
    case 'timepicker':
      return { type, selected_time: element.initial_time ?? null };
    case 'datetimepicker':
      return { type, selected_date_time: element.initial_date_time ?? null };
    default:
      return { type, value: element.initial_value ?? null };
  }
}

/**
 * @param {Json} element
 * @param {ControlSettings} settings
 * @returns {HTMLElement}
 */
export function renderControl(element, settings) {
  switch (element.type) {
    case 'plain_text_input':
      return textInput(element, settings);
    case 'email_text_input':
      return lineInput(element, settings, 'email');
    case 'url_text_input':
      return lineInput(element, settings, 'url');
    case 'number_input':
      return lineInput(element, settings, 'number');
    case 'static_select':
      return select(element, settings);
    case 'users_select':
      return userSelect(element, settings);
    case 'radio_buttons':
      return choices(element, settings, 'radio', listOf(element.options));
    case 'checkboxes':
    case 'multi_static_select':
      return choices(element, settings, 'checkbox', allOptions(element));
    case 'multi_users_select':
      return userChoices(element, settings);
    case 'datepicker':
      return picker(element, settings, 'date', 'selected_date');
    case 'timepicker':
      return picker(element, settings, 'time', 'selected_time');
    case 'datetimepicker':
      return momentPicker(element, settings);
    default:
      return el('span', { class: 'unsupported' }, `[${element.type}]`);
  }
}

/** @param {Json} element @param {ControlSettings} settings */
const common = (element, settings) => ({
  id: settings.id,
  'data-action-id': String(element.action_id),
  'aria-labelledby': settings.labelledBy,
  'aria-label': settings.labelledBy === undefined ? settings.label : undefined,
  'aria-describedby': settings.describedBy || undefined,
  'aria-invalid': settings.invalid === true ? 'true' : undefined,
  'data-focus-on-load': element.focus_on_load === true,
});

/** @param {Json} element */
const placeholderOf = (element) =>
  element.placeholder === undefined ? undefined : withEmoji(String(element.placeholder.text));

/** @param {Json} element @param {ControlSettings} settings */
function textInput(element, settings) {
  const field =
    element.multiline === true
      ? el('textarea', {
          ...common(element, settings),
          class: 'field-input',
          rows: 4,
          placeholder: placeholderOf(element),
        })
      : el('input', {
          ...common(element, settings),
          class: 'field-input',
          type: 'text',
          placeholder: placeholderOf(element),
          autocomplete: 'off',
        });
  field.value = String(settings.value.value ?? '');
  const value = () => ({ type: element.type, value: field.value === '' ? null : field.value });
  field.addEventListener('change', () => settings.changed(value(), field));
  const counter = el('span', { class: 'counter', 'aria-hidden': 'true' });
  const count = () => {
    const length = field.value.length;
    const most = Number(element.max_length ?? 3000);
    const least = Number(element.min_length ?? 0);
    const short = length > 0 && length < least;
    counter.textContent = short
      ? `at least ${least} characters`
      : most - length < 200 || length > most
        ? String(most - length)
        : '';
    counter.classList.toggle('over', short || length > most);
  };
  field.addEventListener('input', () => {
    count();
    settings.edited?.(value());
  });
  count();
  return el('div', { class: 'text-field' }, field, counter);
}

/** @param {Json} element @param {ControlSettings} settings @param {'email' | 'url' | 'number'} kind */
function lineInput(element, settings, kind) {
  const field = el('input', {
    ...common(element, settings),
    class: 'field-input',
    type: kind === 'number' ? 'text' : kind,
    inputmode: kind === 'number' ? 'decimal' : undefined,
    placeholder: placeholderOf(element),
    autocomplete: 'off',
  });
  field.value = String(settings.value.value ?? '');
  const value = () => ({ type: element.type, value: field.value === '' ? null : field.value });
  field.addEventListener('input', () => settings.edited?.(value()));
  field.addEventListener('change', () => settings.changed(value(), field));
  return field;
}

/** @param {Json} element @param {ControlSettings} settings */
function select(element, settings) {
  const options = allOptions(element);
  const field = el('select', { ...common(element, settings), class: 'field-input select' });
  field.append(el('option', { value: '' }, placeholderOf(element) ?? 'Choose an option'));
  let index = 0;
  const add = /** @param {Element} parent @param {Json} option */ (parent, option) => {
    parent.append(el('option', { value: String(index) }, labelOf(option)));
    index += 1;
  };
  for (const option of listOf(element.options)) add(field, option);
  for (const group of listOf(element.option_groups)) {
    const holder = el('optgroup', { label: withEmoji(String(group.label.text)) });
    for (const option of listOf(group.options)) add(holder, option);
    field.append(holder);
  }
  const chosen = /** @type {Json | null} */ (settings.value.selected_option ?? null);
  const at = chosen === null ? -1 : options.findIndex((option) => option.value === chosen.value);
  field.value = at === -1 ? '' : String(at);
  field.addEventListener('change', () => {
    const option = field.value === '' ? null : (options[Number(field.value)] ?? null);
    settings.changed({ type: element.type, selected_option: option }, field);
  });
  return field;
}

/** @param {Json} element @param {ControlSettings} settings */
function userSelect(element, settings) {
  const field = el(
    'select',
    { ...common(element, settings), class: 'field-input select' },
    el('option', { value: '' }, placeholderOf(element) ?? 'Choose a person'),
    ...settings.users.map((user) => el('option', { value: user.id }, user.realName)),
  );
  field.value = String(settings.value.selected_user ?? '');
  field.addEventListener('change', () =>
    settings.changed({ type: element.type, selected_user: field.value === '' ? null : field.value }, field),
  );
  return field;
}

/**
 * @param {Json} element
 * @param {ControlSettings} settings
 * @param {'radio' | 'checkbox'} type
 * @param {Json[]} options
 */
function choices(element, settings, type, options) {
  const holder = choiceGroup(element, settings, type);
  const chosen = new Set(
    type === 'radio'
      ? [/** @type {any} */ (settings.value.selected_option)?.value]
      : listOf(settings.value.selected_options).map((option) => option.value),
  );
  const inputs = options.map((option, index) => {
    const input = el('input', { type, name: settings.id, id: `${settings.id}-${index}` });
    input.checked = chosen.has(option.value);
    input.addEventListener('change', () => {
      const picked = options.filter((_, at) => inputs[at]?.checked === true);
      settings.changed(
        type === 'radio'
          ? { type: element.type, selected_option: picked[0] ?? null }
          : { type: element.type, selected_options: picked },
        input,
      );
    });
    holder.append(
      choice(
        input,
        settings.renderText(option.text),
        option.description && settings.renderText(option.description),
      ),
    );
    return input;
  });
  return holder;
}

/** @param {Json} element @param {ControlSettings} settings */
function userChoices(element, settings) {
  const holder = choiceGroup(element, settings, 'checkbox');
  const chosen = new Set(/** @type {string[]} */ (settings.value.selected_users ?? []));
  for (const user of settings.users) {
    const input = el('input', { type: 'checkbox', id: `${settings.id}-${user.id}` });
    input.checked = chosen.has(user.id);
    input.addEventListener('change', () => {
      if (input.checked) chosen.add(user.id);
      else chosen.delete(user.id);
      settings.changed({ type: element.type, selected_users: [...chosen] }, input);
    });
    holder.append(choice(input, document.createTextNode(user.realName)));
  }
  return holder;
}

/** @param {Json} element @param {ControlSettings} settings @param {'radio' | 'checkbox'} type */
const choiceGroup = (element, settings, type) =>
  el('div', {
    ...common(element, settings),
    class: 'choices',
    role: type === 'radio' ? 'radiogroup' : 'group',
  });

/** @param {HTMLInputElement} input @param {Node} text @param {Node} [description] */
const choice = (input, text, description) =>
  el(
    'label',
    { class: 'choice', for: input.id },
    input,
    el(
      'span',
      {},
      text,
      description === undefined ? null : el('span', { class: 'choice-description' }, description),
    ),
  );

/** @param {Json} element @param {ControlSettings} settings @param {'date' | 'time'} type @param {string} key */
function picker(element, settings, type, key) {
  const field = el('input', { ...common(element, settings), class: 'field-input', type });
  field.value = String(settings.value[key] ?? '');
  field.addEventListener('change', () =>
    settings.changed({ type: element.type, [key]: field.value === '' ? null : field.value }, field),
  );
  return field;
}

/** @param {Json} element @param {ControlSettings} settings */
function momentPicker(element, settings) {
  const field = el('input', { ...common(element, settings), class: 'field-input', type: 'datetime-local' });
  const seconds = settings.value.selected_date_time;
  if (typeof seconds === 'number') {
    const local = new Date((seconds - new Date(seconds * 1000).getTimezoneOffset() * 60) * 1000);
    field.value = local.toISOString().slice(0, 16);
  }
  field.addEventListener('change', () => {
    const moment = field.value === '' ? null : Math.trunc(new Date(field.value).getTime() / 1000);
    settings.changed({ type: element.type, selected_date_time: moment }, field);
  });
  return field;
}

/**
 * @param {Json} element
 * @param {(choice: InputState, origin: HTMLElement) => void} act
 */
export function renderOverflow(element, act) {
  const options = listOf(element.options);
  const summary = el('summary', { class: 'button overflow', 'aria-label': 'More actions' }, '•••');
  const menu = el('details', { class: 'menu-holder', 'data-action-id': String(element.action_id) }, summary);
  const items = options.map((option) =>
    el(
      'button',
      {
        type: 'button',
        class: 'menu-item',
        onclick: () => {
          menu.open = false;
          act({ type: 'overflow', selected_option: option }, summary);
        },
      },
      labelOf(option),
    ),
  );
  menu.append(el('div', { class: 'menu' }, ...items));
  return menu;
}

/** @param {Json} element @returns {Json[]} */
const allOptions = (element) => [
  ...listOf(element.options),
  ...listOf(element.option_groups).flatMap((group) => listOf(group.options)),
];

/** @param {Json} option */
const labelOf = (option) => withEmoji(String(option.text.text));

/** @param {unknown} value @returns {Json[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);

/** The X of dialogs and panels. @param {string} label @param {(event: MouseEvent) => void} onclick */
export const closeButton = (label, onclick) =>
  el(
    'button',
    { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick },
    icon('close'),
  );
