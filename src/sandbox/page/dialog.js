// @ts-check

const FOCUSABLE = 'button, a[href], input, textarea, select, summary, [tabindex="0"]';

/**
 * Opens a `<dialog>` above everything; the rest of the page is inert. Tab goes round inside it: a browser's own way would
 * lead out to its toolbar, where a person who never looks up is lost.
 *
 * @param {HTMLDialogElement} dialog
 */
export function openAbove(dialog) {
  dialog.addEventListener('keydown', (event) => {
    if (event.key !== 'Tab') return;
    const stops = focusableIn(dialog);
    const first = stops[0];
    const last = stops.at(-1);
    const leaves = event.shiftKey ? document.activeElement === first : document.activeElement === last;
    if (!leaves || first === undefined || last === undefined) return;
    event.preventDefault();
    (event.shiftKey ? last : first).focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

/** @param {HTMLElement} element @returns {HTMLElement[]} */
export function focusableIn(element) {
  return [.../** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll(FOCUSABLE))].filter(
    (candidate) => candidate.getClientRects().length > 0 && !candidate.matches(':disabled'),
  );
}
