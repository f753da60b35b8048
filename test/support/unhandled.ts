import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** No test of this describe may leave a rejection that nobody handles. @returns those of the test that runs */
export function watchRejections(): unknown[] {
  const rejections: unknown[] = [];
  const note = (reason: unknown) => void rejections.push(reason);
  let others: NodeJS.UnhandledRejectionListener[] = [];
  beforeAll(() => {
    // The runner's own would end the run.
    others = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection').on('unhandledRejection', note);
  });
  afterEach(async () => {
    await nextTurn(); // Node reports them when the turn is over
    expect(rejections.splice(0)).toEqual([]);
  });
  afterAll(() => {
    process.off('unhandledRejection', note);
    others.forEach(other => process.on('unhandledRejection', other));
  });
  return rejections;
}
