import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PATHS = ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'];

/** What the tests start. */
interface Needed {
  /** Debian's, and Homebrew's. */
  packageName: string;
  /** A file that is in its folder. */
  program: string;
  folders: () => Promise<string[]>;
}

const NEEDED = {
  postgresql: { packageName: 'postgresql', program: 'initdb', folders: postgresqlFolders },
  memcached: { packageName: 'memcached', program: 'memcached', folders: async () => PATHS },
  /** Which the long proof alone needs. */
  pgbouncer: {
    packageName: 'pgbouncer',
    program: 'pgbouncer',
    folders: async () => ['/usr/sbin', ...PATHS],
  },
  /** In which a store of express-session's keeps its sessions. */
  redis: { packageName: 'redis-server', program: 'redis-server', folders: async () => PATHS },
  /** Which checks models, and what compiles them. */
  spin: { packageName: 'spin', program: 'spin', folders: async () => PATHS },
  cc: { packageName: 'gcc', program: 'cc', folders: async () => PATHS },
  chromium: { packageName: 'chromium', program: 'chromium', folders: async () => PATHS },
} satisfies Record<string, Needed>;

export type NeededName = keyof typeof NEEDED;

/** The folder of PostgreSQL's programs. */
export const postgresqlBinaries = () => binaries('postgresql');
export const memcachedBinaries = () => binaries('memcached');
export const pgbouncerBinaries = () => binaries('pgbouncer');
export const redisBinaries = () => binaries('redis');
export const spinBinaries = () => binaries('spin');

/** Chromium's path. */
export const chromiumProgram = async () =>
  process.env.TEST_CHROMIUM ?? join(await binaries('chromium'), 'chromium');

/** The folder of a program; its package is installed, where that is possible. */
async function binaries(name: NeededName): Promise<string> {
  await installMissing([name]);
  return (await findIn(NEEDED[name]))!;
}

/** Installs what is not there, all at once, and says so. @throws if that is not possible */
export async function installMissing(names: NeededName[]): Promise<void> {
  let missing = await missingOf(names);
  if (missing.length === 0) {
    return;
  }
  let why = 'only root can install it here';
  if (process.getuid?.() === 0) {
    why = 'apt-get has not brought it';
    console.log(
      `The tests need what is not here: apt-get install ${missing.join(' ')}, which takes a minute ...`,
    );
    const wait = ['-o', 'DPkg::Lock::Timeout=300', '-qq'];
    await run('apt-get', [...wait, 'update']).catch(() => undefined);
    await run('apt-get', [...wait, 'install', '-y', ...missing]).catch(error => {
      why = error.message;
    });
    missing = await missingOf(names);
  }
  if (missing.length > 0) {
    const packages = missing.join(' ');
    throw new Error(
      `The tests need ${packages}: install it (apt-get install ${packages}, brew install ${packages}), or say where ` +
        `there is one: TEST_POSTGRES_URL, TEST_MEMCACHED_SERVERS, TEST_CHROMIUM; ${why}`,
    );
  }
}

/** The packages of those that are not there. */
async function missingOf(names: NeededName[]): Promise<string[]> {
  const found = await Promise.all(names.map(name => findIn(NEEDED[name])));
  return names.filter((_, index) => !found[index]).map(name => NEEDED[name].packageName);
}

async function findIn({ program, folders }: Needed): Promise<string | undefined> {
  for (const folder of await folders()) {
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
