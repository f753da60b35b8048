import type { HeldLock } from './held-lock.js';
import { startWait, type LockWait, type Waiter } from './waiter.js';

/**
 * What a request for a lock leads to: the lock; or no session, `'absent'` if none was ever seen here, `'ended'` if
 * there was one while the request waited.
 */
export type LockOutcome = HeldLock | 'absent' | 'ended';

/**
 * The requests of this process that want one key: one is being served, the others wait, first come first served. Who is
 * next gets the lock that is handed on, or its turn to ask the storage for it.
 */
export class KeyQueue {
  private readonly waiters = new Set<Waiter<HeldLock | undefined>>();
  /** Who has the lock now. */
  holder: HeldLock | undefined;
  /** How often the session was seen: locked here, or by another process. */
  sightings = 0;
  /** When this process got the lock from the backend, in milliseconds of `performance.now()`; 0: never. */
  turnSince = 0;

  constructor(readonly key: string) {}

  /** How many wait. */
  get length(): number {
    return this.waiters.size;
  }

  /** The one whose turn is next. */
  get first(): Waiter<HeldLock | undefined> | undefined {
    return this.waiters.values().next().value;
  }

  /** @throws SessionLockTimeoutException, why the client gave up, and what `rejectAll` is called with */
  join(wait: LockWait): Promise<HeldLock | undefined> {
    const waiter = startWait<HeldLock | undefined>(wait, () => this.waiters.delete(waiter));
    this.waiters.add(waiter);
    return waiter.served;
  }

  rejectAll(error: unknown): void {
    this.waiters.forEach(waiter => waiter.reject(error));
  }
}
