import { randomInt } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SESSION_BACKEND, SessionDestroyedException, SessionStore, type Session } from 'nest-sessions';
import { FileLock } from '../../lib/storage/file/file-lock.js';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import {
  Browser,
  Gate,
  lockCount,
  ScriptController,
  STORAGES,
  useStorages,
  type Script,
  type ScriptRoute,
  type StorageName,
} from '../support/scripts.js';

const RUNS = 1000;
const VARIANT_RUNS = 60;
/** Sessions that live, and end, at the same time. More files would only queue for the disk. */
const WIDTH: Record<StorageName, number> = { ram: 50, file: 10, postgresql: 10, memcached: 50 };
/** Milliseconds that a slow request takes at most: about as long as it takes to end a session. */
const SLOW: Record<StorageName, number> = { ram: 20, file: 60, postgresql: 60, memcached: 20 };

const randomPause = (ms = 10) => sleep(Math.random() * ms);
const change = (session: Session) => session.set('changed', true);

interface Run {
  store: SessionStore;
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
  'store.destroy(id)': ({ store, id }) => store.destroy(id),
  'store.destroyByOwner(owner)': async ({ store, owner }) => (await store.destroyByOwner(owner)) > 0,
};

const storageOptions = useStorages();

for (const storage of STORAGES) {
  describe(`invariant 2, no resurrection: ${storage}`, () => {
    let servers: TestApp[];
    beforeEach(async () => {
      servers = await Promise.all(
        ADAPTERS.map(async adapter =>
          startApp({ adapter, sessions: await storageOptions(storage), controllers: [ScriptController] }),
        ),
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
      const workers = servers.flatMap(({ app, url }) => {
        const store = app.get(SessionStore);
        return Array.from({ length: WIDTH[storage] / servers.length }, async () => {
          const [slowBrowser, browser] = [new Browser(url), new Browser(url)];
          while (left > 0) {
            const owner = `user ${left--}`;
            const id = await store.create({ user: owner }, { owner });
            slowBrowser.adopt(id);
            browser.adopt(id);
            const [started, ended] = [new Gate(), new Gate()];
            const answering = slowBrowser.run(async session => {
              started.open();
              await slow(session, ended.opened);
            }, route);
            await started.opened;
            await randomPause();
            const found = await end({ store, browser, id, owner });
            ended.open();
            const { status } = await answering;
            statuses.push(status);
            browser.adopt(id);
            if ((await store.exists(id)) || !(await browser.value(session => session.missing, 'read'))) {
              revived.push(owner);
            }
            if (isMove && found && status === 200 && (await store.findByOwner(owner)).length > 0) {
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

    const inAll = <T>(task: (app: TestApp['app']) => Promise<T>) =>
      Promise.all(servers.map(({ app }) => task(app)));
    const recordCount = async () => {
      const counts = await inAll(app => app.get(SessionStore).count());
      return counts.reduce((sum, count) => sum + count, 0);
    };

    for (const [slowName, { script, route = 'run', isChange }] of Object.entries(slowRequests)) {
      const runs = slowName === 'changes it' ? RUNS : VARIANT_RUNS;
      for (const [endingName, end] of Object.entries(endings)) {
        it(`a slow request ${slowName}, ${endingName}: 0 of ${runs} revived`, async () => {
          const slow: SlowScript = async session => {
            await randomPause(SLOW[storage]);
            await script(session);
          };
          const isMove = slowName.startsWith('regenerates');
          const { ok, refused } = await runAll(runs, slow, route, end, isMove);
          if (!isChange) {
            expect({ ok, refused }).toEqual({ ok: runs, refused: 0 });
          } else if (runs === RUNS && endingName !== 'a log-out that takes its turn') {
            // The timings were such that either came first.
            expect(ok).toBeGreaterThan(0);
            expect(refused).toBeGreaterThan(0);
          }
          // A new id that came before the end of the old one lives on; nothing else does.
          await expect.poll(recordCount).toBe(isMove && !endingName.includes('ByOwner') ? ok : 0);
        });
      }

      it(`a slow request ${slowName}, expiry and sweep: 0 of ${runs} revived`, async () => {
        const over = new AbortController();
        const sweeping = inAll(async app => {
          while (!over.signal.aborted) {
            await app.get(SessionStore).cleanUp();
            await randomPause();
          }
        });
        const expire: Ending = async ({ store, owner }) => {
          const [session] = await store.findByOwner(owner);
          const ms = randomInt(1, 10);
          await inAll(app => app.get(SESSION_BACKEND).touch(session!.key, ms));
          await sleep(ms + 1);
        };
        const slow: SlowScript = async (session, expired) => {
          await expired;
          await randomPause();
          await script(session);
        };
        const { ok, refused } = await runAll(runs, slow, route, expire);
        over.abort();
        await sweeping;
        expect({ ok, refused }).toEqual(isChange ? { ok: 0, refused: runs } : { ok: runs, refused: 0 });
        await expect.poll(recordCount).toBe(0);
      });
    }
  });
}

describe('invariant 2, no resurrection: file lock', () => {
  it('a robbed lock is empty: a publication under way, its path looked up before, finds nothing', async () => {
    const { storagePath } = await storageOptions('file');
    const scratch = join(storagePath!, 'tmp');
    await mkdir(scratch);
    const lockOf = (token: string) => new FileLock(join(storagePath!, 'lock'), scratch, { token, ms: 1000 });
    const [holder, thief] = [lockOf('holder'), lockOf('thief')];
    await holder.claim();
    await writeFile(holder.inside('made'), 'a record');
    expect(await thief.claim()).toBe(false);
    expect(await thief.claim(() => true)).toBe(true);
    expect(await readdir(thief.inside('.'))).toEqual([]);
    expect(await holder.renew()).toBe(false);
  });
});
