import { setTimeout as sleep } from 'node:timers/promises';
import { hasOwners, type Profile } from './calls.js';
import type { ChaosClient } from './client.js';
import type { ChaosSession, Population } from './population.js';
import type { ServerProcess } from './server-process.js';
import type { World } from './world.js';

/** Milliseconds after `leaseTime` within which each session is usable once all troubles are over. */
const USABLE_WITHIN = 2000;
/** Milliseconds that a call takes where nobody has the lock. */
const UNLOCKED = 1000;
/** Milliseconds for what goes on behind the answers. */
const SETTLED_WITHIN = 5000;
const MAX_GROWTH = 12_000_000;
/** Connections of clients and of a pool come as they are needed; what leaks by the request is more. */
const MAX_MORE_HANDLES = 50;

/** What a process had in hand at some moment. */
interface State {
  starts: number;
  heapBytes: number;
  handles: number;
}

/** What must hold of the processes once all is over; each is one line about what does not. */
export class Finale {
  readonly failures: string[] = [];
  private states = new Map<ServerProcess, State>();

  constructor(
    private readonly world: World,
    private readonly population: Population,
    private readonly client: ChaosClient,
  ) {}

  /** In the middle of the run: what there is at the end is compared with it. */
  async noteStates(): Promise<void> {
    await Promise.all(
      this.world.servers.map(async server => {
        const { starts } = server;
        const state = await server.command('state').catch(() => undefined);
        if (state && server.starts === starts) {
          this.states.set(server, { ...state, starts });
        }
      }),
    );
  }

  /** All troubles are over, and the clients have just stopped sending. */
  async usable(): Promise<void> {
    const limit = this.world.now() + this.world.leaseTime * 1000 + USABLE_WITHIN;
    await Promise.all(this.population.living.map(session => this.useBy(session, limit)));
  }

  /** All calls are done. Another server than that of the last call must get each lock at once. */
  async unlocked(): Promise<void> {
    await sleep(100); // locks are freed behind the answers
    const { servers } = this.world;
    await Promise.all(
      this.population.living.map(async session => {
        const last = session.calls.at(-1)!.server;
        const { status, at, doneAt } = await this.client.call(
          session,
          'set',
          servers[(last + 1) % servers.length]!,
        );
        if (status !== 200 || doneAt - at > UNLOCKED) {
          this.failures.push(
            `a lock is left: session ${session.name} was ${status} after ${Math.round(doneAt - at)} ms`,
          );
        }
      }),
    );
  }

  /** After `destroyByOwner`, with nobody at work, no session is left. */
  async ownerless({ owners }: Profile): Promise<void> {
    if (!hasOwners(this.world.storage)) {
      return;
    }
    const [server] = this.world.servers;
    for (let index = 1; index <= owners; index++) {
      const order = { tokens: [], workMs: 0, owner: `owner${index}` };
      const call = await this.client.destroyByOwner(server!, order.owner, false);
      const { left } = (await server!.post('owned', order)).json();
      if (call.status !== 200 || left !== 0) {
        this.failures.push(`destroyByOwner was ${call.status}, and left ${left} sessions of ${order.owner}`);
      }
    }
  }

  async flat(isLongEnough: boolean): Promise<void> {
    for (const server of this.world.servers.filter(({ crash }) => !crash)) {
      const state = await this.settledState(server);
      if (state.locks > 0) {
        this.failures.push(`server ${server.index} has ${state.locks} locks in hand, though all is done`);
      }
      const before = this.states.get(server);
      if (!isLongEnough || before?.starts !== server.starts) {
        continue;
      }
      if (state.heapBytes > before.heapBytes + MAX_GROWTH) {
        this.failures.push(
          `the heap of server ${server.index} grew from ${before.heapBytes} to ${state.heapBytes}`,
        );
      }
      if (state.handles > before.handles + MAX_MORE_HANDLES) {
        this.failures.push(
          `server ${server.index} has ${state.handles} handles in place of ${before.handles}`,
        );
      }
    }
  }

  /** No process ended by itself, and each ends when it is asked to. */
  async ended(): Promise<void> {
    for (const server of this.world.servers) {
      const exit = await Promise.race([server.close(), sleep(20_000, 'never', { ref: false })]);
      if (exit !== '0') {
        this.failures.push(`server ${server.index} was asked to end, and ended with: ${exit}`);
      }
      if (server.crash) {
        this.failures.push(`server ${server.index} crashed: ${server.crash}`);
      }
    }
  }

  private async useBy(session: ChaosSession, limit: number): Promise<void> {
    for (let turn = session.calls.length; ; turn++) {
      const { servers } = this.world;
      const call = await this.client.call(session, 'set', servers[turn % servers.length]!);
      if (call.status === 200 && (call.found || session.isEnded)) {
        if (call.doneAt > limit) {
          this.failures.push(
            `session ${session.name} was usable ${Math.round(call.doneAt - limit)} ms too late`,
          );
        }
        return;
      }
      if (call.doneAt > limit + 10_000) {
        this.failures.push(`session ${session.name} is not usable: ${call.status} ${call.text ?? ''}`);
        return;
      }
      await sleep(50);
    }
  }

  /** With no locks in hand, or as it is when these do not go. */
  private async settledState(server: ServerProcess): Promise<State & { locks: number }> {
    for (const end = this.world.now() + SETTLED_WITHIN; ;) {
      const state = await server.command('state');
      if (state.locks === 0 || this.world.now() > end) {
        return state;
      }
      await sleep(50);
    }
  }
}
