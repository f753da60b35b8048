import { setTimeout as sleep } from 'node:timers/promises';
import { Client as PgClient } from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import type { AdapterName } from '../support/app.js';
import { inLong, isLong } from '../support/long.js';
import { expectHonest, expectKept, Load, LoadClient, type Outage } from '../support/outage-load.js';
import { startProgram, startServer } from '../support/programs.js';
import {
  memcachedStats,
  startMemcachedServer,
  startPostgresqlServer,
  startRedisServer,
  type TestServer,
} from '../support/servers.js';
import { redisCommand } from '../support/redis-cluster.js';
import { isTested } from '../support/storage-names.js';
import { TcpProxy } from '../support/tcp-proxy.js';

/** Milliseconds: storageTimeout here, and what a request may take beyond it, on a busy machine. */
const TIMEOUT = 1000;
const SLACK = 1000;
const HANGS = inLong(3, 1);
const POOL = 10;
const CLEAN_EXIT = { code: 0, signal: null };

type Storage = 'postgresql' | 'memcached' | 'redis';
const ALL_CASES: [Storage, AdapterName][] = [
  ['postgresql', 'fastify'],
  ['memcached', 'express'],
  ['redis', 'fastify'],
  ...inLong<[Storage, AdapterName][]>(
    [
      ['postgresql', 'express'],
      ['memcached', 'fastify'],
      ['redis', 'express'],
    ],
    [],
  ),
];
const CASES = ALL_CASES.filter(([storage]) => isTested(storage));

let server: TestServer | undefined;
let proxy: TcpProxy | undefined;
afterEach(async () => {
  proxy?.close();
  await server?.close();
});

const START: Record<Storage, () => Promise<TestServer>> = {
  postgresql: startPostgresqlServer,
  memcached: startMemcachedServer,
  redis: () => startRedisServer({ isDurable: true }),
};
const startStorage = async (storage: Storage): Promise<TestServer> => (server = await START[storage]());

const postgresUrl = (port = server!.port) => `postgres://test@127.0.0.1:${port}/postgres`;

const envFor = (storageType: Storage, port = server!.port) => ({
  SESSION_OPTIONS: JSON.stringify({
    storageType,
    storageTimeout: TIMEOUT / 1000,
    ...{
      postgresql: { url: postgresUrl(port) },
      memcached: { servers: `127.0.0.1:${port}` },
      redis: { url: `redis://127.0.0.1:${port}` },
    }[storageType],
  }),
});

/** The connections that the storage's server has to the application. */
async function connections(storage: Storage): Promise<number> {
  if (storage === 'memcached') {
    const lines = await memcachedStats(server!.port);
    return Number(lines.match(/curr_connections (\d+)/)![1]);
  }
  if (storage === 'redis') {
    const url = `redis://127.0.0.1:${server!.port}`;
    const list = String(await redisCommand({ url }, 'CLIENT', 'LIST'));
    return list.split('\n').filter(line => line.includes('name=nest-sessions')).length;
  }
  const client = new PgClient({ connectionString: postgresUrl() });
  await client.connect();
  const { rows } = await client.query(
    `SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = 'nest-sessions'`,
  );
  await client.end();
  return rows[0].count;
}

describe.each(CASES)(`%s hangs ${HANGS} times under load: %s`, (storage, adapter) => {
  it('503 within storageTimeout; back within 2 s; nothing lost, locked or leaked', async () => {
    await startStorage(storage);
    const { program, url } = await startServer('outage-server', { ADAPTER: adapter, ...envFor(storage) });
    const load = await Load.start(url);
    const before = await connections(storage);
    for (let round = 0; round < HANGS; round++) {
      await sleep(500);
      const hang = await hangFor(3 * TIMEOUT);
      expectInTime(load, hang);
      await load.isBack(hang);
    }
    // Then it dies of it.
    const killedAt = Date.now();
    await server!.signal('SIGSTOP');
    await sleep(1.5 * TIMEOUT);
    await server!.kill('SIGKILL');
    await server!.start();
    await load.isBack({ killedAt, returnedAt: Date.now() });
    await load.stop();

    expectHonest(load.seen, storage === 'memcached' ? [200, 409, 503] : [200, 503]);
    if (storage !== 'memcached') {
      const stored = async (client: LoadClient) => (await client.get('/read')).json().count;
      for (const counter of load.counters) {
        expectKept([counter], await stored(counter));
      }
      expectKept(load.sharers, await stored(load.sharers[0]!));
      load.all.forEach(client => client.close());
    }
    await expect.poll(() => connections(storage)).toBeLessThanOrEqual(Math.max(before, POOL));
    expect(program.process.exitCode).toBeNull();
    expect(await program.kill('SIGTERM')).toEqual(CLEAN_EXIT);
  }, 180_000);
});

async function hangFor(ms: number): Promise<Outage> {
  const killedAt = Date.now();
  await server!.signal('SIGSTOP');
  await sleep(ms);
  await server!.signal('SIGCONT');
  return { killedAt, returnedAt: Date.now() };
}

