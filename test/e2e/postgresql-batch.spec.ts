import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sessionKey } from '../../lib/session/session-id.js';
import type { PostgresqlBackend } from '../../lib/storage/postgresql/postgresql.backend.js';
import { newLease } from '../contract/fixtures.js';
import { startPostgresqlServer } from '../support/servers.js';
import { STATEMENT_LOG_SETTINGS, StatementLog } from '../support/statement-log.js';
import { isTested } from '../support/storage-names.js';
import { times } from '../support/times.js';
import { openBackendOf } from '../support/open-backend.js';

const HOUR = 3_600_000;
const N = 50;

describe.runIf(isTested('postgresql'))('postgresql: what many sessions ask for at one time', () => {
  let server: Awaited<ReturnType<typeof startPostgresqlServer>>;
  let client: Client;
  let log: StatementLog;
  let table: string;
  let backend: PostgresqlBackend;
  const keys = Array.from({ length: N }, (_, index) => sessionKey(`session-${index}`));

  beforeAll(async () => {
    server = await startPostgresqlServer(STATEMENT_LOG_SETTINGS);
    client = new Client({ connectionString: server.url });
    await client.connect();
    log = await StatementLog.open(server.url);
  });
  afterAll(async () => {
    await log.close();
    await client.end();
    await server.close();
  });
  beforeEach(async () => {
    table = `sessions_${randomBytes(6).toString('hex')}`;
    backend = await openBackendOf<PostgresqlBackend>({
      storageType: 'postgresql',
      url: server.url,
      tableName: table,
    });
    await times(N, index => backend.create(keys[index]!, { data: `{"index":${index}}`, ttl: HOUR }));
  });
  afterEach(() => backend.close());

  const dataOf = async (index: number) => (await backend.read(keys[index]!))?.data;

  it('is sent together, and each gets its own answer', async () => {
    const busy = newLease();
    await backend.lock(keys[3]!, busy);
    await backend.delete(keys[7]!);
    const leases = keys.map(() => newLease());
    const statements = await log.during(async () => {
      const locked = await times(N, index => backend.lock(keys[index]!, leases[index]!));
      locked.forEach((record, index) => {
        const expected = { 3: 'busy', 7: undefined }[index];
        expect(record, String(index)).toEqual(
          index === 3 || index === 7 ? expected : expect.objectContaining({ data: `{"index":${index}}` }),
        );
      });
      const saved = await times(N, index =>
        backend.save(
          keys[index]!,
          { data: `{"saved":${index}}`, owner: `\0owner "${index}"`, timeout: index + 1, ttl: HOUR },
          leases[index]!,
          { unlock: true },
        ),
      );
      expect(saved.flatMap((isSaved, index) => (isSaved ? [] : [index]))).toEqual([3, 7]);
      const read = await times(N, index => backend.read(keys[index]!));
      read.forEach((record, index) => {
        const kept = { 3: expect.objectContaining({ data: '{"index":3}' }), 7: undefined }[index];
        const data = { data: `{"saved":${index}}`, owner: `\0owner "${index}"`, timeout: index + 1 };
        expect(record, String(index)).toEqual(
          index === 3 || index === 7 ? kept : expect.objectContaining(data),
        );
      });
    });
    const countOf = (name: string) => statements.filter(statement => statement === name).length;
    // All in one; but no more than a statement takes, and one of more than 10 ms does not hold up the next.
    for (const [one, many] of [
      ['lock', 'lockMany'],
      ['saveAndUnlock', 'saveAndUnlockMany'],
      ['read', 'readMany'],
    ] as const) {
      expect(countOf(many), many).toBeGreaterThan(0);
      expect(countOf(one) + countOf(many), one).toBeLessThan(N / 4);
    }
    await backend.unlock(keys[3]!, busy);
  });

  it('unlocks together, what is touched and what is not', async () => {
    const leases = keys.map(() => newLease());
    await times(N, index => backend.lock(keys[index]!, leases[index]!));
    await times(N, index =>
      backend.unlock(keys[index]!, leases[index]!, index % 2 === 0 ? 10 * HOUR : undefined),
    );
    const again = await times(N, index => backend.lock(keys[index]!, newLease()));
    again.forEach((record, index) => {
      const { expiresAt } = record as { expiresAt: number };
      const hours = Math.round((expiresAt - Date.now()) / HOUR);
      expect([index, hours]).toEqual([index, index % 2 === 0 ? 10 : 1]);
    });
  });

  it('invariant 10: data that PostgreSQL refuses spoils no other session that is saved with it', async () => {
    const leases = keys.map(() => newLease());
    await times(N, index => backend.lock(keys[index]!, leases[index]!));
    const textOf = (index: number) => (index % 10 === 5 ? `{own format ${index}}` : `{"saved":${index}}`);
    const saved = await times(N, index =>
      backend.save(keys[index]!, { data: textOf(index), ttl: HOUR }, leases[index]!, { unlock: true }),
    );
    expect(saved).toEqual(keys.map(() => true));
    expect(await times(N, dataOf)).toEqual(keys.map((_, index) => textOf(index)));
    const { rows } = await client.query(
      `SELECT json_typeof(data) AS type, count(*)::int FROM ${table} GROUP BY 1`,
    );
    expect(Object.fromEntries(rows.map(({ type, count }) => [type, count]))).toEqual({
      object: (N / 10) * 9, // where SQL can look into it
      string: N / 10,
    });
  });

  it('a statement that waits for a row holds up no others', async () => {
    await client.query('BEGIN');
    await client.query(`SELECT FROM ${table} WHERE key = $1 FOR UPDATE`, [keys[0]]);
    const state = { isOver: false };
    const waiting = backend.lock(keys[0]!, newLease()).then(record => {
      state.isOver = true;
      return record;
    });
    const others = await times(N - 1, index => backend.lock(keys[index + 1]!, newLease()));
    expect(others.filter(record => typeof record === 'object')).toHaveLength(N - 1);
    expect(state.isOver).toBe(false);
    await client.query('ROLLBACK');
    expect(await waiting).toMatchObject({ data: '{"index":0}' });
  });

  it('who asks again gets its own answer, in one statement that waits for no row', async () => {
    const [held, mine] = [keys.map(() => newLease()), keys.map(() => newLease())];
    await times(N, index => backend.lock(keys[index]!, held[index]!));
    expect(await times(N, index => backend.lock(keys[index]!, mine[index]!))).toEqual(keys.map(() => 'busy'));
    await backend.unlock(keys[1]!, held[1]!);
    await backend.delete(keys[2]!);
    await backend.unlock(keys[3]!, held[3]!);
    await client.query('BEGIN');
    await client.query(`SELECT FROM ${table} WHERE key = $1 FOR UPDATE`, [keys[3]]);
    const statements = await log.during(async () => {
      const asked = await times(N, index => backend.lock(keys[index]!, mine[index]!));
      const expected = { 1: expect.objectContaining({ data: '{"index":1}' }), 2: undefined };
      expect(asked).toEqual(keys.map((_, index) => (index in expected ? expected[index as 1] : 'busy')));
    });
    expect(statements).toEqual(['lockOrFind']);
    await client.query('ROLLBACK');
    expect(await backend.lock(keys[3]!, mine[3]!)).toMatchObject({ data: '{"index":3}' });
    // What was got is held, and what was busy is another's still.
    expect(await backend.renew(keys[1]!, mine[1]!)).toBe(true);
    expect(await backend.renew(keys[4]!, held[4]!)).toBe(true);
    expect(await backend.renew(keys[4]!, mine[4]!)).toBe(false);
  });

  it('two processes that lock the same sessions at one time: each has one holder, in 40 rounds', async () => {
    const other = await openBackendOf<PostgresqlBackend>({
      storageType: 'postgresql',
      url: server.url,
      tableName: table,
    });
    for (let round = 0; round < 40; round++) {
      const mine = keys.map(() => newLease());
      const theirs = keys.map(() => newLease());
      const [left, right] = await Promise.all([
        times(N, index => backend.lock(keys[index]!, mine[index]!)),
        times(N, index => other.lock(keys[N - 1 - index]!, theirs[N - 1 - index]!)).then(all =>
          all.toReversed(),
        ),
      ]);
      const holders = keys.map(
        (_, index) => [left[index], right[index]].filter(record => record !== 'busy').length,
      );
      expect(holders).toEqual(keys.map(() => 1));
      await times(N, index => backend.unlock(keys[index]!, mine[index]!));
      await times(N, index => other.unlock(keys[index]!, theirs[index]!));
    }
    await other.close();
  });
});
