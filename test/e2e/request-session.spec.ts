import {
  Controller,
  Get,
  Session as NestSession,
  UseGuards,
  type CanActivate,
  type MiddlewareConsumer,
  type NestModule,
} from '@nestjs/common';
import expressSession from 'express-session';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { loadSession, Session, SkipSession, type ExpressSession } from 'nest-sessions';
import { ADAPTERS, ALL_SETUPS, startApp, type TestAppOptions } from '../support/app.js';
import { Client } from '../support/client.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';

/** The callback style, waited for. */
const called = (start: (callback: (error?: unknown) => void) => unknown) =>
  new Promise<unknown>(resolve => start(resolve));

describe.each(ALL_SETUPS)('req.session: $storage, $adapter', setup => {
  const server = useServer(setup);

  it('has the same data as Session, both ways, at any depth', async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.update({ user: { name: 'Ann' }, visits: 1 }));
    expect(
      await browser.expressValue(session => {
        session.visits++;
        session.user.roles = ['admin'];
        delete session.nothing;
        return { ...session, cookie: undefined };
      }),
    ).toEqual({ visits: 2, user: { name: 'Ann', roles: ['admin'] } });
    expect(await browser.value(session => session.toJSON())).toEqual({
      visits: 2,
      user: { name: 'Ann', roles: ['admin'] },
    });
    await browser.expressValue(session => void delete session.user);
    expect(await browser.value(session => session.keys())).toEqual(['visits']);
  });

  it('is one object, of one session, whose id it has', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.a = 1));
    expect(
      await browser.expressValue(async (session, req) => [
        req.session === session,
        req.session.id,
        await server.store.current().then(current => current.id),
      ]),
    ).toEqual([true, await browser.cookie(), await browser.cookie()]);
  });

  it('no lost update: 20 requests at once, each of which adds 1, end at 20', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.count = 0));
    await Promise.all(
      Array.from({ length: 20 }, () =>
        browser.expressValue(async session => {
          const { count } = session;
          await new Promise(resolve => setTimeout(resolve, 2));
          session.count = count + 1;
        }),
      ),
    );
    expect(await browser.expressValue(session => session.count)).toBe(20);
  });

  it('regenerate: the old id is dead, the new session is empty, and what holds the old one sees its data', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.cart = ['a']));
    const before = await browser.cookie();
    const seen = await browser.expressValue(async (session, req) => {
      const error = await called(done => session.regenerate(done));
      const fresh = { ...req.session, cookie: undefined };
      req.session.user = 7;
      return { error, same: req.session === session, fresh, old: session.cart, oldId: session.id };
    });
    expect(seen).toEqual({ same: false, fresh: {}, old: ['a'], oldId: before });
    expect(await browser.cookie()).not.toBe(before);
    expect(await server.store.exists(before!)).toBe(false);
    expect(await browser.value(session => session.toJSON())).toEqual({ user: 7 });
  });

  it('destroy: record and cookie are gone, and req.session is undefined', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.a = 1));
    const id = await browser.cookie();
    const seen = await browser.expressValue(async (session, req) => {
      const error = await called(done => session.destroy(done));
      return { error, left: typeof req.session };
    });
    expect(seen).toEqual({ left: 'undefined' });
    expect(await server.store.exists(id!)).toBe(false);
    expect(await browser.cookie()).toBeUndefined();
  });

  it('an ended session cannot be saved back, through what still holds it', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.a = 1));
    const id = await browser.cookie();
    const names = await browser.expressValue(async (session: any) => {
      await session.regenerate();
      session.a = 2;
      const errors = [];
      for (const method of ['save', 'reload', 'regenerate', 'destroy']) {
        errors.push(((await called(done => session[method](done))) as Error).name);
      }
      return errors;
    });
    expect(names).toEqual(Array(4).fill('SessionDestroyedException'));
    expect(await server.store.exists(id!)).toBe(false);
  });

  it('cookie.maxAge gives the session a timeout of its own, stored and sent', async () => {
    const browser = new Browser(server.url);
    const answer = await browser.runExpress(session => void (session.cookie.maxAge = 7 * 24 * 3_600_000));
    expect(answer.setCookies[0]).toContain(`Max-Age=${7 * 24 * 3600};`);
    expect(await browser.value(session => session.timeout)).toBe(7 * 24 * 60);
    expect(await browser.expressValue(session => session.cookie.originalMaxAge)).toBe(7 * 24 * 3_600_000);
  });

  it.each([
    ['maxAge', null],
    ['expires', null],
    ['expires', false],
    ['originalMaxAge', null],
  ])('cookie.%s = %s: the cookie ends with the browser, from now on', async (name, value) => {
    const browser = new Browser(server.url);
    await browser.runExpress(session => void (session.cookie.maxAge = 60_000));
    const answer = await browser.runExpress((session: any) => void (session.cookie[name] = value));
    expect(answer.setCookies[0]).not.toMatch(/Max-Age|Expires/);
    expect(await browser.expressValue(session => session.cookie.maxAge)).toBeNull();
    expect(await browser.value(session => session.persistent)).toBe(false);
    const again = await browser.runExpress(session => void (session.cookie.maxAge = 60_000));
    expect(again.setCookies[0]).toContain('Max-Age=60;');
  });

  it('cookie.maxAge = null is kept by who copies a session into the next, as passport does', async () => {
    const browser = new Browser(server.url);
    await browser.runExpress(session => {
      session.a = 1;
      session.cookie.maxAge = null;
    });
    const answer = await browser.runExpress(async (session, req) => {
      await called(done => session.regenerate(done));
      Object.assign(req.session, session);
    });
    expect(answer.setCookies[0]).not.toMatch(/Max-Age|Expires/);
    expect(await browser.value(session => [session.get('a'), session.persistent])).toEqual([1, false]);
  });

  it.each([31_000, 65_000, 90_500])('cookie.originalMaxAge is the age that was set: %i', async ms => {
    const browser = new Browser(server.url);
    await browser.runExpress(session => void (session.cookie.maxAge = ms));
    expect(await browser.expressValue(session => session.cookie.originalMaxAge)).toBe(ms);
  });

  it('save stores now, before the answer', async () => {
    const browser = new Browser(server.url);
    const stored = await browser.expressValue(async session => {
      session.a = 1;
      await called(done => session.save(done));
      return (await server.store.get(session.id))?.data;
    });
    expect(stored).toEqual({ a: 1 });
  });

  it('a failure is the callback’s, or the promise’s, or nobody’s', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.a = 1));
    const seen = await browser.expressValue(async session => {
      await server.store.update('no such session, of 43 characters...........', () => undefined);
      session.bad = Symbol('none');
      const error: any = await called(done => session.save(done));
      const rejected = await session.save().catch(reason => reason.name);
      void session.save();
      delete session.bad;
      return [error.name, rejected];
    });
    expect(seen).toEqual(['SessionSerializationException', 'SessionSerializationException']);
  });
});

