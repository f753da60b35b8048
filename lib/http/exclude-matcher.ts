import { RequestMethod } from '@nestjs/common';
import type { IncomingMessage } from 'node:http';
import { pathToRegexp } from 'path-to-regexp';
import type { SessionExclude } from '../options/session-options.js';

export function excludeMatcher(exclude: SessionExclude[]): (req: IncomingMessage) => boolean {
  if (exclude.length === 0) {
    return () => false;
  }
  const routes = exclude.map(entry => {
    const { path, method = RequestMethod.ALL } = typeof entry === 'string' ? { path: entry } : entry;
    return { method, regexp: pathToRegexp(path.startsWith('/') ? path : `/${path}`).regexp };
  });
  return ({ method, url = '/' }) => {
    const end = url.search(/[?#]/);
    const path = end < 0 ? url : url.slice(0, end);
    return routes.some(
      route =>
        (route.method === RequestMethod.ALL || RequestMethod[route.method] === method) &&
        route.regexp.test(path),
    );
  };
}
