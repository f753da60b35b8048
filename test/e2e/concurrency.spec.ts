import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Session, SessionStore } from 'nest-sessions';
import { SETUPS, startApp } from '../support/app.js';
import type { Answer } from '../support/client.js';
import { inLong } from '../support/long.js';
import { Browser, Gate, lockCount, ScriptController, useServer } from '../support/scripts.js';
import type { AnyOptions } from '../support/storages.js';
import { times } from '../support/times.js';

const CLIENTS = 5;
const ROUNDS = 30;

/** CherryPy's handler: 10 ms between read and write. */
async function increment(session: Session) {
  const count = session.get('count', 0);
  await sleep(10);
  session.set('count', count + 1);
}

/** CherryPy's test: clients that each do one request after the other. */
const inClients = (
  url: string,
  id: string,
  request: (browser: Browser, key: string) => Promise<unknown>,
  rounds = ROUNDS,
) =>
  times(CLIENTS, async client => {
    const browser = new Browser(url, id);
    for (let round = 0; round < rounds; round++) {
      await request(browser, `${client}-${round}`);
    }
    browser.close();
  });

const allKeys = Array.from({ length: CLIENTS }, (_, client) =>
  Array.from({ length: ROUNDS }, (_, round) => `${client}-${round}`),
).flat();

describe.each(SETUPS)('invariant 1, no lost update: $storage, $adapter', setup => {
  const server = useServer(setup);
  let store: SessionStore;
  let id: string;
  const stored = async () => (await store.get(id))!.data;

  beforeAll(() => {
    ({ store } = server);
  });

  /** The one increment that creates the session. */
  const first = async () => {
    const browser = new Browser(server.url);
    await browser.value(increment);
    id = (await browser.cookie())!;
    browser.close();
  };

  it("keeps 151 of 151 updates in CherryPy's test", async () => {
    await first();
    await inClients(server.url, id, browser => browser.value(increment));
    expect(await stored()).toEqual({ count: 151 });
  });

  const rounds = inLong(ROUNDS, 10);
  const updates = CLIENTS * rounds + 1;

  it(`keeps ${updates} of ${updates} updates with explicit locks`, async () => {
    await first();
    const lockedIncrement = async (session: Session) => {
      await session.acquireLock();
      await increment(session);
    };
    await inClients(server.url, id, browser => browser.value(lockedIncrement, 'explicit'), rounds);
    expect(await stored()).toEqual({ count: updates });
  });

  it('explicit without a lock: merges 5 clients that write 30 keys each', async () => {
    await first();
    await inClients(server.url, id, (browser, key) =>
      browser.value(async session => {
        await sleep(10);
        session.set(key, 'kept');
      }, 'explicit'),
    );
    const keys = Object.keys(await stored()).filter(key => key !== 'count');
    expect(keys.sort()).toEqual(allKeys.toSorted());
  });

  it('explicit without a lock: merges keys, removals, owner and timeout of requests at the same time', async () => {
    await first();
    await store.update(id, session => session.update({ old: 1, list: ['a'] }));
    const everyoneHasRead = new Gate();
    let readers = 0;
    const changes: ((session: Session) => unknown)[] = [
      session => (session.owner = 'ada'),
      session => (session.timeout = 90),
      session => session.delete('old'),
      session => session.get('list').push('b'),
      session => session.set('new', 1),
    ];
    await times(changes.length, async index => {
      const browser = new Browser(server.url, id);
      await browser.value(async session => {
        session.get('count');
        if (++readers === changes.length) {
          everyoneHasRead.open();
        }
        await everyoneHasRead.opened;
        changes[index]!(session);
      }, 'explicit');
      browser.close();
    });
    const browser = new Browser(server.url, id);
    expect(
      await browser.value(session => [session.toJSON(), session.owner, session.timeout], 'read'),
    ).toEqual([{ count: 1, list: ['a', 'b'], new: 1 }, 'ada', 90]);
    browser.close();
  });

  it('counts 100 clients at once', async () => {
    await first();
    await times(100, async () => {
      const browser = new Browser(server.url, id);
      await browser.value(increment);
      browser.close();
    });
    expect(await stored()).toEqual({ count: 101 });
  });

  it('a client that disconnects while it waits neither blocks the rest nor leaks its place', async () => {
    await first();
    let completed = 1;
    const counted = async (session: Session) => {
      await increment(session);
      completed++;
    };
    const answers = await times(100, async index => {
      const browser = new Browser(server.url, id);
      const signal = index % 3 === 0 ? AbortSignal.timeout(randomInt(600)) : undefined;
      // An abort destroys the socket.
      const status = await browser.run(counted, 'run', { signal }).then(
        answer => answer.status,
        () => 'hung up',
      );
      browser.close();
      return status;
    });
    // Every client that stayed was served.
    expect(answers.filter((status, index) => index % 3 !== 0 && status !== 200)).toEqual([]);
    await expect.poll(() => lockCount(server), { timeout: 5000 }).toBe(0);
    expect(await stored()).toEqual({ count: completed });
    // Some did hang up while they waited, and their handlers never ran.
    expect(completed).toBeLessThan(101);
    // The lock is free: a request gets it at once.
    const browser = new Browser(server.url, id);
    await browser.value(increment);
    expect(await stored()).toEqual({ count: completed + 1 });
    browser.close();
  });

  it('update(id) and requests at the same time take turns', async () => {
    await first();
    await Promise.all([
      inClients(server.url, id, browser => browser.value(increment), rounds),
      times(50, () => store.update(id, increment)),
    ]);
    expect(await stored()).toEqual({ count: updates + 50 });
    await expect.poll(() => lockCount(server)).toBe(0);
  });

  /** An application, and in it a session that a request holds until it is told to go on. */
  const holdSession = async (sessions: AnyOptions) => {
    const app = await startApp({ ...setup, sessions, controllers: [ScriptController] });
    const holder = new Browser(app.url);
    await holder.value(increment);
    const id = await holder.cookie();
    const [started, mayGoOn] = [new Gate(), new Gate()];
    const holding = holder.value(async session => {
      started.open();
      await mayGoOn.opened;
      await increment(session);
    });
    await started.opened;
    const goOn = async () => {
      mayGoOn.open();
      await holding;
    };
    return { app, holder, id, goOn };
  };
  const expectRefused = (answer: Answer) => {
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.setCookies).toEqual([]);
  };

  it('lockTimeout: who waits too long is answered 503 with Retry-After, and the holder is unaffected', async () => {
    const { app, holder, id, goOn } = await holdSession({ lockTimeout: 0.1 });
    const other = new Browser(app.url, id);
    const answer = await other.run(increment);
    await goOn();
    expectRefused(answer);
    expect(await other.value(session => session.get('count'))).toBe(2);
    holder.close();
    other.close();
    await app.close();
  });

  it('maxWaiters: one too many is answered 503 with Retry-After at once, and those who wait are served', async () => {
    const { app, holder, id, goOn } = await holdSession({ maxWaiters: 2 });
    // Which of the three comes last is not said: one of them is refused while the lock is held.
    const others = Array.from({ length: 3 }, () => new Browser(app.url, id));
    const answers = others.map(other => other.run(increment));
    const answer = await Promise.race(answers);
    await goOn();
    expectRefused(answer);
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses.filter(status => status !== 503)).toHaveLength(2);
    expect(await holder.value(session => session.get('count'))).toBe(4);
    [holder, ...others].forEach(browser => browser.close());
    await app.close();
  });
});
