// @ts-check
import { el } from './dom.js';

/** As many as page.css has `.hue-N` rules. */
const HUES = 10;

/**
 * @param {string} id the colour is a function of it, so that a person keeps hers everywhere
 * @param {string} name
 * @param {'person' | 'app' | 'slackbot'} [kind]
 */
export function avatar(id, name, kind = 'person') {
  const classes = kind === 'person' ? `avatar hue-${hueOf(id)}` : `avatar avatar-${kind}`;
  return el('span', { class: classes, 'aria-hidden': 'true' }, initials(name));
}

/** @param {string} id */
export function hueOf(id) {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 9973;
  return sum % HUES;
}

/** @param {string} name */
export function initials(name) {
  const words = name.split(/[\s._-]+/).filter((word) => word !== '');
  const first = [...(words[0] ?? '?')][0] ?? '?';
  const last = words.length > 1 ? ([...(words.at(-1) ?? '')][0] ?? '') : '';
  return (first + last).toUpperCase();
}
