import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';
import { SHARED_STORAGES } from './test/support/storage-names.js';

/** Most tests wait most of the time, for servers, disks and clocks: there is room for more files than processors. */
const WORKERS = Math.min(2 * availableParallelism(), 8);

/** Milliseconds. Full counts take minutes where others use the disk too. */
const TIMEOUT = process.env.TEST_LONG ? 180_000 : 60_000;

/** With TEST_STORAGES=ram, no test is left of some, which vitest takes for a failure. */
const EXCLUDED = [
  ...(SHARED_STORAGES.length > 0 ? [] : ['test/e2e/processes.spec.ts', 'test/faults/dying-holder.spec.ts']),
  ...(SHARED_STORAGES.includes('memcached') ? [] : ['test/faults/memcached-timing.spec.ts']),
];

/** Files of a folder of test/. */
function project(
  name: string,
  folder = name,
  options: TestProjectInlineConfiguration['test'] = {},
): TestProjectInlineConfiguration {
  return {
    // Nest reads constructor types from decorator metadata.
    oxc: { decorator: { legacy: true, emitDecoratorMetadata: true } },
    resolve: {
      alias: {
        'nest-sessions/testing': fileURLToPath(new URL('./lib/testing.ts', import.meta.url)),
        'nest-sessions': fileURLToPath(new URL('./lib/index.ts', import.meta.url)),
      },
    },
    test: {
      name,
      include: [`test/${folder}/**/*.spec.ts`],
      exclude: EXCLUDED,
      setupFiles: ['test/support/setup-file.ts'],
      testTimeout: TIMEOUT,
      hookTimeout: TIMEOUT,
      pool: 'forks',
      ...options,
    },
  };
}

/** The files of a process share what they import: what they import is most of what they do. */
const SHARING = { isolate: false };

export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    maxWorkers: WORKERS,
    // Says of each file how it went as soon as it ends, whoever looks on.
    reporters: ['default', ...(process.env.GITHUB_ACTIONS ? ['github-actions'] : [])],
    projects: [
      project('unit', 'unit', SHARING),
      project('storage', 'contract', SHARING),
      project('e2e', 'e2e', SHARING),
      // Each on its own: some of these packages keep what they are told for the whole process.
      project('ecosystem'),
      project('docs'),
      project('browser'),
      project('package'),
      project('models'),
      project('chaos', 'chaos', { maxWorkers: 1, testTimeout: 300_000, sequence: { groupOrder: 2 } }),
      // After all others, and two at a time: what they measure is to be the servers', not the machine's.
      project('faults', 'faults', { maxWorkers: 2, sequence: { groupOrder: 1 } }),
    ],
  },
});
