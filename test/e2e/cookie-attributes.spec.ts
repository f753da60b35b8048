import { Controller, Get } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Session, type SessionModuleOptions } from 'nest-sessions';
import { SETUPS, startApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { sessionCookie, setCookies } from '../support/set-cookies.js';

@Controller()
class WriteController {
  @Get('write')
  write(@Session() session: Session) {
    session.set('seen', true);
    return { id: session.id };
  }
}

const NOW = Date.UTC(2030, 0, 1);
const DEFAULTS = {
  key: 'session_id',
  path: '/',
  domain: null as string | null,
  maxAge: 3600 as number | null,
  secure: false,
  httpOnly: true,
  sameSite: 'lax' as string | undefined,
  extensions: [] as string[],
};

const CASES: [title: string, options: SessionModuleOptions, expected: Partial<typeof DEFAULTS>][] = [
  ['nothing set', {}, {}],
  ['name', { name: 'sid' }, { key: 'sid' }],
  ['name of odd characters', { name: "a!#$%&'*+-.^_`|~9" }, { key: "a!#$%&'*+-.^_`|~9" }],
  ['path', { path: '/shop' }, { path: '/shop' }],
  ['path of odd characters', { path: '/a%20b/(c)=d' }, { path: '/a%20b/(c)=d' }],
  ['domain', { domain: 'example.com' }, { domain: 'example.com' }],
  ['domain with a dot', { domain: '.example.com' }, { domain: 'example.com' }],
  ['timeout', { timeout: 5 }, { maxAge: 300 }],
  ['timeout of half a minute', { timeout: 0.5 }, { maxAge: 30 }],
  ['timeout beyond the calendar', { timeout: 1e12 }, { maxAge: 100 * 365 * 86_400 }],
  ['lifetime shorter than timeout', { lifetime: 10 }, { maxAge: 600 }],
  ['lifetime longer than timeout', { lifetime: 600 }, { maxAge: 3600 }],
  ['persistent: false', { persistent: false }, { maxAge: null }],
  ['persistent: false, timeout, lifetime', { persistent: false, timeout: 5, lifetime: 9 }, { maxAge: null }],
  ["secure: 'auto' over plain HTTP", { secure: 'auto' }, { secure: false }],
  ['secure: true', { secure: true }, { secure: true }],
  ['secure: false', { secure: false }, { secure: false }],
  ['httpOnly: false', { httpOnly: false }, { httpOnly: false }],
  ["sameSite: 'strict'", { sameSite: 'strict' }, { sameSite: 'strict' }],
  ["sameSite: 'lax'", { sameSite: 'lax' }, { sameSite: 'lax' }],
  ["sameSite: 'none'", { sameSite: 'none', secure: true }, { sameSite: 'none', secure: true }],
  ['sameSite: false', { sameSite: false }, { sameSite: undefined }],
  ['partitioned', { partitioned: true, secure: true }, { secure: true, extensions: ['Partitioned'] }],
  ["priority: 'low'", { priority: 'low' }, { extensions: ['Priority=Low'] }],
  ["priority: 'medium'", { priority: 'medium' }, { extensions: ['Priority=Medium'] }],
  ["priority: 'high'", { priority: 'high' }, { extensions: ['Priority=High'] }],
  [
    'a __Host- name',
    { name: '__Host-id', httpOnly: false },
    { key: '__Host-id', secure: true, httpOnly: false },
  ],
  [
    'a __Secure- name with a domain and a path',
    { name: '__Secure-id', domain: 'example.com', path: '/shop' },
    { key: '__Secure-id', secure: true, domain: 'example.com', path: '/shop' },
  ],
  [
    'a prefix in lower case',
    { name: '__host-id', persistent: false },
    { key: '__host-id', secure: true, maxAge: null },
  ],
  [
    'all at once',
    {
      name: 'sid',
      path: '/shop',
      domain: 'shop.example.com',
      timeout: 2,
      lifetime: 1,
      secure: true,
      httpOnly: false,
      sameSite: 'none',
      partitioned: true,
      priority: 'high',
      secret: ['new', 'old'],
    },
    {
      key: 'sid',
      path: '/shop',
      domain: 'shop.example.com',
      maxAge: 60,
      secure: true,
      httpOnly: false,
      sameSite: 'none',
      extensions: ['Partitioned', 'Priority=High'],
    },
  ],
];

/** Values that are no path; none of them may leave a trace. */
const HOSTILE_PATHS: [title: string, value: string | string[]][] = [
  ['an attribute', '/x; Domain=evil.example'],
  ['a flag', '/x;Partitioned'],
  ['a second cookie', '/x, session_id=evil'],
  ['two headers', ['/x', '/y']],
  ['no leading slash', 'shop'],
  ['a full address', 'https://evil.example/'],
  ['nothing', ''],
  ['a space', '/a b'],
  ['a tab', '/a\tb'],
  ['a bracket', '/<script>'],
  ['non-ASCII characters', '/caf\u00e9'],
  ['very long', `/${'x'.repeat(4000)}`],
];

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW });
});
afterAll(() => {
  vi.useRealTimers();
});

describe.each(SETUPS)('cookie attributes: $storage, $adapter', setup => {
  const write = async (sessions: SessionModuleOptions, headers: Record<string, string | string[]> = {}) => {
    const { url, close } = await startApp({ ...setup, sessions, controllers: [WriteController] });
    const answer = await sendRaw(`${url}/write`, { headers });
    await close();
    expect(answer.status).toBe(200);
    return answer;
  };

  it.each(CASES)('%s', async (_title, options, overrides) => {
    const expected = { ...DEFAULTS, ...overrides };
    const answer = await write(options);
    const [cookie] = setCookies(answer);
    const { key, path, domain, maxAge, secure, httpOnly, sameSite } = cookie!;
    const extensions = (cookie!.extensions ?? []).sort();
    expect({ key, path, domain, maxAge, secure, httpOnly, sameSite, extensions }).toEqual(expected);
    expect(cookie!.expires).toEqual(
      expected.maxAge === null ? 'Infinity' : new Date(NOW + expected.maxAge * 1000),
    );
    expect(decodeURIComponent(cookie!.value)).toContain(answer.json().id);
    expect(answer.setCookies).toHaveLength(1);
  });

  it('pathHeader: the path is what the header says, / without it', async () => {
    expect(sessionCookie(await write({ pathHeader: 'X-Base-Path' }))!.path).toBe('/');
    const answer = await write({ pathHeader: 'X-Base-Path' }, { 'x-base-path': '/tenant/a%20b' });
    expect(sessionCookie(answer)!.path).toBe('/tenant/a%20b');
  });

  it.each(HOSTILE_PATHS)(
    'pathHeader: a hostile value never reaches Set-Cookie: %s',
    async (_title, value) => {
      const answer = await write({ pathHeader: 'x-base-path' }, { 'x-base-path': value });
      const plain = await write({});
      const withoutValue = (text: string) => text.replace(/=[^;]*/, '');
      expect(answer.setCookies.map(withoutValue)).toEqual(plain.setCookies.map(withoutValue));
    },
  );

  it('the header that pathHeader would name means nothing without the option', async () => {
    expect(sessionCookie(await write({}, { 'x-base-path': '/shop' }))!.path).toBe('/');
  });
});
