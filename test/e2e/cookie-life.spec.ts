import { Controller, Get, Query } from '@nestjs/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSession, Session, SessionStore, type SessionModuleOptions } from 'nest-sessions';
import { SETUPS, startApp, type TestApp, type TestAppOptions } from '../support/app.js';
import { Client, sendRaw } from '../support/client.js';
import { TestClock } from '../support/clock.js';
import { lockCount } from '../support/scripts.js';
import { sessionCookie } from '../support/set-cookies.js';
import { until } from '../support/until.js';

@Controller()
class LifeController {
  constructor(private readonly store: SessionStore) {}

  @Get('untouched')
  untouched() {
    return {};
  }

  @Get('look')
  look(@Session() session: Session) {
    return show(session);
  }

  @Get('peek')
  peek(@Session({ readOnly: true }) session: Session) {
    return show(session);
  }

  @Get('poll')
  poll(@Session({ touch: false }) session: Session) {
    return show(session);
  }

  @Get('poll-peek')
  pollPeek(@Session({ touch: false, readOnly: true }) session: Session) {
    return show(session);
  }

  @Get('poll-write')
  pollWrite(@Session({ touch: false }) session: Session) {
    session.set('count', session.get('count', 0) + 1);
    return show(session);
  }

  @Get('poll-timeout')
  pollTimeout(@Session({ touch: false }) session: Session) {
    session.timeout = 120;
  }

  @Get('poll-touch')
  pollTouch(@Session({ touch: false }) session: Session) {
    return session.touch();
  }

  @Get('poll-and-look')
  async pollAndLook(@Session({ touch: false }) session: Session) {
    await this.store.current();
    return show(session);
  }

  @Get('poll-and-update')
  async pollAndUpdate(@Session({ touch: false }) session: Session) {
    await this.store.update(session.id, own => own.get('count'));
    return show(session);
  }

  @Get('look-and-poll')
  async lookAndPoll(@Session() session: Session) {
    await this.store.current({ touch: false });
    return show(session);
  }

  @Get('write')
  write(@Session() session: Session) {
    session.set('count', session.get('count', 0) + 1);
    return show(session);
  }

  @Get('timeout')
  timeout(@Session() session: Session, @Query('minutes') minutes: string) {
    session.timeout = minutes === '' ? undefined : Number(minutes);
    return {};
  }

  @Get('persistent')
  persistent(@Session() session: Session, @Query('value') value: string) {
    session.persistent = value === '' ? undefined : value === 'true';
    return { persistent: session.persistent };
  }

  @Get('persistent-and-fail')
  async persistentAndFail(@Session() session: Session) {
    await session.touch();
    session.persistent = !session.persistent;
    throw new Error('after the change');
  }

  @Get('regenerate')
  async regenerate(@Session() session: Session) {
    await session.regenerate();
    return show(session);
  }

  @Get('regenerate-and-fail')
  async regenerateAndFail(@Session() session: Session) {
    await session.regenerate();
    session.set('bad', () => 1);
    return {};
  }
}

const show = (session: Session) => ({
  id: session.id,
  isNew: session.isNew,
  missing: session.missing,
  count: session.get('count', 0),
});

const MINUTE = 60_000;
const NOW = Date.UTC(2030, 0, 1);

let clock: TestClock;
let started: TestApp;
let client: Client;

async function pass(minutes: number): Promise<void> {
  await until(() => lockCount(started) === 0); // what goes on behind the last answer belongs to its time
  await clock.pass(minutes * MINUTE);
}

beforeEach(() => {
  clock = new TestClock(NOW);
});
afterEach(async () => {
  client.close();
  await started.close();
  await clock.stop();
});

