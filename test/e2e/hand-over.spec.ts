import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SessionStorageException, type Session, type SessionBackend } from 'nest-sessions';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { sessionKey } from '../../lib/session/session-id.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { times, until } from '../contract/fixtures.js';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import type { Answer } from '../support/client.js';
import { Browser, Gate, lockCount, ScriptController, type Script } from '../support/scripts.js';

/** Saves wait until the test lets them go. */
class SlowToSave {
  gate = new Gate();
  /** What a save throws in the end. */
  failure: Error | undefined;
  saves = 0;
  readonly backend: SessionBackend = new Proxy<SessionBackend>(new RamBackend(Infinity), {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name);
      return typeof member !== 'function'
        ? member
        : name === 'save'
          ? (...args: Parameters<SessionBackend['save']>) => this.save(() => target.save(...args))
          : member.bind(target);
    },
  });

  private async save(save: () => Promise<boolean>): Promise<boolean> {
    this.saves++;
    await this.gate.opened;
    if (this.failure) {
      throw this.failure;
    }
    return save();
  }
}

const increment = (session: Session) => {
  session.set('count', session.get('count') + 1);
  return session.get('count');
};
const read = (session: Session) => session.get('count');
const newSession = async (session: Session) => {
  await session.regenerate();
  session.set('count', 1);
};

