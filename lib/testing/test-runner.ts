import { SessionException } from '../exceptions/session.exception.js';

/** What is used of a test runner. Those of vitest, Jest, Mocha and node:test fit. */
export interface TestRunner {
  describe(title: string, define: () => void): unknown;
  /** @param timeoutMs milliseconds; a runner that does not know it leaves it out */
  it(title: string, test: () => Promise<void>, timeoutMs: number): unknown;
}

/**
 * The runner whose `describe` and `it` are global, or else node:test. It is looked for when a suite is described: nothing
 * of a runner is imported with this package.
 * @throws SessionException under vitest or Jest without globals: node:test would run the tests where nobody looks
 */
export function findRunner(): TestRunner {
  const { describe, it } = globalThis as Partial<TestRunner>;
  if (describe && it) {
    return { describe, it };
  }
  const other = process.env.VITEST ? 'vitest' : process.env.JEST_WORKER_ID && '@jest/globals';
  if (other) {
    throw new SessionException(
      `describe and it are not global here: import { describe, it } from '${other}', and give them to ` +
        'describeSessionBackend(name, open, { describe, it })',
    );
  }
  return process.getBuiltinModule('node:test');
}
