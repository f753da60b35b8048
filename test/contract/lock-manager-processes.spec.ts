import { Logger } from '@nestjs/common';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SessionRequestClosedException, SessionStorageException, type SessionBackend } from 'nest-sessions';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { FailSafeBackend } from '../../lib/storage/fail-safe-backend.js';
import type { HeldLock } from '../../lib/locking/held-lock.js';
import { LockManager } from '../../lib/locking/lock-manager.js';
import { newKey, times, until, writeOf } from './fixtures.js';
import { countCalls } from '../support/count-calls.js';
import { clientOf, lockOf } from '../support/lock-client.js';

/** Milliseconds that a wait may take which is not to end by itself. */
const PATIENT = { waitMs: 60_000 };
const LEASE = 30_000;

const add = (lock: HeldLock) => writeOf(String(Number(lock.record.data) + 1));
const callsOf = (calls: string[], name: string) => calls.filter(call => call === name).length;

describe('two processes, one folder', () => {
  let folder: string;
  let one: SessionBackend;
  let two: SessionBackend;
  let calls: string[];
  let key: string;

  beforeEach(async () => {
    folder = join(await mkdtemp(join(tmpdir(), 'nest-sessions-')), 'storage');
    const file = new FileBackend(folder);
    await file.open();
    ({ backend: one, calls } = countCalls(file));
    two = new FileBackend(folder);
    key = newKey();
    await one.create(key, writeOf('0'));
  });
  afterEach(() => rm(join(folder, '..'), { recursive: true, force: true }));

  it('invariant 1, no lost update: 30 of each read, wait and write: 60 of 60', async () => {
    const queues = [new LockManager(one, LEASE), new LockManager(two, LEASE)];
    await Promise.all(
      times(60, async index => {
        const lock = await lockOf(queues[index % 2]!.acquire(key, PATIENT));
        const write = add(lock);
        await sleep(index % 3);
        expect(await lock.save(write, true)).toBe(true);
      }),
    );
    expect((await one.read(key))?.data).toBe('60');
    await until(() => queues.every(queue => queue.size === 0));
  });

  it('neither starves: one that is never idle lets the other in, 8 times', async () => {
    const busy = new LockManager(one, LEASE);
    const other = new LockManager(two, LEASE);
    let served = 0;
    const test = { over: false };
    const crowd = times(8, async () => {
      while (!test.over) {
        const lock = await lockOf(busy.acquire(key, PATIENT));
        await sleep(1);
        await lock.save(add(lock), true);
        served++;
      }
    });
    try {
      for (let turn = 0; turn < 8; turn++) {
        const servedBefore = served;
        const lock = await lockOf(other.acquire(key, { waitMs: 8_000 }));
        await lock.save(add(lock), true);
        await until(() => served > servedBefore); // and the crowd goes on
      }
    } finally {
      test.over = true;
      await Promise.all(crowd);
    }
    expect((await two.read(key))?.data).toBe(String(served + 8));
  });

  it('invariant 9: a holder that lives keeps its lock beyond the lease', async () => {
    const leaseMs = 900;
    const mine = new LockManager(one, leaseMs);
    const theirs = new LockManager(two, leaseMs);
    const lock = await lockOf(mine.acquire(key, PATIENT));
    let taken = false;
    const waiting = theirs.acquire(key, PATIENT).finally(() => (taken = true));
    await sleep(3 * leaseMs);
    expect(taken).toBe(false);
    expect(await lock.save(writeOf('mine'), true)).toBe(true);
    const next = await lockOf(waiting);
    expect(next.record.data).toBe('mine');
    await next.release();
  });

  it('renews only while a lock is held', async () => {
    const queue = new LockManager(one, 30);
    const lock = await lockOf(queue.acquire(key, PATIENT));
    await until(() => callsOf(calls, 'renew') >= 3);
    await lock.release();
    const renewals = callsOf(calls, 'renew');
    await sleep(100);
    expect(callsOf(calls, 'renew')).toBe(renewals);
  });

  describe('invariant 4, storage trouble is not absence', () => {
    beforeAll(() => Logger.overrideLogger(false));
    afterAll(() => Logger.overrideLogger(new Logger()));

    /** A file where the folder was: no operation can succeed. */
    async function breakStorage(): Promise<void> {
      await rename(folder, `${folder}.away`);
      await writeFile(folder, '');
    }

    async function repairStorage(): Promise<void> {
      await rm(folder);
      await rename(`${folder}.away`, folder);
    }

    it('rejects all waiters at once, and the queue recovers', async () => {
      const queue = new LockManager(new FailSafeBackend(one, false), LEASE);
      const holder = await lockOf(queue.acquire(key, PATIENT));
      const waiting = times(20, () => queue.acquire(key, PATIENT));
      const settled = Promise.allSettled(
        waiting.map(async got => (await lockOf(got)).save(writeOf('lost, too'), true)),
      );
      await breakStorage();
      calls.length = 0;
      await expect(holder.save(writeOf('lost'), true)).rejects.toThrow(SessionStorageException);
      for (const result of await settled) {
        expect(result).toMatchObject({ reason: expect.any(SessionStorageException) });
      }
      expect(callsOf(calls, 'lock')).toBe(0); // the holder's failure is theirs
      await until(() => queue.size === 0);
      await expect(queue.acquire(key, PATIENT)).rejects.toThrow(SessionStorageException);
      await repairStorage();
      await one.delete(key); // and with it the lock that could not be freed
      await one.create(key, writeOf('again'));
      const lock = await lockOf(queue.acquire(key, { waitMs: 5_000 }));
      expect(lock.record.data).toBe('again');
      await lock.release();
      expect(queue.size).toBe(0);
    });

    it('a lock that could not be freed is freed as soon as the storage is back, long before it lapses', async () => {
      const queue = new LockManager(new FailSafeBackend(one, false), 3_600_000);
      const saver = await lockOf(queue.acquire(key, PATIENT));
      await breakStorage();
      await expect(saver.save(writeOf('lost'), true)).rejects.toThrow(SessionStorageException);
      await repairStorage();
      const other = new LockManager(new FailSafeBackend(two, false), 3_600_000);
      const reader = await lockOf(other.acquire(key, PATIENT));
      expect(reader.record.data).toBe('0');
      await breakStorage();
      await expect(reader.release()).rejects.toThrow(SessionStorageException);
      await repairStorage();
      await (await lockOf(queue.acquire(key, PATIENT))).release();
    });

    it('a lock that cannot be freed lapses', async () => {
      const queue = new LockManager(new FailSafeBackend(one, false), 200);
      const holder = await lockOf(queue.acquire(key, PATIENT));
      await breakStorage();
      await expect(holder.release()).rejects.toThrow(SessionStorageException);
      queue.close(); // it tries no more to free it
      await repairStorage();
      const lock = await lockOf(queue.acquire(key, PATIENT));
      expect(lock.record.data).toBe('0');
      await lock.release();
      expect(queue.size).toBe(0);
    });

    it('the last waiter gone while the lock is on its way to it, and no way to free it: no one is stuck', async () => {
      const client = new AbortController();
      const failing = new Proxy(one, {
        get: (target, name) =>
          name === 'renew'
            ? async (...args: Parameters<SessionBackend['renew']>) => {
                const renewed = await target.renew(...args);
                client.abort();
                await breakStorage();
                return renewed;
              }
            : Reflect.get(target, name),
      });
      const queue = new LockManager(new FailSafeBackend(failing, false), 200);
      const holder = await lockOf(queue.acquire(key, PATIENT));
      const waiting = queue.acquire(key, { ...PATIENT, client: clientOf(client) });
      const settled = Promise.allSettled([waiting]);
      await holder.release();
      expect(await settled).toMatchObject([{ reason: expect.any(SessionRequestClosedException) }]);
      await until(() => queue.size === 0);
      await repairStorage();
      const lock = await lockOf(queue.acquire(key, { waitMs: 10_000 }));
      expect(lock.record.data).toBe('0');
      await lock.release();
    });
  });
});
