import { Controller, Get, Res } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { Session } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { useServer } from '../support/scripts.js';
import { sessionCookie } from '../support/set-cookies.js';

let work: (session: Session, res: any, raw: ServerResponse) => unknown;

@Controller()
class WorkController {
  @Get('value')
  async value(@Session() session: Session, @Res({ passthrough: true }) res: any) {
    await work(session, res, res.raw ?? res);
    return { id: session.id };
  }

  @Get('look')
  async look(@Session({ readOnly: true }) session: Session, @Res({ passthrough: true }) res: any) {
    await work(session, res, res.raw ?? res);
    return {};
  }

  @Get('raw')
  async raw(@Session() session: Session, @Res() res: any) {
    await work(session, res, res.raw ?? res);
  }
}

/** What the application says, and what it has to be with a cookie in the answer. */
const SHARED: [own: string, withCookie: string][] = [
  ['public, max-age=600', 'private, max-age=600'],
  ['max-age=600, public', 'private, max-age=600'],
  ['public', 'private'],
  ['PUBLIC,MAX-AGE=600', 'private, MAX-AGE=600'],
  ['s-maxage=600', 'private'],
  ['max-age=60,s-maxage=600, stale-while-revalidate=30', 'private, max-age=60, stale-while-revalidate=30'],
  ['max-age=60, S-MaxAge = 600', 'private, max-age=60'],
  ['public, immutable', 'private, immutable'],
];
const NOT_SHARED = [
  'private, max-age=600',
  'no-store',
  'no-cache',
  'max-age=600',
  'x-public=1, no-cache',
  'community="public"',
];

type Change = [string, (session: Session) => unknown];
const RENEWALS: Change[] = [
  ['a mere use', () => 0],
  ['a change', session => session.set('n', Math.random())],
  ['a touch', session => session.touch()],
  ['a save', session => session.save()],
  ['a timeout of its own', session => (session.timeout = 100)],
];
const NEWS: Change[] = [
  ['regenerate', session => session.regenerate()],
  ['destroy', session => session.destroy()],
  ['expire', session => session.expire()],
  ['destroy and begin anew', async session => (await session.destroy(), session.set('n', 1))],
];

describe.each(SETUPS)('caches of others: $storage, $adapter', setup => {
  const logger = new RecordingLogger();
  const server = useServer({
    ...setup,
    controllers: [WorkController],
    prepare: app => app.useLogger(logger),
  });
  const send = (path: string, cookie: string | undefined, handler: typeof work) => {
    work = handler;
    return sendRaw(`${server.url}/${path}`, { headers: cookie ? { cookie } : {} });
  };
  const start = async () => {
    const answer = await send('value', undefined, session => void session.set('a', 1));
    return sessionCookie(answer)!.cookieString();
  };
  const caching =
    (text: string, change: (session: Session) => unknown) => async (session: Session, res: any) => {
      res.header('Cache-Control', text);
      await change(session);
    };

  it.each(RENEWALS)(
    'a renewal is withheld where they may keep the answer, which is left as it is: %s',
    async (_t, change) => {
      const cookie = await start();
      for (const [own] of SHARED) {
        const answer = await send('value', cookie, caching(own, change));
        expect([answer.status, answer.setCookies, answer.headers['cache-control']]).toEqual([200, [], own]);
      }
    },
  );

  it.each(RENEWALS)('a renewal goes out where they may not: %s', async (_title, change) => {
    const cookie = await start();
    for (const own of NOT_SHARED) {
      const answer = await send('value', cookie, caching(own, change));
      expect(sessionCookie(answer)!.cookieString(), own).toBe(cookie);
      expect(answer.headers['cache-control']).toBe(own);
    }
  });

  it.each(NEWS)('a new or cleared id goes out, and no cache may keep it: %s', async (_title, change) => {
    for (const [own, withCookie] of SHARED) {
      const answer = await send('value', await start(), caching(own, change));
      expect(sessionCookie(answer), own).toBeDefined();
      expect(answer.headers['cache-control']).toBe(withCookie);
    }
    const fresh = await send(
      'value',
      undefined,
      caching('public', session => session.set('a', 1)),
    );
    expect(sessionCookie(fresh)!.value).toBe(fresh.json().id);
    expect(fresh.headers['cache-control']).toBe('private');
  });

  it('the same where the application answers by itself: writeHead, a stream, a raw end', async () => {
    const ways: ((raw: ServerResponse) => unknown)[] = [
      raw => raw.writeHead(200, { 'Cache-Control': 'public, max-age=9' }).end('x'),
      raw => raw.setHeader('Cache-Control', 'public, max-age=9').end('x'),
      raw => raw.setHeader('Cache-Control', ['public', 'max-age=9'] as never).write('x', () => raw.end('y')),
    ];
    for (const way of ways) {
      const cookie = await start();
      const renewed = await send('raw', cookie, (_session, _res, raw) => void way(raw));
      expect(renewed.setCookies).toEqual([]);
      const moved = await send('raw', cookie, async (session, _res, raw) => {
        await session.regenerate();
        way(raw);
      });
      expect(sessionCookie(moved)).toBeDefined();
      expect(moved.headers['cache-control']).toBe('private, max-age=9');
    }
  });

  it('a 304 brings no renewal, but a new or cleared id', async () => {
    const notModified =
      (change: (session: Session) => unknown): typeof work =>
      async (session, res) => {
        await change(session);
        res.status(304);
      };
    for (const [title, change] of RENEWALS) {
      const answer = await send('value', await start(), notModified(change));
      expect([answer.status, answer.setCookies], title).toEqual([304, []]);
    }
    for (const [title, change] of NEWS) {
      const answer = await send('value', await start(), notModified(change));
      expect([answer.status, answer.setCookies.length], title).toEqual([304, 1]);
    }
  });

  it.runIf(setup.adapter === 'express')('a 304 that Express makes of its own ETag is one', async () => {
    const cookie = await start();
    const first = await send('look', cookie, () => 0);
    work = session => void session.get('a');
    const headers = { cookie, 'if-none-match': first.headers.etag! };
    const answer = await sendRaw(`${server.url}/look`, { headers });
    expect([answer.status, answer.setCookies]).toEqual([304, []]);
  });

  it('is said once', async () => {
    for (let times = 0; times < 3; times++) {
      await send(
        'value',
        undefined,
        caching('public', session => session.set('a', 1)),
      );
    }
    expect(logger.aboveDebug.filter(line => line.includes('Cache-Control'))).toHaveLength(1);
  });

  it('what is withheld is stored all the same, and comes with the next answer', async () => {
    const cookie = await start();
    const before = (await server.store.fromRequest({ headers: { cookie } }))!;
    await new Promise(resolve => setTimeout(resolve, 5));
    await send(
      'value',
      cookie,
      caching('public', session => session.set('b', 2)),
    );
    const after = (await server.store.fromRequest({ headers: { cookie } }))!;
    expect(after.data).toEqual({ a: 1, b: 2 });
    expect(after.expiresAt.getTime()).toBeGreaterThan(before.expiresAt.getTime());
    expect(sessionCookie(await send('value', cookie, () => 0))!.cookieString()).toBe(cookie);
  });
});
