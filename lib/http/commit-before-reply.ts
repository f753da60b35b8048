import type { HttpServer } from '@nestjs/common';
import { findHttpContext } from './http-session.context.js';

/** Express' response or Fastify's reply: each knows its request. */
interface ResponseLike {
  statusCode: number;
  req?: unknown;
  request?: unknown;
}

/**
 * Stores the session once the handler and all interceptors are done, before Nest sends their value, so that a
 * failure reaches the exception filters.
 *
 * Not by an interceptor: with one at the handler, Nest follows each request with observables and listeners, which
 * takes a quarter of the time of a request without a session. What does not come by here is committed by the
 * response hook: errors, redirects, views, streams, and handlers that answer themselves.
 */
export function commitBeforeReply(adapter: Pick<HttpServer, 'reply'>): void {
  const send = adapter.reply.bind(adapter);
  adapter.reply = (response: ResponseLike, body: unknown, statusCode?: number): unknown => {
    const status = statusCode ?? response.statusCode;
    const context = status < 400 ? findHttpContext(response.req ?? response.request) : undefined;
    const work = context?.commit(status);
    return work
      ? after(
          work,
          () => send(response, body, statusCode),
          error => context!.onFailure(error),
        )
      : send(response, body, statusCode);
  };
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
