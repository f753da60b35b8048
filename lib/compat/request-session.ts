import type { HttpServer } from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import { findContext } from '../http/find-context.js';
import { hasExpressSession } from '../http/nest-internals.js';
import type { RequestContext } from '../http/request-context.js';
import type { HttpExtension } from '../http/request-entry.js';
import { viewOf, type ExpressSessionMembers } from './express-session.js';
import { FastifySessionMembers } from './fastify-session.js';

/** Whether an application leaves `req.session` to another package, once that has been looked at. */
const isLeftToOthers = new WeakMap<object, boolean>();

const propertiesWith = (Members?: typeof ExpressSessionMembers): PropertyDescriptorMap => ({
  session: accessor('session', (context, request) =>
    hasOther(request) ? undefined : viewOf(context, Members),
  ),
  sessionID: accessor('sessionID', context => context.usable?.id),
});
const EXPRESS = propertiesWith();
const FASTIFY = propertiesWith(FastifySessionMembers);

/** Gives the requests of an application `session` and `sessionID`, as express-session does. */
export const requestSessionExtension: HttpExtension = {
  install(adapter: HttpServer): void {
    const instance = adapter.getInstance();
    if (adapter.getType?.() === 'fastify') {
      const { get: getter, set: setter } = FASTIFY.session!;
      instance.decorateRequest('session', { getter, setter });
    } else if (instance?.request) {
      Object.defineProperties(instance.request, EXPRESS); // the prototype of Express' requests
    }
  },
  onRawRequest: req => void Object.defineProperties(req, FASTIFY),
};

/**
 * Express middleware that loads the session, for others after it that use `req.session` at once:
 * `app.use('/auth', loadSession)` in main.ts, or `consumer.apply(loadSession)` in a module.
 */
export function loadSession(req: IncomingMessage, _res: unknown, next: (error?: unknown) => void): void {
  const proceed = () => next();
  const work = findContext(req)?.loadAhead() ?? Promise.resolve();
  work.then(proceed, next);
}

/** Not enumerable; who assigns to it (express-session, a test) has the property to himself. */
function accessor(name: string, read: (context: RequestContext, request: object) => unknown) {
  return {
    configurable: true,
    get(this: object) {
      const context = findContext(this);
      return context && read(context, this);
    },
    /** @throws TypeError for what ends the session elsewhere, and would not here */
    set(this: object, value: unknown) {
      if (name === 'session' && (value === null || value === undefined)) {
        throw new TypeError(
          `req.session cannot be set to ${value}; to end the session, use req.session.destroy()`,
        );
      }
      Object.defineProperty(this, name, { value, writable: true, enumerable: true, configurable: true });
    },
  };
}

/** express-session does nothing where it finds a `req.session`: an application that mounts it has none of this one's. */
function hasOther({ app }: { app?: object }): boolean {
  if (app && !isLeftToOthers.has(app)) {
    isLeftToOthers.set(app, hasExpressSession(app));
  }
  return app !== undefined && isLeftToOthers.get(app)!;
}
