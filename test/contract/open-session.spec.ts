import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  SessionDestroyedException,
  SessionLeaseLostException,
  SessionStorageException,
  type SessionBackend,
} from 'nest-sessions';
import type { OpenSession } from '../../lib/session/open-session.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { countCalls } from '../support/count-calls.js';
import { expectLogs } from '../support/expect-logs.js';
import { dictOf, OpenSessions } from '../support/open-sessions.js';
import type { Operation, Trouble } from '../support/troubled-backend.js';
import { watchRejections } from '../support/unhandled.js';
import { BACKENDS, type TestStorage } from './backends.js';
import { newLease } from './fixtures.js';

for (const { name: storageName, open: openStorage } of BACKENDS) {
  describe(`a session in use: ${storageName}`, () => {
    let storage: TestStorage;
    let sessions: OpenSessions;
    let other: SessionBackend;
    beforeAll(async () => {
      storage = await openStorage();
      other = storage.clients[1];
    });
    beforeEach(() => {
      sessions = new OpenSessions(storage.clients[0]);
    });
    afterAll(() => storage.close());
    watchRejections();
    expectLogs();

    const load = async (id?: string): Promise<OpenSession> => {
      const open = sessions.open(id);
      await open.load();
      return open;
    };

    /** The request is over. */
    const end = async (open: OpenSession): Promise<void> => {
      await open.commit();
      open.answer();
      await sessions.allFree();
    };

    describe('success means saved: a change is stored, whatever was called before or meanwhile', () => {
      it.each([
        ['save', true],
        ['releaseLock', true],
        ['touch', true],
        ['regenerate', true],
        ['reload', false],
        ['destroy', false],
      ] as const)('%s', async (name, keeps) => {
        const open = await load(await sessions.seed({ cart: [1] }));
        const { data } = dictOf(open);
        const call = dictOf(open)[name]();
        dictOf(open).set('meanwhile', 1);
        await call;
        data.after = 1;
        await end(open);
        expect(await sessions.stored(open.id)).toMatchObject(
          keeps ? { cart: [1], meanwhile: 1, after: 1 } : { after: 1 },
        );
      });

      it('in a part of the data that was taken before save()', async () => {
        const open = await load(await sessions.seed({ cart: [1] }));
        const cart = dictOf(open).get('cart') as number[];
        await dictOf(open).save();
        cart.push(2);
        await end(open);
        expect(await sessions.stored(open.id)).toEqual({ cart: [1, 2] });
      });
    });

    describe('a save that failed, and may be stored', () => {
      const TROUBLES: Trouble[] = ['refused', 'unanswered'];

      it.each(TROUBLES)('a stored session: what is undone afterwards is not stored, %s', async trouble => {
        const open = await load(await sessions.seed({ n: 1 }));
        dictOf(open).set('b', 2);
        sessions.backend.failNext('save', trouble);
        await expect(dictOf(open).save()).rejects.toBeInstanceOf(SessionStorageException);
        dictOf(open).delete('b');
        await end(open);
        expect(await sessions.stored(open.id)).toEqual({ n: 1 });
      });

      it.each(TROUBLES)('a new session: what is undone afterwards is not stored, %s', async trouble => {
        const open = await load();
        dictOf(open).update({ b: 2, n: 1 });
        sessions.backend.failNext('create', trouble);
        await expect(dictOf(open).save()).rejects.toBeInstanceOf(SessionStorageException);
        dictOf(open).delete('b');
        await end(open);
        expect(await sessions.stored(open.id)).toEqual({ n: 1 });
        expect(await sessions.keys()).toHaveLength(1);
      });

      it.each(TROUBLES)('a new session can be saved again at once, %s', async trouble => {
        sessions = new OpenSessions(storage.clients[0], { lockTimeout: 5 });
        const open = await load();
        dictOf(open).set('b', 2);
        sessions.backend.failNext('create', trouble);
        await expect(dictOf(open).save()).rejects.toBeInstanceOf(SessionStorageException);
        await dictOf(open).save(); // would wait for the lock of the first try
        await end(open);
        expect(await sessions.keys()).toEqual([sessionKey(open.id)]);
      });
    });

    describe('destroy() or regenerate() that failed is told by the commit, though somebody took note', () => {
      const FAILURES: ['destroy' | 'regenerate', Operation, Trouble][] = [
        ['destroy', 'delete', 'refused'],
        ['destroy', 'delete', 'unanswered'],
        ['regenerate', 'create', 'refused'],
        ['regenerate', 'create', 'unanswered'],
        ['regenerate', 'delete', 'refused'],
      ];

      it.each(FAILURES)('%s: %s %s', async (name, operation, trouble) => {
        const open = await load(await sessions.seed({ n: 1 }));
        sessions.backend.failNext(operation, trouble);
        await expect(dictOf(open)[name]()).rejects.toBeInstanceOf(SessionStorageException);
        await expect(Promise.resolve(open.commit())).rejects.toBeInstanceOf(SessionStorageException);
        open.answer();
        await sessions.allFree();
        expect((await sessions.keys()).length).toBeLessThanOrEqual(1);
      });

      it.each(FAILURES)('%s: %s %s, unless it succeeds later', async (name, operation, trouble) => {
        const open = await load(await sessions.seed({ n: 1 }));
        const { id } = open;
        sessions.backend.failNext(operation, trouble);
        await expect(dictOf(open)[name]()).rejects.toBeInstanceOf(SessionStorageException);
        await dictOf(open)[name]();
        await end(open);
        expect(await sessions.stored(id)).toBeUndefined();
        expect(await sessions.keys()).toHaveLength(name === 'destroy' ? 0 : 1);
      });
    });

    it.each([
      ['implicit', 'is taken over by the other: 503'],
      ['explicit', 'is merged'],
    ] as const)(
      'a save that failed, and another request wrote since: under %s, it %s',
      async (locking, _outcome) => {
        const id = await sessions.seed({ n: 1 });
        const open = sessions.open(id);
        open.locking = locking;
        await open.load();
        dictOf(open).set('b', 2);
        sessions.backend.failNext('save', 'refused');
        await expect(dictOf(open).save()).rejects.toBeInstanceOf(SessionStorageException);
        const second = await load(id);
        dictOf(second).set('n', 3);
        await end(second);
        if (locking === 'implicit') {
          await expect(dictOf(open).save()).rejects.toBeInstanceOf(SessionLeaseLostException);
          expect(await sessions.stored(id)).toEqual({ n: 3 });
        } else {
          await dictOf(open).save();
          expect(await sessions.stored(id)).toEqual({ n: 3, b: 2 });
          await end(open);
        }
      },
    );

    describe('no lock left', () => {
      it('by a commit that failed, as soon as it has', async () => {
        const open = await load(await sessions.seed({ n: 1 }));
        sessions.backend.failNext('touch', 'refused');
        void dictOf(open).touch();
        await expect(open.commit()).rejects.toBeInstanceOf(SessionStorageException);
        await sessions.allFree();
        open.answer();
      });

      it('that was taken between the commit and the answer', async () => {
        const open = await load(await sessions.seed({ n: 1 }));
        await open.commit();
        await dictOf(open).acquireLock();
        open.answer();
        await sessions.allFree();
      });

      it('that is on its way when the answer ends', async () => {
        const open = await load(await sessions.seed({ n: 1 }));
        dictOf(open).set('b', 2);
        await open.commit();
        void dictOf(open).acquireLock();
        open.answer();
        await sessions.allFree();
      });

      it('that was taken after a commit that failed', async () => {
        const open = await load(await sessions.seed({ n: 1 }));
        dictOf(open).set('b', 2);
        sessions.backend.failNext('save', 'refused');
        await expect(open.commit()).rejects.toBeInstanceOf(SessionStorageException);
        await dictOf(open).acquireLock();
        await open.commit();
        open.answer();
        await sessions.allFree();
      });
    });

    describe('a wait for the lock that nobody awaits', () => {
      const isOthers = async (id: string) => {
        const lease = newLease();
        await other.lock(sessionKey(id), lease);
        return () => other.unlock(sessionKey(id), lease);
      };

      it.each(['as it begins', 'behind another call', 'once it waits'])(
        'ends with the commit, %s; what did not change is no failure',
        async when => {
          const id = await sessions.seed({ n: 1 });
          const open = sessions.open(id);
          open.locking = 'explicit';
          await open.load();
          const free = await isOthers(id);
          if (when === 'behind another call') {
            void dictOf(open).touch();
          }
          void dictOf(open).acquireLock();
          await expect.poll(() => when !== 'once it waits' || open.cancelWait !== undefined).toBe(true);
          await open.commit(); // its own lockTimeout is half a minute
          open.answer();
          await free();
          await sessions.allFree();
        },
      );

      it('is not taken for another that the change needs', async () => {
        const id = await sessions.seed({ n: 1 });
        const open = sessions.open(id);
        open.locking = 'explicit';
        void dictOf(open).load();
        await open.load();
        dictOf(open).set('b', 2);
        const first = await load(id);
        const saving = dictOf(open).save();
        await expect.poll(() => open.cancelWait).toBeDefined();
        const committed = open.commit();
        dictOf(first).set('n', 3);
        await end(first);
        await committed;
        await saving;
        open.answer();
        await sessions.allFree();
        expect(await sessions.stored(id)).toEqual({ n: 3, b: 2 });
      });
    });

    it('what was waiting in line when the storage failed is not tried; what is called afterwards is', async () => {
      const { calls, backend } = countCalls(storage.clients[0]);
      sessions = new OpenSessions(backend);
      const open = await load(await sessions.seed({ n: 1 }));
      dictOf(open).set('b', 2);
      sessions.backend.failNext('touch', 'unanswered');
      const all = [dictOf(open).touch(), ...Array.from({ length: 100 }, () => dictOf(open).save())];
      const results = await Promise.allSettled(all);
      expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(101);
      expect(calls.filter(name => name === 'touch' || name === 'save')).toEqual(['touch']);
      await dictOf(open).save();
      await end(open);
      expect(await sessions.stored(open.id)).toEqual({ n: 1, b: 2 });
    });

    it('a session that ended meanwhile: what was not changed is no failure', async () => {
      const open = await load(await sessions.seed({ n: 1 }));
      await other.delete(sessionKey(open.id));
      await expect(dictOf(open).touch()).rejects.toBeInstanceOf(SessionDestroyedException);
      await end(open);
    });
  });
}