describe.each(ADAPTERS)('req.session as an object: %s', adapter => {
  const server = useServer({ adapter });

  it('has the data and the cookie to be enumerated, and its members besides', async () => {
    const seen = await new Browser(server.url).expressValue((session: any) => {
      session.a = 1;
      const inLoop = [];
      for (const name in session) {
        inLoop.push(name);
      }
      return {
        inLoop,
        has: ['a', 'cookie', 'id', 'save', 'b'].map(name => name in session),
        own: ['a', 'save', 'b'].map(name => Object.hasOwn(session, name)),
        called: session.hasOwnProperty('a'),
        json: Object.keys(JSON.parse(JSON.stringify(session))),
        shown: inspect(session).includes('a: 1'),
        assigned: Object.assign({}, session).a,
      };
    });
    expect(seen).toEqual({
      inLoop: ['cookie', 'a'],
      has: [true, true, true, true, false],
      own: [true, false, false],
      called: true,
      json: ['cookie', 'a'],
      shown: true,
      assigned: 1,
    });
  });

  it('what cannot be is refused with what to do instead, and changes nothing', async () => {
    const attempts: [string, (session: any, req: any) => void][] = [
      ['destroy()', (_session, req) => (req.session = null)],
      ['destroy()', (_session, req) => (req.session = undefined)],
      ['is a method', session => (session.save = 1)],
      ['regenerate()', session => (session.id = 'x')],
      ['the option secure', session => (session.cookie.secure = true)],
      ['milliseconds above 0, or null', session => (session.cookie.maxAge = '5')],
      ['milliseconds above 0, or null', session => (session.cookie.maxAge = undefined)],
      ['milliseconds above 0, or null', session => (session.cookie.expires = 'tomorrow')],
      ['milliseconds above 0, or null', session => (session.cookie.expires = new Date(NaN))],
      ['destroy()', session => (session.cookie.maxAge = 0)],
      ['destroy()', session => (session.cookie.expires = new Date(0))],
    ];
    const browser = new Browser(server.url);
    const before = await server.stored();
    const messages: string[] = await browser.expressValue((session, req) =>
      attempts.map(([, attempt]) => {
        try {
          attempt(session, req);
          return 'no error';
        } catch (error) {
          return String(error);
        }
      }),
    );
    messages.forEach((message, index) => expect(message).toContain(attempts[index]![0]));
    expect(await server.stored()).toBe(before);
  });

  it('a prototype cannot be set through it', async () => {
    const seen = await new Browser(server.url).expressValue((session: any) => {
      session.__proto__ = { admin: true };
      return [session.admin, ({} as any).admin];
    });
    expect(seen).toEqual([null, null]);
  });

  it('unloaded, each use of a property says what to write; what is no use of it does not', async () => {
    const browser = new Browser(server.url);
    const seen = await browser.value(
      ((req: any) => {
        const uses: (() => unknown)[] = [
          () => req.session.user,
          () => (req.session.user = 1),
          () => 'user' in req.session,
          () => delete req.session.user,
          () => Object.keys(req.session),
          () => req.session.id,
          () => req.session.cookie.maxAge,
        ];
        const messages = uses.map(use => {
          try {
            return use();
          } catch (error) {
            return String(error);
          }
        });
        return {
          messages,
          there: Boolean(req.session),
          shown: inspect(req.session),
          sessionID: req.sessionID,
        };
      }) as never,
      'none',
    );
    for (const message of seen.messages) {
      expect(message).toMatch(
        /SessionNotLoadedException.*req\.session\.\S+ was used.*loadSession.*eager: true/,
      );
    }
    expect(seen).toMatchObject({ there: true, shown: 'req.session, not loaded' });
    expect(seen.sessionID).toBeUndefined();
  });

  it('unloaded, what takes a callback loads it', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.a = 1));
    const id = await browser.cookie();
    await browser.value(
      (async (req: any) => {
        await called(done => req.session.regenerate(done));
        req.session.b = 1;
      }) as never,
      'none',
    );
    expect(await browser.value(session => session.toJSON())).toEqual({ b: 1 });
    expect(await server.store.exists(id!)).toBe(false);
  });

  it('is undefined on a route with @SkipSession()', async () => {
    expect(await new Browser(server.url).value(((req: any) => typeof req.session) as never, 'skip')).toBe(
      'undefined',
    );
  });
});

