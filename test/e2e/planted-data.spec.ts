import { closeSync, ftruncateSync, futimesSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Client as PgClient } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import { DEFAULT_MAX_SIZE, readableSize } from '../../lib/options/size-limit.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import { newId } from '../support/open-sessions.js';
import { PLANTED } from '../support/planted.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { Browser, lockCount, ScriptController } from '../support/scripts.js';

const HOUR = 3_600_000;
const MIB = 1024 * 1024;

for (const setup of SETUPS) {
  describe(`invariant 14, planted records: ${setup.storage}, ${setup.adapter}`, () => {
    const logger = new RecordingLogger();
    let server: TestApp;
    let backend: SessionBackend;
    beforeAll(async () => {
      server = await startApp({
        ...setup,
        controllers: [ScriptController],
        prepare: app => app.useLogger(logger),
      });
      backend = server.app.get(SESSION_BACKEND);
    });
    afterAll(() => server.close());

    /** As what it is; or, where PostgreSQL takes it for no JSON, in a text of JSON. */
    async function plant(key: string, data: string): Promise<void> {
      const write = { data, owner: 'ann', ttl: HOUR };
      await backend.create(key, write).catch(() => backend.create(key, { ...write, data: ` ${data}` }));
    }

    /** As every request that comes with it finds it. */
    async function expectMissing(id: string): Promise<void> {
      const browser = new Browser(server.url);
      for (const route of ['read', 'explicit', 'run', 'early'] as const) {
        browser.adopt(id);
        const found = await browser.value(session => [session.isNew, session.missing, session.size], route);
        expect(found, route).toEqual([true, true, 0]);
      }
      const { store } = server;
      expect(await store.get(id)).toBeUndefined();
      expect(await store.exists(id)).toBe(false);
      expect(await store.update(id, () => 'found')).toBeUndefined();
      browser.adopt(id);
      await browser.value(session => void session.set('own', 1));
      const begun = (await browser.cookie())!;
      expect(begun).not.toBe(id);
      expect((await store.get(begun))!.data).toEqual({ own: 1 });
      browser.close();
      await expect.poll(() => lockCount(server)).toBe(0);
    }

    it.each(Object.entries(PLANTED))(
      '%s: counts as missing on every way, is told once, and stays',
      async (_name, data) => {
        logger.forget();
        const id = newId();
        const key = sessionKey(id);
        await plant(key, data);
        await expectMissing(id);
        if (backend.findByOwner) {
          expect(await server.store.findByOwner('ann')).toEqual([]);
        }
        expect(logger.aboveDebug.filter(line => line.includes(key))).toHaveLength(1);
        // Redis says of what is larger than any session that it is, and does not send it.
        const isSent = setup.storage !== 'redis' || data.length <= readableSize(DEFAULT_MAX_SIZE);
        expect((await backend.read(key))?.data.trimStart()).toBe(isSent ? data : 'too large');
        await backend.delete(key);
      },
    );

    if (setup.storage === 'file') {
      it('a file of 2 GiB is not read: it takes no memory', async () => {
        logger.forget();
        const id = newId();
        const key = sessionKey(id);
        const folder = join(server.sessions.storagePath!, key.slice(0, 2));
        mkdirSync(folder, { recursive: true });
        const file = openSync(join(folder, `session-${key}`), 'w');
        ftruncateSync(file, 2 ** 31 - 10); // sparse; its largest one that Node.js reads at once
        futimesSync(file, Date.now() / 1000 + 3600, Date.now() / 1000 + 3600);
        closeSync(file);
        const before = process.resourceUsage().maxRSS;
        await expectMissing(id);
        expect((process.resourceUsage().maxRSS - before) / 1024).toBeLessThan(300); // MiB
        const told = logger.aboveDebug.filter(line => line.includes(key));
        expect(told).toEqual([
          expect.stringMatching(/is torn, too large or no session: it counts as missing/),
          expect.stringMatching(/it was moved to the folder damaged/),
        ]);
      });
    }

    if (setup.storage === 'postgresql') {
      it.each([
        ['text', `'{"a":"' || repeat('x', ${20 * MIB}) || '"}'`],
        ['text that is packed to next to nothing', `'{"a":"' || repeat('x', ${100 * MIB}) || '"}'`],
        [
          'text that cannot be packed',
          `'{"a":"' || (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300000) AS i) || '"}'`,
        ],
      ])('data that is larger than any session is not sent: %s', async (_name, value) => {
        logger.forget();
        const id = await server.store.create({ name: 'large' });
        const key = sessionKey(id);
        const { url, tableName } = server.sessions;
        const client = new PgClient(url);
        await client.connect();
        await client.query(`UPDATE ${tableName} SET data = (${value})::json WHERE key = $1`, [key]);
        await client.end();
        expect((await backend.read(key))!.data).toBe('too large');
        await expectMissing(id);
        const told = logger.aboveDebug.filter(line => line.includes(key));
        expect(told).toEqual([expect.stringMatching(/cannot be read, it counts as missing: .*too large/)]);
      });

      it.each([
        ['an end that never comes', `expires_at = 'infinity'`],
        ['a beginning before all times', `created_at = '-infinity'`],
        ['a timeout that is none', `timeout = 'NaN'`],
        ['a timeout without end', `timeout = 'Infinity'`],
      ])('a row with %s', async (_name, change) => {
        const id = await server.store.create({ name: 'odd' });
        const client = new PgClient(server.sessions.url);
        await client.connect();
        await client.query(`UPDATE ${server.sessions.tableName} SET ${change} WHERE key = $1`, [
          sessionKey(id),
        ]);
        await client.end();
        await expectMissing(id);
      });
    }
  });
}
