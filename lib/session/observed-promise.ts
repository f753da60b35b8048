/**
 * What the application gets from a call. It knows whether anybody takes note of its failure, and that failure is
 * never an unhandled rejection: an application that forgets an `await` must not end by it. What the application's
 * own callbacks throw stays what it is.
 */
export class ObservedPromise<T> extends Promise<T> {
  /** Whether somebody has asked to be told of a failure: by `await`, `catch`, or further down the chain. */
  isObserved = false;
  /** What the call failed with, if this was rejected with that. It may be anything, undefined too. */
  failure: { reason: unknown } | undefined;
  private before: ObservedPromise<unknown> | undefined;
  /** Whether it has gone further down the chain: then it is for the end of that to be handled. */
  private isFollowed = false;

  static of<T>(work: Promise<T>): ObservedPromise<T> {
    const promise = new ObservedPromise<T>((resolve, reject) => {
      work.then(resolve, (reason: unknown) => {
        promise.failure = { reason };
        reject(reason);
      });
    });
    promise.guard();
    return promise;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- it has to know whether someone waits
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
      async value => (await onEnd?.(), value),
      async error => {
        await onEnd?.();
        throw error;
      },
    );
  }

  private chain<A, B>(...handlers: Parameters<Promise<T>['then']>): Promise<A | B> {
    const next = super.then(...handlers) as ObservedPromise<A | B>;
    this.isFollowed = true;
    next.before = this;
    next.guard();
    return next;
  }

  private observe(): void {
    this.isObserved = true;
    this.before?.observe();
  }

  /** What a callback throws and nobody handles is unhandled, as without this class; what the call failed with is not. */
  private guard(): void {
    super.then(undefined, (reason: unknown) => {
      if (this.before?.failure && Object.is(this.before.failure.reason, reason)) {
        this.failure = { reason };
      }
      // As late as Node.js looks for it.
      process.nextTick(() => {
        if (!this.failure && !this.isFollowed) {
          void Promise.reject(reason);
        }
      });
    });
  }
}
