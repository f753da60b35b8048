import { RequestMethod } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { excludeMatcher } from '../../lib/http/exclude-matcher.js';

describe('excludeMatcher', () => {
  it.each<[entry: string, matching: string[], others: string[]]>([
    [
      'health',
      ['/health', '/health/', '/HEALTH', '/health?a=1', '/health#a', '/health?/x'],
      ['/', '/healthy', '/a/health', '/health/x'],
    ],
    ['/health', ['/health'], ['//health', '/?/health', '/x#/health']],
    ['users/:id', ['/users/7', '/users/a%2Fb?x'], ['/users', '/users/7/posts', '/users/?7']],
    ['assets/*path', ['/assets/a.js', '/assets/a/b.js'], ['/assets', '/assets/']],
    ['/', ['/', '/?a'], ['/a']],
  ])('%s', (entry, matching, others) => {
    for (const exclude of [[entry], [{ path: entry }], ['other', { path: entry }]]) {
      const isExcluded = excludeMatcher(exclude);
      for (const url of matching) {
        expect(isExcluded({ method: 'POST', url }), url).toBe(true);
      }
      for (const url of others) {
        expect(isExcluded({ method: 'POST', url }), url).toBe(false);
      }
    }
  });

  it('nothing is excluded unless asked', () => {
    expect(excludeMatcher([])({ method: 'GET', url: '/' })).toBe(false);
  });

  it.each<[RequestMethod | undefined, string[]]>([
    [undefined, ['GET', 'HEAD', 'POST', 'OPTIONS', 'PROPFIND']],
    [RequestMethod.ALL, ['GET', 'HEAD', 'POST', 'OPTIONS', 'PROPFIND']],
    [RequestMethod.GET, ['GET', 'HEAD']],
    [RequestMethod.HEAD, ['HEAD']],
    [RequestMethod.POST, ['POST']],
    [RequestMethod.OPTIONS, ['OPTIONS']],
    [RequestMethod.PROPFIND, ['PROPFIND']],
  ])('method %s', (method, methods) => {
    const isExcluded = excludeMatcher([{ path: 'a', method }, { path: 'b' }]);
    const all = ['GET', 'HEAD', 'POST', 'OPTIONS', 'PROPFIND'];
    expect(all.filter(one => isExcluded({ method: one, url: '/a?b' }))).toEqual(methods);
    expect(all.filter(one => isExcluded({ method: one, url: '/b' }))).toEqual(all);
  });

  it('takes a path as the application sees it, and as the client sent it', () => {
    const mounted = { method: 'GET', url: '/health?x', originalUrl: '/api/health?x' };
    expect(excludeMatcher(['health'])(mounted)).toBe(true);
    expect(excludeMatcher(['api/health'])(mounted)).toBe(true);
    expect(excludeMatcher(['api'])(mounted)).toBe(false);
    expect(excludeMatcher(['x'])(mounted)).toBe(false);
    expect(
      excludeMatcher([{ path: 'api/health', method: RequestMethod.GET }])({ ...mounted, method: 'HEAD' }),
    ).toBe(true);
    expect(excludeMatcher([{ path: 'api/health', method: RequestMethod.POST }])(mounted)).toBe(false);
    expect(excludeMatcher(['api'])({ method: 'GET', url: '/', originalUrl: '/api?x' })).toBe(true);
  });
});
