import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sessionKey } from '../../lib/session/session-id.js';
import type { PostgresqlBackend } from '../../lib/storage/postgresql/postgresql.backend.js';
import { postgresqlStatements } from '../../lib/storage/postgresql/postgresql.sql.js';
import { inLong } from '../support/long.js';
import { seededId, seedSessions } from '../support/seed-sessions.js';
import { startPostgresqlServer, type TestServer } from '../support/servers.js';
import { STATEMENT_LOG_SETTINGS, StatementLog } from '../support/statement-log.js';
import { isTested } from '../support/storage-names.js';
import { openBackendOf } from '../support/open-backend.js';

const SESSIONS = inLong(1_000_000, 20_000);
const EXPIRED = SESSIONS / 2;
const SAVES = inLong(100_000, 5_000);
const HOUR = 3_600_000;
/** As the backend has it. */
const SWEEP_BLOCKS = 32;

const times = <T>(count: number, make: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));
const newLease = () => ({ token: randomBytes(16).toString('base64url'), ms: 30_000 });
const keyOf = (n: number) => sessionKey(seededId(n));
/** Of a seeded session that has not expired, one of those that are this worker's of ten. */
const randomLiveKey = (worker: number) => keyOf(2 * (10 * randomInt(SESSIONS / 20) + worker + 1));

