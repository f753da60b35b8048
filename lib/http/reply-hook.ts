import { retryAfterOf } from '../exceptions/session.exception.js';
import { findContext } from './find-context.js';

/** Express' response or Fastify's reply: each knows its request. */
interface ResponseLike {
  statusCode: number;
  req?: unknown;
  request?: unknown;
  getHeader(name: string): unknown;
  header(name: string, value: string): unknown;
}

/**
 * Stores the session once the handler and all interceptors are done, before Nest sends their value, so that a
 * failure reaches the exception filters.
 *
 * Not by an interceptor: with one at the handler, Nest follows each request with observables and listeners, which
 * takes a quarter of the time of a request without a session. What does not come by here is committed by the
 * response hook: redirects, views, streams, and handlers that answer themselves.
 */
export function replyHook(
  send: () => unknown,
  response: unknown,
  body: unknown,
  statusCode: number | undefined,
): unknown {
  const reply = response as ResponseLike;
  const status = statusCode ?? reply.statusCode;
  const context = findContext(reply.req ?? reply.request);
  const retryAfter = status === 503 ? retryAfterOf(body) : undefined;
  if (retryAfter !== undefined && reply.getHeader('Retry-After') === undefined) {
    reply.header('Retry-After', String(retryAfter)); // the body of an exception of this package
  }
  // An error is an exception filter's: nobody waits for its reply, so that the response hook does the commit.
  const work = status < 400 ? context?.commit(status) : undefined;
  return work ? after(work, send, error => context!.onFailure(error)) : send();
}

/**
 * Nest's router waits for a reply, and gives its failure to the exception filters. An exception filter that
 * replies does not wait: then nobody else would answer.
 */
function after(
  work: Promise<void>,
  reply: () => unknown,
  onUnheard: (error: unknown) => void,
): PromiseLike<unknown> {
  let isHeard = false;
  const replied = work.then(reply);
  replied.catch(error => isHeard || onUnheard(error));
  return {
    // oxlint-disable-next-line unicorn/no-thenable -- it has to know whether someone waits
    then: (onDone, onError) => {
      isHeard = true;
      return replied.then(onDone, onError);
    },
  };
}
