import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionStore, type SessionOptions } from 'nest-sessions';
import { startApp } from '../support/app.js';
import { inLong, isLong } from '../support/long.js';
import { startPgbouncer, type Pgbouncer } from '../support/pgbouncer.js';
import { Browser, ScriptController, type Script } from '../support/scripts.js';
import { seedSessions } from '../support/seed-sessions.js';
import { startPostgresqlServer, type TestServer } from '../support/servers.js';
import { isTested } from '../support/storage-names.js';

const change: Script = session => session.set('count', session.get('count', 0) + 1);
const slowChange: Script = async session => {
  const count = session.get('count', 0);
  await sleep(Math.random() * 10);
  session.set('count', count + 1);
};
const times = <T>(count: number, make: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

// Of the tests in `npm test`, none needs PgBouncer. Few server connections, each for a second: the statements of one client go now to this one, now to that one.
describe.runIf(isLong && isTested('postgresql'))('behind PgBouncer that pools transactions', () => {
  let server: TestServer & { url: string };
  let proxy: Pgbouncer;
  let direct: Client;
  const newTable = () => `sessions_${randomBytes(6).toString('hex')}`;
  const start = (options: SessionOptions & { url?: string; tableName?: string; storageTimeout?: number }) =>
    startApp({
      sessions: { storageType: 'postgresql', url: proxy.url, tableName: newTable(), ...options },
      controllers: [ScriptController],
    });

  beforeAll(async () => {
    server = await startPostgresqlServer(['fsync=off']);
    proxy = await startPgbouncer(server, [
      'default_pool_size = 3',
      'server_lifetime = 1',
      'server_login_retry = 1',
    ]);
    direct = new Client({ connectionString: server.url });
    await direct.connect();
  });
  afterAll(async () => {
    await direct.end();
    await proxy.close();
    await server.close();
  });

  it('ten instances that start at once make one table, without an error', async () => {
    const tableName = newTable();
    const apps = await times(10, () => start({ tableName }));
    const { rows } = await direct.query('SELECT 1 FROM pg_tables WHERE tablename = $1', [tableName]);
    expect(rows).toHaveLength(1);
    await Promise.all(apps.map(app => app.close()));
  });

  it('invariant 1, no lost update: over two instances, while server connections are replaced', async () => {
    const tableName = newTable();
    const apps = await times(2, () => start({ tableName }));
    const id = await apps[0]!.app.get(SessionStore).create({ count: 1 });
    const connections = new Set<number>();
    let count = 1;
    await times(5, async client => {
      const browser = new Browser(apps[client % 2]!.url, id);
      for (let round = 0; round < 30 || connections.size <= 3; round++) {
        await browser.value(slowChange);
        count++;
        (await proxy.command('SHOW SERVERS')).forEach(({ remote_pid }) => connections.add(remote_pid));
      }
      browser.close();
    });
    const { rows } = await direct.query(`SELECT data->>'count' AS count, lock_token FROM ${tableName}`);
    expect(rows).toEqual([{ count: String(count), lock_token: null }]);
    await Promise.all(apps.map(app => app.close()));
  });

  it('prepared statements that a server connection does not know, or knows already, cost no request', async () => {
    const tableName = newTable();
    const clients = inLong(40, 20);
    // Each instance learns anew that its statements are not kept.
    const apps = await times(inLong(10, 4), () => start({ tableName }));
    const store = apps[0]!.app.get(SessionStore);
    const ids = await times(clients, () => store.create({ count: 0 }));
    await times(clients, async client => {
      for (let round = 0; round < 10; round++) {
        const browser = new Browser(apps[(client + round) % apps.length]!.url, ids[client]);
        await browser.value(change);
        browser.close();
      }
    });
    const counts = await times(clients, async client => (await store.get(ids[client]!))!.data);
    expect(counts).toEqual(ids.map(() => ({ count: 10 })));
    await Promise.all(apps.map(app => app.close()));
  });

  it('the sweep removes what has expired, and one instance does it', async () => {
    const tableName = newTable();
    const apps = await times(3, () => start({ tableName }));
    const count = inLong(20_000, 4_000);
    await seedSessions(direct, tableName, count, '{"cart":[]}');
    const removed = await Promise.all(apps.map(({ app }) => app.get(SessionStore).cleanUp()));
    expect(removed.sort((a, b) => a - b)).toEqual([0, 0, count / 2]);
    expect(await apps[0]!.app.get(SessionStore).count()).toBe(count / 2);
    await Promise.all(apps.map(app => app.close()));
  });

  it('200 slow requests at once all finish', async () => {
    const { url, close } = await start({});
    const browsers = Array.from({ length: 200 }, () => new Browser(url));
    const answers = await Promise.all(
      browsers.map(browser =>
        browser.run(async session => {
          session.set('done', true);
          await sleep(100);
        }),
      ),
    );
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
    browsers.forEach(browser => browser.close());
    await close();
  });

  it('invariant 4: while it cannot reach PostgreSQL, 503 with the cookie untouched, then all is as before', async () => {
    const { url, app, close } = await start({ storageTimeout: 2 });
    const id = await app.get(SessionStore).create({ count: 1 });
    const browser = new Browser(url, id);
    await browser.value(change);
    await proxy.command('PAUSE');
    const paused = await browser.run(change);
    expect({ status: paused.status, cookies: paused.setCookies }).toEqual({ status: 503, cookies: [] });
    await proxy.command('RESUME');
    await expect.poll(async () => (await browser.run(change)).status, { timeout: 20_000 }).toBe(200);
    await proxy.command('KILL postgres');
    const killed = await browser.run(change);
    expect({ status: killed.status, cookies: killed.setCookies }).toEqual({ status: 503, cookies: [] });
    await proxy.command('RESUME postgres');
    await expect.poll(async () => (await browser.run(change)).status, { timeout: 20_000 }).toBe(200);
    expect((await app.get(SessionStore).get(id))!.data.count).toBe(4);
    browser.close();
    await close();
  });

  it('a proxy that takes no more clients is a clear error at start-up', async () => {
    const full = await startPgbouncer(server, ['max_client_conn = 1']);
    const first = new Client({ connectionString: full.url });
    await first.connect();
    await expect(start({ url: full.url })).rejects.toThrow(
      /^PostgreSQL cannot be reached: .*no more connections allowed/,
    );
    await first.end();
    await full.close();
  });
});
