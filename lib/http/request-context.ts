import { SessionAnsweredException, SessionContextException } from '../exceptions/session.exception.js';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { inspect } from 'node:util';
import type { SessionLockingMode } from '../options/session-options.js';
import { OpenSession } from '../session/open-session.js';
import type { SentId } from '../session/session-identity.js';
import { runInContext, type SessionContext, type SessionParamOptions } from '../session/session-context.js';
import type { SessionRuntime } from '../session/session-runtime.js';
import type { Session } from '../session/session.js';
import { attachContext } from './find-context.js';
import { addRetryAfter } from './reply-hook.js';
import { ResponseHook } from './response-hook.js';
import { writeSessionHeaders } from './session-headers.js';
import type { SessionCookie } from './session-cookie.js';

const NO_COOKIES: readonly string[] = Object.freeze([]);

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
export class RequestContext implements SessionContext {
  open: OpenSession | undefined;
  hook: ResponseHook | undefined;
  /** Why `eager` could not read the session: told to who uses it, and where the route begins. */
  aheadFailure: unknown;
  isSkipped = false;
  private locking: SessionLockingMode | undefined;
  private isEntered = false;
  /** What has to be done before the route, while it is being done. */
  private entering: Promise<void> | undefined;
  /** What the route's handler returned: over when it no longer runs. */
  private running: unknown;
  private loading: Promise<void> | undefined;
  /** The `Set-Cookie` that makes the client forget the id of a session that was moved here; none for others. */
  private alsoClear: readonly string[] = NO_COOKIES;

  constructor(
    readonly runtime: SessionRuntime,
    private readonly cookie: SessionCookie,
    private readonly req: IncomingMessage,
    private readonly res: ServerResponse,
    /** Who knows the protocol, behind a trusted proxy too: Express' or Fastify's request. */
    public source: { protocol?: string; secure?: boolean },
    private readonly former: FormerSessions | undefined,
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
    const { open } = this;
    if (this.isSkipped || open?.state === 'answered') {
      return false;
    }
    return open?.loaded
      ? open.isStored && open.id === id
      : this.cookie.readIds(this.req.headers).some(sent => sent.id === id);
  }

  async use({ readOnly = false, touch = true }: SessionParamOptions = {}): Promise<Session> {
    const open = this.prepare();
    open.touches = touch || (open.touches ?? false);
    await this.load(open, readOnly);
    return readOnly ? open.readOnlySession : open.session;
  }

  /** Loads the session for others, who say what they use it for. */
  async loadAhead(): Promise<void> {
    await this.load(this.prepare());
  }

  /** The session in use, to be loaded. @throws why there is none */
  prepare(): OpenSession {
    if (this.isSkipped) {
      throw new SessionContextException('This route has @SkipSession(); remove it to use the session');
    }
    if (this.open ? this.open.state === 'answered' : this.res.writableEnded) {
      throw new SessionAnsweredException();
    }
    if (this.aheadFailure) {
      throw this.aheadFailure;
    }
    const open = (this.open ??= this.openSession());
    open.isSent = this.res.headersSent;
    open.mayBegin = !open.isSent;
    open.mayLock = open.mayBegin && (this.isEntered || !isBodyAwaited(this.req));
    return open;
  }

  /** `eager`: reads without the lock, before the body is there. Never rejects. A preflight makes no session. */
  async readAhead(): Promise<void> {
    if (!isPreflight(this.req)) {
      const open = this.prepare();
      open.mayLock = false;
      await open.load().catch(error => {
        this.aheadFailure = error;
      });
    }
  }

  /** Runs a route's handler in this request's own context, whatever was current before. */
  enter(run: () => unknown): unknown {
    const work = this.beforeRoute();
    this.running = work ? work.then(() => runInContext(this, run)) : runInContext(this, run);
    return this.running;
  }

