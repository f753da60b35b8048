import type { MiddlewareConsumer, NestModule } from '@nestjs/common';
import { MemoryStore } from 'express-session';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { expect, vi } from 'vitest';
import { expressStore, SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import type { SessionModuleOptions } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { startApp, type TestApp, type TestAppOptions } from '../support/app.js';
import { sendRaw, type Answer } from '../support/client.js';
import { Browser, type ExpressScript } from '../support/scripts.js';

/** Starts an application with these options; it is closed after the test. */
export type Start = (sessions?: SessionModuleOptions, more?: TestAppOptions) => Promise<TestApp>;

const MINUTE = 60_000;

/** The callback style, waited for. @throws what the callback got */
const called = (start: (callback: (error?: unknown) => void) => unknown) =>
  new Promise<void>((resolve, reject) => start(error => (error ? reject(error) : resolve())));

const open = async (start: Start, sessions?: SessionModuleOptions, more?: TestAppOptions) => {
  const server = await start(sessions, more);
  return {
    server,
    browser: new Browser(server.url),
    backend: server.app.get<SessionBackend>(SESSION_BACKEND),
  };
};

const hit: ExpressScript = session => void (session.hit = true);
const count: ExpressScript = session => (session.count = (session.count ?? 0) + 1);
const nothing: ExpressScript = () => undefined;
const ownCookies = ({ setCookies }: Answer) => setCookies.filter(cookie => cookie.startsWith('session_id='));
const expiresOf = (answer: Answer) => new Date(/Expires=([^;]+)/.exec(answer.setCookies[0]!)![1]!).getTime();

/** With two spies: on what makes a record, and on what changes one. */
const openWatched = async (start: Start, sessions?: SessionModuleOptions) => {
  const opened = await open(start, sessions);
  const create = vi.spyOn(opened.backend, 'create');
  const save = vi.spyOn(opened.backend, 'save');
  return { ...opened, writes: () => create.mock.calls.length + save.mock.calls.length };
};

/** Answers by itself, and says what was stored when its client had the answer. */
const storedWith = async (start: Start, respond: (res: ServerResponse) => void, body: string) => {
  const { server, browser } = await open(start);
  const answer = await browser.runExpress((session, _req, res) => {
    session.hit = true;
    respond(res);
  }, 'express-raw');
  expect([answer.status, answer.body]).toEqual([200, body]);
  expect((await server.store.get((await browser.cookie())!))?.data).toEqual({ hit: true });
};

/** A session that has expired. */
const expired = async (start: Start) => {
  const opened = await open(start, { timeout: 1 });
  await opened.browser.runExpress(hit);
  const id = (await opened.browser.cookie())!;
  vi.setSystemTime(Date.now() + 2 * MINUTE);
  opened.browser.adopt(id);
  return { ...opened, id };
};

/** `write` and `end` as a middleware replaces them that changes the body. */
const shout = (res: ServerResponse) => {
  const { write, end } = res;
  res.write = ((chunk: unknown, ...rest: any[]) =>
    write.call(res, String(chunk).toUpperCase(), ...(rest as [any]))) as never;
  res.end = ((chunk: unknown, ...rest: any[]) =>
    end.call(res, typeof chunk === 'string' ? chunk.toUpperCase() : chunk, ...(rest as [any]))) as never;
};

class ShoutModule implements NestModule {
  configure(consumer: MiddlewareConsumer) {
    const middleware = (_req: unknown, res: ServerResponse, next: () => void) => {
      shout(res);
      next();
    };
    consumer.apply(middleware).forRoutes('express-raw/{*path}');
  }
}

/** @param before what the handler does before it answers */
async function expectShouted(
  browser: Browser,
  before: (res: ServerResponse) => void = () => {},
): Promise<void> {
  const answer = await browser.runExpress((session, _req, res) => {
    before(res);
    session.hit = true;
    res.write('hello, ');
    res.end('world');
  }, 'express-raw');
  expect(answer.body).toBe('HELLO, WORLD');
  expect(await browser.expressValue(session => session.hit)).toBe(true);
}

const signed = async (start: Start, secret: string | string[]) => {
  const { server, browser } = await open(start, { secret });
  await browser.runExpress(hit);
  return { server, browser, value: decodeURIComponent((await browser.cookie())!) };
};

/** A store that calls back before it returns. */
class SyncStore {
  readonly sessions = new Map<string, string>();

  get(sid: string, callback: (error: unknown, session?: unknown) => void) {
    const session = this.sessions.get(sid);
    callback(null, session && JSON.parse(session));
  }

  set(sid: string, session: unknown, callback: () => void) {
    this.sessions.set(sid, JSON.stringify(session));
    callback();
  }

  destroy(sid: string, callback: () => void) {
    this.sessions.delete(sid);
    callback();
  }
}

const savesOnce = (sessions: SessionModuleOptions) => async (start: Start) => {
  const { browser, writes } = await openWatched(start, sessions);
  const script: ExpressScript = async session => {
    session.count = (session.count ?? 0) + 1;
    await called(done => session.save(done));
  };
  await browser.runExpress(script);
  expect(writes()).toBe(1);
  await browser.runExpress(script);
  expect(writes()).toBe(2);
};

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
  'stored before the answer: with its new expiry': async start => {
    const { server, browser } = await open(start);
    for (let run = 0; run < 2; run++) {
      const answer = await browser.runExpress(session => void (session.user = 'bob'));
      const { expiresAt } = (await server.store.get((await browser.cookie())!))!;
      expect(Math.floor(expiresAt.getTime() / 1000)).toBe(expiresOf(answer) / 1000);
      vi.setSystemTime(Date.now() + MINUTE);
    }
  },
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
  "`secure: 'auto'`: Secure over HTTPS": async start => {
    const { server } = await open(start, {}, { trustProxy: true });
    const answer = await sendRaw(`${server.url}/hit`, { headers: { 'x-forwarded-proto': 'https' } });
    expect(answer.setCookies[0]).toContain('; Secure');
  },
  "`secure: 'auto'`: not Secure over HTTP": async start => {
    const { browser } = await open(start, {}, { trustProxy: true });
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
  "`genid` can be one's own": async start => {
    let made = 0;
    const { browser } = await open(start, { generateId: () => `an-id-of-my-own-${++made}` });
    await browser.runExpress(hit);
    expect(await browser.cookie()).toBe(`an-id-of-my-own-${made}`);
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
  'a failing save is an error': async start => {
    const { browser, backend } = await open(start);
    vi.spyOn(backend, 'create').mockRejectedValue(new Error('boom'));
    const answer = await browser.runExpress(hit);
    expect([answer.status, answer.setCookies]).toEqual([503, []]);
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
    const endTwice = async (res: ServerResponse) => {
      res.end();
      await once(res, 'finish');
      try {
        res.setHeader('Content-Length', '3');
        res.end('foo');
      } catch (error) {
        messages.push((error as Error).message);
      }
    };
    const plain = createServer((_req, res) => void endTwice(res)).listen(0, '127.0.0.1');
    await once(plain, 'listening');
    await sendRaw(`http://127.0.0.1:${(plain.address() as { port: number }).port}`);
    plain.close();
    await browser.runExpress((session, _req, res) => {
      session.hit = true;
      return endTwice(res);
    }, 'express-raw');
    await expect.poll(() => messages).toHaveLength(2);
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
  'it is back when the store is': async start => {
    const store = new MemoryStore();
    const { browser } = await open(start, { storageType: expressStore(store) });
    await browser.runExpress(hit);
    store.emit('disconnect');
    expect((await browser.runExpress(nothing)).status).toBe(503);
    store.emit('connect');
    expect(await browser.expressValue(session => session.hit)).toBe(true);
  },
  '`destroy()` removes the session': async start => {
    const { browser, server } = await open(start);
    await browser.runExpress(hit);
    expect(
      await browser.expressValue(async (session, req) => {
        await called(done => session.destroy(done));
        return typeof req.session;
      }),
    ).toBe('undefined');
    expect(await server.stored()).toBe(0);
  },
  '`regenerate()` replaces the session': async start => {
    const { browser } = await open(start);
    await browser.runExpress(hit);
    const before = await browser.cookie();
    const seen = await browser.expressValue(async (session, req) => {
      await called(done => session.regenerate(done));
      req.session.fresh = 1;
      return [req.session.id === session.id, Object.keys(req.session)];
    });
    expect(seen).toEqual([false, ['cookie', 'fresh']]);
    expect(await browser.cookie()).not.toBe(before);
  },
  '`reload()` reads what others have stored': async start => {
    const { browser, server } = await open(start, { locking: 'explicit' });
    await browser.runExpress(session => void (session.active = true));
    const seen = await browser.expressValue(async session => {
      session.url = '/foo';
      const other = new Browser(server.url, await browser.cookie());
      await other.runExpress(theirs => void (theirs.url = '/bar'));
      await called(done => session.reload(done));
      return session.url;
    });
    expect(seen).toBe('/bar');
  },
  '`reload()` of a session that is gone is an error': async start => {
    const { browser, backend } = await open(start);
    await browser.runExpress(hit);
    const seen = await browser.expressValue(async session => {
      await backend.delete(sessionKey(session.id));
      return called(done => session.reload(done)).then(
        () => 'no error',
        error => error.name,
      );
    });
    expect(seen).toBe('SessionDestroyedException');
  },
  '`reload()` called from its own callback, many times': async start => {
    const { browser } = await open(start);
    await browser.runExpress(hit);
    const seen = await browser.expressValue(
      session =>
        new Promise(resolve => {
          let left = 20;
          const reload = () => (--left ? session.reload(reload) : resolve('ok'));
          reload();
        }),
    );
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
  '`save()` after `reload()`: not stored again at the end': async start => {
    const { browser, writes } = await openWatched(start);
    await browser.runExpress(hit);
    await browser.runExpress(async session => {
      await called(done => session.reload(done));
      session.again = true;
      await called(done => session.save(done));
    });
    expect(writes()).toBe(2);
  },
  '`save()` without `saveUninitialized`: not stored again at the end': savesOnce({}),
  '`touch()` moves the expiry': async start => {
    const { browser, server } = await open(start);
    const script: ExpressScript = session => {
      session.hit = true;
      return session.touch() === session;
    };
    expect(await browser.expressValue(script)).toBe(true);
    const id = (await browser.cookie())!;
    const before = (await server.store.get(id))!.expiresAt.getTime();
    vi.setSystemTime(Date.now() + MINUTE);
    await browser.expressValue(script);
    expect((await server.store.get(id))!.expiresAt.getTime() - before).toBe(MINUTE);
  },
  'the cookie has its attributes': async start => {
    const { browser } = await open(start, { domain: '127.0.0.1', sameSite: 'strict', priority: 'high' });
    const seen = await browser.expressValue(session => ((session.hit = true), session.cookie));
    expect(seen).toMatchObject({
      httpOnly: true,
      path: '/',
      domain: '127.0.0.1',
      sameSite: 'strict',
      priority: 'high',
      originalMaxAge: 60 * MINUTE,
    });
    const [cookie] = (await browser.runExpress(nothing)).setCookies;
    expect(cookie).toMatch(/; Domain=127\.0\.0\.1; Path=\/;.*HttpOnly.*SameSite=Strict/i);
  },
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
  '`originalMaxAge` is it in later requests that change nothing': async start => {
    const { browser } = await open(start);
    await browser.runExpress(session => void (session.cookie.maxAge = 3 * MINUTE));
    await browser.runExpress(nothing);
    expect(await browser.expressValue(session => session.cookie.originalMaxAge)).toBe(3 * MINUTE);
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
  'a store that calls back at once: destroy': async start => {
    const store = new SyncStore();
    const { browser } = await open(start, { storageType: expressStore(store) });
    await browser.runExpress(hit);
    await browser.runExpress(session => called(done => session.destroy(done)));
    expect(store.sessions.size).toBe(0);
  },
};
