import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SessionStorageException, SessionStore } from 'nest-sessions';
import { resolveSessionOptions } from '../../lib/options/resolve-options.js';
import { SessionRuntime } from '../../lib/session/session-runtime.js';
import { expectLogs } from '../support/expect-logs.js';
import { startPostgresqlServer } from '../support/servers.js';
import { isTested } from '../support/storage-names.js';
import { openBackendOf } from '../support/open-backend.js';

const LIMIT = 300;

describe.runIf(isTested('postgresql'))(
  'a statement that was given up does nothing when it gets its row at last',
  () => {
    let server: Awaited<ReturnType<typeof startPostgresqlServer>>;
    let runtime: SessionRuntime;
    let store: SessionStore;
    let other: Client;
    let id: string;
    beforeAll(async () => {
      server = await startPostgresqlServer();
      const backend = await openBackendOf({
        storageType: 'postgresql',
        url: server.url,
        storageTimeout: LIMIT / 1000,
      });
      runtime = new SessionRuntime(resolveSessionOptions({}), { backend, limitMs: LIMIT });
      store = new SessionStore(runtime, { readIds: () => [], bind: () => '' });
      other = new Client({ connectionString: server.url });
      await other.connect();
    });
    beforeEach(async () => {
      await store.destroyByOwner('ann');
      id = await store.create({}, { owner: 'ann' });
    });
    afterAll(async () => {
      await other.end();
      await runtime.close();
      await server.close();
    });
    expectLogs();

    const holdRows = async () => {
      await other.query('BEGIN');
      await other.query('SELECT 1 FROM nest_sessions FOR UPDATE');
    };
    /** Longer than what was given up is asked to be given back. */
    const freeRows = async () => {
      await sleep(2_000);
      await other.query('COMMIT');
      await sleep(200);
    };

    it('invariant 9: a lock is not left to nobody', async () => {
      await holdRows();
      await expect(store.update(id, () => undefined)).rejects.toBeInstanceOf(SessionStorageException);
      await freeRows();
      const { rows } = await other.query('SELECT lock_token FROM nest_sessions');
      expect(rows).toEqual([{ lock_token: null }]);
    });

    it('invariant 2, the other way round: regenerate() that failed does not end the session later', async () => {
      const regenerating = store.update(id, async session => {
        await holdRows();
        await session.regenerate();
      });
      await expect(regenerating).rejects.toBeInstanceOf(SessionStorageException);
      await freeRows();
      expect(await store.findByOwner('ann')).toHaveLength(1);
    });

    it('invariant 4: destroy() that failed does not end it later', async () => {
      await holdRows();
      await expect(store.destroy(id)).rejects.toBeInstanceOf(SessionStorageException);
      await expect(store.destroyByOwner('ann')).rejects.toBeInstanceOf(SessionStorageException);
      await freeRows();
      expect(await store.exists(id)).toBe(true);
    });
  },
);
