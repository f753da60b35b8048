import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryStore } from 'express-session';
import { expressStore, type SessionBackend } from 'nest-sessions';
import type { TestStorage } from '../../lib/testing.js';
import { FileBackend } from '../../lib/storage/file/file.backend.js';
import { memcachedServers, postgresqlUrl, redisUrl } from '../support/shared-servers.js';
import { isTested } from '../support/storage-names.js';
import { RamBackend } from '../../lib/storage/ram/ram.backend.js';
import { openBackendOf } from '../support/open-backend.js';

export interface BackendUnderTest {
  name: string;
  /** Opens a storage with nothing in it. */
  open(): Promise<TestStorage>;
}

/** Every backend that must keep the storage contract. A new one is added here, and nowhere else. */
const ALL_BACKENDS: BackendUnderTest[] = [
  {
    name: 'ram',
    async open() {
      const backend = new RamBackend(100_000);
      return { clients: [backend, backend], close: () => backend.close() };
    },
  },
  {
    name: 'file',
    async open() {
      const folder = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      const [first, second] = [new FileBackend(folder), new FileBackend(folder)];
      await first.open();
      await second.open();
      return {
        clients: [first, second],
        async close() {
          await first.close();
          await second.close();
          await rm(folder, { recursive: true, force: true });
        },
      };
    },
  },
  {
    name: 'postgresql',
    async open() {
      const tableName = `sessions_${randomBytes(6).toString('hex')}`;
      const url = await postgresqlUrl();
      const openClient = () => openBackendOf({ storageType: 'postgresql', url, tableName });
      return closing([await openClient(), await openClient()]);
    },
  },
  {
    name: 'memcached',
    async open() {
      const keyPrefix = `${randomBytes(6).toString('hex')}:`;
      const servers = memcachedServers();
      const openClient = () => openBackendOf({ storageType: 'memcached', servers, keyPrefix });
      return { ...closing([await openClient(), await openClient()]), sweepsItself: true };
    },
  },
  {
    name: 'redis',
    async open() {
      const keyPrefix = `${randomBytes(6).toString('hex')}:`;
      const openClient = () => openBackendOf({ storageType: 'redis', url: redisUrl(), keyPrefix });
      return { ...closing([await openClient(), await openClient()]), sweepsItself: true };
    },
  },
  {
    name: 'express-session’s MemoryStore',
    async open() {
      const backend = expressStore(new MemoryStore());
      return { clients: [backend, backend], sweepsItself: true, close: () => backend.close() };
    },
  },
  {
    name: 'an express-session store that knows neither touch nor time',
    async open() {
      const sessions = new Map<string, string>();
      const backend = expressStore({
        get: (sid, callback) => callback(null, JSON.parse(sessions.get(sid) ?? 'null')),
        set(sid, session, callback) {
          sessions.set(sid, JSON.stringify(session));
          setImmediate(callback);
        },
        destroy(sid, callback) {
          sessions.delete(sid);
          callback();
        },
      });
      return { clients: [backend, backend], sweepsItself: true, close: () => backend.close() };
    },
  },
];

export type { TestStorage };

export const BACKENDS = ALL_BACKENDS.filter(({ name }) => isTested(name));

function closing(clients: [SessionBackend, SessionBackend]): TestStorage {
  return {
    clients,
    async close() {
      await Promise.all(clients.map(client => client.close()));
    },
  };
}
