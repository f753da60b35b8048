import { SessionStorageException } from '../exceptions/session.exception.js';
import { ObservedPromise } from './observed-promise.js';

type Operation<T> = () => Promise<T>;

/**
 * The operations of one session in use: each begins when the one before it is done, at once if there is none.
 * Remembers what the application's own calls failed with.
 */
export class OperationQueue {
  /** The last operation, until it is done. */
  private tail: Promise<unknown> | undefined;
  /** The storage's last failure. */
  private trouble: unknown;
  private readonly failures: { call: ObservedPromise<unknown>; error: unknown }[] = [];

  get isIdle(): boolean {
    return this.tail === undefined;
  }

  /** Whether a call of the application's has failed, and nobody has taken note of it so far. */
  get hasUnheardFailure(): boolean {
    return this.failures.some(({ call }) => !call.isObserved);
  }

  /** @throws what a call of the application's failed with, if nobody has taken note of it; once */
  throwUnheard(): void {
    const unheard = this.failures.find(({ call }) => !call.isObserved);
    this.failures.length = 0;
    if (unheard) {
      throw unheard.error;
    }
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
   */
  call<T>(operation: Operation<T>): ObservedPromise<T> {
    const { trouble } = this;
    const work = this.run(() => (this.trouble === trouble ? operation() : Promise.reject(this.trouble)));
    const call = ObservedPromise.of(work);
    work.catch(error => this.failures.push({ call, error }));
    return call;
  }

  private follow(work: Promise<unknown>): void {
    this.tail = work;
    const forget = () => {
      if (this.tail === work) {
        this.tail = undefined;
      }
    };
    work.then(forget, error => {
      this.trouble = error instanceof SessionStorageException ? error : this.trouble;
      forget();
    });
  }
}
