import { relative, resolve, sep } from 'node:path';
import type { TestProject } from 'vitest/node';
import { isLong } from './long.js';
import type { RunServers } from './run-servers.js';
import { installMissing, type NeededName } from './server-binaries.js';
import { startMemcachedServer, startPostgresqlServer, startRedisServer, type TestServer } from './servers.js';
import { isTested } from './storage-names.js';

const { TEST_POSTGRES_URL, TEST_MEMCACHED_SERVERS, TEST_REDIS_URL, TEST_CHROMIUM } = process.env;

type ServerName = 'postgresql' | 'memcached' | 'redis';

/**
 * Tests use the storages that all share, the tested ones or each; or they start servers of their own, to stop them or
 * to look into them.
 */
type Need = 'storages' | 'every storage' | 'own servers' | NeededName;

/** What the files of each folder of test/ need. */
const NEEDS: Record<string, Need[]> = {
  unit: [],
  contract: ['storages'],
  e2e: ['storages', 'own servers', ...(isLong ? ['pgbouncer' as const] : [])],
  faults: ['storages', 'own servers'],
  models: ['spin', 'cc'],
  chaos: ['own servers'],
  ecosystem: ['storages', 'redis'],
  browser: ['storages', 'chromium'],
  docs: ['every storage'],
  package: isLong || process.env.TEST_MATRIX ? ['every storage'] : [],
};

/** Before any test, and without a test's time limit: what the files of this run need is there, started once for all. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const needs = needsOf(project.vitest.state.getPaths());
  const isShared = (storage: ServerName) =>
    needs.has('every storage') || (needs.has('storages') && isTested(storage));
  const isOwn = (storage: ServerName) => needs.has('own servers') && isTested(storage);
  const needsRedis = needs.has('redis') || isShared('redis');
  const programs: Record<NeededName, boolean> = {
    postgresql: isOwn('postgresql') || (isShared('postgresql') && !TEST_POSTGRES_URL),
    memcached: isOwn('memcached') || (isShared('memcached') && !TEST_MEMCACHED_SERVERS),
    pgbouncer: needs.has('pgbouncer') && isTested('postgresql'),
    redis: isOwn('redis') || (needsRedis && !TEST_REDIS_URL),
    spin: needs.has('spin'),
    cc: needs.has('cc'),
    chromium: needs.has('chromium') && !TEST_CHROMIUM,
  };
  await installMissing((Object.keys(programs) as NeededName[]).filter(name => programs[name]));

  const started: TestServer[] = [];
  const start = async <T extends TestServer>(starting: Promise<T>): Promise<T> => {
    const server = await starting;
    started.push(server);
    return server;
  };
  const [postgresql, memcached, redis] = await Promise.all([
    // What a test's server must survive, it survives with fsync off: the machine does not crash.
    isShared('postgresql') && !TEST_POSTGRES_URL
      ? start(startPostgresqlServer(['fsync=off', 'max_connections=500']))
      : undefined,
    isShared('memcached') && !TEST_MEMCACHED_SERVERS
      ? start(startMemcachedServer(['-I', '4m', '-m', '1024', '-c', '4096']))
      : undefined,
    needsRedis && !TEST_REDIS_URL ? start(startRedisServer()) : undefined,
  ]);
  const servers: RunServers = {
    postgresql: TEST_POSTGRES_URL || postgresql?.url,
    memcached: TEST_MEMCACHED_SERVERS || memcached?.address,
    redis: TEST_REDIS_URL || redis?.url,
  };
  project.provide('servers', servers);

  const closeAll = () => started.forEach(server => server.closeAtExit());
  process.once('exit', closeAll); // of an interrupted run, which ends without the teardown
  return async () => {
    process.off('exit', closeAll);
    await Promise.all(started.map(server => server.close()));
  };
}

function needsOf(files: string[]): Set<Need> {
  const root = resolve(import.meta.dirname, '..');
  return new Set(files.flatMap(file => NEEDS[relative(root, file).split(sep)[0]!] ?? []));
}
