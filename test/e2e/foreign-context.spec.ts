import {
  HttpException,
  Module,
  type INestApplication,
  type MiddlewareConsumer,
  type Type,
} from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import upload from 'express-fileupload';
import multer from 'multer';
import passport from 'passport';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadSession } from 'nest-sessions';
import { startApp, type AdapterName, type TestApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { Browser, lockCount } from '../support/scripts.js';
import { times } from '../support/times.js';
import {
  renewShared,
  ScopedController,
  ScopedService,
  shared,
  UserFilter,
  UsersController,
} from './foreign-context.controllers.js';

@Module({})
class NestMiddlewareModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(goOnInCallback).forRoutes('{*path}');
  }
}

/** As middleware that asks a database with callbacks. Until the connection is there, it has nothing to ask. */
function goOnInCallback(req: any, _res: unknown, next: (error?: unknown) => void): void {
  const error = req.url.includes('fail') ? new HttpException('', 418) : undefined;
  if (shared.connection.isOpen) {
    shared.connection.ask(() => next(error));
  } else {
    next();
  }
}

const fastifyHook = (name: string) => (app: INestApplication) =>
  app
    .getHttpAdapter()
    .getInstance()
    .addHook(name, (request: any, reply: unknown, ...rest: any[]) =>
      // Of `preParsing`, the last but one is the body.
      goOnInCallback(request, reply, error => rest.at(-1)(error, ...(error ? [] : rest.slice(0, -1)))),
    );

function usePassport(app: INestApplication): void {
  const own = new passport.Passport();
  own.serializeUser((user, done) => done(null, user));
  own.deserializeUser((user: Express.User, done) => shared.connection.ask(() => done(null, user)));
  app.use(loadSession, (req: any, _res: unknown, next: () => void) => {
    if (shared.connection.isOpen) {
      req.session.passport ??= { user: 1 };
    }
    next();
  });
  app.use(own.initialize(), own.session());
}

interface Way {
  adapter: AdapterName;
  name: string;
  imports?: Type[];
  prepare?: (app: INestApplication) => unknown;
  /** Whether it passes errors on, and needs no session. */
  fails?: boolean;
}

const WAYS: Way[] = [
  { adapter: 'express', name: 'middleware', prepare: app => app.use(goOnInCallback), fails: true },
  { adapter: 'express', name: 'Nest middleware', imports: [NestMiddlewareModule], fails: true },
  { adapter: 'express', name: 'passport.deserializeUser with a callback', prepare: usePassport },
  { adapter: 'fastify', name: 'Nest middleware', imports: [NestMiddlewareModule], fails: true },
  ...['onRequest', 'preParsing', 'preValidation', 'preHandler'].map(hook => ({
    adapter: 'fastify' as const,
    name: `a hook ${hook}`,
    prepare: fastifyHook(hook),
    fails: true,
  })),
];

describe.each(WAYS)('foreign async context, $adapter: $name goes on in a callback', way => {
  let server: TestApp;
  let browsers: Browser[];
  let opening: Promise<{ body: string }>;
  beforeAll(async () => {
    server = await startApp({
      adapter: way.adapter,
      controllers: [UsersController, ScopedController],
      providers: [ScopedService, { provide: APP_FILTER, useClass: UserFilter }],
      imports: way.imports ?? [],
      sessions: { exclude: ['/excluded'] },
      prepare: app => void way.prepare?.(app),
    });
  });
  afterAll(() => server.close());
  beforeEach(async () => {
    await renewShared();
    const names = ['Ann', 'Ben', 'Cleo'];
    const ids = await Promise.all(names.map(user => server.store.create({ user } as never)));
    browsers = ids.map(id => new Browser(server.url, id));
    opening = browsers[0]!.get('/open');
    await shared.opened.opened;
  });
  afterEach(async () => {
    shared.gate.open();
    expect(JSON.parse((await opening).body)).toEqual({ user: 'Ann' });
    browsers.forEach(browser => browser.close());
    shared.connection.close();
    await expect.poll(() => lockCount(server)).toBe(0);
  });

  /** Ben and Cleo, 10 times each, while Ann's request is in flight. */
  const all = (path: string) =>
    times(20, async index => (await browsers[1 + (index % 2)]!.get(path)).json() as unknown);
  const each = (make: (user: string) => unknown) =>
    Array.from({ length: 20 }, (_, index) => make(['Ben', 'Cleo'][index % 2]!));

  it('guards, interceptors, pipes and handlers see their own request’s session', async () => {
    expect(await all('/users/1')).toEqual(
      each(user => ({ pipe: user, guard: user, interceptor: user, handler: user })),
    );
  });

  it('request-scoped providers see their own request’s session', async () => {
    expect(await all('/scoped')).toEqual(each(user => ({ constructor: user, injected: user })));
  });

  it('exception filters see their own request’s session: of handlers, and of unknown paths', async () => {
    expect(await all('/thrown')).toEqual(each(filter => ({ filter })));
    expect(await all('/unknown')).toEqual(each(filter => ({ filter })));
  });

  it.runIf(way.fails)(
    'exception filters see their own request’s session: of what was passed on',
    async () => {
      expect(await all('/users/1?fail')).toEqual(each(filter => ({ filter })));
    },
  );

  // With passport, req.session is missing there before the route is reached.
  it.runIf(way.fails)('a route without a session has none, also not another’s', async () => {
    expect(await all('/excluded')).toEqual(each(() => ({ handler: 'SessionContextException' })));
  });
});

/** A body of one file, as a browser sends it. */
const MULTIPART = [
  '--part',
  'Content-Disposition: form-data; name="file"; filename="a.txt"',
  'Content-Type: text/plain',
  '',
  'x'.repeat(100_000),
  '--part--',
  '',
].join('\r\n');

const uploads: [string, (app: INestApplication) => unknown][] = [
  [
    'multer',
    app => {
      const storage: multer.StorageEngine = {
        _handleFile(_req, file, done) {
          file.stream.resume();
          shared.connection.ask(() => done(null, {}));
        },
        _removeFile: (_req, _file, done) => done(null),
      };
      app.use('/users', multer({ storage }).any());
    },
  ],
  ['express-fileupload', app => app.use('/users', upload(), goOnInCallback)],
];

describe.each(uploads)('foreign async context, express: %s', (_name, prepare) => {
  it('the handler sees its own request’s session', async () => {
    await renewShared();
    const server = await startApp({ controllers: [UsersController], prepare: app => void prepare(app) });
    const [ann, ben] = await Promise.all(
      ['Ann', 'Ben'].map(async user => new Browser(server.url, await server.store.create({ user } as never))),
    );
    const opening = ann!.get('/open');
    await shared.opened.opened;
    const headers = {
      cookie: `session_id=${await ben!.cookie()}`,
      'content-type': 'multipart/form-data; boundary=part',
      'content-length': String(MULTIPART.length),
    };
    const answers = await times(5, () =>
      sendRaw(`${server.url}/users`, { method: 'POST', headers, body: MULTIPART }),
    );
    expect(answers.map(({ body }) => body)).toEqual(Array(5).fill('{"handler":"Ben"}'));
    shared.gate.open();
    await opening;
    shared.connection.close();
    await server.close();
  });
});
