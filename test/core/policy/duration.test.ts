import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { durationWithin, formatDuration, parseDuration } from '../../../src/core/policy/duration.ts';

describe('a duration', () => {
  it.each([
    ['1s', 1_000],
    ['10s', 10_000],
    ['30m', 1_800_000],
    ['1h', 3_600_000],
    ['7d', 604_800_000],
  ])('%s is %d milliseconds, and back', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
    expect(formatDuration(ms)).toBe(text);
  });

  it.each(['', '0s', '01s', '1', 's', '1 h', '1H', '-1s', '1.5h', '1h30m', '1w', '٣s', '1s\n', '99999999s'])(
    'is not %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  it('loses nothing on the way there and back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9_999_999 }), (seconds) => {
        expect(parseDuration(formatDuration(seconds * 1_000))).toBe(seconds * 1_000);
      }),
    );
  });

  it('is held within a range, both ends included', () => {
    const schema = durationWithin({ min: 10_000, max: 60_000 });
    expect(schema.parse('10s')).toBe(10_000);
    expect(schema.parse('1m')).toBe(60_000);
    expect(schema.safeParse('9s').error?.issues[0]?.message).toBe('expected between 10s and 1m');
    expect(schema.safeParse('61s').success).toBe(false);
  });
});
