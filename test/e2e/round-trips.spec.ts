import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, SessionStore, type SessionModuleOptions } from 'nest-sessions';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { memcachedCounts, MemcachedProxy } from '../support/memcached-proxy.js';
import { startServer } from '../support/programs.js';
import {
  Browser,
  Gate,
  lockCount,
  ScriptController,
  type Script,
  type ScriptRoute,
} from '../support/scripts.js';
import { RedisMonitor } from '../support/redis-monitor.js';
import {
  startMemcachedServer,
  startPostgresqlServer,
  startRedisServer,
  type TestServer,
} from '../support/servers.js';
import { STATEMENT_LOG_SETTINGS, StatementLog } from '../support/statement-log.js';
import { isTested } from '../support/storage-names.js';
import { until } from '../support/until.js';

const UNKNOWN_ID = 'u'.repeat(43);
const change: Script = session => session.set('count', session.get('count', 0) + 1);
const nothing: Script = session => session.get('count', 0);

interface Request {
  what: string;
  /** Default: of a session that is stored. */
  cookie?: string | null;
  script: Script;
  route?: ScriptRoute;
  /** The statements, each one round trip. */
  postgresql: string[];
  /** What is sent together is one round trip. */
  memcached: string[];
  /** Scripts, each one round trip. Default: as PostgreSQL. */
  redis?: string[];
}

const REQUESTS: Request[] = [
  {
    what: 'that does not touch its session',
    route: 'none',
    script: () => 0,
    postgresql: [],
    memcached: [],
  },
  {
    what: 'without a cookie that stores nothing',
    cookie: null,
    script: nothing,
    postgresql: [],
    memcached: [],
  },
  { what: 'with a malformed id', cookie: 'no id', script: nothing, postgresql: [], memcached: [] },
  {
    what: 'that changes its session',
    script: change,
    postgresql: ['lock', 'saveAndUnlock'],
    memcached: ['add get', 'set', 'delete'],
  },
  {
    what: 'that uses its session and changes nothing',
    script: nothing,
    postgresql: ['lock', 'unlockAndTouch'],
    memcached: ['add get', 'delete set'],
  },
  { what: 'that is readOnly', route: 'read', script: nothing, postgresql: ['read'], memcached: ['get'] },
  {
    what: 'that creates a session',
    cookie: null,
    script: change,
    postgresql: ['create'],
    memcached: ['add'],
  },
  {
    what: 'with an unknown id',
    cookie: UNKNOWN_ID,
    script: nothing,
    postgresql: ['lock', 'lockOrFind'],
    memcached: ['add get', 'delete'],
    redis: ['lock'],
  },
  {
    what: 'with an unknown id that is readOnly',
    cookie: UNKNOWN_ID,
    route: 'read',
    script: nothing,
    postgresql: ['read'],
    memcached: ['get'],
  },
  {
    what: 'with an unknown id that creates a session',
    cookie: UNKNOWN_ID,
    script: change,
    postgresql: ['lock', 'lockOrFind', 'create'],
    memcached: ['add get', 'delete', 'add'],
    redis: ['lock', 'create'],
  },
  {
    what: 'that destroys its session',
    script: session => session.destroy(),
    postgresql: ['lock', 'delete'],
    memcached: ['add get', 'get delete delete'],
  },
  {
    what: 'that regenerates its session, and changes it',
    script: async session => {
      await session.regenerate();
      change(session);
    },
    postgresql: ['lock', 'create', 'delete', 'saveAndUnlock'],
    memcached: ['add get', 'add', 'set', 'delete', 'delete set', 'delete'],
  },
  {
    what: 'that saves in between',
    script: async session => {
      change(session);
      await session.save();
      change(session);
    },
    postgresql: ['lock', 'save', 'saveAndUnlock'],
    memcached: ['add get', 'set set', 'set', 'delete'],
  },
  {
    what: 'with explicit locking that changes its session without the lock',
    route: 'explicit',
    script: change,
    postgresql: ['read', 'lock', 'saveAndUnlock'],
    memcached: ['get', 'add get', 'set', 'delete'],
  },
  {
    what: 'that fails',
    script: session => {
      change(session);
      throw new Error('dropped');
    },
    postgresql: ['lock', 'unlockAndTouch'],
    memcached: ['add get', 'delete set'],
  },
];

/** A storage whose round trips are noted, by names as in REQUESTS. */
interface Watched {
  /** Of the process under test, and of another one. */
  options(application?: string): SessionModuleOptions;
  during(task: () => Promise<unknown>): Promise<string[]>;
  close(): Promise<void>;
}

async function watchPostgresql(): Promise<Watched> {
  const server = await startPostgresqlServer(STATEMENT_LOG_SETTINGS);
  const log = await StatementLog.open(server.url);
  const tableName = `sessions_${randomBytes(6).toString('hex')}`;
  return {
    options: (applicationName = 'nest-sessions') => ({
      storageType: 'postgresql',
      connection: { url: server.url, applicationName },
      tableName,
    }),
    during: task => log.during(task),
    async close() {
      await log.close();
      await server.close();
    },
  };
}

