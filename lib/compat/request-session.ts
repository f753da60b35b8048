import type { HttpServer } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { hasExpressSession } from '../http/nest-internals.js';
import { findContext } from '../http/find-context.js';
import type { RequestContext } from '../http/request-context.js';
import type { HttpExtension } from '../http/request-entry.js';
import { createExpressSession, type ExpressSession } from './express-session.js';

/** Whether an application leaves `req.session` to another package, once that has been looked at. */
const isLeftToOthers = new WeakMap<object, boolean>();

/** Each request's `req.session`; null once it was destroyed. */
const views = new WeakMap<RequestContext, ExpressSession | null>();

const SESSION = accessor('session', (context, request) => (hasOther(request) ? undefined : viewOf(context)));
const SESSION_ID = accessor('sessionID', context => context.usable?.id);

/** Gives the requests of an application `session` and `sessionID`, as express-session does. */
export const requestSessionExtension: HttpExtension = {
  install(adapter: HttpServer): void {
    const instance = adapter.getInstance();
    if (adapter.getType?.() === 'fastify') {
      instance.decorateRequest('session', { getter: SESSION.get, setter: SESSION.set });
    } else if (instance?.request) {
      defineRequestSession(instance.request); // the prototype of Express' requests
    }
  },
  onRawRequest: defineRequestSession,
};

/** `req.session`; undefined on a route without a session, and once `req.session.destroy()` was called. */
export function viewOf(context: RequestContext): ExpressSession | undefined {
  if (context.isSkipped) {
    return undefined;
  }
  let view = views.get(context);
  if (view === undefined) {
    view = createExpressSession({
      options: context.runtime.options,
      get usable() {
        return context.usable;
      },
      get aheadFailure() {
        return context.aheadFailure;
      },
      prepare: () => context.prepare(),
      replaceView: next => (next === 'fresh' ? views.delete(context) : views.set(context, null)),
    });
    views.set(context, view);
  }
  return view ?? undefined;
}

/**
 * Express middleware that loads the session, for others after it that use `req.session` at once:
 * `app.use('/auth', loadSession)` in main.ts, or `consumer.apply(loadSession)` in a module.
 */
export function loadSession(
  req: IncomingMessage,
  _res: ServerResponse,
  next: (error?: unknown) => void,
): void {
  const context = findContext(req);
  if (context) {
    const proceed = () => next();
    context.use().then(proceed, next);
  } else {
    next();
  }
}

function defineRequestSession(target: object): void {
  Object.defineProperties(target, { session: SESSION, sessionID: SESSION_ID });
}

/** Not enumerable; who assigns to it (express-session, a test) has the property to himself. */
function accessor(
  name: string,
  read: (context: RequestContext, request: object) => unknown,
): PropertyDescriptor {
  return {
    configurable: true,
    get(this: object) {
      const context = findContext(this);
      return context && read(context, this);
    },
    set(this: object, value: unknown) {
      own(this, name, value);
    },
  };
}

/** @throws TypeError for what ends the session elsewhere, and would not here */
function own(request: object, name: string, value: unknown): void {
  if (name === 'session' && (value === null || value === undefined)) {
    throw new TypeError(
      `req.session cannot be set to ${value}; to end the session, use req.session.destroy()`,
    );
  }
  Object.defineProperty(request, name, { value, writable: true, enumerable: true, configurable: true });
}

/** express-session does nothing where it finds a `req.session`: an application that mounts it has none of this one's. */
function hasOther({ app }: { app?: object }): boolean {
  if (!app) {
    return false;
  }
  let isOther = isLeftToOthers.get(app);
  if (isOther === undefined) {
    isOther = hasExpressSession(app);
    isLeftToOthers.set(app, isOther);
  }
  return isOther;
}
