import type { SessionBackend } from 'nest-sessions';
import { describeSessionBackend } from '../../lib/testing.js';

/** @returns the tests of the contract suite by their titles, to be run one by one */
export function recordedSuite(open: () => SessionBackend): Map<string, () => Promise<void>> {
  const tests = new Map<string, () => Promise<void>>();
  const openStorage = async () => {
    const backend = open();
    const clients: [SessionBackend, SessionBackend] = [backend, backend];
    return { clients, close: () => backend.close() };
  };
  let path: string[] = [];
  describeSessionBackend('recorded', openStorage, {
    describe(title, define) {
      path.push(title.replace(': recorded', ''));
      define();
      path.pop();
    },
    it: (title, test) => tests.set([...path, title].join(' > '), test),
  });
  return tests;
}
