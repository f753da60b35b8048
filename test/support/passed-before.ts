import { readFileSync } from 'node:fs';
import { beforeEach, type RunnerTestCase, type RunnerTestSuite } from 'vitest';

/** What vitest's JSON reporter writes. */
interface Report {
  testResults: {
    name: string;
    assertionResults: { status: string; ancestorTitles: string[]; title: string }[];
  }[];
}

/**
 * For each file anew: skips the tests that passed in the run whose JSON report TEST_PASSED names, as `npm test` before
 * the long proof. But none of a file that has counts for either: there, the same name may stand for more.
 */
export function skipWhatPassed(): void {
  let passed: Set<string> | undefined;
  if (process.env.TEST_PASSED) {
    beforeEach(({ task, skip }) => {
      passed ??= passedIn(task.file.filepath);
      if (passed.has(titleOf(namesOf(task)))) {
        skip('npm test has just run it in this form');
      }
    });
  }
}

function passedIn(file: string): Set<string> {
  if (/\b(inLong|isLong)\b/.test(readFileSync(file, 'utf8'))) {
    return new Set();
  }
  const { testResults }: Report = JSON.parse(readFileSync(process.env.TEST_PASSED!, 'utf8'));
  const results = testResults.find(({ name }) => name === file)?.assertionResults ?? [];
  return new Set(
    results
      .filter(({ status }) => status === 'passed')
      .map(({ ancestorTitles, title }) => titleOf([...ancestorTitles, title])),
  );
}

const titleOf = (names: string[]): string => names.join(' > ');

const namesOf = ({ suite, name }: RunnerTestCase | RunnerTestSuite): string[] => [
  ...(suite ? namesOf(suite) : []),
  name,
];
