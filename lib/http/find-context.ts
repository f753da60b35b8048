import type { IncomingMessage } from 'node:http';
import { SessionContextException } from '../exceptions/session.exception.js';
import type { RequestContext } from './request-context.js';

const CONTEXT = Symbol('nest-sessions');

/** A raw request, a framework's with `raw`, or what GraphQL's servers pass to resolvers: Apollo's, Mercurius'. */
interface RequestLike {
  [CONTEXT]?: RequestContext;
  raw?: RequestLike;
  req?: RequestLike;
  reply?: { request?: RequestLike };
}

/** The context of an HTTP request, as `init` left it on the raw request. */
export function findContext(request: unknown): RequestContext | undefined {
  const found = (request ?? {}) as RequestLike;
  return contextOn(found) ?? contextOn(found.req ?? found.reply?.request);
}

const contextOn = (request: RequestLike | undefined): RequestContext | undefined =>
  request?.[CONTEXT] ?? request?.raw?.[CONTEXT];

/** @throws SessionContextException that says why there is none */
export function requireContext(request: unknown): RequestContext {
  const context = findContext(request);
  if (!context) {
    throw new SessionContextException(
      'There is no session here: the request is no HTTP request, its path is in the option exclude, or ' +
        'SessionsModule.forRoot() is missing in the imports of AppModule. (A durable provider outlives the request: ' +
        'inject SessionStore there, and call current())',
    );
  }
  return context;
}

/** Not enumerable: what prints a request must not print other users' sessions. */
export function attachContext(req: IncomingMessage, context: RequestContext): void {
  Object.defineProperty(req, CONTEXT, { value: context });
}
