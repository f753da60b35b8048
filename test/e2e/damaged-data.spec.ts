import memjs from 'memjs';
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { Client } from 'pg';
import { createClient } from 'redis';
import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MemoryStore } from 'express-session';
import { expressStore, SessionStorageException } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { SETUPS, startApp } from '../support/app.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';
import { isTested } from '../support/storage-names.js';
import type { StorageUnderTest } from '../support/storages.js';

/** What another program, or trouble, does to what is stored under a key. */
type Damage = (options: StorageUnderTest, key: string) => Promise<void>;

const inFile =
  (damage: (text: string) => string): Damage =>
  async ({ storagePath }, key) => {
    const file = join(storagePath!, key.slice(0, 2), `session-${key}`);
    await writeFile(file, damage(await readFile(file, 'utf8')));
  };

/** @param change what UPDATE sets */
const inRow =
  (change: string): Damage =>
  async ({ url, tableName }, key) => {
    const client = new Client(url);
    await client.connect();
    const { rowCount } = await client.query(`UPDATE ${tableName} SET ${change} WHERE key = $1`, [key]);
    expect(rowCount).toBe(1);
    await client.end();
  };

const inItem =
  (damage: (text: string) => string): Damage =>
  async ({ servers, keyPrefix }, key) => {
    const client = memjs.Client.create(String(servers));
    const { value } = await client.get(keyPrefix + key);
    await client.set(keyPrefix + key, damage(String(value)), {});
    client.close();
  };

/** @param command of Redis, on the session's key */
const inHash =
  (...command: [string, ...string[]][]): Damage =>
  async ({ url, keyPrefix }, key) => {
    const client = await createClient({ url: url! }).connect();
    for (const [name, ...args] of command) {
      await client.sendCommand([name, keyPrefix + key, ...args]);
    }
    client.destroy();
  };

const FOREVER = Date.now() + 1e10;

const DAMAGES: Record<string, Record<string, Damage>> = {
  file: {
    'cut short': inFile(text => text.slice(0, -1)),
    'cut short within its header': inFile(text => text.slice(0, 10)),
    empty: inFile(() => ''),
    "another program's": inFile(() => '{"userId":7}'),
    'one changed character': inFile(text => text.replace('hurt', 'hunt')),
  },
  postgresql: {
    'a list': inRow(`data = '["hurt"]'`),
    'a number': inRow(`data = '7'`),
    'a JSON null': inRow(`data = 'null'`),
    'a text that is no session': inRow(`data = '"hurt"'`),
    'a text cut short': inRow(`data = '"{\\"name\\":\\"hu"'`),
    'a type that nobody knows': inRow(`data = '{"name":{"$type":"Price","value":1}}'`),
  },
  memcached: {
    'cut short': inItem(text => text.slice(0, -1)),
    'cut short within its header': inItem(text => text.slice(0, 10)),
    empty: inItem(() => ''),
    "another program's counter": inItem(() => '12345'),
    "another program's JSON": inItem(() => '{"userId":7}'),
    "another program's lines": inItem(() => `{"userId":7}\n{"name":"hurt"}`),
    'a header of null': inItem(text => text.replace(/.*/, 'null')),
    'a header that lacks most': inItem(text => text.replace(/.*/, `{"expiresAt":${FOREVER}}`)),
    bytes: inItem(() => '\0\uffff\n\0\uffff'),
  },
  redis: {
    'cut short': inHash(['HSET', 'data', '{"name":"hu']),
    'without its data': inHash(['HDEL', 'data']),
    'without its times': inHash(['HDEL', 'createdAt', 'lastUsedAt']),
    'a time that is none': inHash(['HSET', 'createdAt', 'now']),
    'a timeout that is none': inHash(['HSET', 'timeout', 'NaN']),
    'a beginning before all times': inHash(['HSET', 'createdAt', '-inf']),
    'never to expire': inHash(['PERSIST']),
    "another program's text": inHash(['SET', '{"userId":7}']),
    "another program's list": inHash(['DEL'], ['RPUSH', 'a', 'b']),
    "another program's hash": inHash(['DEL'], ['HSET', 'userId', '7']),
    bytes: inHash(['HSET', 'data', '\0\uffff']),
    'too large': inHash(['HSET', 'data', `{"name":"${'x'.repeat(30 * 1024 * 1024)}"}`]),
  },
};

for (const setup of SETUPS.filter(({ storage }) => storage in DAMAGES)) {
  describe(`invariant 6, damaged data is no session: ${setup.storage}, ${setup.adapter}`, () => {
    const server = useServer(setup);
    let browser: Browser;
    beforeEach(() => {
      browser = new Browser(server.url);
    });
    afterEach(() => browser.close());

    it.each(Object.entries(DAMAGES[setup.storage]!))(
      '%s: counts as missing, and nothing else is harmed',
      async (_name, damage) => {
        const { store } = server;
        const owner = Math.random().toString();
        const hurt = await store.create({ name: 'hurt' }, { owner });
        const other = await store.create({ name: 'other' }, { owner });
        await damage(server.sessions, sessionKey(hurt));

        for (const route of ['read', 'explicit', 'run', 'early'] as const) {
          browser.adopt(hurt);
          const found = await browser.value(session => [session.isNew, session.missing, session.size], route);
          expect(found, route).toEqual([true, true, 0]);
        }
        expect(await store.get(hurt)).toBeUndefined();
        expect(await store.update(hurt, () => 'found')).toBeUndefined();
        if (setup.storage !== 'memcached') {
          expect((await store.findByOwner(owner)).map(({ data }) => data)).toEqual([{ name: 'other' }]);
        }
        await store.cleanUp();

        browser.adopt(hurt);
        await browser.value(session => void session.set('name', 'new'));
        const begun = (await browser.cookie())!;
        expect(begun).not.toBe(hurt);
        expect((await store.get(begun))!.data).toEqual({ name: 'new' });
        expect((await store.get(other))!.data).toEqual({ name: 'other' });

        await store.destroy(hurt);
        expect(await store.exists(hurt)).toBe(false);
        expect(await store.exists(other)).toBe(true);
      },
    );
  });
}