  /**
   * Takes the locks that are taken where a route begins, as the body is there then. What middleware changed before is
   * merged with what is stored.
   * @returns undefined if there is nothing to wait for
   */
  beforeRoute(): Promise<void> | undefined {
    if (!this.isEntered) {
      this.isEntered = true;
      const isEarly = this.runtime.options.locking === 'early' && !isPreflight(this.req);
      if (isEarly || this.usable || this.aheadFailure) {
        this.entering = this.load(this.prepare()).then(() => {
          this.entering = undefined;
        });
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
      await this.load(this.prepare());
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
    return this.open?.commit({ drop: statusCode >= 500, recheck });
  }

  /** Before the headers go out. What it rejects with is answered in their place. */
  beforeHeaders(statusCode: number): Promise<void> | undefined {
    const isLoading = this.loading && !this.open!.loaded && !this.open!.lastFailure;
    // Nest sends the headers of an event stream while its handler may still wait for the session.
    return isLoading && String(this.res.getHeader('content-type')).startsWith('text/event-stream')
      ? this.commitOnceLoaded(statusCode)
      : this.commit(statusCode);
  }

  /** As the headers go out: the last moment to set some. */
  onHeaders(statusCode: number): void {
    const { cookie, req, res, isSecure, alsoClear } = this;
    const open = this.open!;
    if (statusCode === 503) {
      addRetryAfter(res, (open.lastFailure as { retryAfter?: number } | undefined)?.retryAfter);
    }
    if (!this.isSkipped) {
      open.isSent = true;
      writeSessionHeaders(res, req, statusCode, open, cookie, isSecure, alsoClear);
    }
  }

  /** Before the end of a response that took a while: a stream. */
  beforeEnd(): Promise<void> | undefined {
    if (this.open!.state !== 'new') {
      return this.commit(this.res.statusCode, true);
    }
    if (!this.open!.values.isEmpty) {
      this.runtime.logger.warn(
        'A session was begun after the answer: its cookie cannot reach the client, so it is not stored',
      );
    }
    return undefined;
  }

  /** The connection is done with, for whatever reason. */
  onClose(): void {
    const { running } = this;
    const open = this.open!;
    if (open.state === 'answered') {
      return;
    }
    open.close();
    // The client hung up while its handler works: what the handler does still counts. Its lock is free when it is done;
    // of one that does not say when, no later than a dead process' would be.
    const free = () => open.abandon();
    if (running instanceof Promise) {
      running.then(free, free);
    } else {
      setTimeout(free, this.runtime.options.leaseTime * 1000).unref();
    }
  }

  /** Whether the request came over HTTPS; a trusted proxy counts. */
  private get isSecure(): boolean {
    const { req, source } = this;
    try {
      const { encrypted = false } = (req.socket ?? {}) as { encrypted?: boolean };
      return (source.secure ?? source.protocol === 'https') || encrypted;
    } catch {
      return false; // Express asks the socket, which a request that comes from no connection may lack
    }
  }

  private openSession(): OpenSession {
    const { runtime, former, req, res } = this;
    const sent = this.cookie.read(req.headers);
    const move = sent ? undefined : former?.find(req.headers);
    this.alsoClear = move ? [former!.clearCookie()] : NO_COOKIES;
    const pick = sent && sent.length > 1 ? () => runtime.pickAlive(sent) : undefined;
    const open = new OpenSession(runtime, sent && (sent[0] ?? null), move ?? pick);
    open.locking = this.locking ?? open.locking;
    this.hook = new ResponseHook(res, this);
    if (res.destroyed) {
      open.close(); // the event has passed
    }
    return open;
  }

  private load(open: OpenSession, readOnly = false): Promise<void> {
    return (this.loading = open.load(readOnly));
  }

  private async commitOnceLoaded(statusCode: number): Promise<void> {
    await this.loading;
    await nextTurn(); // what the handler does at once belongs to the answer
    await this.commit(statusCode);
  }
}

const isBodyAwaited = ({ headers, complete }: IncomingMessage): boolean =>
  !complete && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0);

const isPreflight = ({ method, headers }: IncomingMessage): boolean =>
  method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
