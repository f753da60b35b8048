import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StorageName } from '../support/storage-names.js';
import { PROFILES, type Profile, type ProfileName } from './calls.js';
import { ChaosClient } from './client.js';
import { Troublemaker } from './faults.js';
import { Finale } from './finale.js';
import { Population } from './population.js';
import { Random } from './random.js';
import { tellStory } from './story.js';
import { World } from './world.js';

/** Milliseconds of a late timer from which on the machine itself counts as a trouble. */
const MACHINE_STALL = 300;
const TROUBLEMAKERS = 2;
/** Milliseconds between two looks at sessions in use. */
const CHECK_EVERY = 3000;
/** Seconds from which on a run shows whether the heap is flat. */
const LONG_ENOUGH = 60;

export interface ChaosOptions {
  storage: StorageName;
  seed: number;
  seconds: number;
  /** Default 'mixed'. */
  profile?: ProfileName | undefined;
  /** Default 24. */
  clients?: number | undefined;
  /** Where the file storage makes its folder. Default: that of temporary files. */
  folder?: string | undefined;
}

export interface ChaosResult {
  /** What was broken, told shortly. */
  stories: string[];
  /** The sessions of the stories, whole. */
  histories: unknown[];
  calls: Record<string, number>;
  troubles: Record<string, number>;
  sessions: number;
}

/**
 * One run: clients, troubles, and the checks of what they saw. It ends at the first problem.
 * @param programs the folder of the compiled programs
 */
export async function runChaos(options: ChaosOptions, programs: string): Promise<ChaosResult> {
  const { storage, seed, folder, profile = 'mixed' } = options;
  const world = await World.start(storage, programs, seed, PROFILES[profile].pause === undefined, folder);
  try {
    return await new ChaosRun(options, world).run();
  } finally {
    await world.close();
  }
}

/** Writes what was broken to a file of its own. @returns its path */
export function keepHistories(options: ChaosOptions, { stories, histories }: ChaosResult): string {
  const folder = mkdtempSync(join(tmpdir(), 'nest-sessions-chaos-'));
  const file = join(folder, `${options.storage}-${options.seed}.json`);
  writeFileSync(file, JSON.stringify({ options, stories, histories }, undefined, 2));
  return file;
}

class ChaosRun {
  private readonly profile: Profile;
  private readonly population: Population;
  private readonly made = new Map<string, number>();

  constructor(
    private readonly options: ChaosOptions,
    private readonly world: World,
  ) {
    this.profile = PROFILES[options.profile ?? 'mixed'];
    this.population = new Population(this.profile.sessions, world.troubles);
  }

  async run(): Promise<ChaosResult> {
    const { world, population, profile } = this;
    const { seed, seconds, clients: count = 24 } = this.options;
    const finale = new Finale(
      world,
      population,
      new ChaosClient(count, world, population, profile, new Random(seed, 'finale')),
    );
    const stopWatching = this.watchMachine();
    const clients = Array.from(
      { length: count },
      (_, index) => new ChaosClient(index, world, population, profile, new Random(seed, `client ${index}`)),
    );
    const working = clients.map(client => client.run());

    const calmMs = Math.min(5000, seconds * 100);
    await this.pass(calmMs);
    const busy = new Set<unknown>();
    const troublemakers = Array.from({ length: profile.pause ? TROUBLEMAKERS : 0 }, (_, index) => {
      const random = new Random(seed, `troublemaker ${index}`);
      return new Troublemaker(world, population, profile, random, this.made, busy);
    });
    const troubling = troublemakers.map(troublemaker => troublemaker.run());
    await this.pass(seconds * 300);
    await finale.noteStates();
    await this.pass(seconds * 1000 - calmMs - seconds * 300);
    troublemakers.forEach(troublemaker => (troublemaker.isOver = true));
    await Promise.all(troubling);
    clients.forEach(client => (client.isOver = true));

    await finale.usable();
    await Promise.all(working);
    await finale.unlocked();
    await finale.ownerless(profile);
    await finale.flat(seconds >= LONG_ENOUGH);
    await finale.ended();
    stopWatching();
    population.checkAll();
    return this.result(finale.failures);
  }

  /** Time goes by, until something is found broken. */
  private async pass(ms: number): Promise<void> {
    const { population, world } = this;
    const isBroken = () => population.problems.length > 0 || world.servers.some(({ crash }) => crash);
    for (const end = world.now() + ms; world.now() < end && !isBroken();) {
      await sleep(Math.min(CHECK_EVERY, Math.max(0, end - world.now())));
      population.checkLiving();
    }
  }

  /** Where the machine stops this process for a while, it stops the others, too. */
  private watchMachine(): () => void {
    const { world } = this;
    let last = world.now();
    const timer = setInterval(() => {
      const now = world.now();
      if (now - last > MACHINE_STALL) {
        world.troubles.push({ name: 'the machine is busy', at: last, doneAt: now });
      }
      last = now;
    }, 50);
    return () => clearInterval(timer);
  }

  private result(failures: string[]): ChaosResult {
    const { population, world } = this;
    const stories = population.problems.map(({ problem, session }) =>
      tellStory(problem, session, world.troubles),
    );
    return {
      stories: [...stories, ...failures],
      histories: [...new Set(population.problems.map(({ session }) => session))],
      calls: Object.fromEntries([...population.counts].sort()),
      troubles: Object.fromEntries([...this.made].sort()),
      sessions: population.total,
    };
  }
}
