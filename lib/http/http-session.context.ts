import { Logger, type ExecutionContext } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SessionContextException, SessionHttpException } from '../exceptions/session.exception.js';
import type { ResolvedSessionOptions, SessionLockingMode } from '../options/session-options.js';
import { ActiveSession } from '../session/active-session.js';
import type { SessionContext } from '../session/session-context.js';
import type { SessionManager } from '../session/session-manager.js';
import type { Session } from '../session/session.js';
import type { ExpressMigration, FormerSession } from './express-migration.js';
import { createExpressSession, type ExpressSession, type ExpressSessionSource } from './express-session.js';
import { ResponseHook, type ResponseHandlers } from './response-hook.js';
import type { SentCookie, SessionCookie } from './session-cookie.js';

const CONTEXT = Symbol('nest-sessions');
const logger = new Logger('Sessions');

interface RequestLike {
  raw?: IncomingMessage;
  protocol?: string;
  [CONTEXT]?: HttpSessionContext;
}

/** What GraphQL's servers pass to resolvers: Apollo's, and Mercurius'. */
interface GraphqlContext {
  req?: unknown;
  reply?: { request?: unknown };
}

/**
 * The context of an HTTP request, as `init` left it on the raw request.
 * @param request a raw one, a framework's wrapper with `raw`, or the context of a GraphQL request
 */
export function findHttpContext(request: unknown): HttpSessionContext | undefined {
  const { req, reply } = (request ?? {}) as GraphqlContext;
  return contextOn(request) ?? contextOn(req ?? reply?.request);
}

function contextOn(request: unknown): HttpSessionContext | undefined {
  const { raw, [CONTEXT]: context } = (request ?? {}) as RequestLike;
  return context ?? (raw as RequestLike | undefined)?.[CONTEXT];
}

/** @throws SessionContextException that says why there is none */
export function requireHttpContext(request: unknown): HttpSessionContext {
  const context = findHttpContext(request);
  if (!context) {
    throw new SessionContextException(
      'There is no session here: the request is no HTTP request, its path is in the option exclude, or ' +
        'SessionsModule.forRoot() is missing in the imports of AppModule. (A durable provider outlives the request: ' +
        'inject SessionStore there, and call current())',
    );
  }
  return context;
}

/** The request, or the context of a GraphQL request, that a handler, guard or interceptor is called for. */
export function requestOf(context: ExecutionContext): unknown {
  switch (context.getType<string>()) {
    case 'http':
      return context.switchToHttp().getRequest();
    case 'graphql':
      return context.getArgByIndex(2); // of a resolver's root, arguments, context and info
    default:
      return undefined;
  }
}

/**
 * The session's life in one HTTP request. Made for every request, it does nothing until something asks for
 * the session: then the cookie is read, the response is hooked and the session is loaded.
 */
export class HttpSessionContext implements SessionContext, ResponseHandlers, ExpressSessionSource {
  active: ActiveSession | undefined;
  /** The client has gone, or has its answer. */
  isClosed = false;
  private hook: ResponseHook | undefined;
  private currentView: ExpressSession | undefined;
  private hasView = true;
  private locking: SessionLockingMode | undefined;
  private isSkipped = false;
  private sent: SentCookie | null | undefined;
  /** What the request's cookie of express-session names, if it has none of ours. */
  private former: FormerSession | undefined;
  private loading: Promise<void> | undefined;
  private failure: unknown;

  constructor(
    private readonly manager: SessionManager,
    private readonly cookie: SessionCookie,
    private readonly req: IncomingMessage,
    private readonly res: ServerResponse,
    /** Who knows the protocol, behind a trusted proxy too: Express' or Fastify's request. */
    public source: { protocol?: string } = req as RequestLike,
    private readonly migration?: ExpressMigration,
  ) {
    (req as RequestLike)[CONTEXT] = this;
  }

  get options(): ResolvedSessionOptions {
    return this.manager.options;
  }

  get usable(): ActiveSession | undefined {
    return this.active?.isUsable ? this.active : undefined;
  }

  /** `req.session`; undefined on a route without a session, and once `req.session.destroy()` was called. */
  get view(): ExpressSession | undefined {
    return this.hasView && !this.isSkipped ? (this.currentView ??= createExpressSession(this)) : undefined;
  }

  replaceView(next: 'fresh' | 'none'): void {
    this.currentView = undefined;
    this.hasView = next === 'fresh';
  }

  async load(): Promise<ActiveSession> {
    await this.use();
    return this.active!;
  }

  owns(id: string): boolean {
    if (this.isSkipped) {
      return false;
    }
    return this.active?.loaded ? this.active.isStored && this.active.id === id : this.readCookie()?.id === id;
  }

