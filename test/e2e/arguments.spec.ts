import { describe, expect, it } from 'vitest';
import type { ExpressSession } from 'nest-sessions';
import { ADAPTERS, SETUPS } from '../support/app.js';
import { Browser, useServer } from '../support/scripts.js';

/** What other packages, other versions and mistakes pass: none of it is a callback. */
const STRANGE: unknown[] = [undefined, null, {}, true, 0, '', 'key', [], ['a'], Symbol('s'), new Date()];

/** Resolves when the callback is called. */
const called = (start: (callback: (error?: unknown) => void) => unknown) =>
  new Promise<unknown>(resolve => start(resolve));

type Method = 'save' | 'reload' | 'regenerate' | 'destroy';
const method = (session: ExpressSession, name: Method) =>
  (session[name] as (...args: unknown[]) => Promise<void>).bind(session);

describe.each(SETUPS)("arguments: @fastify/session's form of regenerate: $storage, $adapter", setup => {
  const server = useServer(setup);
  const start = async () => {
    const browser = new Browser(server.url);
    await browser.expressValue(
      session => void Object.assign(session, { user: { name: 'Ann' }, cart: ['x'] }),
    );
    return { browser, before: await browser.cookie() };
  };

  it.each<[string, unknown[], object]>([
    ['keys', [['user']], { user: { name: 'Ann' } }],
    ['several keys', [['cart', 'user', 'cart']], { cart: ['x'], user: { name: 'Ann' } }],
    ['no keys', [[]], {}],
    ['keys that are not there', [['nobody', 'cookie', 'id', '__proto__', 'save', 7, null]], {}],
    ['undefined in the place of keys', [undefined], {}],
    ['null in the place of keys', [null], {}],
  ])('%s: with a callback and without, the data that is named is taken along', async (_title, args, kept) => {
    for (const withCallback of [false, true]) {
      const { browser, before } = await start();
      const seen = await browser.expressValue(async (session, req) => {
        const regenerate = method(session, 'regenerate');
        const error = await (withCallback
          ? called(done => regenerate(...args, done))
          : regenerate(...args).then(() => undefined));
        return { error, data: { ...req.session, cookie: undefined }, isAnother: req.session !== session };
      });
      expect(seen).toEqual({ data: kept, isAnother: true });
      expect(await server.store.exists(before!)).toBe(false);
      const isStored = Object.keys(kept).length > 0;
      expect(await browser.value(session => session.toJSON())).toEqual(kept);
      expect((await browser.cookie()) !== undefined).toBe(isStored);
    }
  });
});

describe.each(ADAPTERS)('arguments that are no callback: %s', adapter => {
  const server = useServer({ adapter });

  it.each<Method>(['save', 'reload', 'regenerate', 'destroy'])(
    'req.session.%s ignores them, and does its work',
    async name => {
      for (const value of STRANGE) {
        const browser = new Browser(server.url);
        await browser.expressValue(session => void (session.count = 1));
        const before = await browser.cookie();
        // Not awaited, as with express-session; then awaited.
        for (const awaits of [false, true]) {
          const answer = await browser.runExpress(async session => {
            session.seen = awaits;
            const work = method(session, name)(value);
            await (awaits ? work : undefined);
          });
          expect(answer.status, String(value)).toBe(200);
        }
        expect(await server.store.exists(before!), String(value)).toBe(name === 'save' || name === 'reload');
      }
    },
  );

  it('req.session.touch and resetMaxAge ignore them', async () => {
    const browser = new Browser(server.url);
    for (const value of [...STRANGE, () => 1]) {
      const same = await browser.expressValue((session: any) => {
        session.n = 1;
        return [session.touch(value) === session, session.resetMaxAge(value) === session];
      });
      expect(same).toEqual([true, true]);
    }
  });
});

describe.each(ADAPTERS)('arguments of Session that cannot be meant: %s', adapter => {
  const server = useServer({ adapter });

  it.each<[string, (session: any) => unknown, RegExp]>([
    ['acquireLock(text)', session => session.acquireLock({ timeout: '5s' }), /timeout.*seconds/],
    ['acquireLock(NaN)', session => session.acquireLock({ timeout: NaN }), /timeout.*seconds/],
    ['acquireLock(negative)', session => session.acquireLock({ timeout: -1 }), /timeout.*seconds/],
    ['onIdChange()', session => session.onIdChange(), /function/],
    ['onIdChange(object)', session => session.onIdChange({}), /function/],
    ['update()', session => session.update(), /object/],
    ['update(null)', session => session.update(null), /object/],
  ])('%s is refused at once, as a TypeError or RangeError that says what to pass', async (_t, call, text) => {
    const browser = new Browser(server.url);
    const seen = await browser.value(async session => {
      session.set('kept', 1);
      let error: any;
      try {
        await call(session);
      } catch (thrown) {
        error = thrown;
      }
      return { isKnown: error instanceof TypeError || error instanceof RangeError, text: error?.message };
    });
    expect(seen).toEqual({ isKnown: true, text: expect.stringMatching(text) });
    expect(await browser.value(session => session.get('kept'))).toBe(1);
  });

  it.each([undefined, null, {}, { timeout: undefined }, 5, { timeout: Infinity }, { timeout: 1e9 }])(
    'acquireLock(%o) waits for the lock',
    async options => {
      const browser = new Browser(server.url);
      await browser.value(session => void session.set('a', 1));
      let release!: () => void;
      const released = new Promise<void>(resolve => (release = resolve));
      let isHeld!: () => void;
      const held = new Promise<void>(resolve => (isHeld = resolve));
      const first = browser.value(async session => {
        session.set('a', 2);
        isHeld();
        await released;
      });
      await held;
      const second = browser.value(async (session: any) => {
        const work = session.acquireLock(options);
        release();
        await work;
        return [session.locked, session.get('a')];
      }, 'explicit');
      expect(await second).toEqual([true, 2]);
      await first;
    },
  );
});
