import { randomInt } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, SessionDestroyedException, type Session } from 'nest-sessions';
import { sessionKey } from '../../lib/session/session-id.js';
import { FileLock, LockWatch } from '../../lib/storage/file/file-lock.js';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { inLong } from '../support/long.js';
import {
  Browser,
  Gate,
  lockCount,
  ScriptController,
  type Script,
  type ScriptRoute,
} from '../support/scripts.js';
import { newStorage, STORAGES, type StorageName } from '../support/storages.js';

const RUNS = inLong(1000, 100);
const VARIANT_RUNS = inLong(60, 10);
/** Sessions that live, and end, at the same time. More would only queue for the disk. */
const WIDTH: Record<StorageName, number> = { ram: 50, file: 10, postgresql: 10, memcached: 20, redis: 20 };

const randomPause = (ms = 10) => sleep(Math.random() * ms);
const change = (session: Session) => session.set('changed', true);

interface Run {
  server: TestApp;
  browser: Browser;
  id: string;
  owner: string;
}

type SlowScript = (session: Session, ended: Promise<void>) => unknown;

/** What the slow request does with its session after a random pause. `isChange`: whether that must be refused. */
const slowRequests: Record<string, { script: Script; route?: ScriptRoute; isChange: boolean }> = {
  'changes it': { isChange: true, script: change },
  'changes it and saves': {
    isChange: true,
    async script(session) {
      await change(session).save();
      await randomPause();
      session.set('later', true);
    },
  },
  'goes on after its save was refused': {
    isChange: true,
    async script(session) {
      await change(session)
        .save()
        .catch(error => expect(error).toBeInstanceOf(SessionDestroyedException));
      session.set('later', true);
    },
  },
  'regenerates its id': {
    isChange: true,
    async script(session) {
      await session.regenerate();
      change(session);
    },
  },
  'merges its changes': { isChange: true, route: 'explicit', script: change },
  'regenerates its id without a lock': {
    isChange: true,
    route: 'explicit',
    async script(session) {
      await session.regenerate();
      change(session);
    },
  },
  'changes nothing': { isChange: false, script: session => session.get('user') },
  'only reads': { isChange: false, route: 'read', script: session => session.get('user') },
};

/** Ends the session. @returns whether it still had the id that it was asked for, if that is known */
type Ending = (run: Run) => Promise<boolean | void>;

const logOut: Script = async session => {
  const wasStored = !session.isNew;
  await session.destroy();
  return wasStored;
};

/** How the session ends meanwhile. */
const endings: Record<string, Ending> = {
  'a log-out that takes its turn': ({ browser }) => browser.value(logOut),
  'a log-out that takes no lock': async ({ browser }) => void (await browser.value(logOut, 'explicit')),
  'store.destroy(id)': ({ server, id }) => server.store.destroy(id),
  'store.destroyByOwner(owner)': async ({ server, owner }) => (await server.store.destroyByOwner(owner)) > 0,
};
/** memcached has no lists of owners: session-store.spec.ts sees it say so. */
const endingsOf = (storage: StorageName) =>
  Object.entries(endings).filter(([name]) => storage !== 'memcached' || !name.includes('ByOwner'));

