import { z } from 'zod';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Largest first: `formatDuration` takes the first unit that divides. */
const UNITS = { d: DAY, h: HOUR, m: MINUTE, s: SECOND } as const;
type Unit = keyof typeof UNITS;

/** How long things may take in a policy, in milliseconds. */
export const DURATION_LIMITS = {
  /** A deadline shorter than this cannot be met by a person; longer than this, nobody remembers what was asked. */
  expiresIn: { min: 10 * SECOND, max: DAY },
  /** How long an approval may wait for its start. It is a promise about now, not about tomorrow. */
  startWithin: { min: SECOND, max: HOUR },
  /** The window of a budget. */
  budgetPer: { min: SECOND, max: 31 * DAY },
  /** The life of a standing grant: a promise about now, like an approval, not about next week. */
  grantFor: { min: MINUTE, max: DAY },
  /** Reminders and escalations; the deadline of their rule bounds them further. */
  timer: { min: SECOND, max: DAY },
  /** How long a denial keeps the same call away from people. Longer than a day, the denial has been forgotten. */
  cooldown: { min: SECOND, max: DAY },
} as const;

export interface DurationRange {
  readonly min: number;
  readonly max: number;
}

/** `30m` → 1_800_000. One whole number and one of `s`, `m`, `h`, `d`; anything else is undefined. */
export function parseDuration(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,6})([smhd])$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * UNITS[match[2] as Unit];
}

/** 1_800_000 → `30m`: the largest unit that loses nothing. Below a second it is spelled in milliseconds. */
export function formatDuration(ms: number): string {
  for (const [unit, size] of Object.entries(UNITS)) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

/** A duration as a policy spells it (`30m`), read into milliseconds and held within a range. */
export function durationWithin(range: DurationRange) {
  return z.string().transform((text, ctx) => {
    const ms = parseDuration(text);
    if (ms === undefined) {
      ctx.addIssue({ code: 'custom', message: 'expected a duration such as 30s, 10m, 1h or 7d' });
      return z.NEVER;
    }
    if (ms < range.min || ms > range.max) {
      const [min, max] = [formatDuration(range.min), formatDuration(range.max)];
      ctx.addIssue({ code: 'custom', message: `expected between ${min} and ${max}` });
      return z.NEVER;
    }
    return ms;
  });
}
