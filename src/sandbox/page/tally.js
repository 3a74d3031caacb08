// @ts-check
import { el } from './dom.js';

/** @typedef {{ title: string, lines: { label: string, value: string | number, tone?: string }[] }} Tally */

/** A browser writes every 404 to its console: where there is no demo, it is asked less often. */
const POLL_MS = { there: 1500, absent: 5000 };
const TONES = new Set(['good', 'bad', 'warn']);

/**
 * Shows what a demo says of itself at `/demo/tally`, where there is one: 404 is a local Slack without a demo.
 *
 * @param {HTMLElement} panel
 * @param {() => void} changed the panel came or went
 */
export function followTally(panel, changed) {
  let last = '';
  const look = async () => {
    const tally = document.hidden ? undefined : await fetchTally();
    const written = JSON.stringify(tally ?? null);
    if (tally !== undefined && written !== last) {
      last = written;
      render(panel, tally);
      changed();
    }
    setTimeout(look, last === 'null' ? POLL_MS.absent : POLL_MS.there);
  };
  void look();
}

/** @returns {Promise<Tally | null | undefined>} null: there is none; undefined: no answer, so nothing changes */
async function fetchTally() {
  try {
    const response = await fetch('/demo/tally', { headers: { accept: 'application/json' } });
    return response.status === 200 ? await response.json() : null;
  } catch {
    return undefined;
  }
}

/** @param {HTMLElement} panel @param {Tally | null} tally */
function render(panel, tally) {
  panel.hidden = tally === null || tally.lines.length === 0;
  if (tally === null) return panel.replaceChildren();
  panel.replaceChildren(
    el('h2', { class: 'panel-title' }, tally.title),
    el(
      'dl',
      { class: 'tally-lines' },
      ...tally.lines.map((line) =>
        el(
          'div',
          { class: `tally-line ${TONES.has(line.tone ?? '') ? line.tone : ''}` },
          el('dt', {}, line.label),
          el('dd', {}, String(line.value)),
        ),
      ),
    ),
  );
}
