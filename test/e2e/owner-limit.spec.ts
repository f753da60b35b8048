import { MemoryStore } from 'express-session';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expressStore, SessionLimitException } from 'nest-sessions';
import { ALL_SETUPS, startApp, type TestApp } from '../support/app.js';
import { startSessionServers, type ServerProgram } from '../support/programs.js';
import { Browser, ScriptController } from '../support/scripts.js';
import { newStorage, SHARED_STORAGES, STORAGES, type AnyOptions } from '../support/storages.js';
import { times } from '../support/times.js';

const MAX = 3;
const hasOwners = (storage: string) => storage !== 'memcached';

describe.each(ALL_SETUPS.filter(({ storage }) => hasOwners(storage)))(
  'maxSessionsPerOwner: $storage, $adapter',
  setup => {
    let ending: TestApp;
    let refusing: TestApp;
    beforeAll(async () => {
      const start = (more: AnyOptions) =>
        startApp({
          ...setup,
          controllers: [ScriptController],
          sessions: { maxSessionsPerOwner: MAX, ...more },
        });
      ending = await start({});
      refusing = await start({ beyondMaxSessions: 'refuse' });
    });
    afterAll(() => Promise.all([ending.close(), refusing.close()]));

    const logIn = async ({ url }: TestApp, owner: string, regenerates = true) => {
      const browser = new Browser(url);
      await browser.value(session => void session.set('cart', 1));
      const { status, setCookies } = await browser.run(async session => {
        if (regenerates) {
          await session.regenerate();
        }
        session.owner = owner;
        session.set('userId', owner);
      });
      return { browser, status, setCookies };
    };
    const userOf = (browser: Browser) => browser.value(session => session.get('userId'));

    it('one more log-in ends the session that began first', async () => {
      const logIns = [];
      for (let index = 0; index < MAX + 1; index++) {
        logIns.push(await logIn(ending, 'ann', index % 2 === 0));
      }
      await logIn(ending, 'bob');
      expect(logIns.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      const users = await Promise.all(logIns.map(({ browser }) => userOf(browser)));
      expect(users).toEqual([undefined, 'ann', 'ann', 'ann']);
      expect(await ending.store.findByOwner('ann')).toHaveLength(MAX);
    });

    it('or is answered 403, with nothing of it stored, until another session has ended', async () => {
      const logIns = [];
      for (let index = 0; index < MAX; index++) {
        logIns.push(await logIn(refusing, 'ann'));
      }
      const late = await logIn(refusing, 'ann', false);
      expect([late.status, late.setCookies]).toEqual([403, []]);
      expect(await userOf(late.browser)).toBeUndefined();
      expect(await late.browser.value(session => session.get('cart'))).toBe(1); // as it was before
      for (const { browser } of logIns) {
        expect(await userOf(browser)).toBe('ann');
      }
      await logIns[0]!.browser.run(session => session.destroy());
      expect((await logIn(refusing, 'ann')).status).toBe(200);
      expect(await refusing.store.findByOwner('ann')).toHaveLength(MAX);
    });

    it('a handler can tell, and answer as it likes', async () => {
      await times(MAX, () => logIn(refusing, 'eve'));
      const browser = new Browser(refusing.url);
      const said = await browser.value(async session => {
        session.owner = 'eve';
        try {
          return await session.save();
        } catch (error) {
          await session.destroy();
          return error instanceof SessionLimitException ? error.message : String(error);
        }
      });
      expect(said).toBe('The account has as many sessions as it may have');
      expect(await browser.cookie()).toBeUndefined();
    });

    it('who has a session goes on with it at the limit: a change, a new id, the same owner again', async () => {
      const logIns = await times(MAX, () => logIn(refusing, 'joe'));
      const { browser } = logIns[0]!;
      const { status } = await browser.run(async session => {
        await session.regenerate();
        session.owner = 'joe';
        session.set('userId', 'joe 2');
        await session.save();
        session.owner = 'joe';
      });
      expect(status).toBe(200);
      expect(await userOf(browser)).toBe('joe 2');
    });

    it('holds for sessions that SessionStore creates and updates', async () => {
      const { store } = refusing;
      const ids = await times(MAX, () => store.create({}, { owner: 'tim' }));
      await expect(store.create({}, { owner: 'tim' })).rejects.toThrow(SessionLimitException);
      const other = await store.create({ cart: 1 });
      await expect(store.update(other, session => void (session.owner = 'tim'))).rejects.toThrow(
        SessionLimitException,
      );
      expect((await store.get(other))!.owner).toBeUndefined();
      await store.destroy(ids[0]!);
      await store.update(other, session => void (session.owner = 'tim'));
      expect((await store.get(other))!.owner).toBe('tim');
    });

    it('50 log-ins at once end with exactly as many sessions as the limit allows', async () => {
      const logIns = await times(50, () => logIn(ending, 'max'));
      expect(new Set(logIns.map(({ status }) => status))).toEqual(new Set([200]));
      const users = await Promise.all(logIns.map(({ browser }) => userOf(browser)));
      expect(users.filter(Boolean)).toHaveLength(MAX);
    });
  },
);

describe.each(SHARED_STORAGES.filter(hasOwners))('maxSessionsPerOwner in two processes: %s', storage => {
  const start = async (beyondMaxSessions: 'endOldest' | 'refuse') =>
    startSessionServers(2, {
      ...(await newStorage(storage)),
      maxSessionsPerOwner: MAX,
      beyondMaxSessions,
    });
  const logIns = async (servers: ServerProgram[], owner: string) => {
    const browsers = Array.from({ length: 50 }, (_, index) => new Browser(servers[index % 2]!.url));
    const statuses = await Promise.all(
      browsers.map(async browser => (await browser.get(`/log-in/${owner}`)).status),
    );
    const { owned } = (await browsers[0]!.get(`/owned/${owner}`)).json();
    browsers.forEach(browser => browser.close());
    return { statuses, owned };
  };

  it.each(['endOldest', 'refuse'] as const)(
    'of 50 log-ins at once, exactly as many are left as the limit allows: %s, 5 rounds',
    async beyond => {
      const servers = await start(beyond);
      for (let round = 0; round < 5; round++) {
        const { statuses, owned } = await logIns(servers, `owner ${round}`);
        const allowed = statuses.filter(status => status === 200);
        expect([allowed.length, owned]).toEqual([beyond === 'refuse' ? MAX : 50, MAX]);
        expect(statuses.filter(status => status === 403)).toHaveLength(50 - allowed.length);
      }
      await Promise.all(servers.map(({ program }) => program.kill('SIGTERM')));
    },
  );
});

describe('a storage that does not know owners refuses maxSessionsPerOwner at the start', () => {
  const problem = /maxSessionsPerOwner needs a storage that can count an owner's sessions/;

  it.runIf(STORAGES.includes('memcached'))('memcached', async () => {
    const sessions = { ...(await newStorage('memcached')), maxSessionsPerOwner: 1 };
    await expect(startApp({ sessions })).rejects.toThrow(problem);
  });

  it("express-session's stores", async () => {
    const sessions = { storageType: expressStore(new MemoryStore()), maxSessionsPerOwner: 1 };
    await expect(startApp({ sessions })).rejects.toThrow(problem);
  });
});
