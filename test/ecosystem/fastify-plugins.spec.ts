import csrf from '@fastify/csrf-protection';
import flash from '@fastify/flash';
import { Authenticator } from '@fastify/passport';
import { Body, Controller, Get, Post, Req, Res, type INestApplication } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { Strategy } from 'passport-local';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Session, type FastifySession } from 'nest-sessions';
import { startApp, type TestApp } from '../support/app.js';
import { Client } from '../support/client.js';
import { Browser, ScriptController } from '../support/scripts.js';

const ANN = { id: 7, name: 'Ann' };
const PASSWORD = { username: 'ann', password: 'secret' };

@Controller()
class PluginController {
  @Post('say')
  say(@Req() req: any, @Body() { text }: { text: string }) {
    return { count: req.flash('info', text) };
  }

  @Get('said')
  said(@Res({ passthrough: true }) reply: any) {
    return { said: reply.flash('info') };
  }

  @Get('form')
  form(@Res({ passthrough: true }) reply: any) {
    return { token: reply.generateCsrf() };
  }

  @Get('form-for-an-hour')
  formForAnHour(@Res({ passthrough: true }) reply: any) {
    return { token: reply.generateCsrf({ maxAge: 3_600_000 }) };
  }

  @Get('me')
  me(@Req() req: any) {
    return { user: req.user ?? null };
  }

  @Get('cart')
  cart(@Session() session: Session) {
    session.set('cart', 1);
  }

  @Get('keys')
  keys(@Session({ readOnly: true }) session: Session) {
    return { ...session.data };
  }
}

/** One way to send requests to an application, with one cookie. */
interface Sender {
  send(
    method: 'GET' | 'POST',
    path: string,
    body?: object,
    headers?: Record<string, string>,
  ): Promise<{ status: number; json(): any }>;
  cookie(): Promise<string | undefined>;
}

const overHttp = ({ url }: TestApp): Sender => {
  const client = new Client(url);
  return {
    send: (method, path, body, headers) =>
      client[method === 'GET' ? 'get' : 'post'](path, { body, ...(headers && { headers }) }),
    cookie: () => client.cookie(),
  };
};

const byInject = ({ app }: TestApp): Sender => {
  let id: string | undefined;
  return {
    async send(method, url, payload, headers) {
      const answer = await (app as NestFastifyApplication).inject({
        method,
        url,
        headers: { ...headers },
        ...(payload && { payload }),
        ...(id !== undefined && { cookies: { session_id: id } }),
      });
      const sent = answer.cookies.find(({ name }) => name === 'session_id');
      id = sent ? sent.value || undefined : id;
      return { status: answer.statusCode, json: () => answer.json() };
    },
    cookie: async () => id,
  };
};

const start = (prepare: (app: NestFastifyApplication) => unknown, controllers = [PluginController]) =>
  startApp({
    adapter: 'fastify',
    controllers: [ScriptController, ...controllers],
    sessions: { eager: true },
    prepare: async app => void (await prepare(app as INestApplication as NestFastifyApplication)),
  });

