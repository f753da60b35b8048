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

/** The requests of this process that want one key: one is being served, the others wait, first come first served. */
export class KeyQueue {
  private readonly waiters: Waiter[] = [];
  /** Who has the lock now. */
  holder: HeldLock | undefined;
  /** How often the session was seen: locked here, or by another process. */
  sightings = 0;
  /** When this process got the lock from the backend, milliseconds since 1970; 0: never. */
  turnSince = 0;

  constructor(readonly key: string) {}

  get isEmpty(): boolean {
    return this.waiters.length === 0;
  }

  join(wait: LockWait): Promise<LockOutcome> {
    return new Promise((resolve, reject) => {
      const seenBefore = this.holder ? -1 : this.sightings; // with a holder, the session is in sight
      const leave = () => this.waiters.splice(this.waiters.indexOf(waiter), 1);
      const waiter = new Waiter(wait, seenBefore, resolve, reject, leave);
      this.waiters.push(waiter);
    });
  }

  nextWaiter(): Waiter | undefined {
    const waiter = this.waiters.shift();
    waiter?.stopWaiting();
    return waiter;
  }

  rejectAll(error: unknown): void {
    for (let waiter = this.nextWaiter(); waiter; waiter = this.nextWaiter()) {
      waiter.reject(error);
    }
  }
}

/** One request that waits in line. It leaves when its time is up, or when it gives up. */
export class Waiter {
  readonly deadline: number;
  private readonly timer: NodeJS.Timeout;

  constructor(
    readonly wait: LockWait,
    /** `KeyQueue.sightings` when it came. */
    readonly seenBefore: number,
    readonly resolve: (outcome: LockOutcome) => void,
    readonly reject: (error: unknown) => void,
    private readonly leave: () => void,
  ) {
    this.deadline = Date.now() + wait.waitMs;
    const waitMs = Math.min(wait.waitMs, MAX_TIMER);
    this.timer = setTimeout(() => this.giveUp(new SessionLockTimeoutException()), waitMs);
    if (wait.client) {
      wait.client.cancelWait = () => this.giveUp(wait.client!.givenUp);
    }
  }

  stopWaiting(): void {
    clearTimeout(this.timer);
    if (this.wait.client) {
      this.wait.client.cancelWait = undefined;
    }
  }

  private giveUp(error: unknown): void {
    this.stopWaiting();
    this.leave();
    this.reject(error);
  }
}

/** Waits, unless its client gives up. */
export function pause(ms: number, client: LockClient | undefined): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      clearTimeout(timer);
      if (client) {
        client.cancelWait = undefined;
      }
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (client) {
      client.cancelWait = done;
    }
  });
}
