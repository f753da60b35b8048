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

describe.each(ADAPTERS)('requests that begin on what the one before has not stored yet: %s', adapter => {
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
    /** Of those that are answered, their places in line. */
    answered: number[];
  }

  /** Sends requests of one session, which stand in line, and lets the first one go on; until so many have begun. */
  const run = (...scripts: Script[]) => runUntil(scripts.length, ...scripts);

  async function runUntil(hasBegun: number, ...scripts: Script[]): Promise<Running> {
    const { queues } = server.app.get(SessionRuntime, { strict: false }).locks as unknown as {
      queues: Map<string, { waiters: unknown[] }>;
    };
    const start = new Gate();
    const answered: number[] = [];
    let begun = 0;
    const answers: Promise<Answer>[] = [];
    for (const [index, script] of scripts.entries()) {
      const browser = new Browser(server.url, id);
      browsers.push(browser);
      const answer = browser.run(async session => {
        begun++;
        await start.opened;
        return script(session);
      });
      answer.then(
        () => answered.push(index),
        () => undefined,
      );
      answers.push(answer);
      await until(() => begun === 1 && (queues.get(sessionKey(id))?.waiters.length ?? 0) === index);
    }
    start.open();
    await until(() => begun === hasBegun);
    return { answers, answered };
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

  it('invariant 3, success means saved: none is answered before, also not one that changed nothing', async () => {
    const running = await run(increment, read, increment, read);
    await muchLater();
    expect(running.answered).toEqual([]);
    expect((await server.store.get(id))!.data).toEqual({ count: 0 });
    storage.gate.open();
    const answers = await Promise.all(running.answers);
    expect(answers.map(answer => answer.json().value)).toEqual([1, 1, 2, 2]);
    expect((await server.store.get(id))!.data).toEqual({ count: 2 });
  });

  it('one save does for all that ended while another was under way', async () => {
    const running = await run(...times(20, () => increment));
    storage.gate.open();
    expect(await statuses(running)).toEqual(times(20, () => 200));
    expect((await server.store.get(id))!.data).toEqual({ count: 20 });
    expect(storage.saves).toBeLessThanOrEqual(3);
  });

  it('invariant 3: all fail with the save that they rest on, without its data or a cookie', async () => {
    storage.failure = new SessionStorageException('save', new Error('broken on purpose'));
    const running = await run(increment, read, increment);
    storage.gate.open();
    for (const answer of await Promise.all(running.answers)) {
      expect(answer).toMatchObject({ status: 503, setCookies: [] });
      expect(answer.json()).not.toHaveProperty('value');
    }
    storage.failure = undefined;
    expect(await new Browser(server.url, id).value(increment)).toBe(1);
  });

  it('invariant 2, no resurrection: the session is destroyed under all of them', async () => {
    const running = await run(increment, read, increment);
    await server.store.destroy(id);
    storage.gate.open();
    for (const answer of await Promise.all(running.answers)) {
      expect(answer).toMatchObject({ status: 409, setCookies: [] });
      expect(answer.json()).not.toHaveProperty('value');
    }
    expect(await server.store.exists(id)).toBe(false);
    expect(await new Browser(server.url, id).value(session => session.isNew)).toBe(true);
  });

  it('invariant 2: who began before it shows gets a 409, who stands in line then a new session', async () => {
    const hold = new Gate();
    const slowly = async (session: Session) => {
      await hold.opened;
      return increment(session);
    };
    const running = await runUntil(2, increment, slowly, session => session.isNew);
    await server.store.destroy(id);
    storage.gate.open();
    expect((await running.answers[0]!).status).toBe(409);
    hold.open();
    expect((await running.answers[1]!).status).toBe(409);
    expect((await running.answers[2]!).json()).toEqual({ value: true });
    expect(await server.store.exists(id)).toBe(false);
  });

  it('who destroys the session does so after the one before was stored', async () => {
    const running = await run(increment, session => session.destroy());
    storage.gate.open();
    expect(await statuses(running)).toEqual([200, 200]);
    expect(await server.store.exists(id)).toBe(false);
  });

  it('who destroys the session does so also if what the one before stored is lost', async () => {
    storage.failure = new SessionStorageException('save', new Error('broken on purpose'));
    const running = await run(increment, session => session.destroy());
    storage.gate.open();
    expect(await statuses(running)).toEqual([503, 200]);
    expect(await server.store.exists(id)).toBe(false);
  });

  it('a new id takes along what the one before stored', async () => {
    const running = await run(increment, session => session.regenerate());
    storage.gate.open();
    expect(await statuses(running)).toEqual([200, 200]);
    expect(await server.store.exists(id)).toBe(false);
    expect(await browsers[1]!.value(read)).toBe(1);
  });

  it.each<[string, Script]>([
    ['save()', session => session.save()],
    ['reload()', session => session.reload()],
    ['touch()', session => session.touch()],
    ['releaseLock()', session => session.releaseLock()],
    ['regenerate()', session => session.regenerate()],
  ])('%s ends when what the one before left is stored, or throws if that is lost', async (_, call) => {
    for (const isLost of [false, true]) {
      storage.gate = new Gate();
      id = await server.store.create({ count: 0 });
      const seen: string[] = [];
      const running = await run(increment, async session => {
        try {
          await call(session);
          const stored = await server.store.get(session.id);
          seen.push(`done: ${stored?.data.count}`);
        } catch (error) {
          seen.push((error as Error).name);
        }
      });
      await muchLater();
      expect(seen).toEqual([]);
      if (isLost) {
        await server.store.destroy(id);
      }
      storage.gate.open();
      await Promise.all(running.answers);
      expect(seen).toEqual([isLost ? 'SessionDestroyedException' : 'done: 1']);
    }
  });

  it('a request that fails on its own is answered as ever, and its change is dropped', async () => {
    const running = await run(
      increment,
      session => {
        increment(session);
        throw new Error('on purpose');
      },
      read,
    );
    storage.gate.open();
    const answers = await Promise.all(running.answers);
    expect(answers.map(({ status }) => status)).toEqual([200, 500, 200]);
    expect(answers[2]!.json().value).toBe(1);
    expect((await server.store.get(id))!.data).toEqual({ count: 1 });
  });

  it('a client that goes away meanwhile takes nothing along', async () => {
    const running = await run(increment, increment, increment);
    browsers[1]!.close();
    await Promise.allSettled([running.answers[1]]);
    storage.gate.open();
    await Promise.all([running.answers[0], running.answers[2]]);
    expect((await server.store.get(id))!.data).toEqual({ count: 3 });
  });
});
