import { Logger } from '@nestjs/common';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Session } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { Browser, Gate, ScriptController, useServer, type ScriptRoute } from '../support/scripts.js';

type Use = (session: Session) => unknown;

/** Whatever can be asked of a session; all but these tell something that does not change. */
const USES: Record<string, Use> = {
  get: session => session.get('user'),
  set: session => session.set('a', 1),
  has: session => session.has('user'),
  delete: session => session.delete('user'),
  pop: session => session.pop('user'),
  setDefault: session => session.setDefault('a', 1),
  update: session => session.update({ a: 1 }),
  clear: session => session.clear(),
  keys: session => session.keys(),
  size: session => session.size,
  iterate: session => [...session],
  toJSON: session => JSON.stringify(session),
  data: session => session.data,
  'data.a = 1': session => ((session.data as any).a = 1),
  'owner =': session => (session.owner = 'Ann'),
  'timeout =': session => (session.timeout = 5),
  expire: session => session.expire(),
  load: session => session.load(),
  reload: session => session.reload(),
  save: session => session.save(),
  touch: session => session.touch(),
  regenerate: session => session.regenerate(),
  destroy: session => session.destroy(),
  acquireLock: session => session.acquireLock(),
  releaseLock: session => session.releaseLock(),
};

const ROUTES: ScriptRoute[] = ['run', 'read', 'explicit'];

describe.each(SETUPS)('writes after the answer: $storage, $adapter', setup => {
  const server = useServer({ ...setup, controllers: [ScriptController] });
  const known = async () => new Browser(server.url, await server.store.create({ user: 'Ann' } as never));
  const dataOf = async (browser: Browser) => (await server.store.get((await browser.cookie())!))?.data;
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  beforeEach(() => {
    uncaught.length = 0;
    process.on('uncaughtException', note).on('unhandledRejection', note);
  });
  afterEach(() => {
    process.off('uncaughtException', note).off('unhandledRejection', note);
    vi.restoreAllMocks();
  });

  /** Runs a handler that goes on once its answer is there. @returns what that came to */
  async function goOn<T>(browser: Browser, route: ScriptRoute, work: (session: Session) => T): Promise<T> {
    const answered = new Gate();
    let later: Promise<T>;
    const answer = await browser.run(session => {
      later = answered.opened.then(() => work(session));
      later.catch(() => undefined);
    }, route);
    expect(answer.status).toBe(200);
    answered.open();
    return later!;
  }

  it.each(ROUTES)('%s: every use throws, and says what to await', async route => {
    const browser = await known();
    for (const [name, use] of Object.entries(USES)) {
      if (route === 'read' && name === 'load') {
        continue; // a read-only session is loaded, whenever it is asked
      }
      const outcome = goOn(browser, route, async session => use(session));
      await expect(outcome, name).rejects.toMatchObject({
        name: expect.stringMatching(
          route === 'read' ? /^(TypeError|SessionAnsweredException)$/ : /^SessionAnsweredException$/,
        ),
        message: expect.stringMatching(/await|read-only/i),
      });
    }
    expect(await dataOf(browser)).toEqual({ user: 'Ann' });
    expect(uncaught).toEqual([]);
  });

  it('a call that nobody awaits is no unhandled rejection, and changes nothing', async () => {
    const browser = await known();
    for (const [name, use] of Object.entries(USES).slice(-8)) {
      await goOn(browser, 'run', session => {
        void use(session);
        return sleep(0);
      });
      expect(uncaught, name).toEqual([]);
    }
    expect(await dataOf(browser)).toEqual({ user: 'Ann' });
    expect(await server.store.exists((await browser.cookie())!)).toBe(true);
  });

  it('a part of the data that was kept can be changed, and is not stored', async () => {
    const id = await server.store.create({ cart: ['book'] } as never);
    const browser = new Browser(server.url, id);
    const answered = new Gate();
    const done = new Gate();
    await browser.run(session => {
      const cart = session.get('cart') as string[];
      void answered.opened.then(() => {
        cart.push('late');
        done.open();
      });
    });
    answered.open();
    await done.opened;
    expect(await browser.value(session => session.get('cart'))).toEqual(['book']);
  });

  it.each<[string, (session: any) => unknown]>([
    ['a property', session => (session.a = 1)],
    ['a deleted property', session => delete session.user],
    ['save()', session => session.save()],
    ['save(callback)', session => session.save(() => undefined)],
    ['destroy()', session => session.destroy()],
    ['destroy(callback)', session => session.destroy(() => undefined)],
    ['regenerate(callback)', session => session.regenerate(() => undefined)],
    ['reload(callback)', session => session.reload(() => undefined)],
  ])(
    'req.session, %s: nothing uncaught, nothing stored, and writes are warned of once',
    async (name, use) => {
      const warn = vi.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
      const browser = await known();
      const [answered, done] = [new Gate(), new Gate()];
      const answer = await browser.runExpress(session => {
        void answered.opened.then(async () => {
          use(session);
          use(session);
          await sleep(5);
          done.open();
        });
      });
      expect(answer.status).toBe(200);
      answered.open();
      await done.opened;
      expect(uncaught).toEqual([]);
      expect(warn.mock.calls.filter(([text]) => /req\.session/.test(text))).toHaveLength(
        name.includes('property') ? 1 : 0,
      );
      expect(await dataOf(browser)).toEqual({ user: 'Ann' });
    },
  );

  it('a callback of req.session is told why', async () => {
    const browser = await known();
    const answered = new Gate();
    let told: (error: any) => void;
    const telling = new Promise<any>(resolve => (told = resolve));
    await browser.runExpress(session => {
      void answered.opened.then(() => void session.save(told));
    });
    answered.open();
    expect((await telling).name).toBe('SessionAnsweredException');
  });

  it('current() after the answer says so', async () => {
    const browser = await known();
    const outcome = goOn(browser, 'run', () => server.store.current());
    await expect(outcome).rejects.toMatchObject({ name: 'SessionAnsweredException' });
  });

  it('SessionStore is for work after the answer', async () => {
    const browser = await known();
    const id = (await browser.cookie())!;
    const set = (key: string) => (session: Session) => void session.set(key as never, 1 as never);
    await goOn(browser, 'run', () => server.store.update(id, set('a')));
    expect(await dataOf(browser)).toEqual({ user: 'Ann', a: 1 });
    // Of an update that is over, too.
    const later = new Gate();
    let work: Promise<unknown>;
    await server.store.update(id, () => {
      work = later.opened.then(() => server.store.update(id, set('b')));
    });
    later.open();
    await work!;
    expect(await dataOf(browser)).toEqual({ user: 'Ann', a: 1, b: 1 });
    expect(await goOn(browser, 'run', () => server.store.destroy(id))).toBe(true);
    expect(await server.store.exists(id)).toBe(false);
  });

  it.runIf(setup.storage !== 'memcached')(
    'SessionStore.destroyByOwner() works after the answer',
    async () => {
      const id = await server.store.create({}, { owner: 'Ann' });
      const browser = new Browser(server.url, id);
      expect(await goOn(browser, 'run', () => server.store.destroyByOwner('Ann'))).toBe(1);
      expect(await server.store.exists(id)).toBe(false);
    },
  );
});
