import { RequestMethod } from '@nestjs/common';
import { pathToRegexp } from 'path-to-regexp';
import type { SessionExclude } from '../options/session-options.js';

/** What is asked of a raw request. */
interface RequestLine {
  method?: string | undefined;
  /** The path as the application sees it: without the path that an outer Express mounts it at. */
  url?: string | undefined;
  /** The path as the client sent it, if someone has changed `url`. */
  originalUrl?: string | undefined;
}

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
    return {
      methods: methodsOf(method),
      regexp: pathToRegexp(path.startsWith('/') ? path : `/${path}`).regexp,
    };
  });
  const isExcluded = (method: string, path: string) =>
    routes.some(({ methods, regexp }) => (!methods || methods.includes(method)) && regexp.test(path));
  return ({ method = 'GET', url = '/', originalUrl = url }) =>
    isExcluded(method, pathOf(url)) || (originalUrl !== url && isExcluded(method, pathOf(originalUrl)));
}

/** @returns undefined for all */
function methodsOf(method: RequestMethod): string[] | undefined {
  switch (method) {
    case RequestMethod.ALL:
      return undefined;
    case RequestMethod.GET:
      return ['GET', 'HEAD']; // both frameworks answer HEAD by the handler of GET
    default:
      return [RequestMethod[method]];
  }
}

function pathOf(url: string): string {
  const end = url.search(/[?#]/);
  return end < 0 ? url : url.slice(0, end);
}
