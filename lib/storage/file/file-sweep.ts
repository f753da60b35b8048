import type { Dirent } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { unlessMissing } from './file-errors.js';
import { LOCK_SUFFIX } from './file-lock.js';
import { SESSION_PREFIX, type FileRecords } from './file-records.js';

/** Milliseconds after which a leftover of a dead process is removed. */
const LEFTOVER_AGE = 60 * 60_000;
/** Files that are looked at in parallel. */
const WIDTH = 16;

/** Looks at all files of the storage: to count sessions, or to remove what has expired and what dead processes left. */
export class FileSweep {
  constructor(
    private readonly root: string,
    private readonly scratch: string,
    private readonly records: FileRecords,
  ) {}

  /** @param removeExpired tells whether it removed the session @returns how many sessions were removed */
  async cleanUp(removeExpired: (key: string) => Promise<boolean>): Promise<number> {
    let removed = 0;
    await this.forEachFile(async (entry, path, names) => {
      const { name } = entry;
      if (name.endsWith(LOCK_SUFFIX)) {
        if (!names.has(name.slice(0, -LOCK_SUFFIX.length))) {
          await this.removeLeftoverLock(path);
        }
      } else if (
        isSession(entry) &&
        (await this.records.hasExpired(path)) &&
        (await removeExpired(name.slice(SESSION_PREFIX.length)))
      ) {
        removed++; // not `+= await …`: that adds to what it was before the wait
      }
    });
    for (const name of await readdir(this.scratch)) {
      await removeIfOld(join(this.scratch, name));
    }
    return removed;
  }

  async count(): Promise<number> {
    let count = 0;
    await this.forEachFile(async (entry, path) => {
      if (isSession(entry) && !(await this.records.hasExpired(path, true))) {
        count++;
      }
    });
    return count;
  }

  /**
   * The keys of all files, in their order, folder by folder.
   * @param after only those that come after this one
   */
  async *keys(after = ''): AsyncGenerator<string> {
    this.records.ensurePresent();
    const folders = (await this.folders()).filter(name => name >= after.slice(0, 2));
    for (const folder of folders.sort()) {
      yield* (await entriesOf(join(this.root, folder)))
        .filter(isSession)
        .map(({ name }) => name.slice(SESSION_PREFIX.length))
        .filter(key => key > after)
        .sort();
    }
  }

  /** Folder by folder, a few files at a time. @param step gets the names in its folder, too */
  private async forEachFile(
    step: (entry: Dirent, path: string, names: ReadonlySet<string>) => Promise<void>,
  ): Promise<void> {
    this.records.ensurePresent();
    for (const folder of await this.folders()) {
      const entries = await entriesOf(join(this.root, folder));
      const names = new Set(entries.map(({ name }) => name));
      const rest = entries.values();
      const worker = async () => {
        for (const entry of rest) {
          await step(entry, join(this.root, folder, entry.name), names);
        }
      };
      await Promise.all(Array.from({ length: WIDTH }, worker));
    }
  }

  private async folders(): Promise<string[]> {
    return (await entriesOf(this.root))
      .filter(entry => entry.name.length === 2 && entry.isDirectory())
      .map(({ name }) => name);
  }

  /** A process that died between two steps of a removal leaves a lock without a session. */
  private async removeLeftoverLock(path: string): Promise<void> {
    const session = await unlessMissing(stat(path.slice(0, -LOCK_SUFFIX.length)));
    if (!session) {
      await removeIfOld(path);
    }
  }
}

const SESSION_NAME = new RegExp(`^${SESSION_PREFIX}[\\w-]{43}$`);

/** What somebody else put into the folder, such as a link that leads nowhere, is left alone. */
const isSession = (entry: Dirent): boolean => entry.isFile() && SESSION_NAME.test(entry.name);

/** None of a folder that is gone. */
const entriesOf = async (folder: string): Promise<Dirent[]> =>
  (await unlessMissing(readdir(folder, { withFileTypes: true }))) ?? [];

async function removeIfOld(path: string): Promise<void> {
  const stats = await unlessMissing(stat(path));
  if (stats && Date.now() - stats.mtimeMs > LEFTOVER_AGE) {
    await rm(path, { recursive: true, force: true });
  }
}
