import {
  SessionLockTimeoutException,
  SessionRequestClosedException,
} from '../exceptions/session.exception.js';

export interface LockWait {
  /** Milliseconds to wait at most. */
  waitMs: number;
  /** Who waits, if it may go away. */
  client?: LockClient | undefined;
}

/** Whoever asks for a lock on behalf of a connection. */
export interface LockClient {
  /** The connection is closed: nothing is waited for any more. */
  readonly isGone: boolean;
  /** Made when it is asked for, by those who have to wait: it costs more than a free lock does. */
  readonly goneSignal: AbortSignal;
}

/** The requests of this process that want one key: one is being served, the others wait. */
export class LockLine<Lock> {
  private readonly waiters: Waiter<Lock>[] = [];
  /** When this process got the lock from the backend, milliseconds since 1970; 0: never. */
  turnSince = 0;

  constructor(readonly key: string) {}

  get isEmpty(): boolean {
    return this.waiters.length === 0;
  }

  join(wait: LockWait): Promise<Lock | undefined> {
    return new Promise((resolve, reject) => {
      const leave = () => this.waiters.splice(this.waiters.indexOf(waiter), 1);
      const waiter = new Waiter<Lock>(wait, resolve, reject, leave);
      this.waiters.push(waiter);
    });
  }

  nextWaiter(): Waiter<Lock> | undefined {
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

/** One request that stands in line. It leaves when its time is up or its client has gone. */
class Waiter<Lock> {
  readonly deadline: number;
  private readonly timer: NodeJS.Timeout;

  constructor(
    readonly wait: LockWait,
    readonly resolve: (lock: Lock | undefined) => void,
    readonly reject: (error: unknown) => void,
    private readonly leave: () => void,
  ) {
    this.deadline = Date.now() + wait.waitMs;
    this.timer = setTimeout(() => this.giveUp(new SessionLockTimeoutException()), wait.waitMs);
    wait.client?.goneSignal.addEventListener('abort', this.onAbort);
  }

  stopWaiting(): void {
    clearTimeout(this.timer);
    this.wait.client?.goneSignal.removeEventListener('abort', this.onAbort);
  }

  private readonly onAbort = () => this.giveUp(new SessionRequestClosedException());

  private giveUp(error: unknown): void {
    this.stopWaiting();
    this.leave();
    this.reject(error);
  }
}
