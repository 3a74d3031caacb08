// @ts-check
import { confirmed } from './confirm.js';
import { choiceState, isButton, renderControl, renderOverflow } from './controls.js';
import { el, linkTo } from './dom.js';
import { icon } from './icons.js';
import { renderRichText } from './rich-text.js';
import { plainTextOf, renderText } from './text-object.js';

/** @typedef {{ type: string, [key: string]: any }} Json a block or an element, as the app sent it */
/** @typedef {import('../slack/person-interface.ts').StateValues} StateValues */
/** @typedef {import('../slack/person-interface.ts').InputState} InputState */

/**
 * Where blocks stand, and what a click in them does.
 *
 * @typedef {object} BlockPlace
 * @property {string} name unique on the page: element ids begin with it
 * @property {import('./mentions.js').Directory} directory
 * @property {StateValues} state of the inputs; the controls write what the person enters into it
 * @property {Record<string, string>} errors by block id
 * @property {readonly import('../slack/person-interface.ts').SeenUser[]} users for the elements that pick one
 * @property {(action: { actionId: string, blockId?: string, choice?: InputState }) => Promise<string | undefined>} act
 *   resolves to the text of what went wrong
 * @property {(failure: string) => void} lost told what went wrong where the block is gone by then
 */

/**
 * @param {readonly Json[]} blocks
 * @param {BlockPlace} place
 * @returns {DocumentFragment}
 */
export function renderBlocks(blocks, place) {
  const fragment = document.createDocumentFragment();
  for (const block of blocks) {
    const element = renderBlock(block, place);
    if (typeof block.block_id === 'string') element.dataset.blockId = block.block_id;
    fragment.append(element);
  }
  return fragment;
}

/** @param {Json} block @param {BlockPlace} place @returns {HTMLElement} */
function renderBlock(block, place) {
  switch (block.type) {
    case 'header':
      return el('h3', { class: 'block header' }, renderText(block.text, place.directory));
    case 'divider':
      return el('hr', { class: 'block divider' });
    case 'section':
      return renderSection(block, place);
    case 'context':
      return renderContext(block, place);
    case 'actions':
      return el(
        'div',
        { class: 'block actions' },
        ...listOf(block.elements).map((part) => renderAction(part, block, place)),
      );
    case 'rich_text':
      return renderRichText(block, place.directory);
    case 'markdown':
      return el('div', { class: 'block markdown' }, String(block.text));
    case 'input':
      return renderInput(block, place);
    case 'image':
      return renderImage(block);
    default:
      return el(
        'p',
        { class: 'block unsupported' },
        `This local Slack does not show blocks of the type “${block.type}”.`,
      );
  }
}

/** @param {Json} block @param {BlockPlace} place */
function renderSection(block, place) {
  const body = el('div', { class: 'section-body' });
  if (block.text !== undefined)
    body.append(el('div', { class: 'section-text' }, renderText(block.text, place.directory)));
  if (Array.isArray(block.fields)) {
    const fields = block.fields.map((field) =>
      el('div', { class: 'field' }, renderText(field, place.directory)),
    );
    body.append(el('div', { class: 'fields' }, ...fields));
  }
  const section = el('div', { class: 'block section' }, body);
  if (block.accessory !== undefined) {
    const accessory =
      block.accessory.type === 'image'
        ? renderImage(block.accessory)
        : renderAction(block.accessory, block, place);
    section.append(el('div', { class: 'accessory' }, accessory));
  }
  return section;
}

/** @param {Json} block @param {BlockPlace} place */
function renderContext(block, place) {
  const parts = listOf(block.elements).map((part) =>
    part.type === 'image'
      ? renderImage(part)
      : el('span', { class: 'context-part' }, renderText(part, place.directory)),
  );
  return el('div', { class: 'block context' }, ...parts);
}

/** A picture would be fetched from somewhere: this page fetches nothing, and shows what stands for it. @param {Json} image */
function renderImage(image) {
  return el(
    'span',
    { class: 'block image', role: 'img', 'aria-label': String(image.alt_text) },
    `[${image.alt_text}]`,
  );
}

/**
 * An element that does something the moment it is used.
 *
 * @param {Json} element
 * @param {Json} block
 * @param {BlockPlace} place
 * @returns {HTMLElement}
 */
