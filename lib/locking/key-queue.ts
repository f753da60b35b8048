import { SessionLockTimeoutException } from '../exceptions/session.exception.js';
import type { HeldLock } from './held-lock.js';

/** The longest delay that a Node.js timer takes, in milliseconds: a longer one is none. */
const MAX_TIMER = 2 ** 31 - 1;

/** Whoever asks for a lock: a session in use. */
export interface LockClient {
  /** Why it does not want the lock any more: nothing is waited for then. */
  readonly givenUp: Error | undefined;
  /** Ends its wait at once; set while it waits. */
  cancelWait: (() => void) | undefined;
}

export interface LockWait {
  /** Milliseconds to wait at most. */
  waitMs: number;
  client?: LockClient | undefined;
}

/**
 * What a request for a lock leads to: the lock; or no session, `'absent'` if none was ever seen here, `'ended'` if
 * there was one while the request waited.
 */
export type LockOutcome = HeldLock | 'absent' | 'ended';

/** One request that waits in line: it gets the lock that is handed on, or its turn to ask the storage for it. */
interface Waiter {
  resolve(lock?: HeldLock): void;
  reject(error: unknown): void;
}

/** The requests of this process that want one key: one is being served, the others wait, first come first served. */
export class KeyQueue {
  private readonly waiters = new Set<Waiter>();
  /** Who has the lock now. */
  holder: HeldLock | undefined;
  /** How often the session was seen: locked here, or by another process. */
  sightings = 0;
  /** When this process got the lock from the backend, milliseconds since 1970; 0: never. */
  turnSince = 0;

  constructor(readonly key: string) {}

  /** The one whose turn is next. */
  get first(): Waiter | undefined {
    return this.waiters.values().next().value;
  }

  /** @throws SessionLockTimeoutException, why the client gave up, and what `rejectAll` is called with */
  join({ waitMs, client }: LockWait): Promise<HeldLock | undefined> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        setCancel(client, undefined);
      };
      const waiter: Waiter = {
        resolve: lock => (leave(), resolve(lock)),
        reject: error => (leave(), reject(error)),
      };
      const timeUp = () => waiter.reject(new SessionLockTimeoutException());
      const timer = setTimeout(timeUp, Math.min(waitMs, MAX_TIMER));
      setCancel(client, () => waiter.reject(client!.givenUp));
      this.waiters.add(waiter);
    });
  }

  rejectAll(error: unknown): void {
    this.waiters.forEach(waiter => waiter.reject(error));
  }
}

/** Waits, unless its client gives up. */
export function pause(ms: number, client: LockClient | undefined): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      clearTimeout(timer);
      setCancel(client, undefined);
      resolve();
    };
    const timer = setTimeout(done, ms);
    setCancel(client, done);
  });
}

function setCancel(client: LockClient | undefined, cancel: (() => void) | undefined): void {
  if (client) {
    client.cancelWait = cancel;
  }
}
