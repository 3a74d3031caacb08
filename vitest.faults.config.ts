import { defineConfig } from 'vitest/config';

/** `npm run faults`. Each test here ends by its own limits; these are for what would never end. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.faults.ts'],
    globalSetup: ['test/build-once.ts'],
    testTimeout: 3_600_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 60_000, interval: 25 } },
    maxWorkers: 2,
    reporters: [['default', { summary: false }], './test/faults/progress.ts'],
  },
});
