import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { inLong } from '../support/long.js';
import { startSessionServers } from '../support/programs.js';
import { Browser } from '../support/scripts.js';
import { newStorage, SHARED_STORAGES } from '../support/storages.js';
import { times } from '../support/times.js';

const MAX = 3;
const ROUNDS = inLong(10, 2);
/** Milliseconds: longer than any owner's lock lasts without its process. */
const STALL = 4_000;

describe.each(SHARED_STORAGES.filter(storage => storage !== 'memcached'))(
  'a process that stands still while it lets sessions in: %s',
  storage => {
    it(`holds up no log-in of its user elsewhere, and no limit is passed, ${ROUNDS} rounds`, async () => {
      const options = { ...(await newStorage(storage)), maxSessionsPerOwner: MAX };
      const servers = await startSessionServers(2, options);
      const [stalled, other] = servers as [(typeof servers)[0], (typeof servers)[0]];
      for (let round = 0; round < ROUNDS; round++) {
        const owner = `owner-${round}`;
        const logIn = async ({ url }: { url: string }) => {
          const browser = new Browser(url);
          const { status } = await browser.get(`/log-in/${owner}`);
          browser.close();
          return status;
        };
        const early = times(40, () => logIn(stalled)); // one after the other, in one process
        await sleep(20 + 10 * round);
        stalled.program.signal('SIGSTOP');
        const meanwhile = times(5, () => logIn(other));
        await sleep(STALL);
        expect(await meanwhile, `round ${round}`).toEqual([200, 200, 200, 200, 200]);
        stalled.program.signal('SIGCONT');
        const statuses = await early;
        expect(statuses.filter(status => ![200, 409, 503].includes(status))).toEqual([]);
        const { owned } = (await new Browser(other.url).get(`/owned/${owner}`)).json();
        expect(owned, `round ${round}`).toBe(MAX);
      }
      await Promise.all(servers.map(({ program }) => program.kill('SIGTERM')));
    }, 180_000);
  },
);
