import { beforeEach, afterEach, describe, expect, it } from 'vitest';
import { InternalServerErrorException } from '@nestjs/common';
import { SessionDestroyedException, type Session } from 'nest-sessions';
import { ALL_SETUPS } from '../support/app.js';
import { Browser, useServer } from '../support/scripts.js';

describe.each(ALL_SETUPS)('Life of a session: $storage, $adapter', setup => {
  const server = useServer(setup);
  let browser: Browser;
  beforeEach(() => {
    browser = new Browser(server.url);
  });
  afterEach(() => browser.close());

  /** What the next request finds. */
  const data = () => browser.value(session => session.toJSON(), 'read');

  it('save() mid-request: others see it, and the lock is kept', async () => {
    await browser.value(session => void session.set('step', 0));
    const id = (await browser.cookie())!;
    expect(
      await browser.value(async session => {
        await session.set('step', 1).save();
        const other = new Browser(server.url, id);
        const seen = await other.value(read => read.get('step'), 'read');
        other.close();
        session.set('step', 2);
        return [seen, session.locked];
      }),
    ).toEqual([1, true]);
    expect(await data()).toEqual({ step: 2 });
  });

  it('save() of a fresh session: stored and locked at once', async () => {
    expect(
      await browser.value(async session => {
        await session.set('a', 1).save();
        return [await server.store.exists(session.id), session.locked, session.isNew];
      }),
    ).toEqual([true, true, true]);
    expect(await data()).toEqual({ a: 1 });
  });

  it('a 5xx answer drops what was not saved and keeps what was', async () => {
    await browser.value(session => void session.update({ kept: 0, dropped: 0 }));
    const answer = await browser.run(async session => {
      await session.set('kept', 1).save();
      session.set('dropped', 1);
      throw new InternalServerErrorException();
    });
    expect(answer.status).toBe(500);
    expect(await data()).toEqual({ kept: 1, dropped: 0 });
  });

  it('reload() drops changes and shows what is stored', async () => {
    await browser.value(session => void session.update({ a: 1, list: [1] }));
    expect(
      await browser.value(async session => {
        session.set('a', 2).data.list.push(2);
        await session.reload();
        return session.toJSON();
      }),
    ).toEqual({ a: 1, list: [1] });
    expect(await data()).toEqual({ a: 1, list: [1] });
  });

  it('touch() moves expiresAt and writes no data', async () => {
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    const { expiresAt } = (await server.store.get(id))!;
    const seen = await browser.value(async session => {
      session.set('a', 2);
      // As the storage has it: its clock may not have gone on since.
      const touched = async () => (await session.touch(), (await server.store.get(id))!.expiresAt);
      await expect.poll(async () => (await touched()) > expiresAt).toBe(true);
      return (await server.store.get(id))!;
    });
    expect(seen.data).toEqual({ a: 1 });
    expect(Date.parse(seen.expiresAt)).toBeGreaterThan(expiresAt.getTime());
    expect(await data()).toEqual({ a: 2 });
  });

  it('regenerate(): same data, the old id is dead at once, the cookie follows', async () => {
    await browser.value(session => void (session.set('cart', [1]).owner = 'ada'));
    const old = (await browser.cookie())!;
    const { createdAt } = (await server.store.get(old))!;
    expect(
      await browser.value(async session => {
        const heard: unknown[] = [];
        const stop = session.onIdChange((id, previous) => heard.push([id === session.id, previous === old]));
        session.set('before', true);
        await session.regenerate();
        stop();
        session.set('user', 7);
        const facts = [session.regenerated, session.originalId === old, session.id !== old, session.locked];
        return [heard, facts, await server.store.exists(old), await server.store.exists(session.id)];
      }),
    ).toEqual([[[true, true]], [true, true, true, true], false, true]);
    const id = (await browser.cookie())!;
    expect(id).not.toBe(old);
    expect(await server.store.get(id)).toMatchObject({
      data: { cart: [1], before: true, user: 7 },
      owner: 'ada',
      createdAt,
    });
    expect(await data()).toEqual({ cart: [1], before: true, user: 7 });
  });

  it('regenerate() of a fresh session, and a listener that was stopped', async () => {
    expect(
      await browser.value(async session => {
        let calls = 0;
        const before = session.id;
        session.onIdChange(() => calls++)();
        await session.set('a', 1).regenerate();
        return [session.id !== before, calls, session.regenerated];
      }),
    ).toEqual([true, 0, true]);
    expect(await data()).toEqual({ a: 1 });
  });

  it('destroy(): record and cookie are gone', async () => {
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    const answer = await browser.run(async session => {
      await session.destroy();
      return [await server.store.exists(id), session.size, session.isNew];
    });
    expect(answer.json().value).toEqual([false, 0, true]);
    expect(await browser.cookie()).toBeUndefined();
  });

  it('destroy(), then a write: a new session with a new id', async () => {
    await browser.value(session => void session.set('a', 1));
    const old = (await browser.cookie())!;
    await browser.value(async session => {
      await session.destroy();
      session.set('b', 2);
    });
    expect(await browser.cookie()).not.toBe(old);
    expect(await data()).toEqual({ b: 2 });
    expect(await server.store.exists(old)).toBe(false);
  });

  it('expire(): the cookie is gone, the record stays', async () => {
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    await browser.value(session => session.set('a', 2).expire());
    expect(await browser.cookie()).toBeUndefined();
    expect((await server.store.get(id))!.data).toEqual({ a: 2 });
  });

  it('acquireLock() and releaseLock(): for explicit locking', async () => {
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    expect(
      await browser.value(async session => {
        const states = [session.locked];
        await session.acquireLock();
        states.push(session.locked);
        session.set('a', 2);
        await session.releaseLock();
        states.push(session.locked);
        return [states, (await server.store.get(id))!.data];
      }, 'explicit'),
    ).toEqual([[false, true, false], { a: 2 }]);
  });

  it('acquireLock({ timeout }): seconds to wait', async () => {
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    const other = new Browser(server.url, id);
    const status = await browser.value(async () => {
      const answer = await other.run(session => session.acquireLock({ timeout: 0.05 }), 'explicit');
      return answer.status;
    });
    expect(status).toBe(503);
    other.close();
  });

  it('invariant 2, no resurrection: once another request destroyed it, every save, touch and move throws', async () => {
    await browser.value(session => void session.set('a', 1));
    const id = (await browser.cookie())!;
    const other = new Browser(server.url, id);
    const attempts: Record<string, (session: Session) => Promise<void>> = {
      save: session => session.set('a', 2).save(),
      touch: session => session.touch(),
      reload: session => session.reload(),
      acquireLock: session => session.acquireLock(),
      regenerate: session => session.regenerate(),
    };
    const answer = await browser.run(async session => {
      await other.value(mine => mine.destroy(), 'explicit');
      for (const attempt of Object.values(attempts)) {
        await expect(attempt(session)).rejects.toThrow(SessionDestroyedException);
      }
    }, 'explicit');
    expect(answer.status).toBe(409);
    other.close();
  });
});
