import { describe, expect, it } from 'vitest';
import type { Session, SessionStore } from 'nest-sessions';
import { SETUPS } from '../support/app.js';
import { Browser, useServer } from '../support/scripts.js';

/** All that a view tells of its session, but for its times. */
const shown = (view: Session) => ({
  data: structuredClone(view.data),
  entries: view.entries(),
  size: view.size,
  hasA: view.has('a'),
  json: JSON.parse(JSON.stringify(view)),
  owner: view.owner,
  timeout: view.timeout,
  id: view.id,
});

const expected = (data: object, rest: { owner?: string; timeout?: number; id: string }) => ({
  data,
  entries: Object.entries(data),
  size: Object.keys(data).length,
  hasA: 'a' in data,
  json: data,
  owner: undefined,
  timeout: 60,
  ...rest,
});

/** What a handler does between two looks at its view; and what is stored then: data, owner, timeout. */
const STEPS: [
  string,
  (session: Session, tools: Tools) => unknown,
  object,
  { owner?: string; timeout?: number }?,
][] = [
  ['a change that is not stored yet', session => session.set('a', 2), { a: 1 }],
  ['an owner and a timeout that are not stored yet', session => Object.assign(session, OWNED), { a: 1 }],
  ['save', session => session.set('a', 2).save(), { a: 2 }],
  [
    'save, with an owner and a timeout',
    session => Object.assign(session, OWNED).save(),
    { a: 1 },
    { owner: 'ann', timeout: 5 },
  ],
  ['save of deep changes', session => (session.set('b', { c: 1 }), session.save()), { a: 1, b: { c: 1 } }],
  ['reload', session => session.set('a', 2).reload(), { a: 1 }],
  ['destroy', session => session.destroy(), {}],
  ['destroy, then a change', async session => (await session.destroy(), session.set('n', 1)), {}],
  [
    'destroy, then a save',
    async session => (await session.destroy(), session.set('n', 1), session.save()),
    { n: 1 },
  ],
  ['regenerate', session => session.regenerate(), { a: 1 }],
  ['regenerate after a change', session => session.set('a', 2).regenerate(), { a: 1 }],
  [
    'regenerate, then save',
    async session => (await session.regenerate(), session.set('a', 2).save()),
    { a: 2 },
  ],
  ['touch', session => session.touch(), { a: 1 }],
  ['releaseLock', session => session.set('a', 2).releaseLock(), { a: 2 }],
  [
    'SessionStore.update of its own',
    (session, { store }) => store.update(session.id, own => void own.set('a', 2)),
    { a: 2 },
  ],
  ['SessionStore.destroy of its own', (session, { store }) => store.destroy(session.id), {}],
  ['req.session.regenerate', (_session, { req }) => req.session.regenerate(), {}],
  ['req.session.destroy', (_session, { req }) => req.session.destroy(), {}],
];

const OWNED = { owner: 'ann', timeout: 5 };

interface Tools {
  store: SessionStore;
  req: any;
}

describe.each(SETUPS)('views: a read-only session shows what is stored now: $storage, $adapter', setup => {
  const server = useServer(setup);
  const start = async () => {
    const browser = new Browser(server.url);
    await browser.value(session => void session.set('a', 1));
    return browser;
  };

  it.each(STEPS)('after %s', async (_title, step, data, rest = {}) => {
    for (const isFirst of [true, false]) {
      const browser = await start();
      const seen = await browser.value(async (req: any) => {
        const { store } = server;
        const open = (readOnly: boolean) => store.current({ readOnly });
        // The view may be asked for before the session, or after.
        const early = isFirst ? await open(true) : undefined;
        const session = await open(false);
        const view = early ?? (await open(true));
        const before = shown(view);
        await step(session, { store, req });
        return { before, after: shown(view), id: session.id, isSame: view === (await open(true)) };
      }, 'none');
      expect(seen.before).toEqual(JSON.parse(JSON.stringify(expected({ a: 1 }, { id: seen.before.id }))));
      expect(seen.after).toEqual(JSON.parse(JSON.stringify(expected(data, { ...rest, id: seen.id }))));
      expect(seen.isSame).toBe(true);
    }
  });

  it('after the end by another request, once that is known', async () => {
    const browser = await start();
    const seen = await browser.value(async session => {
      const view = await server.store.current({ readOnly: true });
      await new Browser(server.url, session.id).value(async () => server.store.destroy(session.id), 'none');
      const before = view.toJSON();
      const failure = await session.reload().then(
        () => 'reloaded',
        error => error.name,
      );
      return { before, failure, after: view.toJSON() };
    }, 'explicit');
    expect(seen).toEqual({ before: { a: 1 }, failure: 'SessionDestroyedException', after: { a: 1 } });
  });

  it('takes no change, and none to what it gave', async () => {
    const browser = await start();
    await browser.value(session => void session.set('list', [{ n: 1 }]));
    const names = await browser.value(async () => {
      const view: any = await server.store.current({ readOnly: true });
      const tries: (() => unknown)[] = [
        () => view.set('a', 2),
        () => view.data.list.push(1),
        () => (view.data.a = 2),
        () => (view.get('list')[0].n = 2),
        () => (view.owner = 'x'),
        () => (view.timeout = 1),
        () => view.save(),
        () => view.reload(),
        () => view.regenerate(),
        () => view.destroy(),
        () => view.acquireLock(),
        () => view.update({ a: 2 }),
        () => view.clear(),
        () => view.pop('a'),
        () => view.setDefault('z', 1),
        () => view.expire(),
      ];
      const results: string[] = [];
      for (const attempt of tries) {
        try {
          results.push(String(await attempt()));
        } catch (error: any) {
          results.push(error.name);
        }
      }
      return results;
    }, 'none');
    expect(names).toEqual(names.map(() => 'TypeError'));
    expect(await browser.value(session => session.toJSON())).toEqual({ a: 1, list: [{ n: 1 }] });
  });
});
