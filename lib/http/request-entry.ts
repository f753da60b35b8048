import { Inject, Injectable, type HttpServer, type MiddlewareConsumer } from '@nestjs/common';
import { ExternalContextCreator, HttpAdapterHost, MetadataScanner, ModulesContainer } from '@nestjs/core';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { runWithoutContext } from '../session/session-context.js';
import { SessionRuntime } from '../session/session-runtime.js';
import { excludeMatcher } from './exclude-matcher.js';
import {
  beforeReply,
  checkInternals,
  enterPlainFieldResolvers,
  enterResolvers,
  enterRoutes,
  type RouteEntry,
} from './nest-internals.js';
import { replyHook } from './reply-hook.js';
import { findContext } from './find-context.js';
import { RequestContext, type FormerSessions } from './request-context.js';
import { SessionCookie } from './session-cookie.js';

type Next = (error?: unknown) => void;

interface FastifyRequestLike {
  raw: IncomingMessage;
  is404?: boolean;
  protocol?: string;
}

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
  private countRoutes: (() => number) | undefined;

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
    enterResolvers(this.resolvers, this.enter);
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
      ({ instance }) =>
        instance !== self &&
        typeof (instance as { configure?: unknown } | undefined)?.configure === 'function',
    );
    if (isNeeded && this.host.httpAdapter?.getType?.() === 'fastify') {
      consumer.apply(this.onRawRequest).forRoutes('{*path}');
    }
  }

  /** Resolvers that Nest does not call itself. Before GraphQL's module looks for resolvers. */
  installOnFieldResolvers(): void {
    const scanner = new MetadataScanner();
    for (const { providers } of this.modules.values()) {
      for (const { metatype } of providers.values()) {
        const prototype: object | undefined = (metatype as { prototype?: object } | null)?.prototype;
        if (prototype) {
          enterPlainFieldResolvers(prototype, scanner.getAllMethodNames(prototype), this.enter);
        }
      }
    }
  }

  /** @throws Error if the application has routes, and none of them was seen when it was made */
  checkRoutes(): void {
    const hasRoutes = [...this.modules.values()].some(({ controllers }) => controllers.size > 0);
    if (hasRoutes && this.countRoutes?.() === 0) {
      throw new Error(
        'nest-sessions has seen no route of this application being made, and cannot tell their requests apart. Import ' +
          'SessionsModule.forRoot() in AppModule, so that it is there before routes are; if it is, please report this',
      );
    }
  }

  private installOn(adapter: HttpServer): void {
    beforeReply(adapter, replyHook);
    this.countRoutes = enterRoutes(adapter, this.enter);
    for (const extension of this.extensions) {
      extension.install?.(adapter);
    }
    if (adapter.getType?.() === 'fastify') {
      // A middleware would take a third of Fastify's throughput; its own hooks a twentieth.
      const fastify = adapter.getInstance();
      fastify.addHook('onRequest', this.onRequest);
      fastify.addHook('preHandler', this.beforeHandler);
    } else {
      adapter.use!(this.onExpressRequest);
    }
  }

  /** Express' middleware; also of adapters whose requests are the raw ones. */
  private readonly onExpressRequest = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    this.init(req, res, req as { protocol?: string }, next);
  };

  private readonly onRawRequest = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    for (const extension of this.extensions) {
      extension.onRawRequest?.(req);
    }
    this.init(req, res, req as { protocol?: string }, next);
  };

  private readonly onRequest = (
    request: FastifyRequestLike,
    reply: { raw: ServerResponse },
    done: Next,
  ): void => {
    this.init(request.raw, reply.raw, request, done);
  };

  /** Where a handler's own return value would be lost to Fastify if it had to wait. */
  private readonly beforeHandler = (request: FastifyRequestLike, _reply: unknown, done: Next): void => {
    const work = request.is404 ? undefined : findContext(request.raw)?.beforeRoute();
    if (work) {
      const proceed = () => done();
      work.then(proceed, done);
    } else {
      done();
    }
  };

  private readonly enter: RouteEntry = (args, run, kind) => {
    const context = findContext(args[0]) ?? findContext(args[1]);
    if (!context) {
      return runWithoutContext(run);
    }
    return kind === 'middleware' ? context.enterMiddleware(run) : context.enter(run, kind === 'route');
  };

  private init(req: IncomingMessage, res: ServerResponse, source: { protocol?: string }, next: Next): void {
    const known = findContext(req);
    if (known) {
      known.source = source; // made in a Nest middleware, which Fastify runs before its hooks
      next();
      return;
    }
    if (this.isExcluded(req)) {
      next();
      return;
    }
    const context = new RequestContext(this.runtime, this.cookie, req, res, source, this.former);
    if (this.runtime.options.eager) {
      const proceed = () => next();
      void context.readAhead().then(proceed);
    } else {
      next();
    }
  }
}
