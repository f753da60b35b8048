import {
  Catch,
  Controller,
  Get,
  Req,
  Res,
  ServiceUnavailableException,
  UseFilters,
  type ArgumentsHost,
  type ExceptionFilter,
} from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Session,
  SessionHttpException,
  SessionLocking,
  SessionStore,
  type SessionBackend,
} from 'nest-sessions';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { RecordingLogger } from '../support/recording-logger.js';
import { ScriptController, Browser } from '../support/scripts.js';
import { openBackend } from '../support/storages.js';
import { sessionCookie } from '../support/set-cookies.js';
import { until } from '../support/until.js';

type Work = (tools: { session: Session; store: SessionStore; req: any; id: string }) => unknown;
let work: Work;
let id: string;

/** Answers as an application's own filter does: with a body of its own. */
@Catch(SessionHttpException)
class OwnFilter implements ExceptionFilter {
  catch(error: SessionHttpException, host: ArgumentsHost) {
    const res = host.switchToHttp().getResponse();
    res.status(error.getStatus()).send({ own: error.name });
  }
}

@Controller()
class WorkController {
  constructor(private readonly store: SessionStore) {}

  @Get('session')
  async withSession(@Session() session: Session, @Req() req: any) {
    await work({ session, store: this.store, req, id });
    return {};
  }

  @SessionLocking('explicit')
  @Get('explicit')
  async explicit(@Session() session: Session, @Req() req: any) {
    await work({ session, store: this.store, req, id });
    return {};
  }

  @Get('none')
  async without(@Req() req: any) {
    await work({ session: undefined as never, store: this.store, req, id });
    return {};
  }

  @UseFilters(OwnFilter)
  @Get('filter')
  async withFilter(@Session() session: Session, @Req() req: any) {
    await work({ session, store: this.store, req, id });
    return {};
  }

  @Get('raw')
  async raw(@Session() session: Session, @Req() req: any, @Res() res: any) {
    const raw = res.raw ?? res;
    try {
      await work({ session, store: this.store, req, id });
      raw.end();
    } catch (error) {
      raw.statusCode = (error as SessionHttpException).getStatus();
      raw.end('own');
    }
  }
}

const ON_SESSION: [string, Work][] = [
  ['save', ({ session }) => session.set('b', 1).save()],
  ['regenerate', ({ session }) => session.regenerate()],
  ['destroy', ({ session }) => session.destroy()],
  ['touch', ({ session }) => session.touch()],
  ['reload', ({ session }) => session.reload()],
  ['req.session.save', ({ req }) => ((req.session.b = 1), req.session.save())],
  ['req.session.save(callback)', ({ req }) => called(done => req.session.save(done))],
  ['req.session.regenerate', ({ req }) => req.session.regenerate()],
  ['req.session.destroy', ({ req }) => req.session.destroy()],
];
const ON_STORE: [string, Work][] = [
  ['get', ({ store }) => store.get(id)],
  ['exists', ({ store }) => store.exists(id)],
  ['create', ({ store }) => store.create({ a: 1 })],
  ['update', ({ store }) => store.update(id, session => void session.set('b', 1))],
  ['destroy', ({ store }) => store.destroy(id)],
  ['cleanUp', ({ store }) => store.cleanUp()],
  ['fromRequest', ({ store, req }) => store.fromRequest(req)],
  ['current', ({ store }) => store.current()],
  ['current, read-only', ({ store }) => store.current({ readOnly: true })],
];
const OF_OWNERS: [string, Work][] = [
  ['count', ({ store }) => store.count()],
  ['findByOwner', ({ store }) => store.findByOwner('ann')],
  ['destroyByOwner', ({ store }) => store.destroyByOwner('ann')],
];

function called(start: (callback: (error?: unknown) => void) => unknown): Promise<void> {
  return new Promise((resolve, reject) => start(error => (error ? reject(error as Error) : resolve())));
}

