import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Some tests run what users run: the compiled package.
    globalSetup: ['test/build-once.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two cores, and several tests start real processes: more workers only make them wait for each other.
    maxWorkers: 2,
  },
});