/** What a later version stores. */
const LATER: Record<string, Damage> = {
  file: async ({ storagePath }, key) => {
    const file = join(storagePath!, key.slice(0, 2), `session-${key}`);
    const { mtime } = await stat(file);
    const text = (await readFile(file, 'utf8')).slice(8).replace('"v":1', '"v":2');
    await writeFile(file, crc32(text).toString(16).padStart(8, '0') + text);
    await utimes(file, mtime, mtime);
  },
  postgresql: inRow('format = 2'),
  memcached: inItem(text => text.replace('"format":1', '"format":2')),
  redis: inHash(['HSET', 'format', '2']),
};

describe.each(SETUPS.filter(({ storage }) => storage !== 'ram'))(
  'invariant 4, trouble is not absence, a record in a format of a later version: $storage, $adapter',
  setup => {
    const server = useServer(setup);

    it("does not keep its owner's other sessions from lists, nor itself from a log-out everywhere", async ({
      skip,
    }) => {
      skip(setup.storage === 'memcached', 'a storage that knows no owners');
      const { store, sessions } = server;
      const ids = await Promise.all(
        ['a', 'b', 'later'].map(name => store.create({ name }, { owner: 'ann' })),
      );
      await LATER[setup.storage]!(sessions, sessionKey(ids[2]!));
      const names = (found: { data: unknown; owner: string | undefined }[]) =>
        found.filter(({ owner }) => owner === 'ann').map(({ data }) => (data as any).name);
      expect(names(await store.findByOwner('ann')).sort()).toEqual(['a', 'b']);
      const all: string[] = [];
      for (let cursor: string | undefined, isFirst = true; isFirst || cursor; isFirst = false) {
        const page = await store.list(cursor, 1);
        all.push(...names(page.sessions));
        cursor = page.next;
      }
      expect(all.sort()).toEqual(['a', 'b']);
      expect(await store.destroyByOwner('ann')).toBe(3);
      expect(await Promise.all(ids.map(id => store.exists(id)))).toEqual([false, false, false]);
    });

    it('is answered 503 and stays, with its cookie; the log says what to do', async () => {
      const { store, sessions } = server;
      const id = await store.create({ name: 'later' });
      await LATER[setup.storage]!(sessions, sessionKey(id));
      const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
      try {
        const browser = new Browser(server.url, id);
        for (const route of ['run', 'read'] as const) {
          const answer = await browser.run(session => session.set('name', 'mine'), route);
          expect([answer.status, answer.setCookies]).toEqual([503, []]);
        }
        browser.close();
        expect(error.mock.calls.join()).toMatch(
          /stored in format 2.*knows 1; run the version that stored it/,
        );
        await expect(store.get(id)).rejects.toThrow(SessionStorageException);
        await store.cleanUp();
        await expect(store.get(id)).rejects.toThrow(SessionStorageException);
        expect(await store.destroy(id)).toBe(true);
        expect(await store.exists(id)).toBe(false);
      } finally {
        error.mockRestore();
      }
    });
  },
);

it('a record in a format of a later version in a store of express-session: stays, and can be ended', async () => {
  const former = new MemoryStore();
  const server = await startApp({ sessions: { storageType: expressStore(former) } });
  const id = await server.store.create({ name: 'later' });
  const { sessions } = former as unknown as { sessions: Record<string, string> };
  const key = sessionKey(id);
  sessions[key] = sessions[key]!.replace('"format":1', '"format":2');
  const error = vi.spyOn(Logger.prototype, 'error').mockReturnValue();
  await expect(server.store.get(id)).rejects.toThrow(SessionStorageException);
  error.mockRestore();
  expect(await server.store.destroy(id)).toBe(true);
  expect(await server.store.exists(id)).toBe(false);
  await server.close();
});

it("memcached: an item that is no lock, under a lock's key, keeps nobody waiting", async ({ skip }) => {
  skip(!isTested('memcached'));
  const server = await startApp({ storage: 'memcached', controllers: [ScriptController] });
  const id = await server.store.create({ name: 'free' });
  const { servers, keyPrefix } = server.sessions;
  const client = memjs.Client.create(String(servers));
  await client.set(`${keyPrefix}${sessionKey(id)}:lock`, 'garbage', {});
  client.close();
  const browser = new Browser(server.url, id);
  expect(await browser.value(session => session.get('name'))).toBe('free');
  browser.close();
  await server.close();
});
