import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { expressStore, SessionStorageException, type SessionBackend } from 'nest-sessions';
import { FailSafeBackend } from '../../lib/storage/fail-safe-backend.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { expectLogs } from '../support/expect-logs.js';
import { Browser, useServer } from '../support/scripts.js';
import { watchRejections } from '../support/unhandled.js';
import { newKey, newLease, writeOf } from '../contract/fixtures.js';

const LIMIT = 60;
const never = () => new Promise<never>(() => undefined);

const METHODS = ['read', 'lock', 'renew', 'unlock', 'touch', 'create', 'save', 'delete'] as const;

/** What each method is called with. */
const ARGUMENTS: Record<(typeof METHODS)[number], unknown[]> = {
  read: [],
  lock: [newLease()],
  renew: [newLease()],
  unlock: [newLease()],
  touch: [1000],
  create: [writeOf('{}')],
  save: [writeOf('{}'), newLease(), { unlock: true }],
  delete: [],
};

describe('invariant 4, storage trouble is not absence: a backend that does not do as it should', () => {
  watchRejections();
  expectLogs();

  const call = (backend: SessionBackend, method: (typeof METHODS)[number]) =>
    (backend[method] as (...args: unknown[]) => Promise<unknown>)(newKey(), ...ARGUMENTS[method]);
  const failSafe = (method: string, answer: () => unknown) =>
    new FailSafeBackend(Object.assign(new RamBackend(10), { [method]: answer }), false, undefined, LIMIT);

  it.each(METHODS)('%s never answers: a failure in time', async method => {
    const startedAt = performance.now();
    await expect(call(failSafe(method, never), method)).rejects.toBeInstanceOf(SessionStorageException);
    expect(performance.now() - startedAt).toBeGreaterThan(LIMIT - 5);
  });

  it.each(METHODS)('%s throws in place of rejecting: a failure like any other', async method => {
    const fails = () => {
      throw new Error('thrown');
    };
    const calling = call(failSafe(method, fails), method);
    await expect(calling).rejects.toMatchObject({ operation: method, cause: { message: 'thrown' } });
  });

  it.each(METHODS)('%s fails when nobody waits for it any more: no unhandled rejection', async method => {
    let fail: (error: Error) => void = () => undefined;
    const late = () => new Promise((_, reject) => (fail = reject));
    await expect(call(failSafe(method, late), method)).rejects.toBeInstanceOf(SessionStorageException);
    fail(new Error('late'));
    await new Promise(resolve => setTimeout(resolve, 10));
  });

  it.each(['lock', 'create'] as const)(
    'no lock left: %s that succeeds long after it was given up gives its lock back',
    async method => {
      const ram = new RamBackend(10);
      const key = newKey();
      const lease = newLease();
      if (method === 'lock') {
        await ram.create(key, writeOf('{}'));
      }
      const late = async () => {
        await sleep(15 * LIMIT); // later than any other try to give it back
        return method === 'lock' ? ram.lock(key, lease) : ram.create(key, writeOf('{}'), lease);
      };
      const slow = Object.assign(Object.create(ram) as RamBackend, { [method]: late });
      const backend = new FailSafeBackend(slow, false, undefined, LIMIT);
      const calling =
        method === 'lock' ? backend.lock(key, lease) : backend.create(key, writeOf('{}'), lease);
      await expect(calling).rejects.toBeInstanceOf(SessionStorageException);
      await sleep(20 * LIMIT);
      expect(await ram.lock(key, newLease())).toMatchObject({ data: '{}' });
    },
  );

  it('a sweep may take its time', async () => {
    const backend = failSafe(
      'cleanUp',
      () => new Promise(resolve => setTimeout(() => resolve(7), 2 * LIMIT)),
    );
    expect(await backend.cleanUp()).toBe(7);
  });
});

describe('a store of express-session that does not call back', () => {
  expectLogs();
  const store = { get: never, set: never, destroy: never } as never;
  const server = useServer({ sessions: { storageType: expressStore(store), storageTimeout: 0.2 } });

  it('503 within storageTimeout, for each request of the session', async () => {
    const id = newKey();
    for (let request = 0; request < 3; request++) {
      const startedAt = performance.now();
      const answer = await new Browser(server.url, id).run(session => session.get('a'));
      expect(answer.status).toBe(503);
      expect(answer.headers['retry-after']).toBe('1');
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    }
  });
});