class UserGuard implements CanActivate {
  canActivate(context: any) {
    return context.switchToHttp().getRequest().session.user !== undefined;
  }
}

@Controller()
class GuardedController {
  @Get('guarded')
  @UseGuards(UserGuard)
  guarded(@NestSession() session: ExpressSession) {
    return { user: session.user };
  }

  @Get('log-in')
  logIn(@NestSession() session: ExpressSession) {
    session.user = 'Ann';
  }

  @Get('both')
  both(@NestSession() express: ExpressSession, @Session() session: Session) {
    return { same: express.id === session.id, locked: session.locked };
  }

  @Get('skipped')
  @SkipSession()
  skipped(@NestSession() session: unknown) {
    return { session: typeof session };
  }
}

describe.each(ADAPTERS)('@nestjs/common’s @Session(): %s', adapter => {
  const server = useServer({ adapter, controllers: [GuardedController] });

  it('is loaded before the guards of its handler', async () => {
    const client = new Client(server.url);
    expect((await client.get('/guarded')).status).toBe(403);
    await client.get('/log-in');
    expect((await client.get('/guarded')).json()).toEqual({ user: 'Ann' });
  });

  it('is the session of this package’s @Session()', async () => {
    const client = new Client(server.url);
    await client.get('/log-in');
    expect((await client.get('/both')).json()).toEqual({ same: true, locked: true });
  });

  it('is undefined on a route with @SkipSession()', async () => {
    expect((await new Client(server.url).get('/skipped')).json()).toEqual({ session: 'undefined' });
  });

  it('is left alone with requestSession: false', async () => {
    const app = await startApp({
      adapter,
      controllers: [ScriptController],
      sessions: { requestSession: false },
    });
    try {
      expect(await new Browser(app.url).expressValue(session => typeof session)).toBe('undefined');
    } finally {
      await app.close();
    }
  });
});

