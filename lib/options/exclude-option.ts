import { RequestMethod } from '@nestjs/common';
import { pathToRegexp } from 'path-to-regexp';
import { show } from './show.js';

export function checkExclude(exclude: unknown): string | string[] {
  if (!Array.isArray(exclude)) {
    return `must be an array of paths, e.g. ['health', 'assets/*path'], not ${show(exclude)}`;
  }
  return exclude.flatMap(entry => {
    const { path, method } = typeof entry === 'string' ? { path: entry } : (entry ?? {});
    const problems: string[] = [];
    if (!isRoutePath(path)) {
      problems.push(
        `holds ${show(entry)}, which is no path; write e.g. 'health', 'users/:id' or 'assets/*path'`,
      );
    }
    if (method !== undefined && typeof RequestMethod[method] !== 'string') {
      problems.push(
        `holds the method ${show(method)}; write e.g. { path: 'health', method: RequestMethod.GET }`,
      );
    }
    return problems;
  });
}

function isRoutePath(path: unknown): boolean {
  try {
    return typeof path === 'string' && pathToRegexp(path).regexp !== undefined;
  } catch {
    return false;
  }
}
