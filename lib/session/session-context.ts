import { AsyncLocalStorage } from 'node:async_hooks';
import type { OpenSession } from './open-session.js';
import type { Session } from './session.js';

/** How a request uses its session. */
export interface SessionParamOptions {
  /** Read without waiting for the lock; the session cannot be changed. Default false. */
  readOnly?: boolean;
  /**
   * False: the session lives no longer for it, as a page that polls wants it. Neither its expiry nor its cookie moves, also
   * where it is changed; a use without `touch: false` in the same request moves both. Default true.
   */
  touch?: boolean;
}

/** What a request, or a `SessionStore.update()`, has of a session; found by all code that runs inside of it. */
export interface SessionContext {
  /** The session once something asked for it. */
  readonly open: OpenSession | undefined;
  /** Whether the id belongs to this context's session, loaded or not. */
  owns(id: string): boolean;
  /** The request's loaded session; only of a request. @throws SessionContextException if the route has none */
  use?(options?: SessionParamOptions): Promise<Session>;
  /** The context around this one. */
  readonly outer?: SessionContext | undefined;
}

const storage = new AsyncLocalStorage<SessionContext>();

/** The context of the middleware that is being called, until its first await. */
let inHand: SessionContext | undefined;

/** What `run` calls, at once or later, has this context. */
export const runInContext = <T>(context: SessionContext, run: () => T): T => storage.run(context, run);

/**
 * Only what `run` calls at once has this context. For middleware: after a callback of a pooled connection, the
 * asynchronous context is that of the request which opened it.
 */
export function callInContext<T>(context: SessionContext, run: () => T): T {
  const before = inHand;
  inHand = context;
  try {
    return run();
  } finally {
    inHand = before;
  }
}

/** What is current may be another request's: what has no context of its own runs in none. */
export const runWithoutContext = <T>(run: () => T): T =>
  storage.getStore() === undefined ? run() : storage.run(undefined as never, run);

/** The current context, and those around it. */
export function contextsAround(): SessionContext[] {
  const all: SessionContext[] = [];
  for (let context = currentContext(); context; context = context.outer) {
    all.push(context);
  }
  return all;
}

export const currentContext = (): SessionContext | undefined => inHand ?? storage.getStore();
