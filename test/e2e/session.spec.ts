import { beforeEach, afterEach, describe, expect, it } from 'vitest';
import { SessionUnsupportedException, type Session } from 'nest-sessions';
import { ALL_SETUPS } from '../support/app.js';
import { Browser, useServer } from '../support/scripts.js';

const MINUTE = 60_000;

/** What is thrown, as text. */
const thrownBy = async (action: () => unknown): Promise<string> => {
  try {
    await action();
    return 'nothing';
  } catch (error) {
    return String(error);
  }
};

describe.each(ALL_SETUPS)('Session: $storage, $adapter', setup => {
  const server = useServer(setup);
  let browser: Browser;
  beforeEach(() => {
    browser = new Browser(server.url);
  });
  afterEach(() => browser.close());

  /** What the next request finds. */
  const data = () => browser.value(session => session.toJSON(), 'read');

  describe('the dictionary', () => {
    const members: [name: string, use: (session: Session) => unknown, returned: unknown, after: object][] = [
      ['get', session => session.get('a'), 1, { a: 1, b: [2] }],
      ['get of a missing key', session => String(session.get('x')), 'undefined', { a: 1, b: [2] }],
      ['get with a fallback', session => session.get('x', 5), 5, { a: 1, b: [2] }],
      ['get of what an object inherits', session => session.get('toString', 0), 0, { a: 1, b: [2] }],
      ['set', session => session.set('x', 1).set('y', 2).size, 4, { a: 1, b: [2], x: 1, y: 2 }],
      [
        'set of __proto__',
        session => session.set('__proto__', 1).get('__proto__'),
        1,
        JSON.parse('{"a":1,"b":[2],"__proto__":1}'),
      ],
      ['has', session => [session.has('a'), session.has('x')], [true, false], { a: 1, b: [2] }],
      ['delete', session => [session.delete('a'), session.delete('x')], [true, false], { b: [2] }],
      ['pop', session => session.pop('a'), 1, { b: [2] }],
      ['pop with a fallback', session => session.pop('x', 7), 7, { a: 1, b: [2] }],
      [
        'pop of a missing key',
        session => thrownBy(() => session.pop('x')),
        "RangeError: The session has no key 'x'",
        { a: 1, b: [2] },
      ],
      [
        'pop with an undefined fallback',
        session => String(session.pop('x', undefined)),
        'undefined',
        { a: 1, b: [2] },
      ],
      [
        'setDefault of a missing key',
        session => session.setDefault('x', []).push(1),
        1,
        { a: 1, b: [2], x: [1] },
      ],
      ['setDefault of a key that is there', session => session.setDefault('a', 9), 1, { a: 1, b: [2] }],
      ['update', session => session.update({ a: 2, c: 3 }).get('a'), 2, { a: 2, b: [2], c: 3 }],
      ['clear', session => (session.clear(), session.size), 0, {}],
      ['keys', session => session.keys(), ['a', 'b'], { a: 1, b: [2] }],
      ['values', session => session.values(), [1, [2]], { a: 1, b: [2] }],
      [
        'entries',
        session => session.entries(),
        [
          ['a', 1],
          ['b', [2]],
        ],
        { a: 1, b: [2] },
      ],
      ['size', session => session.size, 2, { a: 1, b: [2] }],
      [
        'iteration',
        session => [...session],
        [
          ['a', 1],
          ['b', [2]],
        ],
        { a: 1, b: [2] },
      ],
      ['toJSON', session => JSON.parse(JSON.stringify(session)), { a: 1, b: [2] }, { a: 1, b: [2] }],
      ['data', session => (session.data.c = session.data.a), 1, { a: 1, b: [2], c: 1 }],
      ['a deep change by data', session => session.data.b.push(3), 2, { a: 1, b: [2, 3] }],
      [
        'a deep change by get',
        session => (session.get('b')[0] = { deep: { er: 1 } }),
        { deep: { er: 1 } },
        { a: 1, b: [{ deep: { er: 1 } }] },
      ],
    ];

    it.each(members)('%s', async (_name, use, returned, after) => {
      await browser.value(session => void session.update({ a: 1, b: [2] }));
      expect(await browser.value(use)).toEqual(returned);
      expect(await data()).toEqual(after);
    });

    it('an assigned property throws, naming set and data, and is never a lost write', async () => {
      const [assigned, defined, isExtensible] = await browser.value(async session => [
        await thrownBy(() => ((session as any).visits = 1)),
        await thrownBy(() => Object.defineProperty(session, 'visits', { value: 1 })),
        Object.isExtensible(session),
      ]);
      expect(assigned).toMatch(/^TypeError: .*session\.set\('visits', value\).*session\.data\.visits/);
      expect(defined).toMatch(/^TypeError/);
      expect(isExtensible).toBe(false);
    });

    it('members without a setter cannot be assigned', async () => {
      const thrown = await browser.value(session =>
        Promise.all(
          ['id', 'isNew', 'size', 'data', 'locked'].map(name => thrownBy(() => ((session as any)[name] = 1))),
        ),
      );
      expect(thrown).toEqual(Array(5).fill(expect.stringMatching(/^TypeError/)));
    });
  });

  describe('what it tells about itself', () => {
    const facts = (session: Session) => ({
      isNew: session.isNew,
      hadId: session.originalId !== undefined,
      keptId: session.originalId === session.id,
      missing: session.missing,
      regenerated: session.regenerated,
      locked: session.locked,
      loaded: session.loaded,
    });
    const fresh = {
      isNew: true,
      hadId: false,
      keptId: false,
      missing: false,
      regenerated: false,
      locked: false,
      loaded: true,
    };

    it('of a client without a cookie', async () => {
      expect(await browser.value(facts)).toEqual(fresh);
    });

    it('of a stored session', async () => {
      await browser.value(session => void session.set('a', 1));
      expect(await browser.value(facts)).toEqual({
        ...fresh,
        isNew: false,
        hadId: true,
        keptId: true,
        locked: true,
      });
      expect(await browser.value(facts, 'read')).toEqual({
        ...fresh,
        isNew: false,
        hadId: true,
        keptId: true,
      });
    });

    it('of an unknown id, which is never adopted', async () => {
      browser.adopt('x'.repeat(43));
      expect(await browser.value(facts)).toEqual({ ...fresh, hadId: true, missing: true });
    });

    it('createdAt stays, expiresAt moves with each request', async () => {
      const times = (session: Session) => [session.createdAt.getTime(), session.expiresAt.getTime()];
      const before = Date.now();
      await browser.value(session => void session.set('a', 1));
      const [created, expires] = await browser.value(times);
      expect(created).toBeGreaterThanOrEqual(before);
      expect(expires).toBeGreaterThanOrEqual(before + 60 * MINUTE);
      const change = () => browser.value(session => void session.set('a', Math.random())); // it may be the same millisecond
      await expect
        .poll(async () => (await change(), (await browser.value(times, 'read'))[1]))
        .toBeGreaterThan(expires);
      expect((await browser.value(times))[0]).toBe(created);
    });
  });

  it('timeout of its own: rules expiresAt and the cookie, and stays across requests', async () => {
    await browser.value(session => void (session.timeout = 2));
    const answer = await browser.run(session => [session.timeout, session.expiresAt.getTime() - Date.now()]);
    const [timeout, left] = answer.json().value;
    expect(timeout).toBe(2);
    expect(left).toBeGreaterThan(1.5 * MINUTE);
    expect(left).toBeLessThanOrEqual(2 * MINUTE);
    expect(answer.setCookies[0]).toMatch(/Max-Age=1[12]\d;/);
    expect(await browser.value(session => thrownBy(() => (session.timeout = 0)))).toMatch(/^RangeError/);
  });

  it('timeout of its own: a fraction of a minute expires it', async () => {
    const id = await browser.value(session => {
      session.set('a', 1).timeout = 200 / MINUTE;
      return session.id;
    });
    await expect.poll(() => server.store.exists(id)).toBe(false);
    browser.adopt(id);
    expect(await browser.value(session => [session.missing, session.size])).toEqual([true, 0]);
  });

  it('owner: stored, found by the store, and taken back', async () => {
    await browser.value(session => void (session.owner = 'ada'));
    expect(await browser.value(session => session.owner, 'read')).toBe('ada');
    const found = () =>
      server.store.findByOwner('ada').then(
        sessions => sessions.length,
        error => error.constructor,
      );
    const hasLists = setup.storage !== 'memcached';
    expect(await found()).toBe(hasLists ? 1 : SessionUnsupportedException);
    await browser.value(session => void (session.owner = undefined));
    expect(await browser.value(session => session.owner ?? 'none', 'read')).toBe('none');
    expect(await found()).toBe(hasLists ? 0 : SessionUnsupportedException);
    expect(await browser.value(session => thrownBy(() => (session.owner = 7 as any)))).toMatch(
      /^TypeError.*String/,
    );
  });
});
