const DAY = /^(\d{4})-(\d{2})-(\d{2})$/;
const TIME = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?$/;

/** A day (its beginning) or a time, in UTC unless it says otherwise; undefined for what is none, such as February 30. */
export function momentOf(text: string): number | undefined {
  const day = (TIME.exec(text)?.[1] ?? text).match(DAY)?.[0];
  if (day === undefined) return undefined;
  const midnight = new Date(`${day}T00:00:00Z`);
  if (Number.isNaN(midnight.getTime()) || !midnight.toISOString().startsWith(day)) return undefined;
  if (day === text) return midnight.getTime();
  const moment = Date.parse(TIME.exec(text)?.[2] === undefined ? `${text}Z` : text);
  return Number.isNaN(moment) ? undefined : moment;
}
