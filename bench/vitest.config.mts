import { defineConfig } from 'vitest/config';

/** Benchmarks run on the tests' harness, one at a time and for as long as they take. */
export default defineConfig({
  oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
  test: {
    include: ['bench/*.ts'],
    setupFiles: ['reflect-metadata'],
    globalSetup: ['test/support/server-binaries.ts'],
    testTimeout: 3_600_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