function renderAction(element, block, place) {
  if (isButton(element)) return renderButton(element, block, place);
  const act = /** @param {InputState} choice @param {HTMLElement} origin */ (choice, origin) =>
    press(element, block, place, origin, choice);
  if (element.type === 'overflow') return renderOverflow(element, act);
  return renderControl(element, {
    id: idOf(element, block, place),
    label: plainTextOf(element.placeholder) || 'Choose',
    value: stateOf(element, block, place),
    users: place.users,
    renderText: (text) => renderText(text, place.directory),
    changed: (choice, origin) => {
      remember(element, block, place, choice);
      void act(choice, origin);
    },
  });
}

/** @param {Json} element @param {Json} block @param {BlockPlace} place */
function renderButton(element, block, place) {
  const style = element.style === 'primary' || element.style === 'danger' ? ` ${element.style}` : '';
  const label = el('span', { class: 'button-label' }, plainTextOf(element.text));
  const attributes = {
    class: `button${style}`,
    'data-action-id': String(element.action_id),
    'aria-label': element.accessibility_label,
  };
  if (typeof element.url === 'string' && element.url !== '') {
    const link = linkTo(element.url, label);
    for (const [name, value] of Object.entries(attributes))
      if (value !== undefined) link.setAttribute(name, value);
    link.addEventListener('click', () => void press(element, block, place, link));
    return link;
  }
  const button = el('button', { type: 'button', ...attributes }, label);
  button.addEventListener('click', () => void press(element, block, place, button));
  return button;
}

/**
 * Asks what the block's `confirm` asks, sends the click, and says beneath the block what went wrong.
 *
 * @param {Json} element
 * @param {Json} block
 * @param {BlockPlace} place
 * @param {HTMLElement} origin
 * @param {InputState} [choice]
 */
async function press(element, block, place, origin, choice) {
  if (origin.getAttribute('aria-busy') === 'true') return;
  if (element.confirm !== undefined && !(await confirmed(element.confirm, place.directory))) return;
  origin.setAttribute('aria-busy', 'true');
  const holder = origin.closest('.block');
  holder?.querySelector(':scope > .block-failure')?.remove();
  const failure = await place.act({
    actionId: String(element.action_id),
    ...(block.block_id === undefined ? {} : { blockId: String(block.block_id) }),
    ...(choice === undefined ? {} : { choice }),
  });
  origin.removeAttribute('aria-busy');
  if (failure === undefined) return;
  if (holder === null || !holder.isConnected) return place.lost(failure);
  holder.append(el('p', { class: 'block-failure', role: 'alert' }, icon('warning'), failure));
}

/** @param {Json} block @param {BlockPlace} place */
function renderInput(block, place) {
  const element = /** @type {Json} */ (block.element);
  const id = idOf(element, block, place);
  const error = place.errors[String(block.block_id)];
  const hint =
    block.hint === undefined
      ? undefined
      : el('p', { class: 'hint', id: `${id}-hint` }, plainTextOf(block.hint));
  const control = renderControl(element, {
    id,
    label: plainTextOf(block.label),
    labelledBy: `${id}-label`,
    describedBy: [error === undefined ? '' : `${id}-error`, hint === undefined ? '' : `${id}-hint`]
      .join(' ')
      .trim(),
    invalid: error !== undefined,
    value: stateOf(element, block, place),
    users: place.users,
    renderText: (text) => renderText(text, place.directory),
    changed: (choice, origin) => {
      remember(element, block, place, choice);
      if (block.dispatch_action === true) void press(element, block, place, origin, choice);
    },
    edited: (choice) => remember(element, block, place, choice),
  });
  const label = el('label', { class: 'label', id: `${id}-label`, for: id }, plainTextOf(block.label));
  if (block.optional === true) label.append(el('span', { class: 'optional' }, ' (optional)'));
  return el(
    'div',
    { class: error === undefined ? 'block input' : 'block input invalid' },
    label,
    control,
    error === undefined
      ? null
      : el('p', { class: 'field-error', id: `${id}-error`, role: 'alert' }, icon('warning'), error),
    hint,
  );
}

/** @param {Json} element @param {Json} block @param {BlockPlace} place */
const idOf = (element, block, place) =>
  `${place.name}-${block.block_id ?? ''}-${element.action_id ?? ''}`.replace(/[^\w-]/g, '_');

/** @param {Json} element @param {Json} block @param {BlockPlace} place */
const stateOf = (element, block, place) =>
  place.state[String(block.block_id)]?.[String(element.action_id)] ?? choiceState(element);

/** @param {Json} element @param {Json} block @param {BlockPlace} place @param {InputState} choice */
function remember(element, block, place, choice) {
  const blockId = String(block.block_id);
  place.state[blockId] = { ...place.state[blockId], [String(element.action_id)]: choice };
}

/** @param {unknown} value @returns {Json[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);
