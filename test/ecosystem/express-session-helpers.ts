import type { MiddlewareConsumer, NestModule } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { expect, vi } from 'vitest';
import { SESSION_BACKEND, type SessionBackend } from 'nest-sessions';
import type { SessionModuleOptions } from 'nest-sessions';
import type { TestApp, TestAppOptions } from '../support/app.js';
import type { Answer } from '../support/client.js';
import { Browser, type ExpressScript } from '../support/scripts.js';

/** Starts an application with these options; it is closed after the test. */
export type Start = (sessions?: SessionModuleOptions, more?: TestAppOptions) => Promise<TestApp>;

export const MINUTE = 60_000;

/** The callback style, waited for. @throws what the callback got */
export const called = (start: (callback: (error?: unknown) => void) => unknown) =>
  new Promise<void>((resolve, reject) => start(error => (error ? reject(error) : resolve())));

export const open = async (start: Start, sessions?: SessionModuleOptions, more?: TestAppOptions) => {
  const server = await start(sessions, more);
  return {
    server,
    browser: new Browser(server.url),
    backend: server.app.get<SessionBackend>(SESSION_BACKEND),
  };
};

export const hit: ExpressScript = session => void (session.hit = true);
export const count: ExpressScript = session => (session.count = (session.count ?? 0) + 1);
export const nothing: ExpressScript = () => undefined;
export const ownCookies = ({ setCookies }: Answer) =>
  setCookies.filter(cookie => cookie.startsWith('session_id='));
export const expiresOf = (answer: Answer) =>
  new Date(/Expires=([^;]+)/.exec(answer.setCookies[0]!)![1]!).getTime();

/** With two spies: on what makes a record, and on what changes one. */
export const openWatched = async (start: Start, sessions?: SessionModuleOptions) => {
  const opened = await open(start, sessions);
  const create = vi.spyOn(opened.backend, 'create');
  const save = vi.spyOn(opened.backend, 'save');
  return { ...opened, writes: () => create.mock.calls.length + save.mock.calls.length };
};

/** Answers by itself, and says what was stored when its client had the answer. */
export const storedWith = async (start: Start, respond: (res: ServerResponse) => void, body: string) => {
  const { server, browser } = await open(start);
  const answer = await browser.runExpress((session, _req, res) => {
    session.hit = true;
    respond(res);
  }, 'express-raw');
  expect([answer.status, answer.body]).toEqual([200, body]);
  expect((await server.store.get((await browser.cookie())!))?.data).toEqual({ hit: true });
};

/** A session that has expired. */
export const expired = async (start: Start) => {
  const opened = await open(start, { timeout: 1 });
  await opened.browser.runExpress(hit);
  const id = (await opened.browser.cookie())!;
  vi.setSystemTime(Date.now() + 2 * MINUTE);
  opened.browser.adopt(id);
  return { ...opened, id };
};

/** `write` and `end` as a middleware replaces them that changes the body. */
export const shout = (res: ServerResponse) => {
  const { write, end } = res;
  let hasEnded = false;
  res.write = ((chunk: unknown, ...rest: any[]) => {
    if (hasEnded) {
      throw new Error('write after end');
    }
    return write.call(res, String(chunk).toUpperCase(), ...(rest as [any]));
  }) as never;
  res.end = ((chunk: unknown, ...rest: any[]) => {
    hasEnded = true;
    return end.call(res, typeof chunk === 'string' ? chunk.toUpperCase() : chunk, ...(rest as [any]));
  }) as never;
};

export class ShoutModule implements NestModule {
  configure(consumer: MiddlewareConsumer) {
    const middleware = (_req: unknown, res: ServerResponse, next: () => void) => {
      shout(res);
      next();
    };
    consumer.apply(middleware).forRoutes('express-raw/{*path}');
  }
}

/** @param before what the handler does before it answers */
export async function expectShouted(
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

export const signed = async (start: Start, secret: string | string[]) => {
  const { server, browser } = await open(start, { secret });
  await browser.runExpress(hit);
  return { server, browser, value: decodeURIComponent((await browser.cookie())!) };
};

/** express-session's own, as it is: calls back before it returns, and throws at an id that it does not know. */
export class SyncStore {
  readonly sessions = new Map<string, string>();

  get(sid: string, callback: (error: unknown, session?: unknown) => void) {
    callback(null, JSON.parse(this.sessions.get(sid)!));
  }

  set(sid: string, session: unknown, callback: (error?: unknown) => void) {
    this.sessions.set(sid, JSON.stringify(session));
    callback();
  }

  destroy(sid: string, callback: (error?: unknown) => void) {
    this.sessions.delete(sid);
    callback();
  }
}

/** express-session's own, as it is: has no `touch`, and never calls back for an id that it does not know. */
export class SmartStore {
  readonly sessions = new Map<string, string>();

  get(sid: string, callback: (error: unknown, session?: unknown) => void) {
    const session = this.sessions.get(sid);
    if (session) {
      setImmediate(callback, null, JSON.parse(session));
    }
  }

  set(sid: string, session: unknown, callback: (error?: unknown) => void) {
    this.sessions.set(sid, JSON.stringify(session));
    setImmediate(callback, null);
  }

  destroy(sid: string, callback: (error?: unknown) => void) {
    this.sessions.delete(sid);
    setImmediate(callback, null);
  }
}

/** Says of each request, ahead of all else, whether it came over HTTPS. */
export const withSecure = (secure: boolean): TestAppOptions => ({
  prepare: app => {
    const mark = (request: object, _response: unknown, next: () => void) => {
      Object.defineProperty(request, 'secure', { value: secure });
      next();
    };
    const adapter = app.getHttpAdapter();
    if (adapter.getType() === 'fastify') {
      adapter.getInstance().addHook('onRequest', mark);
    } else {
      app.use(mark);
    }
  },
});

/** Once a request, also where nothing has changed; with `again`, after a `reload()`. */
export const savesOnce =
  (sessions: SessionModuleOptions, again = false) =>
  async (start: Start) => {
    const { browser, writes } = await openWatched(start, sessions);
    const script: ExpressScript = async session => {
      session.hit = true;
      if (again) {
        await called(done => session.reload(done));
      }
      await called(done => session.save(done));
    };
    await browser.runExpress(script);
    expect(writes()).toBe(1);
    await browser.runExpress(script);
    expect(writes()).toBe(2);
  };
