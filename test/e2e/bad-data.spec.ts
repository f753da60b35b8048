import { Catch, Controller, Get, Query, Res, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  Session,
  SessionException,
  SessionSerializationException,
  SessionSizeException,
  type SessionLockingMode,
} from 'nest-sessions';
import { ADAPTERS, SETUPS, startApp, type TestApp } from '../support/app.js';
import { Client, sendRaw } from '../support/client.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { STORAGES } from '../support/storages.js';

const MAX_SIZE = 10_000;

class Price {
  constructor(readonly cents: number) {}
}

const circle: Record<string, unknown> = { list: [] };
circle.list = [1, { back: circle }];

function nest(levels: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = 1;
  for (let i = 0; i < levels; i++) {
    value = wrap(value);
  }
  return value;
}

const BAD_VALUES: Record<string, { value: unknown; path: string }> = {
  function: { value: () => 1, path: 'data.bad' },
  symbol: { value: Symbol('s'), path: 'data.bad' },
  'symbol key': { value: { [Symbol('s')]: 1 }, path: 'data.bad' },
  'class instance': { value: new Price(1), path: 'data.bad' },
  'nested class instance': {
    value: { items: [1, { price: new Price(1) }] },
    path: 'data.bad.items[1].price',
  },
  'function in a Map': { value: new Map([['a key', () => 1]]), path: 'data.bad[0][1]' },
  'symbol in a Set': { value: new Set([1, Symbol('s')]), path: 'data.bad[1]' },
  'odd key': { value: { 'a-b': Symbol('s') }, path: 'data.bad["a-b"]' },
  promise: { value: Promise.resolve(1), path: 'data.bad' },
  'weak map': { value: new WeakMap(), path: 'data.bad' },
  error: { value: new Error('e'), path: 'data.bad' },
  'regular expression': { value: /x/, path: 'data.bad' },
  circle: { value: circle, path: 'data.bad.list[1].back' },
  'deep objects': { value: nest(600, inner => ({ inner })), path: 'data.bad' },
  'deep arrays': { value: nest(100_000, inner => [inner]), path: 'data.bad' },
  'deep Maps': { value: nest(600, inner => new Map([[1, inner]])), path: 'data.bad' },
  size: { value: 'x'.repeat(MAX_SIZE), path: 'data' },
};
const NAMES = Object.keys(BAD_VALUES);

/** Everywhere a bad value can be noticed. */
@Controller()
class DataController {
  @Get('write')
  write(@Session() session: Session) {
    session.set('kept', session.get('kept', 0) + 1);
    return session.data;
  }

  @Get('return')
  bad(@Session() session: Session, @Query('what') what: string) {
    session.set('kept', 'lost');
    session.set('bad', BAD_VALUES[what]!.value);
    return { secret: 'answer' };
  }

  @Get('res')
  res(@Session() session: Session, @Query('what') what: string, @Res() res: any) {
    session.data.bad = BAD_VALUES[what]!.value;
    res.header('X-App', 'kept').header('Content-Type', 'text/plain').send('secret answer');
  }

  @Get('save')
  async save(@Session() session: Session, @Query('what') what: string) {
    session.set('bad', BAD_VALUES[what]!.value);
    await session.save();
    return { secret: 'answer' };
  }
}

/** Answers that Node.js refuses, made while the session is being stored. */
@Controller()
class RefusedController {
  @Get('refused')
  refused(@Session() session: Session, @Query('what') what: string, @Res() res: any) {
    session.set('kept', 1);
    const raw: ServerResponse = res.raw ?? res;
    if (what === 'header') {
      raw.writeHead(200, { 'X-Bad': 'a\nb' }).end('x');
    } else if (what === 'status') {
      raw.writeHead(5).end('x');
    } else {
      raw.write('begun');
      raw.writeHead(201).end();
    }
  }
}

/** What an application's own filter gets to see. */
@Catch(SessionException)
class SeenFilter extends BaseExceptionFilter implements ExceptionFilter {
  static readonly seen: SessionException[] = [];

  override catch(exception: SessionException, host: ArgumentsHost): void {
    SeenFilter.seen.push(exception);
    // oxlint-disable-next-line promise/valid-params -- a filter's method, no promise's
    super.catch(exception, host);
  }
}

