import { readdirSync, renameSync, rmdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lease } from '../session-backend.js';
import { isErrno, unlessMissingSync } from './file-errors.js';
import type { SpareLocks } from './spare-locks.js';

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
 * The lock's mtime is when its baton was renamed to that of its holder; the baton's, when it was renewed last, if it is
 * later: a baton may have been one of another lock before.
 *
 * Its steps are done at once (`Sync`): each takes some microseconds on a local disk, and several times that, on two
 * threads, when it is waited for.
 */
export class FileLock {
  private readonly baton: string;

  /**
   * @param path the lock's folder
   * @param spares folders on the same file system, to make a lock of
   */
  constructor(
    private readonly path: string,
    private readonly spares: SpareLocks,
    private readonly lease: Lease,
  ) {
    this.baton = `${path}/${batonName(lease)}`;
  }

  /** Where the holder prepares what it will rename out, and moves what it will remove. */
  inside(name: string): string {
    return `${this.baton}/${name}`;
  }

  /**
   * Takes the lock if it is free or lapsed.
   * @param mayRob whether to take it from this holder too; one who comes after this was asked is safe
   * @returns false if another holds it
   * @throws ENOENT if the folder above the lock does not exist
   */
  async claim(mayRob: (holder: string) => boolean | Promise<boolean> = () => false): Promise<boolean> {
    for (;;) {
      if (this.claimFree()) {
        return true;
      }
      const holder = this.holder();
      if (holder === undefined) {
        continue; // released since
      }
      if (holder === batonName(this.lease)) {
        return true;
      }
      if (!this.hasLapsed(holder) && !(await mayRob(holder))) {
        return false;
      }
      if (this.steal(holder)) {
        return true;
      }
    }
  }

  /** @returns whether this lease still holds the lock */
  renew(): boolean {
    const now = new Date();
    return unlessMissingSync(() => (utimesSync(this.baton, now, now), true)) ?? false;
  }

  /**
   * Gives the lock back; does nothing if it was lost.
   * @param isSure it cannot have lapsed, nor been given back, and there is nothing in it: then it is kept for another
   * session, whole. (A removal, which may have robbed it all the same, finds its lock gone, and begins again.)
   */
  release(isSure = false): void {
    if (isSure && this.spares.keep(this.path, batonName(this.lease))) {
      return;
    }
    try {
      rmdirSync(this.baton);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        // Not empty: a failed write, or what a dead holder left.
        rmSync(this.baton, { recursive: true, force: true });
      }
    }
    this.removeIfEmpty();
  }

  /** Waits while a removal has the lock: for one whose lock was lost to it, the record is as good as gone. */
  async waitForRemoval(): Promise<void> {
    for (;;) {
      const holder = this.holder();
      if (!holder || !isRemoval(holder) || this.hasLapsed(holder)) {
        return;
      }
      await sleep(1);
    }
  }

  private claimFree(): boolean {
    const baton = batonName(this.lease);
    const made = this.spares.take(baton);
    try {
      renameSync(made, this.path);
      return true;
    } catch (error) {
      this.spares.putBack(made, baton);
      // EPERM: Windows renames onto no folder at all, not even an empty one.
      if (isErrno(error, 'ENOTEMPTY', 'EEXIST', 'EPERM')) {
        return false;
      }
      throw error;
    }
  }

  private holder(): string | undefined {
    const [holder] = unlessMissingSync(() => readdirSync(this.path)) ?? [];
    if (holder === undefined) {
      this.removeIfEmpty();
    }
    return holder;
  }

  private hasLapsed(holder: string): boolean {
    const lock = statSync(this.path, { throwIfNoEntry: false });
    const baton = statSync(join(this.path, holder), { throwIfNoEntry: false });
    if (!lock || !baton) {
      return false; // it is not the holder any more
    }
    const leaseMs = Number(holder.split('.')[1]);
    const age = Date.now() - Math.max(lock.mtimeMs, baton.mtimeMs);
    return age > (Number.isFinite(leaseMs) ? leaseMs : this.lease.ms);
  }

  private steal(holder: string): boolean {
    try {
      renameSync(join(this.path, holder), this.baton);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) {
        return false;
      }
      throw error;
    }
    // A rename out of it may be under way, its path looked up before: it must find nothing to rename.
    for (const name of unlessMissingSync(() => readdirSync(this.baton)) ?? []) {
      rmSync(this.inside(name), { force: true });
    }
    return this.renew(); // a removal may have robbed it meanwhile
  }

  private removeIfEmpty(): void {
    try {
      rmdirSync(this.path);
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
