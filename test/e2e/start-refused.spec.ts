import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { DataSource } from 'typeorm';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SessionOptionsException } from 'nest-sessions';
import { CreateSessionsTable } from '../../lib/postgresql.js';
import { isRoot } from '../programs/unprivileged.js';
import { startApp } from '../support/app.js';
import { makeDatabase } from '../support/own-database.js';
import { freePort } from '../support/servers.js';
import { startProgram } from '../support/programs.js';
import { Browser, ScriptController } from '../support/scripts.js';
import { isTested, type AnyOptions } from '../support/storages.js';

describe.runIf(isTested('postgresql'))(
  'a start that PostgreSQL refuses names the option, and what to do',
  () => {
    let admin: Client;
    let database: URL;
    let role: string;
    const sql = (text: string) => admin.query(text);
    const start = (options: AnyOptions = {}) =>
      startApp({
        sessions: { storageType: 'postgresql', url: as(role), ...options },
        controllers: [ScriptController],
      });
    const as = (user: string) => Object.assign(new URL(database), { username: user, password: 'x' }).href;

    beforeAll(async () => {
      database = await makeDatabase();
      admin = new Client({ connectionString: database.href });
      await admin.connect();
      await sql('REVOKE ALL ON SCHEMA public FROM PUBLIC'); // as PostgreSQL 15 has it, and more
    });
    beforeEach(async () => {
      role = `role_${randomBytes(6).toString('hex')}`;
      await sql(`CREATE ROLE ${role} LOGIN`);
    });
    afterAll(async () => {
      const { rows } = await sql(
        `SELECT rolname FROM pg_roles WHERE rolname LIKE 'role\\_%' AND NOT rolsuper`,
      );
      for (const { rolname } of rows) {
        await sql(`DROP OWNED BY ${rolname}`);
        await sql(`DROP ROLE ${rolname}`);
      }
      await admin.end();
    });

    /** As the owner of the database makes it. */
    async function makeTable(schema?: string): Promise<void> {
      class Migration extends CreateSessionsTable {
        protected override readonly table = { name: 'nest_sessions', schema };
      }
      const dataSource = await new DataSource({ type: 'postgres', url: database.href }).initialize();
      const runner = dataSource.createQueryRunner();
      await new Migration().up(runner);
      await runner.release();
      await dataSource.destroy();
    }

    async function refusal(options: AnyOptions = {}): Promise<unknown> {
      return start(options).then(
        app => app.close().then(() => 'started'),
        (error: unknown) => error,
      );
    }

    it('a table of version 0.1 is altered by the role that owns it, with no other right; others are told who can', async () => {
      await sql(`GRANT USAGE ON SCHEMA public TO ${role}`);
      await sql(`CREATE TABLE old_sessions (key text PRIMARY KEY, data json NOT NULL, owner text,
        timeout double precision, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL, lock_token text,
        locked_until timestamptz)`);
      await sql(`GRANT SELECT, INSERT, UPDATE, DELETE ON old_sessions TO ${role}`);
      expect(String(await refusal({ tableName: 'old_sessions' }))).toMatch(
        new RegExp(
          `role ${role} does not own it; run the migration AddSessionColumns .*with the role that does`,
        ),
      );
      await sql(`ALTER TABLE old_sessions OWNER TO ${role}`);
      expect(await refusal({ tableName: 'old_sessions' })).toBe('started');
    });

    it('a role that may not make the table', async () => {
      await sql(`GRANT USAGE ON SCHEMA public TO ${role}`);
      const error = await refusal();
      expect(error).toBeInstanceOf(SessionOptionsException);
      expect(String(error)).toMatch(
        new RegExp(
          `the role ${role} may not make the table "nest_sessions".*GRANT USAGE, CREATE ON SCHEMA.*migrations of nest-sessions`,
        ),
      );
    });

    it('a schema that the role may not use, and one that does not exist', async () => {
      await sql(`CREATE SCHEMA IF NOT EXISTS closed`);
      for (const createTable of [true, false]) {
        expect(String(await refusal({ schema: 'closed', createTable }))).toMatch(
          new RegExp(
            `the role ${role} may not .*use the schema "closed".*permission denied for schema closed`,
          ),
        );
      }
      const missing = await refusal({ schema: 'nowhere' });
      expect(missing).toBeInstanceOf(SessionOptionsException);
      expect(String(missing)).toMatch(/the schema "nowhere" does not exist.*set schema to another/);
    });

    it('a table that the role may not use', async () => {
      await sql('CREATE SCHEMA partly');
      await makeTable('partly');
      await sql(`GRANT USAGE ON SCHEMA partly TO ${role}`);
      await sql(`GRANT SELECT, INSERT ON partly.nest_sessions TO ${role}`);
      const error = await refusal({ schema: 'partly' });
      expect(error).toBeInstanceOf(SessionOptionsException);
      expect(String(error)).toMatch(
        new RegExp(
          `the role ${role} lacks the right to UPDATE, DELETE .*GRANT UPDATE, DELETE ON "partly"."nest_sessions" TO "${role}"`,
        ),
      );
    });

    it('starts on a table that is there, with the rights that it names and no other; revoked later, they are trouble', async () => {
      await sql('CREATE SCHEMA ready');
      await makeTable('ready');
      await sql(`GRANT USAGE ON SCHEMA ready TO ${role}`);
      await sql(`GRANT SELECT, INSERT, UPDATE, DELETE ON ready.nest_sessions TO ${role}`);
      const { url, store, close } = await start({ schema: 'ready' });
      const browser = new Browser(url);
      await browser.value(session => void session.set('a', 1));
      expect(await browser.value(session => session.get('a'))).toBe(1);
      await browser.value(session => session.destroy());
      expect(await store.cleanUp()).toBe(0);
      await browser.value(session => void session.set('a', 1));
      await sql(`REVOKE UPDATE ON ready.nest_sessions FROM ${role}`);
      expect(await browser.run(session => session.get('a'))).toMatchObject({ status: 503, setCookies: [] });
      await sql(`GRANT UPDATE ON ready.nest_sessions TO ${role}`);
      expect(await browser.value(session => session.get('a'))).toBe(1);
      browser.close();
      await close();
    });

    it('ten processes that start at once where one may make the table, and the others only use it', async () => {
      await sql('CREATE SCHEMA shared');
      await sql(`GRANT USAGE, CREATE ON SCHEMA shared TO ${role}`);
      const apps = await Promise.all(Array.from({ length: 10 }, () => start({ schema: 'shared' })));
      await Promise.all(apps.map(app => app.close()));
    });

    it.each<[string, (url: URL) => void, RegExp]>([
      ['a role that there is not', url => (url.username = 'role_nobody'), /check the user.* in url/],
      [
        'a database that there is not',
        url => (url.pathname = 'nothing'),
        /make the database, or name another in url/,
      ],
      ['a host that there is not', url => (url.hostname = 'nowhere.invalid'), /no host has the name.* url/],
      [
        'a port where nobody listens',
        url => (url.port = '1'),
        /is a server running at the host and port in url/,
      ],
    ])('%s', async (_name, change, message) => {
      const url = new URL(database);
      change(url);
      const error = await refusal({ url: url.href });
      expect(String(error)).toMatch(/PostgreSQL cannot be reached: /);
      expect(String(error)).toMatch(message);
      const other = await refusal({ url: undefined as never, connection: { url: url.href } });
      expect(String(other)).toMatch(/in connection$|check connection$/);
    });

    it('a server that only reads', async () => {
      await sql(`GRANT USAGE, CREATE ON SCHEMA public TO ${role}`);
      await sql(`ALTER ROLE ${role} SET default_transaction_read_only = on`);
      expect(String(await refusal({ tableName: 'not_there' }))).toMatch(
        /the server only reads: name the primary one in url/,
      );
    });
  },
);

