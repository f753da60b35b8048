import { setTimeout as sleep } from 'node:timers/promises';
import { Client as PgClient } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { sessionKey } from '../../lib/session/session-id.js';
import { ADAPTERS, type AdapterName } from '../support/app.js';
import { inLong } from '../support/long.js';
import {
  expectForgotten,
  expectHonest,
  expectKept,
  Load,
  LoadClient,
  random,
  type Outage,
} from '../support/outage-load.js';
import { openBackendOf } from '../support/open-backend.js';
import { startServer, type Program } from '../support/programs.js';
import {
  startMemcachedServer,
  startPostgresqlServer,
  startRedisServer,
  type TestServer,
} from '../support/servers.js';
import { isTested } from '../support/storage-names.js';

const ROUNDS = inLong(10, 1);
const CLEAN_EXIT = { code: 0, signal: null };

let server: TestServer | undefined;
afterEach(() => server?.close());

const startApp = (adapter: AdapterName, options: object) =>
  startServer('outage-server', { ADAPTER: adapter, SESSION_OPTIONS: JSON.stringify(options) });

/** Kills the server and starts it again, round after round. */
async function restart(load: Load): Promise<Outage[]> {
  const outages: Outage[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await sleep(random(200, 700));
    const killedAt = Date.now();
    await server!.kill();
    await sleep(random(100, 2000));
    await server!.start();
    const returnedAt = Date.now();
    await load.isBack({ killedAt, returnedAt });
    outages.push({ killedAt, returnedAt });
  }
  await load.stop();
  return outages;
}

/** It has been the same process all the time, and ends as it should. */
async function expectAlive(program: Program): Promise<void> {
  expect(program.process.exitCode).toBeNull();
  expect(await program.kill('SIGTERM')).toEqual(CLEAN_EXIT);
  expect(program.lines).toContain('closed');
}

/** What is stored of the counters is what was acknowledged. */
async function expectAllKept(load: Load): Promise<void> {
  const stored = async (client: LoadClient) => (await client.get('/read')).json().count;
  for (const counter of load.counters) {
    expectKept([counter], await stored(counter));
  }
  expectKept(load.sharers, await stored(load.sharers[0]!));
}

/** How many of these sessions are stored, with a counter of 1. */
async function rowsWithOne(url: string, ids: string[]): Promise<number> {
  const keys = ids.map(sessionKey);
  const client = new PgClient({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(
    `SELECT count(*)::int AS count FROM nest_sessions WHERE key = ANY($1) AND data->>'count' = '1'`,
    [keys],
  );
  await client.end();
  return rows[0].count;
}

/** The same, in Redis. */
async function hashesWithOne(url: string, ids: string[]): Promise<number> {
  const backend = await openBackendOf({ storageType: 'redis', url });
  const records = await Promise.all(ids.map(id => backend.read(sessionKey(id))));
  await backend.close();
  return records.filter(record => record?.data === '{"count":1}').length;
}

/** Of each storage that keeps what it has acknowledged, as it is set here. */
const DURABLE = {
  postgresql: { start: () => startPostgresqlServer(), countStored: rowsWithOne, adapters: ['express'] },
  redis: {
    start: () => startRedisServer({ isDurable: true }),
    countStored: hashesWithOne,
    adapters: ['fastify'],
  },
} as const;

for (const storage of ['postgresql', 'redis'] as const) {
  const { start, countStored, adapters } = DURABLE[storage];
  describe.runIf(isTested(storage)).each(inLong<readonly AdapterName[]>(ADAPTERS, adapters))(
    `${storage} dies ${ROUNDS} times under load: %s`,
    adapter => {
      it('503 until it is back, for 2 s at most; nothing is lost that was acknowledged', async () => {
        const started = await start();
        server = started;
        const { program, url } = await startApp(adapter, { storageType: storage, url: started.url });
        const load = await Load.start(url);
        const outages = await restart(load);

        expectHonest(load.seen, [200, 503]);
        expect(load.seen.filter(({ status }) => status === 503).length).toBeGreaterThan(outages.length);
        await expectAllKept(load);
        const begun = load.beginners.flatMap(({ successes }) => successes).map(({ id }) => id!);
        expect(await countStored(started.url, begun)).toBe(begun.length);
        load.all.forEach(client => client.close());
        await expectAlive(program);
      }, 180_000);
    },
  );
}

describe.runIf(isTested('memcached')).each(inLong<AdapterName[]>(ADAPTERS, ['fastify']))(
  `memcached dies ${ROUNDS} times under load: %s`,
  adapter => {
    const start = async () => {
      const memcached = await startMemcachedServer();
      server = memcached;
      return startApp(adapter, { storageType: 'memcached', servers: memcached.address });
    };

    it('503 until it is back, for 2 s at most; then new sessions, and none of the old', async () => {
      const { program, url } = await start();
      const load = await Load.start(url);
      const outages = await restart(load);

      expectHonest(load.seen, [200, 409, 503]);
      expect(load.seen.filter(({ status }) => status === 503).length).toBeGreaterThan(outages.length);
      // One that was at work when its session was forgotten.
      const forgotten = load.seen.filter(({ status }) => status === 409);
      expect(forgotten.length).toBeLessThanOrEqual(outages.length * load.all.length);
      expectForgotten([...load.counters, ...load.sharers], outages);
      await expectAlive(program);
    }, 180_000);

    it('a request whose session is forgotten while it works gets a 409; the next one, a new session', async () => {
      const { program, url } = await start();
      const client = new LoadClient(url);
      await client.count();
      const working = client.count(1500);
      await sleep(300);
      await server!.kill();
      await server!.start();
      expect(await working).toMatchObject({ status: 409, setCookies: [] });
      expect((await client.count()).json()).toEqual({ count: 1 });
      expect(new Set(client.seen.map(({ id }) => id)).size).toBe(2);
      client.close();
      await expectAlive(program);
    });
  },
);
