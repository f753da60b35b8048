import { MemoryStore } from 'express-session';
import { describe, expect, it } from 'vitest';
import { expressStore, SESSION_BACKEND, SessionsModule, type SessionBackend } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { startApp } from '../support/app.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';

describe('expressStore()', () => {
  const store = new MemoryStore();
  const server = useServer({ sessions: { storageType: expressStore(store) } });

  it('no lost update: 50 requests at once, each of which adds 1, end at 50', async () => {
    expect(await new Browser(server.url).countUp(50)).toBe(50);
  });

  it('no resurrection: of a session that is destroyed while a request is at work, nothing comes back', async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    const slow = await browser.run(async session => {
      await server.app.get<SessionBackend>(SESSION_BACKEND).delete(sessionKey(id)); // as another process does
      session.set('a', 2);
    });
    expect(slow.status).toBe(409);
    expect(await server.store.exists(id)).toBe(false);
  });

  it('secrets stay secret: the store never sees an id', async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    const all = await new Promise<object>((resolve, reject) =>
      store.all((error, sessions) => (error ? reject(error) : resolve(sessions!))),
    );
    expect(Object.keys(all).length).toBeGreaterThan(0);
    expect(JSON.stringify(all)).not.toContain(id);
  });

  it('data comes back as it went in, more than JSON has', async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('at', { date: new Date(5), big: 7n, set: new Set([1]) }));
    const seen = await browser.value(session => {
      const at: any = session.get('at');
      return [at.date instanceof Date, at.date.getTime(), String(at.big), [...at.set]];
    });
    expect(seen).toEqual([true, 5, '7', [1]]);
  });
});

describe('expressStore() in trouble', () => {
  class TroubledStore extends MemoryStore {
    trouble: 'none' | 'error' | 'throw' = 'none';

    override get(...[sid, callback]: Parameters<MemoryStore['get']>) {
      if (this.trouble === 'error') {
        callback(new Error('connection lost'));
      } else if (this.trouble === 'throw') {
        throw new Error('not open');
      } else {
        super.get(sid, callback);
      }
    }
  }
  const store = new TroubledStore();
  const server = useServer({ sessions: { storageType: expressStore(store) } });

  it.each(['error', 'throw', 'disconnect'] as const)(
    'storage trouble is not absence: 503, the cookie stays, and it recovers (%s)',
    async trouble => {
      const browser = new Browser(server.url);
      await browser.value(session => void session.set('a', 1));
      const id = await browser.cookie();
      if (trouble === 'disconnect') {
        store.emit('disconnect');
      } else {
        store.trouble = trouble;
      }
      const answer = await browser.run(session => session.get('a'));
      expect([answer.status, answer.headers['retry-after'], answer.setCookies]).toEqual([503, '1', []]);
      store.trouble = 'none';
      store.emit('connect');
      expect(await browser.value(session => session.get('a'))).toBe(1);
      expect(await browser.cookie()).toBe(id);
    },
  );

  it('a missing file is an absent session, as stores on files mean it', async () => {
    const files = new MemoryStore();
    files.get = (_sid, callback) => callback(Object.assign(new Error('no such file'), { code: 'ENOENT' }));
    const app = await startApp({
      controllers: [ScriptController],
      sessions: { storageType: expressStore(files) },
    });
    try {
      const browser = new Browser(app.url, 'x'.repeat(43));
      expect(await browser.value(session => session.missing)).toBe(true);
    } finally {
      await app.close();
    }
  });

  it('what is no store is refused, with what to write', () => {
    expect(() => SessionsModule.forRoot({ storageType: expressStore({} as never) })).toThrow(
      /without get, set, destroy; pass an instance/,
    );
  });
});
