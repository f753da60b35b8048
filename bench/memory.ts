import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sessionKey } from '../lib/session/session-id.js';
import { RamBackend } from '../lib/storage/ram/ram.backend.js';
import { makeCart, makeUser, SIZES } from './data.js';
import { Table } from './results.js';

/**
 * The heap that a session of 1 KiB takes in RAM, and how long a sweep of this package holds the event loop up.
 * Each store is measured in a process of its own.
 */
const SESSIONS = Number(process.env.SESSIONS ?? 1_000_000);
const HOUR = 3_600_000;
const STORES = ['nest-sessions', 'express-session MemoryStore', 'memorystore'];

const [, , name] = process.argv;
if (name === undefined || name === '--save') {
  const table = new Table('Memory');
  table.add('store', `bytes of heap a session, of ${SESSIONS}`, 'longest stall of the event loop in a sweep');
  for (const store of STORES) {
    const flags = ['--expose-gc', '--max-old-space-size=12288'];
    const args = [...flags, fileURLToPath(import.meta.url), store];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    table.add(...(JSON.parse(stdout) as string[]));
  }
  table.end();
} else {
  const before = heap();
  const { add, sweep } = makeStore(name);
  for (let index = 0; index < SESSIONS; index++) {
    await add(index);
  }
  const bytes = Math.round((heap() - before) / SESSIONS);
  await add(SESSIONS); // a store that nothing uses any more would have been collected
  const stall = sweep && `${(await longestStall(sweep)).toFixed(0)} ms`;
  process.stdout.write(JSON.stringify([name, bytes, stall ?? '']));
  process.exit();
}

function heap(): number {
  globalThis.gc!();
  globalThis.gc!();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

interface Store {
  add(index: number): Promise<void> | void;
  /** Every other session has expired. */
  sweep?(): Promise<unknown>;
}

function makeStore(store: string): Store {
  const data = (index: number) => ({ user: makeUser(), cart: makeCart(SIZES['1 KiB']), visits: index });
  if (store === STORES[0]) {
    const backend = new RamBackend(SESSIONS);
    return {
      async add(index) {
        const key = sessionKey(`session ${index}`);
        await backend.create(key, { data: JSON.stringify(data(index)), ttl: index % 2 ? HOUR : 1 });
      },
      sweep: () => backend.cleanUp(),
    };
  }
  const requirePeer = createRequire(new URL('../../peers/package.json', import.meta.url));
  const session = requirePeer('express-session');
  const peer =
    store === 'memorystore'
      ? new (requirePeer(store)(session))({ checkPeriod: HOUR })
      : new session.MemoryStore();
  const cookie = { originalMaxAge: HOUR, expires: new Date(Date.now() + HOUR), httpOnly: true, path: '/' };
  return {
    // The ids are as long as those that express-session makes.
    add: index => peer.set(String(index).padStart(32, 'x'), { cookie, ...data(index) }),
  };
}

async function longestStall(work: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await new Promise(resolve => setTimeout(resolve, 100));
  delay.reset();
  await work();
  await new Promise(resolve => setTimeout(resolve, 20));
  return delay.max / 1e6;
}
