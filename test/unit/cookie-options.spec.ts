import { Logger } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it, vi, type MockInstance } from 'vitest';
import type { SessionModuleOptions } from 'nest-sessions';
import { resolveModuleOptions } from '../../lib/sessions.options.js';
import { problemsOf } from '../support/problems-of.js';

describe("the cookie's options together", () => {
  const WRONG: [options: SessionModuleOptions, problem: RegExp][] = [
    [{ path: '/', pathHeader: 'x-path' }, /^path and pathHeader exclude each other; remove one/],
    [{ name: '__Host-id', secure: false }, /__Host-id must be Secure; remove secure: false/],
    [{ name: '__Host-id', domain: 'example.com' }, /__Host-id cannot have a domain; remove domain/],
    [{ name: '__Host-id', path: '/shop' }, /__Host-id must have the path \//],
    [{ name: '__Host-id', pathHeader: 'x-path' }, /__Host-id must have the path \//],
    [{ name: '__host-id', path: '/shop' }, /__host-id must have the path \//],
    [{ name: '__Secure-id', secure: false }, /__Secure-id must be Secure; remove secure: false/],
    [{ sameSite: 'none', secure: false }, /^sameSite: 'none' needs a Secure cookie; remove secure: false/],
    [{ partitioned: true, secure: false }, /^partitioned needs a Secure cookie; remove secure: false/],
    [
      { name: '__Host-id', clearAlso: [{ path: '/shop' }] },
      /__Host-id has never had another.*remove clearAlso/,
    ],
    [{ domain: 'com' }, /^domain is 'com', but browsers refuse .* top-level domain; .* or remove domain/],
    [{ domain: '.COM' }, /^domain is '.COM', but browsers refuse/],
    [
      { path: '/shop', clearAlso: [{ path: '/shop' }] },
      /^clearAlso holds { path: '\/shop' }.* remove that entry/,
    ],
    [{ domain: 'example.com', clearAlso: [{ domain: '.Example.com' }] }, /^clearAlso .* remove that entry/],
    [{ domain: '.EXAMPLE.com', clearAlso: [{ path: '/', domain: 'example.com' }] }, /^clearAlso .* remove/],
    [{ path: '/shop', clearAlso: [{ path: '/', domain: 'net' }] }, /^clearAlso holds the domain 'net'/],
  ];
  it.each(WRONG)('%o', (options, problem) => {
    expect(problemsOf(options)).toEqual([expect.stringMatching(problem)]);
  });

  it.each<SessionModuleOptions>([
    { name: '__Host-id', path: '/', secure: true },
    { name: '__Host-id', secure: 'auto' },
    { name: '__Host-id', clearAlso: [] },
    { name: '__Secure-id', domain: 'example.com', path: '/shop' },
    { name: '__Secure-id', pathHeader: 'x-path' },
    { sameSite: 'none', secure: true, partitioned: true },
    { sameSite: 'none', secure: 'auto' },
    { sameSite: 'none' },
    { partitioned: true },
    { domain: 'LOCALHOST' },
    { path: '/shop', clearAlso: [{}] },
    { pathHeader: 'x-path', clearAlso: [{ path: '/' }] },
    { domain: 'example.com', clearAlso: [{}, { domain: 'www.example.com' }] },
  ])('%o', options => {
    expect(problemsOf(options)).toEqual([]);
  });

  it('clearAlso has the defaults of path and domain', () => {
    const { clearAlso } = resolveModuleOptions({ path: '/a', clearAlso: [{ domain: 'b.example' }, {}] });
    expect(clearAlso).toEqual([
      { path: '/', domain: 'b.example' },
      { path: '/', domain: undefined },
    ]);
  });
});

describe('a short secret', () => {
  let warn: MockInstance;
  beforeEach(() => {
    warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
  });
  afterEach(() => {
    warn.mockRestore();
  });

  it.each<[string | string[]]>([
    ['hush'],
    ['hush'.repeat(4).slice(1)],
    [['hush']],
    [['hush', 'hush2']],
    [['long enough to be one', 'hush']],
  ])('is warned of once, and not shown: %j', secret => {
    resolveModuleOptions({ secret });
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/16 characters.*openssl rand -base64 32/)]]);
    expect(String(warn.mock.calls)).not.toContain('hush');
  });

  it.each([undefined, 'x'.repeat(16), ['x'.repeat(16), 'y'.repeat(44)]])('is none: %j', secret => {
    resolveModuleOptions({ secret });
    expect(warn).not.toHaveBeenCalled();
  });

  it('is not warned of where the start fails', () => {
    expect(problemsOf({ secret: 'hush', timeout: -1 })).toHaveLength(1);
    expect(warn).not.toHaveBeenCalled();
  });
});
