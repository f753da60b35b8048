import { DataSource } from 'typeorm';
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { SessionBackend } from 'nest-sessions';
import { LockManager } from '../../lib/locking/lock-manager.js';
import { BACKENDS, type TestStorage } from '../contract/backends.js';
import { newKey, newLease, times, until, writeOf } from '../contract/fixtures.js';
import { countTries } from '../support/count-tries.js';
import { lockOf } from '../support/lock-client.js';
import { startPostgresqlServer } from '../support/servers.js';
import { STATEMENT_LOG_SETTINGS, StatementLog } from '../support/statement-log.js';
import { isTested } from '../support/storage-names.js';
import { openBackendOf } from '../support/open-backend.js';

const WAITING = 1000;
/** Of 400 a second, and 20 at a time; and what a machine under load may put together that was apart. */
const MOST_A_SECOND = 450;
const PATIENT = { waitMs: 60_000 };

/** Sessions, each with its lock in another process. @param inOther what it reaches them by */
async function lockedElsewhere(inOther: SessionBackend) {
  const sessions = times(WAITING, () => ({ key: newKey(), lease: newLease() }));
  for (let from = 0; from < WAITING; from += 50) {
    await Promise.all(
      sessions.slice(from, from + 50).map(({ key, lease }) => inOther.create(key, writeOf('0'), lease)),
    );
  }
  return sessions;
}

/** The most of these moments, in milliseconds, that lie within a second. */
function mostInASecond(moments: number[]): number {
  let first = 0;
  return moments.reduce((most, moment, index) => {
    while (moments[first]! <= moment - 1000) {
      first++;
    }
    return Math.max(most, index - first + 1);
  }, 0);
}

describe.each(BACKENDS)(`${WAITING} sessions wait for locks of another process: $name`, ({ open }) => {
  let storage: TestStorage;
  afterEach(() => storage.close());

  it('tries at their locks are bounded, and all get them once they are free', async () => {
    storage = await open();
    const [mine, theirs] = storage.clients;
    const sessions = await lockedElsewhere(theirs);
    const { backend, again } = countTries(mine);
    const manager = new LockManager(backend, 30_000);
    const waiting = sessions.map(async ({ key }) => (await lockOf(manager.acquire(key, PATIENT))).release());
    await until(() => again.length >= 2 * WAITING);
    await Promise.all(sessions.map(({ key, lease }) => theirs.unlock(key, lease)));
    await Promise.all(waiting);
    expect(mostInASecond(again)).toBeLessThan(MOST_A_SECOND);
    expect(manager.size).toBe(0);
  });
});

describe.runIf(isTested('postgresql'))(`${WAITING} sessions wait: what PostgreSQL is asked`, () => {
  it('tries of many sessions go out as one statement, on two connections at most', async () => {
    const server = await startPostgresqlServer(STATEMENT_LOG_SETTINGS);
    const dataSource = new DataSource({ type: 'postgres', url: server.url, applicationName: 'waits' });
    await dataSource.initialize();
    const tableName = `sessions_${randomBytes(6).toString('hex')}`;
    const openWith = (more: object) => openBackendOf({ storageType: 'postgresql', tableName, ...more });
    const theirs = await openWith({ url: server.url });
    const mine = await openWith({ dataSource });
    const log = await StatementLog.open(server.url);
    try {
      const sessions = await lockedElsewhere(theirs);
      const { backend, again } = countTries(mine);
      const manager = new LockManager(backend, 30_000);
      const waiting = sessions.map(async ({ key }) =>
        (await lockOf(manager.acquire(key, PATIENT))).release(),
      );
      await until(() => again.length >= 100); // each has had its first try, which comes when its request comes

      const pool = (dataSource.driver as unknown as { master: Pool }).master;
      let inUse = 0;
      pool.on('acquire', () => (inUse = Math.max(inUse, pool.totalCount - pool.idleCount)));
      const from = again.length;
      const statements = await log.during(() => until(() => again.length >= from + 1000), 'waits');
      expect(inUse).toBeGreaterThan(0);
      expect(inUse).toBeLessThanOrEqual(2);
      expect(new Set(statements)).toEqual(new Set(['lockOrFind']));
      expect(statements.length).toBeLessThan(1000 / 10);

      await Promise.all(sessions.map(({ key, lease }) => theirs.unlock(key, lease)));
      await Promise.all(waiting);
    } finally {
      await log.close();
      await mine.close();
      await theirs.close();
      await dataSource.destroy();
      await server.close();
    }
  });
});

/** What is used of pg's. */
interface Pool {
  totalCount: number;
  idleCount: number;
  on(event: 'acquire', listener: () => void): void;
}
