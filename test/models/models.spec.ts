import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inLong } from '../support/long.js';
import { spinBinaries } from '../support/server-binaries.js';

const run = promisify(execFile);

let spin: string;
let folder: string;
beforeAll(async () => {
  spin = join(await spinBinaries(), 'spin');
  folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Looks at all that can happen. @returns what is wrong, if anything, and how many states there are */
async function check(
  model: string,
  options: string[],
): Promise<{ fault: string | undefined; states: number }> {
  const path = await mkdtemp(join(folder, 'model-'));
  const at = { cwd: path, maxBuffer: 64 * 1024 * 1024 };
  await run(spin, ['-a', ...options, join(import.meta.dirname, model)], at);
  await run('cc', ['-O2', '-w', '-DSAFETY', '-DCOLLAPSE', '-o', 'pan', 'pan.c'], at);
  // -E: a process that waits for ever is no fault here; the depth is far beyond what is reached.
  const { stdout } = await run('./pan', ['-E', '-n', '-m2000000'], at);
  expect(stdout).not.toMatch(/search depth too small|out of memory/);
  return {
    fault: /assertion violated (.*) \(at/.exec(stdout)?.[1],
    states: Number(/(\d+) states, stored/.exec(stdout)![1]),
  };
}

interface Model {
  what: string;
  file: string;
  /** What holds, and for whom. */
  holds: string;
  cases: string[][];
  /** In the long proof alone. */
  longCases: string[][];
  /** The number, what is wrong, and what it needs besides. */
  mutants: [number, string, string?][];
  optionsOfMutants: string[];
  /** What a mutant is refused for. */
  refusal: RegExp;
}

const MODELS: Model[] = [
  {
    what: 'the lock of the file storage',
    file: 'file-lock.pml',
    holds: 'invariants 1 and 2 hold, whoever stalls, dies or lapses',
    cases: [
      ['-DP=2', '-DD=1', '-DHELD', '-DCRASH'],
      ['-DP=3', '-DD=0', '-DCRASH'],
    ],
    longCases: [['-DP=3', '-DD=0', '-DHELD', '-DCRASH']],
    mutants: [
      [1, 'giving back does not ask whose baton it is'],
      [2, 'a thief does not empty the baton'],
      [3, 'what is saved does not lie in the baton'],
      [4, 'a removal does not take the lock'],
      [5, 'a session is used again that was being removed'],
      [6, 'a holder that removes its session goes on under its own name', '-DHELD'],
    ],
    optionsOfMutants: ['-DP=2', '-DD=1'],
    refusal: /destroyed|record/,
  },
  {
    what: 'a session in memcached',
    file: 'memcached.pml',
    holds: 'invariants 1 and 2 hold, and a touch costs nobody a 503, whoever stalls or lapses',
    cases: [
      ['-DW=3', '-DT=1'],
      ['-DW=2', '-DT=2', '-DD=1'],
      ['-DW=2', '-DT=1', '-DD=1', '-DLATE'],
    ],
    longCases: [['-DW=3', '-DT=1', '-DLATE']],
    mutants: [
      [1, 'the lock is freed in the same flight as the save'],
      [2, 'a second try does not ask for the version'],
      [3, 'a renewal takes over a changed version'],
      [4, 'who takes over a lapsed lock leaves the version as it is'],
    ],
    optionsOfMutants: ['-DW=2', '-DT=1'],
    refusal: /data|hasLapsed/,
  },
  {
    what: 'the lock that is handed on inside of a process',
    file: 'hand-over.pml',
    holds: 'invariants 1, 2 and 12 hold, and no lock is left, whatever answers are lost, late or refused',
    cases: [
      ['-DK=2', '-DD=0'],
      ['-DK=2', '-DD=1'],
    ],
    longCases: [['-DK=3', '-DD=0', '-DTROUBLES=1']],
    mutants: [
      [1, 'the lock is handed on before its save is stored'],
      [2, 'a lost answer is taken for a refusal'],
      [3, 'a lock is handed on unsaved without asking the storage'],
      [4, 'a lock is given back once alone'],
    ],
    optionsOfMutants: ['-DK=2', '-DD=1'],
    refusal: /everStored|wasAcknowledged|holder/,
  },
];

describe.each(MODELS)('$what', model => {
  it.each(
    [...model.cases, ...inLong(model.longCases, [])].map(options => [options.join(' '), options] as const),
  )(
    `${model.holds}: %s`,
    async (_, options) => {
      const { fault, states } = await check(model.file, options);
      expect(fault).toBeUndefined();
      expect(states).toBeGreaterThan(100_000);
    },
    900_000,
  );

  it.each(model.mutants)(
    'mutant %i is refused: %s',
    async (mutant, _, ...more) => {
      const { fault } = await check(model.file, [
        ...model.optionsOfMutants,
        `-DMUTANT=${mutant}`,
        ...more.filter(option => option !== undefined),
      ]);
      expect(fault).toMatch(model.refusal);
    },
    300_000,
  );
});
