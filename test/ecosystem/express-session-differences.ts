import { MemoryStore } from 'express-session';
import { expect, vi } from 'vitest';
import { expressStore, type SessionModuleOptions } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { Browser, type ExpressScript } from '../support/scripts.js';
import {
  called,
  expiresOf,
  hit,
  MINUTE,
  nothing,
  open,
  SyncStore,
  type Start,
} from './express-session-helpers.js';

/** Topics of express-session's tests that differ here, by their names in docs/from-express-session.md: how they do. */
export const DIFFERENT: Record<string, (start: Start) => Promise<void>> = {
  'stored before the answer: with its new expiry': async start => {
    const { server, browser } = await open(start);
    for (const user of ['bob', 'eve']) {
      const answer = await browser.runExpress(session => void (session.user = user));
      const { expiresAt } = (await server.store.get((await browser.cookie())!))!;
      expect(Math.floor(expiresAt.getTime() / 1000)).toBe(expiresOf(answer) / 1000);
      vi.setSystemTime(Date.now() + MINUTE);
    }
    const answer = await browser.runExpress(nothing);
    const storedExpiry = async () =>
      (await server.store.get((await browser.cookie())!))!.expiresAt.getTime() / 1000;
    await expect.poll(async () => Math.floor(await storedExpiry())).toBe(expiresOf(answer) / 1000);
  },
  "`genid` can be one's own": async start => {
    let made = 0;
    const { browser } = await open(start, { generateId: () => `an-id-of-my-own-${++made}` });
    await browser.runExpress(hit);
    expect(await browser.cookie()).toBe(`an-id-of-my-own-${made}`);
    await expect(start({ generateId: () => 'apple' })).rejects.toThrow(/generateId must .* 16 to 256/);
  },
  'a failing save is an error': async start => {
    const { browser, backend } = await open(start);
    vi.spyOn(backend, 'create').mockRejectedValue(new Error('boom'));
    const answer = await browser.runExpress(hit);
    expect([answer.status, answer.setCookies]).toEqual([503, []]);
    expect(answer.headers).toHaveProperty('retry-after');
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
  '`reload()` reads what others have stored': async start => {
    const reloadWith = async (sessions: SessionModuleOptions) => {
      const { browser, server } = await open(start, sessions);
      await browser.runExpress(session => void (session.active = true));
      return browser.expressValue(async session => {
        session.url = '/foo';
        const other = new Browser(server.url, await browser.cookie());
        const { status } = await other.runExpress(theirs => void (theirs.url = '/bar'));
        await called(done => session.reload(done));
        return [status, session.url];
      });
    };
    expect(await reloadWith({ lockTimeout: 0.2 })).toEqual([503, null]);
    expect(await reloadWith({ locking: 'explicit' })).toEqual([200, '/bar']);
  },
  '`reload()` of a session that is gone is an error': async start => {
    const { browser, backend } = await open(start);
    await browser.runExpress(hit);
    const seen = await browser.expressValue(async session => {
      await backend.delete(sessionKey(session.id));
      return called(done => session.reload(done)).then(
        () => 'no error',
        error => [error.name, error.message],
      );
    });
    expect(seen).toEqual(['SessionDestroyedException', 'The session ended while the request was running']);
  },
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
    const storedExpiry = async () => (await server.store.get(id))!.expiresAt.getTime();
    await expect.poll(async () => (await storedExpiry()) - before).toBe(MINUTE);
  },
  '`req.session.cookie.httpOnly = …` and other attributes (2)': async start => {
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
    const changes: ExpressScript[] = [
      ({ cookie: own }) => ((own as { httpOnly: boolean }).httpOnly = false),
      ({ cookie: own }) => ((own as { path: string }).path = '/admin'),
    ];
    for (const change of changes) {
      const text = await browser.expressValue((...args) => {
        expect(() => change(...args)).toThrow(TypeError);
        return 'refused';
      });
      expect(text).toBe('refused');
    }
  },
  'a store that calls back at once: destroy': async start => {
    const store = new SyncStore();
    const { browser } = await open(start, { storageType: expressStore(store) });
    await browser.runExpress(hit);
    const unset: ExpressScript = (_session, req) => {
      expect(() => (req.session = null)).toThrow(/use req\.session\.destroy\(\)/);
    };
    expect((await browser.runExpress(unset)).status).toBe(200);
    expect(store.sessions.size).toBe(1);
    await browser.runExpress(session => called(done => session.destroy(done)));
    expect(store.sessions.size).toBe(0);
  },
};
