import { Inject, Injectable } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { currentContext, runInContext } from '../session/session-context.js';
import { SessionManager } from '../session/session-manager.js';
import { excludeMatcher } from './exclude-matcher.js';
import { ExpressMigration } from './express-migration.js';
import { findHttpContext, HttpSessionContext } from './http-session.context.js';
import { defineRequestSession } from './request-session.js';
import { SessionCookie } from './session-cookie.js';

type Next = (error?: unknown) => void;

/** Gives every request its session context. No I/O, unless the options say `eager` or `'early'`. CherryPy's `init`. */
@Injectable()
export class SessionMiddleware {
  private readonly isExcluded: (req: IncomingMessage) => boolean;
  private readonly migration: ExpressMigration | undefined;

  constructor(
    @Inject(SessionManager) private readonly manager: SessionManager,
    @Inject(SessionCookie) private readonly cookie: SessionCookie,
  ) {
    const { exclude, migrateFrom } = manager.options;
    this.isExcluded = excludeMatcher(exclude);
    this.migration = migrateFrom && new ExpressMigration(manager, migrateFrom);
  }

  /** Whether `next` may be called with an error, as there is a session to load. */
  get mayFail(): boolean {
    const { locking, eager } = this.manager.options;
    return eager || locking === 'early';
  }

  /** Whether `req.session` is this package's. */
  get hasRequestSession(): boolean {
    return this.manager.options.requestSession;
  }

  /** For adapters whose middleware gets the raw request, or one that is it (Express). Runs once a request. */
  readonly use = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    if (findHttpContext(req)) {
      this.reenter(req, next);
    } else {
      this.init(req, res, req as { protocol?: string }, next);
    }
  };

  /** For middleware on Fastify, which gets the raw request. */
  readonly useOnRaw = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    if (this.hasRequestSession) {
      defineRequestSession(req);
    }
    this.use(req, res, next);
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
    if (this.isExcluded(req)) {
      next();
      return;
    }
    const context = new HttpSessionContext(this.manager, this.cookie, req, res, source, this.migration);
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