/** None waited longer than the limit, whether it was under way already or came while the server hung. */
function expectInTime(load: Load, { killedAt, returnedAt }: Outage): void {
  const hit = load.seen.filter(
    ({ status, sentAt, doneAt }) => status !== 200 && doneAt > killedAt && sentAt < returnedAt,
  );
  expect(hit.length).toBeGreaterThanOrEqual(load.all.length);
  const took = hit.map(({ sentAt, doneAt, work }) => doneAt - Math.max(sentAt, killedAt) - work);
  expect(Math.max(...took)).toBeLessThanOrEqual(TIMEOUT + SLACK);
}

describe.each(
  inLong<Storage[]>(['postgresql', 'memcached', 'redis'], ['memcached', 'redis']).filter(isTested),
)('%s does not answer', storage => {
  it('the start ends with an error that says so: hanging, taking connections only, and refusing them', async () => {
    const { port } = await startStorage(storage);
    proxy = await TcpProxy.start(port);
    proxy.mode = 'hold';
    const limit = new RegExp(`did not answer within ${TIMEOUT} ms|connection timeout`);
    await expectNoStart(envFor(storage, proxy.port), limit);
    await server!.signal('SIGSTOP');
    await expectNoStart(envFor(storage), limit);
    await server!.kill();
    await expectNoStart(envFor(storage), /cannot be reached: .*ECONNREFUSED/);
  });

  it('SIGTERM ends the application while the server hangs, and while it is down', async () => {
    await startStorage(storage);
    for (const stop of [() => server!.signal('SIGSTOP'), () => server!.kill()]) {
      const { program, url } = await startServer('outage-server', envFor(storage));
      const client = new LoadClient(url);
      await client.count();
      await stop();
      const [answer, exit] = await Promise.all([
        client.count().finally(() => client.close()), // or its idle connection keeps the HTTP server up
        sleep(100).then(() => program.kill('SIGTERM')),
      ]);
      expect(answer.status).toBe(503);
      expect(exit).toEqual(CLEAN_EXIT);
      expect(Date.now() - client.seen.at(-1)!.doneAt).toBeLessThanOrEqual(TIMEOUT + SLACK);
      await server!.signal('SIGCONT');
    }
  });

  it('connections that went dead silently are replaced; a broken answer fails its request alone', async () => {
    const { port } = await startStorage(storage);
    proxy = await TcpProxy.start(port);
    const { program, url } = await startServer('outage-server', envFor(storage, proxy.port));
    const clients = Array.from({ length: 5 }, () => new LoadClient(url));
    const countAll = async () => {
      const answers = await Promise.all(clients.map(client => client.count()));
      return answers.map(({ status }) => status);
    };
    const all = (status: number) => clients.map(() => status);
    expect(await countAll()).toEqual(all(200));
    proxy.mode = 'hold';
    expect(await countAll()).toEqual(all(503));
    proxy.mode = 'pass';
    await expect.poll(countAll, { timeout: 2000 }).toEqual(all(200));
    proxy.mode = 'cut';
    const statuses = await countAll();
    expect([200, 503]).toEqual(expect.arrayContaining(statuses));
    expect(statuses).toContain(503);
    await expect.poll(countAll, { timeout: 2000 }).toEqual(all(200));
    for (const client of clients) {
      expectKept([client], (await client.get('/read')).json().count);
      client.close();
    }
    // Redis has one more where a request has waited for a lock, as those do whose answer was broken.
    expect(proxy.connections).toBeLessThanOrEqual({ postgresql: POOL, memcached: 1, redis: 2 }[storage]);
    expect(await program.kill('SIGTERM')).toEqual(CLEAN_EXIT);
  });
});

/** A database that answers, but not to what the start needs. */
it.runIf(isLong && isTested('postgresql'))(
  'the start ends with an error if a sessions table that it has to alter stays locked: own url and own DataSource',
  async () => {
    await startStorage('postgresql');
    const { program } = await startServer('outage-server', envFor('postgresql'));
    await program.kill('SIGTERM');
    const client = new PgClient({ connectionString: postgresUrl() });
    await client.connect();
    await client.query('ALTER TABLE nest_sessions DROP COLUMN format'); // one of an older version, which the start alters
    await client.query('BEGIN; LOCK TABLE nest_sessions IN ACCESS EXCLUSIVE MODE');
    const limit = new RegExp(`PostgreSQL did not answer within ${TIMEOUT} ms`);
    await expectNoStart(envFor('postgresql'), limit);
    const env = {
      SESSION_OPTIONS: JSON.stringify({ storageTimeout: TIMEOUT / 1000 }),
      DATA_SOURCE: postgresUrl(),
    };
    await expectNoStart(env, limit);
    await client.end();
  },
);

async function expectNoStart(env: Record<string, string>, error: RegExp): Promise<void> {
  const program = await startProgram('outage-server', env);
  const { code } = await program.exited;
  expect(code).not.toBe(0);
  expect(program.stderr).toMatch(error);
}
