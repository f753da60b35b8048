import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { newKey, newLease, writeOf } from '../contract/fixtures.js';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { Browser, ScriptController } from '../support/scripts.js';
import { isTested } from '../support/storage-names.js';

const HOUR = 3_600_000;
/** Milliseconds that an answer may take. */
const NEAR = 20_000;

const expectNear = (time: number | Date, wanted: number) =>
  expect(Math.abs(Number(time) - wanted)).toBeLessThan(NEAR);

const HOURS: [string, number][] = [
  ['3 hours ahead of', 3],
  ['3 hours behind', -3],
  ['3 days ahead of', 72],
  ['3 days behind', -72],
];

/** Only the storages with a clock of their own: ram and file go by the one of their host, memcached's items by the processes'. */
const SETUPS = (['postgresql', 'redis'] as const)
  .filter(isTested)
  .flatMap(storage => HOURS.map(([name, hours]) => [storage, name, hours] as const));

describe.each(SETUPS)("%s: a process whose clock is %s the server's", (storage, _name, hours) => {
  describe.each(ADAPTERS)('%s', adapter => {
    let server: TestApp;
    let browser: Browser;
    beforeAll(async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + hours * HOUR, shouldAdvanceTime: true });
      server = await startApp({
        adapter,
        storage,
        controllers: [ScriptController],
        sessions: { timeout: 60, lifetime: 90 },
      });
    });
    beforeEach(() => {
      browser = new Browser(server.url);
    });
    afterEach(() => browser.close());
    afterAll(async () => {
      await server.close();
      vi.useRealTimers();
    });

    const maxAgeOf = (setCookie: string | undefined) =>
      Number(/Max-Age=(\d+)/.exec(setCookie ?? '')?.[1]) * 1000;

    it('a session lives for its timeout, and its cookie as long: begun, read, changed and touched', async () => {
      const begun = await browser.run(session => void session.set('a', 1));
      expectNear(maxAgeOf(begun.setCookies[0]), HOUR);
      for (const route of ['run', 'explicit', 'read'] as const) {
        const times = await browser.value(
          session => [+session.createdAt, +session.expiresAt, session.isNew],
          route,
        );
        expectNear(times[0], Date.now());
        expectNear(times[1], Date.now() + HOUR);
        expect(times[2]).toBe(false);
      }
      const touched = await browser.run(session => session.get('a'));
      expectNear(maxAgeOf(touched.setCookies[0]), HOUR);
      const id = (await browser.cookie())!;
      const snapshot = await server.store.get(id);
      expectNear(snapshot!.createdAt, Date.now());
      expectNear(snapshot!.expiresAt, Date.now() + HOUR);
    });

    it('a read-only request touches a session when half of its time has passed, not before', async () => {
      await browser.value(session => void session.set('a', 1));
      const fresh = await browser.run(session => session.get('a'), 'read');
      expect(fresh.setCookies).toEqual([]);
      const key = sessionKey((await browser.cookie())!);
      await server.app.get<SessionBackend>(SESSION_BACKEND).touch(key, HOUR / 3);
      const late = await browser.run(session => session.get('a'), 'read');
      expectNear(maxAgeOf(late.setCookies[0]), HOUR);
    });

    it('a new id keeps when the session began, and so its lifetime', async () => {
      const backend = server.app.get<SessionBackend>(SESSION_BACKEND);
      await browser.value(session => void session.set('a', 1));
      const createdAt = Date.now() - HOUR;
      const id = 'old'.padEnd(43, 'x');
      await backend.create(sessionKey(id), { data: '{"a":1}', createdAt, ttl: HOUR / 2 });
      browser.adopt(id);
      for (let turn = 0; turn < 3; turn++) {
        const answer = await browser.run(async session => {
          await session.regenerate();
          return +session.createdAt;
        });
        expectNear(answer.json().value, createdAt);
        expectNear(maxAgeOf(answer.setCookies[0]), HOUR / 2); // 90 minutes of lifetime, of which 60 have passed
      }
      await backend.delete(sessionKey((await browser.cookie())!));
    });

    it('the same from another process, whose clock is right', async () => {
      const backend = server.app.get<SessionBackend>(SESSION_BACKEND);
      const key = newKey();
      const createdAt = Date.now() - HOUR / 2;
      await backend.create(key, writeOf('{}', { createdAt, ttl: HOUR, owner: key }), newLease());
      vi.setSystemTime(Date.now() - hours * HOUR);
      const here = createdAt - hours * HOUR;
      const records = [await backend.read(key), (await backend.findByOwner!(key))[0]!.record];
      for (const record of records) {
        expectNear(record!.createdAt, here);
        expectNear(record!.expiresAt, Date.now() + HOUR);
      }
      vi.setSystemTime(Date.now() + hours * HOUR);
    });
  });
});