async function watchMemcached(): Promise<Watched> {
  const server: TestServer & { address: string } = await startMemcachedServer();
  const proxy = await MemcachedProxy.start(server.port);
  return {
    options: application => ({
      storageType: 'memcached',
      servers: application ? server.address : proxy.address,
    }),
    during: task => proxy.during(task),
    async close() {
      proxy.close();
      await server.close();
    },
  };
}

/** Other processes come by a Unix socket, so that MONITOR tells them apart. */
async function watchRedis(): Promise<Watched> {
  const socket = join(tmpdir(), `nest-sessions-${randomBytes(6).toString('hex')}.sock`);
  const server = await startRedisServer({ args: ['--unixsocket', socket] });
  const monitor = await RedisMonitor.open(server);
  return {
    options: application => ({ storageType: 'redis', url: application ? `unix:${socket}` : server.url }),
    during: task => monitor.during(task),
    async close() {
      monitor.close();
      await server.close();
    },
  };
}

/** The most tries that a wait can take, by the shortest pauses of the back-off: half of 2 ms, growing to half of 25. */
function mostTries(ms: number): number {
  let tries = 1;
  for (let pause = 2, passed = 0; passed <= ms; pause = Math.min(pause * 1.5, 25)) {
    passed += Math.floor(pause / 2);
    tries++;
  }
  return tries;
}

/** Whether memcached's locks have been freed, which happens behind the answers. */
const isFreed = ({ app }: TestApp): boolean =>
  (app.get<{ locks?: { freeing?: Set<unknown> } }>(SESSION_BACKEND).locks?.freeing?.size ?? 0) === 0;

const count = (trips: string[], what: string) => trips.filter(trip => trip === what).length;

for (const [storage, watch] of [
  ['postgresql', watchPostgresql],
  ['memcached', watchMemcached],
  ['redis', watchRedis],
] as const) {
  describe.runIf(isTested(storage))(`round trips: ${storage}`, () => {
    let watched: Watched;
    beforeAll(async () => {
      watched = await watch();
    });
    afterAll(() => watched.close());

    const start = (adapter: (typeof ADAPTERS)[number]) =>
      startApp({ adapter, sessions: watched.options(), controllers: [ScriptController] });

    describe.each(ADAPTERS)('%s', adapter => {
      let server: TestApp;
      beforeAll(async () => {
        server = await start(adapter);
      });
      afterAll(() => server.close());

      it.each(REQUESTS)('of a request $what', async ({ cookie, script, route, ...request }) => {
        const id = cookie === undefined ? await server.app.get(SessionStore).create({ count: 1 }) : cookie;
        const browser = new Browser(server.url, id ?? undefined);
        const trips = await watched.during(async () => {
          await browser.run(script, route);
          await until(() => lockCount(server) === 0 && isFreed(server)); // what goes on behind the response
        });
        browser.close();
        expect(trips).toEqual(request[storage] ?? request.postgresql);
      });
    });

    describe('waiting', () => {
      let server: TestApp;
      let id: string;
      beforeAll(async () => {
        server = await start('express');
      });
      afterAll(() => server.close());

      /** The first of `requests` holds the session until all others stand in line. */
      async function queue(requests: number, script: Script): Promise<{ trips: string[]; ms: number }> {
        id = await server.app.get(SessionStore).create({ count: 0 });
        const gate = new Gate();
        const { queues } = server.app.get(SessionRuntime, { strict: false }).locks as unknown as {
          queues: Map<string, { waiters: Set<unknown> }>;
        };
        const browsers = Array.from({ length: requests }, () => new Browser(server.url, id));
        const startedAt = Date.now();
        const trips = await watched.during(async () => {
          const all = browsers.map(browser =>
            browser.value(async session => {
              await gate.opened;
              await script(session);
            }),
          );
          await until(() => queues.get(sessionKey(id))?.waiters.size === requests - 1);
          gate.open();
          await Promise.all(all);
          await until(() => isFreed(server));
          await until(() => lockCount(server) === 0);
        });
        browsers.forEach(browser => browser.close());
        return { trips, ms: Date.now() - startedAt };
      }

      const N = 20;
      const { lock, save, saveAndUnlock, renew, unlockAndTouch } = {
        postgresql: {
          lock: 'lock',
          save: 'save',
          saveAndUnlock: 'saveAndUnlock',
          renew: 'renew',
          unlockAndTouch: 'unlockAndTouch',
        },
        memcached: {
          lock: 'add get',
          save: 'set set',
          saveAndUnlock: 'set',
          renew: 'set get',
          unlockAndTouch: 'delete set',
        },
        redis: {
          lock: 'lock',
          save: 'save',
          saveAndUnlock: 'saveAndUnlock',
          renew: 'renew',
          unlockAndTouch: 'unlockAndTouch',
        },
      }[storage];

      it.each([
        ['change it', change, save, saveAndUnlock],
        ['change nothing', nothing, renew, unlockAndTouch],
      ])(
        `${N} requests in line that %s: one each, and one for the lock of all`,
        async (_, script, keep, free) => {
          const { trips: seen, ms } = await queue(N, script);
          // On a busy machine, memcached's lock is freed and taken again in one go.
          const trips = seen.flatMap(trip => (trip === 'delete add get' ? ['delete', 'add get'] : trip));
          // A process that has kept a lock for 200 ms frees it, and takes it again: one more for each such turn.
          const turns = count(trips, free);
          expect(turns).toBeLessThanOrEqual(1 + Math.floor(ms / 200));
          expect(count(trips, lock)).toBe(turns);
          expect(count(trips, keep)).toBe(N - turns);
          // memcached's lock is freed behind the answer.
          const behind = count(trips, 'delete');
          expect(behind).toBe(storage === 'memcached' && script === change ? turns : 0);
          expect(trips).toHaveLength(count(trips, keep) + 2 * turns + behind);
          if (script === nothing) {
            expect(trips).toHaveLength(N + turns);
          }
          expect((await server.app.get(SessionStore).get(id))!.data).toEqual({
            count: script === change ? N : 0,
          });
          console.log(`${storage}: ${N} requests, ${turns} turn(s): ${trips.length} round trips`);
        },
      );

      it('while another process holds the lock: one for each try', async () => {
        id = await server.app.get(SessionStore).create({ count: 0 });
        const other = await startServer('counter-server', {
          SESSION_OPTIONS: JSON.stringify(watched.options('other')),
          WORK_MS: '2000',
        });
        const [first, second] = [new Browser(other.url, id), new Browser(server.url, id)];
        const held = first.get('/count');
        await other.program.waitForLine(/^working$/);
        const startedAt = Date.now();
        const trips = await watched.during(() => second.value(change));
        const ms = Date.now() - startedAt;
        expect((await held).status).toBe(200);
        first.close();
        second.close();
        await other.program.kill();
        if (storage === 'redis') {
          // Once, and again when it is sure to hear of the end; by the net below that, once in these 2 s; when it is woken.
          expect(trips.filter(trip => trip !== 'subscribe').slice(0, -1)).toEqual(
            expect.arrayContaining(['lock', 'lock', 'lock']),
          );
          expect(count(trips, 'lock')).toBeLessThanOrEqual(4);
          expect([count(trips, 'subscribe'), trips.at(-1)]).toEqual([1, saveAndUnlock]);
          return;
        }
        const [firstTry, nextTry] = {
          postgresql: [['lock', 'lockOrFind'], 'lockOrFind'],
          memcached: [['add get', 'get'], 'add get get'],
        }[storage] as [string[], string];
        expect(trips.slice(0, 2)).toEqual(firstTry);
        expect(new Set(trips.slice(2, -1))).toEqual(new Set([nextTry]));
        expect(trips.at(-1)).toBe(saveAndUnlock);
        const tries = trips.length - 2; // the first one takes two, the save is none
        expect(tries).toBeGreaterThan(5);
        expect(tries).toBeLessThanOrEqual(mostTries(ms));
        console.log(`${storage}: ${tries} tries in ${ms} ms of waiting, at most ${mostTries(ms)}`);
      });
    });
  });
}

