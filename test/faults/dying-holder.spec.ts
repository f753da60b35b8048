import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionModuleOptions } from 'nest-sessions';
import { ADAPTERS } from '../support/app.js';
import { sendRaw, type Answer } from '../support/client.js';
import { inLong } from '../support/long.js';
import { startSessionServer, startSessionServers, type ServerProgram } from '../support/programs.js';
import { Browser } from '../support/scripts.js';
import { newStorage, type AnyOptions, SHARED_STORAGES } from '../support/storages.js';
import { times } from '../support/times.js';

/** Seconds; and in milliseconds, with what a stop takes to be longer than that for sure. */
const LEASE_TIME = 1;
const LEASE_MS = LEASE_TIME * 1000;
const STALL_MS = LEASE_MS + 300;
/** By then, memcached would have dropped an item that was to live for leaseTime: it counts in seconds. */
const LONG_STALL_MS = LEASE_MS + 2_300;
/** Milliseconds for clocks, and for chance on a busy machine. */
const MARGIN_MS = 500;
/** Sessions that a process holds when it dies, or stalls. */
const SESSIONS = 4;

/** The number in the last line of that kind. */
const lastPrinted = ({ program }: ServerProgram, word: 'intent' | 'saved', name: string): number =>
  Number(program.lines.findLast(line => line.startsWith(`${word} ${name} `))!.split(' ')[2]);

const messageOf = (answer: Answer): string => answer.json().message;

