// @ts-check
import { icon } from './icons.js';

const KEY = 'local-slack-theme';

/**
 * Light or dark as the system says, until the person chooses; the choice is kept on this browser.
 *
 * @param {HTMLElement} button
 */
export function followTheme(button) {
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const chosen = () => {
    const stored = localStorage.getItem(KEY);
    return stored === 'light' || stored === 'dark' ? stored : undefined;
  };
  const current = () => chosen() ?? (system.matches ? 'dark' : 'light');
  const apply = () => {
    const theme = chosen();
    if (theme === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const other = current() === 'dark' ? 'light' : 'dark';
    button.replaceChildren(icon(other === 'dark' ? 'moon' : 'sun'));
    button.setAttribute('aria-label', `Switch to ${other} colours`);
    button.title = `Switch to ${other} colours`;
  };
  button.addEventListener('click', () => {
    localStorage.setItem(KEY, current() === 'dark' ? 'light' : 'dark');
    apply();
  });
  system.addEventListener('change', apply);
  apply();
}
