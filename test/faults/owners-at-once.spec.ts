import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { SessionStore } from '../../lib/session/session-store.js';
import type { PostgresqlBackend } from '../../lib/storage/postgresql/postgresql.backend.js';
import { BACKENDS, type TestStorage } from '../contract/backends.js';
import { newKey, newLease, times, until, writeOf } from '../contract/fixtures.js';
import { expectLogs } from '../support/expect-logs.js';
import { sendRaw } from '../support/client.js';
import { inLong } from '../support/long.js';
import { startSessionServers, type ServerProgram } from '../support/programs.js';
import { startPostgresqlServer } from '../support/servers.js';
import { openBackendOf } from '../support/open-backend.js';
import { isTested, STORAGES } from '../support/storage-names.js';
import { newStorage } from '../support/storages.js';

const ROUNDS = inLong(1_000, 60);

const storeOn = (storage: SessionBackend) =>
  new SessionStore(new SessionRuntime(resolveSessionOptions({}), { backend: storage }), {
    readIds: () => [],
    bind: () => '',
  });

for (const { name, open } of BACKENDS.filter(backend =>
  ['ram', 'file', 'postgresql', 'redis'].includes(backend.name),
)) {
  describe(`log out everywhere: ${name}`, () => {
    let storage: TestStorage;
    beforeAll(async () => {
      storage = await open();
    });
    afterAll(() => storage.close());
    expectLogs();

    it(`invariant 12: destroyByOwner misses no session that changes its id, ${ROUNDS} rounds of 6 in two processes`, async () => {
      const idle = times(10, newKey);
      await Promise.all(idle.map(key => storage.clients[0].create(key, writeOf('{}', { owner: 'idle' }))));
      const stores = storage.clients.map(storeOn);
      const of = (index: number) => stores[index % 2]!;
      for (let round = 0; round < ROUNDS; round++) {
        const owner = `owner ${round}`;
        const ids = await Promise.all(times(6, index => of(index).create({}, { owner })));
        const state = { isOver: false };
        const busy = ids.map(async (id, index) => {
          for (let current: string | undefined = id; current !== undefined && !state.isOver;) {
            await nextTurn();
            current = await of(index)
              .update(current, async session => (await session.regenerate(), session.id))
              .catch(() => undefined);
          }
        });
        await sleep(round % 5);
        await of(round).destroyByOwner(owner);
        state.isOver = true;
        await Promise.all(busy); // who was about to give a session a new id finds it gone, and takes that back
        expect(await of(1).findByOwner(owner)).toEqual([]);
      }
      expect(await storage.clients[0].findByOwner!('idle')).toHaveLength(10);
    }, 180_000);
  });
}

/** About a second each in files, half of one on PostgreSQL; OWNER_ROUNDS=1000 for a proof of half an hour. */
const PROCESS_ROUNDS = Number(process.env.OWNER_ROUNDS ?? inLong(150, 5));
const SESSIONS = 60;

