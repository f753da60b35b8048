import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Lease } from '../session-backend.js';
import { isErrno, removeIfEmpty, unlessMissingSync } from './file-errors.js';

/** Milliseconds: what a removal, or a sweep, may take with a session's lock in hand. */
const REMOVAL_MS = 10_000;
/** How the token of a removal's lease begins. */
const REMOVAL = 'removal-';
/** Locks of others that are waited for at a time, or were a moment ago. */
const MAX_WATCHED = 10_000;

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
 * Each lock is made, and removed when it is given back. To keep its folders for another session would be faster, and
 * lose data: who moves a lock away can't know whose it is by then. test/models/file-lock.pml shows both.
 *
 * The baton's mtime is when it was renewed last. Its steps are done at once (`Sync`): each takes some microseconds on a
 * local disk, and several times that, on two threads, when it is waited for.
 */
export class FileLock {
  private readonly baton: string;

  /**
   * @param path the lock's folder
   * @param made where to make what becomes the lock, on the same file system; nobody else's
   */
  constructor(
    private readonly path: string,
    private readonly made: string,
    private readonly lease: Lease,
    private readonly watch: LockWatch,
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
   * @throws ENOENT if the folder above the lock does not exist, or the one to make it in
   */
  async claim(mayRob: (holder: string) => boolean | Promise<boolean> = () => false): Promise<boolean> {
    for (;;) {
      const holder = this.holder();
      if (holder === batonName(this.lease)) {
        return true;
      }
      if (holder !== undefined && !this.hasLapsed(holder) && !(await mayRob(holder))) {
        return false;
      }
      if (holder === undefined ? this.claimFree() : this.steal(holder)) {
        return true;
      }
    }
  }

  /** @returns whether this lease still holds the lock */
  renew(): boolean {
    const now = new Date();
    return unlessMissingSync(() => (utimesSync(this.baton, now, now), true)) ?? false;
  }

  /** Gives the lock back; does nothing if it was lost. */
  release(): void {
    try {
      rmdirSync(this.baton);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) {
        // Not empty: a failed write, or what a dead holder left.
        rmSync(this.baton, { recursive: true, force: true });
      }
    }
    removeIfEmpty(this.path);
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
    mkdirSync(this.made, { mode: 0o700 }); // not `recursive`: a storage that is gone must not come back empty
    try {
      mkdirSync(`${this.made}/${batonName(this.lease)}`, { mode: 0o700 });
      renameSync(this.made, this.path);
      return true;
    } catch (error) {
      rmSync(this.made, { recursive: true, force: true }); // on a full disk, too: nothing is to be left there
      // EPERM: Windows renames onto no folder at all, not even an empty one.
      if (isErrno(error, 'ENOTEMPTY', 'EEXIST', 'EPERM')) {
        return false;
      }
      throw error;
    }
  }

  /** @returns undefined if the lock is free */
  private holder(): string | undefined {
    const names = unlessMissingSync(() => readdirSync(this.path));
    if (names?.length === 0) {
      removeIfEmpty(this.path);
    }
    return names?.[0];
  }

  private hasLapsed(holder: string): boolean {
    const baton = statSync(`${this.path}/${holder}`, { throwIfNoEntry: false });
    if (!baton) {
      return false; // it is not the holder any more
    }
    const given = Number(holder.split('.')[1]);
    const leaseMs = Number.isFinite(given) ? given : this.lease.ms;
    const isOld = Date.now() - baton.mtimeMs > leaseMs;
    return isOld || this.watch.unchangedFor(this.path, `${holder} ${baton.mtimeMs}`) > leaseMs;
  }

  private steal(holder: string): boolean {
    try {
      renameSync(`${this.path}/${holder}`, this.baton);
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
    return this.renew(); // another may have robbed it meanwhile
  }
}

/**
 * For how long this process has seen a lock unchanged, by a clock that nobody sets: after the clock of files was put
 * back, the lock of a dead process would look fresh until that catches up.
 */
export class LockWatch {
  private readonly seen = new LRUCache<string, { state: string; since: number }>({ max: MAX_WATCHED });

  /** @returns milliseconds */
  unchangedFor(path: string, state: string): number {
    const known = this.seen.get(path);
    const now = performance.now();
    if (known?.state === state) {
      return now - known.since;
    }
    this.seen.set(path, { state, since: now });
    return 0;
  }
}

/** Whether a removal holds the lock. */
export const isRemoval = (holder: string): boolean => holder.startsWith(REMOVAL);

/** The lease of a removal. @param token unique */
export const removalLease = (token: string): Lease => ({ token: REMOVAL + token, ms: REMOVAL_MS });

const batonName = (lease: Lease): string => `${lease.token}.${lease.ms}`;