it.runIf(isTested('redis'))(
  'round trips: redis, with an owner: one more where a session begins, for the hint in the owner’s index; none later',
  async () => {
    const watched = await watchRedis();
    const server = await startApp({ sessions: watched.options(), controllers: [ScriptController] });
    const browser = new Browser(server.url);
    const trips = (script: Script, route?: ScriptRoute) =>
      watched.during(async () => {
        await browser.run(script, route);
        await until(() => lockCount(server) === 0);
      });
    const begin: Script = session => {
      session.owner = 'ann';
      change(session);
    };
    expect(await trips(begin)).toEqual(['hint', 'create']);
    expect(await trips(change)).toEqual(['lock', 'saveAndUnlock']);
    expect(await trips(nothing)).toEqual(['lock', 'unlockAndTouch']);
    expect(await trips(nothing, 'read')).toEqual(['read']);
    browser.close();
    await server.close();
    await watched.close();
  },
);

it.runIf(isTested('memcached'))('memcached counts as many commands as the exchanges hold', async () => {
  const server = await startMemcachedServer();
  const proxy = await MemcachedProxy.start(server.port);
  const sessions: SessionModuleOptions = { storageType: 'memcached', servers: proxy.address };
  const app = await startApp({ sessions, controllers: [ScriptController] });
  const browser = new Browser(app.url);
  const before = await memcachedCounts(server.port);
  const exchanges = await proxy.during(async () => {
    await browser.value(change);
    await browser.value(change);
    await browser.value(nothing, 'read');
    await browser.value(session => session.regenerate());
    await browser.value(session => session.destroy());
    await until(() => lockCount(app) === 0);
  });
  const after = await memcachedCounts(server.port);
  const commands = exchanges.flatMap(exchange => exchange.split(' '));
  expect({
    get: after.get - before.get,
    set: after.set - before.set,
    delete: after.delete - before.delete,
  }).toEqual({
    get: count(commands, 'get'),
    set: count(commands, 'set') + count(commands, 'add'),
    delete: count(commands, 'delete'),
  });
  browser.close();
  await app.close();
  proxy.close();
  await server.close();
});
