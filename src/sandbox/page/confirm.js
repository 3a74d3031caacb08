// @ts-check
import { openAbove } from './dialog.js';
import { el } from './dom.js';
import { plainTextOf, renderText } from './text-object.js';

/**
 * Shows a block's `confirm` object and resolves to what the person answers; Esc is no.
 *
 * @param {{ [key: string]: any }} confirm
 * @param {import('./mentions.js').Directory} directory
 * @returns {Promise<boolean>}
 */
export function confirmed(confirm, directory) {
  return new Promise((resolve) => {
    const close = /** @param {'yes' | 'no'} answer */ (answer) => dialog.close(answer);
    const yes = el(
      'button',
      {
        type: 'button',
        class: `button large ${confirm.style === 'danger' ? 'danger' : 'primary'}`,
        onclick: () => close('yes'),
      },
      plainTextOf(confirm.confirm) || 'Yes',
    );
    const no = el(
      'button',
      { type: 'button', class: 'button large', onclick: () => close('no') },
      plainTextOf(confirm.deny) || 'Cancel',
    );
    const dialog = el(
      'dialog',
      { class: 'dialog confirm', 'aria-labelledby': 'confirm-title', 'aria-describedby': 'confirm-text' },
      el('h2', { class: 'dialog-title', id: 'confirm-title' }, plainTextOf(confirm.title) || 'Are you sure?'),
      el('div', { class: 'confirm-text', id: 'confirm-text' }, renderText(confirm.text, directory)),
      el('div', { class: 'dialog-buttons' }, no, yes),
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    openAbove(dialog);
    yes.focus();
  });
}
