import { setTimeout as sleep } from 'node:timers/promises';
import { DISK_TROUBLES } from '../support/disk-troubles.js';
import type { StorageName } from '../support/storage-names.js';
import type { Profile } from './calls.js';
import type { Population } from './population.js';
import type { Random } from './random.js';
import type { ServerProcess } from './server-process.js';
import type { World } from './world.js';

type FaultName =
  | 'kill'
  | 'stop'
  | 'block'
  | 'clock'
  | 'full disk'
  | 'slow network'
  | 'shaky network'
  | 'reset network'
  | 'half-open network'
  | 'stop storage'
  | 'kill storage';

const OF_PROCESSES: Partial<Record<FaultName, number>> = { kill: 2, stop: 3, block: 3, clock: 2 };
const OF_NETWORKS: Partial<Record<FaultName, number>> = {
  'slow network': 3,
  'shaky network': 2,
  'reset network': 3,
  'half-open network': 4,
};
const OF_SERVERS: Partial<Record<FaultName, number>> = { 'stop storage': 1.5, 'kill storage': 0.5 };

/** What can happen on each storage: a process that keeps its sessions in RAM must live. */
const FAULTS: Record<StorageName, Partial<Record<FaultName, number>>> = {
  ram: { block: 3, clock: 2 },
  file: { ...OF_PROCESSES, 'full disk': 2 },
  postgresql: { ...OF_PROCESSES, ...OF_NETWORKS, ...OF_SERVERS },
  memcached: { ...OF_PROCESSES, ...OF_NETWORKS, ...OF_SERVERS },
  redis: { ...OF_PROCESSES, ...OF_NETWORKS, ...OF_SERVERS },
};

/** Milliseconds between two cuts of a shaky network. */
const CUT_EVERY = 350;

/** For one process, as its limit of a file's size: what it writes fails. */
const FULL_DISK = DISK_TROUBLES.find(({ name }) => name === 'a disk that takes no more bytes')!;

const LIKELY: Record<NonNullable<Profile['likely']>, FaultName[]> = {
  stalls: ['stop', 'block', 'half-open network', 'stop storage'],
  networks: ['slow network', 'shaky network', 'reset network', 'half-open network'],
};

/**
 * Milliseconds that a clock is set by. memcached times locks by the clocks of hosts, which must be in step to well within
 * `leaseTime`, as docs/storages.md says.
 */
const CLOCK_STEP: Record<StorageName, number> = {
  ram: 60_000,
  file: 60_000,
  postgresql: 60_000,
  memcached: 900,
  redis: 60_000,
};

/** Makes one trouble after the other, drawn from a seed. Several work side by side. */
export class Troublemaker {
  isOver = false;

  /**
   * @param counts of the troubles that were made
   * @param busy what is in trouble already, by whichever troublemaker
   */
  constructor(
    private readonly world: World,
    private readonly population: Population,
    private readonly profile: Profile,
    private readonly random: Random,
    private readonly counts: Map<string, number>,
    private readonly busy: Set<unknown>,
  ) {}

  async run(): Promise<void> {
    const [from, to] = this.profile.pause!;
    while (!this.isOver) {
      await sleep(this.random.between(from, to));
      if (!this.isOver) {
        await this.step();
      }
    }
  }

  /** What it draws does not depend on what happened, so that a seed replays it. */
  private async step(): Promise<void> {
    const { random, world, busy } = this;
    const name = random.weighted(this.weights());
    const server = world.servers[random.between(0, world.servers.length - 1)]!;
    const ms = random.between(200, random.chance(0.5) ? 1500 : 4500);
    const share = random.next();
    const target = name.endsWith('storage') ? 'storage' : server;
    if (busy.has(target)) {
      return;
    }
    busy.add(target);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    try {
      const index = target === server ? server.index : undefined;
      await world.trouble(name, index, () => this.make(name, server, ms, share));
    } catch (error) {
      if (!server.crash) {
        throw error; // or it is told in the end
      }
    } finally {
      busy.delete(target);
    }
  }

  private weights(): Partial<Record<FaultName, number>> {
    const all = Object.entries(FAULTS[this.world.storage]) as [FaultName, number][];
    const chosen = all.filter(([name]) => name !== 'full disk' || !FULL_DISK.impossible);
    const { likely } = this.profile;
    const isLikely = (name: FaultName) => likely && LIKELY[likely].includes(name);
    return Object.fromEntries(chosen.map(([name, weight]) => [name, isLikely(name) ? 5 * weight : weight]));
  }

  private async make(name: FaultName, server: ServerProcess, ms: number, share: number): Promise<void> {
    const { world, population } = this;
    const proxy = world.proxies[server.index]!;
    const storage = world.storageServer!;
    switch (name) {
      case 'kill':
        await server.kill();
        await sleep(share * 1500);
        return server.restart();
      case 'stop':
        server.signal('SIGSTOP');
        await sleep(ms);
        return server.signal('SIGCONT');
      case 'block':
        return server.command('block', { ms });
      case 'clock': {
        const step = (share < 0.5 ? -1 : 1) * CLOCK_STEP[world.storage] * Math.abs(2 * share - 1);
        await server.command('clock', { ms: Math.round(step) });
        await sleep(ms);
        return server.command('clock', { ms: 0 });
      }
      case 'full disk': {
        const disk = { path: '', pid: server.pid };
        await FULL_DISK.begin(disk);
        await sleep(ms);
        return FULL_DISK.end(disk);
      }
      case 'slow network':
        proxy.delayMs = Math.ceil(share * 150);
        await sleep(ms);
        proxy.delayMs = 0;
        return;
      case 'shaky network':
        for (let cut = 0; cut <= ms / (2 * CUT_EVERY); cut++) {
          proxy.delayMs = Math.ceil(share * 40);
          await sleep(CUT_EVERY);
          proxy.delayMs = 0;
          proxy.reset(); // with requests and answers on their way
          await sleep(CUT_EVERY);
        }
        return;
      case 'reset network':
        proxy.reset();
        await sleep(share * 300);
        return proxy.reset();
      case 'half-open network':
        proxy.hold(share < 0.5 ? 'answers' : share < 0.8 ? 'requests' : 'both');
        await sleep(ms);
        if ((share * 10) % 1 < 0.3) {
          proxy.reset();
        }
        return proxy.letGo();
      case 'stop storage':
        await storage.signal('SIGSTOP');
        await sleep(ms);
        return storage.signal('SIGCONT');
      case 'kill storage': {
        const restart = async () => {
          await storage.kill();
          await sleep(share * 1000);
          await storage.start();
        };
        return world.storage === 'memcached' ? population.forget(world.now, restart) : restart();
      }
    }
  }
}
