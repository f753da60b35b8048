import { mkdir, readdir, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashOwner, type OwnerHint, type OwnerHints } from '../hinted-owners.js';
import { isErrno, removeIfEmpty, unlessMissing } from './file-errors.js';

/** Milliseconds that a hint may be there before its record. */
const HEAD_START = 60_000;

/**
 * Which sessions may be an owner's: an empty file `owners/<hash of the owner>/<key>` each. A hint, written
 * before the record that needs it and dropped some time after; the record itself says whose it is.
 */
export class OwnerIndex implements OwnerHints<OwnerHint> {
  constructor(private readonly root: string) {}

  async add(owner: string, key: string): Promise<void> {
    const folder = this.folderOf(owner);
    for (;;) {
      try {
        await writeFile(join(folder, key), '', { flag: 'a', mode: 0o600 });
        return;
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) {
          throw error;
        }
        await mkdir(folder, { recursive: true, mode: 0o700 });
      }
    }
  }

  async forget(owner: string, hints: OwnerHint[]): Promise<void> {
    const folder = this.folderOf(owner);
    for (const { key } of hints) {
      await unlessMissing(unlink(join(folder, key)));
    }
    removeIfEmpty(folder);
  }

  async hintsOf(owner: string): Promise<OwnerHint[]> {
    const keys = (await unlessMissing(readdir(this.folderOf(owner)))) ?? [];
    return keys.map(key => ({ key }));
  }

  /** Drops the hints of sessions that are gone. */
  async prune(isStored: (key: string) => Promise<boolean>): Promise<void> {
    const all = (await unlessMissing(readdir(this.root, { withFileTypes: true }))) ?? [];
    for (const { name } of all.filter(entry => entry.isDirectory())) {
      const folder = join(this.root, name);
      for (const key of (await unlessMissing(readdir(folder))) ?? []) {
        const hint = join(folder, key);
        if (!(await isStored(key)) && (await this.isOld(hint))) {
          await unlessMissing(unlink(hint));
        }
      }
      removeIfEmpty(folder);
    }
  }

  private folderOf(owner: string): string {
    return join(this.root, hashOwner(owner));
  }

  private async isOld(hint: string): Promise<boolean> {
    const stats = await unlessMissing(stat(hint));
    return stats !== undefined && Date.now() - stats.mtimeMs > HEAD_START;
  }
}
