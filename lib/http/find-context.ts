import type { IncomingMessage } from 'node:http';
import { SessionContextException } from '../exceptions/session.exception.js';
import type { RequestContext } from './request-context.js';

const CONTEXT = Symbol('nest-sessions');

interface RequestLike {
  raw?: IncomingMessage;
  [CONTEXT]?: RequestContext;
}

/** What GraphQL's servers pass to resolvers: Apollo's, and Mercurius'. */
interface GraphqlContext {
  req?: unknown;
  reply?: { request?: unknown };
}

/**
 * The context of an HTTP request, as `init` left it on the raw request.
 * @param request a raw one, a framework's wrapper with `raw`, or the context of a GraphQL request
 */
export function findContext(request: unknown): RequestContext | undefined {
  const { req, reply } = (request ?? {}) as GraphqlContext;
  return contextOn(request) ?? contextOn(req ?? reply?.request);
}

function contextOn(request: unknown): RequestContext | undefined {
  const { raw, [CONTEXT]: context } = (request ?? {}) as RequestLike;
  return context ?? (raw as RequestLike | undefined)?.[CONTEXT];
}

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
