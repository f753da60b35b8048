import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The project's folder, also for compiled code elsewhere in it. */
export const ROOT = `${dirname(createRequire(import.meta.url).resolve('nest-sessions/package.json'))}/`;
const CACHE = join(ROOT, 'node_modules/.cache/nest-sessions-tests');
/** Milliseconds after which what nobody has used is removed. */
const KEEP = 60 * 60_000;
/** Milliseconds after which one who builds must have died. */
const BUILD_TIME = 5 * 60_000;

/**
 * Builds something from sources, unless it has been built from the same ones: by another file of this run, or before.
 * Who comes while another process builds it waits for that one.
 * @param sources files and folders of the project
 * @param build puts it into a folder
 * @returns the folder, which others use too
 */
export async function buildOnce(
  name: string,
  sources: string[],
  build: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(CACHE, `${name}-${await hashOf(sources)}`);
  const lock = `${folder}.lock`;
  await mkdir(CACHE, { recursive: true });
  while (!(await use(folder))) {
    if (await take(lock)) {
      const made = `${folder}.made`;
      try {
        if (!(await use(folder))) {
          await rm(made, { recursive: true, force: true });
          await mkdir(made);
          await build(made);
          await rename(made, folder);
          await removeOld();
        }
      } finally {
        await rm(lock, { recursive: true, force: true });
      }
    } else {
      await sleep(100);
    }
  }
  return folder;
}

/** Says that it is in use. @returns whether it is there */
const use = (folder: string): Promise<boolean> =>
  utimes(folder, new Date(), new Date()).then(
    () => true,
    () => false,
  );

async function take(lock: string): Promise<boolean> {
  try {
    await mkdir(lock);
    return true;
  } catch {
    if ((await ageOf(lock)) > BUILD_TIME) {
      await rm(lock, { recursive: true, force: true });
    }
    return false;
  }
}

async function removeOld(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const path = join(CACHE, name);
    if ((await ageOf(path)) > KEEP) {
      await rm(path, { recursive: true, force: true });
    }
  }
}

const ageOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  );

async function hashOf(sources: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const source of sources) {
    for (const file of await filesOf(source)) {
      hash.update(file).update(await readFile(join(ROOT, file)));
    }
  }
  return hash.digest('hex').slice(0, 16);
}

async function filesOf(source: string): Promise<string[]> {
  const path = join(ROOT, source);
  if (!(await stat(path)).isDirectory()) {
    return [source];
  }
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter(entry => entry.isFile())
    .map(entry => join(source, entry.parentPath.slice(path.length), entry.name))
    .filter(file => !/(^|\/)dist\//.test(file))
    .sort();
}
