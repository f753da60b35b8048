import { expect, it } from 'vitest';
import { buildPrograms } from '../support/build-programs.js';
import { inLong } from '../support/long.js';
import { STORAGES, type StorageName } from '../support/storage-names.js';
import type { ProfileName } from './calls.js';
import { keepHistories, runChaos } from './run.js';

/** Seconds of a run. In the long proof, a minute in all for each storage. */
const SECONDS = inLong(20, 6);

const RUNS = STORAGES.flatMap(storage =>
  inLong<ProfileName[]>(
    storage === 'memcached' ? ['mixed', 'stalls', 'log-outs'] : ['mixed', 'stalls', 'owners'],
    ['mixed'],
  ).map((profile, index): [StorageName, ProfileName, number] => [storage, profile, index + 1]),
);

it.each(RUNS)('chaos on %s, %s, seed %i: every promise is kept', async (storage, profile, seed) => {
  const options = { storage, profile, seed, seconds: SECONDS };
  const result = await runChaos(options, await buildPrograms());
  const { stories, calls } = result;
  expect(stories, stories.length > 0 ? keepHistories(options, result) : '').toEqual([]);
  expect(calls['200']).toBeGreaterThan(0);
});
