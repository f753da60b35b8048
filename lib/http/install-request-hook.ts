import type { MiddlewareConsumer } from '@nestjs/common';
import type { HttpAdapterHost, ModulesContainer } from '@nestjs/core';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { commitBeforeReply } from './commit-before-reply.js';
import { defineRequestSession, FASTIFY_SESSION } from './request-session.js';
import { makeRoomForHook } from './response-hook.js';
import type { SessionMiddleware } from './session.middleware.js';

/** See `makeRoomForHook`. */
const MAKES_ROOM = Number(process.versions.node.split('.')[0]) < 24;

interface ExpressLike {
  /** The prototype of its requests. */
  request?: object;
  handle?: (req: IncomingMessage, res: ServerResponse, done?: unknown) => void;
}

interface FastifyLike {
  addHook(name: string, hook: (...args: any[]) => void): void;
  decorateRequest(name: string, accessor: object): void;
}

/**
 * Puts `init` first in line, as soon as the application has its HTTP adapter: before main.ts mounts
 * anything. An application without HTTP has none.
 */
export function installRequestHook(host: HttpAdapterHost, middleware: SessionMiddleware): void {
  const install = () => {
    const adapter = host.httpAdapter as typeof host.httpAdapter | null;
    if (!adapter) {
      return; // NestFactory.createApplicationContext() sets none, and says so
    }
    commitBeforeReply(adapter);
    const type = adapter.getType?.();
    if (type === 'fastify') {
      // A middleware would take a third of Fastify's throughput; its own hooks a twentieth.
      const fastify = adapter.getInstance<FastifyLike>();
      fastify.addHook('onRequest', middleware.onRequest);
      fastify.addHook('preValidation', middleware.afterBody);
      if (middleware.hasRequestSession) {
        fastify.decorateRequest('session', FASTIFY_SESSION);
      }
      return;
    }
    const { request } = adapter.getInstance<ExpressLike>();
    if (type === 'express' && request && middleware.hasRequestSession) {
      defineRequestSession(request);
    }
    if (
      type !== 'express' ||
      middleware.mayFail ||
      !initBeforeExpress(adapter.getInstance<ExpressLike>(), middleware)
    ) {
      adapter.use(middleware.use);
    }
  };
  if (host.httpAdapter) {
    install();
  } else {
    host.init$.subscribe(install); // Test.createTestingModule sets the adapter later
  }
}

/**
 * Ahead of Express' router, in which a middleware takes up to 7 % of the time of a request without a session.
 * @returns false if this is not possible
 */
function initBeforeExpress(app: ExpressLike, { use }: SessionMiddleware): boolean {
  const { handle } = app;
  if (typeof handle !== 'function') {
    return false;
  }
  const enter: typeof handle = (req, res, done) => use(req, res, () => handle.call(app, req, res, done));
  app.handle = MAKES_ROOM
    ? (req, res, done) => {
        makeRoomForHook(res);
        enter(req, res, done);
      }
    : enter;
  return true;
}

/**
 * On Fastify, Nest runs middleware of modules before hooks: where there is any, `init` has to be one too.
 */
export function installBeforeMiddleware(
  consumer: MiddlewareConsumer,
  host: HttpAdapterHost,
  modules: ModulesContainer,
  middleware: SessionMiddleware,
  self: object,
): void {
  const isNeeded = [...modules.values()].some(
    ({ instance }) =>
      instance !== self && typeof (instance as { configure?: unknown } | undefined)?.configure === 'function',
  );
  if (isNeeded && host.httpAdapter?.getType?.() === 'fastify') {
    consumer.apply(middleware.useOnRaw).forRoutes('{*path}');
  }
}
