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

describe('the lock of the file storage', () => {
  const CASES = [
    ['-DP=2', '-DD=1', '-DHELD', '-DCRASH'],
    ['-DP=3', '-DD=0', '-DCRASH'],
    ...inLong([['-DP=3', '-DD=0', '-DHELD', '-DCRASH']], []),
  ];
  it.each(CASES.map(options => [options.join(' '), options] as const))(
    'invariants 1 and 2 hold, whoever stalls, dies or lapses: %s',
    async (_, options) => {
      const { fault, states } = await check('file-lock.pml', options);
      expect(fault).toBeUndefined();
      expect(states).toBeGreaterThan(100_000);
    },
    300_000,
  );

  it.each([
    [1, 'giving back does not ask whose baton it is'],
    [2, 'a thief does not empty the baton'],
    [3, 'what is saved does not lie in the baton'],
    [4, 'a removal does not take the lock'],
    [5, 'a session is used again that was being removed'],
    [6, 'a holder that removes its session goes on under its own name'],
  ])(
    'mutant %i is refused: %s',
    async mutant => {
      const { fault } = await check('file-lock.pml', [
        '-DP=2',
        '-DD=1',
        `-DMUTANT=${mutant}`,
        ...(mutant === 6 ? ['-DHELD'] : []),
      ]);
      expect(fault).toMatch(/destroyed|record/);
    },
    300_000,
  );
});
