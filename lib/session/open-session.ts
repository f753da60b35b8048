import { inspect } from 'node:util';
import {
  SessionAnsweredException,
  SessionContextException,
  SessionLockTimeoutException,
  SessionRequestClosedException,
} from '../exceptions/session.exception.js';
import type { Values } from './session-codec.js';
import type { ObservedPromise } from './observed-promise.js';
import { OperationQueue } from './operation-queue.js';
import type { RecordState } from './record-handle.js';
import { SequentialSession } from './sequential-session.js';
import { SessionDict } from './session-dict.js';
import type { Session } from './session.js';

/** What the response has to do about the cookie. */
export type CookieChange = 'none' | 'set' | 'clear';

/** See the table of states in docs/ARCHITECTURE.md. */
export type OpenSessionState = RecordState['name'] | 'answered';

/**
 * One session in use, by one request or one `SessionStore.update()`. Whatever touches the storage runs after what was
 * asked for before, the commit included. Knows no HTTP.
 */
export class OpenSession extends SequentialSession {
  /** The dictionary that the application works with; always the same one. */
  readonly session: Session = new SessionDict(this);
  /** Whether what is written may begin a session: not if it was asked for again after the headers had gone. */
  mayBegin = true;

  private readonly queue = new OperationQueue();
  private readOnlyDict: Session | undefined;
  private isClosed = false;
  private hasFailed = false;
  private isAnswered = false;
  private answeredBy: string | undefined;

  /** What prints it, from wherever it is reached, must not print ids and data. */
  [inspect.custom](): string {
    return 'OpenSession';
  }

  /** Why nothing is waited for any more. Made when it is asked for: an exception takes 4 % of a request's time. */
  get givenUp(): Error | undefined {
    if (this.isAnswered) {
      return new SessionAnsweredException(this.answeredBy);
    }
    return this.queue.isCancelled
      ? new SessionLockTimeoutException()
      : this.isClosed
        ? new SessionRequestClosedException()
        : undefined;
  }

  get state(): OpenSessionState {
    return this.isAnswered ? 'answered' : this.handle.state.name;
  }

  get loaded(): boolean {
    return this.handle.state.name !== 'unread';
  }

  /** Whether it was loaded to be worked with, not only to be read. */
  get isUsable(): boolean {
    return this.loaded && this.values.isFilled;
  }

  /** What an operation failed with last. */
  get lastFailure(): unknown {
    return this.queue.lastFailure;
  }

  get readOnlySession(): Session {
    return (this.readOnlyDict ??= new SessionDict(this, true));
  }

  /**
   * The live data.
   * @throws SessionAnsweredException; SessionContextException to write where a new session can't begin any more
   */
  useValues(toWrite = false): Values {
    this.throwIfAnswered();
    const { live, isFilled } = this.values;
    if (!isFilled) {
      throw new SessionContextException('The session is not loaded: await session.load() before you use it');
    }
    if (this.handle.state.name === 'new' && !this.mayBegin) {
      const refuse = () => this.throwIfTooLate() as never;
      return toWrite
        ? refuse()
        : new Proxy(live, { set: refuse, defineProperty: refuse, deleteProperty: refuse });
    }
    this.values.isUsed = true;
    return live;
  }

  /** The data as it is stored, frozen. @throws SessionAnsweredException */
  storedValues(): Values {
    this.throwIfAnswered();
    return this.values.frozen(this.record);
  }

  /** Reads the session, once; locks it, unless told not to. Calls at the same time share the work. */
  load(readOnly = false): Promise<void> {
    return this.queue.run(() => this.loadNow(readOnly));
  }

  /**
   * Runs a call of the application's. What it fails with, and nobody takes note of, is told by the commit.
   * @param options.isUse whether it has a session read that was not asked for yet
   * @param options.isLockOnly whether it only takes the lock: a commit ends its wait, if nobody waits for it
   */
  call<T>(
    operation: (session: this) => Promise<T>,
    { isUse = true, isLockOnly = false } = {},
  ): ObservedPromise<T> {
    return this.queue.call(async () => {
      this.throwIfAnswered();
      if (isUse && !this.loaded) {
        await this.loadNow();
      }
      return operation(this);
    }, isLockOnly);
  }

  /**
   * Ends the work: stores what has changed and frees the lock; an unchanged session is touched. Called again, it
   * stores what has changed since.
   * @param options.drop the request failed: changes are not stored
   * @param options.recheck looks for changes also if the application did not reach for the data since: it may
   * have kept a part of it
   * @returns undefined if there is nothing to wait for
   */
  commit({ drop = false, recheck = false } = {}): Promise<void> | undefined {
    if (this.hasFailed || (this.cancelWait && !this.loaded)) {
      return undefined; // it is told; or somebody waits to begin, and nothing has been done yet
    }
    this.queue.cancelLockCalls(drop);
    if (this.queue.isCancelled) {
      this.cancelWait?.();
    }
    return this.queue.runIfNeeded(() => this.commitNow(drop, recheck));
  }

