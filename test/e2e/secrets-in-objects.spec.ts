import { Controller, Get, Injectable, Req, Res, Scope } from '@nestjs/common';
import { format, inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Session, SESSION_BACKEND, SessionStore, type SessionBackend } from 'nest-sessions';
import { SETUPS, startApp, type TestApp } from '../support/app.js';
import type { StorageUnderTest } from '../support/storages.js';
import { sendRaw } from '../support/client.js';
import { Gate } from '../support/scripts.js';

const SECRET = 'hush-hush-the-secret-of-the-cookies';
const DATA = 'top-secret-data';

let work: (tools: { session: Session; req: any; res: any; store: SessionStore; scoped: Scoped }) => unknown;

@Injectable({ scope: Scope.REQUEST })
class Scoped {
  constructor(readonly session: Session) {}
}

@Controller()
class WorkController {
  constructor(
    private readonly store: SessionStore,
    private readonly scoped: Scoped,
  ) {}

  @Get('work')
  async work(@Session() session: Session, @Req() req: any, @Res({ passthrough: true }) res: any) {
    return { shown: await work({ session, req, res, store: this.store, scoped: this.scoped }) };
  }
}

/** As thorough loggers and error reporters look at things. */
const show = (value: unknown): string =>
  [
    inspect(value, { depth: 8, showHidden: true, maxArrayLength: null, maxStringLength: null }),
    inspect(value, { depth: 8, maxArrayLength: null }),
    format('%o %O %s %j', value, value, value, safely(value)),
  ].join('\n');

/** What JSON has of it, without circles: of sessions, their data, which is asked for by name. */
function safely(value: any): unknown {
  return value instanceof Error ? { ...value } : undefined;
}

describe.each(SETUPS)('secrets in objects: $storage, $adapter', ({ storage, adapter }) => {
  let server: TestApp;
  const others: string[] = [];
  let waiting: Promise<unknown>[];
  const leave = new Gate();
  let own: string;
  let sessions: StorageUnderTest;

  beforeAll(async () => {
    server = await startApp({
      storage,
      adapter,
      controllers: [WorkController],
      providers: [Scoped],
      sessions: { secret: SECRET, leaseTime: 20 },
    });
    sessions = server.sessions;
    // Others are at work, and wait in line, while the request is looked at.
    for (let user = 0; user < 3; user++) {
      others.push(
        await server.store.create({ secret: DATA }, storage === 'memcached' ? {} : { owner: 'owner-7' }),
      );
    }
    const entered = new Gate();
    let count = 0;
    waiting = others.map(id =>
      server.store.update(id, async () => {
        if (++count === others.length) {
          entered.open();
        }
        await leave.opened;
      }),
    );
    waiting.push(server.store.update(others[0]!, () => 0));
    await entered.opened;
    work = ({ session }) => {
      session.set('secret', DATA);
      return session.id;
    };
    const answer = await sendRaw(`${server.url}/work`);
    own = answer.setCookies[0]!.split(';')[0]!;
    others.push(answer.json().shown);
  });
  afterAll(async () => {
    leave.open();
    await Promise.all(waiting);
    await server.close();
  });

  const expectNoSecrets = (text: string, what: string) => {
    const url = sessions.url === undefined ? [] : [sessions.url];
    for (const secret of [...others, DATA, SECRET, ...url]) {
      const at = text.indexOf(secret);
      expect(at < 0 ? '' : text.slice(Math.max(0, at - 300), at + 60), what).toBe('');
    }
  };
  /** What the request's own headers hold is the client's, and none of this package's. */
  const withoutHeaders = (req: any) => {
    for (const raw of [req, req.raw].filter(Boolean)) {
      if (raw.rawHeaders) {
        raw.rawHeaders.length = 0;
        delete raw.headers.cookie;
      }
    }
  };

  it.each<[string, (tools: Parameters<typeof work>[0]) => unknown]>([
    ['the request', ({ req }) => req],
    ['the raw request', ({ req }) => req.raw ?? req],
    ['the response', ({ res }) => res],
    ['the raw response', ({ res }) => res.raw ?? res],
    ['SessionStore', ({ store }) => store],
    ['a provider with the session', ({ scoped }) => ({ scoped, of: Object.keys(scoped) })],
    ['the session', ({ session }) => session],
    ['the application', () => server.app.getHttpAdapter()],
    ['the storage', () => server.app.get(SESSION_BACKEND)],
  ])('%s, printed, shows none, of anyone', async (_title, pick) => {
    let text = '';
    work = async tools => {
      tools.session.set('more', DATA);
      await tools.session.save();
      const { session, req } = tools;
      withoutHeaders(req);
      text = show(pick(tools));
      return session.size;
    };
    const answer = await sendRaw(`${server.url}/work`, { headers: { cookie: own } });
    expect(answer.status).toBe(200);
    expect(text.length).toBeGreaterThan(2);
    expectNoSecrets(text, _title);
  });

  it('errors of the package show none', async () => {
    const errors: unknown[] = [];
    const note = (promise: Promise<unknown>) => promise.catch((error: unknown) => errors.push(error));
    const backend: SessionBackend = server.app.get(SESSION_BACKEND);
    work = async ({ session, store }) => {
      session.set('secret', { toJSON: () => DATA, [DATA.slice(0, 2)]: () => DATA });
      await note(session.save());
      session.set('secret', DATA);
      await note((async () => session.pop('nothing'))());
      await note((async () => ((session as any).visits = DATA))());
      await note(store.update(session.id, async own => void (await own.destroy(), own.reload())));
      await note(store.current().then(async current => void (await current.acquireLock({ timeout: -1 }))));
      await note(store.destroyByOwner('x', { only: 5 as never }));
      // The storage's own failure, with whatever its driver puts into it.
      await note(
        backend.create(session.id.slice(0, 43), {
          data: DATA,
          ttl: NaN,
          owner: {} as never,
          timeout: undefined,
          createdAt: NaN,
        }),
      );
      session.set('secret', `${DATA}\0`);
      (session as any).owner = `${session.id}\0`;
      await note(session.save());
    };
    await sendRaw(`${server.url}/work`, { headers: { cookie: own } });
    expect(errors.length).toBeGreaterThanOrEqual(4);
    for (const error of errors) {
      expectNoSecrets(show(error), String(error));
      expectNoSecrets(String((error as Error).stack), 'stack');
    }
  });
});