for (const storage of STORAGES) {
  describe(`invariant 2, no resurrection: ${storage}`, () => {
    let servers: TestApp[];
    /** Milliseconds that it took to end the last session, and to answer the last slow request once it had worked. */
    let endingMs: number;
    let answeringMs: number;
    beforeEach(async () => {
      endingMs = 10;
      answeringMs = 0;
      servers = await Promise.all(
        ADAPTERS.map(adapter => startApp({ adapter, storage, controllers: [ScriptController] })),
      );
    });
    afterEach(() => Promise.all(servers.map(({ close }) => close())));

    /**
     * Lets a slow request and `end` work on each of many sessions, half of them on each adapter. Afterwards
     * nobody knows the old cookies.
     * @returns how many of the slow requests were answered with 200, and how many with 409
     */
    async function runAll(
      runs: number,
      slow: SlowScript,
      route: ScriptRoute,
      end: Ending,
      isMove = false,
    ): Promise<{ ok: number; refused: number }> {
      let left = runs;
      const statuses: number[] = [];
      const revived: string[] = [];
      const workers = servers.flatMap(server => {
        const { url, store } = server;
        return Array.from({ length: WIDTH[storage] / servers.length }, async () => {
          const [slowBrowser, browser] = [new Browser(url), new Browser(url)];
          while (left > 0) {
            const owner = `user ${left--}`;
            const id = await store.create({ user: owner }, { owner });
            slowBrowser.adopt(id);
            browser.adopt(id);
            const [started, ended] = [new Gate(), new Gate()];
            let workedAt = performance.now();
            const answering = slowBrowser.run(async session => {
              started.open();
              await slow(session, ended.opened);
              workedAt = performance.now();
            }, route);
            await started.opened;
            await randomPause(10 + answeringMs);
            const begin = performance.now();
            const found = await end({ server, browser, id, owner });
            endingMs = performance.now() - begin;
            ended.open();
            const { status } = await answering;
            answeringMs = performance.now() - workedAt;
            statuses.push(status);
            browser.adopt(id);
            if ((await store.exists(id)) || !(await browser.value(session => session.missing, 'read'))) {
              revived.push(owner);
            }
            const newId = isMove && found && status === 200 && (await slowBrowser.cookie());
            if (newId && (await store.exists(newId))) {
              revived.push(`${owner}, under a new id`);
            }
          }
          slowBrowser.close();
          browser.close();
        });
      });
      await Promise.all(workers);
      expect(revived).toEqual([]);
      await expect.poll(() => servers.map(lockCount)).toEqual([0, 0]);
      expect(statuses.filter(status => status !== 200 && status !== 409)).toEqual([]);
      return {
        ok: statuses.filter(status => status === 200).length,
        refused: statuses.filter(status => status === 409).length,
      };
    }

    const expectStored = (count: number) =>
      expect
        .poll(async () => {
          const [first, second] = await Promise.all(servers.map(({ stored }) => stored()));
          return first! + second!;
        })
        .toBe(count);

    for (const [slowName, { script, route = 'run', isChange }] of Object.entries(slowRequests)) {
      const runs = slowName === 'changes it' ? RUNS : VARIANT_RUNS;
      for (const [endingName, end] of endingsOf(storage)) {
        it(`a slow request ${slowName}, ${endingName}: 0 of ${runs} revived`, async () => {
          const takesTurn = endingName === 'a log-out that takes its turn';
          const slow: SlowScript = async session => {
            // So that either may come first, on any machine.
            await randomPause(takesTurn ? 20 : 10 + 2 * endingMs);
            await script(session);
          };
          const isMove = slowName.startsWith('regenerates');
          const { ok, refused } = await runAll(runs, slow, route, end, isMove);
          if (!isChange) {
            expect({ ok, refused }).toEqual({ ok: runs, refused: 0 });
          } else if (runs === RUNS && !takesTurn) {
            // The timings were such that either came first.
            expect(ok).toBeGreaterThan(0);
            expect(refused).toBeGreaterThan(0);
          }
          // A new id that came before the end of the old one lives on; nothing else does.
          await expectStored(isMove && !endingName.includes('ByOwner') ? ok : 0);
        });
      }

      it(`a slow request ${slowName}, expiry and sweep: 0 of ${runs} revived`, async () => {
        const over = new AbortController();
        const sweeping = servers.map(async ({ store }) => {
          while (!over.signal.aborted) {
            await store.cleanUp();
            await randomPause();
          }
        });
        const expire: Ending = async ({ server, id }) => {
          const ms = randomInt(1, 10);
          await server.app.get(SESSION_BACKEND).touch(sessionKey(id), ms);
          await sleep(ms + 1);
        };
        const slow: SlowScript = async (session, expired) => {
          await expired;
          await randomPause();
          await script(session);
        };
        const { ok, refused } = await runAll(runs, slow, route, expire);
        over.abort();
        await Promise.all(sweeping);
        expect({ ok, refused }).toEqual(isChange ? { ok: 0, refused: runs } : { ok: runs, refused: 0 });
        await expectStored(0);
      });
    }
  });
}

describe('invariant 2, no resurrection: file lock', () => {
  it('a robbed lock is empty: a publication under way, its path looked up before, finds nothing', async () => {
    const { storagePath } = await newStorage('file');
    const scratch = join(storagePath!, 'tmp');
    await mkdir(scratch);
    const lockOf = (token: string) =>
      new FileLock(join(storagePath!, 'lock'), join(scratch, token), { token, ms: 1000 }, new LockWatch());
    const [holder, thief] = [lockOf('holder'), lockOf('thief')];
    await holder.claim();
    await writeFile(holder.inside('made'), 'a record');
    expect(await thief.claim()).toBe(false);
    expect(await thief.claim(() => true)).toBe(true);
    expect(await readdir(thief.inside('.'))).toEqual([]);
    expect(holder.renew()).toBe(false);
  });
});
