import { closeSync, fstatSync, linkSync, openSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** How many are kept: as many as there may be saves at a time that wait for the disk. */
const MAX_SPARES = 16;

/**
 * Files that records were in, until they were replaced, and that will hold others. When a new file takes the place of
 * another, ext4 starts to write it to the disk at once, for 200 µs and more; one whose blocks the disk has already, a
 * fifth of that.
 */
export class SpareFiles {
  private readonly spares: string[] = [];
  private made = 0;

  /**
   * @param folder where they are, until they are used
   * @param prefix of their names, unique among the processes that use the folder
   */
  constructor(
    private readonly folder: string,
    private readonly prefix: string,
  ) {}

  /**
   * Moves one to a path.
   * @returns its descriptor, open for writing, with something in it; undefined if there is none
   */
  take(path: string): number | undefined {
    for (let spare = this.spares.pop(); spare !== undefined; spare = this.spares.pop()) {
      try {
        renameSync(spare, path);
        const file = openSync(path, 'r+');
        if (fstatSync(file).nlink === 1) {
          return file;
        }
        closeSync(file); // a backup has it, too
      } catch {
        // A sweep took it for a leftover, or there is no such folder any more.
      }
      rmSync(spare, { force: true });
      rmSync(path, { force: true });
    }
    return undefined;
  }

  /**
   * Gives a file that is about to be replaced a second name. It is no spare until `keep()`: if another is faster, the
   * file may still be in use.
   * @returns undefined where that is not to be
   */
  link(file: string): string | undefined {
    const spare = join(this.folder, `${this.prefix}-file-${++this.made}`);
    try {
      linkSync(file, spare);
      return spare;
    } catch {
      return undefined; // a file system without links, or no such file any more
    }
  }

  /** Of a file that has no other name now, and never will. */
  keep(spare: string): void {
    if (this.spares.length < MAX_SPARES) {
      this.spares.push(spare);
    } else {
      this.drop(spare);
    }
  }

  drop(spare: string): void {
    rmSync(spare, { force: true });
  }

  /** Called once, last. */
  removeAll(): void {
    for (const spare of this.spares.splice(0)) {
      this.drop(spare);
    }
  }
}
