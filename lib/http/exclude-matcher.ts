import { RequestMethod } from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import { pathToRegexp } from 'path-to-regexp';
import type { SessionExclude } from '../options/session-options.js';

/** What is asked of a raw request; `originalUrl` is the path as the client sent it, if someone has changed `url`. */
type RequestLine = Partial<Pick<IncomingMessage, 'method' | 'url'>> & { originalUrl?: string | undefined };

/**
 * Tells whether a request's route is one without a session. A path may be written as the application sees it, or as
 * the client does: they differ under `outer.use('/api', app)`.
 */
export function excludeMatcher(exclude: readonly SessionExclude[]): (request: RequestLine) => boolean {
  if (exclude.length === 0) {
    return () => false;
  }
  const routes = exclude.map(entry => {
    const { path, method = RequestMethod.ALL } = typeof entry === 'string' ? { path: entry } : entry;
    const { regexp } = pathToRegexp(path.startsWith('/') ? path : `/${path}`);
    return { method: RequestMethod[method], regexp };
  });
  return ({ method = 'GET', url = '/', originalUrl = url }) => {
    // Both frameworks answer HEAD by the handler of GET.
    const methods = method === 'HEAD' ? ['ALL', 'HEAD', 'GET'] : ['ALL', method];
    return routes.some(
      route =>
        methods.includes(route.method) &&
        (route.regexp.test(pathOf(url)) || route.regexp.test(pathOf(originalUrl))),
    );
  };
}

const pathOf = (url: string): string => /^[^?#]*/.exec(url)![0];
