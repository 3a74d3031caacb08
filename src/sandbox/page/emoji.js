// @ts-check

/** The shortcodes that apps of this kind use; any other stays as it was typed, as in a workspace that lacks it. */
const EMOJI = new Map(
  Object.entries({
    '+1': '👍',
    '-1': '👎',
    alarm_clock: '⏰',
    arrow_right: '➡️',
    bell: '🔔',
    black_square_for_stop: '⏹️',
    bulb: '💡',
    clipboard: '📋',
    double_vertical_bar: '⏸️',
    eyes: '👀',
    fire: '🔥',
    green_circle: '🟢',
    grey_question: '❔',
    hand: '✋',
    heavy_check_mark: '✔️',
    hourglass: '⌛',
    hourglass_flowing_sand: '⏳',
    information_source: 'ℹ️',
    key: '🔑',
    large_blue_circle: '🔵',
    large_green_circle: '🟢',
    large_orange_circle: '🟠',
    large_yellow_circle: '🟡',
    lock: '🔒',
    memo: '📝',
    no_entry: '⛔',
    no_entry_sign: '🚫',
    octagonal_sign: '🛑',
    question: '❓',
    red_circle: '🔴',
    robot_face: '🤖',
    rotating_light: '🚨',
    shield: '🛡️',
    smile: '😄',
    tada: '🎉',
    thumbsdown: '👎',
    thumbsup: '👍',
    unlock: '🔓',
    warning: '⚠️',
    wave: '👋',
    white_check_mark: '✅',
    white_circle: '⚪',
    x: '❌',
  }),
);

/** @param {string} name without the colons; a skin tone after `::` is dropped */
export function emojiFor(name) {
  return EMOJI.get(name.split('::')[0] ?? name);
}

/** @param {string} text */
export function withEmoji(text) {
  return text.replace(/:([a-z0-9_+-]+(?:::[a-z0-9-]+)?):/g, (code, name) => emojiFor(name) ?? code);
}
