import { describe, expect, it } from 'vitest';
import { recordedSuite } from '../support/recorded-suite.js';
import { admissions } from './mutants/admissions.js';
import { lists } from './mutants/lists.js';
import { locks } from './mutants/locks.js';
import { records } from './mutants/records.js';
import { saves } from './mutants/saves.js';

const MUTANTS = [...saves, ...locks, ...records, ...lists, ...admissions];

describe('the contract suite proves something: it refuses storages that break the contract', () => {
  it.each(MUTANTS)('$breaks', async ({ Backend, refusedBy }) => {
    const tests = recordedSuite(() => new Backend(100_000));
    for (const title of refusedBy) {
      await expect(tests.get(title)!(), title).rejects.toThrow();
    }
  });

  it('each of its tests refuses one', () => {
    const titles = recordedSuite(() => new MUTANTS[0]!.Backend(1)).keys();
    expect(MUTANTS.flatMap(mutant => mutant.refusedBy)).toEqual(expect.arrayContaining([...titles]));
  });
});
