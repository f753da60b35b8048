import { Inject, Injectable, type HttpServer, type MiddlewareConsumer } from '@nestjs/common';
import { ExternalContextCreator, HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SessionRuntime } from '../session/session-runtime.js';
import { excludeMatcher } from './exclude-matcher.js';
import { changeReply, checkInternals, enterResolvers, enterRoutes, isFastify } from './nest-internals.js';
import { replyHook } from './reply-hook.js';
import { findContext } from './find-context.js';
import { RequestContext, type FormerSessions } from './request-context.js';
import { SessionCookie } from './session-cookie.js';

type Next = (error?: unknown) => void;

/** Raw ones, or Fastify's, which have them. */
type RequestLike = IncomingMessage & { raw?: IncomingMessage; protocol?: string; is404?: boolean };
type ResponseLike = ServerResponse & { raw?: ServerResponse };

/** What is registered with the HTTP part of the package, and does its part of a request. */
export interface HttpExtension {
  /** Once, when the application has its adapter. */
  install?(adapter: HttpServer): void;
  /** For each raw request that comes through middleware of Fastify. */
  onRawRequest?(req: IncomingMessage): void;
  /** Sessions that another package began, for requests without a cookie of this one. */
  readonly former?: FormerSessions | undefined;
}

/**
 * Gives every request its session context, and runs each route in the context of its own request. The first is all that
 * happens to a request that uses no session. CherryPy's `init`.
 */
@Injectable()
export class RequestEntry {
  private readonly isExcluded: (req: IncomingMessage) => boolean;
  private readonly extensions: HttpExtension[] = [];
  private former: FormerSessions | undefined;
  private hasSeenRoutes: (() => boolean) | undefined;

  constructor(
    @Inject(SessionRuntime) private readonly runtime: SessionRuntime,
    @Inject(SessionCookie) private readonly cookie: SessionCookie,
    @Inject(HttpAdapterHost) private readonly host: HttpAdapterHost,
    @Inject(ModulesContainer) private readonly modules: ModulesContainer,
    @Inject(ExternalContextCreator) private readonly resolvers: ExternalContextCreator,
  ) {
    this.isExcluded = excludeMatcher(runtime.options.exclude);
  }

  /** As soon as the application has its HTTP adapter, before main.ts mounts anything. One without HTTP has none. */
  install(extensions: HttpExtension[]): void {
    this.extensions.push(...extensions);
    this.former = extensions.find(({ former }) => former)?.former;
    checkInternals();
    enterResolvers(this.resolvers);
    if (this.host.httpAdapter) {
      this.installOn(this.host.httpAdapter);
    } else {
      this.host.init$.subscribe(() => {
        // NestFactory.createApplicationContext() sets none; Test.createTestingModule sets it later.
        if (this.host.httpAdapter) {
          this.installOn(this.host.httpAdapter);
        }
      });
    }
  }

  /** On Fastify, Nest runs middleware of modules before hooks: where there is any, `init` has to be one too. */
  installBeforeMiddleware(consumer: MiddlewareConsumer, self: object): void {
    const isNeeded = [...this.modules.values()].some(
      ({ instance }) => instance !== self && typeof instance?.configure === 'function',
    );
    if (isNeeded && isFastify(this.host.httpAdapter)) {
      const initRaw = (req: RequestLike, res: ResponseLike, next: Next) => {
        this.extensions.forEach(extension => extension.onRawRequest?.(req));
        this.init(req, res, next);
      };
      consumer.apply(initRaw).forRoutes('{*path}');
    }
  }

  /** @throws Error if the application has routes, and none of them was seen when it was made */
  checkRoutes(): void {
    const hasRoutes = [...this.modules.values()].some(({ controllers }) => controllers.size > 0);
    if (hasRoutes && this.hasSeenRoutes?.() === false) {
      throw new Error(
        'nest-sessions has seen no route of this application being made, and cannot tell their requests apart. Import ' +
          'SessionsModule.forRoot() in AppModule, so that it is there before routes are; if it is, please report this',
      );
    }
  }

  private installOn(adapter: HttpServer): void {
    changeReply(adapter, replyHook);
    this.hasSeenRoutes = enterRoutes(adapter);
    this.extensions.forEach(extension => extension.install?.(adapter));
    if (isFastify(adapter)) {
      // A middleware would take a third of Fastify's throughput; its own hooks a twentieth.
      adapter.getInstance().addHook('onRequest', this.init).addHook('preHandler', beforeHandler);
    } else {
      adapter.use!(this.init);
    }
  }

  private readonly init = (request: RequestLike, response: ResponseLike, next: Next): void => {
    const req = request.raw ?? request;
    const known = findContext(req);
    let work: Promise<void> | undefined;
    if (known) {
      known.source = request; // made in a Nest middleware, which Fastify runs before its hooks
    } else if (!this.isExcluded(req)) {
      const { runtime, cookie, former } = this;
      const context = new RequestContext(runtime, cookie, req, response.raw ?? response, request, former);
      work = runtime.options.eager ? context.readAhead() : undefined;
    }
    goOn(work, next);
  };
}

/** Fastify's hook: a handler's own return value would be lost to it if the handler had to wait. */
const beforeHandler = (request: RequestLike, _reply: unknown, done: Next): void =>
  goOn(request.is404 ? undefined : findContext(request)?.beforeRoute(), done);

function goOn(work: Promise<void> | undefined, next: Next): void {
  if (work) {
    const proceed = () => next();
    work.then(proceed, next);
  } else {
    next();
  }
}