for (const setup of SETUPS) {
  describe.each<SessionLockingMode>(['implicit', 'explicit'])(
    `invariant 10, bad data: ${setup.storage}, ${setup.adapter}, %s`,
    locking => {
      const logger = new RecordingLogger();
      let started: TestApp;
      let client: Client;
      let id: string;

      beforeAll(async () => {
        started = await startApp({
          ...setup,
          // Whoever leaves the lock behind makes the next request fail soon.
          sessions: { maxSize: MAX_SIZE, locking, lockTimeout: 2 },
          controllers: [DataController],
          prepare: app => {
            app.useLogger(logger);
            app.useGlobalFilters(new SeenFilter(app.getHttpAdapter()));
          },
        });
      });
      beforeEach(async () => {
        client = new Client(started.url);
        await client.get('/write');
        id = (await client.cookie())!;
        SeenFilter.seen.length = 0;
        logger.forget();
      });
      afterAll(() => started.close());

      const check = (exception: unknown, name: string) => {
        expect(exception).toBeInstanceOf(SessionSerializationException);
        expect(exception).toMatchObject({ path: BAD_VALUES[name]!.path });
        if (name === 'size') {
          expect(exception).toBeInstanceOf(SessionSizeException);
          expect(exception).toMatchObject({
            size: MAX_SIZE + '{"kept":"lost","bad":""}'.length,
            maxSize: MAX_SIZE,
          });
        }
      };
      const checkLog = (name: string) => {
        const log = logger.aboveDebug.join('\n');
        expect(logger.aboveDebug).toHaveLength(1);
        expect(log).toContain(`Cannot store the session: ${BAD_VALUES[name]!.path} `);
        if (name === 'size') {
          expect(log).toMatch(/takes 100\d\d bytes, more than the 10000 /);
        }
        expect(log).not.toContain(id);
      };
      const checkUnharmed = async () => {
        const snapshot = await started.store.get(id);
        expect(snapshot?.data).toEqual({ kept: 1 });
        const next = await client.get('/write');
        expect(next.status).toBe(200);
        expect(next.json()).toEqual({ kept: 2 });
      };
      const PLAIN_500 = { statusCode: 500, message: 'Internal server error' };

      it.each(NAMES)('%s: the filter gets the exception, the client a plain 500', async name => {
        const answer = await client.get(`/return?what=${name}`);
        expect(answer.status).toBe(500);
        expect(answer.json()).toEqual(PLAIN_500);
        expect(answer.setCookies).toEqual([]);
        expect(SeenFilter.seen).toHaveLength(1);
        check(SeenFilter.seen[0], name);
        checkLog(name);
        await checkUnharmed();
      });

      it.each(NAMES)('%s with @Res(): the log has the exception, the client a plain 500', async name => {
        const answer = await client.get(`/res?what=${name}`);
        expect(answer.status).toBe(500);
        expect(answer.json()).toEqual(PLAIN_500);
        expect(answer.headers['content-type']).toMatch('application/json');
        expect(answer.headers['x-app']).toBe('kept');
        expect(answer.setCookies).toEqual([]);
        expect(SeenFilter.seen).toEqual([]);
        checkLog(name);
        await checkUnharmed();
      });

      it.each(NAMES)('%s: save() throws', async name => {
        const answer = await client.get(`/save?what=${name}`);
        expect(answer.status).toBe(500);
        expect(answer.json()).toEqual(PLAIN_500);
        expect(SeenFilter.seen).toHaveLength(1);
        expect(SeenFilter.seen[0]).toMatchObject({ path: BAD_VALUES[name]!.path });
        await checkUnharmed();
      });

      it.each(['return', 'res', 'save'])('nothing is stored of a new session: %s', async path => {
        const before = await started.stored();
        for (const name of NAMES) {
          const answer = await sendRaw(`${started.url}/${path}?what=${name}`);
          expect(answer.status).toBe(500);
          expect(answer.setCookies).toEqual([]);
        }
        expect(await started.stored()).toBe(before);
      });
    },
  );
}

describe.each(ADAPTERS)('an answer that cannot be sent: %s', adapter => {
  it.each(['header', 'status', 'begun'])('fails its request, not the process: %s', async what => {
    const started = await startApp({ adapter, controllers: [RefusedController] });
    const answer = sendRaw(`${started.url}/refused?what=${what}`);
    if (what === 'begun') {
      // The second call fails where it is made, as without a session, and the first answer is whole.
      expect(await answer).toMatchObject({ status: 200, body: 'begun' });
    } else {
      expect((await answer).status).toBe(500);
    }
    await started.close();
  });
});

describe('maxSize', () => {
  it.each(STORAGES)('counts bytes: what just fits is stored, one more is not: %s', async storage => {
    const { store, close } = await startApp({ storage, sessions: { maxSize: 100 } });
    const room = 100 - '{"text":""}'.length;
    for (const [text, tooMuch] of [
      ['x'.repeat(room), 'x'.repeat(room + 1)],
      ['\u20ac'.repeat(29) + 'xx', '\u20ac'.repeat(30)],
    ] as const) {
      const id = await store.create({ text });
      expect((await store.get(id))?.data).toEqual({ text });
      const failed = store.update(id, session => session.set('text', tooMuch));
      await expect(failed).rejects.toBeInstanceOf(SessionSizeException);
      expect((await store.get(id))?.data).toEqual({ text });
    }
    await close();
  });
});
