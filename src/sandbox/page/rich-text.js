// @ts-check
import { el, linkTo } from './dom.js';
import { emojiFor } from './emoji.js';
import { broadcast, channelMention, dateText, groupMention, userMention } from './mentions.js';

/** @typedef {import('./mentions.js').Directory} Directory */
/** @typedef {{ type: string, [key: string]: any }} Json */

/**
 * A `rich_text` block. https://docs.slack.dev/reference/block-kit/blocks/rich-text-block/
 *
 * @param {Json} block
 * @param {Directory} directory
 */
export function renderRichText(block, directory) {
  return el(
    'div',
    { class: 'block rich-text' },
    ...listOf(block.elements).map((part) => renderPart(part, directory)),
  );
}

/** @param {Json} part @param {Directory} directory @returns {Node} */
function renderPart(part, directory) {
  const border = part.border === 1 ? ' bordered' : '';
  const leaves = () => listOf(part.elements).map((leaf) => renderLeaf(leaf, directory));
  switch (part.type) {
    case 'rich_text_section':
      return el('div', { class: 'rich-section' }, ...leaves());
    case 'rich_text_preformatted':
      return el('pre', { class: `preformatted${border}` }, ...leaves());
    case 'rich_text_quote':
      return el('blockquote', { class: `quote${border}` }, ...leaves());
    case 'rich_text_list': {
      const items = listOf(part.elements).map((item) => el('li', {}, renderPart(item, directory)));
      const indent = Math.min(Math.max(Number(part.indent ?? 0), 0), 8);
      const start = Number.isInteger(part.offset) && part.offset > 0 ? part.offset + 1 : undefined;
      return part.style === 'ordered'
        ? el('ol', { class: `rich-list indent-${indent}${border}`, start }, ...items)
        : el('ul', { class: `rich-list indent-${indent}${border}` }, ...items);
    }
    default:
      return el('span', { class: 'unsupported' }, `[${part.type}]`);
  }
}

/** @param {Json} leaf @param {Directory} directory @returns {Node} */
function renderLeaf(leaf, directory) {
  return styled(leaf.style ?? {}, bare(leaf, directory));
}

/** @param {Json} leaf @param {Directory} directory @returns {Node} */
function bare(leaf, directory) {
  switch (leaf.type) {
    case 'text':
      return document.createTextNode(String(leaf.text));
    case 'link':
      return linkTo(String(leaf.url), String(leaf.text ?? leaf.url));
    case 'user':
      return userMention(String(leaf.user_id), directory);
    case 'usergroup':
      return groupMention(String(leaf.usergroup_id), directory);
    case 'channel':
      return channelMention(String(leaf.channel_id), directory);
    case 'broadcast':
      return broadcast(String(leaf.range));
    case 'emoji':
      return el(
        'span',
        { class: 'emoji', title: `:${leaf.name}:` },
        fromUnicode(leaf.unicode) ?? emojiFor(String(leaf.name)) ?? `:${leaf.name}:`,
      );
    case 'date':
      return dateText({
        seconds: Number(leaf.timestamp),
        format: String(leaf.format),
        url: leaf.url === undefined ? undefined : String(leaf.url),
        fallback: String(leaf.fallback ?? ''),
      });
    case 'color':
      return document.createTextNode(String(leaf.value));
    default:
      return el('span', { class: 'unsupported' }, `[${leaf.type}]`);
  }
}

/** `1f44d-1f3fd`, as Slack writes it. @param {unknown} unicode */
function fromUnicode(unicode) {
  if (typeof unicode !== 'string' || !/^[0-9a-f]{2,6}(-[0-9a-f]{2,6})*$/i.test(unicode)) return undefined;
  const points = unicode.split('-').map((point) => Number.parseInt(point, 16));
  return points.every((point) => point <= 0x10ffff) ? String.fromCodePoint(...points) : undefined;
}

/** @param {Record<string, unknown>} style @param {Node} node @returns {Node} */
function styled(style, node) {
  let shown = node;
  if (style.code === true) shown = el('code', { class: 'code' }, shown);
  if (style.strike === true) shown = el('s', {}, shown);
  if (style.italic === true) shown = el('em', {}, shown);
  if (style.underline === true) shown = el('u', {}, shown);
  if (style.bold === true) shown = el('strong', {}, shown);
  return shown;
}

/** @param {unknown} value @returns {Json[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);
