import { Inject, Injectable, RequestMethod } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pathToRegexp } from 'path-to-regexp';
import type { SessionExclude } from '../options/session-options.js';
import { currentContext, runInContext } from '../session/session-context.js';
import { SessionManager } from '../session/session-manager.js';
import { findHttpContext, HttpSessionContext } from './http-session.context.js';
import { SessionCookie } from './session-cookie.js';

type Next = (error?: unknown) => void;

/** Gives every request its session context. No I/O, unless `locking` is `'early'`. CherryPy's `init`. */
@Injectable()
export class SessionMiddleware {
  private readonly isExcluded: (method: string | undefined, url: string | undefined) => boolean;

  constructor(
    @Inject(SessionManager) private readonly manager: SessionManager,
    @Inject(SessionCookie) private readonly cookie: SessionCookie,
  ) {
    this.isExcluded = matcher(manager.options.exclude);
  }

  /** Whether `next` may be called with an error: `'early'` has a session to load. */
  get mayFail(): boolean {
    return this.manager.options.locking === 'early';
  }

  /** For adapters whose middleware gets the raw request, or one that is it (Express). Runs once a request. */
  readonly use = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    if (findHttpContext(req)) {
      this.reenter(req, next);
    } else {
      this.init(req, res, req as { protocol?: string }, next);
    }
  };

  /** For Fastify's `onRequest`. */
  readonly onRequest = (request: FastifyRequestLike, reply: { raw: ServerResponse }, done: Next): void => {
    const context = findHttpContext(request.raw);
    if (context) {
      context.source = request; // made by `use`, in a Nest middleware, which Fastify runs first
      this.reenter(request.raw, done);
    } else {
      this.init(request.raw, reply.raw, request, done);
    }
  };

  /** For Fastify's `preValidation`: reading a body leaves the asynchronous context. */
  readonly afterBody = (request: FastifyRequestLike, _reply: unknown, done: Next): void => {
    this.reenter(request.raw, done);
  };

  private init(req: IncomingMessage, res: ServerResponse, source: { protocol?: string }, next: Next): void {
    if (this.isExcluded(req.method, req.url)) {
      next();
      return;
    }
    const context = new HttpSessionContext(this.manager, this.cookie, req, res, source);
    if (this.mayFail) {
      context.use().then(() => runInContext(context, next), next);
    } else {
      runInContext(context, next);
    }
  }

  private reenter(req: IncomingMessage, next: Next): void {
    const context = findHttpContext(req);
    if (context && currentContext() !== context) {
      runInContext(context, next);
    } else {
      next();
    }
  }
}

interface FastifyRequestLike {
  raw: IncomingMessage;
  protocol?: string;
}

function matcher(
  exclude: SessionExclude[],
): (method: string | undefined, url: string | undefined) => boolean {
  if (exclude.length === 0) {
    return () => false;
  }
  const routes = exclude.map(entry => {
    const { path, method = RequestMethod.ALL } = typeof entry === 'string' ? { path: entry } : entry;
    return { method, regexp: pathToRegexp(path.startsWith('/') ? path : `/${path}`).regexp };
  });
  return (method, url = '/') => {
    const end = url.search(/[?#]/);
    const path = end < 0 ? url : url.slice(0, end);
    return routes.some(
      route =>
        (route.method === RequestMethod.ALL || RequestMethod[route.method] === method) &&
        route.regexp.test(path),
    );
  };
}
