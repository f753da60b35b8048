import { closeSync, fstatSync, linkSync, openSync, renameSync, rmSync } from 'node:fs';

/** How many are kept: as many as there are saves while they rest, at 3,000 a second. */
const MAX_SPARES = 64;
/**
 * Milliseconds that a file rests before it is written anew: more than the steps of a file system's clock (10 at most),
 * so that its times tell that it is another record's.
 */
export const RESTING_TIME = 20;

/**
 * Files that records were in, until they were replaced, and that will hold others. When a new file takes the place of
 * another, ext4 starts to write it to the disk at once, for 200 µs and more; one whose blocks the disk has already, a
 * fifth of that.
 */
export class SpareFiles {
  /** The one that rests longest comes first. */
  private readonly spares: { path: string; since: number }[] = [];
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
   * @returns its descriptor, open for writing, and the bytes of what is in it; undefined if there is none
   */
  take(path: string): { file: number; size: number } | undefined {
    while (this.spares.length > 0 && performance.now() - this.spares[0]!.since >= RESTING_TIME) {
      const spare = this.spares.shift()!.path;
      try {
        renameSync(spare, path);
        const file = openSync(path, 'r+');
        const { nlink, size } = fstatSync(file);
        if (nlink === 1) {
          return { file, size };
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
    const spare = `${this.folder}/${this.prefix}-file-${++this.made}`;
    try {
      linkSync(file, spare);
      return spare;
    } catch {
      return undefined; // a file system without links, or no such file any more
    }
  }

  /** Of a file that has no other name now, and never will. */
  keep(path: string): void {
    if (this.spares.length < MAX_SPARES) {
      this.spares.push({ path, since: performance.now() });
    } else {
      this.drop(path);
    }
  }

  drop(path: string): void {
    rmSync(path, { force: true });
  }

  /** Called once, last. */
  removeAll(): void {
    for (const { path } of this.spares.splice(0)) {
      this.drop(path);
    }
  }
}
