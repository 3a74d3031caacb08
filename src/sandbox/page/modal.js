// @ts-check
import { renderBlocks } from './block-kit.js';
import { closeButton } from './controls.js';
import { focusableIn, openAbove } from './dialog.js';
import { el } from './dom.js';
import { withEmoji } from './emoji.js';
import { icon } from './icons.js';

/** @typedef {import('../slack/person-interface.ts').SeenView} SeenView */
/** @typedef {import('../slack/person-interface.ts').StateValues} StateValues */

/**
 * @typedef {object} ModalActions
 * @property {(view: SeenView, state: StateValues) => Promise<string | undefined>} submit
 * @property {(view: SeenView, all: boolean) => Promise<string | undefined>} close
 * @property {(view: SeenView, action: { actionId: string, blockId?: string, choice?: import('../slack/person-interface.ts').InputState }, state: StateValues) => Promise<string | undefined>} click
 * @property {() => import('./mentions.js').Directory} directory
 * @property {() => readonly import('../slack/person-interface.ts').SeenUser[]} users
 */

/** The modal before the person: the top of the stack that the server keeps. */
export class Modal {
  /** @type {HTMLDialogElement | undefined} */
  #dialog;
  /** @type {SeenView | undefined} */
  #view;
  /** What was entered, by view id: a modal that another one covered still has it when it comes back. @type {Map<string, StateValues>} */
  #entered = new Map();
  #busy = false;
  #actions;

  /** @param {ModalActions} actions */
  constructor(actions) {
    this.#actions = actions;
  }

  get view() {
    return this.#view;
  }

  /** @param {SeenView | null} view */
  show(view) {
    if (view === null) return this.#disappear();
    const known = this.#view;
    if (known?.id === view.id && known.hash === view.hash && sameErrors(known.errors, view.errors)) return;
    const entered = this.#entered.get(view.id);
    this.#entered.set(view.id, merged(view.state, entered));
    const focused = known?.id === view.id ? this.#focusedAction() : undefined;
    this.#view = view;
    this.#render(view, focused);
  }

  #disappear() {
    this.#view = undefined;
    this.#entered.clear();
    this.#busy = false;
    const dialog = this.#dialog;
    this.#dialog = undefined;
    dialog?.close();
    dialog?.remove();
  }

  /** @returns {string | undefined} */
  #focusedAction() {
    const active = document.activeElement;
    return active instanceof HTMLElement && this.#dialog?.contains(active)
      ? active.dataset.actionId
      : undefined;
  }

  /** @param {SeenView} view @param {string | undefined} focused the action whose element had the focus before */
  #render(view, focused) {
    const dialog = this.#dialog ?? this.#open();
    const state = this.#entered.get(view.id) ?? {};
    const body = el('div', { class: 'modal-body' });
    body.append(
      renderBlocks(view.blocks, {
        name: `view-${view.id}`,
        directory: this.#actions.directory(),
        users: this.#actions.users(),
        state,
        errors: view.errors,
        act: (action) => this.#actions.click(view, action, state),
        lost: (failure) => this.#fail(failure),
      }),
    );
    const form = el(
      'form',
      { class: 'modal-form', novalidate: true },
      this.#header(view),
      el('p', { class: 'modal-failure', role: 'alert', hidden: true }),
      body,
      this.#footer(view),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#submit(view, state);
    });
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.metaKey || event.ctrlKey) && view.submit !== undefined)
        form.requestSubmit();
    });
    dialog.replaceChildren(form);
    this.#setBusy(this.#busy);
    this.#focus(body, view, focused);
  }

  #open() {
    const dialog = el('dialog', { class: 'dialog modal', 'aria-labelledby': 'modal-title' });
    // The server owns the stack, so Esc asks it and the dialog does not close by itself.
    dialog.addEventListener('cancel', (event) => {
      event.preventDefault();
      void this.#close(false);
    });
    this.#dialog = dialog;
    openAbove(dialog);
    return dialog;
  }

  /** @param {SeenView} view */
  #header(view) {
    const back = el(
      'button',
      {
        type: 'button',
        class: 'icon-button',
        'aria-label': 'Back',
        title: 'Back',
        onclick: () => void this.#close(false),
      },
      icon('back'),
    );
    return el(
      'header',
      { class: 'modal-header' },
      view.depth > 1 ? back : null,
      el('h2', { class: 'dialog-title', id: 'modal-title' }, withEmoji(view.title)),
      closeButton('Close', (event) => void this.#close(event.shiftKey)),
    );
  }

  /** @param {SeenView} view */
  #footer(view) {
    const close = el(
      'button',
      {
        type: 'button',
        class: 'button large',
        'data-modal': 'close',
        onclick: () => void this.#close(false),
      },
      withEmoji(view.close ?? 'Close'),
    );
    const submit =
      view.submit === undefined
        ? null
        : el(
            'button',
            { type: 'submit', class: 'button large primary', 'data-modal': 'submit' },
            withEmoji(view.submit),
          );
    return el('footer', { class: 'dialog-buttons' }, close, submit);
  }

  /** @param {HTMLElement} body @param {SeenView} view @param {string | undefined} focused */
  #focus(body, view, focused) {
    const invalid =
      Object.keys(view.errors).length > 0 ? body.querySelector('.invalid [data-action-id]') : null;
    const again =
      focused === undefined ? null : body.querySelector(`[data-action-id="${CSS.escape(focused)}"]`);
    const asked = body.querySelector('[data-focus-on-load]');
    const first = invalid ?? again ?? asked ?? body.querySelector('.input [data-action-id]');
    if (first instanceof HTMLElement && first.matches('input, textarea, select, button')) first.focus();
    else if (first instanceof HTMLElement) focusableIn(first)[0]?.focus();
    else this.#dialog?.querySelector(/** @type {'button'} */ ('[data-modal]'))?.focus();
  }

  /** @param {SeenView} view @param {StateValues} state */
  async #submit(view, state) {
    if (this.#busy) return;
    this.#setBusy(true);
    const failure = await this.#actions.submit(view, state);
    this.#setBusy(false);
    this.#fail(failure);
  }

  /** @param {boolean} all */
  async #close(all) {
    const view = this.#view;
    if (view === undefined || this.#busy) return;
    const failure = await this.#actions.close(view, all);
    this.#fail(failure);
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    this.#busy = busy;
    const submit = this.#dialog?.querySelector('[data-modal="submit"]');
    if (busy) submit?.setAttribute('aria-busy', 'true');
    else submit?.removeAttribute('aria-busy');
  }

  /** @param {string | undefined} failure */
  #fail(failure) {
    const line = this.#dialog?.querySelector('.modal-failure');
    if (!(line instanceof HTMLElement)) return;
    line.hidden = failure === undefined;
    line.replaceChildren(...(failure === undefined ? [] : [icon('warning'), failure]));
  }
}

/** @param {StateValues} seen @param {StateValues | undefined} entered @returns {StateValues} */
function merged(seen, entered) {
  const state = structuredClone(seen);
  for (const [blockId, values] of Object.entries(entered ?? {}))
    state[blockId] = { ...state[blockId], ...values };
  return state;
}

/** @param {Record<string, string>} one @param {Record<string, string>} other */
const sameErrors = (one, other) => JSON.stringify(one) === JSON.stringify(other);