describe.runIf(isTested('postgresql'))('postgresql, at scale', { timeout: 600_000 }, () => {
  let server: TestServer & { url: string };
  let client: Client;
  let table: string;
  let backend: PostgresqlBackend;
  const open = (applicationName = 'nest-sessions') =>
    openBackendOf<PostgresqlBackend>({
      storageType: 'postgresql',
      connection: { url: server.url, applicationName, poolSize: 20 },
      tableName: table,
    });
  const number = async (sql: string): Promise<number> =>
    Number(Object.values((await client.query(sql)).rows[0]!)[0]);
  const size = (relation = table) => number(`SELECT pg_total_relation_size('${relation}')`);
  const change = async (key: string, data: string) => {
    const lease = newLease();
    expect(await backend.lock(key, lease)).toMatchObject({ createdAt: expect.any(Number) });
    expect(await backend.save(key, { data, ttl: HOUR }, lease, { unlock: true })).toBe(true);
  };

  beforeAll(async () => {
    // autovacuum as it is by default
    server = await startPostgresqlServer(STATEMENT_LOG_SETTINGS);
    client = new Client({ connectionString: server.url });
    await client.connect();
  });
  afterAll(async () => {
    await client.end();
    await server.close();
  });
  beforeEach(async () => {
    table = `sessions_${randomBytes(6).toString('hex')}`;
    backend = await open();
    return async () => {
      await backend.close();
      await client.query(`DROP TABLE ${table}`);
    };
  });

  it('what a request sends goes by the primary key only, and the sweep by blocks', async () => {
    await seedSessions(client, table, SESSIONS, '{"cart":[]}');
    await client.query('SET plan_cache_mode = force_generic_plan');
    const plans: Record<string, string[]> = {};
    for (const [name, statement] of Object.entries(postgresqlStatements(`"${table}"`, 5_000))) {
      await client.query(`PREPARE explained AS ${statement}`);
      const { rows } = await client.query(
        `SELECT array_length(parameter_types, 1) AS count FROM pg_prepared_statements WHERE name = 'explained'`,
      );
      const values = Array.from({ length: rows[0].count ?? 0 }, () => 'NULL').join(', ');
      const explained = await client.query(
        `EXPLAIN (FORMAT JSON) EXECUTE explained${values && `(${values})`}`,
      );
      plans[name] = scansIn(explained.rows[0]['QUERY PLAN'][0].Plan).sort();
      await client.query('DEALLOCATE explained');
    }
    await client.query('RESET plan_cache_mode');
    const byKey = [`Index Scan of ${table}_pkey`];
    expect(plans).toMatchObject({
      read: byKey,
      readMany: byKey,
      lock: byKey,
      lockMany: byKey,
      lockOrFind: [...byKey, ...byKey, ...byKey],
      renew: byKey,
      unlock: byKey,
      unlockAndTouch: byKey,
      unlockMany: byKey,
      touch: byKey,
      create: [],
      save: byKey,
      saveAndUnlock: byKey,
      saveAndUnlockMany: byKey,
      delete: byKey,
      sweep: [`Tid Range Scan of ${table}`],
      sweepDone: byKey,
    });
    console.log(JSON.stringify(plans));
  });

  it(`a sweep of ${SESSIONS} sessions removes the ${EXPIRED} that have expired, and none that is in use`, async () => {
    await seedSessions(client, table, SESSIONS, '{"cart":[]}');
    const swept = { removed: 0 };
    const sweep = backend.cleanUp().then(removed => Object.assign(swept, { removed }));
    let changes = 0;
    await times(10, async worker => {
      while (swept.removed === 0) {
        await change(randomLiveKey(worker), '{"changed":true}');
        changes++;
      }
    });
    expect(await sweep).toEqual({ removed: EXPIRED });
    expect(await number(`SELECT count(*) FROM ${table}`)).toBe(SESSIONS - EXPIRED);
    console.log(`${changes} changes beside the sweep`);
  });

  it('a session that is touched in time survives the sweeps at that time', async () => {
    let removed = 0;
    const state = { isOver: false };
    const sweeps = (async () => {
      while (!state.isOver) {
        removed += await backend.cleanUp();
      }
    })();
    const alive = await times(inLong(2_000, 500), async index => {
      const key = sessionKey(`short-${index}`);
      await sleep(randomInt(0, 500));
      const isEarly = index % 10 === 0; // in time on any machine
      const ttl = isEarly ? 60_000 : randomInt(50, 1_000);
      const createdAt = Date.now();
      const expiresAt = createdAt + ttl; // at the earliest
      await backend.create(key, { data: '{}', ttl });
      // The touch will take as long as this did.
      const took = Date.now() - createdAt;
      await sleep(isEarly ? 0 : Math.max(0, ttl + randomInt(-50 - 2 * took, 20)));
      const touched = await backend.touch(key, HOUR);
      expect(touched || Date.now() >= expiresAt).toBe(true);
      return touched;
    });
    state.isOver = true;
    await sweeps;
    removed += await backend.cleanUp();
    const survivors = alive.filter(Boolean).length;
    expect(await number(`SELECT count(*) FROM ${table}`)).toBe(survivors);
    expect(await backend.count()).toBe(survivors);
    expect(removed).toBe(alive.length - survivors);
    expect(survivors).toBeGreaterThanOrEqual(alive.length / 10);
    console.log(`${survivors} of ${alive.length} touched in time`);
  });

  it('no request on a live session waits for a sweep, nor a sweep for one', async () => {
    await seedSessions(client, table, 2_000, '{"cart":[]}');
    const { sweep } = postgresqlStatements(`"${table}"`, 5_000);
    await client.query('BEGIN');
    const { rows } = await client.query(sweep, ['(0,0)', '(1000000,0)', 'sweeper', 60_000]);
    expect(rows).toEqual([{ removed: 1_000 }]);
    // All of it in one transaction that stays open: each request ends nevertheless.
    await times(1_000, async index => {
      const key = keyOf(2 * index + 2);
      const lease = newLease();
      expect(await backend.read(key)).toBeDefined();
      expect(await backend.lock(key, lease)).not.toBe('busy');
      expect(await backend.renew(key, lease)).toBe(true);
      expect(await backend.touch(key, HOUR)).toBe(true);
      expect(await backend.save(key, { data: '{}', ttl: HOUR }, lease, { unlock: false })).toBe(true);
      await backend.unlock(key, lease, HOUR);
    });
    expect(await backend.create(sessionKey('new'), { data: '{}', ttl: HOUR })).toBe(true);
    expect(await backend.delete(keyOf(2))).toBe(true);
    await client.query('ROLLBACK');
    await client.query('BEGIN');
    await client.query(`UPDATE ${table} SET data = '{}' WHERE expires_at > now()`);
    expect(await backend.cleanUp()).toBe(1_000);
    await client.query('ROLLBACK');
  });

  it('a sweep is many short transactions, a part of the table each', async () => {
    await seedSessions(client, table, 20_000, JSON.stringify({ cart: 'tea'.repeat(100) }));
    const blocks = await number(`SELECT pg_relation_size('${table}') / current_setting('block_size')::int`);
    const log = await StatementLog.open(server.url);
    let removed = 0;
    const statements = await log.during(async () => {
      removed = await backend.cleanUp();
    });
    await log.close();
    expect(removed).toBe(10_000);
    const batches = Math.ceil(blocks / SWEEP_BLOCKS);
    expect(batches).toBeGreaterThan(20);
    expect(statements).toEqual(['blocks', ...Array.from({ length: batches }, () => 'sweep'), 'sweepDone']);
  });

  it('of many instances one sweeps at a time, whenever the others begin', async () => {
    await seedSessions(client, table, 20_000, JSON.stringify({ cart: 'tea'.repeat(100) }));
    const others = await times(5, () => open());
    const swept = { removed: 0 };
    const sweep = backend.cleanUp().then(removed => Object.assign(swept, { removed }));
    await sleep(20);
    let attempts = 0;
    while (swept.removed === 0) {
      // Any that got a turn would remove some: each part of the table has expired sessions until the end.
      const removed = await Promise.all(others.map(other => other.cleanUp()));
      expect(removed).toEqual([0, 0, 0, 0, 0]);
      attempts += removed.length;
    }
    expect(await sweep).toEqual({ removed: 10_000 });
    expect(attempts).toBeGreaterThan(10);
    expect(await number(`SELECT count(*) FROM ${table}`)).toBe(10_000); // and no trace of the sweep
    await Promise.all(others.map(other => other.close()));
  });

  it('a sweep whose process died keeps others from it no longer than its lease', async () => {
    await seedSessions(client, table, 2_000, '{"cart":[]}');
    const { sweep } = postgresqlStatements(`"${table}"`, 5_000);
    const die = (leaseMs: number) => client.query(sweep, ['(0,0)', '(0,1)', 'dead', leaseMs]);
    await die(60_000);
    expect(await backend.cleanUp()).toBe(0);
    expect(await backend.count()).toBe(1_000);
    await client.query(`UPDATE ${table} SET locked_until = now() WHERE lock_token = 'dead'`);
    expect(await backend.cleanUp()).toBe(1_000);
    expect(await number(`SELECT count(*) FROM ${table}`)).toBe(1_000);
  });

  it('a sweep that is told to stop stops, and another may go on at once', async () => {
    await seedSessions(client, table, 20_000, JSON.stringify({ cart: 'tea'.repeat(100) }));
    const stop = new AbortController();
    const sweep = backend.cleanUp(stop.signal);
    await sleep(20);
    stop.abort();
    const removed = await sweep;
    expect(removed).toBeLessThan(10_000);
    expect(await backend.cleanUp()).toBe(10_000 - removed);
  });

  it.each([
    [SAVES, '300 bytes: the table does not grow by them', 300, 8],
    // Their old data stays until autovacuum comes by, once a minute by default: no bound for a test as short as this.
    [SAVES / 5, '10 kB, which PostgreSQL keeps apart (TOAST)', 10_000, undefined],
  ])('%i saves of 100 sessions are HOT updates, of %s', async (count, _, bytes, mostMegabytes) => {
    // Random, so that compression does not flatter.
    const dataOf = (version: number) =>
      JSON.stringify({ version, body: randomBytes(bytes * 0.75).toString('base64') });
    const keys = Array.from({ length: 100 }, (__, index) => sessionKey(`saved-${index}`));
    await times(100, index => backend.create(keys[index]!, { data: dataOf(0), ttl: HOUR }));
    const before = await size();
    let saves = 0;
    await times(20, async worker => {
      // Each session has one writer: none is ever busy.
      for (let turn = 0; turn < count / 20; turn++) {
        await change(keys[(turn % 5) * 20 + worker]!, dataOf(++saves));
      }
    });
    await backend.close(); // a connection tells its counts at its end
    const counts = async () => {
      const { rows } = await client.query(
        `SELECT n_tup_upd::int AS updates, n_tup_hot_upd::int AS hot FROM pg_stat_user_tables WHERE relname = $1`,
        [table],
      );
      return rows[0] as { updates: number; hot: number };
    };
    await expect.poll(async () => (await counts()).updates, { timeout: 30_000 }).toBe(2 * count);
    const { hot } = await counts();
    const after = await size();
    const [main, index] = [await number(`SELECT pg_relation_size('${table}')`), await size(`${table}_pkey`)];
    console.log(
      `${count} saves of 100 sessions of ${bytes} bytes: ${kB(before)} before, ${kB(after)} after ` +
        `(rows ${kB(main)}, primary key ${kB(index)}), ${((100 * hot) / (2 * count)).toFixed(2)} % HOT`,
    );
    expect(hot / (2 * count)).toBeGreaterThan(0.98);
    expect(index).toBeLessThan(1_000_000);
    if (mostMegabytes) {
      expect(after).toBeLessThan(mostMegabytes * 1_000_000);
    }
    backend = await open();
  });
});

const kB = (bytes: number) => `${Math.round(bytes / 1024)} kB`;

interface Plan {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  Plans?: Plan[];
}

/** How a plan reads tables: each scan, by what. What only looks at another part's rows (CTE Scan) is none. */
function scansIn({
  'Node Type': type,
  'Relation Name': relation,
  'Index Name': index,
  Plans = [],
}: Plan): string[] {
  const own = type.endsWith('Scan') && (relation || index) ? [`${type} of ${index ?? relation}`] : [];
  return [...own, ...Plans.flatMap(scansIn)];
}
