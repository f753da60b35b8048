import connectPgSimple from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import expressSession from 'express-session';
import createMemoryStore from 'memorystore';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'pg';
import { createClient } from 'redis';
import createFileStore from 'session-file-store';
import { afterAll, describe, expect, it } from 'vitest';
import { expressStore, SESSION_BACKEND, type ExpressStore, type SessionBackend } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { startApp, type TestApp } from '../support/app.js';
import { Browser, lockCount, ScriptController } from '../support/scripts.js';
import { postgresqlUrl, redisUrl } from '../support/shared-servers.js';
import { isTested } from '../support/storage-names.js';

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.toReversed()) {
    await end();
  }
});

/** Each as its documentation sets it up for express-session. */
const STORES: Record<string, () => Promise<ExpressStore>> = {
  async 'connect-redis'() {
    const client = await createClient({ url: redisUrl() }).connect();
    ends.push(() => client.destroy());
    const prefix = `${randomBytes(4).toString('hex')}:`;
    return new RedisStore({ client, prefix }) as unknown as ExpressStore;
  },
  async 'connect-pg-simple'() {
    const pool = new Pool({ connectionString: await postgresqlUrl() });
    ends.push(() => pool.end());
    const PgStore = connectPgSimple(expressSession);
    const tableName = `express_${randomBytes(4).toString('hex')}`;
    const store = new PgStore({ pool, tableName, createTableIfMissing: true, pruneSessionInterval: false });
    ends.push(() => store.close());
    return store;
  },
  async 'session-file-store'() {
    const path = await mkdtemp(join(tmpdir(), 'nest-sessions-express-'));
    ends.push(() => rm(path, { recursive: true, force: true }));
    const FileStore = createFileStore(expressSession);
    return new FileStore({
      path,
      retries: 0,
      reapInterval: -1,
      logFn: () => undefined,
    }) as unknown as ExpressStore;
  },
  async memorystore() {
    const MemoryStore = createMemoryStore(expressSession);
    return new MemoryStore({ checkPeriod: 0 } as never) as unknown as ExpressStore;
  },
};

/** One of them needs PostgreSQL. */
const TESTED = Object.keys(STORES).filter(name => name !== 'connect-pg-simple' || isTested('postgresql'));

describe.each(TESTED)('expressStore() with %s', name => {
  let server: TestApp;
  let store: ExpressStore;
  const start = async () => {
    store ??= await STORES[name]!();
    server ??= await startApp({
      controllers: [ScriptController],
      sessions: { storageType: expressStore(store) },
    });
    return server;
  };
  afterAll(() => server?.close());

  it('no lost update: 50 requests at once, each of which adds 1, end at 50', async () => {
    const { url } = await start();
    expect(await new Browser(url).countUp(50)).toBe(50);
    await expect.poll(() => lockCount(server)).toBe(0);
  });

  it('no resurrection: a save does not bring back what was destroyed meanwhile', async () => {
    const { url, app } = await start();
    const backend = app.get<SessionBackend>(SESSION_BACKEND);
    for (let run = 0; run < 20; run++) {
      const browser = new Browser(url);
      await browser.value(session => void session.set('a', 1));
      const key = sessionKey((await browser.cookie())!);
      const { status } = await browser.run(async session => {
        await backend.delete(key);
        session.set('a', 2);
      });
      expect([status, await backend.read(key)]).toEqual([409, undefined]);
    }
  });

  it('data comes back as it went in, also what JSON and databases do not take', async () => {
    const { url } = await start();
    const browser = new Browser(url);
    await browser.value(
      session => void session.update({ big: 5n, at: new Date(7), text: '\u0000\ud800 é 😀' }),
    );
    const seen = await browser.value(session => [
      typeof session.get('big'),
      session.get('at') instanceof Date,
      session.get('text') === '\u0000\ud800 é 😀',
    ]);
    expect(seen).toEqual(['bigint', true, true]);
  });

  it('a session expires in the store, and a touch moves that', async () => {
    const { app } = await start();
    const backend = app.get<SessionBackend>(SESSION_BACKEND);
    const [short, touched] = [sessionKey(`short ${name}`), sessionKey(`touched ${name}`)];
    await backend.create(short, { data: '1', ttl: 1000 });
    await backend.create(touched, { data: '1', ttl: 1000 });
    expect(await backend.touch(touched, 60_000)).toBe(true);
    await expect.poll(() => backend.read(short), { timeout: 10_000 }).toBeUndefined();
    expect(await backend.read(touched)).toMatchObject({ data: '1' });
  });
});
