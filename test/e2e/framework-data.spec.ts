import { afterEach, describe, expect, it } from 'vitest';
import { jsonSerializer, SessionSerializationException } from 'nest-sessions';
import { ADAPTERS, SETUPS, startApp, type TestApp } from '../support/app.js';
import { countCalls } from '../support/count-calls.js';
import { sendRaw } from '../support/client.js';
import { Browser, ScriptController, useServer } from '../support/scripts.js';
import { openBackend } from '../support/storages.js';

/** Objects as parsers and frameworks make them: without a prototype, at any depth. */
const bare = (entries: object): any => Object.assign(Object.create(null), entries);
const BARE: [string, () => any, object][] = [
  ['one', () => bare({ q: 'x', list: ['a', 'b'] }), { q: 'x', list: ['a', 'b'] }],
  ['nested', () => bare({ a: bare({ b: bare({ c: [bare({ d: 1 })] }) }) }), { a: { b: { c: [{ d: 1 }] } } }],
  ['in a plain object', () => ({ filters: bare({ from: '1' }) }), { filters: { from: '1' } }],
  ['empty', () => bare({}), {}],
  ['named groups of a regular expression', () => /(?<year>\d+)/.exec('in 1999')!.groups, { year: '1999' }],
  ['URLSearchParams as an object', () => Object.fromEntries(new URLSearchParams('a=1')), { a: '1' }],
  [
    'with a key __proto__',
    () => Object.defineProperty(bare({ a: 1 }), '__proto__', { value: 2, enumerable: true }),
    JSON.parse('{"a":1,"__proto__":2}'),
  ],
  [
    'grouped',
    () =>
      (Object as any).groupBy?.([1, 2], (n: number) => (n > 1 ? 'big' : 'small')) ??
      bare({ small: [1], big: [2] }),
    { small: [1], big: [2] },
  ],
];

describe.each(SETUPS)('data as frameworks make it: $storage, $adapter', setup => {
  const server = useServer(setup);

  it.each(BARE)('an object without a prototype is stored as a plain one: %s', async (_title, make, plain) => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('kept', make()));
    const kinds = await browser.value(session => {
      const kept: any = session.get('kept');
      return [kept, Object.getPrototypeOf(kept) === Object.prototype, String(kept)];
    });
    expect(kinds).toEqual([plain, true, '[object Object]']);
    // By req.session, by update() and by data, too.
    await browser.expressValue(session => void (session.other = make()));
    await browser.value(session => void session.update(bare({ third: make() })));
    await browser.value(session => void (session.data.fourth = make()));
    expect(await browser.value(session => session.toJSON())).toEqual({
      kept: plain,
      other: plain,
      third: plain,
      fourth: plain,
    });
    expect(await server.store.get(await server.store.create({ kept: make() }))).toMatchObject({
      data: { kept: plain },
    });
  });

  it('what the framework itself makes of a request: its query', async () => {
    const id = await server.store.create({ a: 1 });
    const headers = { cookie: `session_id=${id}` };
    let seen: any;
    const browser = new Browser(server.url, id);
    const answer = await browser.runExpress(async (session, req) => {
      session.query = req.query;
      session.params = req.params;
      seen = { query: { ...req.query }, params: { ...req.params } };
    });
    expect(answer.status, headers.cookie).toBe(200);
    expect((await server.store.get(id))!.data).toEqual({ a: 1, ...seen });
  });
});

class Money {
  constructor(readonly amount: number) {}
  get text() {
    return `${this.amount} EUR`;
  }
}
class Point {
  constructor(readonly x: number) {}
  toJSON() {
    return [this.x];
  }
}
const INSTANCES: [string, () => unknown, unknown][] = [
  ['an instance of a class', () => new Money(5), { amount: 5 }],
  ['one with toJSON', () => new Point(5), [5]],
  ['a URL', () => new URL('http://a.example/'), 'http://a.example/'],
  ['an Error', () => new Error('x'), {}],
  ['one deep inside', () => ({ list: [{ price: new Money(5) }] }), { list: [{ price: { amount: 5 } }] }],
];

describe.each(ADAPTERS)('instances of classes: %s', adapter => {
  const server = useServer({ adapter });

  it.each(INSTANCES)(
    'are refused with what to do instead, and the stored record stays: %s',
    async (_t, make) => {
      const browser = new Browser(server.url);
      await browser.value(session => void session.set('a', 1));
      const seen = await browser.value(async session => {
        session.set('a', make());
        const error: any = await session.save().catch((thrown: unknown) => thrown);
        session.set('a', 1);
        return [error instanceof SessionSerializationException, error.message];
      });
      expect(seen).toEqual([
        true,
        expect.stringMatching(/data\.a.* is an instance of \w+.*(\{ \.\.\.value \}|jsonSerializer)/),
      ]);
      expect((await browser.run(session => void session.set('a', make()))).status).toBe(500);
      expect(await browser.value(session => session.get('a'))).toBe(1);
    },
  );
});

describe.each(SETUPS)('jsonSerializer takes what JSON takes: $storage, $adapter', ({ storage, adapter }) => {
  let server: TestApp;
  let close: () => Promise<unknown>;
  let calls: string[];
  const start = async () => {
    const inner = await openBackend(storage);
    const counted = countCalls(inner);
    calls = counted.calls;
    server = await startApp({
      adapter,
      controllers: [ScriptController],
      sessions: { serializer: jsonSerializer, storageType: counted.backend, cleanFreq: 0 },
    });
    close = async () => {
      await server.close();
      await inner.close();
    };
  };
  afterEach(() => close());

  it('and compares it as what it would give back', async () => {
    await start();
    for (const [title, make, kept] of [
      ...INSTANCES,
      ['a Date', () => new Date(0), '1970-01-01T00:00:00.000Z'],
      ['a Map', () => new Map([[1, 2]]), {}],
      ['undefined inside', () => ({ a: undefined, b: 1 }), { b: 1 }],
      ['NaN', () => [NaN], [null]],
      ['no prototype', () => bare({ a: bare({ b: 1 }) }), { a: { b: 1 } }],
    ] as [string, () => unknown, unknown][]) {
      const browser = new Browser(server.url);
      await browser.value(session => void session.set('kept', make()));
      expect(await browser.value(session => session.toJSON()), title).toEqual({ kept });
      calls.length = 0;
      await browser.value(session => void session.set('kept', make()));
      expect(
        calls.filter(call => call === 'save'),
        title,
      ).toEqual([]);
      await browser.value(session => void session.set('kept', [make(), 'changed']));
      expect(
        calls.filter(call => call === 'save'),
        title,
      ).toEqual(['save']);
      browser.close();
    }
    expect((await sendRaw(server.url)).status).toBe(404);
  });
});
