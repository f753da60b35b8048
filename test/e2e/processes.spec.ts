import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sessionKey } from '../../lib/session/session-id.js';
import { sendRaw } from '../support/client.js';
import { inLong } from '../support/long.js';
import { startSessionServers, type ServerProgram } from '../support/programs.js';
import { Browser } from '../support/scripts.js';
import { newStorage, SHARED_STORAGES } from '../support/storages.js';
import { times } from '../support/times.js';

/** Sessions that live, and end, at the same time. */
const WIDTH = 8;
/** Milliseconds that a slow request takes at most: about as long as it takes to end a session. */
const SLOW_MS = 40;

/** What the slow requests do, and how many. */
const slowRequests = inLong(
  [
    ['append', 1000],
    ['merge', 60],
    ['regenerate', 60],
  ] as const,
  [['append', 30]] as const,
);

/** The request that ends a session, to another process than the slow request. */
type Ending = (session: { id: string; owner: string }) => string;

const endings: Record<string, Ending> = {
  'a log-out that takes its turn': () => '/log-out',
  'a log-out that takes no lock': () => '/log-out-unlocked',
  'store.destroy(id)': ({ id }) => `/destroy/${id}`,
  'store.destroyByOwner(owner)': ({ owner }) => `/destroy-by-owner/${owner}`,
};

