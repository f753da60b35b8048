import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ExpressSession, Session, SessionBackend } from 'nest-sessions';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import type { Answer } from '../support/client.js';
import { expectLogs } from '../support/expect-logs.js';
import { Browser, lockCount, ScriptController } from '../support/scripts.js';
import { openBackend, orAnother } from '../support/storages.js';
import { troubled, type Operation, type TroubledBackend } from '../support/troubled-backend.js';
import { watchRejections } from '../support/unhandled.js';

type Done = () => void;

/** What applications written for express-session do, ended by `done`, which redirects. */
interface Habit {
  name: string;
  run(session: any, done: Done): unknown;
  /** What it asks of the storage for a session that is new, or stored. */
  new?: Operation;
  stored: Operation;
  /** The session is gone when it succeeds. */
  ends?: true;
}

const HABITS: Habit[] = [
  {
    name: 'save() without await, then a redirect',
    run(session, done) {
      session.user = 'u';
      session.save();
      done();
    },
    new: 'create',
    stored: 'save',
  },
  {
    name: 'save(callback) that ignores the error',
    run(session, done) {
      session.user = 'u';
      session.save(done);
    },
    new: 'create',
    stored: 'save',
  },
  {
    name: 'no save() at all',
    run(session, done) {
      session.user = 'u';
      done();
    },
    new: 'create',
    stored: 'save',
  },
  {
    name: 'two saves at once',
    async run(session, done) {
      session.user = 'u';
      await Promise.all([session.save(), session.save()]);
      done();
    },
    new: 'create',
    stored: 'save',
  },
  {
    name: 'a hundred saves without await',
    run(session, done) {
      session.user = 'u';
      for (let count = 0; count < 100; count++) {
        session.save();
      }
      done();
    },
    new: 'create',
    stored: 'save',
  },
  {
    name: 'regenerate() without await, then a redirect',
    run(session, done) {
      session.regenerate();
      done();
    },
    stored: 'delete',
    ends: true,
  },
  {
    name: 'regenerate(callback) that ignores the error',
    run: (session, done) => void session.regenerate(() => done()),
    stored: 'delete',
    ends: true,
  },
  {
    name: 'destroy() without await, then a redirect',
    run(session, done) {
      session.destroy();
      done();
    },
    stored: 'delete',
    ends: true,
  },
  {
    name: 'destroy(callback) that ignores the error',
    run: (session, done) => void session.destroy(() => done()),
    stored: 'delete',
    ends: true,
  },
];

const BEGINNING = HABITS.flatMap(habit => (habit.new ? [{ ...habit, new: habit.new }] : []));

/** The same of `Session`, in a handler that returns, with what the storage fails to do. */
const NATIVE: { name: string; run(session: Session): Promise<void>; operation: Operation }[] = [
  { name: 'save()', run: session => session.save(), operation: 'save' },
  { name: 'touch()', run: session => session.touch(), operation: 'touch' },
  { name: 'reload()', run: session => session.reload(), operation: 'read' },
  { name: 'regenerate(), not made', run: session => session.regenerate(), operation: 'create' },
  { name: 'regenerate(), not removed', run: session => session.regenerate(), operation: 'delete' },
  { name: 'destroy()', run: session => session.destroy(), operation: 'delete' },
];

