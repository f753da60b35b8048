import { NestFactory } from '@nestjs/core';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  SessionDestroyedException,
  SessionsModule,
  SessionStore,
  SessionUnsupportedException,
  type OwnedSession,
  type Session,
} from 'nest-sessions';
import { ALL_SETUPS } from '../support/app.js';
import { Browser, lockCount, useServer } from '../support/scripts.js';
import { newStorage, STORAGES } from '../support/storages.js';

/** Minutes: a millisecond. */
const SHORT = 1 / 60_000;

async function increment(session: Session) {
  const count = session.get('count', 0);
  await sleep(1);
  session.set('count', count + 1);
}

describe.each(ALL_SETUPS)('SessionStore: $storage, $adapter', setup => {
  const server = useServer(setup);
  const sweepsItself = ['memcached', 'redis'].includes(setup.storage);
  let store: SessionStore;
  beforeAll(() => {
    ({ store } = server);
  });

  /** Runs a script in a request of that session. */
  const inRequest = async (id: string | undefined, ...[script, route]: Parameters<Browser['run']>) => {
    const browser = new Browser(server.url, id);
    try {
      const answer = await browser.run(script, route);
      return { answer, cookie: await browser.cookie() };
    } finally {
      browser.close();
    }
  };
  const dataOf = async (id: string) => (await store.get(id))?.data;

  it('current() outside of a request throws, naming what to use', async () => {
    await expect(store.current()).rejects.toThrow(
      'SessionStore.current() was called outside of a request; there, use get(id) or update(id, fn)',
    );
    const id = await store.create({});
    const inUpdate = store.update(id, () => store.current());
    await expect(inUpdate).rejects.toThrow('outside of a request; use the session that update() passes');
  });

  it("current() inside update() of another session is the request's", async () => {
    const [mine, other] = [await store.create({ name: 'mine' }), await store.create({ name: 'other' })];
    const { answer } = await inRequest(mine, () =>
      store.update(other, async session => [session.get('name'), (await store.current()).get('name')]),
    );
    expect(answer.json().value).toEqual(['other', 'mine']);
  });

  it('create(), get(), exists() and destroy()', async () => {
    const id = await store.create({ cart: [1] }, { owner: 'ada', timeout: 2 });
    const session = (await store.get(id))!;
    expect(session).toEqual({
      data: { cart: [1] },
      owner: 'ada',
      createdAt: expect.any(Date),
      expiresAt: expect.any(Date),
      lastUsedAt: expect.any(Date),
    });
    const left = session.expiresAt.getTime() - session.createdAt.getTime();
    expect(Math.abs(left - 2 * 60_000)).toBeLessThan(1000);
    session.data.cart.push(2);
    expect(await dataOf(id)).toEqual({ cart: [1] });
    expect(await store.exists(id)).toBe(true);
    expect(await store.destroy(id)).toBe(true);
    expect([await store.destroy(id), await store.exists(id), await store.get(id)]).toEqual([
      false,
      false,
      undefined,
    ]);
  });

  it('list() gives all sessions, page by page, or says that the storage cannot', async () => {
    if (setup.storage === 'memcached') {
      await expect(store.list()).rejects.toThrow(SessionUnsupportedException);
      return;
    }
    const ids = await Promise.all(
      Array.from({ length: 5 }, (_, n) => store.create({ n }, { owner: 'list' })),
    );
    const all: OwnedSession[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.list(cursor, 2);
      all.push(...page.sessions);
      cursor = page.next;
    } while (cursor !== undefined);
    const listed = all.filter(({ owner }) => owner === 'list');
    expect(listed.map(({ data }) => data.n).sort()).toEqual([0, 1, 2, 3, 4]);
    expect(listed[0]).toEqual({
      ...(await store.findByOwner('list')).find(({ key }) => key === listed[0]!.key),
    });
    await Promise.all(ids.map(id => store.destroy(id)));
    for (const wrong of [0, 1001, 1.5, '5', null] as number[]) {
      await expect(store.list(undefined, wrong)).rejects.toThrow(RangeError);
    }
    await expect(store.list('x')).rejects.toThrow(/the next of the page before/);
  });

  it('a session that create() made is the one of whoever sends its id', async () => {
    const { answer } = await inRequest(await store.create({ a: 1 }), session => [
      session.isNew,
      session.get('a'),
    ]);
    expect(answer.json().value).toEqual([false, 1]);
  });

  it('update(): stores what fn changed and returns what it returns', async () => {
    const id = await store.create({ count: 1 });
    expect(
      await store.update(id, session => {
        session.set('count', 2).owner = 'bob';
        return session.locked && 'done';
      }),
    ).toBe('done');
    expect(await store.get(id)).toMatchObject({ data: { count: 2 }, owner: 'bob' });
  });

  it('update() of an unknown id: undefined, and fn is not called', async () => {
    let calls = 0;
    expect(await store.update('x'.repeat(43), () => ++calls)).toBeUndefined();
    expect(calls).toBe(0);
  });

  it("update() of the request's own session whose fn throws undoes what fn did, and no more", async () => {
    const id = await store.create({ kept: 1 });
    await inRequest(id, async session => {
      session.set('before', 1);
      const failing = store.update(session.id, own => {
        own.set('kept', 2).set('added', 1);
        throw new Error('no');
      });
      await failing.catch(() => session.set('caught', 1));
    });
    expect((await store.get(id))!.data).toEqual({ kept: 1, before: 1, caught: 1 });
  });

  it('update() whose fn throws stores nothing and frees the lock', async () => {
    const id = await store.create({ count: 1 });
    const failing = store.update(id, session => {
      session.set('count', 2);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    await expect.poll(() => lockCount(server)).toBe(0);
    expect(await dataOf(id)).toEqual({ count: 1 });
    await store.update(id, increment);
    expect(await dataOf(id)).toEqual({ count: 2 });
  });

  it('update() of what is destroyed meanwhile: SessionDestroyedException, nothing stored', async () => {
    const id = await store.create({ count: 1 });
    const updating = store.update(id, async session => {
      await new Promise<void>(
        resolve => void inRequest(undefined, () => store.destroy(id)).then(() => resolve()),
      );
      session.set('count', 2);
    });
    await expect(updating).rejects.toThrow(SessionDestroyedException);
    expect(await store.exists(id)).toBe(false);
  });

  it('update() inside an update() of the same session: one session, one lock', async () => {
    const id = await store.create({ count: 0 });
    await store.update(id, async outer => {
      outer.set('count', 1);
      await store.update(id, async inner => {
        expect(inner).toBe(outer);
        await increment(inner);
      });
      expect(await dataOf(id)).toEqual({ count: 2 });
      await increment(outer);
    });
    expect(await dataOf(id)).toEqual({ count: 3 });
  });

  it.each(['run', 'read', 'explicit', 'none', 'skip'] as const)(
    "update() of the request's own session does not deadlock, nothing is lost: route %s",
    async route => {
      const id = await store.create({ count: 0 });
      const answers = await Promise.all(
        Array.from({ length: 20 }, () =>
          inRequest(
            id,
            () => store.update(id, async session => (await increment(session), session.locked)),
            route,
          ),
        ),
      );
      expect(answers.map(({ answer }) => answer.json().value)).toEqual(Array(20).fill(true));
      expect(await dataOf(id)).toEqual({ count: 20 });
    },
  );

  it("destroy() of the request's own session is as session.destroy()", async () => {
    const id = await store.create({ a: 1 });
    const { answer, cookie } = await inRequest(id, async session => [
      await store.destroy(id),
      session.isNew,
      session.size,
      session.locked,
    ]);
    expect([answer.status, answer.json().value]).toEqual([200, [true, true, 0, false]]);
    expect(cookie).toBeUndefined();
    expect(await store.exists(id)).toBe(false);
  });

  it("destroy() of the request's own session, then a write: a new session", async () => {
    const id = await store.create({ a: 1 });
    const { cookie } = await inRequest(id, async session => {
      await store.destroy(id);
      session.set('b', 2);
    });
    expect(cookie).not.toBe(id);
    expect(await dataOf(cookie!)).toEqual({ b: 2 });
    expect(await store.exists(id)).toBe(false);
  });

  it("fromRequest(): the session of a handshake's cookie", async () => {
    const id = await store.create({ a: 1 });
    const handshake = (cookie?: string) => store.fromRequest({ headers: { cookie } });
    expect(await handshake(`other=1; session_id=${id}`)).toMatchObject({ id, data: { a: 1 } });
    expect(await handshake('session_id=unknown-unknown-unknown')).toBeUndefined();
    expect(await handshake()).toBeUndefined();
  });

  it('cleanUp(): removes what has expired, and nothing else', async () => {
    const before = await server.stored();
    const ids = await Promise.all([store.create({}), store.create({}), store.create({}, { timeout: SHORT })]);
    await expect.poll(() => store.exists(ids[2])).toBe(false);
    expect(await store.cleanUp()).toBe(sweepsItself ? 0 : 1);
    expect(await store.cleanUp()).toBe(0);
    expect(await Promise.all(ids.map(id => store.exists(id)))).toEqual([true, true, false]);
    expect(await server.stored()).toBe(before + 2);
  });

  it("cookieFor() lets an HTTP client of one's own into a stored session, and into no other", async () => {
    const id = await store.create({ name: 'Ann' });
    const { cookie, setCookie } = (await store.cookieFor(id, { secure: true }))!;
    expect(setCookie.startsWith(`${cookie}; Max-Age=3600; Path=/;`)).toBe(true);
    expect(setCookie).toContain('; Secure');
    expect((await store.cookieFor(id))!.setCookie).not.toContain('Secure');
    const browser = new Browser(server.url);
    await browser.jar.setCookie((await store.cookieFor(id))!.setCookie, server.url);
    expect(await browser.value(session => session.get('name'))).toBe('Ann');
    expect(await browser.jar.getCookieString(server.url)).toBe(cookie);
    await store.destroy(id);
    for (const none of [id, 'x'.repeat(43), '', undefined, null, 5]) {
      expect(await store.cookieFor(none as string)).toBeUndefined();
    }
  });

  if (setup.storage === 'memcached') {
    it('what asks for a list of sessions throws SessionUnsupportedException, by name', async () => {
      const calls: Record<string, () => Promise<unknown>> = {
        count: () => store.count(),
        findByOwner: () => store.findByOwner('ada'),
        destroyByOwner: () => store.destroyByOwner('ada'),
        list: () => store.list(),
      };
      const id = await store.create({ a: 1 }, { owner: 'ada' });
      for (const [name, call] of Object.entries(calls)) {
        const error = await call().catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(SessionUnsupportedException);
        expect(error).toMatchObject({ operation: name, message: expect.stringContaining(`${name}()`) });
      }
      expect(await store.get(id)).toMatchObject({ data: { a: 1 }, owner: 'ada' });
    });
    return; // what follows is about lists
  }

  it('count(): expired ones do not count, whether or not they are swept', async () => {
    const before = await store.count();
    const expired = await store.create({}, { timeout: SHORT });
    await store.create({});
    await expect.poll(() => store.exists(expired)).toBe(false);
    expect(await store.count()).toBe(before + 1);
  });

  it('findByOwner(): all of the owner, the current one is marked, no ids', async () => {
    const ids = await Promise.all([1, 2].map(n => store.create({ n }, { owner: 'carol' })));
    await store.create({}, { owner: 'carola' });
    const { answer } = await inRequest(ids[1], async () => store.findByOwner('carol'));
    const found: { key: string; current: boolean; data: { n: number } }[] = answer.json().value;
    expect(found.map(({ data, current }) => [data.n, current]).sort()).toEqual([
      [1, false],
      [2, true],
    ]);
    expect(ids.some(id => answer.body.includes(id))).toBe(false);
    expect((await store.findByOwner('carol')).map(({ current }) => current)).toEqual([false, false]);
  });

  it("bad input is treated as absent: destroyByOwner()'s only that names no session removes none", async () => {
    const id = await store.create({}, { owner: 'erin' });
    for (const only of ['', 'a', 'a\0b', '\u{d800}', `${'x'.repeat(42)}\0`, 'x'.repeat(44), "'; --"]) {
      expect(await store.destroyByOwner('erin', { only })).toBe(0);
    }
    expect(await store.exists(id)).toBe(true);
    await store.destroy(id);
  });

  it('destroyByOwner(): all, except one, or only one', async () => {
    const create = () => Promise.all([1, 2, 3].map(() => store.create({}, { owner: 'dave' })));
    const alive = async (ids: string[]) => Promise.all(ids.map(id => store.exists(id)));
    const other = await store.create({}, { owner: 'eve' });
    const [otherSession] = await store.findByOwner('eve');

    let ids = await create();
    expect(await store.destroyByOwner('dave', { except: ids[1]! })).toBe(2);
    expect(await alive(ids)).toEqual([false, true, false]);

    const [last] = await store.findByOwner('dave');
    expect(await store.destroyByOwner('dave', { only: otherSession!.key })).toBe(0);
    expect(await store.destroyByOwner('dave', { only: last!.key })).toBe(1);
    expect(await alive([ids[1]!, other])).toEqual([false, true]);

    ids = await create();
    expect(await store.destroyByOwner('dave')).toBe(3);
    expect(await alive([...ids, other])).toEqual([false, false, false, true]);
  });

  it("destroyByOwner() that includes the request's own session", async () => {
    const ids = await Promise.all([1, 2].map(() => store.create({}, { owner: 'frank' })));
    const { answer, cookie } = await inRequest(ids[0], async session => {
      const count = await store.destroyByOwner('frank');
      return [count, session.isNew];
    });
    expect([answer.status, answer.json().value, cookie]).toEqual([200, [2, true], undefined]);
    expect(await store.findByOwner('frank')).toEqual([]);
  });
});

describe('SessionStore in an application without HTTP', () => {
  it.each(STORAGES)('works in a createApplicationContext: %s', async storage => {
    const sessions = await newStorage(storage);
    class JobModule {}
    const app = await NestFactory.createApplicationContext(
      { module: JobModule, imports: [SessionsModule.forRoot(sessions)] },
      { logger: false },
    );
    const store = app.get(SessionStore);
    const id = await store.create({ count: 0 });
    await Promise.all(Array.from({ length: 20 }, () => store.update(id, increment)));
    expect((await store.get(id))!.data).toEqual({ count: 20 });
    expect(await store.destroy(id)).toBe(true);
    await app.close();
  });
});