describe.each(SHARED_STORAGES)('%s', storage => {
  const hasOwners = storage !== 'memcached';
  let servers: ServerProgram[];
  beforeAll(async () => {
    servers = await startSessionServers(4, await newStorage(storage));
  });
  afterAll(() => Promise.all(servers.map(({ program }) => program.kill('SIGTERM'))));

  const create = async (owner = 'ada'): Promise<string> =>
    (await sendRaw(`${servers[0]!.url}/create/${owner}`)).json().id;

  describe('invariant 1, no lost update: four processes', () => {
    /**
     * A client goes to another process with each request.
     * @returns the answers
     */
    const inTurns = async (id: string, clients: number, rounds: number, path: (key: string) => string) => {
      const answers = await times(clients, async client => {
        const browsers = servers.map(({ url }) => new Browser(url, id));
        const own: { sentAt: number; status: number; body: any }[] = [];
        for (let round = 0; round < rounds; round++) {
          const sentAt = Date.now();
          const answer = await browsers[(client + round) % servers.length]!.get(path(`${client}-${round}`));
          own.push({ sentAt, status: answer.status, body: answer.body && answer.json() });
        }
        browsers.forEach(browser => browser.close());
        return own;
      });
      return answers.flat();
    };
    const read = async (id: string) => {
      const browser = new Browser(servers[3]!.url, id);
      const answer = await browser.get('/data');
      browser.close();
      return answer.json();
    };

    it.each([
      [1 + 5 * 30, "CherryPy's test", 5, 30, '/increment?work=10'],
      [1 + 20 * inLong(50, 5), '20 clients and 1 to 20 ms of work', 20, inLong(50, 5), '/increment'],
    ])(
      'keeps %i updates, and no request starves: %s',
      { timeout: 180_000 },
      async (updates, title, clients, rounds, path) => {
        const browser = new Browser(servers[0]!.url);
        await browser.get(path);
        const id = (await browser.cookie())!;
        browser.close();
        const answers = await inTurns(id, clients, rounds, () => path);
        expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
        expect(await read(id)).toEqual({ count: updates });
        const waits = answers.map(({ sentAt, body }) => body.startedAt - sentAt);
        const mean = waits.reduce((sum, wait) => sum + wait) / waits.length;
        const longest = Math.max(...waits);
        console.log(
          `${storage}, ${title}: requests waited ${mean.toFixed()} ms on average, ${longest} ms at most: ${(longest / mean).toFixed(1)} times as long`,
        );
      },
    );

    it('explicit without a lock: merges 5 clients that write 30 keys each', async () => {
      const id = await create();
      const answers = await inTurns(id, 5, 30, key => `/merge/${key}`);
      expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
      const { entries, ...others } = await read(id);
      expect(entries).toEqual([]);
      const keys = Array.from({ length: 150 }, (_, index) => `${index % 5}-${Math.floor(index / 5)}`);
      expect(Object.keys(others).sort()).toEqual(keys.sort());
    });
  });

  describe('invariant 2, no resurrection: a slow request in one process, its end in another', () => {
    /**
     * Lets a slow request and an ending work on each of many sessions, in two processes.
     * @returns how many of the slow requests were answered with 200, and how many with 409
     */
    const runAll = async (runs: number, slowRoute: string, end: Ending) => {
      let left = runs;
      const statuses: number[] = [];
      const revived: string[] = [];
      await times(WIDTH, async lane => {
        const slowServer = servers[lane % servers.length]!;
        const slow = new Browser(slowServer.url);
        const other = new Browser(servers[(lane + 1) % servers.length]!.url);
        while (left > 0) {
          left--;
          const owner = randomUUID();
          const id = await create(owner);
          slow.adopt(id);
          other.adopt(id);
          const answering = slow.get(`/${slowRoute}/${id}?work=${Math.random() * SLOW_MS}`);
          await slowServer.program.waitForLine(new RegExp(`^working ${id}$`));
          await sleep(Math.random() * 10);
          const ending = await other.get(end({ id, owner }));
          expect(ending.status).toBe(200);
          const { status } = await answering;
          statuses.push(status);
          for (const browser of [slow, other]) {
            browser.adopt(id);
            if ((await browser.get(`/exists/${id}`)).json().exists) {
              revived.push(id);
            }
          }
          // One that got its new id before the end of the old one lives on.
          const isMoved = slowRoute === 'regenerate' && status === 200 && !ending.json().found;
          if (hasOwners && !isMoved) {
            // What a refused request made under its new id is removed behind its answer.
            await expect.poll(async () => (await other.get(`/owned/${owner}`)).json()).toEqual({ owned: 0 });
          }
        }
        slow.close();
        other.close();
      });
      expect(revived).toEqual([]);
      expect(statuses.filter(status => status !== 200 && status !== 409)).toEqual([]);
      const ok = statuses.filter(status => status === 200).length;
      console.log(`${storage}: ${ok} slow requests were before the end, ${runs - ok} were refused`);
      return { ok, refused: runs - ok };
    };

    for (const [slowRoute, runs] of slowRequests) {
      for (const [name, end] of Object.entries(endings)) {
        if (!hasOwners && name.includes('ByOwner')) {
          continue;
        }
        it(`${slowRoute}, ${name}: 0 of ${runs} revived`, { timeout: 180_000 }, async () => {
          const { ok, refused } = await runAll(runs, slowRoute, end);
          if (name.includes('turn')) {
            // The slow request has the lock, if it takes one.
            expect(slowRoute === 'merge' ? runs : ok).toBe(runs);
          } else if (runs === 1000) {
            // The timings were such that either came first.
            expect(ok).toBeGreaterThan(0);
            expect(refused).toBeGreaterThan(0);
          }
        });
      }
    }

    const expiring = inLong(1000, 30);
    it(`expiry and sweep: 0 of ${expiring} revived`, { timeout: 180_000 }, async () => {
      const over = new AbortController();
      const sweeping = times(2, async index => {
        const browser = new Browser(servers[index]!.url);
        while (!over.signal.aborted) {
          expect((await browser.get('/sweep')).status).toBe(200);
          await sleep(10);
        }
        browser.close();
      });
      const { refused } = await runAll(expiring, 'append-once-gone', ({ id }) => `/expire/${id}`);
      over.abort();
      await sweeping;
      expect(refused).toBe(expiring);
    });
  });

  describe('invariant 12, ended is ended: one process waits for the lock of another', () => {
    const endingsNow = Object.entries(endings).filter(
      ([name]) => !name.includes('turn') && (hasOwners || !name.includes('ByOwner')),
    );
    it.each(endingsNow)('%s: whose turn came after it is given nothing', async (_name, end) => {
      // The slow request works long enough for the other process to find the lock taken, however busy the machine is.
      for (let run = 0, work = 150; run < inLong(50, 3);) {
        const owner = randomUUID();
        const id = await create(owner);
        const [slow, waiting, other] = [0, 1, 2].map(index => new Browser(servers[index]!.url, id));
        const answering = slow!.get(`/append/${id}?work=${work}`);
        await servers[0]!.program.waitForLine(new RegExp(`^working ${id}$`));
        const turn = waiting!.get('/seen');
        const busy = servers[1]!.program.waitForLine(new RegExp(`^busy ${sessionKey(id)}$`));
        busy.catch(() => undefined);
        const isWaiting = await Promise.race([busy.then(() => true), answering.then(() => false)]);
        expect((await other!.get(end({ id, owner }))).status).toBe(200);
        const seen = await turn;
        const { status } = await answering;
        // Else the slow request was done before the end came, and the other one's turn with it.
        if (isWaiting && status === 409) {
          expect([seen.status, seen.json(), seen.setCookies]).toEqual([200, {}, []]);
          run++;
        } else {
          expect(status).toBe(200);
          work *= 2;
        }
        [slow, waiting, other].forEach(browser => browser!.close());
      }
    });
  });
});
