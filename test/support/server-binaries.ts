import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isLong } from './long.js';

const run = promisify(execFile);
const PATHS = ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'];

/** The folder of PostgreSQL's programs. */
export const postgresqlBinaries = () => findBinaries('postgresql', 'initdb', postgresqlFolders);

/** The folder of memcached. */
export const memcachedBinaries = () => findBinaries('memcached', 'memcached', async () => PATHS);

/** The folder of PgBouncer, which the long proof alone needs. */
export const pgbouncerBinaries = () =>
  findBinaries('pgbouncer', 'pgbouncer', async () => ['/usr/sbin', ...PATHS]);

/** The folder of Redis, in which a store of express-session's keeps its sessions. */
export const redisBinaries = () => findBinaries('redis-server', 'redis-server', async () => PATHS);

/** Chromium's path. */
export const chromiumProgram = async () =>
  process.env.TEST_CHROMIUM ??
  join(await findBinaries('chromium', 'chromium', async () => PATHS), 'chromium');

/** Before any test, and without a test's time limit: what the tests start must be there. */
export default async function setup(): Promise<void> {
  if (!process.env.TEST_POSTGRES_URL) {
    await postgresqlBinaries();
  }
  if (!process.env.TEST_MEMCACHED_SERVERS) {
    await memcachedBinaries();
  }
  await redisBinaries();
  if (!process.env.TEST_CHROMIUM) {
    await chromiumProgram();
  }
  if (isLong) {
    await pgbouncerBinaries();
  }
}

/** The folder of a program; its package is installed, where that is possible. */
async function findBinaries(
  packageName: string,
  program: string,
  foldersOf: () => Promise<string[]>,
): Promise<string> {
  const found = await findIn(await foldersOf(), program);
  if (found) {
    return found;
  }
  if (process.getuid?.() === 0) {
    const wait = ['-o', 'DPkg::Lock::Timeout=300', '-qq'];
    await run('apt-get', [...wait, 'update']).catch(() => undefined);
    await run('apt-get', [...wait, 'install', '-y', packageName]).catch(() => undefined);
  }
  const installed = await findIn(await foldersOf(), program);
  if (!installed) {
    throw new Error(
      `The tests need ${packageName}: install it (apt-get install ${packageName}, brew install ${packageName}), or ` +
        'say where there is one: TEST_POSTGRES_URL, TEST_MEMCACHED_SERVERS, TEST_CHROMIUM',
    );
  }
  return installed;
}

async function findIn(folders: string[], program: string): Promise<string | undefined> {
  for (const folder of folders) {
    if ((await readdir(folder).catch(() => [] as string[])).includes(program)) {
      return folder;
    }
  }
  return undefined;
}

async function postgresqlFolders(): Promise<string[]> {
  const root = '/usr/lib/postgresql';
  const versions = await readdir(root).catch(() => [] as string[]);
  const newestFirst = versions
    .sort((a, b) => Number(b) - Number(a))
    .map(version => join(root, version, 'bin'));
  return [...newestFirst, ...PATHS];
}
