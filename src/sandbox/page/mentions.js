// @ts-check
import { el, linkTo } from './dom.js';
import { fullTime, slackDate } from './slack-time.js';

/**
 * Who and what an id stands for, as the acting person's client knows it.
 *
 * @typedef {object} Directory
 * @property {string} me the acting user's id
 * @property {(id: string) => string | undefined} userName
 * @property {(id: string) => string | undefined} channelName
 * @property {(id: string) => { handle: string, mine: boolean } | undefined} group
 * @property {(id: string) => void} openChannel
 */

/** @param {string} id @param {Directory} directory @param {string} [fallback] */
export function userMention(id, directory, fallback) {
  const name = directory.userName(id) ?? fallback ?? id;
  return mention(`@${name}`, id === directory.me);
}

/** @param {string} id @param {Directory} directory @param {string} [fallback] */
export function groupMention(id, directory, fallback) {
  const group = directory.group(id);
  return mention(`@${(group?.handle ?? fallback ?? id).replace(/^@/, '')}`, group?.mine === true);
}

/** @param {string} id @param {Directory} directory @param {string} [fallback] */
export function channelMention(id, directory, fallback) {
  const name = directory.channelName(id);
  if (name === undefined) return mention(`#${fallback ?? id}`, false);
  const open = () => directory.openChannel(id);
  return el('button', { type: 'button', class: 'mention mention-channel', onclick: open }, `#${name}`);
}

/** @param {string} range */
export const broadcast = (range) => mention(`@${range}`, true);

/** @param {string} text @param {boolean} mine */
const mention = (text, mine) => el('span', { class: mine ? 'mention mention-me' : 'mention' }, text);

/** @param {{ seconds: number, format: string, url?: string | undefined, fallback: string }} date */
export function dateText(date) {
  const text = slackDate(date.seconds, date.format, new Date());
  const shown = text ?? date.fallback;
  const time =
    text === undefined
      ? el('span', {}, shown)
      : el(
          'time',
          {
            class: 'slack-date',
            title: fullTime(new Date(date.seconds * 1000)),
            datetime: new Date(date.seconds * 1000).toISOString(),
          },
          shown,
        );
  return date.url === undefined ? time : linkTo(date.url, time);
}
