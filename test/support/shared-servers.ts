import { afterAll } from 'vitest';
import { startMemcachedServer, startPostgresqlServer, type TestServer } from './servers.js';

let postgresql: Promise<TestServer & { url: string }> | undefined;
let memcached: Promise<TestServer & { address: string }> | undefined;

/** Of a server for this file's tests: TEST_POSTGRES_URL, or one that ends with them. */
export async function postgresqlUrl(): Promise<string> {
  const { TEST_POSTGRES_URL } = process.env;
  // What a test's server must survive, it survives with fsync off: the machine does not crash.
  return TEST_POSTGRES_URL ?? (await (postgresql ??= startPostgresqlServer(['fsync=off']))).url;
}

/** Of a server for this file's tests: TEST_MEMCACHED_SERVERS, or one that ends with them. */
export async function memcachedServers(): Promise<string> {
  const { TEST_MEMCACHED_SERVERS } = process.env;
  return TEST_MEMCACHED_SERVERS ?? (await (memcached ??= startMemcachedServer(['-I', '4m']))).address;
}

afterAll(async () => {
  await (await postgresql)?.close();
  await (await memcached)?.close();
});
