import { Module, type MiddlewareConsumer } from '@nestjs/common';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cookie } from 'tough-cookie';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, type SessionBackend, type SessionRecord } from 'nest-sessions';
import { sessionKey } from '../../../lib/session/session-id.js';
import { SETUPS, type AdapterName, type Setup } from '../../support/app.js';
import { Client, type Answer } from '../../support/client.js';
import { inLong } from '../../support/long.js';
import { useServer } from '../../support/scripts.js';
import { orAnother } from '../../support/storage-names.js';
import {
  CHANGED,
  CommonController,
  hangUps,
  InjectedController,
  InsideFailingInterceptorController,
  MarkingMiddleware,
} from './common.controller.js';
import { ExpressController } from './express.controller.js';
import { FastifyController } from './fastify.controller.js';

interface Case {
  path: string;
  method?: string;
  status: number;
  body?: string;
  /** What the session holds afterwards; default: the change. */
  mark?: string;
  headers?: Record<string, string>;
  ownCookies?: string[];
}

const PIPED = 'x'.repeat(400_000);

/** Both adapters. In `npm test`, with a storage that answers at once and one that takes its time. */
const ANSWERING = inLong<Setup[]>(SETUPS, [
  { storage: 'ram', adapter: 'express' },
  { storage: orAnother('postgresql'), adapter: 'fastify' },
]);

const CASES: Case[] = [
  { path: '/value', status: 200, body: '{"ok":true}' },
  { path: '/value', method: 'HEAD', status: 200, body: '' },
  { path: '/nothing', status: 200, body: '' },
  { path: '/promise', status: 200, body: '{"ok":true}' },
  { path: '/observable', status: 200, body: '{"n":3}' },
  { path: '/streamable', status: 200, body: 'onetwo' },
  { path: '/iterable', status: 200, body: 'onetwo' },
  { path: '/late', status: 200, body: 'onetwo' },
  { path: '/late-reference', status: 200, body: 'onetwo' },
  { path: '/web-response', status: 200, body: 'hello', headers: { 'x-own': '1' } },
  { path: '/sse', status: 200, body: '\nid: 1\ndata: one\n\nid: 2\ndata: two\n\n' },
  { path: '/redirect', status: 302, headers: { location: '/value' } },
  { path: '/no-content', status: 204, body: '' },
  { path: '/not-modified', status: 304, body: '' },
  { path: '/own-headers', status: 200, headers: { vary: 'Accept, Cookie', 'cache-control': 'no-store' } },
  { path: '/bad-request', status: 400 },
  { path: '/unavailable', status: 503, mark: 'before' },
  { path: '/unexpected', status: 500, mark: 'before' },
  { path: '/saved-then-unexpected', status: 500 },
  { path: '/guard/passes', status: 200, body: '{"ok":true}' },
  { path: '/guard/rejects', status: 403 },
  { path: '/guard/throws', status: 503, mark: 'before' },
  { path: '/pipe/passes', status: 400 },
  { path: '/interceptor/before/passes', status: 400 },
  { path: '/interceptor/after/400', status: 400 },
  { path: '/interceptor/after/500', status: 500, mark: 'before' },
  { path: '/inside/after/500', status: 500, mark: 'before' },
  { path: '/filter/418', status: 418, body: '{"handled":true}' },
  { path: '/filter/200', status: 200, body: '{"handled":true}' },
  { path: '/filter/502', status: 502, mark: 'before' },
  { path: '/value?middleware=throws', status: 400 },
  { path: '/unknown?middleware', status: 404 },
  { path: '/injected/value', status: 200, body: '{"ok":true}' },
  { path: '/injected/intercepted', status: 200, body: '{"ok":true}' },
  { path: '/res/passthrough', status: 202, body: '{"ok":true}' },
  { path: '/res/passthrough-500', status: 500, mark: 'before' },
  { path: '/res/send', status: 200, body: 'sent' },
  { path: '/res/send-500', status: 500, body: 'sent', mark: 'before' },
  { path: '/res/json', status: 200, body: '{"ok":true}' },
  { path: '/res/end', status: 200, body: 'ended' },
  { path: '/res/pipe', status: 200, body: PIPED },
  { path: '/res/redirect', status: 302, headers: { location: '/value' } },
  {
    path: '/res/by-hand',
    status: 201,
    body: 'onetwothree',
    headers: { 'x-own': '1' },
    ownCookies: ['own', 'other'],
  },
  {
    path: '/res/by-hand-pairs',
    status: 201,
    body: 'onetwothree',
    headers: { 'x-own': '1' },
    ownCookies: ['own', 'other'],
  },
  { path: '/res/flush', status: 200, body: 'flushed' },
  { path: '/res/later', status: 200, body: 'later' },
];

