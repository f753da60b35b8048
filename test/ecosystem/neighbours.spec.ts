import {
  ClassSerializerInterceptor,
  Controller,
  Get,
  Module,
  Param,
  Post,
  Req,
  UseInterceptors,
  ValidationPipe,
  type INestApplication,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import express5 from 'express';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { loadSession, Session, SessionsModule, SessionStore } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { Client } from '../support/client.js';
import { ScriptController, useServer } from '../support/scripts.js';

const express4: typeof express5 = createRequire(import.meta.url)('express4');

@Controller()
class PagesController {
  constructor(private readonly store: SessionStore) {}

  @Post('log-in')
  logIn(@Session() session: Session) {
    session.update({ user: 'Ann', tags: new Set(['a']) });
  }

  @Get('whole')
  whole(@Session() session: Session) {
    return session;
  }

  @Get('whole-read-only')
  wholeReadOnly(@Session({ readOnly: true }) session: Session) {
    return session;
  }

  @Get('serialized-inside')
  @UseInterceptors(ClassSerializerInterceptor)
  serializedInside(@Session({ readOnly: true }) session: Session) {
    return { data: session.data };
  }

  @Get('validated/:id')
  async validated(
    @Session() session: Session,
    @Session({ readOnly: true }) view: Session,
    @Session('user') user: string,
    @Param('id') id: number,
  ) {
    return { same: (await this.store.current()) === session, view: view.get('user'), user, id: typeof id };
  }

  @Get('health')
  health(@Req() req: any) {
    return { session: req.session === undefined };
  }
}

describe.each(ADAPTERS)('neighbours: %s', adapter => {
  const data = { user: 'Ann' };
  const logIn = async (url: string) => {
    const client = new Client(url);
    expect((await client.post('/log-in')).status).toBe(201);
    return client;
  };

  describe('what turns an answer into JSON', () => {
    const server = useServer({ adapter, controllers: [ScriptController, PagesController] });

    it.each(['whole', 'whole-read-only'])('a session that a handler returns is its data: %s', async path => {
      const client = await logIn(server.url);
      const answer = await client.get(`/${path}`);
      expect(answer.status).toBe(200);
      expect(answer.json()).toMatchObject(data);
      expect(answer.body).not.toContain(await client.cookie());
    });

    it('its data inside of something else', async () => {
      expect((await (await logIn(server.url)).get('/serialized-inside')).json()).toMatchObject({ data });
    });
  });

  describe.each([
    { transform: true, whitelist: true, forbidNonWhitelisted: true, validateCustomDecorators: true },
    { validateCustomDecorators: true, forbidUnknownValues: true },
    { transform: true, validateCustomDecorators: true, forbidUnknownValues: true, whitelist: true },
    { transform: true, forbidUnknownValues: true },
  ])('a global ValidationPipe, %o', options => {
    const server = useServer({
      adapter,
      controllers: [ScriptController, PagesController],
      prepare: app => void app.useGlobalPipes(new ValidationPipe(options)),
    });

    it('@Session() is the session', async () => {
      const answer = await (await logIn(server.url)).get('/validated/1');
      expect(answer.json()).toEqual({
        same: true,
        view: 'Ann',
        user: 'Ann',
        id: options.transform ? 'number' : 'string',
      });
    });
  });
});

/** What an application mounts beside its routes: it has nothing of Nest's. */
function legacy(create: typeof express5) {
  const app = create();
  app.get('/', (req: any, res: any) => res.json({ user: req.session.user, visits: ++req.session.visits }));
  app.get('/later', (req: any, res: any) => {
    req.session.reload(() => {
      req.session.visits = 10;
      req.session.save(() => res.send('done'));
    });
  });
  return app;
}

describe.each<[string, typeof express5]>([
  ['Express 4', express4],
  ['Express 5', express5],
])('neighbours: a sub-application of %s', (_name, create) => {
  const server = useServer({
    controllers: [ScriptController, PagesController],
    prepare: (app: INestApplication) => {
      app.use('/legacy', loadSession, legacy(create));
      // Its own, whatever its name: no express-session.
      app.use(function session(req: any, _res: unknown, next: () => void) {
        req.hasOwn = true;
        next();
      });
    },
  });

  it('has the session, which is stored', async () => {
    const id = await server.store.create({ user: 'Ann', visits: 0 } as never);
    const client = new Client(server.url);
    client.jar.setCookieSync(`session_id=${id}`, server.url);
    expect((await client.get('/legacy')).json()).toEqual({ user: 'Ann', visits: 1 });
    expect((await client.get('/legacy')).json()).toEqual({ user: 'Ann', visits: 2 });
    expect((await client.get('/legacy/later')).body).toBe('done');
    expect((await server.store.get(id))!.data).toEqual({ user: 'Ann', visits: 10 });
    expect((await client.get('/whole')).json()).toMatchObject({ user: 'Ann' });
    expect((await client.get('/health')).json()).toEqual({ session: false });
  });
});

describe.each<[string, typeof express5]>([
  ['Express 4', express4],
  ['Express 5', express5],
])('neighbours: the application is itself mounted, in %s', (_name, create) => {
  it.each([['health'], ['api/health']])('exclude: %s', async path => {
    @Module({ imports: [SessionsModule.forRoot({ exclude: [path] })], controllers: [PagesController] })
    class AppModule {}

    const inner = express5();
    const nest = await NestFactory.create(AppModule, new ExpressAdapter(inner), { logger: false });
    await nest.init();
    const outer = create();
    outer.use('/api', inner);
    const server: Server = createServer(outer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = new Client(`http://127.0.0.1:${(server.address() as { port: number }).port}`);
    expect((await client.get('/api/health')).json()).toEqual({ session: true });
    expect((await client.post('/api/log-in')).setCookies).toHaveLength(1);
    expect((await client.get('/api/whole')).json()).toMatchObject({ user: 'Ann' });
    client.close();
    server.close();
    await nest.close();
  });
});
