import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease, SessionBackend, SessionRecord, SessionWrite } from '../storage/session-backend.js';

/** Milliseconds: a time to live, or a lease, that does not end during a test. */
export const LONG = 600_000;

/** Milliseconds by which a storage may be off with a time. */
export const TOLERANCE = 5_000;

export const newKey = (): string => randomBytes(32).toString('base64url');

export const newLease = (ms = LONG): Lease => ({ token: randomBytes(16).toString('base64url'), ms });

export const writeOf = (data: string, more: Partial<SessionWrite> = {}): SessionWrite => ({
  data,
  ttl: LONG,
  ...more,
});

export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** Waits for a condition. @returns what it gave at last */
export async function until<T>(condition: () => Promise<T> | T, deadlineMs = 20_000): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) {
      return value;
    }
    if (Date.now() > end) {
      throw new Error(`Not within ${deadlineMs} ms: ${condition}`);
    }
    await sleep(2);
  }
}

/** Lets a record expire. */
export async function expire(backend: SessionBackend, key: string): Promise<void> {
  await backend.touch(key, 1);
  await until(async () => !(await backend.read(key)));
}

/** Takes a lock that a save has freed: a storage may do that a moment after it has answered. */
export async function lockOnceFreed(
  backend: SessionBackend,
  key: string,
): Promise<SessionRecord | undefined> {
  const lease = newLease();
  let found = await backend.lock(key, lease);
  await until(async () => found !== 'busy' || (found = await backend.lock(key, lease)) !== 'busy');
  return found === 'busy' ? undefined : found;
}

/** Takes the lock with a lease that has lapsed when this returns. */
export async function lockAndLapse(backend: SessionBackend, key: string): Promise<Lease> {
  const lease = newLease(1);
  await backend.lock(key, lease);
  await sleep(10); // only ever too short for a lease ten times as long
  return lease;
}

export const dataOf = async (backend: SessionBackend, key: string): Promise<string | undefined> =>
  (await backend.read(key))?.data;
