import { RequestMethod } from '@nestjs/common';
import { SchedulerRegistry } from '@nestjs/schedule';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { SessionStore, type SessionBackend } from 'nest-sessions';
import { SESSION_CLEAN_UP_JOB, SessionCleanUpJob } from '../../lib/cleanup/clean-up.job.js';
import { findContext } from '../../lib/http/find-context.js';
import { ADAPTERS, SETUPS, startApp, type TestApp } from '../support/app.js';
import { sendRaw } from '../support/client.js';
import { countCalls } from '../support/count-calls.js';
import { Browser, Gate, lockCount, ScriptController } from '../support/scripts.js';
import { openBackend } from '../support/storages.js';

/** Ids as callers get them wrong. */
const NO_IDS: unknown[] = [
  undefined,
  null,
  '',
  0,
  7,
  NaN,
  true,
  {},
  [],
  Symbol('s'),
  () => 'x',
  'x'.repeat(100_000),
];

describe.each(SETUPS)('small faults: $storage, $adapter', ({ storage, adapter }) => {
  let inner: SessionBackend;
  let calls: string[];
  let server: TestApp;
  /** What a sweep waits for. */
  let sweep = new Gate();

  beforeAll(async () => {
    inner = await openBackend(storage);
    const counted = countCalls(
      new Proxy(inner, {
        get(target, name) {
          const member: any = Reflect.get(target, name);
          return name === 'cleanUp'
            ? async (signal: AbortSignal) => {
                await sweep.opened;
                return target.cleanUp(signal);
              }
            : typeof member === 'function'
              ? member.bind(target)
              : member;
        },
      }),
    );
    calls = counted.calls;
    sweep.open();
    server = await startApp({
      adapter,
      controllers: [ScriptController],
      sessions: { storageType: counted.backend, cleanFreq: 1000 },
    });
  });
  afterAll(async () => {
    await server.close();
    await inner.close();
  });

  it.each(['get', 'exists', 'update', 'destroy'] as const)(
    'what is no id is absent: SessionStore.%s',
    async name => {
      calls.length = 0;
      const ask = (server.store[name] as any).bind(server.store);
      for (const id of NO_IDS) {
        expect(await ask(id, () => 'called'), String(typeof id)).toBe(
          name === 'exists' || name === 'destroy' ? false : undefined,
        );
      }
      // A text may be one, as far as the storage knows.
      expect(calls.length).toBe(1);
      const inRequest = await new Browser(server.url).value(
        async () => [await ask(undefined, () => 1), await ask(null, () => 1)],
        'run',
      );
      expect(inRequest).toEqual(name === 'exists' || name === 'destroy' ? [false, false] : [null, null]);
    },
  );

  it('SessionStore.create is one call of the storage, and one insert', async () => {
    calls.length = 0;
    const ids = [
      await server.store.create(),
      await server.store.create({ a: 1 }),
      await server.store.create({ a: 1 }, { timeout: 5, ...(inner.findByOwner && { owner: 'ann' }) }),
    ];
    expect(calls).toEqual(['create', 'create', 'create']);
    expect(await Promise.all(ids.map(id => server.store.exists(id)))).toEqual([true, true, true]);
    expect(lockCount(server)).toBe(0);
  });

  it('a commit while a commit runs: one save, and what came in between is stored too', async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('n', 0));
    calls.length = 0;
    await browser.runExpress(async (_session, req) => {
      const context = findContext(req)!;
      const session = await server.store.current();
      session.set('n', 1);
      const first = context.commit(200);
      const [second, third] = [context.commit(200), context.commit(200)];
      await Promise.all([first, second, third]);
    });
    expect(calls.filter(call => call === 'save')).toHaveLength(1);
    expect(await browser.value(session => session.get('n'))).toBe(1);
    calls.length = 0;
    await browser.runExpress(async (_session, req) => {
      const context = findContext(req)!;
      const session = await server.store.current();
      session.set('n', 2);
      const first = context.commit(200);
      session.set('m', 3);
      await Promise.all([first, context.commit(200)]);
    });
    expect(calls.filter(call => call === 'save')).toHaveLength(2);
    expect(await browser.value(session => session.toJSON())).toEqual({ n: 2, m: 3 });
    await expect.poll(() => lockCount(server)).toBe(0);
  });

  it('sweeps do not overlap: the job waits for a slow one, and the next begins after it', async () => {
    sweep = new Gate();
    calls.length = 0;
    const job = server.app.get(SessionCleanUpJob, { strict: false });
    const run = () => (job as any).run();
    for (let times = 0; times < 5; times++) {
      run();
    }
    sweep.open();
    expect(calls).toEqual(['cleanUp']);
    await vi.waitFor(() => {
      run();
      expect(calls).toEqual(['cleanUp', 'cleanUp']);
    });
  });

  it('sweeps do not overlap: two of SessionStore, and the job, at once are one', async () => {
    await server.store.cleanUp(); // joins one that is still at work
    sweep = new Gate();
    calls.length = 0;
    const both = [server.store.cleanUp(), server.store.cleanUp()];
    (server.app.get(SessionCleanUpJob, { strict: false }) as any).run();
    sweep.open();
    expect(calls).toEqual(['cleanUp']);
    const [first, second] = await Promise.all(both);
    expect([typeof first, first]).toEqual(['number', second]);
    await server.store.cleanUp();
    expect(calls).toEqual(['cleanUp', 'cleanUp']);
  });
});

