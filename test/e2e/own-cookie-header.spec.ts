import { Controller, Get, Res } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { Session, SessionStore, type SessionModuleOptions } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { useServer } from '../support/scripts.js';
import { setCookies } from '../support/set-cookies.js';

const PAST = 'Thu, 01 Jan 1970 00:00:00 GMT';

/** What the answer and its own headers are made by, where the test is. */
let work: (session: Session, res: any, raw: ServerResponse) => unknown;

@Controller()
class WorkController {
  constructor(private readonly store: SessionStore) {}

  @Get('value')
  async value(@Session() session: Session, @Res({ passthrough: true }) res: any) {
    await work(session, res, res.raw ?? res);
    return { id: session.id };
  }

  @Get('raw')
  async raw(@Session() session: Session, @Res() res: any) {
    await work(session, res, res.raw ?? res);
  }

  /** Clears first, and uses the session then. */
  @Get('late')
  async late(@Res({ passthrough: true }) res: any) {
    await work(undefined as never, res, res.raw ?? res);
    (await this.store.current()).set('late', true);
    return {};
  }

  @Get('unused')
  async unused(@Res({ passthrough: true }) res: any) {
    await work(undefined as never, res, res.raw ?? res);
    return {};
  }
}

/** Ways to say it, each as users of the adapters write it. */
const WAYS: [string, 'value' | 'raw', (text: string) => typeof work][] = [
  ['header()', 'value', text => (_session, res) => void res.header('Set-Cookie', text)],
  [
    'header(), with others',
    'value',
    text => (_session, res) => void res.header('set-cookie', ['a=1; Path=/', text]),
  ],
  [
    'appendHeader() of the raw response',
    'value',
    text => (_s, _res, raw) => void raw.appendHeader('Set-Cookie', text),
  ],
  [
    'setHeader() and end()',
    'raw',
    text => (_s, _res, raw) => void raw.setHeader('Set-Cookie', text).end('x'),
  ],
  ['writeHead()', 'raw', text => (_s, _res, raw) => void raw.writeHead(302, { 'Set-Cookie': [text] }).end()],
  [
    'writeHead() with a flat list',
    'raw',
    text => (_s, _res, raw) => void raw.writeHead(200, ['Set-Cookie', text]).end(),
  ],
  [
    'a stream',
    'raw',
    text => (_s, _res, raw) => void raw.setHeader('Set-Cookie', [text]).write('x', () => void raw.end('y')),
  ],
];

const PLACES: [string, SessionModuleOptions, string][] = [
  ['the defaults', {}, 'Path=/'],
  ['a path and a domain', { path: '/shop', domain: 'example.com' }, 'Domain=.Example.com; path=/shop'],
  ['a signed cookie', { secret: 'a long secret for cookies' }, 'Path=/; HttpOnly'],
];

describe.each(PLACES)("the application's own cookie header, %s", (_title, sessions, place) => {
  describe.each(SETUPS)('$storage, $adapter', setup => {
    const server = useServer({ ...setup, controllers: [WorkController], sessions });

    const start = async () => {
      work = session => session.set('a', 1);
      const answer = await sendRaw(`${server.url}/value`);
      const [cookie] = setCookies(answer);
      return { id: answer.json().id as string, cookie: cookie!.cookieString() };
    };
    const send = async (path: string, cookie: string, handler: typeof work) => {
      work = handler;
      return sendRaw(`${server.url}/${path}`, { headers: { cookie } });
    };
    const own = (answer: { setCookies: string[] }) =>
      answer.setCookies.filter(text => text.startsWith('session_id='));
    const cleared = expect.stringMatching(/^session_id=; Max-Age=0;/);

    it.each(WAYS)('that clears the cookie is taken as session.expire(): %s', async (_way, path, says) => {
      const { id, cookie } = await start();
      for (const text of [`session_id=; ${place}; Expires=${PAST}`, `session_id=x; Max-Age=0; ${place}`]) {
        const answer = await send(path, cookie, (session, res, raw) => {
          session.set('b', 2);
          return says(text)(session, res, raw);
        });
        expect(answer.status).toBeLessThan(400);
        expect(own(answer)).toEqual([cleared]);
        // As with expire(), the record stays, and what was changed is stored.
        expect((await server.store.get(id))!.data).toEqual({ a: 1, b: 2 });
      }
    });

    it('that clears the cookie counts also before the session is used, with a new id, and beside expire()', async () => {
      const { cookie } = await start();
      const text = `session_id=; ${place}; Expires=${PAST}`;
      const clear = (res: any) => void res.header('Set-Cookie', text);
      expect(own(await send('late', cookie, (_session, res) => clear(res)))).toEqual([cleared]);
      const both = await send('value', cookie, (session, res) => {
        session.expire();
        clear(res);
      });
      expect(own(both)).toEqual([cleared]);
      const moved = await send('value', cookie, async (session, res) => {
        await session.regenerate();
        clear(res);
      });
      expect(own(moved)).toEqual([cleared]);
    });

    it('that clears the cookie beside destroy() makes one', async () => {
      const { id, cookie } = await start();
      const answer = await send('value', cookie, async (session, res) => {
        await session.destroy();
        res.header('Set-Cookie', `session_id=; ${place}; Expires=${PAST}`);
      });
      expect(own(answer)).toEqual([cleared]);
      expect(await server.store.exists(id)).toBe(false);
    });

    it.each([
      'session_id=; Path=/old; Max-Age=0',
      'session_id=; Path=/; Domain=other.example; Max-Age=0',
      'session_id=; Max-Age=0',
      'Session_ID=; Path=/; Max-Age=0',
      'session_id2=; Path=/; Max-Age=0',
      'other=session_id=; Path=/; Max-Age=0',
    ])('that is about another cookie passes as it is: %s', async text => {
      const { cookie } = await start();
      for (const [way, path, says] of WAYS) {
        const answer = await send(path, cookie, (session, res, raw) => {
          session.set('b', Math.random());
          return says(text)(session, res, raw);
        });
        expect(answer.setCookies, way).toContain(text);
        const others = answer.setCookies.filter(one => one !== text && !one.startsWith('a=1'));
        expect(others, way).toEqual([expect.stringMatching(/^session_id=[\w%.-]{43,}; Max-Age=3/)]);
      }
    });

    it('passes as it is where the session is not used', async () => {
      const { cookie } = await start();
      for (const text of [`session_id=; ${place}; Expires=${PAST}`, 'session_id=x; Path=/']) {
        const answer = await send('unused', cookie, (_session, res) => void res.header('Set-Cookie', text));
        expect(answer.setCookies).toEqual([text]);
      }
    });

    it.runIf(setup.adapter === 'express')('res.clearCookie() and res.redirect() of Express', async () => {
      const { cookie } = await start();
      const { path = '/', domain } = sessions;
      const answer = await send('raw', cookie, (_session, res) => {
        res.clearCookie('session_id', { path, ...(domain && { domain }) });
        res.clearCookie('session_id', { path: '/older' });
        res.redirect('/');
      });
      expect(answer.status).toBe(302);
      expect(own(answer)).toEqual([expect.stringContaining('Path=/older'), cleared]);
    });
  });
});