  /** The client has gone: whoever still waits for the lock stops waiting. */
  close(): void {
    this.isClosed = true;
    this.cancelWait?.();
  }

  /** Frees the lock without storing or touching anything. */
  abandon(): void {
    this.isCommitted = true;
    this.values.isUsed = false;
    this.runtime.background(this.queue.runIfNeeded(() => this.handle.release()));
  }

  /** The answer has ended: what is asked of the session from now on is too late. */
  answer(end?: string): void {
    this.isAnswered = true;
    this.answeredBy = end;
    this.cancelWait?.();
    if (this.locked || !this.queue.isIdle) {
      this.abandon(); // what was locked after the commit
    }
  }

  /** Clears the cookie; the record stays. @throws SessionAnsweredException */
  expire(): void {
    this.throwIfAnswered();
    this.isCookieExpired = true;
  }

  cookieChange(): CookieChange {
    const { name } = this.handle.state;
    // Once the id has changed the old one is dead: the client needs the new one, whatever failed since.
    const isNoUse = this.hasFailed || name === 'ended' || name === 'unsure';
    if (!this.loaded || (isNoUse && !this.regenerated)) {
      return 'none';
    }
    if (this.isStored && !this.isCookieExpired) {
      return this.isCookieDue ? 'set' : 'none';
    }
    // Unless the application says so, an unknown id is left alone: it may be another application's cookie.
    const hasCookie = this.originalId !== undefined || this.missing;
    return this.isCookieExpired || (this.isDestroyed && hasCookie) ? 'clear' : 'none';
  }

  private commitNow(drop: boolean, recheck: boolean): Promise<void> | undefined {
    const isRepeated = this.isCommitted;
    const mayHaveChanged = this.values.isUsed || recheck;
    const untold = drop ? undefined : (this.queue.takeUnheard() ?? this.notEnded); // a failed answer tells enough
    this.isCommitted ||= this.loaded;
    this.values.isUsed = false;
    let work: Promise<void> | undefined;
    try {
      if (untold) {
        throw untold.reason;
      }
      work = !drop && this.mustStore(mayHaveChanged) ? this.storeNow() : this.releaseUnchanged(isRepeated);
    } catch (error) {
      work = Promise.reject(error);
    }
    return work?.catch(error => {
      this.hasFailed = true;
      this.runtime.background(this.handle.release());
      throw error;
    });
  }

  /** Whether there is something to store. */
  private mustStore(mayHaveChanged: boolean): boolean {
    switch (this.handle.state.name) {
      case 'unsure':
        return this.values.isFilled; // it may be stored, or not
      case 'new': {
        // Of what was destroyed or asked to expire, nothing is stored unasked.
        const isUnwanted = this.isCookieExpired || (this.isDestroyed && !this.isReplaced);
        const isWanted = this.runtime.options.saveUninitialized && !isUnwanted;
        return this.values.isFilled && (isWanted || !this.values.isEmpty);
      }
      default:
        return mayHaveChanged && this.values.isChanged(this.record);
    }
  }

  /** Stores what has changed, and frees the lock. */
  private async storeNow(): Promise<void> {
    if (!this.locked) {
      // Also if the client has gone: the handler did its work.
      await this.lockNow({ waitMs: this.runtime.options.lockTimeout * 1000 });
    }
    await (this.locked ? this.write(true) : this.create(false));
  }

  /** @returns undefined if there is nothing to wait for */
  private releaseUnchanged(isRepeated: boolean): Promise<void> | undefined {
    const { handle, runtime, record, locked } = this;
    if (!record || !(locked || handle.state.name === 'read')) {
      return undefined;
    }
    const touchAfterMs = runtime.options.touchAfter * 1000;
    const ttl = runtime.timeToLive(record.timeout, record.createdAt);
    // A read-only request costs one read; the few touches that keep an active session alive are enough.
    const rest = this.values.isFilled ? touchAfterMs : Math.max(touchAfterMs, ttl / 2);
    // With nothing to wait for, clocks that differ have no say.
    const isDue =
      this.touches !== false && ttl > 0 && (rest === 0 || Date.now() + ttl - record.expiresAt >= rest);
    if (locked) {
      runtime.background(handle.release(isDue ? ttl : undefined));
      this.isCookieDue ||= isDue;
      return undefined;
    }
    // Without the lock, the session may have ended or got a new id meanwhile: a cookie with an id that is dead
    // would take the place of the good one. So the touch comes first, and only its success sends the cookie.
    return isDue && !isRepeated ? this.touchBeforeCookie(ttl) : undefined;
  }

  private async touchBeforeCookie(ttl: number): Promise<void> {
    this.isCookieDue = (await this.handle.touch(ttl)) || this.isCookieDue;
  }

  private throwIfAnswered(): void {
    if (this.isAnswered) {
      throw new SessionAnsweredException(this.answeredBy);
    }
  }
}