describe.each(STORAGES.filter(name => ['file', 'postgresql', 'redis'].includes(name)))(
  'log out everywhere, in two processes: %s',
  storage => {
    let servers: ServerProgram[];
    beforeAll(async () => {
      servers = await startSessionServers(2, await newStorage(storage));
    });
    afterAll(() => Promise.all(servers.map(({ program }) => program.kill('SIGTERM'))));

    /** What the processes say of failures. */
    const told = (): string =>
      servers
        .flatMap(({ program }) => [...program.lines, ...program.stderr.split('\n')])
        .filter(line => /failed to|refused/.test(line))
        .join('\n');
    const ask = async (index: number, path: string): Promise<any> => {
      const answer = await sendRaw(`${servers[index % 2]!.url}/${path}`);
      expect(answer.status, `${path}: ${answer.body} ${told()}`).toBe(200);
      return answer.json();
    };

    it(`invariant 12: of ${SESSIONS} sessions that are changed and get new ids in both, none survives and no request is refused, ${PROCESS_ROUNDS} rounds`, async () => {
      const startedAt = Date.now();
      let survivors = 0;
      let refusals = 0;
      let slowest = 0;
      for (let round = 0; round < PROCESS_ROUNDS; round++) {
        const owner = `owner-${round}`;
        await Promise.all([0, 1].map(index => ask(index, `busy/${owner}?sessions=${SESSIONS / 2}`)));
        await sleep(round % 7);
        const askedAt = performance.now();
        expect(await ask(round, `destroy-by-owner/${owner}`)).toEqual({ found: true });
        slowest = Math.max(slowest, performance.now() - askedAt);
        const rests = await Promise.all([0, 1].map(index => ask(index, `rest/${owner}`)));
        refusals += rests.reduce((sum, each) => sum + each.refusals, 0);
        survivors += (await ask(round + 1, `owned/${owner}`)).owned;
      }
      const minutes = (Date.now() - startedAt) / 60_000;
      console.log(
        `${storage}: ${PROCESS_ROUNDS} rounds in ${minutes.toFixed(1)} min: ${survivors} survivors, ${refusals} refusals, the slowest log-out ${slowest.toFixed(0)} ms`,
      );
      expect({ survivors, refusals }, told()).toEqual({ survivors: 0, refusals: 0 });
    }, 1_800_000);
  },
);

describe.runIf(isTested('postgresql'))('destroyByOwner on PostgreSQL, beside another transaction', () => {
  let server: Awaited<ReturnType<typeof startPostgresqlServer>>;
  let backend: PostgresqlBackend;
  let other: Client;
  beforeAll(async () => {
    server = await startPostgresqlServer();
    backend = await openBackendOf<PostgresqlBackend>({ storageType: 'postgresql', url: server.url });
    other = new Client({ connectionString: server.url });
    await other.connect();
  });
  afterAll(async () => {
    await other.end();
    await backend.close();
    await server.close();
  });

  const lock = (key: string) => other.query('SELECT 1 FROM nest_sessions WHERE key = $1 FOR UPDATE', [key]);

  it('has no row while it waits for another: it is in no deadlock', async () => {
    const keys = times(3, newKey).toSorted();
    await Promise.all(keys.map(key => backend.create(key, writeOf('{}', { owner: 'ann' }))));
    await other.query('BEGIN');
    await lock(keys[2]!);
    const removed = backend.deleteByOwner('ann'); // removes the first ones, and waits for the last
    await until(async () => (await backend.findByOwner('ann')).length === 1);
    await lock(keys[0]!);
    await other.query('COMMIT');
    expect(await removed).toBe(3);
  });

  it('a statement for several sessions is sent again when PostgreSQL rolls it back in a deadlock', async () => {
    const [first, from, to] = times(3, newKey).toSorted() as [string, string, string];
    for (const key of [first, from, to]) {
      await backend.create(key, writeOf('{}'));
    }
    await other.query('BEGIN');
    await lock(to);
    // The first goes out alone; the others together, so that one is locked while the other is waited for.
    const locked = Promise.all([first, from, to].map(key => backend.lock(key, newLease())));
    await sleep(200);
    await lock(from); // so that each waits for the other; who came first finds out, and is rolled back
    await other.query('COMMIT');
    expect(await locked).toEqual(times(3, () => expect.objectContaining({ data: '{}' })));
    await until(async () => {
      const { rows } = await other.query(
        'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
      );
      return Number(rows[0].deadlocks) >= 1;
    });
  });

  it('invariant 12: looks again where the session that it saw went to a new key', async () => {
    const [from, to] = [newKey(), newKey()];
    await backend.create(from, writeOf('{}', { owner: 'bob' }));
    await other.query('BEGIN');
    await other.query('DELETE FROM nest_sessions WHERE key = $1', [from]);
    const removed = backend.deleteByOwner('bob'); // sees it, and waits
    await sleep(200);
    await backend.create(to, writeOf('{}', { owner: 'bob' }));
    await other.query('COMMIT');
    expect(await removed).toBe(1);
    expect(await backend.findByOwner('bob')).toEqual([]);
  });
});