describe.each(SETUPS)(
  '503s of calls that a handler makes itself: $storage, $adapter',
  ({ storage, adapter }) => {
    let inner: SessionBackend;
    let server: TestApp;
    let isAway = false;

    beforeAll(async () => {
      inner = await openBackend(storage);
      const backend = new Proxy(inner, {
        get: (target, name) => {
          const member: any = Reflect.get(target, name);
          return typeof member === 'function'
            ? (...args: unknown[]) =>
                isAway && name !== 'close'
                  ? Promise.reject(new Error('connect ECONNREFUSED'))
                  : member.apply(target, args)
            : member;
        },
      });
      server = await startApp({
        adapter,
        controllers: [WorkController, ScriptController],
        sessions: { storageType: backend, cleanFreq: 0, leaseTime: 2 },
        prepare: app => app.useLogger(new RecordingLogger()),
      });
    });
    afterAll(async () => {
      isAway = false;
      await server.close();
      await inner.close();
    });

    /** The storage goes away while the handler runs. */
    const send = async (path: string, task: Work) => {
      id = await server.store.create({ a: 1 }, inner.findByOwner ? { owner: 'ann' } : {});
      work = async tools => {
        isAway = true;
        await task(tools);
      };
      try {
        return await sendRaw(`${server.url}/${path}`, { headers: { cookie: `session_id=${id}` } });
      } finally {
        isAway = false;
      }
    };
    const expectUnavailable = (answer: Awaited<ReturnType<typeof sendRaw>>, what: string) => {
      expect([answer.status, answer.headers['retry-after']], what).toEqual([503, '1']);
      // At most it lives longer; its id stays.
      expect(sessionCookie(answer)?.value ?? id, what).toBe(id);
    };

    it.each([
      ['session', ON_SESSION],
      ['explicit', ON_SESSION],
      ['none', [...ON_STORE]],
      ['session', ON_STORE.filter(([name]) => !name.startsWith('current'))],
    ] as const)('have Retry-After, and leave the cookie: route %s', async (route, calls) => {
      const all = inner.findByOwner && calls.length < 9 ? [...calls, ...OF_OWNERS] : calls;
      for (const [name, task] of all) {
        const answer = await send(route, task);
        expectUnavailable(answer, name);
        expect(answer.json(), name).toEqual({
          statusCode: 503,
          message: 'The session storage is not available',
        });
        expect((await server.store.get(id))?.data, name).toEqual({ a: 1 });
      }
    });

    it.each(ON_SESSION.filter(([name]) => !name.includes('callback')))(
      'have it where nobody awaited the call: %s',
      async (_name, task) => {
        expectUnavailable(
          await send('session', tools => {
            void task(tools);
          }),
          'not awaited',
        );
      },
    );

    it('have it with a filter of the application, and where the handler answers by itself', async () => {
      for (const [name, task] of ON_SESSION) {
        expectUnavailable(await send('filter', task), `filter, ${name}`);
        expectUnavailable(await send('raw', task), `raw, ${name}`);
      }
    });

    it('a 503 of the application itself stays as it is', async () => {
      for (const route of ['session', 'none']) {
        const answer = await send(route, () => {
          throw new ServiceUnavailableException('mine');
        });
        expect([answer.status, answer.headers['retry-after']]).toEqual([503, undefined]);
      }
    });

    it('the next request finds the session, its lock free', async () => {
      await send('session', ({ session }) => session.set('b', 1).save());
      const browser = new Browser(server.url, id);
      expect(await browser.value(session => session.toJSON())).toMatchObject({ a: 1 });
    });

    it('a late call says that it is late, whoever else is at work', async () => {
      const names: string[] = [];
      const note = (promise: Promise<unknown>) =>
        promise.then(
          () => names.push('done'),
          (error: Error) => names.push(`${error.name}: ${error.message}`),
        );
      id = await server.store.create({ a: 1 });
      let session!: Session;
      work = tools => void (session = tools.session);
      for (const path of ['session', 'explicit', 'raw']) {
        await sendRaw(`${server.url}/${path}`, { headers: { cookie: `session_id=${id}` } });
        // Another request of the session has come and gone since.
        await new Browser(server.url, id).value(other => other.set('b', 1).save());
        for (const name of [
          'save',
          'load',
          'reload',
          'touch',
          'regenerate',
          'destroy',
          'acquireLock',
          'releaseLock',
        ] as const) {
          void note(session[name]());
        }
      }
      await until(() => names.length === 24);
      expect(new Set(names.map(name => name.split(': await')[0]))).toEqual(
        new Set(['SessionAnsweredException: The session was used after the answer had been sent']),
      );
      expect((await server.store.get(id))!.data).toEqual({ a: 1, b: 1 });
    });
  },
);
