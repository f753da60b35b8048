import { SessionStorageException } from '../exceptions/session.exception.js';
import { ObservedPromise } from './observed-promise.js';

type Operation<T> = () => Promise<T>;

/** A call of the application's, until it has succeeded. */
interface Call {
  promise?: ObservedPromise<unknown>;
  /** Whether all that it does is to take the lock. */
  readonly isLockOnly: boolean;
  /** A commit came, and nobody waits for this. */
  isCancelled: boolean;
}

/**
 * The operations of one session in use: each begins when the one before it is done, at once if there is none.
 * Remembers what the application's own calls failed with.
 */
export class OperationQueue {
  /** The last operation, until it is done. */
  private tail: Promise<unknown> | undefined;
  private calls: Set<Call> | undefined;
  private running: Call | undefined;
  /** What an operation failed with last, whoever has taken note of it. */
  lastFailure: unknown;

  get isIdle(): boolean {
    return this.tail === undefined;
  }

  /** Whether the call that runs is one that a commit has cancelled. */
  get isCancelled(): boolean {
    return this.running?.isCancelled === true;
  }

  run<T>(operation: Operation<T>): Promise<T> {
    const work = this.tail ? this.tail.then(operation, operation) : operation();
    this.follow(work);
    return work;
  }

  /** As `run`, for what may have nothing to wait for: then undefined. */
  runIfNeeded(operation: () => Promise<void> | undefined): Promise<void> | undefined {
    if (this.tail) {
      return this.run(async () => operation());
    }
    const work = operation();
    if (work) {
      this.follow(work);
    }
    return work;
  }

  /**
   * As `run`, for the application. What was waiting in line when the storage failed fails with it: an answer would
   * have to wait for a hundred forgotten saves, each of which waits for the storage.
   * @param isLockOnly whether all that it does is to take the lock
   */
  call<T>(operation: Operation<T>, isLockOnly = false): ObservedPromise<T> {
    const call: Call = { isLockOnly, isCancelled: false };
    const calls = (this.calls ??= new Set()).add(call);
    const before = this.lastFailure;
    const work = this.run(async () => {
      if (this.lastFailure !== before && this.lastFailure instanceof SessionStorageException) {
        throw this.lastFailure;
      }
      this.running = call;
      try {
        const result = await operation();
        calls.delete(call);
        return result;
      } finally {
        this.running = undefined;
      }
    });
    const promise = ObservedPromise.of(work);
    call.promise = promise;
    return promise;
  }

  /** What a call of the application's has failed with, if nobody has taken note of it; once. */
  takeUnheard(): { reason: unknown } | undefined {
    for (const call of this.calls ?? []) {
      const { failure, isObserved } = call.promise!;
      if (failure) {
        this.calls!.delete(call);
        if (!isObserved) {
          return failure;
        }
      }
    }
    return undefined;
  }

  /**
   * Cancels calls that only take the lock, if nobody waits for them: if the changes need the lock, the commit takes it.
   * So it is no failure to tell.
   * @param all those that somebody waits for, too
   */
  cancelLockCalls(all: boolean): void {
    for (const call of this.calls ?? []) {
      if (call.isLockOnly && (all || !call.promise!.isObserved)) {
        call.promise!.isObserved = true;
        call.isCancelled = true;
      }
    }
  }

  private follow(work: Promise<unknown>): void {
    this.tail = work;
    const leave = () => {
      if (this.tail === work) {
        this.tail = undefined;
      }
    };
    work.then(leave, error => {
      this.lastFailure = error;
      leave();
    });
  }
}
