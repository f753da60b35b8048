/** Failures that an `ObservedPromise` began with. */
const passedOn = new WeakSet<object>();

/**
 * What the application gets from a call. It knows whether anybody takes note of its failure, and that failure is
 * never an unhandled rejection: an application that forgets an `await` must not end by it. What the application's
 * own callbacks throw stays what it is.
 */
export class ObservedPromise<T> extends Promise<T> {
  /** Whether somebody has asked to be told of a failure: by `await`, `catch`, or further down the chain. */
  isObserved = false;
  private before: ObservedPromise<unknown> | undefined;
  /** Whether it has gone further down the chain: then it is for the end of that to be handled. */
  private isFollowed = false;

  static of<T>(work: Promise<T>): ObservedPromise<T> {
    const promise = new ObservedPromise<T>((resolve, reject) => {
      work.then(resolve, (error: unknown) => {
        if (isObject(error)) {
          passedOn.add(error);
        }
        reject(error);
      });
    });
    promise.onRejected(() => undefined);
    return promise;
  }

  override then<A = T, B = never>(
    onDone?: ((value: T) => A | PromiseLike<A>) | null,
    onFailed?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    if (onFailed) {
      this.observe();
    }
    return this.chain(onDone, onFailed);
  }

  /** Passes a failure on, and so takes no note of it. */
  override finally(onEnd?: (() => void) | null): Promise<T> {
    return this.chain(
      async value => {
        await onEnd?.();
        return value;
      },
      async error => {
        await onEnd?.();
        throw error;
      },
    );
  }

  private chain<A, B>(
    onDone?: ((value: T) => A | PromiseLike<A>) | null,
    onFailed?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const next = super.then(onDone, onFailed) as ObservedPromise<A | B>;
    this.isFollowed = true;
    next.before = this;
    next.guard();
    return next;
  }

  private observe(): void {
    this.isObserved = true;
    this.before?.observe();
  }

  /** What is left of a failure that nobody handles is as without this class, but for those that were passed on. */
  private guard(): void {
    this.onRejected((error: unknown) => {
      if (!isObject(error) || !passedOn.has(error)) {
        // As late as Node.js looks for it.
        process.nextTick(() => {
          if (!this.isFollowed) {
            // oxlint-disable-next-line promise/no-promise-in-callback -- to be unhandled is its purpose
            void Promise.reject(error);
          }
        });
      }
    });
  }

  private onRejected(act: (error: unknown) => void): void {
    super.then(undefined, act);
  }
}

const isObject = (value: unknown): value is object =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';
