import { expect, it } from 'vitest';
import { drawnFrom } from './seeded.ts';
import { PARTS } from './sweep-installation.ts';
import { Pairs } from './sweep-pairs.ts';
import type { Aim } from './sweep-strike.ts';

/** As many aims as the parts have, in any order. */
function aims(): Aim[] {
  const random = drawnFrom(1);
  const places = { approvals: 60, executor: 15, agent: 7 };
  return PARTS.flatMap((part) =>
    Array.from({ length: places[part] * 2 }, (_, i) => ({
      ...{ part, what: `place ${i >> 1}`, when: 'before' as const, nth: 1, atStart: false },
      signal: i % 2 === 0 ? ('SIGKILL' as const) : ('SIGSTOP' as const),
      order: random(),
    })),
  ).toSorted((a, b) => a.order - b.order);
}

it('every fault comes into a pair, of two parts each, and every combination comes early', () => {
  const pairs = new Pairs();
  let left = aims();
  const reached: Aim[] = [];
  for (let pair = pairs.next(left, reached); pair !== undefined; pair = pairs.next(left, reached)) {
    const [one, other] = pair;
    expect(one.part).not.toBe(other.part);
    left = left.filter((aim) => aim !== one && aim !== other);
    reached.push(one, other);
    pairs.met(other, one);
    if (pairs.count === 12) expect(pairs.missing()).toEqual([]);
  }
  expect(left).toEqual([]);
  // Hardly more of them than the part takes that has the most faults.
  expect(pairs.count).toBeLessThan(140);
});

it('says which combinations never came', () => {
  const pairs = new Pairs();
  expect(pairs.missing()).toHaveLength(12);
  pairs.met({ part: 'agent', signal: 'SIGKILL' }, { part: 'approvals', signal: 'SIGSTOP' });
  expect(pairs.missing()).toHaveLength(11);
  expect(pairs.missing()).not.toContain('SIGSTOP approvals + SIGKILL agent');
  expect(pairs.summary()).toMatch(
    /^1 pairs, in 1 of the 12 combinations .*; never SIGKILL approvals \+ SIGKILL executor/,
  );
});
