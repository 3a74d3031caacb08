// @ts-check
import { el, linkTo } from './dom.js';
import { emojiFor } from './emoji.js';
import { broadcast, channelMention, dateText, groupMention, userMention } from './mentions.js';

/**
 * Slack's mrkdwn: what the text means first (`parseMrkdwn`, plain data), elements after (`renderMrkdwn`).
 * https://docs.slack.dev/messaging/formatting-message-text/
 *
 * @typedef {{ kind: 'text', text: string }
 *   | { kind: 'bold' | 'italic' | 'strike' | 'quote', children: MrkdwnNode[] }
 *   | { kind: 'code' | 'preformatted', text: string }
 *   | { kind: 'break' }
 *   | { kind: 'emoji', name: string, unicode: string }
 *   | { kind: 'link', url: string, text: string }
 *   | { kind: 'user' | 'channel' | 'group', id: string, fallback: string | undefined }
 *   | { kind: 'broadcast', range: string }
 *   | { kind: 'date', seconds: number, format: string, url: string | undefined, fallback: string }} MrkdwnNode
 */

/** @type {Record<string, 'bold' | 'italic' | 'strike'>} */
const MARKS = { '*': 'bold', _: 'italic', '~': 'strike' };

/** @param {string} text */
export const unescapeSlack = (text) =>
  text.replace(/&(amp|lt|gt);/g, (_, name) => ({ amp: '&', lt: '<', gt: '>' })[/** @type {'amp'} */ (name)]);

/** What Slack's own client does to typed text before it is sent. @param {string} text */
export const escapeSlack = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/**
 * @param {string} text
 * @returns {MrkdwnNode[]}
 */
export function parseMrkdwn(text) {
  /** @type {MrkdwnNode[]} */
  const nodes = [];
  const parts = text.split('```');
  // An unclosed fence is three ordinary characters.
  if (parts.length % 2 === 0) parts.push(`${parts.splice(-2, 1)[0]}\`\`\`${parts.pop()}`);
  parts.forEach((part, index) => {
    if (index % 2 === 1)
      nodes.push({ kind: 'preformatted', text: withoutEntities(part).replace(/^\n|\n$/g, '') });
    else nodes.push(...parseLines(index === 0 ? part : part.replace(/^\n/, '')));
  });
  return nodes;
}

/** @param {string} text @returns {MrkdwnNode[]} */
function parseLines(text) {
  /** @type {MrkdwnNode[]} */
  const nodes = [];
  /** @type {MrkdwnNode[] | undefined} */
  let quote;
  for (const [index, line] of text.split('\n').entries()) {
    const quoted = /^(?:>|&gt;) ?/.exec(line);
    if (quoted !== null) {
      if (quote === undefined) {
        quote = [];
        nodes.push({ kind: 'quote', children: quote });
      } else quote.push({ kind: 'break' });
      quote.push(...parseInline(line.slice(quoted[0].length)));
    } else {
      if (index > 0 && quote === undefined) nodes.push({ kind: 'break' });
      quote = undefined;
      nodes.push(...parseInline(line));
    }
  }
  return nodes;
}

/**
 * @param {string} line
 * @param {string} [within] the marks that are open around it: a mark never stands inside itself, which bounds the depth
 * @returns {MrkdwnNode[]}
 */
function parseInline(line, within = '') {
  /** @type {MrkdwnNode[]} */
  const nodes = [];
  let plain = '';
  const flush = () => {
    if (plain !== '') nodes.push({ kind: 'text', text: unescapeSlack(plain) });
    plain = '';
  };
  let at = 0;
  while (at < line.length) {
    const character = line.charAt(at);
    const end =
      character === '<' || character === '`' ? line.indexOf(character === '<' ? '>' : '`', at + 1) : -1;
    if (end > at + 1) {
      flush();
      const inside = line.slice(at + 1, end);
      nodes.push(character === '`' ? { kind: 'code', text: withoutEntities(inside) } : parseEntity(inside));
      at = end + 1;
      continue;
    }
    const mark = MARKS[character];
    const close = mark === undefined || within.includes(character) ? -1 : closingMark(line, at);
    if (mark !== undefined && close !== -1) {
      flush();
      nodes.push({ kind: mark, children: parseInline(line.slice(at + 1, close), within + character) });
      at = close + 1;
      continue;
    }
    const emoji =
      character === ':' ? /^:([a-z0-9_+-]+(?:::[a-z0-9-]+)?):/.exec(line.slice(at, at + 80)) : null;
    const unicode = emoji === null ? undefined : emojiFor(emoji[1] ?? '');
    if (emoji !== null && unicode !== undefined) {
      flush();
      nodes.push({ kind: 'emoji', name: emoji[1] ?? '', unicode });
      at += emoji[0].length;
      continue;
    }
    plain += character;
    at += 1;
  }
  flush();
  return nodes;
}

/**
 * A mark opens after a space or punctuation and before something; it closes after something and before no letter.
 *
 * @param {string} line
 * @param {number} open
 */
