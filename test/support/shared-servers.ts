import { afterFile } from './after-file.js';
import { makeDatabase } from './own-database.js';
import { sharedServer } from './run-servers.js';

let database: Promise<URL> | undefined;

/** Of a database of this file's own. */
export async function postgresqlUrl(): Promise<string> {
  if (!database) {
    database = makeDatabase();
    afterFile(() => (database = undefined));
  }
  return (await database).href;
}

/** Others use them too: with a key prefix of one's own. */
export const memcachedServers = (): string => sharedServer('memcached');

/** Others use it too: with a key prefix of one's own. */
export const redisUrl = (): string => sharedServer('redis');
