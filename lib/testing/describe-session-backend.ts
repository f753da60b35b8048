import { describeAdmission } from './admission.js';
import { describeConcurrency } from './concurrency.js';
import { describeLocks } from './locks.js';
import { describeMethods } from './methods.js';
import { describeOwners } from './owners.js';
import { describeRecords } from './records.js';
import { Suite } from './suite.js';
import { findRunner, type TestRunner } from './test-runner.js';
import type { TestStorage } from './test-storage.js';

/**
 * Describes the tests of the storage contract, `SessionBackend`: what this package's own storages have to pass. Tests of
 * methods that a storage may leave out (owners, limits, `list`, `count`) are skipped where they are missing.
 * @param name what the tests are titled with
 * @param open opens a new storage with nothing in it; called by each test
 * @param runner default: the global `describe` and `it`, or else those of node:test
 * @throws SessionException under vitest or Jest, if `describe` and `it` are neither given nor global
 */
export function describeSessionBackend(
  name: string,
  open: () => Promise<TestStorage>,
  runner: TestRunner = findRunner(),
): void {
  const suite = new Suite(name, open, runner);
  describeMethods(suite);
  describeLocks(suite);
  describeOwners(suite);
  describeAdmission(suite);
  describeRecords(suite);
  describeConcurrency(suite);
}
