import { Logger } from '@nestjs/common';
import { Cookie, CookieJar } from 'tough-cookie';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { SessionOptions } from 'nest-sessions';
import { SessionCookie } from '../../lib/http/session-cookie.js';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';

const cookieOf = (options: SessionOptions = {}) => new SessionCookie(resolveSessionOptions(options));
const ID = 'AbC_-'.repeat(9).slice(0, 43);
const EXPIRES_AT = Date.UTC(2100, 0, 1);
const PAST = 'Thu, 01 Jan 1970 00:00:00 GMT';
const FUTURE = 'Fri, 01 Jan 2100 00:00:00 GMT';

afterEach(() => {
  vi.restoreAllMocks();
});

describe('clearOld', () => {
  it('clears what an earlier configuration set, and nothing else', async () => {
    const places: SessionOptions[] = [
      { path: '/shop' },
      { domain: 'example.com' },
      { path: '/shop', domain: '.Example.com' },
    ];
    const jar = new CookieJar();
    const url = 'https://www.example.com/shop/cart';
    const current = cookieOf({
      clearAlso: places.map(({ path, domain }) => ({ path, domain })),
      domain: 'www.example.com',
    });
    await jar.setCookie(current.bind(ID, EXPIRES_AT, true, {}), url);
    for (const place of places) {
      await jar.setCookie(cookieOf(place).bind('x'.repeat(43), EXPIRES_AT, true, {}), url);
    }
    await jar.setCookie('other=1; Path=/shop', url);
    expect(await jar.getCookies(url)).toHaveLength(5);
    for (const text of current.clearOld(true)) {
      await jar.setCookie(text, url);
    }
    expect(await jar.getCookies(url)).toHaveLength(2);
    expect(await jar.getCookieString(url)).toContain(`session_id=${ID}`);
  });

  it('gives nothing unless asked', () => {
    expect(cookieOf().clearOld(true)).toEqual([]);
    expect(cookieOf({ clearAlso: [] }).clearOld(true)).toEqual([]);
  });

  it('has the attributes of the cookie', () => {
    const cookie = cookieOf({ clearAlso: [{ path: '/shop' }], sameSite: 'none', priority: 'high' });
    const [text] = cookie.clearOld(true);
    expect(text).toBe(cookie.clear(true, {}).replace('Path=/', 'Path=/shop'));
    expect(Cookie.parse(text!)).toMatchObject({ value: '', path: '/shop', domain: null, secure: true });
    expect(cookie.clearOld(false)[0]).not.toContain('Secure');
  });

  it('spares the cookie that pathHeader names', () => {
    const cookie = cookieOf({ pathHeader: 'x-path', clearAlso: [{}, { path: '/shop' }] });
    const pathsFor = (path?: string) =>
      cookie.clearOld(true, path === undefined ? {} : { 'x-path': path }).map(one => Cookie.parse(one)!.path);
    expect(pathsFor('/a')).toEqual(['/', '/shop']);
    expect(pathsFor('/shop')).toEqual(['/']);
    expect(pathsFor()).toEqual(['/shop']);
  });
});

