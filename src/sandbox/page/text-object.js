// @ts-check
import { withEmoji } from './emoji.js';
import { renderMrkdwn } from './mrkdwn.js';

/**
 * Block Kit's text object. https://docs.slack.dev/reference/block-kit/composition-objects/text-object/
 *
 * @param {{ [key: string]: any } | undefined} text
 * @param {import('./mentions.js').Directory} directory
 * @returns {Node}
 */
export function renderText(text, directory) {
  if (text?.type === 'mrkdwn') return renderMrkdwn(String(text.text), directory, text.verbatim === true);
  return document.createTextNode(plainTextOf(text));
}

/** @param {{ [key: string]: any } | undefined} text a plain_text object */
export function plainTextOf(text) {
  const written = String(text?.text ?? '');
  return text?.emoji === false ? written : withEmoji(written);
}
