import type { IncomingMessage, ServerResponse } from 'node:http';
import { findHttpContext, type HttpSessionContext } from './http-session.context.js';

/** As the middleware of express-session and of cookie-session call themselves. */
const OTHERS = new Set(['session', '_cookieSession']);

interface ExpressRequestLike {
  app?: { router?: { stack?: { name?: string }[] } };
}

/** Whether an application leaves `req.session` to another package, once that has been looked at. */
const isLeftToOthers = new WeakMap<object, boolean>();

const SESSION = accessor('session', (context, request) => (hasOther(request) ? undefined : context.view));
const SESSION_ID = accessor('sessionID', context => context.usable?.id);

/** `session` as Fastify's `decorateRequest` takes it. */
export const FASTIFY_SESSION = { getter: SESSION.get, setter: SESSION.set };

/**
 * Gives requests `session` and `sessionID`, as express-session does.
 * @param target the prototype of an application's requests, or one request
 */
export function defineRequestSession(target: object): void {
  Object.defineProperties(target, { session: SESSION, sessionID: SESSION_ID });
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
  const context = findHttpContext(req);
  if (context) {
    const proceed = () => next();
    context.use().then(proceed, next);
  } else {
    next();
  }
}

/** Not enumerable; who assigns to it (express-session, a test) has the property to himself. */
function accessor(
  name: string,
  read: (context: HttpSessionContext, request: object) => unknown,
): PropertyDescriptor {
  return {
    configurable: true,
    get(this: object) {
      const context = findHttpContext(this);
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
function hasOther({ app }: ExpressRequestLike): boolean {
  if (!app) {
    return false;
  }
  let isOther = isLeftToOthers.get(app);
  if (isOther === undefined) {
    isOther = app.router?.stack?.some(({ name }) => name !== undefined && OTHERS.has(name)) ?? false;
    isLeftToOthers.set(app, isOther);
  }
  return isOther;
}
