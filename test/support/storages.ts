import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SessionBackend, SessionModuleOptions, SessionOptions } from 'nest-sessions';
import { afterFile } from './after-file.js';
import { openBackendOf } from './open-backend.js';
import { memcachedServers, postgresqlUrl, redisUrl } from './shared-servers.js';
import type { StorageName } from './storage-names.js';

export * from './storage-names.js';

/** Options as tests put them together; which go with which is for the module to see. */
export type AnyOptions = SessionOptions & { [storageOption: string]: any };

/** The options of a storage, of which it has some. */
export type StorageUnderTest = SessionModuleOptions & {
  storagePath?: string | undefined;
  url?: string | undefined;
  tableName?: string | undefined;
  servers?: string | string[] | undefined;
  keyPrefix?: string | undefined;
};

/** The options of a storage with nothing in it: a new folder, table or prefix. */
export async function newStorage(storageType: StorageName): Promise<StorageUnderTest> {
  const name = randomBytes(6).toString('hex');
  switch (storageType) {
    case 'ram':
      return {};
    case 'file': {
      const storagePath = await mkdtemp(join(tmpdir(), 'nest-sessions-'));
      afterFile(() => rm(storagePath, { recursive: true, force: true }));
      return { storageType, storagePath };
    }
    case 'postgresql':
      return { storageType, url: await postgresqlUrl(), tableName: `sessions_${name}` };
    case 'memcached':
      return { storageType, servers: memcachedServers(), keyPrefix: `${name}:` };
    case 'redis':
      return { storageType, url: redisUrl(), keyPrefix: `${name}:` };
  }
}

/** The backend of a storage with nothing in it, which a test hands to the module, and closes. */
export async function openBackend(storageType: StorageName): Promise<SessionBackend> {
  return openBackendOf(await newStorage(storageType));
}

/** How many sessions are stored: as the backend counts them, or, where it cannot, by the items that there are. */
export async function countStored(
  backend: SessionBackend,
  { servers, keyPrefix }: StorageUnderTest,
): Promise<number> {
  if (backend.count) {
    return backend.count();
  }
  const keys = new Set<string>();
  for (const server of String(servers).split(',')) {
    // A walk misses what is moved or in use meanwhile; two of different kinds do not miss the same.
    for (const item of [...(await listItems(server, 'hash')), ...(await listItems(server, 'all'))]) {
      if (item.startsWith(keyPrefix!)) {
        keys.add(item.slice(keyPrefix!.length));
      }
    }
  }
  // A lock's item is no session, and memcached may keep an expired one for a second or two.
  const records = await Promise.all(Array.from(keys, key => backend.read(key)));
  return records.filter(Boolean).length;
}

/** The keys of all items of a memcached server. It tells them in its text protocol, which memjs does not speak. */
async function listItems(server: string, walk: 'hash' | 'all'): Promise<string[]> {
  const [host, port = '11211'] = server.split(':');
  let text = '';
  const socket = connect(Number(port), host);
  socket.setEncoding('utf8').write(`lru_crawler metadump ${walk}\r\n`);
  for await (const chunk of socket) {
    text += chunk;
    if (/^(END|BUSY.*|\w*ERROR.*)\r\n/m.test(text)) {
      break;
    }
  }
  if (text.startsWith('BUSY')) {
    await sleep(5); // it lists for somebody else
    return listItems(server, walk);
  }
  if (!text.endsWith('END\r\n')) {
    throw new Error(`memcached does not list its items: ${text.slice(-100)}`);
  }
  return Array.from(text.matchAll(/^key=(\S+)/gm), ([, key]) => decodeURIComponent(key!));
}
