import { afterEach, describe, expect, it, vi } from 'vitest';
import * as nodeTest from 'node:test';
import { findRunner } from '../../lib/testing/test-runner.js';

describe('the runner of the contract suite, where none is given', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.unstubAllEnvs();
  });

  it('is the one with global functions', () => {
    const runner = { describe: () => undefined, it: () => undefined };
    vi.stubGlobal('describe', runner.describe);
    vi.stubGlobal('it', runner.it);
    expect(findRunner()).toEqual(runner);
  });

  it.each([
    ['VITEST', 'vitest'],
    ['JEST_WORKER_ID', '@jest/globals'],
  ])('no other runner takes its place, in silence: %s without globals is an error', (variable, module) => {
    vi.stubEnv('VITEST', '');
    vi.stubEnv(variable, '1');
    expect(findRunner).toThrow(`import { describe, it } from '${module}', and give them to`);
  });

  it('is node:test elsewhere', () => {
    vi.stubEnv('VITEST', '');
    vi.stubEnv('JEST_WORKER_ID', '');
    expect(findRunner().it).toBe(nodeTest.it);
  });
});
