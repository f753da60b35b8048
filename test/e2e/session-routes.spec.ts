import { RequestMethod } from '@nestjs/common';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SessionModuleOptions, SessionStore } from 'nest-sessions';
import { ALL_SETUPS, startApp } from '../support/app.js';
import { Browser, Gate, lockCount, ScriptController, useServer } from '../support/scripts.js';
import { AuditService, CONTROLLERS, lockedInGuard } from './session-routes.controllers.js';

describe.each(ALL_SETUPS)('Session on routes: $storage, $adapter', setup => {
  const application = {
    ...setup,
    controllers: [ScriptController, ...CONTROLLERS],
    providers: [AuditService],
  };
  const start = (sessions: SessionModuleOptions) => startApp({ ...application, sessions });
  const server = useServer(application);
  let store: SessionStore;
  beforeAll(() => {
    ({ store } = server);
  });
  beforeEach(() => {
    lockedInGuard.length = 0;
  });

  /** A client with a stored session. */
  const visitor = async (data = {}, at = server) =>
    new Browser(at.url, await at.store.create({ visits: 3, ...data }));

  it('@Session(key), with and without a pipe', async () => {
    const browser = await visitor({ visits: '12' });
    expect((await browser.get('/value')).json()).toEqual({ visits: '12', parsed: 12 });
    const other = await visitor({ visits: 'many' });
    expect((await other.get('/value')).status).toBe(400);
  });

  it('guard, parameters and store.current() of one request have the same object', async () => {
    const browser = await visitor();
    expect((await browser.get('/same')).json()).toEqual({ same: true });
    expect(await browser.value(async session => (await store.current()) === session && session.locked)).toBe(
      true,
    );
  });

  it('injected into a request-scoped provider and a controller: the same object, whose changes are stored', async () => {
    const browser = await visitor();
    expect((await browser.get('/audit')).json()).toEqual({ same: true });
    expect(await browser.value(session => session.get('audited'), 'read')).toBe(true);
  });

  it('store.current() alone, without @Session(): changes are stored', async () => {
    const browser = await visitor();
    await browser.value(async () => void (await store.current()).set('a', 1), 'none');
    expect(await browser.value(session => session.get('a'), 'read')).toBe(1);
  });

  it('readOnly: frozen at any depth, and every write throws', async () => {
    const browser = await visitor({ list: [{ a: 1 }] });
    const writes: ((session: any) => unknown)[] = [
      session => session.set('a', 1),
      session => session.delete('a'),
      session => session.pop('visits'),
      session => session.setDefault('a', 1),
      session => session.update({ a: 1 }),
      session => session.clear(),
      session => (session.owner = 'a'),
      session => (session.timeout = 1),
      session => session.save(),
      session => session.reload(),
      session => session.regenerate(),
      session => session.destroy(),
      session => session.expire(),
      session => session.acquireLock(),
      session => (session.data.a = 1),
      session => session.get('list').push(1),
      session => (session.data.list[0].a = 2),
    ];
    const missed = await browser.value(async session => {
      const passed: string[] = [];
      for (const write of writes) {
        await Promise.resolve()
          .then(() => write(session))
          .then(
            () => passed.push(String(write)),
            error => expect(error).toBeInstanceOf(TypeError),
          );
      }
      return passed;
    }, 'read');
    expect(missed).toEqual([]);
    expect(await browser.value(session => session.toJSON(), 'read')).toEqual({
      visits: 3,
      list: [{ a: 1 }],
    });
  });

  it('readOnly takes no lock: it works while another request holds it', async () => {
    const browser = await visitor();
    const other = new Browser(server.url, await browser.cookie());
    const seen = await browser.value(session => {
      session.set('visits', 4);
      return other.value(read => [read.get('visits'), read.locked], 'read');
    });
    expect(seen).toEqual([3, false]);
  });

  it('readOnly first, writable later in one request: locked, and nothing is lost', async () => {
    const browser = await visitor();
    const id = await browser.cookie();
    expect((await browser.get('/upgrade')).json()).toEqual({
      before: false,
      after: true,
      frozen: 0,
      now: 1,
    });
    const statuses = await Promise.all(
      Array.from({ length: 20 }, async () => (await new Browser(server.url, id).get('/upgrade')).status),
    );
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(await browser.value(session => session.get('count'), 'read')).toBe(21);
  });

  it('@SessionLocking: of the handler, else of the controller', async () => {
    const browser = await visitor();
    expect((await browser.get('/by-controller/own')).json()).toEqual({ locked: false });
    expect((await browser.get('/by-controller/overridden')).json()).toEqual({ locked: true });
    expect(await browser.value(session => session.locked, 'explicit')).toBe(false);
  });

  it.each(['early-above', 'early-below'])(
    "@SessionLocking('early'), %s the guards of a handler: locked before they run",
    async path => {
      const browser = await visitor();
      expect((await browser.get(`/${path}`)).status).toBe(200);
      expect(lockedInGuard).toEqual([true]);
    },
  );

  it("locking: 'early' locks before guards run, and 503 if that takes too long", async () => {
    const early = await start({ locking: 'early', lockTimeout: 0.1 });
    const browser = await visitor({}, early);
    expect((await browser.get('/late')).status).toBe(200);
    expect(lockedInGuard).toEqual([true]);

    const other = new Browser(early.url, await browser.cookie());
    const [started, refused] = [new Gate(), new Gate()];
    const holding = browser.value(async () => {
      started.open();
      await refused.opened;
    });
    await started.opened;
    const answer = await other.get('/late');
    refused.open();
    await holding;
    expect([answer.status, answer.headers['retry-after']]).toEqual([503, '1']);
    expect(lockedInGuard).toEqual([true]);
    await expect.poll(() => lockCount(early)).toBe(0);
    await early.close();
  });

  it('@SkipSession(): no session there, other sessions by the store', async () => {
    const browser = await visitor();
    const answer = await browser.get('/skipped');
    expect([answer.status, answer.headers['set-cookie']]).toEqual([200, undefined]);
    expect((await browser.get('/skipped/own')).json()).toEqual({ value: 1 });
  });

  it("@SkipSession(): store.update() of the client's own session works like any other", async () => {
    const browser = await visitor();
    const id = (await browser.cookie())!;
    expect(await browser.value(() => store.update(id, session => session.get('visits')), 'skip')).toBe(3);
  });

  it('exclude: paths and methods without a session', async () => {
    const excluding = await start({
      exclude: ['assets/*path', { path: '/health', method: RequestMethod.GET }],
    });
    const browser = new Browser(excluding.url);
    expect((await browser.get('/health?probe=1')).status).toBe(500);
    expect((await browser.get('/assets/a/b')).status).toBe(500);
    expect((await browser.post('/health')).json()).toEqual({ isNew: true });
    await excluding.close();
  });
});