  async use({ readOnly = false } = {}): Promise<Session> {
    if (this.isSkipped) {
      throw new SessionContextException('This route has @SkipSession(); remove it to use the session');
    }
    if (!this.active) {
      this.sent = this.readCookie();
      this.former = this.sent === undefined ? this.migration?.find(this.req.headers) : undefined;
      this.active = this.former
        ? new ActiveSession(this.manager, this.former.id, undefined, this.former.move)
        : new ActiveSession(this.manager, this.sent && this.sent.id, this.sent?.key);
      this.active.locking = this.locking ?? this.active.locking;
      this.hook = new ResponseHook(this.res, this);
      if (this.res.destroyed) {
        this.onClose(); // the event has passed
      }
    }
    try {
      this.loading = this.active.load({ readOnly });
      await this.loading;
    } catch (error) {
      this.failure = error;
      throw error;
    }
    return readOnly ? this.active.readOnlySession : this.active.session;
  }

  /** The route's own locking mode. A session that a guard has used before goes on in that mode. */
  async setLocking(mode: SessionLockingMode): Promise<void> {
    this.locking = mode;
    if (this.active) {
      this.active.locking = mode;
      await (mode === 'explicit' ? this.active.releaseLock() : this.active.load());
    } else if (mode === 'early') {
      await this.use();
    }
  }

  /** The route has no session: one that was used before is let go of. */
  skip(): void {
    this.isSkipped = true;
    this.active?.abandon();
  }

  /**
   * Stores what has changed.
   * @param recheck see `ActiveSession.commit`
   * @returns undefined if there is nothing to wait for
   */
  commit(statusCode: number, recheck = false): Promise<void> | undefined {
    return this.active?.commit({ drop: statusCode >= 500, recheck })?.catch(error => {
      this.failure = error;
      throw error;
    });
  }

  /** The handler is done and the client has gone: nothing else will free the lock. */
  abandonIfClosed(): void {
    if (this.isClosed) {
      this.active?.abandon();
    }
  }

  beforeHeaders(statusCode: number): Promise<void> | undefined {
    // Nest sends these headers while the handler may still wait for its session.
    return this.loading && !this.active?.loaded && !this.failure && this.isEventStream()
      ? this.commitOnceLoaded(statusCode)
      : this.commit(statusCode);
  }

  beforeEnd(): Promise<void> | undefined {
    if (this.active?.loaded && !this.active.isStored) {
      this.active.abandon(); // the cookie would have had to go with the headers: a new session has no way to its client
      return undefined;
    }
    return this.commit(this.res.statusCode, true);
  }

  onHeaders(statusCode: number): void {
    const { active, req, res, cookie, failure } = this;
    if (statusCode === 503 && failure instanceof SessionHttpException && failure.retryAfter !== undefined) {
      res.setHeader('Retry-After', String(failure.retryAfter));
    }
    if (!active || this.isSkipped) {
      return;
    }
    addVaryCookie(res);
    const change = active.cookieChange();
    if (change !== 'none') {
      const isSecure = this.source.protocol === 'https' || 'encrypted' in req.socket;
      const value =
        change === 'set'
          ? cookie.bind(active.id, active.expiresAt, isSecure, req.headers, this.sent)
          : cookie.clear(isSecure, req.headers);
      const others = res.getHeader('set-cookie');
      const values =
        others === undefined ? value : [...cookie.statementOf(others, req.headers).others, value];
      res.setHeader('Set-Cookie', this.former ? [values, this.migration!.clearCookie()].flat() : values);
      if (!res.hasHeader('cache-control')) {
        res.setHeader('Cache-Control', 'no-cache="Set-Cookie"');
      }
    }
  }

  onFailure(error: unknown): void {
    const isForClient = error instanceof SessionHttpException;
    if (!isForClient) {
      logger.error(error);
    }
    // As Nest's own filter answers; the exception filters are past.
    const statusCode = isForClient ? error.getStatus() : 500;
    const message = isForClient ? error.message : 'Internal server error';
    this.hook!.replace(
      statusCode,
      { 'Content-Type': 'application/json; charset=utf-8' },
      JSON.stringify({ statusCode, message }),
    );
  }

  onClose(): void {
    this.isClosed = true;
    this.active?.close();
    if (this.active?.locked) {
      // The client hung up while its handler works: what the handler does still counts. One that never ends
      // holds the session no longer than a dead process would.
      setTimeout(() => this.active?.abandon(), this.manager.options.leaseMs).unref();
    }
  }

  /** A cookie that came with several ids (which one is the user's?) is as good as one that holds none. */
  private readCookie(): SentCookie | null | undefined {
    const sent = this.cookie.read(this.req.headers);
    return sent && sent.others.length > 0 ? null : sent;
  }

  private isEventStream(): boolean {
    return String(this.res.getHeader('content-type')).startsWith('text/event-stream');
  }

  private async commitOnceLoaded(statusCode: number): Promise<void> {
    await this.loading;
    await nextTurn(); // what the handler does at once belongs to the answer
    await this.commit(statusCode);
  }
}

/** The answer depends on the cookie: caches must know. */
function addVaryCookie(res: ServerResponse): void {
  const vary = [res.getHeader('vary') ?? []].flat().join(', ');
  if (vary === '') {
    res.setHeader('Vary', 'Cookie');
  } else if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(vary)) {
    res.setHeader('Vary', `${vary}, Cookie`);
  }
}
