// @ts-check

/** @param {string} ts a message's `1700000000.000100` */
export const dateOf = (ts) => new Date(Number(ts) * 1000);

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const CLOCK_SECONDS = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});
const FULL = new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'medium', hourCycle: 'h23' });

/** @param {Date} date */
export const clock = (date) => CLOCK.format(date);
/** @param {Date} date */
export const fullTime = (date) => FULL.format(date);

/** @param {Date} date @param {Date} now */
export function dayName(date, now) {
  const relative = relativeDay(date, now);
  if (relative !== undefined) return relative.charAt(0).toUpperCase() + relative.slice(1);
  return new Intl.DateTimeFormat('en', { weekday: 'long', month: 'long', day: 'numeric' }).format(date);
}

/** @param {Date} date */
export const dayKey = (date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;

/** @param {Date} date @param {Date} now @returns {string | undefined} */
function relativeDay(date, now) {
  const days = [0, -1, 1].map((offset) => {
    const day = new Date(now);
    day.setDate(day.getDate() + offset);
    return dayKey(day);
  });
  const at = days.indexOf(dayKey(date));
  return at === -1 ? undefined : ['today', 'yesterday', 'tomorrow'][at];
}

/** @param {Date} date @param {Intl.DateTimeFormatOptions} options */
const written = (date, options) => new Intl.DateTimeFormat('en', options).format(date);

/**
 * Slack's `<!date^…>` tokens. https://docs.slack.dev/messaging/formatting-message-text/#date-formatting
 *
 * @param {number} seconds
 * @param {string} format
 * @param {Date} now
 * @returns {string | undefined} undefined where Slack would show the fallback
 */
export function slackDate(seconds, format, now) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return undefined;
  /** @type {Record<string, () => string>} */
  const tokens = {
    date_num: () => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
    date_slash: () => `${two(date.getMonth() + 1)}/${two(date.getDate())}/${date.getFullYear()}`,
    date: () => written(date, { month: 'long', day: 'numeric', year: 'numeric' }),
    date_short: () => written(date, { month: 'short', day: 'numeric', year: 'numeric' }),
    date_long: () => written(date, { weekday: 'long', month: 'long', day: 'numeric', year: 'numeric' }),
    day_divider_pretty: () => dayName(date, now),
    time: () => CLOCK.format(date),
    time_secs: () => CLOCK_SECONDS.format(date),
    ago: () => ago(date, now),
  };
  let known = true;
  const text = format.replace(/\{([a-z_]+)\}/g, (_, token) => {
    const pretty = token.endsWith('_pretty')
      ? (relativeDay(date, now) ?? tokens[token.replace('_pretty', '')]?.())
      : undefined;
    const value = tokens[token]?.() ?? pretty;
    if (value === undefined) known = false;
    return value ?? '';
  });
  return known ? text : undefined;
}

/** @param {number} number */
const two = (number) => String(number).padStart(2, '0');

/** @param {Date} date @param {Date} now */
export function ago(date, now) {
  const seconds = Math.round((date.getTime() - now.getTime()) / 1000);
  const size = Math.abs(seconds);
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  if (size < 60) return format.format(seconds, 'second');
  if (size < 3600) return format.format(Math.trunc(seconds / 60), 'minute');
  if (size < 86_400) return format.format(Math.trunc(seconds / 3600), 'hour');
  return format.format(Math.trunc(seconds / 86_400), 'day');
}