describe('statementOf', () => {
  const shop = cookieOf({ path: '/shop', domain: 'example.com' });
  const plain = cookieOf();

  it.each([undefined, [], 'a=1', ['a=1; Path=/', 'b=2'], 5])('passes other cookies: %j', header => {
    const others = header === undefined ? [] : [header].flat().map(String);
    expect(plain.statementOf(header, {})).toEqual({ others, isCleared: false });
  });

  it.each([
    'session_id=x',
    'session_id=x; HttpOnly',
    'session_id=x; Path=/shop',
    'session_id=x; Path=',
    'session_id=x; Path=/; Domain=example.com',
    `session_id=; Path=/shop; Expires=${PAST}`,
    `session_id=; Max-Age=0`,
    'session_id2=x; Path=/',
    'xsession_id=x; Path=/',
    'Session_Id=x; Path=/',
    'session_id; Path=/',
    'other=session_id=; Path=/; Max-Age=0',
  ])('passes what browsers take for another cookie: %s', text => {
    expect(plain.statementOf(['a=1', text, 'b=2'], {})).toEqual({
      others: ['a=1', text, 'b=2'],
      isCleared: false,
    });
  });

  it.each([
    'session_id=x; Path=/',
    'session_id=x; path=/; Domain=',
    ' session_id = x ; Path = /',
    `session_id=; Path=/; Max-Age=60; Expires=${PAST}`,
    `session_id=; Path=/; Expires=${FUTURE}`,
    'session_id=; Path=/',
  ])('takes out one that does not clear it: %s', text => {
    expect(plain.statementOf(['a=1', text], {})).toEqual({ others: ['a=1'], isCleared: false });
  });

  it.each([
    ['res.clearCookie of Express', `session_id=; Path=/; Expires=${PAST}`],
    ['reply.clearCookie of @fastify/cookie', `session_id=; Path=/; Expires=${PAST}`],
    ['res.clearCookie with all attributes', `session_id=; Path=/; Expires=${PAST}; HttpOnly; SameSite=Lax`],
    ['Max-Age of 0', 'session_id=; Max-Age=0; Path=/'],
    ['a negative Max-Age', 'session_id=; Path=/; Max-Age=-1'],
    ['Max-Age ahead of Expires', `session_id=; Path=/; Max-Age=0; Expires=${FUTURE}`],
    ['its own', plain.clear(false, {})],
    ['one with a value, which browsers remove as well', 'session_id=deleted; Path=/; Max-Age=0'],
  ])('tells that the application clears it: %s', (_, text) => {
    expect(plain.statementOf(text, {})).toEqual({ others: [], isCleared: true });
    expect(plain.statementOf(['a=1', text, 'session_id=x; Path=/', 'b=2'], {})).toEqual({
      others: ['a=1', 'b=2'],
      isCleared: true,
    });
  });

  it.each(['example.com', '.example.com', 'Example.COM', '.EXAMPLE.com'])(
    'compares domains as browsers do: %s',
    domain => {
      const text = `session_id=; Path=/shop; Domain=${domain}; Max-Age=0`;
      expect(shop.statementOf(text, {})).toEqual({ others: [], isCleared: true });
      expect(cookieOf({ path: '/shop', domain }).statementOf(text, {}).isCleared).toBe(true);
      expect(plain.statementOf(text, {}).others).toEqual([text]);
    },
  );

  it.each([
    'session_id=; Path=/shop; Max-Age=0',
    'session_id=; Path=/shop; Domain=www.example.com; Max-Age=0',
  ])('passes another domain: %s', text => {
    expect(shop.statementOf(text, {})).toEqual({ others: [text], isCleared: false });
  });

  it('knows the path that pathHeader names', () => {
    const cookie = cookieOf({ pathHeader: 'x-path' });
    const text = 'session_id=; Path=/shop; Max-Age=0';
    expect(cookie.statementOf(text, { 'x-path': '/shop' }).isCleared).toBe(true);
    expect(cookie.statementOf(text, { 'x-path': '/' }).others).toEqual([text]);
    expect(cookie.statementOf(text, {}).others).toEqual([text]);
  });
});

describe('a cookie that browsers drop over HTTP', () => {
  const bindTwice = (options: SessionOptions, isSecure: boolean) => {
    const warn = vi.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const cookie = cookieOf(options);
    cookie.clear(isSecure, {});
    cookie.bind(ID, EXPIRES_AT, true, {});
    cookie.bind(ID, EXPIRES_AT, isSecure, {});
    cookie.bind(ID, EXPIRES_AT + 60_000, isSecure, {});
    return warn.mock.calls.flat();
  };

  it.each<[SessionOptions, string]>([
    [{ sameSite: 'none' }, "sameSite: 'none'"],
    [{ sameSite: 'none', partitioned: true }, "sameSite: 'none'"],
    [{ partitioned: true, secure: 'auto' }, 'partitioned: true'],
  ])('is warned of once: %o', (options, reason) => {
    const warnings = bindTwice(options, false);
    expect(warnings).toEqual([expect.stringMatching(`with ${reason}, browsers drop it.*secure: true`)]);
  });

  it.each<[SessionOptions, boolean]>([
    [{ sameSite: 'none' }, true],
    [{ sameSite: 'none', secure: true }, false],
    [{ sameSite: 'none', name: '__Secure-id' }, false],
    [{ partitioned: true }, true],
    [{ sameSite: 'lax' }, false],
    [{ sameSite: false }, false],
  ])('is no other: %o over HTTPS %s', (options, isSecure) => {
    expect(bindTwice(options, isSecure)).toEqual([]);
  });
});

it('invariant 5, secrets stay secret: inspecting the cookie shows neither secrets nor ids', () => {
  const secret = ['first hush, it is long', 'second hush, it is long'];
  const cookie = cookieOf({ secret });
  const bound = cookie.bind(ID, EXPIRES_AT, true, {});
  const sent = cookie.read({ cookie: Cookie.parse(bound)!.cookieString() });
  expect(sent![0]!.id).toBe(ID);
  expect(inspect(cookie, { depth: 8, showHidden: true })).not.toMatch(/hush|AbC_/);
  expect(JSON.stringify(cookie)).toBe('{}');
});
