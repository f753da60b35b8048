import { randomBytes } from 'node:crypto';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionStore } from 'nest-sessions';
import { AddSessionColumns, CreateSessionsTable, SessionEntity } from '../../lib/postgresql.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { startApp } from '../support/app.js';
import { Browser, Gate, ScriptController } from '../support/scripts.js';
import { postgresqlUrl } from '../support/shared-servers.js';
import { isTested, type AnyOptions } from '../support/storages.js';

describe.runIf(isTested('postgresql'))('postgresql', () => {
  let url: string;
  let dataSource: DataSource;
  const newTable = () => `sessions_${randomBytes(6).toString('hex')}`;
  const start = (options: AnyOptions) =>
    startApp({ sessions: { storageType: 'postgresql', ...options }, controllers: [ScriptController] });

  beforeAll(async () => {
    url = await postgresqlUrl();
    dataSource = await new DataSource({
      type: 'postgres',
      url,
      entities: [SessionEntity],
      migrations: [CreateSessionsTable],
    }).initialize();
  });
  afterAll(() => dataSource.destroy());

  it('ten instances that start at once on an empty database make one table, without an error', async () => {
    const tableName = newTable();
    const apps = await Promise.all(Array.from({ length: 10 }, () => start({ url, tableName })));
    const tables = await dataSource.query('SELECT 1 FROM pg_tables WHERE tablename = $1', [tableName]);
    expect(tables).toHaveLength(1);
    await Promise.all(apps.map(app => app.close()));
  });

  it('a table of a wrong shape, or none, is a clear error at start-up', async () => {
    const tableName = newTable();
    await dataSource.query(`CREATE TABLE ${tableName} (key text PRIMARY KEY, data bytea)`);
    await expect(start({ url, tableName })).rejects.toThrow(
      /data is bytea, not json; .*expires_at is missing, not timestamp with time zone/s,
    );
    await expect(start({ url, tableName: newTable(), createTable: false })).rejects.toThrow(
      /does not exist; run the migration CreateSessionsTable/,
    );
  });

  /** As version 0.1 made it, with a session in it. */
  const makeOldTable = async () => {
    const tableName = newTable();
    await dataSource.query(`CREATE TABLE ${tableName} (key text PRIMARY KEY, data json NOT NULL, owner text,
      timeout double precision, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL, lock_token text,
      locked_until timestamptz)`);
    await insertAsBefore(tableName, 'old');
    return tableName;
  };
  const insertAsBefore = (tableName: string, id: string) =>
    dataSource.query(
      `INSERT INTO ${tableName} (key, data, owner, created_at, expires_at)
        VALUES ($1, '{"a":1}', 'ada', now(), now() + interval '1 hour')`,
      [sessionKey(id)],
    );

  it('a table of version 0.1 is brought up to date; its sessions stay, and that version goes on with it', async () => {
    const tableName = await makeOldTable();
    const apps = await Promise.all(Array.from({ length: 5 }, () => start({ url, tableName })));
    const { store } = apps[0]!;
    await insertAsBefore(tableName, 'new');
    for (const id of ['old', 'new']) {
      const { lastUsedAt } = (await store.get(id))!;
      expect(Math.abs(lastUsedAt.getTime() - Date.now())).toBeLessThan(60_000);
      await store.update(id, session => session.set('a', session.get('a') + 1));
      expect((await store.get(id))!.data).toEqual({ a: 2 });
    }
    expect(await store.findByOwner('ada')).toHaveLength(2);
    await Promise.all(apps.map(app => app.close()));
  });

  it('a table of version 0.1 with createTable: false is a clear error, until its migration was run', async () => {
    const tableName = await makeOldTable();
    await expect(start({ url, tableName, createTable: false })).rejects.toThrow(
      /one of an older version; run the migration AddSessionColumns/,
    );
    class Migration extends AddSessionColumns {
      protected override readonly table = { name: tableName };
    }
    for (let times = 0; times < 2; times++) {
      await new Migration().up(dataSource.createQueryRunner());
    }
    const app = await start({ url, tableName, createTable: false });
    expect(await app.store.exists('old')).toBe(true);
    await app.close();
  });

  it('a database that cannot be reached is a clear error at start-up', async () => {
    await expect(start({ url: 'postgres://test@127.0.0.1:1/none' })).rejects.toThrow(
      /^PostgreSQL cannot be reached: .*ECONNREFUSED/,
    );
  });

  it("works on the application's own DataSource, with its migration and its entity, and leaves it open", async () => {
    await dataSource.runMigrations();
    const { app, close } = await start({ dataSource, createTable: false });
    const id = await app.get(SessionStore).create({ userId: 7, cart: ['tea'] }, { owner: 'ada' });
    const [row] = await dataSource.query(
      `SELECT data->>'userId' AS id FROM nest_sessions WHERE owner = 'ada'`,
    );
    expect(row).toEqual({ id: '7' });
    const entity = await dataSource.getRepository(SessionEntity).findOneByOrFail({ owner: 'ada' });
    expect(entity.data).toEqual({ userId: 7, cart: ['tea'] });
    expect(entity.expiresAt.getTime()).toBeGreaterThan(Date.now());
    expect((await app.get(SessionStore).get(id))?.data).toEqual({ userId: 7, cart: ['tea'] });
    await close();
    expect(dataSource.isInitialized).toBe(true);
    await dataSource.undoLastMigration();
  });

  it('the entity and the table that is made are the same to TypeORM', async () => {
    await dataSource.runMigrations();
    const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
    expect(upQueries.map(({ query }) => query).filter(query => query.includes('nest_sessions'))).toEqual([]);
    await dataSource.undoLastMigration();
  });

  it('no connection is held while a handler runs: 200 slow requests with a pool of 5 all finish', async () => {
    const server = await start({ connection: { url, poolSize: 5 }, tableName: newTable() });
    const browsers = Array.from({ length: 200 }, () => new Browser(server.url));
    /** Each handler goes on once all of them are at work: with a connection held by each, five would be. */
    const allAtOnce = async () => {
      const gate = new Gate();
      let working = 0;
      const answers = browsers.map(browser =>
        browser.run(async session => {
          session.set('count', session.get('count', 0) + 1);
          if (++working === browsers.length) {
            gate.open();
          }
          await gate.opened;
        }),
      );
      return (await Promise.all(answers)).filter(({ status }) => status !== 200);
    };
    expect(await allAtOnce()).toEqual([]);
    expect(await server.app.get(SessionStore).count()).toBe(200);
    expect(await allAtOnce()).toEqual([]);
    const counts = await Promise.all(
      browsers.map(browser => browser.value(({ data }) => data.count, 'read')),
    );
    expect(new Set(counts)).toEqual(new Set([2]));
    browsers.forEach(browser => browser.close());
    await server.close();
  });
});
