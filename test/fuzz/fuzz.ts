import fc from 'fast-check';
import { inject, it } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    /** From `npm run fuzz`: how long each target runs, and with which seed; in `npm test` there is none. */
    fuzz?: { seconds: number; seed: number | undefined };
  }
}

const SECONDS_IN_TESTS = 2;
/** The same inputs each time, as many as there is time for: what is new is for `npm run fuzz` to find. */
const SEED_IN_TESTS = 20_261_122;

/**
 * A target of `npm run fuzz`, and a short test. It runs as often as fits into its time, and `atLeast` times however slow
 * the machine is, so that it never passes without having tried anything.
 */
export function fuzz(
  target: string,
  property: fc.IRawProperty<unknown>,
  { atLeast = 20 }: { atLeast?: number } = {},
): void {
  const asked = inject('fuzz');
  const seconds = asked?.seconds ?? SECONDS_IN_TESTS;
  const seed = asked === undefined ? SEED_IN_TESTS : (asked.seed ?? Date.now() & 0x7fffffff);
  it(`${target}, whatever comes`, { timeout: seconds * 1_000 + 120_000 }, async () => {
    const ends = performance.now() + seconds * 1_000;
    let runs = 0;
    // In rounds with a seed each, so that a failure is found again within its own round and not after an hour.
    for (let round = 0; runs < atLeast || performance.now() < ends; round += 1) {
      const details = await fc.check(property, {
        seed: seed + round,
        numRuns: runs < atLeast ? atLeast : 10_000,
        ...(runs < atLeast
          ? {}
          : { interruptAfterTimeLimit: ends - performance.now(), markInterruptAsFailure: false }),
      });
      runs += details.numRuns;
      // A round that the time ended before its first run counts as failed to fast-check, and found nothing.
      const endedEarly = details.interrupted && details.counterexample === null;
      if (details.failed && !endedEarly) {
        console.log(
          `${target}: failed after ${runs} runs; again: npm run fuzz -- ${seconds} ${seed + round}`,
        );
        throw new Error(`${fc.defaultReportMessage(details)}\n${String(details.errorInstance)}`, {
          cause: details.errorInstance,
        });
      }
    }
    if (inject('fuzz') !== undefined) console.log(`${target}: ${runs} runs from seed ${seed}, nothing found`);
  });
}

/** A text, bent in a few places: characters taken out, put in, doubled, swapped. */
export function bentText(text: fc.Arbitrary<string>, pieces: readonly string[]): fc.Arbitrary<string> {
  const piece = fc.oneof(
    fc.constantFrom(...pieces),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 3 }),
    fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 3 }),
  );
  const bend = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    take: fc.oneof(fc.constant(0), fc.nat({ max: 3 }), fc.nat({ max: 60 })),
    put: fc.oneof(fc.constant(''), piece, fc.constant('\0again')),
  });
  return fc.tuple(text, fc.array(bend, { maxLength: 6 })).map(([whole, bends]) =>
    bends.reduce((bent, { at, take, put }) => {
      const from = Math.floor(at * bent.length);
      const taken = bent.slice(from, from + take);
      return bent.slice(0, from) + (put === '\0again' ? taken + taken : put) + bent.slice(from + take);
    }, whole),
  );
}