describe.each(ADAPTERS)('small faults of routes: %s', adapter => {
  it('exclude for GET covers HEAD, and no other method', async () => {
    const seen: string[] = [];
    const server = await startApp({
      adapter,
      controllers: [ScriptController],
      sessions: {
        exclude: [
          { path: '/none/*rest', method: RequestMethod.GET },
          { path: '/run/x', method: RequestMethod.POST },
        ],
      },
      prepare: app => {
        const note = (req: any) => seen.push(`${req.method} ${findContext(req) !== undefined}`);
        app.use((req: any, _res: any, next: () => void) => (adapter === 'express' && note(req), next()));
        if (adapter === 'fastify') {
          app
            .getHttpAdapter()
            .getInstance()
            .addHook('preHandler', (req: any, _reply: any, done: () => void) => (note(req), done()));
        }
      },
    });
    for (const [method, path] of [
      ['GET', '/none/x'],
      ['HEAD', '/none/x'],
      ['GET', '/run/x'],
      ['HEAD', '/run/x'],
    ]) {
      await sendRaw(server.url + path, { method: method! });
    }
    expect(seen).toEqual(['GET false', 'HEAD false', 'GET true', 'HEAD true']);
    await server.close();
  });

  it('the job is one interval', async () => {
    const server = await startApp({ adapter, sessions: { cleanFreq: 1000 } });
    expect(server.app.get(SchedulerRegistry, { strict: false }).getIntervals()).toEqual([
      SESSION_CLEAN_UP_JOB,
    ]);
    expect(server.app.get(SessionStore)).toBe(server.store);
    await server.close();
  });
});

describe('small faults of raw Fastify routes', () => {
  it.each(['save', 'reload', 'regenerate', 'destroy'] as const)(
    'a handler that answers in the callback of %s: its answer is whole, and what it stored is stored',
    async name => {
      const server = await startApp({
        adapter: 'fastify',
        controllers: [ScriptController],
        prepare: app => {
          const fastify = app.getHttpAdapter().getInstance() as any;
          fastify.get('/callback', (req: any, reply: any) => {
            req.session[name]((error: unknown) => {
              if (name === 'save' || name === 'regenerate') {
                req.session.n = 1;
              }
              reply.code(201).send({ error: error ?? null, type: typeof req.session });
            });
          });
          fastify.get('/callback-raw', (req: any, reply: any) => {
            reply.hijack();
            req.session[name](() => reply.raw.end('raw'));
          });
          fastify.get('/promise', (req: any) => req.session[name]().then(() => ({ name })));
        },
      });
      const browser = new Browser(server.url);
      for (let times = 0; times < 2; times++) {
        const answer = await browser.get('/callback');
        expect([answer.status, answer.json()]).toEqual([
          201,
          { error: null, type: name === 'destroy' ? 'undefined' : 'object' },
        ]);
        expect((await browser.get('/callback-raw')).body).toBe('raw');
        expect((await browser.get('/promise')).json()).toEqual({ name });
      }
      const data = await browser.value(session => session.toJSON());
      expect(data).toEqual(name === 'save' ? { n: 1 } : {});
      await expect.poll(() => lockCount(server)).toBe(0);
      browser.close();
      await server.close();
    },
  );
});
