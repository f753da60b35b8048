import { afterAll } from 'vitest';

const tasks: (() => unknown)[] = [];

/**
 * Has something done after the tests of the file that runs. A module of test/support may outlive a file, where several
 * files run in one process: it cannot rely on an `afterAll` of its own, which only the first of them would see.
 */
export function afterFile(task: () => unknown): void {
  tasks.push(task);
}

/** For each file anew: vitest's setup file calls it. */
export function endFilesTasks(): void {
  afterAll(async () => {
    // The last first: what was started later may need what was there before.
    for (const task of tasks.splice(0).toReversed()) {
      await task();
    }
  });
}