/** Middleware that was written for express-session. */
function countVisits(req: any, _res: unknown, next: (error?: unknown) => void): void {
  try {
    req.session.seen = (req.session.seen ?? 0) + 1;
    next();
  } catch (error) {
    next(error);
  }
}

class EagerModule implements NestModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(countVisits).forRoutes('none/{*path}');
  }
}

class LoadingModule implements NestModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(loadSession, countVisits).forRoutes('none/{*path}');
  }
}

const WAYS: [string, TestAppOptions][] = [
  [
    'eager: true, app.use()',
    { sessions: { eager: true }, prepare: app => void app.use('/none', countVisits) },
  ],
  ['eager: true, a module’s middleware', { sessions: { eager: true }, imports: [EagerModule] }],
  [
    'eager: true, a module’s middleware, Fastify',
    { adapter: 'fastify', sessions: { eager: true }, imports: [EagerModule] },
  ],
  ['loadSession, app.use()', { prepare: app => void app.use('/none', loadSession, countVisits) }],
  ['loadSession, a module’s middleware', { imports: [LoadingModule] }],
  ['loadSession, a module’s middleware, Fastify', { adapter: 'fastify', imports: [LoadingModule] }],
];

describe.each(WAYS)('req.session in middleware: %s', (_way, options) => {
  const server = useServer(options);

  it('can be used at once, and loses nothing', async () => {
    const browser = new Browser(server.url);
    await browser.value(() => undefined, 'none');
    await Promise.all(Array.from({ length: 10 }, () => browser.value(() => undefined, 'none')));
    expect(await browser.value(session => session.get('seen'))).toBe(11);
  });
});

describe('req.session beside express-session', () => {
  const server = useServer({
    prepare: app => void app.use(expressSession({ secret: 'a', resave: false, saveUninitialized: false })),
  });

  it('is express-session’s, and this package’s session is untouched', async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(session => void (session.theirs = 1));
    await browser.value(session => void session.set('ours', 2));
    expect(await browser.expressValue(session => [session.theirs, session.ours])).toEqual([1, null]);
    expect(await browser.value(session => session.toJSON())).toEqual({ ours: 2 });
  });
});

describe("who takes @nestjs/common's @Session() for this package's is told which import is wrong", () => {
  const server = useServer({});

  it.each(['get', 'set'])('session.%s()', async name => {
    const browser = new Browser(server.url);
    const said = await browser.expressValue((session: any) => {
      try {
        return session[name]('a', 1);
      } catch (error) {
        return String(error);
      }
    });
    expect(said).toContain("write import { Session } from 'nest-sessions'");
  });

  it('data of such a name is data', async () => {
    const browser = new Browser(server.url);
    await browser.run(session => void session.update({ get: 1, set: 2 }));
    expect(await browser.expressValue((session: any) => [session.get, session.set])).toEqual([1, 2]);
  });
});