describe.each(Object.entries({ 'over HTTP': overHttp, 'by inject()': byInject }))(
  "Fastify's plugins, %s",
  (_, sender) => {
    describe('@fastify/flash', () => {
      let server: TestApp;
      beforeAll(async () => {
        server = await start(app => app.register(flash));
      });
      afterAll(() => server.close());

      it('what is said is read once, in the next request', async () => {
        const user = sender(server);
        expect((await user.send('POST', '/say', { text: 'a' })).json()).toEqual({ count: 1 });
        expect((await user.send('POST', '/say', { text: 'b' })).json()).toEqual({ count: 2 });
        expect((await user.send('GET', '/said')).json()).toEqual({ said: ['a', 'b'] });
        expect((await user.send('GET', '/said')).json()).toEqual({ said: [] });
        expect((await sender(server).send('GET', '/said')).json()).toEqual({ said: [] });
      });
    });

    describe.each(['@fastify/session', '@fastify/secure-session'] as const)(
      '@fastify/csrf-protection for %s',
      sessionPlugin => {
        let server: TestApp;
        beforeAll(async () => {
          server = await start(async app => {
            await app.register(csrf, { sessionPlugin });
            const fastify = app.getHttpAdapter().getInstance() as any;
            fastify.route({
              method: 'POST',
              url: '/submit',
              onRequest: (...args: unknown[]) => fastify.csrfProtection(...args),
              handler: async () => ({ ok: true }),
            });
          });
        });
        afterAll(() => server.close());

        it("takes a form of the session's own, and no other", async () => {
          const user = sender(server);
          const { token } = (await user.send('GET', '/form')).json();
          const submit = (by: Sender, value: string) =>
            by.send('POST', '/submit', {}, { 'csrf-token': value });
          expect((await submit(user, token)).status).toBe(200);
          expect((await submit(user, `${token}x`)).status).toBe(403);
          expect((await submit(sender(server), token)).status).toBe(403);
        });

        it('takes options of the cookie', async () => {
          expect((await sender(server).send('GET', '/form-for-an-hour')).status).toBe(200);
        });
      },
    );

    describe.each([true, false])('@fastify/passport, clearSessionOnLogin: %s', clearSessionOnLogin => {
      let server: TestApp;
      beforeAll(async () => {
        const passport = new Authenticator({ clearSessionOnLogin });
        passport.use(
          'local',
          new Strategy((name, password, done) =>
            name === PASSWORD.username && password === PASSWORD.password
              ? done(null, ANN)
              : done(null, false),
          ),
        );
        passport.registerUserSerializer(async user => (user as typeof ANN).id);
        passport.registerUserDeserializer(async id => (id === ANN.id ? ANN : null));
        server = await start(async app => {
          await app.register(passport.initialize() as any);
          await app.register(passport.secureSession() as any);
          const fastify = app.getHttpAdapter().getInstance() as any;
          fastify.route({
            method: 'POST',
            url: '/log-in',
            preValidation: passport.authenticate('local'),
            handler: async (request: any) => request.user,
          });
          fastify.route({
            method: 'POST',
            url: '/log-out',
            handler: async (request: any) => {
              await request.logOut();
              return {};
            },
          });
        });
      });
      afterAll(() => server.close());

      it('who logs in gets a new id, is known in the next request, and is not after the log-out', async () => {
        const user = sender(server);
        const me = async () => (await user.send('GET', '/me')).json().user;
        await user.send('GET', '/cart');
        const before = await user.cookie();
        expect(await me()).toBeNull();
        expect((await user.send('POST', '/log-in', { ...PASSWORD, password: 'x' })).status).toBe(401);
        expect((await user.send('POST', '/log-in', PASSWORD)).json()).toEqual(ANN);
        expect(await user.cookie()).not.toBe(before);
        expect(await me()).toEqual(ANN);
        expect((await user.send('GET', '/keys')).json()).toEqual({
          passport: ANN.id,
          ...(!clearSessionOnLogin && { cart: 1 }),
        });
        expect((await user.send('POST', '/log-out', {})).status).toBe(200);
        expect(await me()).toBeNull();
      });
    });
  },
);

describe("request.session on Fastify has what @fastify/session's and @fastify/secure-session's has", () => {
  let server: TestApp;
  beforeAll(async () => {
    server = await start(() => undefined);
  });
  afterAll(() => server.close());

  const ask = (browser: Browser, script: (session: FastifySession) => unknown): Promise<any> =>
    browser.expressValue((_session, req) => script(req.session));

  it('get, set, data, sessionId, isModified, isSaved', async () => {
    const browser = new Browser(server.url);
    const seen = await ask(browser, async session => {
      const before = [session.get('a'), session.isModified(), session.isSaved()];
      session.set('a', 1);
      const changed = [session.get('a'), session['a'], session.isModified(), session.isSaved()];
      await session.save();
      return [before, changed, [session.isModified(), session.isSaved(), session.data(), session.sessionId]];
    });
    const id = await browser.cookie();
    expect(seen).toEqual([
      [null, false, false],
      [1, 1, true, false],
      [false, true, { a: 1 }, id],
    ]);
    expect(await ask(browser, session => [session.isModified(), session.isSaved()])).toEqual([false, true]);
  });

  it('regenerate(keys), delete, destroy', async () => {
    const browser = new Browser(server.url);
    await ask(browser, session => (session.set('a', 1), session.set('b', 2)));
    const before = await browser.cookie();
    await ask(browser, session => session.regenerate(['a']));
    expect(await browser.cookie()).not.toBe(before);
    expect(await ask(browser, session => session.data())).toEqual({ a: 1 });
    await ask(browser, session => session.delete());
    expect(await browser.cookie()).toBeUndefined();
    expect(await ask(browser, session => session.data())).toEqual({});
    expect(await ask(browser, session => String(session.delete.length))).toBe('0');
  });

  it('options() gives the session an age of its own', async () => {
    const browser = new Browser(server.url);
    const answer = await browser.runExpress((_session, req) => {
      req.session.set('a', 1);
      req.session.options({ maxAge: 120_000, secure: false });
    });
    expect(answer.setCookies[0]).toMatch(/Max-Age=120;/);
  });

  it('data of such a name is there by @Session()', async () => {
    const browser = new Browser(server.url);
    await browser.run(session => void session.update({ get: 1, data: 2, constructor: 3 }));
    expect(await browser.value(session => session.get('get'))).toBe(1);
    expect(
      await ask(browser, session => [session.get('get'), session.get('constructor'), typeof session.get]),
    ).toEqual([1, 3, 'function']);
    expect(await browser.value(session => session.toJSON())).toEqual({ get: 1, data: 2, constructor: 3 });
  });
});