// The storages at the same time: most of it is waiting for leases to lapse.
describe.concurrent.each(SHARED_STORAGES)('invariant 9, crash-safe locks: %s', storage => {
  let options: SessionModuleOptions;
  let servers: ServerProgram[];
  beforeAll(async () => {
    const storageOptions: AnyOptions = {
      ...(await newStorage(storage)),
      leaseTime: LEASE_TIME,
      ...(storage !== 'file' && { storageTimeout: 1 }), // shorter than a stall
    };
    options = storageOptions;
    servers = await startSessionServers(2, options);
  });
  afterAll(() => Promise.all(servers.map(({ program }) => program.kill())));

  const create = async (): Promise<string> => (await sendRaw(`${servers[0]!.url}/create/ada`)).json().id;
  /** One request of a session, from a client of its own. */
  const get = async ({ url }: ServerProgram, id: string, path: string): Promise<Answer> => {
    const browser = new Browser(url, id);
    try {
      return await browser.get(path);
    } finally {
      browser.close();
    }
  };
  const read = async (server: ServerProgram, id: string) => (await get(server, id, '/data')).json();

  const kills = inLong(15, 2);
  it.sequential(
    `a holder dies: each of its sessions is usable within leaseTime, with its last save: ${kills * SESSIONS} times`,
    { timeout: 300_000 },
    async () => {
      const [survivor] = servers as [ServerProgram];
      const ids = await times(SESSIONS, create);
      const model: any[] = ids.map(() => ({ entries: [] }));
      const free = await create();
      let longest = 0;
      for (let round = 1; round <= kills; round++) {
        const victim = await startSessionServer(options, ADAPTERS[round % 2]!);
        const dying = ids.map((id, index) =>
          get(victim, id, `/save-forever/${round}-${index}`).catch(error => error),
        );
        await times(SESSIONS, index => victim.program.waitForLine(new RegExp(`^saved ${round}-${index} 1$`)));
        const takeOver = (index: number) => get(survivor, ids[index]!, `/append/${round}?work=0`);
        // Some wait for the lock already when its holder dies.
        const takingOver = ids.map((_, index) => (index % 2 ? takeOver(index) : undefined));
        await sleep(Math.random() * 100);
        const killedAt = Date.now();
        await victim.program.kill();
        // What a request takes here that waits for nothing, and works for leaseTime.
        const compared = get(survivor, free, `/append/compared?work=${LEASE_MS}`).then(
          () => Date.now() - killedAt,
        );
        const waits = await times(SESSIONS, async index => {
          expect(await dying[index]).toBeInstanceOf(Error);
          const answer = await (takingOver[index] ?? takeOver(index));
          const waited = Date.now() - killedAt;
          expect(answer.status).toBe(200);
          const name = `${round}-${index}`;
          const { [name]: count, ...others } = answer.json();
          expect([lastPrinted(victim, 'saved', name), lastPrinted(victim, 'intent', name)]).toContain(count);
          expect(others).toEqual(model[index]);
          model[index] = { ...others, [name]: count, entries: [...others.entries, String(round)] };
          return waited;
        });
        longest = Math.max(longest, ...waits);
        expect(Math.max(...waits)).toBeLessThan((await compared) + MARGIN_MS);
      }
      expect(await times(SESSIONS, index => read(servers[1]!, ids[index]!))).toEqual(model);
      console.log(
        `${storage}: the sessions of ${kills} dead processes were usable after ${longest} ms at most, leaseTime being ${LEASE_MS} ms`,
      );
    },
  );

  describe('a holder stalls past its lease', () => {
    /** Stops a process past its lease, while another does something. */
    const stall = async ({ program }: ServerProgram, meanwhile: () => Promise<unknown>) => {
      program.signal('SIGSTOP');
      try {
        await Promise.all([sleep(STALL_MS), meanwhile()]);
      } finally {
        program.signal('SIGCONT');
      }
    };
    /** Each process in turns is the one that stalls. */
    const inRounds = async (
      rounds: number,
      task: (holder: ServerProgram, other: ServerProgram, round: number) => Promise<void>,
    ) => {
      for (let round = 0; round < rounds; round++) {
        await task(servers[round % 2]!, servers[(round + 1) % 2]!, round);
      }
    };
    /** Requests that hold the locks of their sessions. @returns their answers, to come */
    const startHolding = async (
      holder: ServerProgram,
      ids: string[],
      route: (index: number) => string = () => 'append',
    ) => {
      const answers = ids.map((id, index) =>
        get(holder, id, `/${route(index)}/stalled-${id}?work=${LEASE_MS}`),
      );
      await Promise.all(ids.map(id => holder.program.waitForLine(new RegExp(`^working stalled-${id}$`))));
      return answers;
    };
    const rounds = inLong(6, 1);
    const appendOrRegenerate = (index: number) => (index < SESSIONS / 2 ? 'append' : 'regenerate');

    it.sequential(
      `its save, or new id, is refused, and what came after it stays: each of ${rounds * SESSIONS} times`,
      { timeout: 100_000 },
      () =>
        inRounds(rounds, async (holder, other) => {
          const ids = await times(SESSIONS, create);
          const stalled = await startHolding(holder, ids, appendOrRegenerate);
          const queued = ids.map(id => get(holder, id, '/append/queued?work=0'));
          const after = ids.map(() => Promise.resolve(200));
          await stall(holder, async () => {
            await times(SESSIONS, async index => {
              const id = ids[index]!;
              // One waits already when the lease lapses; half are done when the stalled one comes back, half at work.
              await sleep(index === 0 ? 0 : LONG_STALL_MS);
              const work = index % 2 ? LEASE_MS : 0;
              const answer = get(other, id, `/append/after-${id}?work=${work}`);
              after[index] = answer.then(({ status }) => status);
              await (work ? other.program.waitForLine(new RegExp(`^working after-${id}$`)) : answer);
            });
          });
          for (const answer of await Promise.all(stalled)) {
            expect([answer.status, messageOf(answer), answer.setCookies]).toEqual([
              503,
              'The session was taken over by another request',
              [],
            ]);
          }
          expect(await Promise.all(after)).toEqual(ids.map(() => 200));
          expect((await Promise.all(queued)).map(({ status }) => status)).toEqual(ids.map(() => 200));
          for (const id of ids) {
            expect((await read(other, id)).entries).toEqual([`after-${id}`, 'queued']);
          }
        }),
    );

    it.sequential(
      `of a session that was destroyed meanwhile it revives nothing: each of ${rounds * SESSIONS} times`,
      { timeout: 100_000 },
      () =>
        inRounds(rounds, async (holder, other) => {
          const ids = await times(SESSIONS, create);
          const stalled = await startHolding(holder, ids, appendOrRegenerate);
          await stall(holder, () =>
            times(SESSIONS, async index => {
              const path = index % 2 ? '/log-out' : `/destroy/${ids[index]}`;
              expect((await get(other, ids[index]!, path)).json()).toEqual({ found: true });
            }),
          );
          for (const answer of await Promise.all(stalled)) {
            expect([answer.status, answer.setCookies]).toEqual([409, []]);
          }
          for (const id of ids) {
            for (const server of servers) {
              expect((await get(server, id, `/exists/${id}`)).json()).toEqual({ exists: false });
            }
          }
        }),
    );

    it.sequential(
      `and nobody takes its lock: its save is stored: each of ${rounds * SESSIONS} times`,
      { timeout: 100_000 },
      () =>
        inRounds(rounds, async (holder, other, round) => {
          const ids = await times(SESSIONS, create);
          const stalled = await startHolding(holder, ids);
          await stall(holder, () => sleep(STALL_MS + (round % 4) * LEASE_MS));
          expect((await Promise.all(stalled)).map(({ status }) => status)).toEqual(ids.map(() => 200));
          for (const id of ids) {
            expect((await get(other, id, '/append/after?work=0')).status).toBe(200);
            expect((await read(other, id)).entries).toEqual([`stalled-${id}`, 'after']);
          }
        }),
    );

    const stops = inLong(20, 2);
    it.sequential(
      `at any moment, also while it saves: what was answered holds, each of ${stops * SESSIONS * 2} times`,
      { timeout: 150_000 },
      async () => {
        const outcomes: Record<string, number> = {};
        await inRounds(stops, async (holder, other) => {
          const ids = await times(2 * SESSIONS, create);
          const path = (name: string) => `/append/${name}?work=${Math.random() * 20}`;
          const first = ids.map(id => get(holder, id, path('first')));
          const second = ids.map(id => get(holder, id, path('second')));
          await sleep(Math.random() * 60);
          await stall(holder, () =>
            Promise.all(ids.map(async id => expect((await get(other, id, path('after'))).status).toBe(200))),
          );
          const answers = { first: await Promise.all(first), second: await Promise.all(second) };
          for (const [index, id] of ids.entries()) {
            const entries: string[] = (await read(other, id)).entries;
            const countOf = (name: string) => entries.filter(entry => entry === name).length;
            expect(countOf('after')).toBe(1);
            for (const [name, { [index]: answer }] of Object.entries(answers)) {
              const outcome = `${answer!.status === 200 ? '200' : messageOf(answer!)}, stored ${countOf(name)} times`;
              outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
            }
          }
        });
        console.log(storage, outcomes);
        // A request that got no answer from the storage in time cannot know.
        expect([
          '200, stored 1 times',
          'The session was taken over by another request, stored 0 times',
          'The session storage is not available, stored 0 times',
          'The session storage is not available, stored 1 times',
        ]).toEqual(expect.arrayContaining(Object.keys(outcomes)));
      },
    );
  });
});
