import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, type Session, type SessionBackend } from 'nest-sessions';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { ADAPTERS, startApp, type AdapterName, type TestApp } from '../support/app.js';
import {
  Browser,
  Gate,
  lockCount,
  ScriptController,
  type Script,
  type ScriptRoute,
} from '../support/scripts.js';
import { newStorage, SHARED_STORAGES, STORAGES, type StorageName } from '../support/storages.js';
import { until } from '../support/until.js';

interface Run {
  /** Of the request that ends the session, and holds its lock. */
  first: TestApp;
  id: string;
  owner: string;
}

/** How the request in front ends the session; by it the request behind must not do anything. */
const ENDINGS: Record<string, (session: Session, run: Run) => unknown> = {
  'destroy()': session => session.destroy(),
  'regenerate()': session => session.regenerate(),
  'store.destroy(id)': (_session, { first, id }) => first.store.destroy(id),
  'store.destroyByOwner(owner)': (_session, { first, owner }) => first.store.destroyByOwner(owner),
};

/** What the request behind sees: nothing of the one that ended. */
const EMPTY = { size: 0, loaded: true, locked: false };
const seenBy = ({ size, loaded, locked }: Session) => ({ size, loaded, locked });

/** As many requests behind, each of another kind. */
const USES: [string, ScriptRoute][] = [
  ['@Session()', 'run'],
  ["'early'", 'early'],
];

interface Place {
  title: string;
  /** Whether the session is read ahead of the middleware, without the lock. */
  eager?: boolean;
  /** Of the request in front, and of the one behind. */
  adapters: [AdapterName, AdapterName];
  isOneProcess: boolean;
}
const PLACES: Place[] = [
  ...ADAPTERS.map<Place>(adapter => ({
    title: `one application on ${adapter}`,
    adapters: [adapter, adapter],
    isOneProcess: true,
  })),
  { title: 'one application, eager', adapters: ['express', 'express'], isOneProcess: true, eager: true },
  { title: 'two applications, eager', adapters: ['express', 'fastify'], isOneProcess: false, eager: true },
  { title: 'two applications', adapters: ['express', 'fastify'], isOneProcess: false },
];

describe.each(STORAGES)('ended while a request waited for its lock: %s', storage => {
  const places = PLACES.filter(
    ({ isOneProcess }) => isOneProcess || (SHARED_STORAGES as StorageName[]).includes(storage),
  );
  const endings = Object.entries(ENDINGS).filter(
    ([name]) => storage !== 'memcached' || !name.includes('ByOwner'),
  );

  describe.each(places)('$title', ({ adapters: [inFront, behind], isOneProcess, eager = false }) => {
    let [first, second]: TestApp[] = [];
    let waits: { count: number };
    beforeAll(async () => {
      const sessions = { ...(await newStorage(storage)), eager };
      first = await startApp({ adapter: inFront, sessions, controllers: [ScriptController] });
      second = isOneProcess
        ? first
        : await startApp({ adapter: behind, sessions, controllers: [ScriptController] });
      waits = watchWaits(second);
    });
    afterAll(async () => {
      await first!.close();
      await (isOneProcess ? undefined : second!.close());
    });

    /**
     * Lets a request take its turn behind one that ends the session.
     * @returns the answer of each, their browser, and the old id
     */
    async function race(end: (typeof ENDINGS)[string], script: Script, route: ScriptRoute = 'run') {
      const owner = `owner ${Math.random()}`;
      const id = await first!.store.create({ user: 'Ann' } as never, { owner });
      const browser = new Browser(first!.url, id);
      const waiting = new Browser(second!.url, id);
      const [held, queued] = [new Gate(), new Gate()];
      const ending = browser.run(async session => {
        held.open();
        await queued.opened;
        await end(session, { first: first!, id, owner });
      });
      await held.opened;
      const before = waits.count;
      const answering = waiting.run(script, route);
      await until(() => waits.count > before);
      queued.open();
      const answer = await answering;
      expect((await ending).status).toBe(200);
      waiting.close();
      return { answer, browser, id };
    }

    describe.each(endings)('by %s', (name, end) => {
      const movesOn = name === 'regenerate()';

      // What was read ahead, middleware may have gone by: the handler must not.
      const status = eager ? 409 : 200;

      it.each(USES)(`%s: ${eager ? 'a 409' : 'an empty session'}, and no cookie`, async (_use, route) => {
        const { answer, browser, id } = await race(end, seenBy, route);
        expect(answer.status).toBe(status);
        expect(answer.json().value).toEqual(eager ? undefined : EMPTY);
        expect(answer.setCookies).toEqual([]);
        expect(await first!.store.exists(id)).toBe(false);
        // The browser is logged in still, if it got a new id.
        const user = await browser.value(session => session.get('user', 'nobody'));
        expect(user).toBe(movesOn ? 'Ann' : 'nobody');
        browser.close();
      });

      it('what it pays for is never paid: the session tells it that there is no user', async () => {
        let paid = 0;
        await race(end, session => {
          paid += Number(session.has('user'));
        });
        expect(paid).toBe(0);
      });

      it.each<[string, Script]>([
        ['a change', session => void session.set('a', 1)],
        ['a change of data', session => void ((session.data as any).a = 1)],
        ['a save()', session => session.set('a', 1).save()],
        ['an owner', session => void (session.owner = 'Ben')],
      ])('%s is a 409, without a cookie, and nothing is stored', async (_change, script) => {
        const { answer, id } = await race(end, script);
        expect(answer.status).toBe(409);
        expect(answer.setCookies).toEqual([]);
        expect(await first!.store.exists(id)).toBe(false);
      });

      it.each<[string, Script]>([
        ['regenerate(), as a log-in clicked twice', session => session.regenerate()],
        ['destroy()', session => session.destroy()],
      ])('%s begins anew: a session of its own', async (_begin, begin) => {
        const { answer, id } = await race(end, async session => {
          await begin(session);
          session.set('user', 'Ann again');
        });
        expect(answer.status).toBe(status);
        if (eager) {
          expect(answer.setCookies).toEqual([]);
          return;
        }
        const [, newId] = /session_id=([^;]+)/.exec(answer.setCookies[0]!)!;
        expect(answer.setCookies).toHaveLength(1);
        expect(newId).not.toBe(id);
        expect((await first!.store.get(newId!))!.data).toEqual({ user: 'Ann again' });
      });
    });

    it('no lock is left', async () => {
      await expect.poll(() => lockCount(first!) + lockCount(second!)).toBe(0);
    });
  });
});

/** Notes each request that has to wait: in line in its own process, or told by the storage that others are at work. */
function watchWaits({ app }: TestApp): { count: number } {
  const waits = { count: 0 };
  const { locks } = app.get(SessionRuntime);
  const acquire = locks.acquire.bind(locks);
  locks.acquire = (...args) => {
    waits.count += locks.size; // here, there is one session at most
    return acquire(...args);
  };
  const backend: SessionBackend = app.get(SESSION_BACKEND);
  const lock = backend.lock.bind(backend);
  backend.lock = async (...args) => {
    const outcome = await lock(...args);
    waits.count += Number(outcome === 'busy');
    return outcome;
  };
  return waits;
}
