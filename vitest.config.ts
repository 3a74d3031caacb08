import { relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Longest first: one of them begun last would run alone on one core while the other idles. Those that wait stand beside those that work. */
const LONGEST = [
  'test/model/starting.test.ts',
  'test/scenarios/two-replicas.test.ts',
  'test/slack/folding.test.ts',
  'test/model/crashing.test.ts',
  'test/scenarios/killed-processes.test.ts',
  'test/slack/grants.test.ts',
  'test/model/deciding.test.ts',
  'test/scenarios/bad-start.test.ts',
  'test/slack/commands.test.ts',
  'test/redis/switch-race.test.ts',
  'test/redis/proposal-store-redis.test.ts',
  'test/attacks/row-13-flooding.test.ts',
  'test/queue/execution-worker.test.ts',
  'test/audit-files/export.test.ts',
  'test/slack/home.test.ts',
  'test/browser/faults.test.ts',
  'test/browser/local-slack-page.test.ts',
  'test/slack/card-queue.test.ts',
  'test/attacks/row-25-channel-trouble.test.ts',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const place = LONGEST.indexOf(relative(import.meta.dirname, moduleId));
      return place < 0 ? LONGEST.length : place;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Some tests run what users run: the compiled package.
    globalSetup: ['test/build-once.ts'],
    // A busy machine is no failure: these are for what would never end.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000, interval: 25 } },
    // Twice the two cores of our CI: most of the time a test waits, for a deadline or for Slack's next turn.
    maxWorkers: 4,
    // A process for each file spends as much time on importing what all of them import as on the tests.
    isolate: false,
    sequence: { sequencer: LongestFirst },
  },
});