describe.runIf(isTested('file'))(
  'a start on a folder that is of no use names storagePath, and what to do',
  () => {
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'nest-sessions-start-'));
      return () => {
        chmodSync(folder, 0o700);
        rmSync(folder, { recursive: true, force: true });
      };
    });
    const refusal = async (storagePath: string): Promise<unknown> =>
      startApp({ sessions: { storageType: 'file', storagePath } }).then(
        app => app.close().then(() => 'started'),
        (error: unknown) => error,
      );

    it.each<[string, (path: string) => string, RegExp]>([
      ['a file', path => (writeFileSync(path, ''), path), /it is a file/],
      [
        'a file on the way',
        path => (writeFileSync(path, ''), join(path, 'sessions')),
        /it is a file, or lies in one/,
      ],
      [
        'a link that leads nowhere',
        path => (symlinkSync('/nowhere/at/all', path), join(path, 'x')),
        /a link that leads nowhere/,
      ],
      [
        'links that lead to each other',
        path => (symlinkSync(path, path), join(path, 'x')),
        /links that lead to each other/,
      ],
      ['a name that is too long', path => join(path, 'x'.repeat(300)), /its name is too long/],
      ['a file system that keeps no files', () => '/proc/sessions', /cannot be/],
    ])('%s', async (_name, make, message) => {
      const path = make(join(folder, 'sessions'));
      const error = await refusal(path);
      expect(error).toBeInstanceOf(SessionOptionsException);
      expect(String(error)).toMatch(`the folder ${path} of storagePath cannot be used: `);
      expect(String(error)).toMatch(message);
    });

    it('a parent that is missing is made', async () => {
      expect(await refusal(join(folder, 'some', 'where', 'else'))).toBe('started');
    });

    it.each(['another user’s', 'one that may be read only'])('a folder of no rights: %s', async kind => {
      chmodSync(folder, 0o711);
      const path = join(folder, 'sessions');
      mkdirSync(path, { mode: kind === 'another user’s' ? 0o700 : 0o555 });
      if (!isRoot()) {
        chmodSync(path, 0o500);
      }
      const program = await startProgram('file-start', { STORAGE_PATH: path });
      const [, told] = await program.waitForLine(/^refused (.*)/);
      expect(told).toMatch(
        /of storagePath cannot be used: this process may not use it; give it to the user .*chown/,
      );
    });
  },
);

describe.runIf(isTested('memcached'))('a start without memcached', () => {
  it('names servers', async () => {
    const servers = `127.0.0.1:${await freePort()}`;
    await expect(startApp({ sessions: { storageType: 'memcached', servers } })).rejects.toThrow(
      `memcached cannot be reached: connect ECONNREFUSED ${servers}; check servers (${servers})`,
    );
  });
});
