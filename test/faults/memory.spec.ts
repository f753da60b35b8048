import { Agent } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendRaw, type Answer } from '../support/client.js';
import { inLong } from '../support/long.js';
import { startServer, type ServerProgram } from '../support/programs.js';
import { newStorage, STORAGES, type StorageName } from '../support/storages.js';
import { times } from '../support/times.js';

/** Requests at a time. */
const WIDTH = 20;

const MIB = 1024 * 1024;
/** What is kept for speed: texts and what they say, and the cookies that are right. */
const CACHES = 18 * MIB;
/** That a heap may grow by: what it takes by itself, whatever the server does. 1,500 sessions of 20 KiB are 30 MiB. */
const NOISE = 4 * MIB;

const ENDINGS: [string, string, (id: string) => string][] = [
  ['log-outs', 'express', () => '/log-out'],
  ['SessionStore.destroy(id)', 'fastify', id => `/destroy?id=${id}`],
  ['new ids', 'express', () => '/new-id'],
];

const named = (name: StorageName) => STORAGES.filter(storage => storage === name);

describe('memory: the heap is flat', { timeout: 600_000 }, () => {
  const agent = new Agent({ keepAlive: true, maxSockets: WIDTH });
  let server: ServerProgram;
  afterAll(() => agent.destroy());

  async function start(storage: StorageName, adapter: string, more = {}): Promise<void> {
    const options = { ...(await newStorage(storage)), ...more };
    server = await startServer('heap-server', { ADAPTER: adapter, SESSION_OPTIONS: JSON.stringify(options) });
  }
  const stop = () => server.program.kill('SIGTERM');

  const get = async (path: string, id?: string): Promise<Answer> => {
    const headers = id === undefined ? {} : { cookie: `session_id=${id}` };
    const answer = await sendRaw(server.url + path, { headers, agent });
    expect(answer.status).toBe(200);
    return answer;
  };
  const visitNew = async (bytes: number): Promise<string> =>
    /session_id=([^;]+)/.exec((await get(`/visit?bytes=${bytes}`)).setCookies[0]!)![1]!;

  /** Runs so many, some at a time. @returns how many bytes the heap has grown by, after a tenth to warm up */
  async function growth(count: number, run: () => Promise<unknown>): Promise<number> {
    const runAll = (left: number) =>
      times(WIDTH, async () => {
        while (left-- > 0) {
          await run();
        }
      });
    const heap = async (): Promise<number> => (await get('/heap')).json().bytes;
    await runAll(count / 10);
    const before = await heap();
    await runAll(count);
    return (await heap()) - before;
  }

  describe.each(ENDINGS)('after %s', (_name, adapter, end) => {
    describe.each(inLong(STORAGES, [...named('memcached'), ...named('ram')]))('%s', storage => {
      beforeAll(() => start(storage, adapter));
      afterAll(stop);

      it('1,500 sessions of 20 KiB leave nothing', async () => {
        const grown = await growth(1500, async () => {
          const id = await visitNew(20 * 1024);
          const answer = await get(end(id), id);
          const newId = /session_id=([^;]+)/.exec(answer.setCookies[0] ?? '')?.[1];
          if (newId) {
            await get('/log-out', newId);
          }
        });
        expect(grown).toBeLessThan(NOISE);
      });
    });
  });

  const COUNT = inLong(300_000, 15_000);
  describe.each([
    ...named('postgresql').map(storage => ({ storage, adapter: 'fastify' })),
    ...inLong(named('memcached'), []).map(storage => ({ storage, adapter: 'fastify' })),
    ...named('redis').map(storage => ({ storage, adapter: 'fastify' })),
    ...named('file').map(storage => ({ storage, adapter: 'fastify' })),
  ])('$storage', ({ storage, adapter }) => {
    beforeAll(() => start(storage, adapter));
    afterAll(stop);
    // Each time somebody else: a new session, which is used once more.
    const count = storage === 'file' ? inLong(30_000, 3_000) : COUNT;
    // What the files' cache may take, besides.
    const bound = NOISE + CACHES + (storage === 'file' ? 8 * MIB : 0);
    // Few have to be large enough to be more than the bound, if all were kept.
    const bytes = inLong(0, 5_000);

    it(`${count} sessions leave no more than a bound in bytes`, async () => {
      const grown = await growth(count, async () => get('/visit', await visitNew(bytes)));
      expect(grown).toBeLessThan(bound);
    });
  });
});
