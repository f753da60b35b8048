import { mkdirSync, renameSync, rmSync } from 'node:fs';

/** How many are kept. */
const MAX_SPARES = 100;

interface Spare {
  path: string;
  /** The name of the folder in it. */
  baton: string;
}

/**
 * Folders that were locks and will be locks again. To make and remove the two folders of a lock takes ten times as
 * long as to rename them (ext4).
 */
export class SpareLocks {
  private readonly spares: Spare[] = [];
  private made = 0;

  /**
   * @param folder where they are, until they are used
   * @param prefix of their names, unique among the processes that use the folder
   */
  constructor(
    private readonly folder: string,
    private readonly prefix: string,
  ) {}

  /** @returns the path of a folder, changed just now, with an empty folder of that name in it */
  take(baton: string): string {
    for (let spare = this.spares.pop(); spare; spare = this.spares.pop()) {
      try {
        renameSync(`${spare.path}/${spare.baton}`, `${spare.path}/${baton}`);
        return spare.path;
      } catch {
        // A sweep took it for a leftover, or a removal robbed it just before it was kept.
        rmSync(spare.path, { recursive: true, force: true });
      }
    }
    const made = this.newPath();
    // Not `recursive`: a storage that is gone must not come back empty.
    mkdirSync(made, { mode: 0o700 });
    try {
      mkdirSync(`${made}/${baton}`, { mode: 0o700 });
    } catch (error) {
      rmSync(made, { recursive: true, force: true }); // a full disk: nothing is to be left there
      throw error;
    }
    return made;
  }

  /** Of one that was taken and not used. */
  putBack(path: string, baton: string): void {
    this.spares.push({ path, baton });
  }

  /**
   * Moves a lock here that is held, with nothing in it.
   * @returns false if that cannot be done
   */
  keep(lock: string, baton: string): boolean {
    if (this.spares.length >= MAX_SPARES) {
      return false;
    }
    const path = this.newPath();
    try {
      renameSync(lock, path);
    } catch {
      return false;
    }
    this.spares.push({ path, baton });
    return true;
  }

  /** Called once, last. */
  removeAll(): void {
    for (const { path } of this.spares.splice(0)) {
      rmSync(path, { recursive: true, force: true });
    }
  }

  private newPath(): string {
    return `${this.folder}/${this.prefix}-${++this.made}`;
  }
}
