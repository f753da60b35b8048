import {
  SessionAnsweredException,
  SessionContextException,
  SessionHttpException,
} from '../exceptions/session.exception.js';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { SessionLockingMode } from '../options/session-options.js';
import { OpenSession } from '../session/open-session.js';
import type { Identify, SentId } from '../session/session-identity.js';
import { callInContext, runInContext, type SessionContext } from '../session/session-context.js';
import type { SessionRuntime } from '../session/session-runtime.js';
import type { Session } from '../session/session.js';
import { attachContext } from './find-context.js';
import { answerFailure } from './failure-answer.js';
import { isBodyAwaited, isEventStream, isPreflight, isSecure, type RequestSource } from './request-traits.js';
import { ResponseHook, type ResponseHandlers } from './response-hook.js';
import { writeSessionHeaders } from './session-headers.js';
import type { SessionCookie } from './session-cookie.js';

/** Sessions that another package began, and that are to go on here. */
export interface FormerSessions {
  /** The one that a request names, to be moved here before it is loaded; undefined if there is none. */
  find(headers: IncomingHttpHeaders): (() => Promise<SentId>) | undefined;
  /** The `Set-Cookie` that makes the client forget the old id. */
  clearCookie(): string;
}

/**
 * The session's life in one HTTP request. Made for every request, it does nothing until something asks for
 * the session: then the cookie is read, the response is hooked and the session is loaded.
 */
export class RequestContext implements SessionContext, ResponseHandlers {
  open: OpenSession | undefined;
  /** Why `eager` could not read the session: told to who uses it, and where the route begins. */
  aheadFailure: unknown;
  private hook: ResponseHook | undefined;
  private locking: SessionLockingMode | undefined;
  isSkipped = false;
  private isEntered = false;
  private isAnswered = false;
  /** What has to be done before the route, while it is being done. */
  private entering: Promise<void> | undefined;
  /** What the route's handler returned: over when it no longer runs. */
  private running: unknown;
  private isMoving = false;
  private loading: Promise<void> | undefined;
  private failure: unknown;

  constructor(
    readonly runtime: SessionRuntime,
    private readonly cookie: SessionCookie,
    private readonly req: IncomingMessage,
    private readonly res: ServerResponse,
    /** Who knows the protocol, behind a trusted proxy too: Express' or Fastify's request. */
    public source: RequestSource,
    private readonly former?: FormerSessions,
  ) {
    attachContext(req, this);
  }

  [inspect.custom](): string {
    return 'RequestContext';
  }

  /** The session, loaded to be worked with; undefined before. */
  get usable(): OpenSession | undefined {
    return this.open?.isUsable ? this.open : undefined;
  }

  owns(id: string): boolean {
    if (this.isSkipped || this.isAnswered) {
      return false;
    }
    return this.open?.loaded
      ? this.open.isStored && this.open.id === id
      : this.cookie.readIds(this.req.headers).some(sent => sent.id === id);
  }

  async use({ readOnly = false } = {}): Promise<Session> {
    const open = this.prepare();
    try {
      this.loading = open.load(readOnly);
      await this.loading;
    } catch (error) {
      this.failure = error;
      throw error;
    }
    return readOnly ? open.readOnlySession : open.session;
  }

  /** The session in use, to be loaded. @throws SessionContextException if the route has none */
  prepare(): OpenSession {
    const open = this.getOpen();
    open.isSent = this.res.headersSent;
    open.mayBegin = !open.isSent;
    open.mayLock = open.mayBegin && (this.isEntered || !isBodyAwaited(this.req));
    return open;
  }

  /** `eager`: reads without the lock, before the body is there. Never rejects. A preflight makes no session. */
  async readAhead(): Promise<void> {
    if (!isPreflight(this.req)) {
      const open = this.getOpen();
      open.mayLock = false;
      await open.load().catch(error => {
        this.aheadFailure = error;
      });
    }
  }

  /**
   * Runs a handler in this request's own context, whatever was current before.
   * @param isRoute whether it is a route: locks are taken where it begins, as the body is there then
   */
  enter(run: () => unknown, isRoute: boolean): unknown {
    const work = isRoute ? this.beforeRoute() : undefined;
    const result = work ? work.then(() => runInContext(this, run)) : runInContext(this, run);
    if (isRoute) {
      this.running = result;
    }
    return result;
  }

  /** Calls a middleware of a module: only until its first await is it certain whose request is at work. */
  enterMiddleware(run: () => unknown): unknown {
    return callInContext(this, run);
  }

