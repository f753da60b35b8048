import type { HttpServer } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { retryAfterOf } from '../exceptions/session.exception.js';
import { findContext } from './find-context.js';

/** Express' response or Fastify's reply: each knows its request. */
type Reply = ServerResponse & { raw?: ServerResponse; request?: unknown };

/**
 * Stores the session once the handler and all interceptors are done, before Nest sends their value, so that a
 * failure reaches the exception filters.
 *
 * Not by an interceptor: with one at the handler, Nest follows each request with observables and listeners, which
 * takes a quarter of the time of a request without a session. What does not come by here is committed by the
 * response hook: redirects, views, streams, and handlers that answer themselves.
 */
export const replyHook =
  (send: HttpServer['reply']) =>
  (reply: Reply, body: unknown, statusCode?: number): unknown => {
    const status = statusCode ?? reply.statusCode;
    const context = findContext(reply.req ?? reply.request);
    if (status === 503) {
      addRetryAfter(reply.raw ?? reply, retryAfterOf(body)); // an exception of this package, with or without a session
    }
    // An error is an exception filter's: nobody waits for its reply, so that the response hook does the commit.
    const work = status < 400 ? context?.commit(status) : undefined;
    if (!work) {
      return send(reply, body, statusCode);
    }
    // The router waits for a reply. An exception filter that replies does not: then nobody else would answer.
    let isHeard = false;
    const replied = work.then(() => send(reply, body, statusCode));
    replied.catch(error => isHeard || context!.hook!.fail(error));
    const heard: PromiseLike<unknown> = {
      // oxlint-disable-next-line unicorn/no-thenable -- it has to know whether someone waits
      then: (onDone, onError) => {
        isHeard = true;
        return replied.then(onDone, onError);
      },
    };
    return heard;
  };

/** @param seconds undefined if trying again is no use */
export function addRetryAfter(res: ServerResponse, seconds: number | undefined): void {
  if (seconds !== undefined && !res.hasHeader('Retry-After')) {
    res.setHeader('Retry-After', String(seconds));
  }
}