function closingMark(line, open) {
  const mark = line.charAt(open);
  if (open > 0 && /[\p{L}\p{N}]/u.test(line.charAt(open - 1))) return -1;
  if (/^(\s|)$/.test(line.charAt(open + 1)) || line.charAt(open + 1) === mark) return -1;
  for (let at = open + 1; at < line.length; at += 1) {
    const character = line.charAt(at);
    if (character === '<' || character === '`') {
      const end = line.indexOf(character === '<' ? '>' : '`', at + 1);
      if (end !== -1) at = end;
    } else if (
      character === mark &&
      !/\s/.test(line.charAt(at - 1)) &&
      !/[\p{L}\p{N}]/u.test(line.charAt(at + 1))
    ) {
      return at;
    }
  }
  return -1;
}

/** @param {string} inside what stands between `<` and `>` @returns {MrkdwnNode} */
function parseEntity(inside) {
  const bar = inside.indexOf('|');
  const target = bar === -1 ? inside : inside.slice(0, bar);
  const label = bar === -1 ? undefined : unescapeSlack(inside.slice(bar + 1));
  const id = target.slice(1);
  if (/^@[UW][A-Z0-9]+$/.test(target)) return { kind: 'user', id, fallback: label };
  if (/^#C[A-Z0-9]+$/.test(target)) return { kind: 'channel', id, fallback: label };
  if (/^!subteam\^S[A-Z0-9]+$/.test(target)) return { kind: 'group', id: target.slice(9), fallback: label };
  if (/^!(here|channel|everyone)$/.test(target)) return { kind: 'broadcast', range: id };
  const date = /^!date\^(-?\d{1,12})\^([^^]*)(?:\^(.+))?$/.exec(target);
  if (date !== null) {
    return {
      kind: 'date',
      seconds: Number(date[1]),
      format: unescapeSlack(date[2] ?? ''),
      url: date[3],
      fallback: label ?? '',
    };
  }
  if (/^[a-z][a-z0-9+.-]*:/i.test(target)) {
    const url = unescapeSlack(target);
    return { kind: 'link', url, text: label ?? url.replace(/^mailto:/, '') };
  }
  return { kind: 'text', text: label ?? unescapeSlack(target) };
}

/**
 * What Slack makes of addresses that stand in a text as they are, unless the text object says `verbatim`.
 *
 * @param {MrkdwnNode[]} nodes
 * @returns {MrkdwnNode[]}
 */
export function withBareLinks(nodes) {
  return nodes.flatMap((node) => {
    if ('children' in node) return [{ ...node, children: withBareLinks(node.children) }];
    if (node.kind !== 'text') return [node];
    return node.text.split(/(https?:\/\/[^\s<>|]+[^\s<>|.,;:!?)\]'"])/).flatMap(
      /** @returns {MrkdwnNode[]} */ (part, index) => {
        if (part === '') return [];
        return [index % 2 === 1 ? { kind: 'link', url: part, text: part } : { kind: 'text', text: part }];
      },
    );
  });
}

/** Code shows what an entity says, not what it does. @param {string} text */
const withoutEntities = (text) =>
  unescapeSlack(text.replace(/<([^<>|]+)\|([^<>]*)>/g, '$2').replace(/<([^<>]+)>/g, '$1'));

/**
 * @param {string} text
 * @param {import('./mentions.js').Directory} directory
 * @param {boolean} [verbatim]
 * @returns {DocumentFragment}
 */
export function renderMrkdwn(text, directory, verbatim = false) {
  const fragment = document.createDocumentFragment();
  const nodes = parseMrkdwn(text);
  fragment.append(...(verbatim ? nodes : withBareLinks(nodes)).map((node) => renderNode(node, directory)));
  return fragment;
}

/**
 * @param {MrkdwnNode} node
 * @param {import('./mentions.js').Directory} directory
 * @returns {Node}
 */
function renderNode(node, directory) {
  switch (node.kind) {
    case 'text':
      return document.createTextNode(node.text);
    case 'bold':
      return el('strong', {}, ...node.children.map((child) => renderNode(child, directory)));
    case 'italic':
      return el('em', {}, ...node.children.map((child) => renderNode(child, directory)));
    case 'strike':
      return el('s', {}, ...node.children.map((child) => renderNode(child, directory)));
    case 'quote':
      return el(
        'blockquote',
        { class: 'quote' },
        ...node.children.map((child) => renderNode(child, directory)),
      );
    case 'code':
      return el('code', { class: 'code' }, node.text);
    case 'preformatted':
      return el('pre', { class: 'preformatted' }, node.text);
    case 'break':
      return el('br');
    case 'emoji':
      return el('span', { class: 'emoji', title: `:${node.name}:` }, node.unicode);
    case 'link':
      return linkTo(node.url, node.text);
    case 'user':
      return userMention(node.id, directory, node.fallback);
    case 'channel':
      return channelMention(node.id, directory, node.fallback);
    case 'group':
      return groupMention(node.id, directory, node.fallback);
    case 'broadcast':
      return broadcast(node.range);
    case 'date':
      return dateText(node);
  }
}

/**
 * The same text for a screen reader's announcement.
 *
 * @param {string} text
 * @param {import('./mentions.js').Directory} directory
 */
export const plainMrkdwn = (text, directory) =>
  el('div', {}, renderMrkdwn(text, directory)).textContent ?? '';
