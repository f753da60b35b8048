import { MemoryStore } from 'express-session';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, vi } from 'vitest';
import { expressStore, SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { startApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { Browser, type ExpressScript } from '../support/scripts.js';
import {
  called,
  count,
  expectShouted,
  expired,
  expiresOf,
  hit,
  MINUTE,
  nothing,
  open,
  openWatched,
  ownCookies,
  savesOnce,
  shout,
  ShoutModule,
  signed,
  SmartStore,
  storedWith,
  SyncStore,
  withSecure,
  type Start,
} from './express-session-helpers.js';

/** The topics of express-session's tests that are the same here, by their names in docs/from-express-session.md. */
export const SAME: Record<string, (start: Start) => Promise<void>> = {
  'a new session is stored and its cookie set': async start => {
    const { server, browser } = await open(start);
    const answer = await browser.runExpress(session => ((session.hit = true), session.id));
    expect(answer.json().value).toBe(await browser.cookie());
    expect(await server.stored()).toBe(1);
  },
  'a session is found by its cookie': async start => {
    const { browser } = await open(start);
    const id = await browser.expressValue(session => ((session.hit = true), session.id));
    expect(await browser.expressValue(session => [session.id, session.hit])).toEqual([id, true]);
  },
  'ENOENT of a store is an absent session': async start => {
    const store = new MemoryStore();
    store.get = (_sid, callback) => callback(Object.assign(new Error('none'), { code: 'ENOENT' }));
    const { server } = await open(start, { storageType: expressStore(store) });
    expect(
      await new Browser(server.url, 'x'.repeat(43)).expressValue(session => Object.keys(session)),
    ).toEqual(['cookie']);
  },
  'each client has a session of its own': async start => {
    const { server } = await open(start);
    const browsers = [1, 2, 3].map(() => new Browser(server.url));
    await Promise.all(
      browsers.map((browser, index) => browser.expressValue(session => void (session.n = index))),
    );
    expect(await Promise.all(browsers.map(browser => browser.expressValue(session => session.n)))).toEqual([
      0, 1, 2,
    ]);
  },
  '`end()` called several times': start =>
    storedWith(start, res => void (res.end('once'), res.end()), 'once'),
  '`end(null)`': start => storedWith(start, res => void res.end(null), ''),
  'data under the name of a method does no harm': async start => {
    const { server, browser } = await open(start);
    await browser.runExpress(hit);
    await server.store.update((await browser.cookie())!, session =>
      session.update({ save: 'no', cookie: 1, id: 2 }),
    );
    const seen = await browser.expressValue(async session => {
      session.hit = 2;
      await called(done => session.save(done));
      return [typeof session.save, session.id, Object.keys(session)];
    });
    expect(seen).toEqual(['function', await browser.cookie(), ['cookie', 'hit']]);
  },
  'only data and cookie are enumerable': async start => {
    const { browser } = await open(start);
    const seen = await browser.expressValue(session => {
      session.test1 = 1;
      session.test2 = 'b';
      return Object.keys(session);
    });
    expect(seen).toEqual(['cookie', 'test1', 'test2']);
  },
  "the cookie's expiry moves although the body is slow": async start => {
    const { browser } = await open(start);
    const slow: ExpressScript = async (session, _req, res) => {
      session.user = 'bob';
      res.write('hello, ');
      await new Promise(resolve => setTimeout(resolve, 20));
      res.end('world');
    };
    const first = await browser.runExpress(slow, 'express-raw');
    vi.setSystemTime(Date.now() + MINUTE);
    const second = await browser.runExpress(slow, 'express-raw');
    expect(expiresOf(second) - expiresOf(first)).toBe(MINUTE);
  },
  'stored before the answer: with a body': start => storedWith(start, res => void res.end('saved'), 'saved'),
  'stored before the answer: with no body': start =>
    storedWith(start, res => void res.setHeader('Content-Length', '0').end(), ''),
  'stored before the answer: written in pieces': start =>
    storedWith(
      start,
      res => void (res.setHeader('Content-Length', '12'), res.write('hello, '), res.end('world')),
      'hello, world',
    ),
  'stored before the answer: with Content-Length': start =>
    storedWith(start, res => void res.setHeader('Content-Length', '5').end('saved'), 'saved'),
  'an unknown id: a new session': async start => {
    const { server } = await open(start);
    const browser = new Browser(server.url, 'x'.repeat(43));
    expect(await browser.expressValue(count)).toBe(1);
    expect(await browser.expressValue(count)).toBe(2);
  },
  'an unknown id: another id': async start => {
    const { server } = await open(start);
    const browser = new Browser(server.url, 'x'.repeat(43));
    await browser.runExpress(hit);
    expect(await browser.cookie()).toMatch(/^(?!x{43})[\w-]{43}$/);
  },
  'a wrong signature: a new session': async start => {
    const { browser, value, server } = await signed(start, 'a secret');
    browser.adopt(encodeURIComponent(`${value.slice(0, -2)}xx`));
    expect(await browser.expressValue(count)).toBe(1);
    expect(await server.stored()).toBe(2);
  },
  'a wrong signature: the storage is not asked': async start => {
    const { browser, value, server } = await signed(start, 'a secret');
    const lock = vi.spyOn(server.app.get<SessionBackend>(SESSION_BACKEND), 'lock');
    browser.adopt(encodeURIComponent(`${value.slice(0, -2)}xx`));
    await browser.expressValue(nothing);
    expect(lock).not.toHaveBeenCalled();
  },
  'an expired session: a new one': async start => {
    const { browser } = await expired(start);
    expect(await browser.expressValue(session => Object.keys(session))).toEqual(['cookie']);
  },
  'an expired session: another id': async start => {
    const { browser, id } = await expired(start);
    await browser.runExpress(hit);
    expect(await browser.cookie()).not.toBe(id);
  },
  'an expired session: not there any more': async start => {
    const { server, id } = await expired(start);
    expect(await server.store.exists(id)).toBe(false);
  },
  "`secure: 'auto'`: Secure where `req.secure` is true": async start => {
    const { browser } = await open(start, {}, withSecure(true));
    expect((await browser.runExpress(hit)).setCookies[0]).toContain('; Secure');
  },
  "`secure: 'auto'`: not Secure where it is false": async start => {
    const { browser } = await open(start, {}, withSecure(false));
    expect((await browser.runExpress(hit)).setCookies[0]).not.toContain('Secure');
  },
  '`genid` must be a function': async () => {
    await expect(startApp({ sessions: { generateId: 'bogus' as never } })).rejects.toThrow(
      /generateId must be a/,
    );
  },
  '`genid` has a default': async start => {
    const { browser } = await open(start);
    await browser.runExpress(hit);
    expect(await browser.cookie()).toMatch(/^[\w-]{43}$/);
  },
  "`name` sets the cookie's name": async start => {
    const { browser } = await open(start, { name: 'my.sid' });
    await browser.runExpress(hit);
    expect(await browser.cookie('my.sid')).toBeDefined();
  },
  '`rolling`: a cookie for an unmodified session': async start => {
    const { browser } = await open(start);
    await browser.runExpress(hit);
    expect(ownCookies(await browser.runExpress(nothing))).toHaveLength(1);
  },
  '`rolling`: no cookie for an empty new session': async start => {
    const { browser } = await open(start);
    expect((await browser.runExpress(nothing)).setCookies).toEqual([]);
  },
  '`rolling`: a cookie for an empty new session, with `saveUninitialized`': async start => {
    const { browser, server } = await open(start, { saveUninitialized: true });
    expect(ownCookies(await browser.runExpress(nothing))).toHaveLength(1);
    expect(await server.stored()).toBe(1);
  },
  '`rolling`: a cookie for a new session with data': async start => {
    const { browser } = await open(start);
    expect(ownCookies(await browser.runExpress(hit))).toHaveLength(1);
  },
  'without `resave`, an unmodified session is not stored': async start => {
    const { browser, writes } = await openWatched(start);
    await browser.runExpress(hit);
    await browser.runExpress(hit);
    await browser.runExpress(nothing);
    expect(writes()).toBe(1);
  },
  'without `resave`, a modified one is': async start => {
    const { browser, writes } = await openWatched(start);
    for (const token of ['a', 'a', 'b', 'b']) {
      await browser.runExpress(session => void (session.token = token));
    }
    expect(writes()).toBe(2);
    expect(await browser.expressValue(session => session.token)).toBe('b');
  },
  'without `resave`, a change inside of data named `cookie` is noticed': async start => {
    const { browser, writes } = await openWatched(start);
    const script: ExpressScript = session => {
      session.user ??= { cookie: 0 };
      session.user.cookie++;
    };
    await browser.runExpress(script);
    await browser.runExpress(script);
    expect(writes()).toBe(2);
  },
  '`saveUninitialized`: an empty new session is stored': async start => {
    const { browser, server } = await open(start, { saveUninitialized: true });
    await browser.runExpress(nothing);
    expect(await server.stored()).toBe(1);
  },
  'without `saveUninitialized`, it is not': async start => {
    const { browser, server } = await open(start);
    await browser.runExpress(nothing);
    expect(await server.stored()).toBe(0);
  },
  'without `saveUninitialized`, one with data is': async start => {
    const { browser, server } = await open(start);
    await browser.runExpress(hit);
    expect(await server.stored()).toBe(1);
  },
  'without `saveUninitialized`, an empty new session is not touched': async start => {
    const { browser, backend } = await open(start);
    const touch = vi.spyOn(backend, 'touch');
    await browser.runExpress(nothing);
    expect(touch).not.toHaveBeenCalled();
  },
  '`secret`: an empty array is refused': async () => {
    await expect(startApp({ sessions: { secret: [] } })).rejects.toThrow(/secret must be/);
  },
  '`secret`: a string signs and verifies': async start => {
    const { browser, value } = await signed(start, 'a secret');
    expect(value).toMatch(/^s:[\w-]{43}\../);
    expect(await browser.expressValue(session => session.hit)).toBe(true);
  },
  '`secret`: an array signs': async start => {
    expect((await signed(start, ['one', 'two'])).value).toMatch(/^s:[\w-]{43}\../);
  },
  '`secret`: its first element signs': async start => {
    const { value } = await signed(start, ['one', 'two']);
    const { server } = await open(start, { secret: 'one' });
    const browser = new Browser(server.url, encodeURIComponent(value));
    expect(await browser.value(session => session.originalId)).toBe(value.slice(2).split('.')[0]);
  },
  '`secret`: all its elements verify': async start => {
    const { server } = await open(start, { secret: ['new', 'old'] });
    const { value } = await signed(start, 'old');
    const browser = new Browser(server.url, encodeURIComponent(value));
    expect(await browser.value(session => session.originalId)).toBe(value.slice(2).split('.')[0]);
  },
  '`write` and `end` replaced before': async start => {
    await expectShouted((await open(start, {}, { imports: [ShoutModule] })).browser);
  },
  '`write` and `end` replaced after': async start => {
    await expectShouted((await open(start)).browser, shout);
  },
  'a second `end()` fails as without a session': async start => {
    const { browser } = await open(start);
    const messages: string[] = [];
    const endTwice = (res: ServerResponse) => {
      res.end();
      try {
        res.setHeader('Content-Length', '3');
        res.end('foo');
      } catch (error) {
        messages.push((error as Error).message);
      }
    };
    const plain = createServer((_req, res) => endTwice(res)).listen(0, '127.0.0.1');
    await once(plain, 'listening');
    const { status, body } = await sendRaw(`http://127.0.0.1:${(plain.address() as AddressInfo).port}`);
    plain.close();
    const answer = await browser.runExpress((session, _req, res) => {
      session.hit = true;
      endTwice(res);
    }, 'express-raw');
    expect([answer.status, answer.body]).toEqual([status, body]);
    expect(messages).toHaveLength(2);
    expect(messages[1]).toBe(messages[0]);
  },
  'the data persists': async start => {
    const { browser } = await open(start);
    expect([await browser.expressValue(count), await browser.expressValue(count)]).toEqual([1, 2]);
  },
  'methods are not enumerable': async start => {
    const { browser } = await open(start);
    const seen = await browser.expressValue(session => {
      session.foo = 'foo';
      session.bar = 'bar';
      const names = [];
      for (const name in session) {
        if (name !== 'cookie') {
          names.push(name);
        }
      }
      return names;
    });
    expect(seen).toEqual(['foo', 'bar']);
  },
  '`destroy()` removes the session': async start => {
    const { browser, server } = await open(start, { saveUninitialized: true });
    const destroy: ExpressScript = async (session, req) => {
      await called(done => session.destroy(done));
      return typeof req.session;
    };
    const answer = await browser.runExpress(destroy);
    expect([answer.json().value, answer.setCookies]).toEqual(['undefined', []]);
    await browser.runExpress(hit);
    expect(await browser.expressValue(destroy)).toBe('undefined');
    expect(await server.stored()).toBe(0);
  },
  '`regenerate()` replaces the session': async start => {
    const { browser, server } = await open(start, { saveUninitialized: true });
    const regenerate: ExpressScript = async (session, req) => {
      await called(done => session.regenerate(done));
      return [req.session.id === session.id, Object.keys(req.session)];
    };
    const ids = new Set<string>();
    for (let run = 0; run < 2; run++) {
      expect(await browser.expressValue(regenerate)).toEqual([false, ['cookie']]);
      ids.add((await browser.cookie())!);
    }
    expect(ids.size).toBe(2);
    expect(await server.stored()).toBe(1);
  },
  '`reload()` called from its own callback, many times': async start => {
    const { browser, backend } = await open(start);
    await browser.runExpress(hit);
    const seen = await browser.expressValue(async session => {
      await backend.delete(sessionKey(session.id));
      return new Promise(resolve => {
        let left = 20;
        const reload = () => void (--left ? session.reload(reload) : resolve('ok'));
        reload();
      });
    });
    expect(seen).toBe('ok');
  },
  '`save()` stores': async start => {
    const { browser, server } = await open(start);
    const seen = await browser.expressValue(async session => {
      session.hit = true;
      await called(done => session.save(done));
      return server.store.exists(session.id);
    });
    expect(seen).toBe(true);
  },
  '`save()`: not stored again at the end': savesOnce({ saveUninitialized: true }),
  '`save()` after `reload()`: not stored again at the end': savesOnce({ saveUninitialized: true }, true),
  '`save()` without `saveUninitialized`: not stored again at the end': savesOnce({}),
  'cookies that were set before `writeHead()` stay': async start => {
    const { browser } = await open(start);
    const answer = await browser.runExpress((session, _req, res) => {
      session.hit = true;
      res.setHeader('Set-Cookie', ['previous=cookieValue']);
      res.end();
    }, 'express-raw');
    expect(answer.setCookies.map(cookie => cookie.split('=')[0])).toEqual(['previous', 'session_id']);
  },
  'cookies that are set in `writeHead()` stay': async start => {
    const { browser } = await open(start);
    const answer = await browser.runExpress((session, _req, res) => {
      session.hit = true;
      res.writeHead(200, { 'Set-Cookie': ['previous=cookieValue'] });
      res.end();
    }, 'express-raw');
    expect(answer.setCookies.map(cookie => cookie.split('=')[0])).toEqual(['previous', 'session_id']);
  },
  '`originalMaxAge` is the age that was set': async start => {
    const { browser } = await open(start, { timeout: 2 });
    expect(await browser.expressValue(session => session.cookie.originalMaxAge)).toBe(2 * MINUTE);
  },
  '`originalMaxAge` is it in later requests, too': async start => {
    const { browser } = await open(start, { timeout: 2 });
    await browser.runExpress(count);
    vi.setSystemTime(Date.now() + 1000);
    expect(
      await browser.expressValue(session => [
        session.cookie.originalMaxAge,
        session.cookie.maxAge,
        (session.count = 2),
      ]),
    ).toEqual([2 * MINUTE, 2 * MINUTE - 1000, 2]);
    expect(await browser.expressValue(session => session.cookie.originalMaxAge)).toBe(2 * MINUTE);
  },
  '`originalMaxAge` is it in later requests, in a store without `touch`': async start => {
    const { browser } = await open(start, {
      timeout: 2,
      saveUninitialized: true,
      storageType: expressStore(new SmartStore()),
    });
    for (let run = 0; run < 3; run++) {
      expect(await browser.expressValue(session => session.cookie.originalMaxAge)).toBe(2 * MINUTE);
      vi.setSystemTime(Date.now() + 100);
    }
  },
  '`secure: true` over HTTPS: a cookie': async start => {
    const { server } = await open(start, { secure: true }, { trustProxy: true });
    const answer = await sendRaw(`${server.url}/hit`, { headers: { 'x-forwarded-proto': 'https' } });
    expect(answer.setCookies[0]).toContain('; Secure');
  },
  '`maxAge`: the cookie expires so much later': async start => {
    const { browser } = await open(start, { timeout: 2 });
    const answer = await browser.runExpress(hit);
    expect(expiresOf(answer) - Date.now()).toBeGreaterThan(2 * MINUTE - 1000);
    expect(expiresOf(answer) - Date.now()).toBeLessThanOrEqual(2 * MINUTE);
  },
  '`maxAge` can be changed': async start => {
    const { browser } = await open(start, { timeout: 2 });
    await browser.runExpress(hit);
    const answer = await browser.runExpress(session => void (session.cookie.maxAge = 5 * MINUTE));
    expect(answer.setCookies[0]).toContain('Max-Age=300;');
  },
  '`maxAge` can be large': async start => {
    const { browser } = await open(start);
    const answer = await browser.runExpress(session => void (session.cookie.maxAge = 3_000_000_000));
    expect(answer.setCookies[0]).toContain('Max-Age=3000000;');
  },
  '`expires = null` (3)': async start => {
    const { browser } = await open(start);
    const answer = await browser.runExpress(session => void (session.cookie.expires = null));
    expect(answer.setCookies[0]).not.toMatch(/Max-Age|Expires/i);
  },
  '`partitioned` is off': async start => {
    const { browser } = await open(start);
    expect((await browser.runExpress(hit)).setCookies[0]).not.toContain('Partitioned');
  },
  '`partitioned: false`': async start => {
    const { browser } = await open(start, { partitioned: false });
    expect((await browser.runExpress(hit)).setCookies[0]).not.toContain('Partitioned');
  },
  '`partitioned: true`': async start => {
    const { browser } = await open(start, { partitioned: true });
    expect((await browser.runExpress(hit)).setCookies[0]).toContain('Partitioned');
  },
  'a store that calls back at once: save': async start => {
    const { browser } = await open(start, { storageType: expressStore(new SyncStore()) });
    expect([await browser.expressValue(count), await browser.expressValue(count)]).toEqual([1, 2]);
  },
};