/** Lets a storage take its time to store: an answer that does not wait for it is found out. And fail, if told to. */
function slowDown(backend: SessionBackend): { isBroken: boolean } {
  const trouble = { isBroken: false };
  const { create, save } = backend;
  const work = async () => {
    await sleep(10);
    if (trouble.isBroken) {
      throw new Error('the disk is full');
    }
  };
  backend.create = async (...args) => {
    await work();
    return create.apply(backend, args);
  };
  backend.save = async (...args) => {
    await work();
    return save.apply(backend, args);
  };
  return trouble;
}

@Module({})
class MiddlewareModule {
  configure(consumer: MiddlewareConsumer) {
    consumer.apply(MarkingMiddleware).forRoutes('{*path}');
  }
}

describe.each(ANSWERING)('every way to answer: $storage, $adapter', setup => {
  const { adapter } = setup;
  let backend: SessionBackend;
  let trouble: { isBroken: boolean };

  const server = useServer({
    ...setup,
    imports: [MiddlewareModule],
    controllers: [
      CommonController,
      InsideFailingInterceptorController,
      InjectedController,
      adapter === 'express' ? ExpressController : FastifyController,
    ],
    prepare: app => {
      app.use((_req: unknown, res: any, next: () => void) => {
        res.setHeader('Set-Cookie', 'app=1; Path=/');
        next();
      });
    },
  });
  beforeAll(() => {
    backend = server.app.get(SESSION_BACKEND);
    trouble = slowDown(backend);
  });
  afterEach(() => {
    trouble.isBroken = false;
  });

  for (const test of CASES) {
    const title = `${test.method ?? 'GET'} ${test.path}`;

    it(`invariant 3, success means saved: ${title} of a stored session`, async () => {
      const client = new Client(server.url);
      await client.get('/begin');
      const id = (await client.cookie())!;

      const answer = await client.get(test.path, { method: test.method ?? 'GET' });

      // First of all, before anything else gets a turn: is it stored?
      const record = await backend.read(sessionKey(id));
      expect(record && JSON.parse(record.data)).toEqual({ mark: test.mark ?? CHANGED });
      expectAnswer(answer, test, adapter);
      // A 304 does not renew the cookie: caches would keep it with the answer that they have.
      expect(sessionCookies(answer).map(cookie => cookie.value)).toEqual(test.status === 304 ? [] : [id]);
      await expectFree(backend, id);
      client.close();
    });

    it(`invariant 3, success means saved: ${title} of a new session`, async () => {
      const client = new Client(server.url);
      const before = await server.stored();

      const answer = await client.get(test.path, { method: test.method ?? 'GET' });

      // A session that begins after the headers have gone has no way to its client.
      const isSent = test.mark === undefined && !test.path.startsWith('/late');
      expect(await server.stored()).toBe(before + (isSent ? 1 : 0));
      expectAnswer(answer, test, adapter);
      const [cookie, ...more] = sessionCookies(answer);
      expect(more).toEqual([]);
      if (isSent) {
        const record = await backend.read(sessionKey(cookie!.value));
        expect(record && JSON.parse(record.data)).toEqual({ mark: CHANGED });
        await expectFree(backend, cookie!.value);
      } else {
        expect(cookie).toBeUndefined();
      }
      client.close();
    });

    if (test.status < 500 && !test.path.startsWith('/late')) {
      it(`invariants 3 and 4, trouble is no success: ${title} when the storage fails`, async () => {
        const client = new Client(server.url);
        await client.get('/begin');
        const id = (await client.cookie())!;

        trouble.isBroken = true;
        const answer = await client.get(test.path, { method: test.method ?? 'GET' });
        trouble.isBroken = false;

        expect(answer.status).toBe(503);
        expect(answer.headers['retry-after']).toBe('1');
        expect(answer.headers.location).toBeUndefined();
        expect(test.method === 'HEAD' ? { statusCode: 503 } : answer.json()).toMatchObject({
          statusCode: 503,
        });
        expect(sessionCookies(answer)).toEqual([]);
        const record = await backend.read(sessionKey(id));
        expect(JSON.parse(record!.data)).toEqual({ mark: 'before' });
        await expectFree(backend, id);
        client.close();
      });
    }
  }

  it('invariant 3: a change at the end of a stream that cannot be stored cuts the stream off', async () => {
    const client = new Client(server.url);
    await client.get('/begin');
    trouble.isBroken = true;
    await expect(client.get('/late')).rejects.toThrow('aborted');
    trouble.isBroken = false;
    client.close();
  });

  it('no lock is held while streaming: the session can be used before the stream ends', async () => {
    const client = new Client(server.url);
    await client.get('/begin');
    const id = (await client.cookie())!;
    const headers = { cookie: `session_id=${id}` };
    const req = request(`${server.url}/endless`, { headers }).end();
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    await once(res, 'data');

    expect((await client.get('/value')).status).toBe(200);
    res.destroy();
    client.close();
  });

  it('a client that hangs up: the change is stored, the lock is free', async () => {
    const paths = ['/slow', '/slow-observable', '/injected/slow', '/res/slow'];
    for (const path of paths) {
      const client = new Client(server.url);
      await client.get('/begin');
      const id = (await client.cookie())!;
      const started = hangUps.once(path);

      const abort = new AbortController();
      const answer = client.get(path, { signal: abort.signal });
      await started;
      abort.abort();
      await expect(answer).rejects.toThrow();
      hangUps.gone(path);

      // What an Observable emits after its client has gone is nobody's business any more.
      const mark = path === '/slow-observable' ? 'before' : CHANGED;
      const lease = { token: 'probe', ms: 1000 };
      await expect
        .poll(async () => (await backend.lock(sessionKey(id), lease)) as SessionRecord, {
          interval: 5,
          timeout: 5000,
        })
        .not.toBe('busy');
      expect(JSON.parse((await backend.read(sessionKey(id)))!.data), path).toEqual({ mark });
      client.close();
    }
  });
});

function expectAnswer(answer: Answer, test: Case, adapter: AdapterName): void {
  expect(answer.status).toBe(test.status);
  if (test.body !== undefined) {
    expect(answer.body).toBe(test.body);
  }
  expect(answer.headers).toMatchObject(test.headers ?? {});
  const names = answer.setCookies.map(text => Cookie.parse(text)!.key).filter(name => name !== 'session_id');
  expect(names, `the application's own cookies on ${adapter}`).toEqual(test.ownCookies ?? ['app']);
}

const sessionCookies = (answer: Answer): Cookie[] =>
  answer.setCookies.map(text => Cookie.parse(text)!).filter(cookie => cookie.key === 'session_id');

/** The lock of an unchanged session is given back behind the response's back: soon. */
async function expectFree(backend: SessionBackend, id: string): Promise<void> {
  const lease = { token: 'probe', ms: 1000 };
  await expect.poll(() => backend.lock(sessionKey(id), lease), { interval: 1 }).not.toBe('busy');
  await backend.unlock(sessionKey(id), lease);
}