describe.each(ADAPTERS)('a lock is handed on once the save before it is stored: %s', adapter => {
  const storage = new SlowToSave();
  let server: TestApp;
  let browsers: Browser[];
  let id: string;
  beforeAll(async () => {
    server = await startApp({
      adapter,
      sessions: { storageType: storage.backend },
      controllers: [ScriptController],
    });
  });
  beforeEach(async () => {
    storage.gate = new Gate();
    storage.failure = undefined;
    id = await server.store.create({ count: 0 });
    storage.saves = 0;
    browsers = [];
  });
  afterEach(async () => {
    storage.gate.open();
    browsers.forEach(browser => browser.close());
    await expect.poll(() => lockCount(server)).toBe(0);
  });
  afterAll(() => server.close());

  interface Running {
    answers: Promise<Answer>[];
    /** Those whose handlers have begun, by their places in line. */
    begun: number[];
  }

  /** Sends requests of one session, which stand in line; the first one goes on to its save, and waits there. */
  async function run(...scripts: Script[]): Promise<Running> {
    const { queues } = server.app.get(SessionRuntime, { strict: false }).locks as unknown as {
      queues: Map<string, { waiters: Set<unknown> }>;
    };
    const start = new Gate();
    const begun: number[] = [];
    const answers: Promise<Answer>[] = [];
    for (const [index, script] of scripts.entries()) {
      const browser = new Browser(server.url, id);
      browsers.push(browser);
      answers.push(
        browser.run(async session => {
          begun.push(index);
          await start.opened;
          return script(session);
        }),
      );
      await until(() => begun.length === 1 && (queues.get(sessionKey(id))?.waiters.size ?? 0) === index);
    }
    start.open();
    await until(() => storage.saves === 1);
    return { answers, begun };
  }

  /** Ten requests later. */
  async function muchLater(): Promise<void> {
    const other = new Browser(server.url, await server.store.create({ count: 0 }));
    browsers.push(other);
    for (let request = 0; request < 10; request++) {
      await other.value(read);
    }
  }

  const statuses = async ({ answers }: Running) => (await Promise.all(answers)).map(({ status }) => status);

  it('invariant 3, success means saved: nobody is answered, and nobody begins, before it is stored', async () => {
    const running = await run(increment, read, increment, read);
    await muchLater();
    expect(running.begun).toEqual([0]);
    expect((await server.store.get(id))!.data).toEqual({ count: 0 });
    storage.gate.open();
    const answers = await Promise.all(running.answers);
    expect(answers.map(answer => answer.json().value)).toEqual([1, 1, 2, 2]);
    expect(running.begun).toEqual([0, 1, 2, 3]);
    expect((await server.store.get(id))!.data).toEqual({ count: 2 });
  });

  it('invariant 1, no lost update: 20 in line, each stores its own', async () => {
    const running = await run(...times(20, () => increment));
    storage.gate.open();
    expect(await statuses(running)).toEqual(times(20, () => 200));
    expect((await server.store.get(id))!.data).toEqual({ count: 20 });
    expect(storage.saves).toBe(20);
  });

  it('trouble with the storage is told to all in line at once, without data or a cookie', async () => {
    const running = await run(increment, read, increment);
    storage.failure = new SessionStorageException('save', new Error('broken on purpose'));
    storage.gate.open();
    for (const answer of await Promise.all(running.answers)) {
      expect(answer).toMatchObject({ status: 503, setCookies: [] });
      expect(answer.headers['retry-after']).toBe('1');
      expect(answer.json()).not.toHaveProperty('value');
    }
    expect(running.begun).toEqual([0]);
    storage.failure = undefined;
    expect(await new Browser(server.url, id).value(increment)).toBe(1);
  });

  it.each<[string, () => Promise<unknown>]>([
    ['store.destroy()', () => server.store.destroy(id)],
    ['store.destroyByOwner()', () => server.store.destroyByOwner('7')],
  ])(
    'invariant 12, ended is ended: after %s was answered, nobody in line is given the session',
    async (_, end) => {
      const seen: unknown[] = [];
      const look = (session: Session) => seen.push(session.get('count'), session.owner, session.isNew);
      id = await server.store.create({ count: 0 }, { owner: '7' });
      const running = await run(increment, look, look);
      await end();
      storage.gate.open();
      const [first, ...others] = await Promise.all(running.answers);
      expect(first).toMatchObject({ status: 409, setCookies: [] });
      for (const answer of others) {
        expect(answer).toMatchObject({ status: 200, setCookies: [] });
      }
      expect(seen).toEqual([undefined, undefined, true, undefined, undefined, true]);
      expect(await server.store.exists(id)).toBe(false);
      expect(await new Browser(server.url, id).value(session => session.isNew)).toBe(true);
    },
  );

  it('invariant 2, no resurrection: who waited for a session that ended can store nothing', async () => {
    const running = await run(increment, session => void session.set('count', 1), increment);
    await server.store.destroy(id);
    storage.gate.open();
    expect(await statuses(running)).toEqual([409, 409, 409]);
    expect(await server.store.exists(id)).toBe(false);
  });

  it.each<[string, Script, number]>([
    ['regenerate() and a change begin a new session', newSession, 200],
    ['destroy() ends it', session => session.destroy(), 200],
  ])('a log-in or log-out that waited for a session which ended: %s', async (_, script, status) => {
    const running = await run(increment, script);
    await server.store.destroy(id);
    storage.gate.open();
    expect(await statuses(running)).toEqual([409, status]);
    expect(await server.store.exists(id)).toBe(false);
  });

  it('who destroys the session does so after the one before was stored', async () => {
    const running = await run(increment, session => session.destroy());
    storage.gate.open();
    expect(await statuses(running)).toEqual([200, 200]);
    expect(await server.store.exists(id)).toBe(false);
  });

  it('a new id takes along what the one before stored', async () => {
    const running = await run(increment, session => session.regenerate());
    storage.gate.open();
    expect(await statuses(running)).toEqual([200, 200]);
    expect(await server.store.exists(id)).toBe(false);
    expect(await browsers[1]!.value(read)).toBe(1);
  });

  it('a request that fails on its own is answered as ever, and its change is dropped', async () => {
    const fails = (session: Session) => {
      increment(session);
      throw new Error('on purpose');
    };
    const running = await run(increment, fails, read);
    storage.gate.open();
    const answers = await Promise.all(running.answers);
    expect(answers.map(({ status }) => status)).toEqual([200, 500, 200]);
    expect(answers[2]!.json().value).toBe(1);
    expect((await server.store.get(id))!.data).toEqual({ count: 1 });
  });

  it('a client that goes away meanwhile takes nothing along, and its handler never begins', async () => {
    const running = await run(increment, increment, increment);
    browsers[1]!.close();
    await Promise.allSettled([running.answers[1]]);
    storage.gate.open();
    await Promise.all([running.answers[0], running.answers[2]]);
    expect(running.begun).toEqual([0, 2]);
    expect((await server.store.get(id))!.data).toEqual({ count: 2 });
  });
});