for (const [adapter, storage] of ADAPTERS.map(
  (name, index) => [name, orAnother(index === 0 ? 'postgresql' : 'ram')] as const,
)) {
  describe(`calls that nobody awaits: ${adapter}, ${storage}`, () => {
    let backend: SessionBackend;
    let away: TroubledBackend;
    let server: TestApp;
    let browser: Browser;
    let id: string;
    beforeAll(async () => {
      backend = await openBackend(storage);
      away = troubled(backend);
      server = await startApp({ adapter, sessions: { storageType: away }, controllers: [ScriptController] });
    });
    beforeEach(async () => {
      id = await server.store.create({ n: 1 });
    });
    afterEach(async () => {
      away.forgetTroubles();
      browser.close();
      await expect.poll(() => lockCount(server)).toBe(0); // no lock left
      for (const key of away.created) {
        await backend.delete(key);
      }
    });
    afterAll(async () => {
      const begin = performance.now();
      await server.close();
      await backend.close();
      expect(performance.now() - begin, 'closes at once').toBeLessThan(5000);
    });
    watchRejections();
    expectLogs();

    const run = (habit: Habit): Promise<Answer> =>
      browser.runExpress(
        (session: ExpressSession, _request, response) =>
          habit.run(session, () => response.writeHead(302, { Location: '/' }).end()),
        'express-raw',
      );

    const expectTold = (answer: Answer) => {
      away.forgetTroubles();
      expect(answer.status).toBe(503);
      expect(answer.headers['retry-after']).toBeDefined();
      expect(answer.headers.location).toBeUndefined();
      expect(answer.setCookies).toEqual([]); // the client keeps what it has
    };

    /** One of several saves may have stored it, though another failed. */
    const expectToldOrStored = async (answer: Answer, data: object) => {
      away.forgetTroubles();
      if (answer.status === 503 && answer.setCookies.length === 0) {
        return expectTold(answer);
      }
      expect([302, 503]).toContain(answer.status);
      expect((await server.store.get((await browser.cookie())!))?.data).toEqual(data);
    };

    describe.each(BEGINNING)('req.session of a new session: $name', habit => {
      it('one record, that the cookie names', async () => {
        browser = new Browser(server.url);
        const answer = await run(habit);
        expect([answer.status, answer.headers.location]).toEqual([302, '/']);
        expect(await server.stored()).toBe(2); // with the one that is there from before
        expect((await server.store.get((await browser.cookie())!))?.data).toEqual({ user: 'u' });
      });

      it('the storage fails: 503 with Retry-After', async () => {
        browser = new Browser(server.url);
        away.failNext(habit.new, 'refused', 200);
        expectTold(await run(habit));
        expect(await server.stored()).toBe(1); // that is there from before
      });

      it('the answer of the storage is lost: 503, or stored', async () => {
        browser = new Browser(server.url);
        away.failNext(habit.new, 'unanswered', 200);
        await expectToldOrStored(await run(habit), { user: 'u' });
        expect(await server.stored()).toBeLessThanOrEqual(2);
      });
    });

    describe.each(HABITS)('req.session of a stored session: $name', habit => {
      it('its record, and none besides', async () => {
        browser = new Browser(server.url, id);
        const answer = await run(habit);
        expect(answer.status).toBe(302);
        expect(await server.stored()).toBe(habit.ends ? 0 : 1);
        expect((await server.store.get(id))?.data).toEqual(habit.ends ? undefined : { n: 1, user: 'u' });
      });

      it('the storage fails: 503 with Retry-After', async () => {
        browser = new Browser(server.url, id);
        away.failNext(habit.stored, 'refused', 200);
        expectTold(await run(habit));
        expect((await server.store.get(id))?.data).toEqual({ n: 1 });
      });

      it('the answer of the storage is lost: 503', async () => {
        browser = new Browser(server.url, id);
        away.failNext(habit.stored, 'unanswered', 200);
        expectTold(await run(habit));
      });

      it('the storage fails once: 503, or stored', async () => {
        browser = new Browser(server.url, id);
        away.failNext(habit.stored, 'refused');
        await expectToldOrStored(await run(habit), { n: 1, user: 'u' });
      });
    });

    it.each(NATIVE)('Session: $name fails: 503 with Retry-After', async ({ run: call, operation }) => {
      browser = new Browser(server.url, id);
      const answer = await browser.run(session => {
        session.set('user', 'u');
        away.failNext(operation, 'refused', 10);
        void call(session);
      });
      expectTold(answer);
      expect((await server.store.get(id))?.data).toEqual({ n: 1 });
    });
  });
}
