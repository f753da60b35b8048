import { Controller, Get } from '@nestjs/common';
import { CookieJar } from 'tough-cookie';
import { afterEach, describe, expect, it } from 'vitest';
import { Session, type SessionModuleOptions } from 'nest-sessions';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import { sendRaw, type Answer } from '../support/client.js';
import { sessionCookie, setCookies } from '../support/set-cookies.js';

@Controller()
class ClearController {
  @Get('write')
  write(@Session() session: Session) {
    session.set('seen', true);
    return { id: session.id };
  }

  @Get('look')
  look(@Session() session: Session) {
    return { isNew: session.isNew, missing: session.missing };
  }

  @Get('destroy')
  async destroy(@Session() session: Session) {
    await session.destroy();
    return {};
  }

  @Get('expire')
  expire(@Session() session: Session) {
    session.expire();
    return {};
  }

  @Get('write-and-expire')
  writeAndExpire(@Session() session: Session) {
    session.set('more', true);
    session.expire();
    return {};
  }

  @Get('restart')
  async restart(@Session() session: Session) {
    await session.destroy();
    session.set('seen', 'again');
    return { id: session.id };
  }
}

const CASES: [title: string, options: SessionModuleOptions, headers?: Record<string, string>][] = [
  ['the defaults', {}],
  ['path', { path: '/shop' }],
  ['pathHeader', { pathHeader: 'x-base-path' }, { 'x-base-path': '/shop' }],
  ['domain', { domain: 'example.com' }],
  ['domain, path', { domain: '.example.com', path: '/shop/cart' }],
  ['persistent: false', { persistent: false }],
  ['secure, partitioned', { secure: true, partitioned: true }],
  ['a __Host- name, signed', { name: '__Host-id', secret: 'secret' }],
  ['a __Secure- name with a domain', { name: '__Secure-id', domain: 'example.com' }],
  ['httpOnly: false, sameSite: none', { httpOnly: false, sameSite: 'none', secure: true }],
];

/** Where the browser is: within every path and domain above. */
const SEEN_AT = 'https://shop.example.com/shop/cart/items';

let started: TestApp;
afterEach(() => started.close());

describe.each(SETUPS)('clearing the cookie: $storage, $adapter', setup => {
  const start = async (sessions: SessionModuleOptions = {}) => {
    started = await startApp({ ...setup, sessions, controllers: [ClearController] });
  };
  const send = (path: string, cookie?: string, headers?: Record<string, string>) =>
    sendRaw(started.url + path, { headers: { ...headers, ...(cookie && { cookie }) } });
  const keep = async (jar: CookieJar, answer: Answer) => {
    for (const text of answer.setCookies) {
      await jar.setCookie(text, SEEN_AT);
    }
  };

  describe.each(['/destroy', '/expire', '/write-and-expire'])('%s', path => {
    it.each(CASES)('makes the browser drop it: %s', async (_title, options, headers) => {
      await start(options);
      const jar = new CookieJar(undefined, { prefixSecurity: 'strict' });
      const set = await send('/write', undefined, headers);
      await keep(jar, set);
      const cookie = await jar.getCookieString(SEEN_AT);
      expect(cookie).toBe(setCookies(set)[0]!.cookieString());

      const cleared = await send(path, cookie, headers);
      await keep(jar, cleared);
      expect(await jar.getCookieString(SEEN_AT)).toBe('');
      const [before, after] = [setCookies(set)[0]!, setCookies(cleared)[0]!];
      expect(cleared.setCookies).toHaveLength(1);
      expect(after).toMatchObject({ value: '', maxAge: 0, expires: new Date(0) });
      for (const attribute of ['key', 'path', 'domain', 'secure', 'httpOnly', 'sameSite'] as const) {
        expect(after[attribute], attribute).toEqual(before[attribute]);
      }
      expect(after.extensions).toEqual(before.extensions);

      const isGone = path === '/destroy';
      expect(await started.stored()).toBe(isGone ? 0 : 1);
      expect((await send('/look', cookie)).json()).toEqual({ isNew: isGone, missing: isGone });
    });
  });

  it('writing after destroy starts a new session: one cookie, with the new id', async () => {
    await start();
    const { id } = (await send('/write')).json();
    const answer = await send('/restart', `session_id=${id}`);
    expect(sessionCookie(answer)!.value).toBe(answer.json().id);
    expect(answer.json().id).not.toBe(id);
    expect(await started.stored()).toBe(1);
    expect((await send('/look', `session_id=${id}`)).json()).toEqual({ isNew: true, missing: true });
  });

  it.each([false, true])(
    'a client without one is not bothered by destroy (saveUninitialized: %s)',
    async saveUninitialized => {
      await start({ saveUninitialized });
      expect((await send('/destroy')).setCookies).toEqual([]);
      expect(await started.stored()).toBe(0);
    },
  );

  it('an unknown id is left alone, until the application clears it', async () => {
    await start();
    const unknown = `session_id=${'u'.repeat(43)}`;
    expect((await send('/look', unknown)).setCookies).toEqual([]);
    expect(sessionCookie(await send('/destroy', unknown))).toMatchObject({ value: '', maxAge: 0 });
    expect(sessionCookie(await send('/expire', unknown))).toMatchObject({ value: '', maxAge: 0 });
  });
});
