import { Controller, Get, Module, Post, Req, type MiddlewareConsumer, type Type } from '@nestjs/common';
import type { INestApplication } from '@nestjs/common';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  loadSession,
  Session,
  SESSION_BACKEND,
  type SessionBackend,
  type SessionModuleOptions,
} from 'nest-sessions';
import { ADAPTERS, startApp, type AdapterName, type TestApp } from '../support/app.js';
import { Browser, lockCount, ScriptController } from '../support/scripts.js';
import { until } from '../support/until.js';

@Controller()
class UploadController {
  @Post('upload')
  upload(@Session() session: Session, @Req() req: any) {
    session.set('uploaded', req.body.length ?? req.body.text?.length);
    return { locked: session.locked, count: session.get('count', 0), tag: session.get('tag', null) };
  }

  @Get('upload')
  get(@Session() session: Session) {
    return { locked: session.locked };
  }
}

@Module({})
class LoadingModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(loadSession, tag).forRoutes('{*path}');
  }
}

/** As middleware that changes the session while the body is on its way. */
function tag(req: any, _res: unknown, next: () => void) {
  if (req.method === 'POST') {
    req.session.tag = 'middleware';
  }
  next();
}

interface Way {
  adapter: AdapterName;
  title: string;
  sessions?: SessionModuleOptions;
  imports?: Type[];
  prepare?: (app: INestApplication) => unknown;
  /** Whether middleware changes the session before; on Express, that of a module runs when the body is there. */
  tags?: boolean;
  readsAhead?: boolean;
}

const WAYS: Way[] = [
  ...ADAPTERS.flatMap<Way>(adapter => [
    { adapter, title: 'a handler with @Session()' },
    { adapter, title: 'eager', readsAhead: true, sessions: { eager: true } },
    { adapter, title: "'early'", sessions: { locking: 'early' } },
    { adapter, title: "eager and 'early'", readsAhead: true, sessions: { eager: true, locking: 'early' } },
    {
      adapter,
      title: 'loadSession in a module',
      readsAhead: adapter === 'fastify',
      imports: [LoadingModule],
      tags: true,
    },
  ]),
  {
    adapter: 'express',
    title: 'loadSession in main.ts',
    readsAhead: true,
    prepare: app => app.use(loadSession, tag),
    tags: true,
  },
  {
    adapter: 'express',
    title: 'eager, changed in main.ts',
    readsAhead: true,
    sessions: { eager: true },
    prepare: app => app.use(tag),
    tags: true,
  },
];

const HALF = 'x'.repeat(1000);

describe.each(WAYS)('uploads that dribble: $adapter, $title', way => {
  let server: TestApp;
  let reads = 0;
  beforeAll(async () => {
    server = await startApp({
      adapter: way.adapter,
      controllers: [ScriptController, UploadController],
      sessions: { lockTimeout: 1, ...way.sessions },
      imports: way.imports ?? [],
      prepare: app => void way.prepare?.(app),
    });
    const backend: SessionBackend = server.app.get(SESSION_BACKEND);
    for (const name of ['read', 'lock'] as const) {
      const work = backend[name].bind(backend) as (...args: any[]) => Promise<any>;
      backend[name] = (...args: any[]) => {
        reads++;
        return work(...args);
      };
    }
  });
  afterAll(() => server.close());
  afterEach(() => expect.poll(() => lockCount(server)).toBe(0));

  /** A request whose body comes in two halves; by the first, it has reached the application. */
  async function begin(id: string, headers: string[]): Promise<Socket> {
    const { port } = new URL(server.url);
    const socket = connect(Number(port), '127.0.0.1').setEncoding('utf8');
    const arrived = once(server.app.getHttpServer(), 'request');
    socket.write(
      [
        `POST /upload HTTP/1.1`,
        'Host: a',
        'Connection: close',
        `Cookie: session_id=${id}`,
        ...headers,
        '',
        '',
      ].join('\r\n'),
    );
    await arrived;
    return socket;
  }
  const readAll = async (socket: Socket): Promise<string> => (await socket.toArray()).join('');

  const FORMS: [string, string[], (part: string) => string, string][] = [
    ['with a length', [`Content-Length: ${2 * HALF.length + 11}`], part => part, ''],
    [
      'in chunks',
      ['Transfer-Encoding: chunked'],
      part => `${part.length.toString(16)}\r\n${part}\r\n`,
      '0\r\n\r\n',
    ],
  ];

  it.each(FORMS)(
    '%s: no lock is held until the body is there, and nothing is lost',
    async (_form, headers, wrap, end) => {
      const id = await server.store.create({ count: 0 } as never);
      const browser = new Browser(server.url, id);
      reads = 0;
      const socket = await begin(id, ['Content-Type: application/json', ...headers]);
      socket.write(wrap(`{"text":"${HALF}`));
      if (way.readsAhead) {
        await until(() => reads > 0);
      }
      for (let count = 1; count <= 5; count++) {
        // Each would be a 503 after a second, behind a lock.
        expect(await browser.value(session => session.set('count', count).locked)).toBe(true);
      }
      socket.write(wrap(`${HALF}"}`));
      socket.write(end);
      const answer = await readAll(socket);
      expect(answer).toMatch(/^HTTP\/1.1 201/);
      expect(JSON.parse(/\{.*\}/.exec(answer)![0])).toEqual({
        locked: true,
        count: 5,
        tag: way.tags ? 'middleware' : null,
      });
      expect((await server.store.get(id))!.data).toEqual({
        count: 5,
        uploaded: 2 * HALF.length,
        ...(way.tags && { tag: 'middleware' }),
      });
      browser.close();
    },
  );

  it('a client that goes away in the middle leaves no lock', async () => {
    const id = await server.store.create({ count: 0 } as never);
    const browser = new Browser(server.url, id);
    const socket = await begin(id, ['Content-Type: application/json', 'Content-Length: 1000']);
    socket.write('{"text":"');
    socket.destroy();
    expect(await browser.value(session => session.set('count', 1).locked)).toBe(true);
    browser.close();
  });

  it('a request without a body is locked as ever', async () => {
    const browser = new Browser(server.url, await server.store.create({ count: 0 } as never));
    expect((await browser.get('/upload')).json()).toEqual({ locked: true });
    browser.close();
  });
});
