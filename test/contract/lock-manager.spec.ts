import * as fc from 'fast-check';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  SessionLockTimeoutException,
  SessionRequestClosedException,
  type SessionBackend,
} from 'nest-sessions';
import type { HeldLock } from '../../lib/locking/held-lock.js';
import { LockManager } from '../../lib/locking/lock-manager.js';
import { BACKENDS, type TestStorage } from './backends.js';
import { newKey, newLease, times, until, writeOf } from './fixtures.js';
import { countCalls } from '../support/count-calls.js';
import { clientOf, lockOf } from '../support/lock-client.js';

/** Milliseconds that a wait may take which is not to end by itself. */
const PATIENT = { waitMs: 60_000 };
const LEASE = 30_000;

const add = (lock: HeldLock) => writeOf(String(Number(lock.record.data) + 1));
const callsOf = (calls: string[], name: string) => calls.filter(call => call === name).length;

for (const { name, open } of BACKENDS) {
  describe(`one process, one queue: ${name}`, () => {
    let storage: TestStorage;
    let backend: SessionBackend;
    let calls: string[];
    let queue: LockManager;
    let key: string;

    beforeEach(async () => {
      storage = await open();
      ({ backend, calls } = countCalls(storage.clients[0]));
      queue = new LockManager(backend, LEASE);
      key = newKey();
      await backend.create(key, writeOf('0'));
    });
    afterEach(() => storage.close());

    /** Nobody holds or waits for the lock: neither in the queue nor in the storage. */
    async function expectFree(): Promise<void> {
      await until(() => queue.size === 0);
      const lease = newLease();
      // A storage may free it behind the answer.
      await until(async () => (await storage.clients[1].lock(key, lease)) !== 'busy');
      await storage.clients[1].unlock(key, lease);
    }

    it('invariant 1, no lost update: 100 at once read, wait and write: 100 of 100', async () => {
      await Promise.all(
        times(100, async index => {
          const lock = await lockOf(queue.acquire(key, PATIENT));
          const write = add(lock);
          await sleep(index % 3);
          expect(await lock.save(write, true)).toBe(true);
        }),
      );
      expect((await backend.read(key))?.data).toBe('100');
      await expectFree();
    });

    it('first come, first served, however the locks end', async () => {
      const order: number[] = [];
      await Promise.all(
        times(60, async index => {
          const lock = await lockOf(queue.acquire(key, PATIENT));
          order.push(index);
          await (index % 2 === 0 ? lock.release() : lock.save(add(lock), true));
        }),
      );
      expect(order).toEqual(times(60, index => index));
      await expectFree();
    });

    it('hands the lock and the record over: the backend is asked for the lock once a turn', async () => {
      const startedAt = Date.now();
      await Promise.all(
        times(50, async index => {
          const lock = await lockOf(queue.acquire(key, PATIENT));
          expect(lock.record.data).toBe(String(index));
          await lock.save(writeOf(String(index + 1)), true);
        }),
      );
      // A turn is 200 ms where others may be waiting, and all the time where there are no others.
      const turns = backend.inProcess ? 1 : 1 + Math.floor((Date.now() - startedAt) / 200);
      expect(callsOf(calls, 'lock')).toBeLessThanOrEqual(turns);
      // One save may do for several requests: not before it is stored is anyone answered.
      expect(callsOf(calls, 'save')).toBeLessThanOrEqual(50);
      expect((await backend.read(key))!.data).toBe('50');
      calls.splice(calls.indexOf('read'), 1);
      expect(callsOf(calls, 'read') + callsOf(calls, 'unlock')).toBe(0);
      await expectFree();
    });

    it('without a queue, a request costs a lock and a save, or a lock and an unlock', async () => {
      calls.length = 0;
      await (await lockOf(queue.acquire(key, PATIENT))).save(writeOf('1'), true);
      await (await lockOf(queue.acquire(key, PATIENT))).release(10_000);
      expect(calls).toEqual(['lock', 'save', 'lock', 'unlock']);
      expect((await backend.read(key))!.expiresAt).toBeLessThan(Date.now() + 11_000);
      await expectFree();
    });

    it('finds no session: it is absent for all that ask, and nothing stays behind', async () => {
      const unknown = newKey();
      const results = await Promise.all(times(20, () => queue.acquire(unknown, PATIENT)));
      expect(results).toEqual(times(20, () => 'absent'));
      await expectFree();
    });

    it('who waits too long gets a SessionLockTimeoutException and leaves its place', async () => {
      const holder = await lockOf(queue.acquire(key, PATIENT));
      const late = times(5, () => queue.acquire(key, { waitMs: 20 }));
      const patient = queue.acquire(key, PATIENT);
      for (const result of await Promise.allSettled(late)) {
        expect(result).toMatchObject({ reason: expect.any(SessionLockTimeoutException) });
      }
      await holder.save(writeOf('1'), true);
      const next = await lockOf(patient);
      expect(next.record.data).toBe('1');
      await next.release();
      await expectFree();
    });

    it('whose client goes away leaves its place', async () => {
      const gone = new AbortController();
      const holder = await lockOf(queue.acquire(key, PATIENT));
      const waiting = times(5, () => queue.acquire(key, { ...PATIENT, client: clientOf(gone) }));
      const patient = queue.acquire(key, PATIENT);
      gone.abort();
      for (const result of await Promise.allSettled(waiting)) {
        expect(result).toMatchObject({ reason: expect.any(SessionRequestClosedException) });
      }
      await holder.release();
      await (await lockOf(patient)).release();
      calls.length = 0;
      await expect(queue.acquire(key, { ...PATIENT, client: clientOf(gone) })).rejects.toThrow(
        SessionRequestClosedException,
      );
      expect(calls).toEqual([]);
      await expectFree();
    });

    it('waits for other processes too, and gives up on them in time', async () => {
      const other = newLease();
      await storage.clients[1].lock(key, other);
      await expect(queue.acquire(key, { waitMs: 30 })).rejects.toThrow(SessionLockTimeoutException);
      const gone = new AbortController();
      const left = queue.acquire(key, { ...PATIENT, client: clientOf(gone) });
      const patient = queue.acquire(key, PATIENT);
      gone.abort();
      await expect(left).rejects.toThrow(SessionRequestClosedException);
      await storage.clients[1].save(key, writeOf('other'), other, { unlock: true });
      const lock = await lockOf(patient);
      expect(lock.record.data).toBe('other');
      await lock.release();
      await expectFree();
    });

    for (const [end, finish] of [
      ['saves', (lock: HeldLock) => lock.save(writeOf('late'), true)],
      ['releases', (lock: HeldLock) => lock.release(60_000)],
      ['forgets', async (lock: HeldLock) => lock.forget()],
    ] as const) {
      it(`invariant 2, no resurrection: destroyed while others wait, then the holder ${end}`, async () => {
        const holder = await lockOf(queue.acquire(key, PATIENT));
        const waiting = times(10, () => queue.acquire(key, PATIENT));
        await storage.clients[1].delete(key);
        expect((await finish(holder)) ?? false).toBe(false);
        // Invariant 12: no one whose turn came after it is given the session.
        expect(await waiting[0]).toBe('ended'); // who got the lock all the same would hold up the others
        expect(await Promise.all(waiting)).toEqual(times(10, () => 'ended'));
        expect(await queue.acquire(key, PATIENT)).toBe('absent'); // who comes later has not waited for it
        expect(await backend.read(key)).toBeUndefined();
        await expectFree();
      });
    }

    it('invariant 9: a holder that was robbed stores nothing, and who waited for it begins with what the thief stored', async () => {
      queue = new LockManager(backend, 1);
      const holder = await lockOf(queue.acquire(key, PATIENT));
      const waiting = queue.acquire(key, PATIENT);
      const thief = newLease();
      // Its renewals keep a lease alive: it is gone when another gets the lock.
      await until(async () => (await storage.clients[1].lock(key, thief)) !== 'busy');
      expect(await holder.save(writeOf('stale'), true)).toBe(false);
      expect(await storage.clients[1].save(key, writeOf('new'), thief, { unlock: true })).toBe(true);
      const next = await lockOf(waiting);
      expect(next.record.data).toBe('new');
      await next.release();
      await expectFree();
    });

    it('a new record is adopted with its lock, which then ends as any other', async () => {
      const fresh = newKey();
      const lease = queue.newLease();
      await backend.create(fresh, writeOf('0'), lease);
      const lock = queue.adopt(fresh, lease, (await backend.read(fresh))!);
      const waiting = queue.acquire(fresh, PATIENT);
      expect(await lock.save(writeOf('1'))).toBe(true);
      expect(await lock.save(writeOf('2'), true)).toBe(true);
      const next = await lockOf(waiting);
      expect(next.record.data).toBe('2');
      await next.release();
      await expectFree();
    });

    it('leaks nothing and loses nothing, whatever the requests do', async () => {
      const request = fc.record({
        start: fc.nat(4),
        hold: fc.nat(4),
        waitMs: fc.constantFrom(1, 3, 8, 60_000, 60_000),
        abortAfter: fc.option(fc.nat(8), { freq: 4 }),
        end: fc.constantFrom('save', 'save', 'release', 'save twice', 'destroy'),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(request, { minLength: 2, maxLength: 14 }), async requests => {
          key = newKey();
          await backend.create(key, writeOf('0'));
          let saved = 0;
          let destroyed = false;
          await Promise.all(
            requests.map(async ({ start, hold, waitMs, abortAfter, end }) => {
              await sleep(start);
              const client = new AbortController();
              if (abortAfter !== null) {
                setTimeout(() => client.abort(), abortAfter);
              }
              const lock = await queue.acquire(key, { waitMs, client: clientOf(client) }).catch(error => {
                const refused = [SessionLockTimeoutException, SessionRequestClosedException];
                expect(refused.some(type => error instanceof type)).toBe(true);
              });
              if (!lock || typeof lock === 'string') {
                expect(lock === undefined || destroyed).toBe(true);
                return;
              }
              expect(destroyed).toBe(false);
              expect(lock.record.data).toBe(String(saved));
              await sleep(hold);
              if (end === 'destroy') {
                destroyed = true;
                await backend.delete(key);
                lock.forget();
              } else if (end === 'release') {
                await lock.release();
              } else {
                if (end === 'save twice') {
                  expect(await lock.save(add(lock))).toBe(true);
                  saved++;
                }
                saved++;
                expect(await lock.save(writeOf(String(saved)), true)).toBe(true);
              }
            }),
          );
          await expectFree();
          expect((await backend.read(key))?.data).toBe(destroyed ? undefined : String(saved));
        }),
        { numRuns: 60 },
      );
    });
  });
}
