import {
  Controller,
  Get,
  Module,
  Post,
  Req,
  type INestApplication,
  type MiddlewareConsumer,
  type Type,
} from '@nestjs/common';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Session, SESSION_BACKEND, type SessionBackend, type SessionModuleOptions } from 'nest-sessions';
import { ADAPTERS, type AdapterName } from '../support/app.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';

@Controller()
class PagesController {
  @Get('plain')
  plain() {
    return 'plain';
  }

  @Get('page')
  page(@Session() session: Session) {
    return { user: session.get('user', null) };
  }

  @Post('page')
  post(@Session() session: Session) {
    session.set('a', 1);
    return 'done';
  }

  @Get('looks')
  looks(@Req() req: any) {
    return { user: req.session.user };
  }
}

/** Looks at the session in middleware, as passport does. */
function lookAtSession(req: any, _res: unknown, next: (error?: unknown) => void) {
  if (req.url.includes('look')) {
    void req.session.user;
  }
  next();
}

@Module({})
class LookingModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(lookAtSession).forRoutes('{*path}');
  }
}

const MODES: [string, SessionModuleOptions][] = [
  ['eager', { eager: true }],
  ["'early'", { locking: 'early' }],
  ["eager and 'early'", { eager: true, locking: 'early' }],
  ['eager, explicit, saveUninitialized', { eager: true, locking: 'explicit', saveUninitialized: true }],
];

const CORS = { origin: 'https://app.example', credentials: true };

/** Ways to have headers of one's own set before the route. */
const HEADERS: [string, AdapterName, (app: INestApplication) => unknown][] = [
  ...ADAPTERS.map(
    adapter => ['enableCors', adapter, app => app.enableCors(CORS)] as (typeof HEADERS)[number],
  ),
  [
    'middleware in main.ts',
    'express',
    app =>
      app.use((_req: unknown, res: any, next: () => void) => {
        res.setHeader('Access-Control-Allow-Origin', 'https://app.example');
        next();
      }),
  ],
  [
    'a hook',
    'fastify',
    app =>
      app
        .getHttpAdapter()
        .getInstance()
        .addHook('onRequest', (_request: unknown, reply: any, done: () => void) => {
          void reply.header('Access-Control-Allow-Origin', 'https://app.example');
          done();
        }),
  ],
];

const CASES = MODES.flatMap(([mode, sessions]) =>
  HEADERS.map(([title, adapter, prepare]) => ({ mode, sessions, title, adapter, prepare })),
);

describe.each(CASES)(
  'before the application’s middleware: $mode, $title, $adapter',
  ({ sessions, title, adapter, prepare }) => {
    const server = useServer({
      adapter,
      controllers: [ScriptController, PagesController],
      imports: adapter === 'fastify' ? [] : [LookingModule as Type],
      sessions,
      prepare: app => void prepare(app),
    });
    let isBroken = false;
    /** Storage calls. */
    let calls = 0;
    beforeAll(() => {
      const backend: SessionBackend = server.app.get(SESSION_BACKEND);
      for (const name of ['read', 'lock', 'create'] as const) {
        const work = backend[name].bind(backend) as (...args: any[]) => Promise<any>;
        backend[name] = async (...args: any[]) => {
          calls++;
          if (isBroken) {
            throw new Error('the storage is away');
          }
          return work(...args);
        };
      }
    });
    afterEach(() => {
      isBroken = false;
    });

    const headers = { origin: 'https://app.example' };
    const known = async () => new Browser(server.url, await server.store.create({ user: 'Ann' } as never));

    it.each([
      '/page',
      '/plain',
      '/looks',
      ...(adapter === 'express' && sessions.eager ? ['/plain?look'] : []),
    ])('a 503 of the storage has the application’s headers: %s', async path => {
      const browser = await known();
      isBroken = true;
      const answer = await browser.get(path, { headers });
      if (answer.status === 200) {
        expect(path).toBe('/plain'); // which nobody has read a session for
        expect(sessions.eager || sessions.locking === 'early').toBe(false);
      } else {
        expect(answer.status).toBe(503);
        expect(answer.headers['retry-after']).toBe('1');
      }
      expect(answer.headers['access-control-allow-origin']).toBe('https://app.example');
      expect(answer.setCookies).toEqual([]); // storage trouble is not absence
    });

    it('an unknown path is a 404 with the application’s headers, whatever the storage does', async () => {
      const browser = await known();
      isBroken = true;
      const answer = await browser.get('/unknown', { headers });
      expect(answer.status).toBe(404);
      expect(answer.headers['access-control-allow-origin']).toBe('https://app.example');
    });

    it('it works once the storage is back', async () => {
      const browser = await known();
      isBroken = true;
      await browser.get('/page', { headers });
      isBroken = false;
      expect((await browser.get('/page', { headers })).json()).toEqual({ user: 'Ann' });
    });

    it.runIf(title === 'enableCors')(
      'a preflight makes no session, and asks the storage nothing',
      async () => {
        const [before, stored] = [await server.stored(), await known()];
        calls = 0;
        isBroken = true;
        for (const browser of [new Browser(server.url), stored]) {
          const answer = await browser.get('/page', {
            method: 'OPTIONS',
            headers: { ...headers, 'access-control-request-method': 'POST' },
          });
          expect(answer.status).toBe(204);
          expect(answer.headers['access-control-allow-origin']).toBe('https://app.example');
          expect(answer.setCookies).toEqual([]);
        }
        expect(calls).toBe(0);
        expect(await server.stored()).toBe(before + 1);
      },
    );
  },
);
