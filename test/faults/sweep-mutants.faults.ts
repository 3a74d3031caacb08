import { afterEach, describe, expect, it } from 'vitest';
import { drawnFrom } from './seeded.ts';
import { Sweep, World } from './sweep.ts';
import { SWEEP_MUTANTS } from './sweep-mutants.ts';
import { tally } from './tally.ts';

/** A sweep that finds nothing is worth nothing: what it has to find is built in, and it is aimed at the place. */

const SECONDS = 90;
const FAULTS_A_ROUND = 4;
/** Longer than the leases of the installation; what it does not come to an end in will not. */
const GIVE_UP_MS = 20_000;

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

describe('the kill sweep sees', () => {
  it.each(SWEEP_MUTANTS.map((mutant) => [mutant.breaks, mutant] as const))(
    'that %s',
    async (_, { changes, only, seen }) => {
      world = await World.start(changes, GIVE_UP_MS);
      const sweep = new Sweep({
        ...{ random: drawnFrom(1), atStart: new Set(world.listed()), seconds: SECONDS, only },
        ...{ faultsARound: FAULTS_A_ROUND, until: seen },
      });
      await world.traffic.arm();
      await sweep.run(world, 'alone');
      const caught = seen.test(sweep.problems.join('\n'));
      const row = tally('a line broken that a crash shows (stuck: not caught)');
      row.injected();
      row.stuck(caught ? 0 : 1);
      expect(sweep.problems.join('\n')).toMatch(seen);
    },
    300_000,
  );
});
