import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  SessionRequestClosedException,
  SessionTooManyWaitersException,
  type Lease,
  type SessionBackend,
} from 'nest-sessions';
import { LockManager } from '../../lib/locking/lock-manager.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { countTries } from '../support/count-tries.js';
import { clientOf, lockOf } from '../support/lock-client.js';
import { newKey, newLease, times, until, writeOf } from './fixtures.js';

const PATIENT = { waitMs: 60_000 };
const LEASE = 30_000;

let ram: RamBackend;
beforeEach(() => {
  ram = new RamBackend(10_000);
});

/** Sessions that another process has locked. */
async function lockedElsewhere(count: number): Promise<{ key: string; lease: Lease }[]> {
  return Promise.all(
    times(count, async () => {
      const [key, lease] = [newKey(), newLease()];
      await ram.create(key, writeOf('0'), lease);
      return { key, lease };
    }),
  );
}

/** Its tries at locks that are not the first ones hang until they are let go on. */
function hanging(backend: SessionBackend) {
  const state = { underWay: 0, most: 0, goOn: undefined as (() => void) | undefined };
  const over = new Promise<void>(resolve => (state.goOn = resolve));
  const known = new WeakSet<Lease>();
  const lock: SessionBackend['lock'] = async (key, lease) => {
    if (known.has(lease)) {
      state.most = Math.max(state.most, ++state.underWay);
      await over;
      state.underWay--;
    }
    known.add(lease);
    return backend.lock(key, lease);
  };
  return { state, backend: withMethods(backend, { lock }) };
}

const withMethods = (backend: SessionBackend, methods: Partial<SessionBackend>): SessionBackend =>
  new Proxy(backend, {
    get(target, property) {
      const member: unknown = Reflect.get(property in methods ? methods : target, property);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });

describe('waiting for other processes', () => {
  it('a storage that does not answer is asked for 20 sessions at a time, however many wait', async () => {
    const sessions = await lockedElsewhere(200);
    const { state, backend } = hanging(ram);
    const manager = new LockManager(backend, LEASE);
    const waiting = sessions.map(({ key }) => manager.acquire(key, PATIENT));
    await until(() => state.underWay === 20);
    await sleep(100); // only ever too short to see one too many
    expect(state.most).toBe(20);
    state.goOn!();
    await Promise.all(sessions.map(({ key, lease }) => ram.unlock(key, lease)));
    await Promise.all(waiting.map(async got => (await lockOf(got)).release()));
    expect(manager.size).toBe(0);
  });

  it('who has just come does not stand behind all who have waited for long', async () => {
    const old = await lockedElsewhere(600);
    const { backend, again, byKey } = countTries(ram);
    const manager = new LockManager(backend, LEASE);
    const waiting = old.map(({ key }) => manager.acquire(key, PATIENT));
    await until(() => again.length >= 1000); // each has waited for two seconds, and for its turn
    expect(Math.min(...old.map(({ key }) => byKey.get(key)!))).toBeGreaterThan(1);
    const [fresh] = await lockedElsewhere(1);
    const before = again.length;
    waiting.push(manager.acquire(fresh!.key, PATIENT));
    await until(() => byKey.get(fresh!.key) === 5);
    expect(again.length - before).toBeLessThan(500);
    await Promise.all([...old, fresh!].map(({ key, lease }) => ram.unlock(key, lease)));
    await Promise.all(waiting.map(async got => (await lockOf(got)).release()));
  });

  it('who gives up while it waits leaves at once, and its session is not tried again', async () => {
    const sessions = await lockedElsewhere(50);
    const { backend, again } = countTries(ram);
    const manager = new LockManager(backend, LEASE);
    const gone = new AbortController();
    const waiting = sessions.map(({ key }) => manager.acquire(key, { ...PATIENT, client: clientOf(gone) }));
    await until(() => again.length >= 100);
    gone.abort();
    const left = again.length;
    for (const result of await Promise.allSettled(waiting)) {
      expect(result).toMatchObject({ reason: expect.any(SessionRequestClosedException) });
    }
    expect(manager.size).toBe(0);
    await sleep(60); // only ever too short to see one too many
    expect(again.length).toBe(left);
  });
});

describe('a storage that tells when a lock is freed', () => {
  let tell: (key: string) => void;
  let manager: LockManager;
  let tries: ReturnType<typeof countTries>;
  /** Called while the storage looks at the lock of a try that is not the first. */
  let duringTry: (() => Promise<void>) | undefined;

  beforeEach(() => {
    duringTry = undefined;
    const known = new WeakSet<Lease>();
    tries = countTries(
      withMethods(ram, {
        onFreed: listener => {
          tell = listener;
        },
        lock: async (key, lease) => {
          const found = await ram.lock(key, lease);
          if (known.has(lease)) {
            await duringTry?.();
          }
          known.add(lease);
          return found;
        },
      }),
    );
    manager = new LockManager(tries.backend, LEASE);
  });

  it('is asked twice, and then when it tells', async () => {
    const [{ key, lease }] = (await lockedElsewhere(1)) as [{ key: string; lease: Lease }];
    const waiting = manager.acquire(key, PATIENT);
    await until(() => tries.byKey.get(key) === 2);
    tell(newKey());
    await sleep(300); // only ever too short to see one too many
    expect(tries.byKey.get(key)).toBe(2);
    await ram.unlock(key, lease);
    tell(key);
    await (await lockOf(waiting)).release();
    expect(tries.byKey.get(key)).toBe(3);
  });

  it('a word that comes during a try counts: it may have come too late for that try', async () => {
    const [{ key, lease }] = (await lockedElsewhere(1)) as [{ key: string; lease: Lease }];
    duringTry = async () => {
      duringTry = undefined;
      await ram.unlock(key, lease);
      tell(key);
    };
    const startedAt = performance.now();
    await (await lockOf(manager.acquire(key, PATIENT))).release();
    expect(tries.byKey.get(key)).toBe(3);
    expect(performance.now() - startedAt).toBeLessThan(1000); // the next try of its own comes later
  });

  it('a word that never comes is not missed for long', async () => {
    const [{ key, lease }] = (await lockedElsewhere(1)) as [{ key: string; lease: Lease }];
    const waiting = manager.acquire(key, PATIENT);
    await until(() => tries.byKey.get(key) === 2);
    await ram.unlock(key, lease);
    await (await lockOf(waiting)).release();
    expect(tries.byKey.get(key)).toBe(3);
  });
});

describe('maxWaiters', () => {
  it('one more than may wait for a session is refused at once, and the place of one who left is free', async () => {
    const manager = new LockManager(ram, LEASE, 3);
    const [key, other] = [newKey(), newKey()];
    await ram.create(key, writeOf('0'));
    await ram.create(other, writeOf('0'));
    const gone = new AbortController();
    const holder = await lockOf(manager.acquire(key, PATIENT));
    const leaving = manager.acquire(key, { ...PATIENT, client: clientOf(gone) });
    const waiting = times(2, () => manager.acquire(key, PATIENT));
    await expect(manager.acquire(key, PATIENT)).rejects.toThrow(SessionTooManyWaitersException);
    await (await lockOf(manager.acquire(other, PATIENT))).release(); // that is each session's own number
    gone.abort();
    await expect(leaving).rejects.toThrow(SessionRequestClosedException);
    waiting.push(manager.acquire(key, PATIENT));
    await holder.release();
    for (const got of waiting) {
      await (await lockOf(got)).release();
    }
    expect(manager.size).toBe(0);
  });
});