for (const { storage, adapter } of SETUPS) {
  const start = async (options: SessionModuleOptions = {}, prepare?: TestAppOptions['prepare']) => {
    const sessions = { ...(await clock.newStorage(storage)), ...options };
    started = await startApp({
      adapter,
      sessions,
      controllers: [LifeController],
      ...(prepare && { prepare }),
    });
    client = new Client(started.url);
  };
  /** What a request does to the cookie, after `minutes`. */
  const maxAgeAfter = async (minutes: number, path: string) => {
    await pass(minutes);
    const maxAge = sessionCookie(await client.get(path))?.maxAge;
    // Redis' clock does not stand still: what a test takes counts.
    return storage === 'redis' && typeof maxAge === 'number' ? 10 * Math.round(maxAge / 10) : maxAge;
  };

  describe(`when the cookie is set: ${storage}, ${adapter}`, () => {
    it('not by a request that leaves the session alone', async () => {
      await start({ saveUninitialized: true });
      const answer = await client.get('/untouched');
      expect(answer.setCookies).toEqual([]);
      expect(answer.headers).not.toHaveProperty('vary');
      expect(answer.headers).not.toHaveProperty('cache-control');
      expect(await started.stored()).toBe(0);
      await client.get('/write');
      expect((await client.get('/untouched')).setCookies).toEqual([]);
    });

    it.each(['/look', '/peek', '/regenerate'])('not for a fresh session that stays empty: %s', async path => {
      await start();
      const answer = await client.get(path);
      expect(answer.json()).toMatchObject({ isNew: true });
      expect(answer.setCookies).toEqual([]);
      expect(await started.stored()).toBe(0);
    });

    it('for every session that is accessed, with saveUninitialized', async () => {
      await start({ saveUninitialized: true });
      const answer = await client.get('/look');
      expect(sessionCookie(answer)!.value).toBe(answer.json().id);
      expect(await started.stored()).toBe(1);
      expect((await client.get('/look')).json()).toEqual({ ...answer.json(), isNew: false });
    });

    it('invariant 6, fixation-proof: an id that is not stored is not adopted', async () => {
      await start();
      const planted = 'x'.repeat(43);
      const headers = { cookie: `session_id=${planted}` };
      const look = await sendRaw(`${started.url}/look`, { headers });
      expect(look.json()).toMatchObject({ isNew: true, missing: true });
      expect(look.setCookies).toEqual([]);
      const write = await sendRaw(`${started.url}/write`, { headers });
      expect(sessionCookie(write)!.value).toBe(write.json().id);
      expect(write.json().id).not.toBe(planted);
    });

    it('names the new id on regenerate, once; the old id is dead and the data is there', async () => {
      await start();
      const before = (await client.get('/write')).json();
      const answer = await client.get('/regenerate');
      expect(sessionCookie(answer)!.value).toBe(answer.json().id);
      expect(answer.json().id).not.toBe(before.id);
      expect((await client.get('/look')).json()).toEqual({ ...answer.json(), count: 1 });
      const old = await sendRaw(`${started.url}/look`, { headers: { cookie: `session_id=${before.id}` } });
      expect(old.json()).toMatchObject({ isNew: true, missing: true, count: 0 });
      expect(await started.stored()).toBe(1);
    });

    it('follows a regenerate whose request failed later: the client keeps its session', async () => {
      await start();
      await client.get('/write');
      const answer = await client.get('/regenerate-and-fail');
      expect(answer.status).toBe(500);
      expect(sessionCookie(answer)).toBeDefined();
      expect((await client.get('/look')).json()).toMatchObject({ isNew: false, count: 1 });
    });
  });

  describe(`the cookie's age: ${storage}, ${adapter}`, () => {
    it('rolls with every use, changed or not, and the record with it', async () => {
      await start();
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
      expect(await maxAgeAfter(50, '/look')).toBe(3600);
      expect(await maxAgeAfter(50, '/write')).toBe(3600);
      const last = await client.get('/look');
      expect(sessionCookie(last)!.expires).toEqual(new Date(Date.now() + 60 * MINUTE));
      await pass(59.9);
      expect((await client.get('/look')).json()).toMatchObject({ isNew: false, count: 2 });
      const cookie = `session_id=${last.json().id}`;
      await pass(60.1);
      expect(await client.cookie()).toBeUndefined();
      const late = await sendRaw(`${started.url}/look`, { headers: { cookie } });
      expect(late.json()).toMatchObject({ isNew: true, missing: true });
    });

    it.each(['/poll', '/poll-peek', '/poll-write'])(
      'does not move with touch: false, nor does the record: %s',
      async path => {
        await start();
        expect(await maxAgeAfter(0, '/write')).toBe(3600);
        for (let polls = 0; polls < 3; polls++) {
          expect(await maxAgeAfter(19, path)).toBeUndefined();
        }
        expect((await client.get('/poll-peek')).json()).toMatchObject({ isNew: false });
        const cookie = `session_id=${await client.cookie()}`;
        await pass(3.1);
        const late = await sendRaw(`${started.url}/poll-peek`, { headers: { cookie } });
        expect(late.json()).toMatchObject({ isNew: true, missing: true });
      },
    );

    it.each(['/poll-and-look', '/look-and-poll', '/poll-and-update', '/poll-touch'])(
      'moves with touch: false where the same request uses the session otherwise: %s',
      async path => {
        await start();
        expect(await maxAgeAfter(0, '/write')).toBe(3600);
        expect(await maxAgeAfter(40, path)).toBe(3600);
        await pass(40);
        expect((await client.get('/look')).json()).toMatchObject({ isNew: false, count: 1 });
      },
    );

    it('begins with touch: false as any does, and takes a new timeout', async () => {
      await start();
      expect(await maxAgeAfter(0, '/poll-write')).toBe(3600);
      expect(await maxAgeAfter(10, '/poll-timeout')).toBe(7200);
    });

    it.each(['eager', 'loadSession'])('with %s, does not move with touch: false', async way => {
      await start(
        { eager: way === 'eager' },
        app => void (way === 'loadSession' && adapter === 'express' && app.use(loadSession)),
      );
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
      expect(await maxAgeAfter(40, '/poll')).toBeUndefined();
      expect(await maxAgeAfter(10, '/look')).toBe(3600);
    });

    it('is capped by lifetime, which no use and no regenerate prolongs', async () => {
      await start({ lifetime: 90 });
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
      expect(await maxAgeAfter(45, '/write')).toBe(45 * 60);
      expect(await maxAgeAfter(35, '/regenerate')).toBe(10 * 60);
      const cookie = `session_id=${await client.cookie()}`;
      expect(await maxAgeAfter(9, '/look')).toBe(60);
      await pass(1.1);
      const late = await sendRaw(`${started.url}/look`, { headers: { cookie } });
      expect(late.json()).toMatchObject({ isNew: true, missing: true });
    });

    it("is the session's own timeout, once it has one", async () => {
      await start();
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
      expect(await maxAgeAfter(0, '/timeout?minutes=43200')).toBe(43_200 * 60);
      expect(await maxAgeAfter(40_000, '/look')).toBe(43_200 * 60);
      expect(await maxAgeAfter(0, '/regenerate')).toBe(43_200 * 60);
      expect(await maxAgeAfter(0, '/timeout?minutes=5')).toBe(300);
      expect(await maxAgeAfter(0, '/timeout?minutes=1e15')).toBe(100 * 365 * 86_400);
      expect((await client.get('/look')).json()).toMatchObject({ isNew: false, count: 1 });
    });

    it('is not told again within touchAfter, unless something was stored', async () => {
      await start({ touchAfter: 600 });
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
      expect(await maxAgeAfter(5, '/look')).toBeUndefined();
      expect(await maxAgeAfter(4, '/look')).toBeUndefined();
      expect(await maxAgeAfter(1, '/look')).toBe(3600);
      expect(await maxAgeAfter(5, '/look')).toBeUndefined();
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
    });

    it('is told by a read-only request only if it moved the expiry: in the second half of the time', async () => {
      await start();
      expect(await maxAgeAfter(0, '/write')).toBe(3600);
      expect(await maxAgeAfter(20, '/peek')).toBeUndefined();
      expect(await maxAgeAfter(20, '/peek')).toBe(3600);
    });

    it.each([true, false])(
      'is told or not as the session says itself, with persistent: %s',
      async persistent => {
        await start({ persistent });
        const lives = async (path: string) => sessionCookie(await client.get(path))!.maxAge !== null;
        expect(await lives('/write')).toBe(persistent);
        expect(await lives(`/persistent?value=${!persistent}`)).toBe(!persistent);
        expect(await lives('/look')).toBe(!persistent); // it is stored
        expect(await lives('/regenerate')).toBe(!persistent);
        expect(await lives('/persistent?value=')).toBe(persistent);
        expect(await lives('/look')).toBe(persistent);
      },
    );

    it('is told as stored, where the request that changed it failed', async () => {
      await start();
      await client.get('/write');
      expect(sessionCookie(await client.get('/persistent-and-fail'))?.maxAge ?? 3600).toBe(3600);
      expect(sessionCookie(await client.get('/look'))!.maxAge).toBe(3600);
      await client.get('/persistent?value=false');
      expect(sessionCookie(await client.get('/persistent-and-fail'))?.maxAge ?? null).toBeNull();
      expect(sessionCookie(await client.get('/look'))!.maxAge).toBeNull();
    });

    it('a session without a timeout of its own any more goes by the option again', async () => {
      await start();
      await client.get('/write');
      expect(sessionCookie(await client.get('/timeout?minutes=5'))!.maxAge).toBe(300);
      expect(sessionCookie(await client.get('/timeout?minutes='))!.maxAge).toBe(3600);
      expect(sessionCookie(await client.get('/look'))!.maxAge).toBe(3600);
    });

    it('is not told, with persistent: false, even if the session has its own timeout', async () => {
      await start({ persistent: false });
      await client.get('/write');
      const cookie = sessionCookie(await client.get('/timeout?minutes=5'))!;
      expect(cookie).toMatchObject({ maxAge: null, expires: 'Infinity' });
      await pass(5.1);
      expect((await client.get('/look')).json()).toMatchObject({ isNew: true, missing: true });
    });
  });
}
