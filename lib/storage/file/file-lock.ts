import { mkdir, readdir, rename, rmdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease } from '../session-backend.js';
import { isErrno, unlessMissing } from './file-errors.js';

/** Milliseconds: what a removal, or a sweep, may take with a session's lock in hand. */
const REMOVAL_MS = 10_000;
/** How the token of a removal's lease begins. */
const REMOVAL = 'removal-';

/**
 * A lock between processes, made of two folders: `<lock>/<token>.<lease ms>/`. Each step that decides
 * something is one rename, which the file system does whole or not at all:
 *
 * - Claim: a folder that already holds the claimant's baton is renamed to `<lock>`. That fails while another
 *   baton is in it. (An empty `<lock>` is a free one: what a crash between two steps of a release leaves.)
 * - Steal: the holder's baton is renamed to the thief's. Of several thieves, one finds it.
 * - Use: what the holder is about to publish lies inside its baton, and is published by renaming it out. A
 *   holder that was robbed finds no such path, and the thief empties the baton before it goes on: so nothing
 *   is published late, not even by a rename that was under way.
 *
 * A baton's mtime is when it was claimed or renewed last.
 */
export class FileLock {
  private readonly baton: string;

  /**
   * @param path the lock's folder
   * @param scratch a folder on the same file system, for folders in the making
   */
  constructor(
    private readonly path: string,
    private readonly scratch: string,
    private readonly lease: Lease,
  ) {
    this.baton = join(path, batonName(lease));
  }

  /** Where the holder prepares what it will rename out, and moves what it will remove. */
  inside(name: string): string {
    return join(this.baton, name);
  }

  /**
   * Takes the lock if it is free or lapsed.
   * @param mayRob whether to take it from this holder too; one who comes after this was asked is safe
   * @returns false if another holds it
   * @throws ENOENT if the folder above the lock does not exist
   */
  async claim(mayRob: (holder: string) => boolean | Promise<boolean> = () => false): Promise<boolean> {
    for (;;) {
      if (await this.claimFree()) {
        return true;
      }
      const holder = await this.holder();
      if (holder === undefined) {
        continue; // released since
      }
      if (holder === batonName(this.lease)) {
        return true;
      }
      if (!(await this.hasLapsed(holder)) && !(await mayRob(holder))) {
        return false;
      }
      if (await this.steal(holder)) {
        return true;
      }
    }
  }

  /** @returns whether this lease still holds the lock */
  async renew(): Promise<boolean> {
    const now = new Date();
    return (await unlessMissing(utimes(this.baton, now, now).then(() => true))) ?? false;
  }

  /** Gives the lock back; does nothing if it was lost. */
  async release(): Promise<void> {
    try {
      await rmdir(this.baton);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        // Not empty: a failed write, or what a dead holder left.
        await rm(this.baton, { recursive: true, force: true });
      }
    }
    await this.removeIfEmpty();
  }

  /** Waits while a removal has the lock: for one whose lock was lost to it, the record is as good as gone. */
  async waitForRemoval(): Promise<void> {
    for (;;) {
      const holder = await this.holder();
      if (!holder || !isRemoval(holder) || (await this.hasLapsed(holder))) {
        return;
      }
      await sleep(1);
    }
  }

  private async claimFree(): Promise<boolean> {
    const made = join(this.scratch, this.lease.token);
    try {
      // Not `recursive`: a storage that is gone must not come back empty.
      await mkdir(made, { mode: 0o700 });
      await mkdir(join(made, batonName(this.lease)), { mode: 0o700 });
      await rename(made, this.path);
      return true;
    } catch (error) {
      await rm(made, { recursive: true, force: true });
      // EPERM: Windows renames onto no folder at all, not even an empty one.
      if (isErrno(error, 'ENOTEMPTY', 'EEXIST', 'EPERM')) {
        return false;
      }
      throw error;
    }
  }

  private async holder(): Promise<string | undefined> {
    const [holder] = (await unlessMissing(readdir(this.path))) ?? [];
    if (holder === undefined) {
      await this.removeIfEmpty();
    }
    return holder;
  }

  private async hasLapsed(holder: string): Promise<boolean> {
    const baton = await unlessMissing(stat(join(this.path, holder)));
    const leaseMs = Number(holder.split('.')[1]);
    return (
      baton !== undefined && Date.now() - baton.mtimeMs > (Number.isFinite(leaseMs) ? leaseMs : this.lease.ms)
    );
  }

  private async steal(holder: string): Promise<boolean> {
    try {
      await rename(join(this.path, holder), this.baton);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return false;
      }
      throw error;
    }
    // A rename out of it may be under way, its path looked up before: it must find nothing to rename.
    for (const name of (await unlessMissing(readdir(this.baton))) ?? []) {
      await rm(this.inside(name), { force: true });
    }
    // The baton still has the old holder's age: until this succeeds, it can be stolen in turn.
    return this.renew();
  }

  private async removeIfEmpty(): Promise<void> {
    try {
      await rmdir(this.path);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'EPERM')) {
        throw error;
      }
    }
  }
}

/** Whether a removal holds the lock. */
export const isRemoval = (holder: string): boolean => holder.startsWith(REMOVAL);

/** The lease of a removal. @param token unique */
export const removalLease = (token: string): Lease => ({ token: REMOVAL + token, ms: REMOVAL_MS });

const batonName = (lease: Lease): string => `${lease.token}.${lease.ms}`;