  /** @returns undefined if there is nothing to wait for */
  beforeRoute(): Promise<void> | undefined {
    if (!this.isEntered) {
      this.isEntered = true;
      const { options } = this.runtime;
      // What middleware changed is merged with what is stored when the lock is there.
      const isDue = (options.locking === 'early' && !isPreflight(this.req)) || this.usable;
      if (this.aheadFailure || (isDue && !this.isSkipped)) {
        this.entering = this.loadForRoute();
      }
    }
    return this.entering;
  }

  /** The route's own locking mode. A session that a guard has used before goes on in that mode. */
  async setLocking(mode: SessionLockingMode): Promise<void> {
    this.locking = mode;
    if (this.open) {
      this.open.locking = mode;
      await (mode === 'explicit' ? this.open.session.releaseLock() : this.open.load());
    } else if (mode === 'early') {
      await this.use();
    }
  }

  /** The route has no session: one that was used before is let go of. */
  skip(): void {
    this.isSkipped = true;
    this.open?.abandon();
  }

  /**
   * Stores what has changed.
   * @param recheck see `OpenSession.commit`
   * @returns undefined if there is nothing to wait for
   */
  commit(statusCode: number, recheck = false): Promise<void> | undefined {
    return this.open?.commit({ drop: statusCode >= 500, recheck })?.catch(error => {
      this.failure = error;
      throw error;
    });
  }

  beforeHeaders(statusCode: number): Promise<void> | undefined {
    // Nest sends these headers while the handler may still wait for its session.
    return this.loading && !this.open?.loaded && !this.failure && isEventStream(this.res)
      ? this.commitOnceLoaded(statusCode)
      : this.commit(statusCode);
  }

  beforeEnd(): Promise<void> | undefined {
    const { open } = this;
    if (open?.state === 'new') {
      if (!open.values.isEmpty) {
        this.runtime.logger.warn(
          'A session was begun after the answer: its cookie cannot reach the client, so it is not stored',
        );
      }
      return undefined;
    }
    return this.commit(this.res.statusCode, true);
  }

  onHeaders(statusCode: number): void {
    const { open, req, res, cookie } = this;
    const failure = this.failure ?? open?.lastFailure;
    const retryAfter = failure instanceof SessionHttpException ? failure.retryAfter : undefined;
    if (statusCode === 503 && retryAfter !== undefined && !res.hasHeader('Retry-After')) {
      res.setHeader('Retry-After', String(retryAfter));
    }
    if (open && !this.isSkipped) {
      open.isSent = true;
      const alsoClear = this.isMoving ? [this.former!.clearCookie()] : [];
      writeSessionHeaders(res, req, statusCode, open, cookie, isSecure(req, this.source), alsoClear);
    }
  }

  onFailure(error: unknown): void {
    answerFailure(this.hook!, error, this.runtime.logger);
  }

  onEnd(): void {
    this.isAnswered = true;
    this.open?.answer();
  }

  onClose(): void {
    if (this.isAnswered || !this.open) {
      return;
    }
    const { open, running } = this;
    open.close();
    // The client hung up while its handler works: what the handler does still counts. Its lock is free when it is done;
    // of one that does not say when, no later than a dead process' would be.
    const free = () => open.abandon();
    if (running instanceof Promise) {
      running.then(free, free);
    } else {
      setTimeout(free, this.runtime.options.leaseMs).unref();
    }
  }

  private getOpen(): OpenSession {
    if (this.isSkipped) {
      throw new SessionContextException('This route has @SkipSession(); remove it to use the session');
    }
    if (this.isAnswered || (!this.open && this.res.writableEnded)) {
      throw new SessionAnsweredException();
    }
    if (this.aheadFailure) {
      throw this.aheadFailure;
    }
    return (this.open ??= this.openSession());
  }

  private openSession(): OpenSession {
    const { runtime, req, res } = this;
    const sent = this.cookie.read(req.headers);
    const move = sent ? undefined : this.former?.find(req.headers);
    this.isMoving = move !== undefined;
    const identify: Identify | undefined =
      move ?? (sent && sent.length > 1 ? () => runtime.pickAlive(sent) : undefined);
    const open = new OpenSession(runtime, sent && (sent[0] ?? null), identify);
    open.locking = this.locking ?? open.locking;
    this.hook = new ResponseHook(res, this);
    if (res.destroyed) {
      open.close(); // the event has passed
    }
    return open;
  }

  private async loadForRoute(): Promise<void> {
    await this.use();
    this.entering = undefined;
  }

  private async commitOnceLoaded(statusCode: number): Promise<void> {
    await this.loading;
    await nextTurn(); // what the handler does at once belongs to the answer
    await this.commit(statusCode);
  }
}
